"""A message carries the offer that suits its shopper best, decided and written down as a page's offer is."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.utils import timezone

from personalization.campaigns import choices, outbox
from personalization.models import Campaign, Coupon, Decision, Exposure, Offer, Shopper, ShopperScores
from personalization.pure import assignment
from tests.personalization import reach
from tests.personalization.builders import make_event, make_offer, make_scores, running, score
from tests.personalization.occasions import HOUR
from tests.personalization.reach import loft, only, queue, reachable

pytestmark = pytest.mark.django_db
LIKELY = [0.9, 0.5, 0.1, 0.5]
UNLIKELY = [0.1, 0.05, 0.02, 0.1]


@pytest.fixture(autouse=True)
def _host(configure: Any) -> Iterator[None]:
    reach.empty()
    configure(**reach.PATHS, EXPLORATION=0.0)
    yield
    reach.empty()


@pytest.fixture
def offers() -> list[Offer]:
    campaign = running()
    return [make_offer(campaign, name=name, headline=name) for name in ("Ten", "Twenty", "Thirty")]


def heads(offers: list[Offer], best: int) -> dict[int, list[float]]:
    return {offer.pk: LIKELY if place == best else UNLIKELY for place, offer in enumerate(offers)}


def scored(shopper: Shopper, offers: list[Offer], best: int) -> None:
    score(make_scores(), shopper, heads(offers, best))


@pytest.mark.parametrize("best", [0, 1, 2])
def test_the_offer_with_the_highest_predicted_value_goes_out(offers: list[Offer], best: int) -> None:
    shopper = reachable()
    scored(shopper, offers, best)
    queue(shopper, offer=offers[0])
    assert outbox.send_due() == 1
    assert loft.sent[0].offer_id == offers[best].pk
    decision, exposure = Decision.objects.get(), Exposure.objects.get()
    assert (decision.pk, decision.fallback, decision.slot) == (only().pk, "", "push:pigeon")
    assert decision.eligible[0]["offer"] == offers[best].pk
    assert decision.eligible[0]["reasons"] == ["predicted_for_shopper"]
    assert decision.features["context"] == {"occasion": "welcome"}
    assert (exposure.offer, exposure.decision, exposure.propensity) == (offers[best], decision, 1.0)
    assert decision.model_version is not None


def test_without_scores_it_is_the_first_by_priority_and_the_decision_says_so(offers: list[Offer]) -> None:
    queue(reachable(), offer=offers[0])
    outbox.send_due()
    decision = Decision.objects.get()
    assert loft.sent[0].offer_id == offers[0].pk
    assert (decision.fallback, decision.eligible[0]["reasons"]) == ("no_scores", ["by_priority"])


def test_what_cannot_be_had_is_left_out_with_its_reason(offers: list[Offer]) -> None:
    shopper = reachable()
    scored(shopper, offers, 0)
    Offer.objects.filter(pk=offers[0].pk).update(max_issued=0)
    make_event(shopper, "offer_dismissed", offer=offers[1])
    queue(shopper, offer=offers[0])
    outbox.send_due()
    assert loft.sent[0].offer_id == offers[2].pk
    assert Decision.objects.get().excluded == {str(offers[0].pk): "all_issued", str(offers[1].pk): "dismissed"}


def test_what_would_only_cost_is_not_sent(offers: list[Offer]) -> None:
    shopper = reachable()
    score(make_scores(), shopper, {offer.pk: [0.9, 0.1, 0.9, 0.0] for offer in offers})
    queue(shopper, offer=offers[0])
    assert outbox.send_due() == 0
    assert (only().state, only().reason) == ("suppressed", "predicted_loss")
    assert not Decision.objects.exists()


def test_exploration_is_drawn_under_the_messages_id_and_its_probability_logged(
    offers: list[Offer], configure: Any
) -> None:
    configure(EXPLORATION=0.9)
    shoppers = [reachable() for _ in range(12)]
    queue(*shoppers, offer=offers[0])
    assert outbox.send_due() == 12
    assert len({given.offer_id for given in loft.sent}) > 1
    for decision in Decision.objects.all():
        (row,) = decision.chosen
        ranked = [item["offer"] for item in decision.eligible]
        best = row["offer"] == ranked[0]
        assert row["propensity"] == pytest.approx(0.1 + 0.9 / 3 if best else 0.9 / 3)
        how = decision.features["assignment"]
        assert (assignment.unit(how["salt"], str(decision.pk), 0) < 0.4) is best, "it can be drawn again"


def test_the_holdout_is_told_what_it_would_have_been_offered(offers: list[Offer], configure: Any) -> None:
    configure(HOLDOUT_PERCENT=100.0)
    shopper = reachable()
    scored(shopper, offers, 1)
    queue(shopper, offer=offers[0])
    outbox.send_due()
    decision = Decision.objects.get()
    assert (decision.arm, decision.chosen, decision.eligible[0]["offer"]) == ("holdout", [], offers[1].pk)
    assert Exposure.objects.get().offer is None


def test_an_attempt_after_a_failure_sends_the_same_offer(offers: list[Offer]) -> None:
    """Its coupon is made: another choice would waste it, and a receiver might have both."""
    shopper = reachable()
    scored(shopper, offers, 1)
    queue(shopper, offer=offers[0])
    loft.failures = [reach.failure()]
    assert outbox.send_due() == 0
    Offer.objects.filter(pk=offers[1].pk).update(max_issued=1)  # the coupon that it already has was the last
    ShopperScores.objects.update(offers={str(key): value for key, value in heads(offers, best=2).items()})
    assert outbox.send_due(timezone.now() + HOUR) == 1
    assert loft.sent[0].offer_id == offers[1].pk
    assert Coupon.objects.get().offer == offers[1]
    assert Exposure.objects.get().offer == offers[1]


def test_an_earlier_choice_that_is_over_gives_way(offers: list[Offer]) -> None:
    shopper = reachable()
    scored(shopper, offers, 1)
    queue(shopper, offer=offers[0])
    loft.failures = [reach.failure()]
    outbox.send_due()
    Offer.objects.filter(pk=offers[1].pk).update(ends_at=timezone.now())
    assert outbox.send_due(timezone.now() + HOUR) == 1
    assert loft.sent[0].offer_id == offers[0].pk
    assert Decision.objects.get().excluded[str(offers[1].pk)] == "outside_window"


def test_a_snapshots_member_whose_profile_changed_still_gets_it(offers: list[Offer]) -> None:
    shopper = reachable(attributes={"tier": "gold"})
    rule = {"all": [{"field": "tier", "op": "in", "value": ["gold"]}]}
    Campaign.objects.update(audience=rule, audience_mode="snapshot")
    campaign = Campaign.objects.get()
    campaign.members.create(shopper=shopper)
    offers[0].campaign = campaign
    queue(shopper, offer=offers[0])
    Shopper.objects.update(attributes={"tier": "silver"})
    assert outbox.send_due() == 1


def test_without_anybody_to_choose_nothing_is_guessed(monkeypatch: pytest.MonkeyPatch, offers: list[Offer]) -> None:
    monkeypatch.setattr(choices, "_registered", [])
    queue(reachable(), offer=offers[0])
    assert outbox.send_due() == 0
    assert (only().state, only().reason) == ("waiting", "RuntimeError")
