"""What is counted at training and at scoring: bins, counts, and drift found where it is and nowhere else."""

from __future__ import annotations

import json
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pytest
from django.utils import timezone

from personalization.insight import drift
from personalization.insight.findings import BAD, GOOD
from personalization.learning import frames as reading
from personalization.models import Event, Exposure, ModelVersion, ScoreSet, Shopper
from personalization.types import HEADS
from tests.support import build
from tests.worker import population
from tests.worker.population import Population
from worker import profile, score, train
from worker.profile import _bins, count

COLUMNS = 12


def silent(what: object, done: float) -> None:
    """Say nothing."""


def drawn(rng: np.random.Generator, column: int, rows: int, shift: float = 0.0) -> np.ndarray:
    """Return values as features have them: continuous, counts with many zeros, partly missing, codes."""
    if column % 4 == 0:
        return rng.normal(shift, 1, rows)
    if column % 4 == 1:
        return rng.poisson(0.4, rows).astype(np.float64)
    if column % 4 == 2:
        return np.where(rng.random(rows) < 0.2, np.nan, rng.gamma(2, 20, rows))
    return np.minimum(rng.geometric(0.3, rows), 12).astype(np.float64)


def shifts(seed: int, rows: int, now: int, shift: float = 0.0) -> list[drift.Shift]:
    """Return the indices of a batch whose first column is shifted."""
    rng = np.random.default_rng(seed)
    reference: dict[str, Any] = {"features": {}, "scores": {}}
    today: dict[str, Any] = {"features": {}, "scores": {}}
    for column in range(COLUMNS):
        before = drawn(rng, column, rows)
        bins = _bins(before, column % 4 == 3)
        reference["features"][str(column)] = {**bins, "counts": count(bins, before)}
        today["features"][str(column)] = count(bins, drawn(rng, column, now, shift if column == 0 else 0.0))
    return drift.shifts(reference, today, hint=0.1, alert=0.25)


@pytest.mark.parametrize(("rows", "now"), [(40, 40), (100, 100), (1000, 80)])
def test_small_samples_without_drift_raise_no_alarm(rows: int, now: int) -> None:
    """In at least 95 % of the seeds nothing is told; the bare threshold would tell of something nearly always."""
    seeds = 60
    found = [shifts(seed, rows, now) for seed in range(seeds)]
    quiet = sum(all(shift.level == GOOD for shift in each) for each in found)
    bare = sum(any(shift.value > 0.1 for shift in each) for each in found)
    assert quiet / seeds >= 0.95
    assert bare / seeds > 0.5


def test_a_planted_shift_is_found_and_named() -> None:
    for seed in range(20):
        first, *others = shifts(seed, 400, 400, shift=1.0)
        assert (first.name, first.of, first.level) == ("0", "feature", BAD)
        assert all(other.level == GOOD for other in others)


def test_the_counts_are_those_of_the_bins() -> None:
    values = np.array([1.0, 1.0, 2.0, np.nan, 3.0, 99.0, -5.0])
    assert count({"edges": [2.0, 3.0]}, values) == [3, 1, 2, 1]
    assert count({"codes": [1, 3]}, values) == [2, 1, 4]
    assert count({"edges": []}, np.array([np.nan, np.nan])) == [0, 2]


def test_a_column_without_variation_notices_when_it_begins_to_vary() -> None:
    bins = _bins(np.zeros(500), categorical=False)
    assert count(bins, np.zeros(500)) == [500, 0, 0]
    assert count(bins, np.array([0.0, 1e-9, 7.0])) == [1, 2, 0]


def test_many_equal_values_make_few_bins_and_none_is_lost() -> None:
    rng = np.random.default_rng(0)
    for values in (rng.poisson(0.3, 900).astype(float), rng.normal(size=900), np.where(rng.random(900) < 0.9, 0, 5.0)):
        bins = _bins(values, categorical=False)
        counts = count(bins, values)
        assert sum(counts) == 900
        assert counts[-1] == 0
        assert min(counts[:-1]) > 0
        assert len(counts) <= profile.BINS + 1


