"""Two shoppers turn out to be one, or not after all: what the campaigns keep about them follows.

Called inside the transaction of the merge, or of taking it back. Where both hold a row that may exist once, the
account's stays. Money is never dropped, and stays where it was spent: the visitor's credit is booked over to the
account's, and back as far as the account has not spent it; a coupon returns unless the account has used it since; a
reservation that became the account's order stays with the order.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.db import transaction
from django.db.models import Exists, F, Model, OuterRef, Q, QuerySet, Sum
from django.utils import timezone

from personalization.campaigns.giftcards import credit_of
from personalization.models import (
    AudienceMember,
    Coupon,
    GiftCard,
    GiftCardEntry,
    Occurrence,
    OutboxMessage,
    Redemption,
    Reservation,
    RiskFact,
    Shopper,
    ShopperInterest,
    ShopperMerge,
    ShopperSummary,
    UsageSlot,
)
from personalization.tracking import identity
from personalization.tracking.merging import Moves, Returns

WHOLE: tuple[type[Model], ...] = (Redemption, Reservation, UsageSlot, Coupon, RiskFact, Occurrence, AudienceMember)
OPEN = (OutboxMessage.State.WAITING, OutboxMessage.State.SENDING)
CREDIT = GiftCard.Kind.CREDIT
SETTLED_WITHIN = timedelta(days=2)
"""How long after a merge an order of the visitor's may still give back what it held of their credit."""


def take_over(sender: Any, *, visitor: Shopper, account: Shopper, moves: Moves, **kwargs: Any) -> None:
    """Move the visitor's rows to the account (a receiver of ``shoppers_merged``)."""
    for model in WHOLE:
        moves.take(model._default_manager.all())
    # An occasion that both had stays where it is, and with it what was still to be sent: the account gets its own.
    twice = Q(state__in=OPEN, occurrence__shopper=visitor)
    moves.take(OutboxMessage.objects.exclude(twice))
    _move_cards(visitor, account, moves)
    _forget_computed(visitor)


def give_back(
    sender: Any, *, visitor: Shopper, account: Shopper, merge: ShopperMerge, returns: Returns, **kwargs: Any
) -> None:
    """Give back what a merge moved (a receiver of ``shoppers_unmerged``): what was used before what it hangs on."""
    returns.give_all(Redemption)
    spent = Redemption.objects.filter(reservation=OuterRef("pk"), shopper=account)
    for reservations in returns.moved(Reservation):
        returns.give(reservations.exclude(Exists(spent)))
    for slots in returns.moved(UsageSlot):
        returns.give(slots.filter(reservation__shopper=visitor))
    for coupons in returns.moved(Coupon):
        returns.give(coupons.exclude(_used_by(account)))
    for model in (RiskFact, Occurrence, AudienceMember, OutboxMessage):
        returns.give_all(model)
    _return_cards(visitor, account, merge, returns)
    _forget_computed(visitor, account)


def _used_by(account: Shopper) -> Q:
    theirs = {"coupon": OuterRef("pk"), "shopper": account}
    return Q(Exists(Reservation.objects.filter(**theirs))) | Q(Exists(Redemption.objects.filter(**theirs)))


def _forget_computed(*people: Shopper) -> None:
    """Drop what was computed from events that have just moved: the next refresh makes it anew."""
    for computed in (ShopperSummary, ShopperInterest):
        computed._default_manager.filter(shopper__in=people).delete()


def _move_cards(visitor: Shopper, account: Shopper, moves: Moves) -> None:
    """Hand over gift cards, and book the free balance of the visitor's credits over to the account's."""
    moves.take(GiftCard.objects.exclude(kind=CREDIT))
    _book_over(visitor, account, moves.merge)


def _book_over(visitor: Shopper, account: Shopper, merge: ShopperMerge) -> int:
    booked = 0
    for card in _credits(visitor).filter(balance_minor__gt=F("held_minor")):
        step = f"merge:{merge.pk}:{card.pk}:{card.entries.count()}"
        _book(card, credit_of(account, card.currency), card.balance_minor - card.held_minor, step)
        booked += 1
    return booked


def settle_credit() -> int:
    """Book over what open orders gave back to a merged visitor's credit since the merge; how many cards (a chore)."""
    since = timezone.now() - SETTLED_WITHIN
    left = GiftCard.objects.filter(kind=CREDIT, balance_minor__gt=F("held_minor")).values("shopper")
    recent = ShopperMerge.objects.filter(undone_at=None, at__gte=since, visitor__in=left)
    booked = 0
    for merge_id in recent.values_list("pk", flat=True):
        with transaction.atomic():
            merge = ShopperMerge.objects.select_related("visitor", "account").get(pk=merge_id)
            identity.lock([merge.visitor_id, merge.account_id])
            if ShopperMerge.objects.filter(pk=merge_id, undone_at=None).exists():
                booked += _book_over(merge.visitor, merge.account, merge)
    return booked


def _return_cards(visitor: Shopper, account: Shopper, merge: ShopperMerge, returns: Returns) -> None:
    """Give gift cards back with what is left on them, and of the credit what the account has not spent."""
    returns.give_all(GiftCard)
    lent = GiftCardEntry.objects.filter(operation_id__startswith=f"merge:{merge.pk}:", balance_delta__lt=0)
    for card_id, amount in lent.order_by("card").values_list("card").annotate(amount=-Sum("balance_delta")):
        card = GiftCard.objects.select_for_update().get(pk=card_id)
        other = _credits(account).filter(currency=card.currency).first()
        back = min(amount, other.balance_minor - other.held_minor) if other is not None else 0
        if other is not None and back > 0:
            _book(other, card, back, f"unmerge:{merge.pk}:{card.pk}")


def _credits(shopper: Shopper) -> QuerySet[GiftCard]:
    return GiftCard.objects.select_for_update().filter(shopper=shopper, kind=CREDIT).order_by("pk")


def _book(source: GiftCard, target: GiftCard, amount: int, key: str) -> None:
    for card, delta, way in ((source, -amount, "out"), (target, amount, "in")):
        GiftCardEntry.objects.create(
            operation_id=f"{key}:{way}", card=card, kind=GiftCardEntry.Kind.MOVE, balance_delta=delta
        )
        GiftCard.objects.filter(pk=card.pk).update(balance_minor=F("balance_minor") + delta)
