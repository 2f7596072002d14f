"""Merges and taking them back: what moved returns, money stays where it was spent, consent never widens."""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import models
from django.utils import timezone

from personalization import api
from personalization.campaigns import coupons, giftcards
from personalization.campaigns import merging as money
from personalization.exceptions import MergeGone, MergeRefused
from personalization.models import (
    ConsentRecord,
    Coupon,
    Event,
    FormerAlias,
    GiftCard,
    QuarantinedEvent,
    Redemption,
    Reservation,
    RiskFact,
    Shopper,
    ShopperAlias,
    ShopperMerge,
    ShopperSummary,
    UsageSlot,
)
from personalization.ports.signals import events_rewritten
from personalization.tracking import aliases, consent, merging
from personalization.types import CONSENT_PURPOSES, Purpose
from tests.admin.builders import make_user
from tests.personalization.builders import DAY, make_account, make_alias, make_basket, make_event, make_offer, running

pytestmark = pytest.mark.django_db
VISITOR = ShopperAlias.Kind.VISITOR
P, A, M = Purpose.PERSONALISATION, Purpose.ANALYTICS, Purpose.MARKETING


@pytest.fixture
def visitor() -> Shopper:
    made = Shopper.objects.create()
    consent.record(made, CONSENT_PURPOSES, source="banner")
    return made


@pytest.fixture
def account() -> Shopper:
    return api.shopper_for_user(make_account())


def owners(model: type[models.Model]) -> dict[Any, Any]:
    return dict(model._default_manager.order_by("pk").values_list("pk", "shopper_id"))


def flags(shopper: Shopper) -> set[Purpose]:
    shopper.refresh_from_db()
    return {purpose for purpose in CONSENT_PURPOSES if shopper.allows(purpose)}


def merged(visitor: Shopper, account: Shopper) -> ShopperMerge:
    done = merging.merge(visitor, account)
    assert done is not None
    return done


def used(coupon_id: str, shopper: Shopper, order: str = "") -> Any:
    """Reserve a coupon, and order with it where an order is named."""
    held = api.reserve(
        shopper=shopper, basket=make_basket(), coupon_id=coupon_id, idempotency_key=f"{coupon_id}{order}"
    )
    return api.redeem(held.reservation_id, order_label="o", order_id=order) if order else held


# --- There and back ---------------------------------------------------------------------------------------------------


def test_taking_a_merge_back_is_as_if_it_had_never_been(visitor: Shopper, account: Shopper) -> None:
    cookie = make_alias(visitor)
    for shopper in (visitor, account):
        make_event(shopper, item_id=f"of-{shopper.pk}")
        QuarantinedEvent.objects.create(source="web", payload={}, reason="bad", shopper=shopper)
        used(api.claim(make_offer().pk, shopper=shopper).coupon_id, shopper, order=f"order-{shopper.pk}")
        held = used(api.claim(make_offer().pk, shopper=shopper).coupon_id, shopper)
        RiskFact.objects.create(shopper=shopper, reservation_id=held.reservation_id, kind="device", digest="d")
        giftcards.credit(shopper, 300, "EUR", operation_id=f"credit-{shopper.pk}")
        giftcards.issue(1000, "EUR", operation_id=f"card-{shopper.pk}", shopper=shopper)
    giftcards.credit(visitor, 50, "USD", operation_id="dollars")
    coupons.issue(make_offer(), origin=Coupon.Origin.VANITY, code="SPRING-TEA", max_uses=9)
    api.reserve(shopper=visitor, basket=make_basket(), code="SPRING-TEA", idempotency_key="vanity")
    assert set(owners(UsageSlot).values()) == {visitor.pk}
    consent.record(account, {A}, source="banner")
    tables = (Event, QuarantinedEvent, RiskFact, Coupon, Reservation, Redemption, UsageSlot)

    def state() -> Any:
        cards = {
            (card.shopper_id, card.kind, card.currency): (card.balance_minor, card.held_minor)
            for card in GiftCard.objects.filter(balance_minor__gt=0)
        }
        people = [(shopper.pk, flags(shopper), shopper.merged_into_id) for shopper in (visitor, account)]
        leads = ShopperAlias.objects.get(value=cookie).shopper_id
        return [owners(table) for table in tables], cards, people, leads

    before = state()
    done = merged(visitor, account)
    during = state()
    assert during != before
    assert set(during[0][0].values()) == {account.pk}
    merging.unmerge(done.pk)
    assert state() == before
    again = merged(visitor, account)  # and it can be done, and undone, once more
    assert state() == during
    merging.unmerge(again.pk)
    assert state() == before
    assert [line for card in GiftCard.objects.all() for line in giftcards.verify(card)] == []


def test_what_happened_since_stays_with_the_account(visitor: Shopper, account: Shopper) -> None:
    make_event(visitor, item_id="before")
    done = merged(visitor, account)
    make_event(account, item_id="since")
    merging.unmerge(done.pk)
    assert dict(Event.objects.values_list("item_id", "shopper")) == {"before": visitor.pk, "since": account.pk}


