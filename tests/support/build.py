"""Builds small rows for tests: a running campaign, an offer, a shopper, a basket. Any value can be given."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.utils import timezone

from personalization.models import Campaign, Offer, Shopper
from personalization.types import Basket, BasketLine, OfferKind


def campaign(**fields: Any) -> Campaign:
    """Make a campaign that runs now, for everybody, without a budget."""
    now = timezone.now()
    defaults: dict[str, Any] = {
        "name": "Autumn",
        "status": Campaign.Status.RUNNING,
        "starts_at": now - timedelta(days=1),
        "ends_at": now + timedelta(days=1),
        "currency": "EUR",
    }
    return Campaign.objects.create(**defaults | fields)


def offer(of: Campaign | None = None, **fields: Any) -> Offer:
    """Make an offer of 5.00 off, in a campaign of its own if none is given."""
    defaults: dict[str, Any] = {"name": "5.00 off", "kind": OfferKind.COUPON.value}
    if "percent" not in fields:
        defaults["amount_minor"] = 500
    return Offer.objects.create(campaign=of or campaign(), **defaults | fields)


def shopper(**fields: Any) -> Shopper:
    """Make a shopper who has agreed to everything."""
    agreed = {"consent_analytics": True, "consent_personalisation": True, "consent_marketing": True}
    return Shopper.objects.create(**agreed | fields)


def basket(*prices_minor: int, currency: str = "EUR") -> Basket:
    """Return a basket with one piece at each price; 40.00 if none is named."""
    lines = tuple(BasketLine(str(number), 1, price) for number, price in enumerate(prices_minor or (4000,), start=1))
    return Basket(lines=lines, currency=currency)
