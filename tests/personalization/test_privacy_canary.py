"""A canary in every room of a shopper's: after the erasure a dump of the whole database knows it no more."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any
from unittest import mock

import pytest
from django.apps import apps
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.contenttypes.models import ContentType
from django.core.cache import cache
from django.db import connection, models
from django.utils import timezone

from personalization import api
from personalization.campaigns import coupons, giftcards, risk, support
from personalization.campaigns.ledger import verify_ledger
from personalization.models import (
    AudienceMember,
    AuditEntry,
    Campaign,
    CampaignRevision,
    ConsentRecord,
    Coupon,
    Decision,
    Event,
    Exposure,
    ExposurePrediction,
    FormerAlias,
    GiftCardEntry,
    GiftCardHold,
    Job,
    LedgerEntry,
    ModelVersion,
    Occurrence,
    OutboxMessage,
    ProfileVersion,
    QuarantinedEvent,
    Redemption,
    Reservation,
    RiskFact,
    RiskReview,
    RolledShopper,
    SessionVerdict,
    Shopper,
    ShopperAlias,
    ShopperDay,
    ShopperDayCategory,
    ShopperInterest,
    ShopperMerge,
    ShopperScores,
    ShopperSummary,
    StaleDays,
    Trigger,
    UsageSlot,
)
from personalization.ports.signals import events_rewritten
from personalization.privacy import erasure, rooms
from personalization.tracking import audit, consent, secrets
from personalization.types import CONSENT_PURPOSES, EventData
from tests.personalization.builders import Browser, event, make_account, make_offer, make_scores, score

pytestmark = pytest.mark.django_db
CANARY = "canary7x9"
KEY, VISITOR_KEY = 918273645546372, 918273645546373
"""Primary keys that stand for nobody else in the dump."""
NOW = timezone.now()
_TOKEN = re.compile(r"gAAAA[\w-]{40,}={0,2}")


def dump() -> str:
    """Return every column of every row of every table as text; what is encrypted, opened."""
    text: list[str] = []
    with connection.cursor() as cursor:
        for table in connection.introspection.table_names(cursor):
            cursor.execute(f"SELECT * FROM {connection.ops.quote_name(table)}")
            text += [f"{table}: {value}" for row in cursor.fetchall() for value in row if value not in (None, "")]
    whole = "\n".join(text)
    opened = [secrets.decrypt(token) for token in _TOKEN.findall(whole)]
    return "\n".join([whole, *opened, *map(str, getattr(cache, "_cache", {}).items())]).lower()


def found(wanted: list[str]) -> list[str]:
    """Return the lines of a dump in which one of these stands, in whichever spelling."""
    lines = dump().split("\n")
    spellings = [word.lower() for each in wanted for word in {each, each.replace("-", "")}]
    return [line for line in lines if any(word in line or word in line.replace("-", "") for word in spellings)]


def totals() -> list[Any]:
    return [
        *(verify_ledger(campaign) for campaign in Campaign.objects.order_by("pk")),
        *LedgerEntry.objects.order_by("pk").values_list("pk", "kind", "reserved_delta", "spent_delta"),
        *Campaign.objects.order_by("pk").values_list("pk", "reserved_minor", "spent_minor"),
        *Redemption.objects.order_by("pk").values_list("order_id", "amount_minor", "refunded_minor"),
        *GiftCardEntry.objects.order_by("pk").values_list("balance_delta", "card__balance_minor"),
    ]


@pytest.fixture
def shopper(visitor: Browser, plain: None) -> Shopper:
    """A shopper with an account, a merged visitor, and the canary wherever something of theirs can stand."""
    made = Shopper.objects.create(
        pk=KEY, user=make_account(), attributes={"name": CANARY, "city": CANARY, "tier": "gold"}
    )
    consent.record(made, CONSENT_PURPOSES, source="test")
    merged = Shopper.objects.create(pk=VISITOR_KEY, merged_into=made)
    cookie = visitor.visitor()
    ShopperAlias.objects.filter(value=cookie).update(shopper=made)
    Shopper.objects.exclude(pk__in=(KEY, VISITOR_KEY)).delete()
    for person, name in ((made, f"{CANARY}-crm"), (merged, f"{CANARY}-old")):
        ShopperAlias.objects.create(kind="external", value=name, shopper=person)
    _behave(visitor, made, merged)
    _hold(made)
    _tell(made, merged)
    return made


def _behave(visitor: Browser, made: Shopper, merged: Shopper) -> None:
    answer = visitor.events(
        event("search_performed", properties={"query": CANARY}),
        event("product_viewed", item_id=CANARY),
        event("review_submitted", item_id="tea", properties={"rating": 5, "text": CANARY}),
        event("teleported", properties={"to": CANARY}),
    )
    assert answer.json()["accepted"] == 3
    api.store_events([_fact(f"{CANARY}:1", merged)])
    QuarantinedEvent.objects.create(  # a file's row, before its shopper was known
        source="import", payload={"shopper": f"{CANARY}-crm", "type": "page_viewed"}, reason="no such shopper"
    )


def _fact(event_id: str, person: Shopper | int) -> EventData:
    pk = person if isinstance(person, int) else person.pk
    return EventData("till", event_id, "order_placed", pk, NOW, value_minor=700, properties={"order_id": CANARY})


def _hold(made: Shopper) -> None:
    """Coupons, reservations and redemptions, credit and goodwill, with the keys that a host chose."""
    offers = [make_offer(per_shopper=1) for _ in range(3)]
    scores = make_scores()
    assert scores.response_version is not None
    score(scores, made, {offers[0].pk: [0.5, 0.5, 0.0, 0.5]}, items=[CANARY])
    api.decide("home_hero", shopper=made, limit=3)
    for exposure in Exposure.objects.filter(shopper=made):
        ExposurePrediction.objects.create(exposure=exposure, version=scores.response_version, heads=[0.5])
    coupon = coupons.issue(offers[0], shopper=made, origin=Coupon.Origin.TRIGGER, claim_key=f"{CANARY}-claim")
    row = {"coupon": coupon, "offer": offers[0], "campaign": offers[0].campaign, "shopper": made}
    spent = Reservation.objects.create(
        **row, idempotency_key=f"{CANARY}-a", basket_key=f"{CANARY}-b", basket_reference=f"{CANARY}-c",
        state="redeemed", amount_minor=500, expires_at=NOW,
    )  # fmt: skip
    Redemption.objects.create(**row, reservation=spent, order_label="shop", order_id="1001", amount_minor=500)
    UsageSlot.objects.create(offer=offers[0], shopper=made, number=1, reservation=spent)
    RiskFact.objects.create(reservation=spent, shopper=made, kind="device", digest="d" * 64)
    RiskReview.objects.create(reservation=spent, score=100, note=CANARY, state="approved")
    card = support.give_goodwill(made, 500, "EUR", by=make_account("staff"), reason=CANARY, idempotency_key="1")
    GiftCardHold.objects.create(
        card=card, idempotency_key=f"{CANARY}-hold", amount_minor=1, state="spent", expires_at=NOW
    )
    giftcards.credit(made, 100, "EUR", operation_id="grant:1")
    coupons.issue(offers[1], origin=Coupon.Origin.TRIGGER, claim_key=risk.referral_key(made, "friend"))
    offers[2].attributes = {"referrer": str(made.key)}
    offers[2].save()
    CampaignRevision.objects.create(
        campaign=offers[2].campaign, number=99, snapshot={"offers": [{"attributes": {"referrer": str(made.key)}}]}
    )


def _tell(made: Shopper, merged: Shopper) -> None:
    """What programs compute and send, and what staff's history says."""
    ShopperSummary.objects.create(shopper=made, as_of=NOW, top_category=CANARY)
    ShopperInterest.objects.create(shopper=made, category=CANARY, share=0.5)
    _count(made)
    _were(made, merged)
    campaign = Campaign.objects.order_by("pk").first()
    assert campaign is not None
    AudienceMember.objects.create(campaign=campaign, shopper=made)
    trigger = Trigger.objects.create(campaign=campaign, kind=Trigger.Kind.WELCOME)
    went_off = Occurrence.objects.create(trigger=trigger, shopper=made, key=CANARY, open_until=NOW)
    OutboxMessage.objects.create(
        occurrence=went_off, campaign=campaign, shopper=made, channel="email", dedupe_key=f"{CANARY}:{made.pk}"
    )
    Decision.objects.create(
        shopper=merged, slot="home_hero", policy="p", eligible=[], excluded={}, chosen=[], features={"city": CANARY}
    )
    staff = make_account("historian")
    for row in (made, merged, *QuarantinedEvent.objects.all(), *Event.objects.all()):
        LogEntry.objects.create(
            user_id=staff.pk, content_type=ContentType.objects.get_for_model(row), object_id=str(row.pk),
            object_repr=f"{CANARY} {row.pk}", action_flag=CHANGE, change_message=CANARY,
        )  # fmt: skip
    audit.note(audit.Action.VIEWED, by=staff, subject=audit.pseudonym(made), why="support", reference="T-1")


