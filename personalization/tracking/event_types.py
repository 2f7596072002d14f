"""The event types that come with the app."""

from __future__ import annotations

from personalization.tracking.declarations import EventType, Kind, Property, Unit
from personalization.types import Purpose

LESS, MORE, NEITHER = "less_like_this", "more_like_this", "neither"

_DECISION = Property("decision_id", max_length=100)
_POSITION = Property("position", Kind.WHOLE, unit=Unit.PLACE, least=0)
_DWELL = Property("dwell_ms", Kind.WHOLE, unit=Unit.MILLISECONDS, least=0, description="How long it was on the screen.")
_PATH = Property("path")
_OFFER = (_DECISION, _POSITION)
_DEVICE = Property("device", max_length=60, description="mobile, tablet or desktop; read off the request if not told.")
_MESSAGE = Property("message_channel", max_length=40, description="Of the message whose link was followed.")
_ORDER = Property("order_id", max_length=100, personal=True, lookup=True)
_LIST = Property("list", max_length=100, description="Which list or shelf it stood in.")

PAGES = (
    EventType("page_viewed", public=True, properties=(_PATH, Property("title"), _DWELL, _DEVICE)),
    EventType("page_left", public=True, properties=(_PATH, _DWELL), description="Dwell time, counted while visible."),
    EventType("product_viewed", needs=("item_id",), public=True, properties=(_DWELL, _DEVICE)),
    EventType("product_seen", needs=("item_id",), public=True, properties=(_POSITION, _LIST)),
    EventType("product_clicked", needs=("item_id",), public=True, properties=(_POSITION, _LIST)),
    EventType("category_viewed", public=True, properties=(_DEVICE,)),
    EventType(
        "search_performed",
        public=True,
        properties=(Property("query", personal=True), Property("results", Kind.WHOLE, unit=Unit.COUNT)),
    ),
    EventType(
        "basket_changed",
        needs=("item_id",),
        public=True,
        properties=(
            Property("quantity", Kind.WHOLE, unit=Unit.COUNT, description="0: removed."),
            Property("basket_total_minor", Kind.WHOLE, unit=Unit.MINOR),
        ),
    ),
)
OFFERS = (
    EventType("offer_shown", needs=("offer_id",), properties=_OFFER),
    EventType("offer_viewed", needs=("offer_id",), properties=_OFFER, public=True),
    EventType("offer_clicked", needs=("offer_id",), properties=(*_OFFER, _MESSAGE), public=True),
    EventType("offer_dismissed", needs=("offer_id",), properties=(_DECISION,), public=True),
    EventType("coupon_claimed", needs=("offer_id",)),
    EventType("coupon_redeemed", needs=("offer_id",)),
)
ORDERS = (
    EventType(
        "order_placed",
        purpose=Purpose.CONTRACT,
        properties=(
            _ORDER,
            Property("currency", max_length=3),
            Property("lines", Kind.LIST),
            Property("discount_minor", Kind.WHOLE, unit=Unit.MINOR),
        ),
        description="value_minor is the total.",
    ),
    EventType(
        "order_refunded",
        purpose=Purpose.CONTRACT,
        properties=(
            _ORDER,
            Property("currency", max_length=3),
        ),
        description="value_minor is the amount.",
    ),
)
SHOPPERS = (
    EventType("logged_in"),
    EventType(
        "review_submitted",
        needs=("item_id",),
        public=True,
        properties=(
            Property("rating", Kind.WHOLE, unit=Unit.POINTS, required=True, least=1, most=5),
            Property("title", max_length=200, personal=True),
            Property("text", max_length=5000, personal=True),
        ),
    ),
    EventType(
        "feedback_given",
        needs_any=("item_id", "category", "offer_id"),
        public=True,
        properties=(Property("wish", choices=(LESS, MORE, NEITHER), required=True), _DECISION),
        description="About a product, a category or an offer; the latest wish counts; neither takes one back.",
    ),
    EventType(
        "satisfaction_answered",
        purpose=Purpose.ANALYTICS,
        public=True,
        properties=(
            Property("question_id", max_length=100, required=True),
            Property("score", Kind.WHOLE, unit=Unit.POINTS, required=True, least=1, most=5),
            Property("comment", max_length=2000, personal=True),
        ),
    ),
)
BUILT_IN = (*PAGES, *OFFERS, *ORDERS, *SHOPPERS)
