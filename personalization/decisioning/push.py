"""Which of its campaign's offers a message carries: the same ranking, policy and record as a page's decision.

The decision is drawn under the message's id, so that an attempt after a failure draws alike.
"""

from __future__ import annotations

from datetime import datetime

from personalization.campaigns import coupons, letters, pushed
from personalization.campaigns.choices import Choice
from personalization.decisioning import session
from personalization.decisioning.decide import judged
from personalization.models import Offer, OutboxMessage


def choose(message: OutboxMessage, now: datetime) -> Choice:
    """Return the decision about a message: one of the offers of its campaign that its shopper can have now.

    Without scores it is the first by priority, and ``decision.fallback`` says so. An offer that an earlier attempt
    chose stays: its coupon may be made already, and its message with the shopper. Writes nothing.
    """
    earlier = _earlier(message, now) if message.attempts > 1 else None
    if earlier is not None:
        return earlier
    offers = list(Offer.objects.select_related("campaign").filter(campaign=message.campaign_id).order_by("pk"))
    decision, shown = judged(
        offers,
        message.shopper,
        personal=True,
        slot=f"push:{message.channel}"[:60],
        limit=1,
        recent=session.read(message.shopper, now),
        context={"occasion": message.occurrence.trigger.kind if message.occurrence is not None else ""},
        decision_id=message.pk,
        now=now,
    )
    if not shown:
        return Choice(decision)
    (item, propensity), *_rest = shown
    return Choice(decision, item.offer, propensity)


def _earlier(message: OutboxMessage, now: datetime) -> Choice | None:
    """Return what an earlier attempt decided, where the offer can still be had."""
    decision = pushed.decided(message)
    offer = pushed.offer_of(decision) if decision is not None else None
    if decision is None or offer is None:
        return None
    reason = coupons.closed_reason(offer, now) or coupons.ineligible_reason(offer, message.shopper, now)
    if reason and not (reason == "all_issued" and letters.held_coupon(message, offer, now) is not None):
        return None
    return Choice(decision, offer, decision.chosen[0]["propensity"])