def _count(made: Shopper) -> None:
    """What is counted by day, to be counted again, and the profile of before."""
    RolledShopper.objects.create(shopper=made)
    ShopperDay.objects.create(
        shopper=made, day=NOW.date(), events=1, orders=0, spent_minor=0, product_views=1, searches=0, basket_changes=0,
        last_seen_at=NOW, device=CANARY,
    )  # fmt: skip
    ShopperDayCategory.objects.create(shopper=made, day=NOW.date(), category=CANARY, item_id=CANARY, looks=1, orders=0)
    StaleDays.objects.create(shopper=made, first_day=NOW.date(), last_day=NOW.date())
    ProfileVersion.objects.create(shopper=made, attributes={"name": CANARY}, valid_to=NOW)


def _were(made: Shopper, merged: Shopper) -> None:
    """Who they were taken for, and what their sessions looked like."""
    ShopperMerge.objects.create(visitor=merged, account=made, reason="login", moved={"personalization.event": [KEY]})
    FormerAlias.objects.create(shopper=merged, kind="visitor", digest=CANARY, since=NOW, until=NOW)
    SessionVerdict.objects.create(shopper=made, first_at=NOW, last_at=NOW, events=1, is_bot=False)


def identifiers(made: Shopper) -> list[str]:
    """Return everything that leads to the person: keys, cookies, pseudonyms, and the canary in their words."""
    people = Shopper.objects.filter(pk__in=(KEY, VISITOR_KEY))
    aliases = ShopperAlias.objects.values_list("value", flat=True)
    events = Event.objects.values_list("event_id", flat=True)
    pseudonyms = [str(person.key) for person in people]
    # The account is the host's to erase; nothing of ours leads to it any more.
    return [CANARY, str(KEY), str(VISITOR_KEY), *pseudonyms, *aliases, *events]


