"""Benefits that come after the order: promised at redemption, granted when they are due, cancelled with a return."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import F
from django.utils import timezone

from personalization.campaigns import giftcards
from personalization.exceptions import PersonalizationError
from personalization.models import Grant, Offer, Redemption
from personalization.ports import adapters
from personalization.types import Discount, OfferKind

logger = logging.getLogger(__name__)
MAX_ATTEMPTS = 10
BATCH = 500


def promise(redemption: Redemption, benefit: Discount, offer: Offer) -> None:
    """Write down what the order earns later; nothing for a benefit that is all given now."""
    kind = Grant.Kind.GIFT_CARD if offer.kind == OfferKind.GIFT_CARD else Grant.Kind.CASH_BACK
    amount = benefit.later_minor
    if benefit.points:
        kind, amount = Grant.Kind.POINTS, benefit.points
    if amount:
        due = redemption.redeemed_at + timedelta(days=offer.delay_days)
        Grant.objects.create(redemption=redemption, kind=kind, amount=amount, due_at=due)


def granted_minor(redemptions: Sequence[Redemption]) -> dict[int, int]:
    """Return redemption → what of its cost has been handed out for good. Call it inside the refund's transaction.

    The grants stay locked: what is found pending cannot be handed out before the refund has lowered it.
    """
    rows = {row.pk: row for row in redemptions}
    granted: dict[int, int] = {}
    for grant in Grant.objects.select_for_update().filter(redemption__in=rows).order_by("pk"):
        if grant.state == Grant.State.GRANTED:
            granted[grant.redemption_id] = _cost(grant, rows[grant.redemption_id])
    return granted


def _cost(grant: Grant, redemption: Redemption) -> int:
    """Return what a grant cost the budget: a part of the points, their part of the cost, rounded up."""
    if grant.kind != Grant.Kind.POINTS:
        return grant.amount
    benefit = redemption.reservation.benefit
    return -(-int(benefit.get("points_cost", 0)) * grant.amount // int(benefit["points"]))


def reduce(redemption: Redemption, promised: Discount, earned: Discount | None) -> None:
    """Lower a pending grant to what refunds and a return (``earned``) leave of it; cancel it if that is nothing."""
    whole = max(promised.later_minor, promised.points)
    if not whole:
        return
    cost = redemption.amount_minor
    left = whole * (cost - redemption.refunded_minor) // cost if cost else whole
    if earned is not None:
        left = min(left, max(earned.later_minor, earned.points))
    pending = Grant.objects.filter(redemption=redemption, state=Grant.State.PENDING)
    if left:
        pending.filter(amount__gt=left).update(amount=left)
    else:
        pending.update(state=Grant.State.CANCELLED, done_at=timezone.now())


def grant_due(now: datetime | None = None) -> int:
    """Grant what is due, each on its own; one that fails is tried again, and says why."""
    now = now or timezone.now()
    due = Grant.objects.filter(state=Grant.State.PENDING, due_at__lte=now, attempts__lt=MAX_ATTEMPTS)
    done = 0
    for grant in list(due.select_related("redemption__shopper", "redemption__campaign").order_by("pk")[:BATCH]):
        try:
            done += _grant(grant)
        except Exception as error:
            logger.warning("grant %s failed", grant.pk, exc_info=True)
            text = error.message if isinstance(error, PersonalizationError) else type(error).__name__
            Grant.objects.filter(pk=grant.pk).update(attempts=F("attempts") + 1, problem=text[:300])
    return done


def _grant(grant: Grant) -> bool:
    shopper, campaign = grant.redemption.shopper, grant.redemption.campaign
    if shopper is None:  # erased meanwhile: there is nobody to give it to
        return bool(_finish(grant, Grant.State.CANCELLED))
    if grant.kind == Grant.Kind.POINTS:
        booking = adapters.points()
        if booking is None or shopper.user_id is None:
            raise PersonalizationError("There is no adapter of loyalty points, or the shopper has no account.")
        # Outside of a transaction: the operation id makes a repetition harmless.
        booking.grant(shopper.user_id, grant.amount, operation_id=f"grant:{grant.pk}")
        return bool(_finish(grant, Grant.State.GRANTED))
    with transaction.atomic():
        if not _finish(grant, Grant.State.GRANTED):
            return False
        amount = Grant.objects.values_list("amount", flat=True).get(pk=grant.pk)
        if grant.kind == Grant.Kind.GIFT_CARD:
            giftcards.issue(amount, campaign.currency, shopper=shopper, operation_id=f"grant:{grant.pk}")
        else:
            giftcards.credit(shopper, amount, campaign.currency, operation_id=f"grant:{grant.pk}")
        return True


def _finish(grant: Grant, state: Grant.State) -> int:
    pending = Grant.objects.filter(pk=grant.pk, state=Grant.State.PENDING)
    return pending.update(state=state, done_at=timezone.now(), problem="")