def test_what_cannot_be_read_is_not_compared() -> None:
    cards: list[Any] = [
        None, [], {}, {"features": 3}, {"features": {"age": [1]}}, {"features": {"age": {"counts": [1, 2]}}}
    ]  # fmt: skip
    for odd in cards:
        assert drift.shifts(odd, {"features": {"age": [1, 2, 3]}}, hint=0.1, alert=0.2) == []
        assert drift.shifts({"features": {"age": {"counts": [1, 2]}}}, None, hint=0.1, alert=0.2) == []


# --- In a shop --------------------------------------------------------------------------------------------------------


@pytest.fixture
def trained(shop: Population) -> Population:
    train.run(None, population.QUICK, silent, until=population.END)
    return shop


def scored() -> tuple[Any, Any]:
    """Return the champion's reference and what a scoring at the cut-off counted."""
    score.run(None, {"population": "shop"}, silent, until=population.END)
    live = ScoreSet.objects.get(state=ScoreSet.State.LIVE)
    version = live.response_version
    assert version is not None
    return version.card["reference"], live.profile


def test_a_scoring_at_the_cutoff_is_the_reference(trained: Population) -> None:
    reference, now = scored()
    assert reference["rows"] == now["rows"] == population.SHOPPERS
    assert {name: bins["counts"] for name, bins in reference["features"].items()} == now["features"]
    assert {head: bins["counts"] for head, bins in reference["scores"].items()} == now["scores"]
    assert set(now["scores"]) == set(HEADS)
    assert not {"hour", "weekday"} & set(now["features"])  # the moment of a batch is the same for all
    assert not [name for name in now["features"] if name.endswith(profile.CLOCKED)]
    assert not {"amount", "window_hours", *profile.SCHEDULED} & set(now["features"])  # the shop's own plan
    assert {"orders_7d", "view_rate", "product_views_28d"} <= set(now["features"])
    assert all(shift.value == 0 for shift in drift.shifts(reference, now, hint=0.1, alert=0.25))


def test_hours_that_pass_are_no_drift(trained: Population) -> None:
    """Between a training and a scoring eight hours later every age has grown: that is told of nobody's behaviour."""
    score.run(None, {"population": "shop"}, silent, until=population.END + timedelta(hours=8))
    live = ScoreSet.objects.get(state=ScoreSet.State.LIVE)
    assert live.response_version is not None
    found = drift.shifts(live.response_version.card["reference"], live.profile, hint=0.1, alert=0.25)
    assert found
    assert [shift for shift in found if shift.level != GOOD] == []