def test_a_merge_is_taken_back_once(visitor: Shopper, account: Shopper) -> None:
    done = merged(visitor, account)
    merging.unmerge(done.pk)
    for key in (done.pk, done.pk + 1):
        with pytest.raises(MergeGone):
            merging.unmerge(key)


def test_nobody_is_merged_who_has_an_account_or_was_merged_before(visitor: Shopper, account: Shopper) -> None:
    other = api.shopper_for_user(make_account())
    with pytest.raises(MergeRefused):
        merging.merge(other, account)
    assert merging.merge(account, account) is None
    merged(visitor, account)
    assert merging.merge(visitor, account) is None
    with pytest.raises(MergeRefused):
        merging.merge(visitor, other)
    with pytest.raises(MergeRefused):
        merging.merge(Shopper.objects.create(), visitor)
    assert ShopperMerge.objects.count() == 1


def test_what_was_counted_from_moved_events_is_told_out_of_date(visitor: Shopper, account: Shopper) -> None:
    now = timezone.now()
    for days in (1, 9):
        make_event(visitor, occurred_at=now - timedelta(days=days))
    told: list[Any] = []

    def hear(sender: Any, shopper_ids: Any, first_day: Any, last_day: Any, **kwargs: Any) -> None:
        told.append((set(shopper_ids), first_day, last_day))

    events_rewritten.connect(hear)
    try:
        merging.unmerge(merged(visitor, account).pk)
    finally:
        events_rewritten.disconnect(hear)
    span = ({visitor.pk, account.pk}, (now - 9 * DAY).date(), (now - DAY).date())
    assert told == [span, span]


def test_summaries_of_both_are_made_anew(visitor: Shopper, account: Shopper) -> None:
    done = merged(visitor, account)
    for shopper in (visitor, account):
        ShopperSummary.objects.create(shopper=shopper, population="shop", as_of=timezone.now())
    merging.unmerge(done.pk)
    assert not ShopperSummary.objects.exists()


def test_erased_rows_do_not_hinder(visitor: Shopper, account: Shopper) -> None:
    make_event(visitor)
    done = merged(visitor, account)
    Event.objects.all()._raw_delete("default")
    merging.unmerge(done.pk)
    assert not Event.objects.exists()
    api.erase(account)
    assert Shopper.objects.filter(pk=visitor.pk).exists()  # they are two people again
    assert not ShopperMerge.objects.exists()


# --- Money ------------------------------------------------------------------------------------------------------------


def test_a_coupon_that_the_account_has_used_stays_with_it(visitor: Shopper, account: Shopper) -> None:
    spent, kept = (api.claim(make_offer().pk, shopper=visitor).coupon_id for _ in range(2))
    done = merged(visitor, account)
    used(spent, account, order="1")
    merging.unmerge(done.pk)
    assert {str(pk): owner for pk, owner in owners(Coupon).items()} == {spent: account.pk, kept: visitor.pk}
    assert set(owners(Redemption).values()) == {account.pk}


def test_what_was_set_aside_before_and_ordered_since_is_the_accounts(visitor: Shopper, account: Shopper) -> None:
    ordered, left = (used(api.claim(make_offer().pk, shopper=visitor).coupon_id, visitor) for _ in range(2))
    done = merged(visitor, account)
    api.redeem(ordered.reservation_id, order_label="o", order_id="1")
    Redemption.objects.update(shopper=account)
    merging.unmerge(done.pk)
    found = {str(pk): owner for pk, owner in owners(Reservation).items()}
    assert found == {str(ordered.reservation_id): account.pk, str(left.reservation_id): visitor.pk}


def test_credit_returns_as_far_as_it_was_not_spent(visitor: Shopper, account: Shopper) -> None:
    mine = giftcards.credit(visitor, 500, "EUR", operation_id="v")
    done = merged(visitor, account)
    theirs = GiftCard.objects.get(shopper=account)
    held = giftcards.hold(amount_minor=400, idempotency_key="h", shopper=account, card_id=str(theirs.pk))
    giftcards.spend(held.pk, order_label="o", order_id="1")
    merging.unmerge(done.pk)
    for card, left in ((mine, 100), (theirs, 0)):
        card.refresh_from_db()
        assert card.balance_minor == left
        assert giftcards.verify(card) == []


def test_credit_that_an_open_order_gives_back_follows_the_merge(visitor: Shopper, account: Shopper) -> None:
    mine = giftcards.credit(visitor, 500, "EUR", operation_id="v")
    held = giftcards.hold(amount_minor=400, idempotency_key="h", shopper=visitor, card_id=str(mine.pk))
    done = merged(visitor, account)
    assert money.settle_credit() == 0
    giftcards.release(held.pk)
    assert money.settle_credit() == 1
    assert GiftCard.objects.get(shopper=account).balance_minor == 500
    merging.unmerge(done.pk)
    mine.refresh_from_db()
    assert mine.balance_minor == 500


