"""Stored value: issue → hold → spend | release → refund. The balance is the sum of its entries, never below zero.

A gift card pays for an order as money does; it is no discount, and moves no campaign's budget. Whoever holds the code
may use a card; shop credit belongs to its shopper.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import IntegrityError, connection, transaction
from django.db.models import F, Q, Sum
from django.db.transaction import TransactionManagementError
from django.utils import timezone

from personalization import conf
from personalization.campaigns import codes
from personalization.exceptions import GiftCardRefused, RefundRefused
from personalization.models import GiftCard, GiftCardEntry, GiftCardHold, Shopper
from personalization.ports.money import money

Kind = GiftCardEntry.Kind
State = GiftCardHold.State


@dataclass(frozen=True, slots=True)
class CardView:
    """A card as its holder sees it. ``code`` is a secret."""

    card_id: str
    kind: str
    code: str
    available_minor: int
    available_text: str
    currency: str
    expires_at: datetime | None


def issue(
    amount_minor: int,
    currency: str,
    *,
    operation_id: str,
    shopper: Shopper | None = None,
    by: Any = None,
    expires_at: datetime | None = None,
) -> GiftCard:
    """Make a card of this value; the same ``operation_id`` returns the card it made."""
    if amount_minor <= 0:
        raise GiftCardRefused("A gift card holds more than nothing.", reason="amount")
    key = f"issue:{operation_id}"
    try:
        with transaction.atomic():
            return _made_by(key) or _issue(amount_minor, currency, key, shopper, by, expires_at)
    except IntegrityError:  # the same operation at the same moment
        made = _made_by(key)
        if made is None:
            raise
        return made


def _made_by(key: str) -> GiftCard | None:
    entry = GiftCardEntry.objects.select_related("card").filter(operation_id=key).first()
    return entry.card if entry is not None else None


def _issue(
    amount: int, currency: str, key: str, shopper: Shopper | None, by: Any, expires_at: datetime | None
) -> GiftCard:
    code = codes.generate()
    card = GiftCard.objects.create(
        population=shopper.population if shopper else conf.get().population,
        shopper=shopper,
        code_digest=codes.digest(code),
        code_ciphertext=codes.seal(code),
        currency=currency,
        balance_minor=amount,
        created_by=by,
        expires_at=expires_at,
    )
    GiftCardEntry.objects.create(operation_id=key, card=card, kind=Kind.ISSUE, balance_delta=amount)
    return card


def credit(shopper: Shopper, amount_minor: int, currency: str, *, operation_id: str, by: Any = None) -> GiftCard:
    """Add to the shopper's credit, which is made on demand; the same ``operation_id`` adds once."""
    if amount_minor <= 0:
        raise GiftCardRefused("A credit is more than nothing.", reason="amount")
    key = f"credit:{operation_id}"
    with transaction.atomic():
        account = credit_of(shopper, currency, by)
        try:
            with transaction.atomic():
                GiftCardEntry.objects.create(
                    operation_id=key, card=account, kind=Kind.ISSUE, balance_delta=amount_minor
                )
        except IntegrityError:
            return account
        GiftCard.objects.filter(pk=account.pk).update(balance_minor=F("balance_minor") + amount_minor)
    account.refresh_from_db()
    return account


def credit_of(shopper: Shopper, currency: str, by: Any = None) -> GiftCard:
    """Return the shopper's credit in a currency, made with nothing on it if there is none."""
    code = codes.generate()
    account, _ = GiftCard.objects.get_or_create(
        shopper=shopper,
        currency=currency,
        kind=GiftCard.Kind.CREDIT,
        defaults={
            "population": shopper.population,
            "code_digest": codes.digest(code),
            "code_ciphertext": codes.seal(code),
            "created_by": by,
        },
    )
    return account


