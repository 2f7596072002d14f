"""Broker, cache and worker may be gone or hang: no page notices, and nothing is lost."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from typing import Any, ClassVar

import pytest
from django.core.cache import cache
from django.core.cache.backends.base import BaseCache
from django.test import override_settings
from django.urls import reverse

from personalization.models import Coupon, Decision, Event
from tests.personalization.builders import Browser, event, make_offer
from tests.personalization.conftest import Committing
from tests.support.servers import free_port

pytestmark = pytest.mark.django_db


class Gone(BaseCache):
    """A cache that cannot be reached; it notes who asked."""

    asked: ClassVar[list[str]] = []

    def __init__(self, location: str, params: dict[str, Any]) -> None:
        super().__init__(params)

    def _ask(self, *args: Any, **kwargs: Any) -> Any:
        self.asked.append(str(args[:1]))
        raise ConnectionError("The cache cannot be reached.")

    get = set = add = delete = touch = get_many = set_many = delete_many = has_key = incr = _ask

    def clear(self) -> None:
        """What tests do after one another is no question."""


class BlackHole:
    """A port that takes every connection and never answers; it counts them."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.taken: list[socket.socket] = []
        self.thread = threading.Thread(target=self._take, daemon=True)
        self.thread.start()

    def _take(self) -> None:
        while True:
            try:
                self.taken.append(self.listener.accept()[0])
            except OSError:
                return

    def close(self) -> None:
        for each in (self.listener, *self.taken):
            each.close()


def visit(browser: Browser, committing: Committing) -> None:
    """Do what a visitor does; whatever answers must answer well, and what was acknowledged must be there."""
    offer = make_offer()
    with committing():
        assert browser.get(reverse("shop:home")).status_code == 200
        assert browser.events(event(), event("product_viewed", item_id="p-1")).json()["accepted"] == 2
        assert browser.get(reverse("personalization:offers"), {"slot": "home_hero"}).status_code == 200
        assert browser.call("api-claim", {"offer_id": offer.pk}).status_code in {200, 201}
    types = set(Event.objects.values_list("type", flat=True))
    assert {"page_viewed", "product_viewed", "coupon_claimed"} <= types
    assert Decision.objects.exists()
    assert Coupon.objects.filter(offer=offer).count() == 1


@pytest.fixture
def black_hole() -> Iterator[BlackHole]:
    hole = BlackHole()
    yield hole
    hole.close()


def test_a_broker_that_refuses_is_not_noticed(visitor: Browser, committing: Committing) -> None:
    with override_settings(CELERY_BROKER_URL=f"redis://127.0.0.1:{free_port()}/0"):
        visit(visitor, committing)


def test_a_broker_that_never_answers_is_not_even_asked(
    visitor: Browser, committing: Committing, black_hole: BlackHole
) -> None:
    address = f"redis://127.0.0.1:{black_hole.port}/0"
    with override_settings(CELERY_BROKER_URL=address, BROKER_URL=address):
        visit(visitor, committing)
    assert black_hole.taken == []
    with socket.create_connection(("127.0.0.1", black_hole.port), timeout=5):  # the control: it does count
        deadline = time.monotonic() + 5
        while not black_hole.taken and time.monotonic() < deadline:
            time.sleep(0.01)
    assert len(black_hole.taken) == 1


def test_a_cache_that_is_gone_or_slow_is_not_asked(visitor: Browser, committing: Committing) -> None:
    """What is not asked can be as slow as it likes; the benchmark ``pageview`` lets it be."""
    Gone.asked.clear()
    with override_settings(CACHES={"default": {"BACKEND": f"{__name__}.Gone"}}):
        visit(visitor, committing)
        assert Gone.asked == []
        with pytest.raises(ConnectionError):  # the control: it would have noted them
            cache.get("anything")
    assert len(Gone.asked) == 1
