"""A message that went out is an exposure: it is written with a decision, as what a page showed is.

The decision has the id of its message, and is written before the message is handed over: the link in it leads back
there, and whoever takes over after a failure or a crash sends the same offer.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from personalization import conf
from personalization.campaigns.choices import Choice
from personalization.models import Decision, Exposure, Offer, OutboxMessage
from personalization.types import Arm


def decided(message: OutboxMessage) -> Decision | None:
    """Return the decision that an earlier attempt to send the message has written."""
    return Decision.objects.filter(pk=message.pk).first()


def offer_of(decision: Decision) -> Offer | None:
    """Return the offer that the message was decided to carry; None where nothing was to be sent, or it is gone."""
    chosen = [row["offer"] for row in decision.chosen]
    return Offer.objects.select_related("campaign").filter(pk__in=chosen[:1]).first()


def note(choice: Choice) -> None:
    """Write the decision down; one that an earlier attempt made otherwise gives way, since nothing came of it."""
    if not choice.decision._state.adding:
        return
    Decision.objects.filter(pk=choice.decision.pk, exposures=None).delete()
    choice.decision.save(force_insert=True)


def expose(message: OutboxMessage, choice: Choice, moment: datetime) -> Exposure:
    """Write the exposure to the offer that was sent; of the holdout, that others were sent one."""
    settings, offer = conf.get(), choice.offer
    hours = offer.campaign.attribution_hours if offer is not None else None
    return Exposure.objects.create(
        decision=choice.decision,
        shopper=message.shopper,
        campaign_id=offer.campaign_id if offer is not None else None,
        offer=offer,
        arm=choice.decision.arm,
        propensity=choice.propensity if offer is not None else settings.holdout_percent / 100,
        exposed_at=moment,
        window_ends_at=moment + timedelta(hours=hours or settings.attribution_hours),
    )


def is_withheld(choice: Choice) -> bool:
    """Return whether the shopper is in the holdout and would have been sent something."""
    return choice.decision.arm == Arm.HOLDOUT and bool(choice.decision.eligible)