def test_hours_that_pass_are_no_drift_where_many_have_not_bought_yet(shop: Population) -> None:
    """What is expected of them is the shop's pace alone, the same of all: by the hour all of them leave their bin."""
    Event.objects.filter(type="order_placed", shopper__in=shop.shoppers[: population.SHOPPERS // 2]).delete()
    train.run(None, population.QUICK, silent, until=population.END)
    score.run(None, {"population": "shop"}, silent, until=population.END + timedelta(hours=8))
    live = ScoreSet.objects.get(state=ScoreSet.State.LIVE)
    assert live.response_version is not None
    found = drift.shifts(live.response_version.card["reference"], live.profile, hint=0.1, alert=0.25)
    assert [shift for shift in found if shift.level != GOOD] == []


@pytest.fixture
def a_week_later(monkeypatch: pytest.MonkeyPatch) -> datetime:
    """Let the clock stand a week after the last event: nobody came meanwhile."""
    now = population.END + 7 * population.DAY
    monkeypatch.setattr(timezone, "now", lambda: now)
    return now


def drifted(**named: Any) -> tuple[ModelVersion, list[drift.Shift]]:
    """Train (until a moment, if it is named), score now; return the champion and the indices."""
    train.run(None, population.QUICK, silent, **named)
    score.run(None, {"population": "shop"}, silent)
    live = ScoreSet.objects.get(state=ScoreSet.State.LIVE)
    version = live.response_version
    assert version is not None
    return version, drift.shifts(version.card["reference"], live.profile, hint=0.1, alert=0.25)


def test_a_quiet_week_before_the_training_is_no_drift_after_it(shop: Population, a_week_later: datetime) -> None:
    version, found = drifted()
    assert found
    assert {shift.value for shift in found} == {0}
    assert version.cutoff_at is not None
    assert version.cutoff_at < a_week_later  # what there was to learn ended before


def test_a_quiet_week_after_the_training_is_drift(shop: Population, a_week_later: datetime) -> None:
    _version, found = drifted(until=population.END)
    assert "orders_7d" in {shift.name for shift in found if shift.level == BAD}


def test_an_offer_that_nobody_was_shown_has_its_campaigns_window(shop: Population, settings: Any) -> None:
    """Whatever hours its attributes claim: nothing raises, and nothing is taken from other campaigns."""
    settings.PERSONALIZATION = {**settings.PERSONALIZATION, "ATTRIBUTION_HOURS": 100}
    for hours in (None, 48):
        of = build.campaign(attribution_hours=hours)
        for claimed in (1e300, -5, "x", 12):
            build.offer(of, attributes={"duration_hours": claimed})
    frames = reading.load("shop", population.END)
    assert [window / profile.HOUR for window in profile.windows(frames)] == [72] * 3 + [100] * 4 + [48] * 4
    Exposure.objects.all().delete()
    frames = reading.load("shop", population.END)
    assert [window / profile.HOUR for window in profile.windows(frames)] == [72] * 3 + [100] * 4 + [48] * 4


def test_every_version_of_a_training_can_be_watched(trained: Population) -> None:
    versions = ModelVersion.objects.filter(task="response")
    assert versions.count() == 2
    for version in versions:
        assert sum(version.card["reference"]["scores"]["redeem"]["counts"]) == population.SHOPPERS
        json.dumps(version.card)


def test_other_people_are_found_out(trained: Population) -> None:
    """Everybody becomes gold and old: the tier is named, and the scores move with it; the age nobody has looked at."""
    for person in Shopper.objects.all():
        person.attributes = {**person.attributes, "tier": "gold", "age": 79}
        person.save(update_fields=["attributes"])
    found = drift.shifts(*scored(), hint=0.1, alert=0.25)
    bad = {(shift.of, shift.name) for shift in found if shift.level == BAD}
    assert {("feature", "tier"), ("score", "redeem")} <= bad
    assert ("feature", "age") not in bad
    assert ("feature", "orders_28d") not in bad


def test_scores_come_out_the_same_until_something_arrives_late(trained: Population) -> None:
    """The last set is computed once more at each scoring; what had happened before and was told later changes it.

    Of a few shoppers, and small ones: many would move the shop's pace, and with it what is expected of everybody.
    """
    score.run(None, {"population": "shop"}, silent, until=population.END)
    second = score.run(None, {"population": "shop"}, silent, until=population.END + population.DAY)
    live = ScoreSet.objects.get(pk=second.pk)
    assert live.profile["recomputed"] == {"rows": population.SHOPPERS, "changed": 0}
    for person in trained.shoppers[:6]:
        Event.objects.bulk_create(
            Event(
                source="late", event_id=f"{person.pk}-{number}", shopper=person, type="order_placed",
                occurred_at=population.END - population.DAY, value_minor=1, properties={"lines": []},
            )
            for number in range(15)
        )  # fmt: skip
    score.run(None, {"population": "shop"}, silent, until=population.END + 2 * population.DAY)
    counted = ScoreSet.objects.get(state=ScoreSet.State.LIVE).profile["recomputed"]
    assert counted["rows"] == population.SHOPPERS
    assert 0 < counted["changed"] <= 6


def test_a_batch_without_a_reference_is_scored_all_the_same(trained: Population) -> None:
    """A champion of an earlier release has no histograms in its card."""
    for version in ModelVersion.objects.filter(task="response"):
        version.card = {key: value for key, value in version.card.items() if key != "reference"}
        version.save(update_fields=["card"])
    score.run(None, {"population": "shop"}, silent, until=population.END)
    assert set(ScoreSet.objects.get().profile) == {"moment", "recomputed"}
