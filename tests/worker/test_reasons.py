"""Reasons beside the scores: they add up to what is served, stop when their time is up, and go into decisions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from personalization.models import Campaign, ScoreSet, ShopperScores
from personalization.types import HEADS
from tests.support import build
from tests.worker import population
from tests.worker.population import Population
from tests.worker.test_score import run, silent
from worker import reasons, train
from worker.estimators.base import sigmoid


@pytest.fixture
def trained(shop: Population) -> Population:
    train.run(None, population.QUICK, silent, until=population.END)
    return shop


def stored(score_set: ScoreSet) -> list[ShopperScores]:
    return list(ShopperScores.objects.filter(score_set=score_set).order_by("shopper_id"))


def test_the_best_offers_of_everybody_are_explained(trained: Population) -> None:
    rows = stored(run())
    assert rows
    for row in rows:
        told = row.reasons["offers"]
        assert 0 < len(told) <= reasons.MOST
        for offer, parts in told.items():
            p = row.offers[offer][HEADS.index(row.reasons["head"])]
            assert sigmoid(np.array(sum(parts.values()))) == pytest.approx(p, abs=0.002)  # what is tiny is left out


def test_gold_members_are_told_apart_by_their_tier(trained: Population) -> None:
    """The population's gold members redeem more: their loyalty speaks for it, everybody else's does not."""
    found: dict[bool, list[float]] = {True: [], False: []}
    by_pk = {person.pk: person.attributes.get("tier") == "gold" for person in trained.shoppers}
    for row in stored(run()):
        found[by_pk[row.shopper_id]] += [parts.get("loyalty", 0.0) for parts in row.reasons["offers"].values()]
    assert np.mean(found[True]) > 0.1 > 0 > np.mean(found[False])


def test_no_time_no_reasons(trained: Population, settings: Any) -> None:
    settings.PERSONALIZATION = {**settings.PERSONALIZATION, "EXPLAIN_SECONDS": 0}
    rows = stored(run())
    assert rows
    assert all(row.reasons == {} and row.offers for row in rows)


def test_time_that_is_used_up_ends_it(trained: Population, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each look at the clock is a minute later: one part is explained, and no more."""
    ticks = iter(range(0, 60_000, 60))
    monkeypatch.setattr("worker.reasons.time.monotonic", lambda: float(next(ticks)))
    assert [bool(row.reasons) for row in stored(run())] == [
        place < reasons.PART for place in range(len(trained.shoppers))
    ]


def test_only_what_can_be_shown_is_explained(trained: Population) -> None:
    """An offer of a campaign that does not run is scored, and takes nobody's place among those explained."""
    later = build.campaign(population="shop", status=Campaign.Status.DRAFT)
    waiting = build.offer(later)
    for row in stored(run()):
        assert str(waiting.pk) in row.offers
        assert row.reasons["offers"]
        assert str(waiting.pk) not in row.reasons["offers"]
