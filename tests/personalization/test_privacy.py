"""Export gives everything, erasure leaves nothing but totals, and what was erased does not come back."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.apps import apps
from django.core.serializers.json import DjangoJSONEncoder
from django.db import models, transaction
from django.utils import timezone

from personalization import api
from personalization.campaigns import coupons, risk, support
from personalization.campaigns.ledger import verify_ledger
from personalization.exceptions import CouponRefused
from personalization.features import rollups
from personalization.models import (
    AudienceMember,
    Campaign,
    Coupon,
    Decision,
    Event,
    EventClaim,
    Exposure,
    GiftCardEntry,
    LedgerEntry,
    Occurrence,
    OutboxMessage,
    ProfileVersion,
    QuarantinedEvent,
    Redemption,
    Reservation,
    RiskFact,
    RiskReview,
    SessionVerdict,
    Shopper,
    ShopperAlias,
    ShopperInterest,
    ShopperSummary,
    Trigger,
    UsageSlot,
)
from personalization.privacy.rooms import ANONYMISED, ERASED, EXPORTED
from personalization.tracking import aliases, consent, logins
from personalization.types import CONSENT_PURPOSES, EventData, Purpose
from tests.personalization import host
from tests.personalization.builders import (
    Browser,
    event,
    make_account,
    make_alias,
    make_basket,
    make_event,
    make_offer,
    make_order,
    make_request,
    make_scores,
    score,
)
from tests.personalization.conftest import Configure

pytestmark = pytest.mark.django_db


@pytest.fixture
def known(visitor: Browser, plain: None) -> Shopper:
    """A shopper of whom every table holds something: seen, scored, offered to, and a coupon spent, held and open."""
    shopper = visitor.shopper()
    consent.record(shopper, [Purpose.PERSONALISATION], source="test")
    ShopperAlias.objects.create(kind="external", value="crm-1", shopper=shopper)
    aliases.end([ShopperAlias.objects.create(kind="visitor", value="an-old-cookie", shopper=shopper)])
    visitor.events(
        event("product_viewed", item_id="secret-item"), event("search_performed", properties={"query": "secret"})
    )
    visitor.events(event("teleported", properties={"path": "secret"}))
    offers = [make_offer(per_shopper=1) for _ in range(3)]
    score(make_scores(), shopper, {offers[0].pk: [0.5, 0.5, 0.0, 0.5]}, items=["secret-item"])
    api.decide("home_hero", shopper=shopper, limit=3)
    for number, offer in enumerate(offers):
        code = api.claim(offer.pk, shopper=shopper).code
        if number:
            held = api.reserve(shopper=shopper, basket=make_basket(), code=code, idempotency_key=f"key-{number}")
        if number == 2:
            with transaction.atomic():
                api.redeem(held.reservation_id, order_label="shop.order", order_id="1001")
            api.refund(order_label="shop.order", order_id="1001", operation_id="r", amount_minor=300)
    make_event(shopper, "order_placed", source="orders", event_id="host.order:1001")
    _keep_more(shopper, Reservation.objects.get(state="held"))
    shopper.refresh_from_db()
    return shopper


def _keep_more(shopper: Shopper, held: Reservation) -> None:
    """What programs and staff keep beside it: a summary, an occasion with its message, credit, signs of abuse."""
    now = timezone.now()
    ShopperSummary.objects.create(shopper=shopper, as_of=now)
    SessionVerdict.objects.create(shopper=shopper, first_at=now, last_at=now, events=1, is_bot=False)
    ShopperInterest.objects.create(shopper=shopper, category="tea", share=0.5)
    AudienceMember.objects.create(campaign=held.campaign, shopper=shopper)
    UsageSlot.objects.create(offer=held.offer, shopper=shopper, number=1, reservation=held)
    trigger = Trigger.objects.create(campaign=held.campaign, kind=Trigger.Kind.WELCOME)
    went_off = Occurrence.objects.create(trigger=trigger, shopper=shopper, key="once", open_until=now)
    OutboxMessage.objects.create(
        occurrence=went_off, campaign=held.campaign, shopper=shopper, channel="email", dedupe_key="welcome"
    )
    RiskFact.objects.create(reservation=held, shopper=shopper, kind="device", digest="d" * 64)
    RiskReview.objects.create(reservation=held, score=100, note="Mrs secret called", state="approved")
    support.give_goodwill(shopper, 500, "EUR", by=make_account(), reason="Sorry, Mrs secret", idempotency_key="1")
    referral = risk.referral_key(shopper, "friend")
    coupons.issue(held.offer, origin=Coupon.Origin.TRIGGER, claim_key=referral)
    rollups.catch_up()
    rollups.mark_stale([shopper.pk], now.date(), now.date())
    ProfileVersion.objects.create(shopper=shopper, attributes={"city": "secret"}, valid_to=now)


def tables_with_a_shopper() -> list[type[models.Model]]:
    return [
        model
        for model in apps.get_app_config("personalization").get_models()
        if any(
            field.is_relation and field.related_model is Shopper and field.name == "shopper"
            for field in model._meta.fields
        )
    ]


def everything() -> str:
    """Return every row of the app as text."""
    rows: list[Any] = []
    for model in apps.get_app_config("personalization").get_models():
        rows += model._default_manager.values()
    return json.dumps(rows, cls=DjangoJSONEncoder)


def totals() -> list[tuple[Any, ...]]:
    """Return what the ledger says of each campaign, and each redemption's money."""
    ledger = list(LedgerEntry.objects.order_by("pk").values_list("campaign", "kind", "reserved_delta", "spent_delta"))
    spent = list(Redemption.objects.values_list("order_id", "amount_minor", "refunded_minor"))
    spent += list(GiftCardEntry.objects.values_list("operation_id", "balance_delta", "card__balance_minor"))
    return [*ledger, *spent, *Campaign.objects.order_by("pk").values_list("pk", "reserved_minor", "spent_minor")]


