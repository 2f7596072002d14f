"""Two shoppers turn out to be one: what the campaigns keep about the visitor goes to the account.

Called inside the merge's own transaction. Where both hold a row that may exist once, the account's stays; money is
never dropped: the visitor's credit is booked over to the account's.
"""

from __future__ import annotations

from typing import Any

from django.db.models import F, Model, Q

from personalization.models import (
    AudienceMember,
    GiftCard,
    GiftCardEntry,
    Occurrence,
    OutboxMessage,
    RiskFact,
    Shopper,
    ShopperInterest,
    ShopperSummary,
    UsageSlot,
)

UNIQUE: tuple[tuple[type[Model], tuple[str, ...]], ...] = (
    (UsageSlot, ("offer_id", "number")),
    (Occurrence, ("trigger_id", "key")),
    (AudienceMember, ("campaign_id",)),
)
"""Rows of which a shopper has one for each of these keys."""
OPEN = (OutboxMessage.State.WAITING, OutboxMessage.State.SENDING)


def take_over(sender: Any, *, visitor: Shopper, account: Shopper, **kwargs: Any) -> None:
    """Move the visitor's rows to the account (a receiver of ``shoppers_merged``)."""
    RiskFact.objects.filter(shopper=visitor).update(shopper=account)
    for model, keys in UNIQUE:
        _move(model, keys, visitor, account)
    # An occasion that both had stays where it is, and with it what was still to be sent: the account gets its own.
    twice = Q(state__in=OPEN, occurrence__shopper=visitor)
    OutboxMessage.objects.filter(shopper=visitor).exclude(twice).update(shopper=account)
    _move_cards(visitor, account)
    # Computed from the events that have just moved: the next refresh makes the account's anew.
    for computed in (ShopperSummary, ShopperInterest):
        computed._default_manager.filter(shopper=visitor).delete()


def _move(model: type[Model], keys: tuple[str, ...], visitor: Shopper, account: Shopper) -> None:
    rows = model._default_manager
    held = set(rows.filter(shopper=account).values_list(*keys))
    for row in rows.filter(shopper=visitor).values_list("pk", *keys):
        if row[1:] not in held:
            rows.filter(pk=row[0]).update(shopper=account)


def _move_cards(visitor: Shopper, account: Shopper) -> None:
    """Hand over cards; of two credits in one currency the visitor's free balance is booked to the account's."""
    own = {card.currency: card for card in GiftCard.objects.filter(shopper=account, kind=GiftCard.Kind.CREDIT)}
    for card in GiftCard.objects.select_for_update().filter(shopper=visitor).order_by("pk"):
        other = own.get(card.currency) if card.kind == GiftCard.Kind.CREDIT else None
        if other is None:
            GiftCard.objects.filter(pk=card.pk).update(shopper=account)
        elif (free := card.balance_minor - card.held_minor) > 0:
            _book(card, -free, f"merge:{card.pk}:{other.pk}:out")
            _book(other, free, f"merge:{card.pk}:{other.pk}:in")


def _book(card: GiftCard, amount: int, key: str) -> None:
    GiftCardEntry.objects.create(operation_id=key, card=card, kind=GiftCardEntry.Kind.MOVE, balance_delta=amount)
    GiftCard.objects.filter(pk=card.pk).update(balance_minor=F("balance_minor") + amount)
