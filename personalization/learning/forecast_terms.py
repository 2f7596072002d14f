"""What a forecast was made for: a digest of its campaign's dates, audience, budget and offers.

The forecast's row keeps it. Words and places are not in it: nobody who computes a forecast reads them.
"""

from __future__ import annotations

import hashlib
import json

from django.core.serializers.json import DjangoJSONEncoder

from personalization.models import Campaign, Forecast, Offer

CAMPAIGN = (
    "population", "delivery", "starts_at", "ends_at", "audience", "audience_mode", "attribution_hours", "currency",
    "budget_minor", "pacing",
)  # fmt: skip
OFFER = (
    "pk", "kind", "percent", "amount_minor", "threshold_minor", "max_discount_minor", "steps", "buy_quantity",
    "pay_quantity", "gift_item_id", "gift_value_minor", "points", "delay_days", "item_ids", "category", "tiers",
    "member_points", "application", "exclusion_group", "exclusive", "starts_at", "ends_at", "valid_hours",
    "max_redemptions", "max_issued", "per_shopper", "uses_per_shopper", "attributes",
)  # fmt: skip


def digest(campaign_id: int) -> str:
    """Return the digest of a campaign as the database holds it now, in 64 hexadecimal digits."""
    stored = {
        "campaign": list(Campaign.objects.filter(pk=campaign_id).values(*CAMPAIGN)),
        "offers": list(Offer.objects.filter(campaign=campaign_id).order_by("pk").values(*OFFER)),
    }
    return hashlib.sha256(json.dumps(stored, sort_keys=True, cls=DjangoJSONEncoder).encode()).hexdigest()


def fits(forecast: Forecast) -> bool:
    """Return whether a forecast was made for its campaign as it is now. Of one that kept no digest, nobody knows."""
    return forecast.made_for == digest(forecast.campaign_id)
