"""Orders become events exactly once, live or back-filled: their identity is the host's label and order id."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import datetime
from typing import Any

from django.core.exceptions import ObjectDoesNotExist
from django.db import transaction
from django.http import HttpRequest
from django.utils import timezone

from personalization.models import Channel, Shopper
from personalization.ports import adapters, records
from personalization.tracking import identity
from personalization.tracking.storage import existing_ids, insert_events
from personalization.types import EventData, OrderData

SOURCE = "orders"
MOST_LETTERS = 100


def event_key(*parts: object) -> str:
    """Return an event id of these parts; where it would be too long, a hash stands for its end."""
    text = ":".join(map(str, parts))
    if len(text) <= MOST_LETTERS:
        return text
    ending = hashlib.blake2b(text.encode(), digest_size=16).hexdigest()
    return f"{text[: MOST_LETTERS - len(ending) - 1]}~{ending}"


def order_event(order: OrderData, label: str, shopper_id: int) -> EventData:
    """Return the event of an order: same order, same identity."""
    return EventData(
        source=SOURCE,
        event_id=event_key(label, order.order_id),
        type="order_placed",
        shopper_id=shopper_id,
        occurred_at=order.placed_at,
        value_minor=order.total_minor,
        channel=order.channel,
        properties={
            "order_id": order.order_id,
            "currency": order.currency,
            "discount_minor": order.discount_minor,
            "lines": [
                {
                    "item_id": line.item_id,
                    "quantity": line.quantity,
                    "unit_price_minor": line.unit_price_minor,
                    "category": line.category,
                }
                for line in order.lines
            ],
        },
    )


def record_order(order: OrderData, *, label: str | None = None, request: HttpRequest | None = None) -> None:
    """Record one order after commit, exactly once however often it is announced.

    Raises InvalidRecord for an order that cannot be stored as it is meant.
    """
    records.check_order(order)
    if label is None:
        adapter = adapters.orders()
        label = adapter.label if adapter is not None else "order"
    shopper = _buyer(order, request)
    if request is not None and not order.channel:
        order = replace(order, channel=Channel.WEB.value)
    row = order_event(order, label, shopper.pk)
    transaction.on_commit(lambda: _insert(row), robust=True)


def _insert(row: EventData) -> None:
    insert_events([row], received_at=timezone.now())


def _buyer(order: OrderData, request: HttpRequest | None) -> Shopper:
    """The request's consenting shopper, else the account's, else the guest's (a hash of the reference)."""
    shopper = identity.shopper_for(request) if request is not None else None
    if shopper is not None and (order.user_id is None or shopper.user_id == order.user_id):
        return shopper
    account = _account(order.user_id)
    if account is not None:
        return account
    if order.guest_ref:
        return identity.shopper_for_guest(order.guest_ref)
    if request is not None:
        made = identity.shopper_for(request, create=True)
        assert made is not None
        return made
    return Shopper.objects.create()


def _account(user_id: Any) -> Shopper | None:
    """Return the account's shopper; None for a guest, or where the account is gone: its orders are a guest's then."""
    try:
        return None if user_id is None else identity.shopper_for_user_id(user_id)
    except ObjectDoesNotExist:
        return None


def backfill_orders(since: datetime | None = None, progress: Callable[[int], None] | None = None) -> int:
    """Record the shop's past orders through the adapter, guests included; returns how many were new.

    Raises InvalidRecord for an order that cannot be stored as it is meant; what came batches before it is recorded.
    """
    adapter = adapters.orders()
    if adapter is None:
        return 0
    new = 0
    for batch in identity.batches(records.orders(adapter.orders(since))):
        new += _store_batch([order for order in batch if not order.cancelled], adapter.label)
        if progress is not None:
            progress(len(batch))
    return new


def _store_batch(orders: list[OrderData], label: str) -> int:
    # Only for new ones is a buyer looked up: to make one would bring back who has been erased.
    orders = pending(orders, label)
    accounts: dict[Any, int | None] = dict(
        Shopper.objects.filter(user_id__in={o.user_id for o in orders if o.user_id is not None}).values_list(
            "user_id", "pk"
        )
    )
    guests: dict[str, int] = {}
    rows = [order_event(order, label, _buyer_id(order, label, accounts, guests)) for order in orders]
    return insert_events(rows, received_at=timezone.now())


def _buyer_id(order: OrderData, label: str, accounts: dict[Any, int | None], guests: dict[str, int]) -> int:
    if order.user_id is not None and order.user_id not in accounts:
        shopper = _account(order.user_id)
        accounts[order.user_id] = shopper.pk if shopper is not None else None
    account = accounts.get(order.user_id)
    if account is not None:
        return account
    # A guest whom nothing identifies is one person an order.
    reference = order.guest_ref or f"{label}:{order.order_id}"
    if reference not in guests:
        guests[reference] = identity.shopper_for_guest(reference).pk
    return guests[reference]


def pending(orders: Iterable[OrderData], label: str) -> list[OrderData]:
    """Return the orders that are not recorded yet, and have not been erased either."""
    listed = list(orders)
    known = existing_ids(SOURCE, (event_key(label, order.order_id) for order in listed))
    return [order for order in listed if event_key(label, order.order_id) not in known]
