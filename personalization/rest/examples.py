"""Bodies and answers that stand in the description; a test holds each against its schema."""

from __future__ import annotations

from typing import Any

RESERVATION = "0b9a8f5e-6c56-4a39-9f0e-0d6ac1b6f6f5"
COUPON = "5d3f1f0e-0a4f-4a3b-8f52-3b1f0d6b2c11"
HOLD = "c0a1f3a2-7c8e-4f0f-9a44-1f6b8b6f9e21"
LATER = "2026-03-01T10:30:00Z"
BASKET: dict[str, Any] = {
    "currency": "EUR",
    "lines": [{"item_id": "42", "quantity": 2, "unit_price_minor": 1250, "category": "garden"}],
}
ORDER = {"order_label": "shop.order", "order_id": "260301-7K4M"}
AMOUNT = {"amount_minor": 250}
RELEASED = {"released": True}

CLAIM = {"offer_id": 7, "idempotency_key": "claim-1"}
ISSUED = {"coupon_id": COUPON, "code": "ABCD-EFGH-JKMN-PQRS", "offer_id": 7, "expires_at": LATER, "new": True}
PREVIEW = {"code": "ABCD-EFGH-JKMN-PQRS", "basket": BASKET}
PREVIEWED = {"coupon_id": COUPON, "discount_minor": 250, "per_line_minor": [250]}
RESERVE = {**PREVIEW, "idempotency_key": "checkout-17"}
RESERVED = {**PREVIEWED, "reservation_id": RESERVATION, "expires_at": LATER}
RELEASE = {"reservation_id": RESERVATION}
REDEEM = {**RELEASE, **ORDER, "basket": BASKET}
REFUND = {**ORDER, "operation_id": "return-1", "amount_minor": 125}

QUOTE_REQUEST = {"basket": BASKET, "coupon_ids": [COUPON], "codes": [], "automatic": True}
BENEFIT = {
    "off_minor": 250,
    "per_line_minor": [250],
    "shipping_minor": 0,
    "gifts": [],
    "later_minor": 0,
    "points": 0,
}
QUOTE = {
    "token": "eyJiIjoi…:1vK…",
    "applied": [{"offer_id": 7, "coupon_id": COUPON, "name": "A tenth off", **BENEFIT}],
    "refused": [
        {
            "offer_id": 9,
            "coupon_id": "",
            "name": "Free delivery",
            "reason": "below_threshold",
            "message": "Spend €15.00 more to use this offer.",
        }
    ],
    "per_line_minor": [250],
    "off_minor": 250,
    "total_minor": 2250,
    "expires_at": LATER,
    "exact": True,
}
RESERVE_QUOTE = {"token": QUOTE["token"], "basket": BASKET, "idempotency_key": "checkout-17"}
BASKET_HOLD = {
    "basket_key": "api:6c1f",
    "holds": [{"reservation_id": RESERVATION, "coupon_id": COUPON, "expires_at": LATER, **BENEFIT}],
    "per_line_minor": [250],
    "off_minor": 250,
}
BASKET_KEY = {"basket_key": "api:6c1f"}
REDEEM_BASKET = {**BASKET_KEY, **ORDER, "basket": BASKET}

CARDS = {"cards": [{"card_id": HOLD, "kind": "credit", "available_minor": 2000, "currency": "EUR", "expires_at": None}]}
HOLD_CARD = {"card_id": HOLD, "amount_minor": 1500, "idempotency_key": "checkout-17"}
HELD_CARD = {"hold_id": HOLD, "amount_minor": 1500, "currency": "EUR", "expires_at": LATER}
CARD_KEY = {"idempotency_key": "checkout-17"}
SPEND = {"hold_id": HOLD, **ORDER}

DECISION = {
    "decision_id": RESERVATION,
    "slot": "home_hero",
    "fallback": "",
    "model_version_id": 3,
    "offers": [
        {
            "offer_id": 7,
            "campaign_id": 2,
            "kind": "coupon",
            "headline": "A tenth off the garden",
            "body": "Until Sunday.",
            "cta_label": "Get the coupon",
            "cta_url": "",
            "position": 1,
            "reasons": ["predicted_for_shopper"],
            "ends_at": LATER,
            "needs_claim": True,
        }
    ],
}
PRODUCTS = {"products": ["42", "17", "8"]}
EVENTS = {"events": [{"id": "a1", "type": "product_viewed", "item_id": "42", "occurred_at": LATER}]}
STORED = {"accepted": 1, "duplicates": 0, "quarantined": 0, "dropped": 0}
BOUNCE = {"channel": "email", "address": "ada@example.org", "kind": "hard", "message_id": "<1@shop.example>"}

CAMPAIGN: dict[str, Any] = {
    "name": "Garden fortnight",
    "starts_at": "2026-03-01T00:00:00Z",
    "ends_at": "2026-03-15T00:00:00Z",
    "budget_minor": 50_000,
    "audience": {"all": [{"field": "tier", "op": "in", "value": ["gold", "silver"]}]},
    "offers": [{"name": "15% off", "kind": "coupon", "percent": "15.00", "category": "garden", "slots": ["home_hero"]}],
    "idempotency_key": "import-garden-2026",
}
CHANGE = {"revision": 1, "budget_minor": 80_000, "offers": [{"id": 7, "percent": "20.00"}], "note": "more for March"}
TRANSITION = {"to": "running", "revision": 2, "note": "as agreed"}
APPROVE = {"revision": 2}