def test_a_coupon_that_the_visitor_has_anew_is_not_doubled(visitor: Shopper, account: Shopper) -> None:
    offer = make_offer(running())
    first = api.claim(offer.pk, shopper=visitor).coupon_id
    done = merged(visitor, account)
    second = api.claim(offer.pk, shopper=visitor).coupon_id  # by a request that was under way
    merging.unmerge(done.pk)
    assert {str(pk): owner for pk, owner in owners(Coupon).items()} == {first: account.pk, second: visitor.pk}


# --- Consent ----------------------------------------------------------------------------------------------------------


def test_consent_that_came_with_the_visitor_goes_with_them(visitor: Shopper, account: Shopper) -> None:
    consent.record(account, {A}, source="banner")
    consent.record(account, set(), source="banner")
    lines = ConsentRecord.objects.filter(shopper=visitor).count()
    done = merged(visitor, account)
    assert flags(account) == {P, M}
    assert flags(visitor) == set()
    merging.unmerge(done.pk)
    assert flags(account) == set()
    assert flags(visitor) == {P, A, M}
    assert ConsentRecord.objects.filter(shopper=visitor).count() == lines  # the ledger only grows
    told = ConsentRecord.objects.filter(shopper=account).exclude(source="banner").order_by("pk")
    assert list(told.values_list("purpose", "granted", "source")) == [
        (purpose.value, source == "merge", source) for source in ("merge", "unmerge") for purpose in (M, P)
    ]


def test_what_the_account_answered_itself_since_then_stands(visitor: Shopper, account: Shopper) -> None:
    done = merged(visitor, account)
    consent.record(account, {A, P}, source="banner")  # marketing is refused; the others stay as they were
    merging.unmerge(done.pk)
    assert M not in flags(account)
    assert M not in flags(visitor)  # taking back widens nobody's consent
    assert P in flags(visitor)


# --- Late rows --------------------------------------------------------------------------------------------------------


def test_what_a_request_under_way_wrote_late_follows_its_merge(visitor: Shopper, account: Shopper) -> None:
    done = merged(visitor, account)
    late = make_event(visitor)
    assert merging.settle() == 1
    assert merging.settle() == 0
    assert owners(Event) == {late.pk: account.pk}
    merging.unmerge(done.pk)
    assert owners(Event) == {late.pk: visitor.pk}
    make_event(visitor)
    assert merging.settle() == 0  # nobody's any more


# --- History ----------------------------------------------------------------------------------------------------------


def test_whose_an_id_was_is_told(visitor: Shopper, account: Shopper) -> None:
    cookie = make_alias(visitor)
    merging.unmerge(merged(visitor, account).pk)
    ended = ShopperAlias.objects.get(value=cookie)
    aliases.end([ended])
    spans = aliases.history(VISITOR, cookie)
    assert [span.shopper_id for span in spans] == [visitor.pk, account.pk, visitor.pk]
    assert all(first.until == second.since for first, second in pairwise(spans))
    assert spans[-1].until is not None
    assert cookie not in str(list(FormerAlias.objects.values()))
    again = make_alias(account)
    assert [span.until for span in aliases.history(VISITOR, again)] == [None]


def test_history_survives_a_rotation_of_keys_and_no_erasure(visitor: Shopper, account: Shopper, configure: Any) -> None:
    configure(SECRET_KEYS=["old"])
    cookie = make_alias(visitor)
    merged(visitor, account)
    configure(SECRET_KEYS=["new", "old"])
    assert len(aliases.history(VISITOR, cookie)) == 2
    api.erase(account)
    assert aliases.history(VISITOR, cookie) == []


# --- The command ------------------------------------------------------------------------------------------------------


def test_the_command_lists_and_takes_back(
    visitor: Shopper, account: Shopper, capsys: pytest.CaptureFixture[str]
) -> None:
    make_event(visitor)
    done = merged(visitor, account)
    call_command("unmerge", list=str(account.key))
    assert f"{done.pk}: {visitor.key} into {account.key}" in (told := capsys.readouterr().out)
    assert "1 event" in told
    make_account("clerk")
    with pytest.raises(CommandError, match=r"clerk may not do this: it lacks .*\.view_shoppermerge\."):
        call_command("unmerge", str(done.pk), by="clerk")
    user = make_user("view_shoppermerge", "undo_shoppermerge", username="steward")
    call_command("unmerge", str(done.pk), by="steward")
    done.refresh_from_db()
    assert done.undone_by == user
    call_command("unmerge", list=str(visitor.key))
    assert "taken back" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("given", "told"),
    [((), "Name a merge"), (("7",), "no such merge"), (("--list", "x"), "no shopper's key"),
     (("7", "--by", "nobody"), "no account nobody")],
)  # fmt: skip
def test_the_command_says_what_is_wrong(given: tuple[str, ...], told: str) -> None:
    with pytest.raises(CommandError, match=told):
        call_command("unmerge", *given)
