"""What each room keeps about a shopper, registered here once: handed out, erased, or kept without them.

A table with a key to :class:`Shopper` that is missing here fails a test; what has no key is found by the test that
searches a dump of the whole database.
"""

from __future__ import annotations

from typing import Any

from personalization.models import (
    AudienceMember,
    ConsentRecord,
    Coupon,
    Decision,
    Event,
    Exposure,
    ExposurePrediction,
    FormerAlias,
    GiftCard,
    GiftCardEntry,
    Grant,
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
    ShopperAlias,
    ShopperDay,
    ShopperDayCategory,
    ShopperInterest,
    ShopperMerge,
    ShopperScores,
    ShopperSummary,
    StaleDays,
    SupportAction,
    UsageSlot,
)

SUMMARY = tuple(
    field.attname for field in ShopperSummary._meta.concrete_fields if field.name not in {"shopper", "population"}
)
DAYS = tuple(field.attname for field in ShopperDay._meta.concrete_fields if field.name != "shopper")
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
    "scores": (ShopperScores, ("offers", "kinds", "items", "values", "intent", "reasons")),
    "coupons": (Coupon, ("id", "offer_id", "issued_at", "expires_at", "used_count")),
    "reservations": (Reservation, ("offer_id", "state", "amount_minor", "created_at", "expires_at")),
    "redemptions": (Redemption, ("order_label", "order_id", "amount_minor", "redeemed_at")),
    "gift_cards": (GiftCard, ("id", "kind", "currency", "balance_minor", "created_at", "expires_at")),
    "usage": (UsageSlot, ("offer_id", "number")),
    "summary": (ShopperSummary, SUMMARY),
    "interests": (ShopperInterest, ("category", "share")),
    "days": (ShopperDay, DAYS),
    "days_by_category": (ShopperDayCategory, ("day", "category", "item_id", "looks", "orders")),
    "days_counted": (RolledShopper, ("shopper_id",)),
    "days_to_count_again": (StaleDays, ("first_day", "last_day")),
    "earlier_profiles": (ProfileVersion, ("attributes", "valid_from", "valid_to")),
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
    ShopperDay,
    ShopperDayCategory,
    StaleDays,
    RolledShopper,
    ProfileVersion,
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
RELATED: dict[str, tuple[Any, str, tuple[str, ...]]] = {
    "gift_card_movements": (GiftCardEntry, "card__shopper", ("card_id", "kind", "balance_delta", "order_id", "at")),
    "later_benefits": (Grant, "redemption__shopper", ("kind", "amount", "state", "due_at", "done_at")),
    "predictions": (ExposurePrediction, "exposure__shopper", ("version_id", "exposure_id", "heads")),
    "merges": (ShopperMerge, "account", ("at", "reason", "undone_at")),
    "reviews": (RiskReview, "reservation__shopper", ("state", "created_at", "decided_at")),
}
"""What hangs on a shopper's rows and is handed out with them: name → table, path to the shopper, columns."""
EXEMPT = {
    "ShopperMerge.visitor": "goes with the account, which is erased along with everybody merged into it",
    "ShopperMerge.account": "goes with either of the two; it holds keys of rows, which are erased themselves",
    "Shopper.merged_into": "a visitor who was merged into somebody is that person: erased along with them",
}
"""Keys to a shopper that no room above holds, each with the reason. A test knows no other exception."""