def occupied() -> set[str]:
    """Return the tables in which the canary, or a key of the shopper's, stands."""
    return {line.split(":")[0] for line in found([CANARY, str(KEY), str(VISITOR_KEY)])}


# --- Everything goes --------------------------------------------------------------------------------------------------


def test_every_room_holds_the_canary_before(shopper: Shopper) -> None:
    """The control of the fixture: a room that it forgets would be empty and so found clean."""
    tables = occupied()
    missing = {
        model._meta.db_table
        for model in (*rooms.ERASED, *rooms.ANONYMISED, Event, Shopper, LogEntry, GiftCardHold)
        if model._meta.db_table not in tables
    }
    assert missing == set()


def test_a_dump_after_the_erasure_knows_nothing(shopper: Shopper, visitor: Browser) -> None:
    wanted, before = identifiers(shopper), totals()
    named = shopper.key.hex
    api.erase(shopper)
    assert found(wanted) == []
    assert totals() == before
    entry = AuditEntry.objects.get(action="erased")
    assert entry.subject == secrets.pseudonym(named)
    assert entry.details["rows"]["shopper"] == 2
    assert entry.details["rows"]["events"] == 4


def test_a_replay_brings_nothing_back(shopper: Shopper, visitor: Browser) -> None:
    wanted = identifiers(shopper)
    rows = list(Event.objects.values_list("source", "event_id", "type"))
    cookie = visitor.visitor()
    api.erase(shopper)
    heir = Shopper.objects.create(consent_personalisation=True)
    facts = [EventData(source, event_id, kind, heir.pk, NOW) for source, event_id, kind in rows]
    for _ in range(3):
        assert api.store_events(facts) == 0
    assert visitor.events(event("search_performed", properties={"query": CANARY})).status_code == 204
    assert visitor.visitor() == cookie
    assert found(wanted) == []


