"""Audiences by purchase intent: over the live scores alone, never of somebody who withdrew, and said where none are."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import IntegrityError, connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from personalization.exceptions import InvalidAudience
from personalization.features import audiences
from personalization.learning import publish
from personalization.models import ModelVersion, ScoreSet, Shopper, ShopperScores
from personalization.privacy import erasure, handout
from personalization.tracking import consent
from personalization.types import Purpose
from tests.admin.builders import make_version
from tests.personalization.builders import DAY, make_shopper, running

pytestmark = pytest.mark.django_db
LIKELY = {"field": "intent_percent", "op": ">=", "value": 20}


def version(days: int = 7) -> ModelVersion:
    found: ModelVersion = make_version(task="intent", card={"intent_days": days})
    return found


def published(*intents: float | None, days: int = 7, population: str = "shop") -> list[Shopper]:
    """Publish scores as the batch job does, and return their shoppers."""
    people = [make_shopper(population=population) for _ in intents]
    score_set = publish.begin(
        population, None, response=None, strategy=None, preference=None, intent=version(days)
    )  # fmt: skip
    rows = [{"shopper_id": one.pk, "intent": value} for one, value in zip(people, intents, strict=True)]
    publish.write_scores(score_set, rows)
    publish.publish(score_set, None, defaults={})
    return people


def members(rule: dict[str, Any], now: datetime | None = None) -> list[int]:
    """Return who belongs; the query and the single answers say the same."""
    now = now or timezone.now()
    audience = audiences.parse({"all": [rule]})
    found = sorted(audience.filter(Shopper.objects.all(), now).values_list("pk", flat=True))
    assert found == [one.pk for one in Shopper.objects.order_by("pk") if audience.matches(one, now)]
    return found


def test_at_least_so_many_percent() -> None:
    low, edge, high, _unscored = (one.pk for one in published(0.05, 0.2, 0.7, None))
    assert members(LIKELY) == [edge, high]
    assert members({**LIKELY, "op": "<="}) == [low, edge]
    assert members({**LIKELY, "value": 0}) == [low, edge, high]
    assert members({**LIKELY, "value": 12.5}) == [edge, high]


def test_whom_nothing_is_known_of_is_neither_likely_nor_unlikely() -> None:
    _low, high = published(0.05, 0.7)
    stranger = make_shopper()
    assert members({"not": {**LIKELY, "op": "<="}}) == [high.pk, stranger.pk]
    assert members({"not": {**LIKELY, "value": 0}}) == [stranger.pk]


def test_bands_are_by_rank() -> None:
    people = [one.pk for one in published(*(tenths / 20 for tenths in range(1, 11)))]
    bands = {name: members({"field": "intent_band", "op": "in", "value": [name]}) for name in ("low", "middle", "high")}
    assert bands == {"low": people[:5], "middle": people[5:8], "high": people[8:]}
    assert members({"field": "intent_band", "op": "in", "value": ["low", "high"]}) == people[:5] + people[8:]


@pytest.mark.parametrize(
    ("scores", "low", "high"),
    [((0.1,), 1, 0), ((0.1, 0.1, 0.1, 0.1, 0.9), 4, 1), ((0.2,) * 10, 10, 0), ((0.1, 0.6), 1, 1)],
    ids=repr,
)
def test_equal_scores_share_a_band(scores: tuple[float, ...], low: int, high: int) -> None:
    """The uncertain are called low, not high: an expensive offer for the likely goes to nobody by a tie."""
    published(*scores)
    counted = [len(members({"field": "intent_band", "op": "in", "value": [name]})) for name in ("low", "high")]
    assert counted == [low, high]


def test_only_the_live_set_counts() -> None:
    (before,) = published(0.9)
    (after,) = published(0.9)
    assert members(LIKELY) == [after.pk]
    ScoreSet.objects.filter(state="live").update(state="retired")
    assert members(LIKELY) == []
    assert ShopperScores.objects.filter(shopper=before).exists()


def test_scores_too_old_or_of_another_span_count_as_none(settings: Any) -> None:
    (mara,) = published(0.9)
    campaign = running(audience={"all": [LIKELY]})
    assert members(LIKELY) == [mara.pk]
    assert audiences.lacking(campaign) == ""
    later = timezone.now() + timedelta(hours=73)
    assert members(LIKELY, later) == []
    assert "too old" in audiences.lacking(campaign, later)
    assert members(LIKELY, timezone.now() - DAY) == []  # at that moment nobody had scored yet
    settings.PERSONALIZATION = {**settings.PERSONALIZATION, "INTENT_DAYS": 14}
    assert members(LIKELY) == []
    assert "look 7 days ahead, INTENT_DAYS says 14" in audiences.lacking(campaign)


def test_it_says_that_there_is_no_model_yet() -> None:
    campaign = running(audience={"any": [{"not": LIKELY}]})
    assert "There is no score of purchase intent yet" in audiences.lacking(campaign)
    assert members(LIKELY) == []
    assert audiences.lacking(running(audience={"all": [{"field": "orders", "op": ">=", "value": 1}]})) == ""
    published(0.9, population="games")
    assert "There is no score of purchase intent yet" in audiences.lacking(campaign)


def test_whoever_withdraws_is_out_at_once_and_whoever_is_erased_leaves_no_score() -> None:
    mara, ivo = published(0.9, 0.8)
    campaign = running(audience={"all": [LIKELY]})
    assert set(audiences.reachable(campaign)) == {mara, ivo}
    assert handout.export(ivo)["scores"][0]["intent"] == 0.8
    consent.record(mara, [], source="test")
    assert members(LIKELY) == [ivo.pk]
    assert list(audiences.reachable(campaign)) == [ivo]
    erasure.erase(ivo)
    assert not ShopperScores.objects.exclude(shopper=mara).exists()
    assert members(LIKELY) == []


def test_a_withdrawal_while_the_job_runs_leaves_no_score() -> None:
    mara = make_shopper()
    score_set = publish.begin("shop", None, response=None, strategy=None, preference=None, intent=version())
    publish.write_scores(score_set, [{"shopper_id": mara.pk, "intent": 0.9}])
    consent.record(mara, [Purpose.ANALYTICS], source="test")
    publish.publish(score_set, None, defaults={})
    assert not ShopperScores.objects.exists()


@pytest.mark.parametrize("value", [-0.1, 1.1])
def test_a_score_is_a_probability(value: float) -> None:
    with pytest.raises(IntegrityError), transaction.atomic():
        published(value)


def test_a_rule_is_one_query_and_a_shopper_one_more() -> None:
    (mara,) = published(0.9)
    rule = audiences.parse({"all": [LIKELY, {"field": "intent_band", "op": "in", "value": ["low"]}]})
    now = timezone.now()
    with CaptureQueriesContext(connection) as captured:
        assert rule.filter(Shopper.objects.all(), now).count() == 1
    assert len(captured) == 1
    with CaptureQueriesContext(connection) as captured:
        for _campaign in range(20):
            assert rule.matches(mara, now)
    assert len(captured) == 1


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ({**LIKELY, "value": 101}, "number from 0 to 100"),
        ({**LIKELY, "op": "in", "value": ["20"]}, "there is no condition"),
        ({"field": "intent_band", "op": "in", "value": ["huge"]}, "intent_band is never “huge”"),
    ],
)
def test_what_cannot_be_meant_is_refused(rule: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidAudience, match=message):
        audiences.parse({"all": [rule]})
