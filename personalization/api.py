"""The door for Python callers: hosts, simulations and tests. Thin: each verb lives in its room.

``redeem`` and ``refund`` belong inside the host's own order transaction; everything that a client may repeat takes
an idempotency key. Shoppers are found from a request with :func:`shopper_for`.
"""

from personalization.campaigns.authoring import create_campaign, find_campaign
from personalization.campaigns.coupons import CouponView, claim, coupons_of, preview
from personalization.campaigns.lifecycle import launch, transition
from personalization.campaigns.redemption import expire_reservations, redeem, refund, release, reserve
from personalization.decisioning.decide import decide
from personalization.decisioning.products import recommend
from personalization.exceptions import (
    ArtifactCorrupt,
    BasketNotEligible,
    ClaimRefused,
    ConsentMissing,
    CouponRefused,
    InvalidAudience,
    InvalidEvent,
    InvalidTerms,
    InvalidTransition,
    NotEnoughData,
    PersonalizationError,
    RefundRefused,
    ReservationGone,
    UnknownOffer,
    UnknownSlot,
)
from personalization.insight.feedback import join_outcomes, record_exposures
from personalization.insight.forecast import compare as compare_forecast
from personalization.privacy.erasure import erase, export
from personalization.tracking.backfill import backfill_orders, record_order
from personalization.tracking.catalog import sync_catalog, upsert_items
from personalization.tracking.consent import give_consent, purposes_of, withdraw_consent
from personalization.tracking.identity import shopper_for, shopper_for_user, upsert_shoppers
from personalization.tracking.ingest import store_events, track

__all__ = [
    "ArtifactCorrupt",
    "BasketNotEligible",
    "ClaimRefused",
    "ConsentMissing",
    "CouponRefused",
    "CouponView",
    "InvalidAudience",
    "InvalidEvent",
    "InvalidTerms",
    "InvalidTransition",
    "NotEnoughData",
    "PersonalizationError",
    "RefundRefused",
    "ReservationGone",
    "UnknownOffer",
    "UnknownSlot",
    "backfill_orders",
    "claim",
    "compare_forecast",
    "coupons_of",
    "create_campaign",
    "decide",
    "erase",
    "expire_reservations",
    "export",
    "find_campaign",
    "give_consent",
    "join_outcomes",
    "launch",
    "preview",
    "purposes_of",
    "recommend",
    "record_exposures",
    "record_order",
    "redeem",
    "refund",
    "release",
    "reserve",
    "shopper_for",
    "shopper_for_user",
    "store_events",
    "sync_catalog",
    "track",
    "transition",
    "upsert_items",
    "upsert_shoppers",
    "withdraw_consent",
]