@pytest.mark.parametrize("room", [Decision, QuarantinedEvent, ShopperAlias, ShopperSummary, ShopperScores])
def test_a_room_that_is_left_out_is_found(shopper: Shopper, room: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The control: without its registration a room keeps the canary, and the dump says where."""
    monkeypatch.setattr(erasure, "ERASED", tuple(model for model in rooms.ERASED if model not in (room, ConsentRecord)))
    monkeypatch.setattr(models.QuerySet, "delete", _keep_shoppers(models.QuerySet.delete))
    wanted = identifiers(shopper)
    erasure.erase(shopper)
    assert room._meta.db_table in {line.split(":")[0] for line in found(wanted)}


def _keep_shoppers(delete: Any) -> Any:
    """Shoppers stay, and so their consent: with them a cascade would hide the room that is missing."""

    def kept(rows: Any) -> Any:
        return (0, {}) if rows.model is Shopper else delete(rows)

    return kept


def test_models_that_may_have_learnt_are_listed(shopper: Shopper) -> None:
    old, new = ({"cutoff_at": NOW + timedelta(days=days)} for days in (-400, 1))
    given = {"task": "response", "estimator": "x", "path": "p", "sha256": "0", "size_bytes": 1}
    ModelVersion.objects.create(**given, **old)
    learnt = ModelVersion.objects.create(**given, **new, state="retired")
    ModelVersion.objects.create(**given, **new, population="elsewhere")
    api.erase(shopper)
    assert AuditEntry.objects.get(action="erased").details["models"] == [learnt.pk]


def test_a_training_under_way_is_listed(shopper: Shopper) -> None:
    """What it makes comes after the erasure, of what it read before."""
    running = Job.objects.create(kind="train", state="running")
    for kind, state in (("train", "queued"), ("train", "succeeded"), ("score", "running")):
        Job.objects.create(kind=kind, state=state)
    stranger = Shopper.objects.create()
    api.store_events([_fact("1", stranger)])
    for person, learning in ((shopper, [running.pk]), (stranger, [])):
        api.erase(person)
        assert AuditEntry.objects.filter(action="erased").latest("pk").details["learning"] == learning


def test_a_training_that_begins_during_the_erasure_is_listed(shopper: Shopper) -> None:
    """Until the erasure is committed it reads what is being deleted."""
    waiting = Job.objects.create(kind="train", state="queued")
    going_on = erasure._forget_history

    def begins(*given: Any) -> int:
        Job.objects.filter(pk=waiting.pk).update(state="running")
        return going_on(*given)

    with mock.patch.object(erasure, "_forget_history", begins):
        api.erase(shopper)
    assert AuditEntry.objects.get(action="erased").details["learning"] == [waiting.pk]


def test_no_model_learnt_from_who_never_agreed(db: None) -> None:
    ModelVersion.objects.create(
        task="response", estimator="x", path="p", sha256="0", size_bytes=1, cutoff_at=NOW + timedelta(days=1)
    )
    stranger = Shopper.objects.create()
    api.store_events([_fact("1", stranger)])
    api.erase(stranger)
    assert AuditEntry.objects.get(action="erased").details["models"] == []


def test_whoever_counts_events_is_told(shopper: Shopper) -> None:
    told: list[Any] = []

    def hear(**kwargs: Any) -> None:
        told.append((sorted(kwargs["shopper_ids"]), kwargs["first_day"] <= NOW.date() <= kwargs["last_day"]))

    events_rewritten.connect(hear)
    try:
        api.erase(shopper)
    finally:
        events_rewritten.disconnect(hear)
    assert told == [([KEY, VISITOR_KEY], True)]


# --- New rooms --------------------------------------------------------------------------------------------------------


def test_every_key_to_a_shopper_is_registered_or_exempt() -> None:
    """A new table that points to a shopper, under whatever name, belongs into the rooms or says why not."""
    registered = {Event, *rooms.ERASED, *rooms.ANONYMISED}
    unknown = [
        f"{model.__name__}.{field.name}"
        for model in apps.get_models()
        for field in model._meta.get_fields()
        if isinstance(field, models.ForeignKey) and field.related_model is Shopper
        if not (model in registered and field.name == "shopper")
    ]
    assert sorted(unknown) == sorted(rooms.EXEMPT)
    assert all(rooms.EXEMPT.values())


# --- Handed out -------------------------------------------------------------------------------------------------------


def test_the_export_has_what_the_dump_has(shopper: Shopper) -> None:
    given = api.export(shopper)
    empty = {name for name, rows in given.items() if not rows}
    assert empty == {"later_benefits"}
    (told,) = given["disclosures"]
    assert (told["action"], told["kind"], told["why"]) == ("viewed", "shopper", "support")
    assert CANARY in str(given["events"]) + str(given["set_aside"])


def test_an_export_by_staff_is_logged_and_ones_own_is_not(shopper: Shopper) -> None:
    api.export(shopper)
    assert not AuditEntry.objects.filter(action="exported").exists()
    staff = make_account("officer")
    api.export(shopper, by=staff, why="legal", reference="L-9")
    entry = AuditEntry.objects.get(action="exported")
    assert (entry.by, entry.why, entry.reference) == (staff, "legal", "L-9")
    assert CANARY not in str(entry.details)