def hold(
    *, amount_minor: int, idempotency_key: str, shopper: Shopper | None = None, code: str = "", card_id: str = ""
) -> GiftCardHold:
    """Set a part of a card's balance aside for an order; the same key returns the same hold.

    A card is found by its code, or by its id if it belongs to the shopper. Unknown, empty, expired and blocked cards
    raise the same GiftCardRefused.
    """
    if amount_minor <= 0:
        raise GiftCardRefused(reason="amount")
    try:
        with transaction.atomic():
            return _held(idempotency_key, amount_minor, code, card_id) or _hold(
                usable(shopper=shopper, code=code, card_id=card_id), amount_minor, idempotency_key
            )
    except (IntegrityError, GiftCardRefused) as error:
        done = _held(idempotency_key, amount_minor, code, card_id)
        if done is None:
            raise (error if isinstance(error, GiftCardRefused) else GiftCardRefused(reason="limit")) from None
        return done


def _held(key: str, amount: int, code: str, card_id: str) -> GiftCardHold | None:
    done = GiftCardHold.objects.select_related("card").filter(idempotency_key=key).first()
    if done is None:
        return None
    same_card = done.card.code_digest in codes.digests(code) if code else str(done.card_id) == str(card_id)
    if done.amount_minor != amount or not same_card or done.state == State.RELEASED:
        raise GiftCardRefused(reason="other_hold")
    return done


def _hold(card: GiftCard, amount: int, key: str) -> GiftCardHold:
    held = GiftCardHold.objects.create(
        card=card,
        idempotency_key=key,
        amount_minor=amount,
        expires_at=timezone.now() + timedelta(minutes=conf.get().reservation_minutes),
    )
    taken = GiftCard.objects.filter(pk=card.pk, blocked_at=None, balance_minor__gte=F("held_minor") + amount).update(
        held_minor=F("held_minor") + amount
    )
    if not taken:
        raise GiftCardRefused(reason="balance")
    _write(card.pk, Kind.HOLD, f"hold:{held.pk}", 0, amount)
    return held


def usable(*, shopper: Shopper | None = None, code: str = "", card_id: str = "") -> GiftCard:
    """Return the card that this code opens, or this shopper's own card."""
    now = timezone.now()
    cards = GiftCard.objects.filter(Q(expires_at__isnull=True) | Q(expires_at__gt=now), blocked_at=None)
    if code:
        card = cards.filter(code_digest__in=codes.digests(code), kind=GiftCard.Kind.CARD).first()
    else:
        try:
            card = cards.filter(pk=uuid.UUID(str(card_id)), shopper=shopper, shopper__isnull=False).first()
        except ValueError:
            card = None
    if card is None or card.balance_minor <= card.held_minor:
        raise GiftCardRefused(reason="unknown" if card is None else "empty")
    return card


def spend(hold_id: str | uuid.UUID, *, order_label: str, order_id: str) -> int:
    """Pay an order with what is held and return how much; call it inside the order's own transaction."""
    if not connection.in_atomic_block:
        raise TransactionManagementError("spend() belongs inside the order's transaction.atomic().")
    held = _find(hold_id)
    moved = GiftCardHold.objects.filter(pk=held.pk, state=State.HELD).update(
        state=State.SPENT, order_label=order_label, order_id=order_id
    )
    if not moved:
        if held.state == State.SPENT and (held.order_label, held.order_id) == (order_label, order_id):
            return held.amount_minor
        raise GiftCardRefused(reason="gone")
    amount = held.amount_minor
    GiftCard.objects.filter(pk=held.card_id).update(
        balance_minor=F("balance_minor") - amount, held_minor=F("held_minor") - amount
    )
    _write(held.card_id, Kind.SPEND, f"spend:{held.pk}", -amount, -amount, order_label, order_id)
    return amount