# --- Every room is asked ----------------------------------------------------------------------------------------------


def test_every_table_with_a_shopper_is_exported_and_erased() -> None:
    """A room that adds a table is found here, before a shopper finds it."""
    tables = set(tables_with_a_shopper())
    assert len(tables) >= 10
    assert {model for model, _fields in EXPORTED.values()} == tables
    assert {Event, *ERASED, *ANONYMISED} == tables


# --- Export -----------------------------------------------------------------------------------------------------------


def test_all_that_is_computed_of_a_shopper_is_told(known: Shopper) -> None:
    ShopperSummary.objects.filter(shopper=known).update(device="tablet", cluster="weekend", last_seen_at=timezone.now())
    (summary,) = api.export(known)["summary"]
    assert (summary["device"], summary["cluster"]) == ("tablet", "weekend")
    assert {field.attname for field in ShopperSummary._meta.fields} - set(summary) == {"shopper_id", "population"}


def test_the_export_is_complete(known: Shopper) -> None:
    given = api.export(known)
    for name, (model, _fields) in EXPORTED.items():
        assert len(given[name]) == model._default_manager.filter(shopper=known).count() > 0, name
    text = json.dumps(given, cls=DjangoJSONEncoder)
    for told in ("secret-item", "secret", "home_hero", "1001", "personalisation", str(known.key), "visitor"):
        assert told in text, told
    assert given["profile"]["consent_personalisation"] is True
    assert given["profile"]["attributes"] == known.attributes


def test_the_export_is_ones_own_and_holds_no_secret(known: Shopper, visitor: Browser) -> None:
    other = api.shopper_for_user(make_account())
    make_event(other, item_id="others")
    text = json.dumps(api.export(known), cls=DjangoJSONEncoder)
    assert "others" not in text
    for coupon in Coupon.objects.all():
        assert coupon.code_digest not in text
        assert coupon.code_ciphertext not in text
    assert visitor.visitor() not in text  # whoever reads the file must not be able to take the cookie's place


def test_somebody_of_whom_nothing_is_known_gets_a_profile(db: None) -> None:
    given = api.export(Shopper.objects.create())
    assert {name for name, rows in given.items() if rows} == {"profile"}


def test_what_a_merge_left_with_the_visitor_is_exported_and_erased_too(known: Shopper) -> None:
    account = make_account()
    joined = api.shopper_for_user(account)
    consent.record(joined, CONSENT_PURPOSES, source="test")
    offer = make_offer()
    api.claim(offer.pk, shopper=joined)
    left = api.claim(offer.pk, shopper=known)
    logins.link_at_login(make_request(visitor=make_alias(known)), account)
    assert Coupon.objects.get(pk=left.coupon_id).shopper == known
    text = json.dumps(api.export(joined), cls=DjangoJSONEncoder)
    assert left.coupon_id in text
    api.erase(joined)
    assert not Shopper.objects.exists()
    assert known.key.hex not in everything().replace("-", "")


# --- Erasure ----------------------------------------------------------------------------------------------------------


