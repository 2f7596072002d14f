"""Receivers of the host's signals and of Django's own. A receiver that fails logs and never harms the host."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import wraps
from typing import Any

from django.contrib.auth.signals import user_logged_in, user_logged_out
from django.http import HttpRequest

from personalization.models import Event
from personalization.ports import adapters, signals
from personalization.tracking import logins
from personalization.tracking.backfill import SOURCE, event_key, record_order
from personalization.tracking.ingest import track
from personalization.types import OrderData

logger = logging.getLogger(__name__)


def harmless(receiver: Callable[..., None]) -> Callable[..., None]:
    """Wrap a receiver so that its failure is logged and goes no further."""

    @wraps(receiver)
    def wrapped(*args: Any, **kwargs: Any) -> None:
        try:
            receiver(*args, **kwargs)
        except Exception:
            logger.exception("receiver %s failed", receiver.__name__)

    return wrapped


@harmless
def on_product_viewed(
    sender: Any, request: HttpRequest | None = None, item_id: str = "", category: str = "", **kwargs: Any
) -> None:
    track("product_viewed", request=request, item_id=str(item_id), category=category)


@harmless
def on_category_viewed(sender: Any, request: HttpRequest | None = None, category: str = "", **kwargs: Any) -> None:
    track("category_viewed", request=request, category=category)


@harmless
def on_search_performed(
    sender: Any, request: HttpRequest | None = None, query: str = "", results: int = 0, **kwargs: Any
) -> None:
    track("search_performed", request=request, properties={"query": query[:200], "results": results})


@harmless
def on_basket_changed(
    sender: Any,
    request: HttpRequest | None = None,
    item_id: str = "",
    quantity: int = 0,
    basket_total_minor: int = 0,
    category: str = "",
    **kwargs: Any,
) -> None:
    track(
        "basket_changed",
        request=request,
        item_id=str(item_id),
        category=category,
        properties={"quantity": quantity, "basket_total_minor": basket_total_minor},
    )


@harmless
def on_order_placed(sender: Any, order: OrderData, request: HttpRequest | None = None, **kwargs: Any) -> None:
    record_order(order, request=request)


@harmless
def on_order_refunded(
    sender: Any, order_id: str, amount_minor: int, request: HttpRequest | None = None, **kwargs: Any
) -> None:
    adapter = adapters.orders()
    label = adapter.label if adapter is not None else "order"
    orders = Event.objects.select_related("shopper").filter(type="order_placed", source=SOURCE)
    placed = orders.filter(event_id=event_key(label, order_id)).first()
    if placed is None:
        logger.warning("order_refunded: the order …%s is not recorded", str(order_id)[-2:])
        return
    track(
        "order_refunded",
        shopper=placed.shopper,
        value_minor=amount_minor,
        properties={"order_id": order_id},
        source="refunds",
        event_id=event_key(label, order_id, amount_minor),
    )


@harmless
def on_user_logged_in(sender: Any, request: HttpRequest | None, user: Any, **kwargs: Any) -> None:
    if request is not None and not logins.begin(request, user):
        finish_login(request, user)


@harmless
def finish_login(request: HttpRequest, user: Any) -> None:
    """Join the visitor to the account that has signed in; the middleware calls it when the request ends."""
    logins.link_at_login(request, user)
    track("logged_in", request=request)


@harmless
def on_user_logged_out(sender: Any, request: HttpRequest | None, user: Any, **kwargs: Any) -> None:
    if request is not None and user is not None:
        setattr(request, logins.SIGNED_OUT, True)  # the middleware has the response


def connect() -> None:
    """Hook every receiver; called once from AppConfig.ready."""
    pairs = [
        (signals.product_viewed, on_product_viewed),
        (signals.category_viewed, on_category_viewed),
        (signals.search_performed, on_search_performed),
        (signals.basket_changed, on_basket_changed),
        (signals.order_placed, on_order_placed),
        (signals.order_refunded, on_order_refunded),
        (user_logged_in, on_user_logged_in),
        (user_logged_out, on_user_logged_out),
    ]
    for signal, receiver in pairs:
        signal.connect(receiver, dispatch_uid=f"personalization.{receiver.__name__}")
