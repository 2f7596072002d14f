"""The ledger explains every counter, whatever is done in whatever order; and it rebuilds those that went wrong."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.db import transaction
from django.utils import timezone
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from personalization import api
from personalization.campaigns.ledger import rebuild_counters, verify_ledger
from personalization.exceptions import PersonalizationError
from personalization.models import Campaign, Coupon, LedgerEntry, Offer, Redemption, Reservation
from personalization.types import Hold
from tests.personalization.builders import make_basket, make_offer, make_shopper, running

pytestmark = pytest.mark.django_db
steps = st.lists(
    st.tuples(
        st.sampled_from(["claim", "reserve", "redeem", "release", "expire", "refund"]),
        st.integers(0, 2),
        st.integers(1, 20_000),
    ),
    max_size=25,
)


@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps, st.integers(0, 4000), st.integers(0, 3))
def test_no_order_of_events_leads_past_a_limit_or_the_ledger(
    db: None, script: list[tuple[str, int, int]], budget: int, most: int
) -> None:
    campaign = running(budget_minor=budget)
    offer = make_offer(campaign, max_redemptions=most, per_shopper=2)
    people = [make_shopper() for _ in range(3)]
    codes: dict[int, str] = {}
    held: dict[int, Hold] = {}
    for number, (verb, who, amount) in enumerate(script):
        key = f"{campaign.pk}:{number}"
        try:
            with transaction.atomic():
                if verb == "claim":
                    codes[who] = api.claim(offer.pk, shopper=people[who], idempotency_key=key).code
                elif verb == "reserve":
                    held[who] = api.reserve(
                        shopper=people[who], basket=make_basket(amount), code=codes.get(who, ""), idempotency_key=key
                    )
                elif verb == "redeem" and who in held:
                    api.redeem(held[who].reservation_id, order_label="o", order_id=f"{campaign.pk}:{who}")
                elif verb == "release" and who in held:
                    api.release(held[who].reservation_id)
                elif verb == "expire":
                    api.expire_reservations(timezone.now() + timedelta(hours=amount % 2))
                elif verb == "refund":
                    wanted = amount % 700 or None
                    order = f"{campaign.pk}:{who}"
                    api.refund(order_label="o", order_id=order, operation_id=key, amount_minor=wanted)
        except PersonalizationError:
            continue
    assert verify_ledger(campaign) == []
    campaign.refresh_from_db()
    offer.refresh_from_db()
    assert 0 <= campaign.reserved_minor + campaign.spent_minor <= budget
    assert 0 <= offer.reserved_count + offer.redeemed_count <= most
    redemptions = Redemption.objects.filter(campaign=campaign)
    assert campaign.spent_minor == sum(row.amount_minor - row.refunded_minor for row in redemptions)
    open_holds = Reservation.objects.filter(campaign=campaign, state="held")
    assert campaign.reserved_minor == sum(row.amount_minor for row in open_holds)


@pytest.fixture
def busy() -> Campaign:
    """A campaign with one coupon held, one redeemed and partly refunded, one released."""
    offer = make_offer()
    for number in range(3):
        buyer = make_shopper()
        held = api.reserve(
            shopper=buyer,
            basket=make_basket(),
            code=api.claim(offer.pk, shopper=buyer).code,
            idempotency_key=str(number),
        )
        if number == 1:
            with transaction.atomic():
                api.redeem(held.reservation_id, order_label="o", order_id="1")
            api.refund(order_label="o", order_id="1", operation_id="r", amount_minor=400)
        if number == 2:
            api.release(held.reservation_id)
    return offer.campaign


def test_a_ledger_that_agrees_finds_nothing(busy: Campaign) -> None:
    assert verify_ledger(busy) == []
    kinds = sorted(LedgerEntry.objects.values_list("kind", "reserved_delta", "spent_delta"))
    assert kinds == [
        ("redeem", -1000, 1000),
        ("refund", 0, -400),
        ("release", -1000, 0),
        *[("reserve", 1000, 0)] * 3,
    ]


@pytest.mark.parametrize(
    ("model", "changes", "said"),
    [
        (Campaign, {"reserved_minor": 5}, "campaign"),
        (Campaign, {"spent_minor": 601}, "campaign"),
        (Offer, {"issued_count": 2}, "offer"),
        (Offer, {"reserved_count": 0}, "offer"),
        (Offer, {"redeemed_count": 9}, "offer"),
        (Coupon, {"used_count": 0}, "coupon"),
        (Coupon, {"reserved_count": 0}, "coupon"),
    ],
)
def test_a_counter_that_went_wrong_is_found_and_rebuilt(
    busy: Campaign, model: type, changes: dict[str, int], said: str
) -> None:
    model._default_manager.update(**changes)  # type: ignore[attr-defined]
    assert verify_ledger(busy)[0].startswith(said)
    rebuild_counters(busy)
    assert verify_ledger(busy) == []
    busy.refresh_from_db()
    assert (busy.reserved_minor, busy.spent_minor) == (1000, 600)
    rebuild_counters(busy)
    assert verify_ledger(busy) == []


def test_rebuilding_leaves_other_campaigns_alone(busy: Campaign) -> None:
    other = make_offer(running(spent_minor=7))
    rebuild_counters(busy)
    other.campaign.refresh_from_db()
    assert other.campaign.spent_minor == 7
