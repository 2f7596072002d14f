"""Orders become events exactly once, live or back-filled: their identity is the host's label and order id."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime
from typing import Any

from django.db import transaction
from django.http import HttpRequest
from django.utils import timezone

from personalization.models import Shopper
from personalization.ports import adapters
from personalization.tracking import identity
from personalization.tracking.storage import insert_events
from personalization.types import EventData, OrderData, Purpose

SOURCE = "orders"


def order_event(order: OrderData, label: str, shopper_id: int) -> EventData:
    """Return the event of an order: same order, same identity."""
    return EventData(
        source=SOURCE,
        event_id=f"{label}:{order.order_id}"[:100],
        type="order_placed",
        shopper_id=shopper_id,
        occurred_at=order.placed_at,
        value_minor=order.total_minor,
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
    """Record one order after commit, exactly once however often it is announced."""
    if label is None:
        adapter = adapters.orders()
        label = adapter.label if adapter is not None else "order"
    shopper = _buyer(order, request)
    row = order_event(order, label, shopper.pk)
    transaction.on_commit(lambda: _insert(row), robust=True)


def _insert(row: EventData) -> None:
    insert_events([row], received_at=timezone.now())


def _buyer(order: OrderData, request: HttpRequest | None) -> Shopper:
    """The request's consenting shopper, else the account's, else the guest's (a hash of the reference)."""
    shopper = identity.shopper_for(request) if request is not None else None
    if shopper is not None and (order.user_id is None or shopper.user_id == order.user_id):
        if order.user_id is None and order.guest_ref and shopper.allows(Purpose.PERSONALISATION):
            identity.remember_guest(shopper, order.guest_ref)
        return shopper
    if order.user_id is not None:
        return identity.shopper_for_user_id(order.user_id)
    if order.guest_ref:
        return identity.shopper_for_guest(order.guest_ref)
    if request is not None:
        made = identity.shopper_for(request, create=True)
        assert made is not None
        return made
    return Shopper.objects.create()


def backfill_orders(since: datetime | None = None, progress: Callable[[int], None] | None = None) -> int:
    """Record the shop's past orders through the adapter, guests included; returns how many were new."""
    adapter = adapters.orders()
    if adapter is None:
        return 0
    new = 0
    for batch in identity.batches(adapter.orders(since)):
        new += _store_batch([order for order in batch if not order.cancelled], adapter.label)
        if progress is not None:
            progress(len(batch))
    return new


def _store_batch(orders: list[OrderData], label: str) -> int:
    accounts = dict(
        Shopper.objects.filter(user_id__in={o.user_id for o in orders if o.user_id is not None}).values_list(
            "user_id", "pk"
        )
    )
    guests: dict[str, int] = {}
    rows = [order_event(order, label, _buyer_id(order, label, accounts, guests)) for order in orders]
    return insert_events(rows, received_at=timezone.now())


def _buyer_id(order: OrderData, label: str, accounts: dict[Any, int], guests: dict[str, int]) -> int:
    if order.user_id is not None:
        if order.user_id not in accounts:
            accounts[order.user_id] = identity.shopper_for_user_id(order.user_id).pk
        return accounts[order.user_id]
    # A guest whom nothing identifies is one person an order.
    reference = order.guest_ref or f"{label}:{order.order_id}"
    if reference not in guests:
        guests[reference] = identity.shopper_for_guest(reference).pk
    return guests[reference]


def pending(orders: Iterable[OrderData], label: str) -> list[OrderData]:
    """Return the orders that are not recorded yet (for ``doctor``)."""
    from personalization.tracking.storage import existing_ids

    listed = list(orders)
    known = existing_ids(SOURCE, (f"{label}:{order.order_id}"[:100] for order in listed))
    return [order for order in listed if f"{label}:{order.order_id}"[:100] not in known]
