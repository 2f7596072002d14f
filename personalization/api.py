"""The door for Python callers: hosts, simulations and tests. Thin: each verb lives in its room.

``redeem`` and ``refund`` belong inside the host's own order transaction; everything that a client may repeat takes
an idempotency key. Shoppers are found from a request with :func:`shopper_for`.
"""

from personalization.campaigns.authoring import create_campaign, find_campaign
from personalization.campaigns.coupons import CouponView, claim, coupons_of, preview
from personalization.campaigns.giftcards import CardView as GiftCardView
from personalization.campaigns.giftcards import cards_of as gift_cards_of
from personalization.campaigns.giftcards import credit as give_credit
from personalization.campaigns.giftcards import hold as hold_gift_card
from personalization.campaigns.giftcards import issue as issue_gift_card
from personalization.campaigns.giftcards import refund as refund_gift_card
from personalization.campaigns.giftcards import release as release_gift_card
from personalization.campaigns.giftcards import spend as spend_gift_card
from personalization.campaigns.lifecycle import approve, launch, transition
from personalization.campaigns.quotes import (
    AppliedOffer,
    BasketHold,
    Quote,
    RefusedOffer,
    quote,
    redeem_basket,
    release_basket,
    reserve_quote,
)
from personalization.campaigns.redemption import expire_reservations, redeem, refund, release, reserve
from personalization.decisioning.decide import decide
from personalization.decisioning.products import recommend
from personalization.exceptions import (
    ApprovalRefused,
    ArtifactCorrupt,
    BasketNotEligible,
    ClaimRefused,
    ConsentMissing,
    CouponRefused,
    FrozenField,
    GiftCardRefused,
    InvalidAudience,
    InvalidEvent,
    InvalidTerms,
    InvalidTransition,
    KeyReused,
    MergeGone,
    MergeRefused,
    NotEnoughData,
    PersonalizationError,
    QuoteChanged,
    RefundRefused,
    ReservationGone,
    RevisionOutdated,
    TooManyTries,
    UnderReview,
    UnknownOffer,
    UnknownSlot,
)
from personalization.insight.feedback import join_outcomes, record_exposures
from personalization.insight.forecast import compare as compare_forecast
from personalization.privacy.erasure import erase
from personalization.privacy.handout import export
from personalization.pure.tax import Taxed, TaxedBasket
from personalization.pure.tax import after_discounts as tax_after_discounts
from personalization.tracking.backfill import backfill_orders, record_order
from personalization.tracking.catalog import sync_catalog, upsert_items
from personalization.tracking.consent import give_consent, purposes_of, withdraw_consent
from personalization.tracking.identity import shopper_for, shopper_for_user, upsert_shoppers
from personalization.tracking.ingest import store_events, track
from personalization.tracking.merging import merge as merge_shoppers
from personalization.tracking.merging import unmerge as unmerge_shoppers
from personalization.tracking.schema import EventType, Property
from personalization.tracking.schema import Kind as PropertyKind
from personalization.tracking.schema import register as register_event_type

__all__ = [
    "AppliedOffer",
    "ApprovalRefused",
    "ArtifactCorrupt",
    "BasketHold",
    "BasketNotEligible",
    "ClaimRefused",
    "ConsentMissing",
    "CouponRefused",
    "CouponView",
    "EventType",
    "FrozenField",
    "GiftCardRefused",
    "GiftCardView",
    "InvalidAudience",
    "InvalidEvent",
    "InvalidTerms",
    "InvalidTransition",
    "KeyReused",
    "MergeGone",
    "MergeRefused",
    "NotEnoughData",
    "PersonalizationError",
    "Property",
    "PropertyKind",
    "Quote",
    "QuoteChanged",
    "RefundRefused",
    "RefusedOffer",
    "ReservationGone",
    "RevisionOutdated",
    "Taxed",
    "TaxedBasket",
    "TooManyTries",
    "UnderReview",
    "UnknownOffer",
    "UnknownSlot",
    "approve",
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
    "gift_cards_of",
    "give_consent",
    "give_credit",
    "hold_gift_card",
    "issue_gift_card",
    "join_outcomes",
    "launch",
    "merge_shoppers",
    "preview",
    "purposes_of",
    "quote",
    "recommend",
    "record_exposures",
    "record_order",
    "redeem",
    "redeem_basket",
    "refund",
    "refund_gift_card",
    "register_event_type",
    "release",
    "release_basket",
    "release_gift_card",
    "reserve",
    "reserve_quote",
    "shopper_for",
    "shopper_for_user",
    "spend_gift_card",
    "store_events",
    "sync_catalog",
    "tax_after_discounts",
    "track",
    "transition",
    "unmerge_shoppers",
    "upsert_items",
    "upsert_shoppers",
    "withdraw_consent",
]