def test_erasure_leaves_no_trace_and_the_same_totals(known: Shopper, visitor: Browser) -> None:
    before, cookie = totals(), visitor.visitor()
    identifiers = [known.key.hex, cookie, "secret", "ada@example.org"]
    identifiers += list(ShopperAlias.objects.values_list("value", flat=True))
    identifiers += [row.event_id for row in Event.objects.all()]
    assert all(one in everything().replace("-", "") or one == "ada@example.org" for one in identifiers[:3])
    counts = api.erase(known)
    assert counts["events"] >= 3
    assert totals() == before
    assert all(verify_ledger(campaign) == [] for campaign in Campaign.objects.all())
    for model in tables_with_a_shopper():
        assert not model._default_manager.exclude(shopper=None).exists(), model
    for model in (Event, Exposure, Decision, QuarantinedEvent, ShopperAlias):
        assert not model._default_manager.exists(), model
    left = everything().replace("-", "")
    assert [one for one in identifiers if one.replace("-", "") in left] == []
    assert Coupon.objects.count() == 4  # the friend's too
    assert Redemption.objects.get().amount_minor == 1000


def test_erasing_twice_erases_nothing_more(known: Shopper) -> None:
    api.erase(known)
    claims = EventClaim.objects.count()
    assert set(api.erase(known).values()) == {0}
    assert EventClaim.objects.count() == claims


def test_others_stay_as_they_are(known: Shopper) -> None:
    other = api.shopper_for_user(make_account())
    consent.record(other, CONSENT_PURPOSES, source="test")
    make_event(other)
    offer = make_offer()
    code = api.claim(offer.pk, shopper=other).code
    before = json.dumps(api.export(other), cls=DjangoJSONEncoder)
    api.erase(known)
    assert json.dumps(api.export(other), cls=DjangoJSONEncoder) == before
    assert api.preview(shopper=other, basket=make_basket(), code=code)


def test_an_erased_shoppers_coupon_becomes_nobodys(known: Shopper) -> None:
    """Without its shopper a coupon would be one for everybody: it is voided, and what it held still goes through."""
    codes = [view.code for view in api.coupons_of(known)]
    held = Reservation.objects.get(state="held")
    stranger = api.shopper_for_user(make_account())
    api.erase(known)
    for code in codes:
        for person in (stranger, None):
            with pytest.raises(CouponRefused):
                api.preview(shopper=person, basket=make_basket(), code=code)
    with transaction.atomic():
        assert api.redeem(held.pk, order_label="shop.order", order_id="1002") == 1000
    assert all(verify_ledger(campaign) == [] for campaign in Campaign.objects.all())


def test_redemptions_of_the_erased_can_still_be_refunded(known: Shopper) -> None:
    api.erase(known)
    assert api.refund(order_label="shop.order", order_id="1001", operation_id="late") == 700


# --- What was erased does not come back -------------------------------------------------------------------------------


def test_replayed_events_of_the_erased_store_nothing(known: Shopper, visitor: Browser) -> None:
    sent = [event("product_viewed", item_id="p-1"), event()]
    assert visitor.events(*sent).json()["accepted"] == 2
    cookie = visitor.visitor()
    api.erase(known)
    assert visitor.events(*sent).status_code == 204  # the cookie leads nowhere
    # Even if the same cookie came to somebody again, the events' own identities are remembered.
    again = Shopper.objects.create(consent_personalisation=True)
    ShopperAlias.objects.create(kind="visitor", value=cookie, shopper=again)
    assert visitor.events(*sent, event()).json() == {"accepted": 1, "duplicates": 2, "quarantined": 0, "dropped": 0}
    assert Event.objects.count() == 1


def test_the_erased_are_remembered_after_the_keys_were_rotated(configure: Configure, hosted: None) -> None:
    configure(SECRET_KEYS=["old"])
    host.ORDERS.append(make_order(guest_ref="ada@example.org"))
    api.backfill_orders()
    (row,) = Event.objects.all()
    fact = EventData(row.source, row.event_id, row.type, Shopper.objects.create().pk, row.occurred_at)
    api.erase(row.shopper)
    for keys in (["old"], ["new", "old"], ["newest", "new", "old"]):
        configure(SECRET_KEYS=keys)
        assert api.backfill_orders() == 0
        assert api.store_events([fact]) == 0


def test_a_backfill_does_not_bring_back_the_erased(hosted: None) -> None:
    account = make_account()
    host.ORDERS += [make_order("1", guest_ref="ada@example.org"), make_order("2", user_id=account.pk), make_order("3")]
    assert api.backfill_orders() == 3
    for shopper in Shopper.objects.all():
        api.erase(shopper)
    assert api.backfill_orders() == 0
    assert not Event.objects.exists()
    assert not Shopper.objects.exists()  # nor their hashed address, nor an empty shell of them
    assert not ShopperAlias.objects.exists()


def test_an_order_of_today_is_somebody_new(hosted: None, known: Shopper) -> None:
    api.erase(known)
    host.ORDERS.append(make_order("2002", guest_ref="ada@example.org", placed_at=timezone.now()))
    assert api.backfill_orders() == 1
    assert Event.objects.get().shopper.pk != known.pk
    assert not any(Event.objects.get().shopper.allows(purpose) for purpose in CONSENT_PURPOSES)
