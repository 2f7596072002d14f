"""Races over HTTP: a server of sockets and threads in this process, so that a guard can be taken away from it."""

from __future__ import annotations

import http.client
import json
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any
from unittest import mock
from uuid import uuid4

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.servers.basehttp import ThreadedWSGIServer, WSGIRequestHandler
from django.core.wsgi import get_wsgi_application
from django.db import connections
from django.test import Client, override_settings
from django.urls import reverse

from personalization.campaigns import codes, coupons, redemption
from personalization.campaigns.ledger import verify_ledger
from personalization.exceptions import CouponRefused
from personalization.models import Coupon, Redemption
from tests.concurrency import arena
from tests.concurrency.races.checkout import product
from tests.support import build
from tests.support.scale import rounds

CSRF = "c" * 32


class _Quiet(WSGIRequestHandler):
    """Serves without a word on the terminal."""

    def log_message(self, *args: Any) -> None:
        pass


class _Server(ThreadedWSGIServer):
    """Keeps no connection to the database beyond a request, and lets a crowd wait at the door."""

    request_queue_size = 256
    daemon_threads = True

    def _close_connections(self) -> None:
        connections.close_all()


class OneCodeForACrowd(arena.Race):
    """A code with one use is sent by a crowd of strangers: one of them holds it, and the shop's system spends it."""

    threads = rounds(12, 50)

    def __init__(self) -> None:
        # A crowd behind one address is what the limit of tries stops; here it has to come through.
        override_settings(
            PERSONALIZATION=settings.PERSONALIZATION | {"RATE_LIMITS": {"code": []}, "REFUSAL_FLOOR_MS": 0}
        ).enable()
        self.server = _Server(("127.0.0.1", 0), _Quiet)
        self.server.set_app(get_wsgi_application())
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.item = product(10**6)
        self.staff = _staff_cookies()

    def prepare(self) -> None:
        self.offer = build.offer()
        self.code = codes.generate()
        coupons.issue(self.offer, origin=Coupon.Origin.VANITY, code=self.code, max_uses=1)

    def contenders(self) -> Sequence[Callable[[], object]]:
        return [partial(self._buy, uuid4().hex) for _ in range(self.threads)]

    def _buy(self, order: str) -> None:
        line = {"item_id": str(self.item.pk), "quantity": 4, "unit_price_minor": 1000}
        basket = {"currency": "EUR", "lines": [line]}
        held = self._post("api-reserve", {"code": self.code, "basket": basket, "idempotency_key": order})
        paid = {"reservation_id": held["reservation_id"], "order_label": "http", "order_id": order, "basket": basket}
        self._post("api-redeem", paid, self.staff)

    def _post(self, name: str, body: dict[str, Any], headers: dict[str, str] | None = None) -> dict[str, Any]:
        client = http.client.HTTPConnection("127.0.0.1", self.server.server_port, timeout=60)
        sent = {"Content-Type": "application/json", **(headers or {})}
        client.request("POST", reverse(f"personalization:{name}"), json.dumps(body), sent)
        answer = client.getresponse()
        told = json.loads(answer.read())
        client.close()
        if answer.status == 200:
            return dict(told)
        if answer.status == 400 and told["code"] == CouponRefused.code:
            raise CouponRefused
        raise AssertionError(f"{name}: {answer.status} {told}")

    def spent(self) -> int:
        return Redemption.objects.filter(offer=self.offer).count()

    def overruns(self) -> list[str]:
        spent = self.spent()
        return [f"a code with one use was redeemed {spent} times"] if spent > 1 else []

    def faults(self) -> list[str]:
        return ([] if self.spent() == 1 else [f"redeemed {self.spent()} times"]) + verify_ledger(self.offer.campaign)

    @contextmanager
    def unguarded(self) -> Iterator[None]:
        arena.drop_checks()
        in_an_order = mock.patch.object(redemption, "connection", mock.Mock(in_atomic_block=True))
        with arena.check_then_act(), in_an_order:
            yield


def _staff_cookies() -> dict[str, str]:
    """Return the headers of the shop's own system, signed in."""
    client = Client()
    client.force_login(get_user_model().objects.create_superuser(f"shop {uuid4().hex}"))
    cookies = f"sessionid={client.cookies['sessionid'].value}; csrftoken={CSRF}"
    return {"Cookie": cookies, "X-CSRFToken": CSRF}