def release(hold_id: str | uuid.UUID) -> bool:
    """Give back what is held (payment declined, basket left); False if it was not held any more."""
    with transaction.atomic():
        held = _find(hold_id)
        if not GiftCardHold.objects.filter(pk=held.pk, state=State.HELD).update(state=State.RELEASED):
            return False
        GiftCard.objects.filter(pk=held.card_id).update(held_minor=F("held_minor") - held.amount_minor)
        _write(held.card_id, Kind.RELEASE, f"release:{held.pk}", 0, -held.amount_minor)
        return True


def expire_holds(now: datetime | None = None) -> int:
    """Free every hold past its lifetime; returns how many."""
    overdue = GiftCardHold.objects.filter(state=State.HELD, expires_at__lte=now or timezone.now())
    return sum(release(pk) for pk in list(overdue.order_by("pk").values_list("pk", flat=True)[:10_000]))


def refund(*, order_label: str, order_id: str, operation_id: str, amount_minor: int | None = None) -> int:
    """Put money back on the cards that paid an order (all of it, if no amount is given); repeatable."""
    with transaction.atomic():
        holds = list(
            GiftCardHold.objects.select_for_update()
            .filter(order_label=order_label, order_id=order_id, state=State.SPENT)
            .order_by("card_id", "pk")
        )
        keys = [f"refund:{operation_id}:{held.pk}" for held in holds]
        done = GiftCardEntry.objects.filter(operation_id__in=keys).aggregate(sum=Sum("balance_delta"))["sum"]
        if done is not None:
            return int(done)
        left = sum(held.amount_minor - held.refunded_minor for held in holds)
        wanted = left if amount_minor is None else amount_minor
        if not 0 <= wanted <= left:
            raise RefundRefused
        moved = wanted
        for held, key in zip(holds, keys, strict=True):
            part = min(wanted, held.amount_minor - held.refunded_minor)
            wanted -= part
            if part:
                GiftCardHold.objects.filter(pk=held.pk).update(refunded_minor=F("refunded_minor") + part)
                GiftCard.objects.filter(pk=held.card_id).update(balance_minor=F("balance_minor") + part)
                _write(held.card_id, Kind.REFUND, key, part, 0, order_label, order_id)
        return moved


def cards_of(shopper: Shopper) -> list[CardView]:
    """Return the shopper's cards and credit that hold something."""
    now = timezone.now()
    cards = GiftCard.objects.filter(
        Q(expires_at__isnull=True) | Q(expires_at__gt=now), shopper=shopper, blocked_at=None, balance_minor__gt=0
    )
    return [
        CardView(
            card_id=str(card.pk),
            kind=card.kind,
            code=codes.reveal(card.code_ciphertext) if card.kind == GiftCard.Kind.CARD else "",
            available_minor=card.balance_minor - card.held_minor,
            available_text=money(card.balance_minor - card.held_minor, card.currency),
            currency=card.currency,
            expires_at=card.expires_at,
        )
        for card in cards.order_by("created_at")
    ]


def verify(card: GiftCard) -> list[str]:
    """Return how the card's balance differs from its entries; empty if it does not."""
    card = GiftCard.objects.get(pk=card.pk)
    sums = card.entries.aggregate(balance=Sum("balance_delta"), held=Sum("held_delta"))
    expected = (sums["balance"] or 0, sums["held"] or 0)
    if (card.balance_minor, card.held_minor) == expected:
        return []
    return [f"gift card {card}: counters {(card.balance_minor, card.held_minor)}, entries {expected} (balance, held)"]


def _find(hold_id: str | uuid.UUID) -> GiftCardHold:
    try:
        held = GiftCardHold.objects.filter(pk=uuid.UUID(str(hold_id))).first()
    except ValueError:
        held = None
    if held is None:
        raise GiftCardRefused(reason="gone")
    return held


def _write(
    card_id: Any, kind: Kind, key: str, balance: int, held: int, order_label: str = "", order_id: str = ""
) -> None:
    GiftCardEntry.objects.create(
        operation_id=key,
        card_id=card_id,
        kind=kind,
        balance_delta=balance,
        held_delta=held,
        order_label=order_label,
        order_id=order_id,
    )
