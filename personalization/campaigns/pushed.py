"""A message that went out is an exposure: it is written with a decision, as what a page showed is.

The decision's slot is ``push:`` and the channel. A trigger leaves no choice, so the offer's probability is one.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from personalization import conf
from personalization.models import Decision, Exposure, Offer, OutboxMessage
from personalization.pure import assignment
from personalization.types import Arm

POLICY = f"trigger/{assignment.VERSION}"


def log(message: OutboxMessage, offer: Offer, moment: datetime) -> Exposure:
    """Write the exposure to the offer that was sent."""
    chosen = [{"offer": offer.pk, "position": 1, "propensity": 1.0}]
    return _write(message, offer, Arm.TREATMENT, chosen, 1.0, moment)


def log_holdout(message: OutboxMessage, offer: Offer, moment: datetime) -> Exposure:
    """Write that somebody of the holdout reached the point at which others were sent an offer."""
    return _write(message, offer, Arm.HOLDOUT, [], conf.get().holdout_percent / 100, moment)


def _write(
    message: OutboxMessage, offer: Offer, arm: Arm, chosen: list[dict[str, Any]], propensity: float, moment: datetime
) -> Exposure:
    settings, shown = conf.get(), arm == Arm.TREATMENT
    decision = Decision.objects.create(
        shopper=message.shopper,
        slot=f"push:{message.channel}"[:60],
        at=moment,
        arm=arm.value,
        policy=POLICY,
        eligible=[{"offer": offer.pk, "value_minor": None, "heads": [], "reasons": ["by_trigger"]}],
        excluded={},
        chosen=chosen,
        features={
            "message": str(message.pk),
            "assignment": {"salt": settings.salt, "holdout_percent": settings.holdout_percent},
        },
    )
    hours = offer.campaign.attribution_hours if shown else None
    return Exposure.objects.create(
        decision=decision,
        shopper=message.shopper,
        campaign_id=offer.campaign_id if shown else None,
        offer=offer if shown else None,
        arm=arm.value,
        propensity=propensity,
        exposed_at=moment,
        window_ends_at=moment + timedelta(hours=hours or settings.attribution_hours),
    )
