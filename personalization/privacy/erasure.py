"""What is kept about a shopper, given out and erased. Each room's table is registered here once.

Erasure deletes behaviour, scores, decisions, messages, signs of abuse and aliases; coupons, reservations, redemptions,
gift cards and what support did lose the shopper and keep their amounts, so that the ledgers' totals do not change.
Erased events leave tombstones: a replay stores nothing.
Visitors who were merged into the shopper are the same person: what stayed with them goes along.
"""

from __future__ import annotations

from typing import Any

from django.db import transaction
from django.forms.models import model_to_dict
from django.utils import timezone

from personalization.models import (
    AudienceMember,
    ConsentRecord,
    Coupon,
    Decision,
    Event,
    EventTombstone,
    Exposure,
    FormerAlias,
    GiftCard,
    Occurrence,
    OutboxMessage,
    QuarantinedEvent,
    Redemption,
    Reservation,
    RiskFact,
    RiskReview,
    SessionVerdict,
    Shopper,
    ShopperAlias,
    ShopperInterest,
    ShopperScores,
    ShopperSummary,
    SupportAction,
    UsageSlot,
)
from personalization.tracking.identity import batches, lock
from personalization.tracking.storage import tombstone

SUMMARY = tuple(
    field.attname for field in ShopperSummary._meta.concrete_fields if field.name not in {"shopper", "population"}
)
EXPORTED: dict[str, tuple[Any, tuple[str, ...]]] = {
    "events": (
        Event,
        ("type", "item_id", "category", "offer_id", "value_minor", "properties", "occurred_at", "channel"),
    ),
    "set_aside": (QuarantinedEvent, ("payload", "reason", "received_at")),
    "exposures": (
        Exposure,
        ("offer_id", "arm", "exposed_at", "viewed_at", "clicked_at", "redeemed_at", "purchased_at"),
    ),
    "decisions": (Decision, ("slot", "at", "arm", "chosen", "features", "fallback")),
    "scores": (ShopperScores, ("offers", "kinds", "items", "values")),
    "coupons": (Coupon, ("id", "offer_id", "issued_at", "expires_at", "used_count")),
    "reservations": (Reservation, ("offer_id", "state", "amount_minor", "created_at", "expires_at")),
    "redemptions": (Redemption, ("order_label", "order_id", "amount_minor", "redeemed_at")),
    "gift_cards": (GiftCard, ("id", "kind", "currency", "balance_minor", "created_at", "expires_at")),
    "usage": (UsageSlot, ("offer_id", "number")),
    "summary": (ShopperSummary, SUMMARY),
    "interests": (ShopperInterest, ("category", "share")),
    "audiences": (AudienceMember, ("campaign_id",)),
    "occasions": (Occurrence, ("trigger_id", "key", "at", "open_until")),
    "messages": (OutboxMessage, ("campaign_id", "channel", "state", "sent_at", "created_at")),
    "signs_of_abuse": (RiskFact, ("kind", "at")),
    "support": (SupportAction, ("kind", "amount_minor", "currency", "reason", "at")),
    "consents": (ConsentRecord, ("purpose", "granted", "wording_version", "source", "at")),
    "judged_sessions": (SessionVerdict, ("first_at", "last_at", "is_bot", "rule")),
    "known_as": (ShopperAlias, ("kind", "created_at")),
    "formerly_known_as": (FormerAlias, ("kind", "since", "until")),
}
ERASED = (
    Exposure,
    Decision,
    ShopperScores,
    ShopperSummary,
    ShopperInterest,
    AudienceMember,
    OutboxMessage,  # before the occurrences that they hang on
    Occurrence,
    RiskFact,
    SessionVerdict,
    UsageSlot,
    QuarantinedEvent,
    ConsentRecord,
    ShopperAlias,
    FormerAlias,
)
ANONYMISED = (Coupon, Reservation, Redemption, GiftCard, SupportAction)


def export(shopper: Shopper) -> dict[str, Any]:
    """Return everything kept about a shopper, ready for JSON."""
    profile = model_to_dict(shopper, fields=["population", "attributes"])
    profile.update(
        key=str(shopper.key), joined_at=shopper.joined_at, consent_analytics=shopper.consent_analytics,
        consent_personalisation=shopper.consent_personalisation, consent_marketing=shopper.consent_marketing,
    )  # fmt: skip
    kept: dict[str, Any] = {"profile": profile}
    people = _people(shopper)
    for name, (model, fields) in EXPORTED.items():
        rows = model._default_manager.filter(shopper__in=people).order_by("pk")
        kept[name] = list(rows.values(*fields).iterator(chunk_size=2000))
    return kept


def erase(shopper: Shopper) -> dict[str, int]:
    """Erase a shopper everywhere and return how many rows went, by table. Repeating it erases nothing more."""
    counts: dict[str, int] = {}
    with transaction.atomic():
        people = _people(shopper)
        lock(people)
        _bury_events(people)
        _blank_words(people)
        counts["events"] = Event.objects.filter(shopper__in=people)._raw_delete("default")
        for model in ERASED:
            counts[model._meta.model_name or ""] = model._default_manager.filter(shopper__in=people).delete()[0]
        # A coupon that belongs to nobody is everybody's: it is voided. What it holds already still goes through.
        Coupon.objects.filter(shopper__in=people, voided_at=None).update(voided_at=timezone.now())
        for kept in ANONYMISED:
            counts[kept._meta.model_name or ""] = kept._default_manager.filter(shopper__in=people).update(shopper=None)
        counts["shopper"] = Shopper.objects.filter(pk__in=people).delete()[0]
    return counts


def _people(shopper: Shopper) -> list[int]:
    """Return the shopper's key and those of the visitors merged into them."""
    return [shopper.pk, *Shopper.objects.filter(merged_into=shopper).order_by("pk").values_list("pk", flat=True)]


def _blank_words(people: list[int]) -> None:
    """Take out what staff wrote about the shopper, and their name from the coupons that their referrals got."""
    SupportAction.objects.filter(shopper__in=people).exclude(reason="").update(reason="")
    RiskReview.objects.filter(reservation__shopper__in=people).exclude(note="").update(note="")
    for key in Shopper.objects.filter(pk__in=people).values_list("key", flat=True):
        Coupon.objects.filter(claim_key__startswith=f"referral:{key.hex}").update(claim_key="")


def _bury_events(people: list[int]) -> None:
    rows = Event.objects.filter(shopper__in=people).values_list("source", "event_id")
    for batch in batches(rows.iterator(chunk_size=2000)):
        EventTombstone.objects.bulk_create(
            [EventTombstone(digest=tombstone(source, event_id)) for source, event_id in batch],
            ignore_conflicts=True,
        )
