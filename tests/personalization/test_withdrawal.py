"""A withdrawal takes along, at once, what models have said about the shopper; everybody else's stays."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from personalization.learning import publish, shadow
from personalization.models import Decision, Exposure, ExposurePrediction, ModelVersion, Shopper, ShopperScores
from personalization.privacy import erasure
from personalization.tracking import consent, merging
from personalization.types import HEADS, Purpose
from tests.admin.builders import make_version
from tests.support import build

pytestmark = pytest.mark.django_db
WHY = {"head": "redeem", "base": -1.0, "terms": 0.4}


def exposed(shopper: Shopper) -> Exposure:
    offer = build.offer()
    decision = Decision.objects.create(
        shopper=shopper, slot="home", eligible=[], excluded={}, policy="p",
        chosen=[{"offer": offer.pk, "propensity": 1.0, "why": WHY}],
    )  # fmt: skip
    return Exposure.objects.create(
        decision=decision, shopper=shopper, campaign=offer.campaign, offer=offer, arm="treatment", propensity=1.0,
        exposed_at=decision.at, window_ends_at=decision.at,
    )  # fmt: skip


@pytest.fixture
def people() -> list[Shopper]:
    """Two shoppers with scores, an exposure, its prediction, and reasons each."""
    found = [build.shopper() for _ in range(2)]
    version = make_version(state="champion")
    made = publish.begin("shop", None, response=version, strategy=None, preference=None)
    publish.write_scores(made, [{"shopper_id": one.pk, "items": ["a"]} for one in found])
    publish.publish(made, None, defaults={})
    shadow.write(version, [exposed(one).pk for one in found], np.full((2, len(HEADS)), 0.5))
    assert ExposurePrediction.objects.count() == 2
    return found


def known(shopper: Shopper) -> dict[str, Any]:
    return {
        "scores": ShopperScores.objects.filter(shopper=shopper).count(),
        "predictions": ExposurePrediction.objects.filter(exposure__shopper=shopper).count(),
        "reasons": sum("why" in row for decision in shopper.decisions.all() for row in decision.chosen),
    }


def predicted(by: ModelVersion) -> list[int]:
    return list(ExposurePrediction.objects.filter(version=by).values_list("exposure__shopper", flat=True))


def test_scores_predictions_and_reasons_go_with_the_consent(people: list[Shopper]) -> None:
    left, stayed = people
    consent.record(left, [], source="test")
    assert known(left) == {"scores": 0, "predictions": 0, "reasons": 0}
    assert known(stayed) == {"scores": 1, "predictions": 1, "reasons": 1}
    assert left.decisions.get().chosen[0]["propensity"] == 1.0  # what was shown stays on record


def test_another_purpose_takes_nothing_along(people: list[Shopper]) -> None:
    shopper = people[0]
    shopper.refresh_from_db()
    assert shopper.consent_analytics
    consent.record(shopper, [Purpose.PERSONALISATION], source="test")
    assert known(shopper) == {"scores": 1, "predictions": 1, "reasons": 1}


def test_what_was_read_before_a_withdrawal_is_not_written_after_it(people: list[Shopper]) -> None:
    left, stayed = people
    version = make_version(estimator="challenger")
    read = list(Exposure.objects.order_by("pk").values_list("pk", flat=True))
    consent.record(left, [], source="test")
    shadow.write(version, read, np.full((2, len(HEADS)), 0.5))
    assert predicted(version) == [stayed.pk]


def test_what_was_read_before_an_erasure_is_not_written_after_it(people: list[Shopper]) -> None:
    gone, stayed = people
    version = make_version(estimator="challenger")
    read = list(Exposure.objects.order_by("pk").values_list("pk", flat=True))
    erasure.erase(gone)
    shadow.write(version, read, np.full((2, len(HEADS)), 0.5))
    assert predicted(version) == [stayed.pk]


def test_a_withdrawal_takes_along_what_was_said_of_the_visitors_they_were(people: list[Shopper]) -> None:
    visitor, stayed = people
    between, account = Shopper.objects.create(), Shopper.objects.create()
    merging.merge(visitor, between)
    merging.merge(between, account)
    assert account.consent_personalisation
    assert known(visitor)["scores"] == 1  # for when the merge is taken back
    consent.record(account, [], source="test")
    everybody = Shopper.objects.filter(pk__in=[visitor.pk, between.pk, account.pk])
    assert [known(one) for one in everybody] == [{"scores": 0, "predictions": 0, "reasons": 0}] * 3
    assert known(stayed) == {"scores": 1, "predictions": 1, "reasons": 1}


def test_consent_that_goes_with_a_merge_taken_back_takes_along_what_was_said(people: list[Shopper]) -> None:
    visitor, stayed = people
    account = Shopper.objects.create()
    done = merging.merge(visitor, account)
    live = publish.live("shop")
    assert done is not None
    assert live is not None
    publish.write_scores(live, [{"shopper_id": account.pk, "items": ["a"]}])
    later = exposed(account)
    merging.unmerge(done.pk)
    account.refresh_from_db()
    assert not account.consent_personalisation
    assert known(account) == {"scores": 0, "predictions": 0, "reasons": 0}
    assert later.shopper == account
    assert known(visitor) == known(stayed) == {"scores": 1, "predictions": 1, "reasons": 1}
