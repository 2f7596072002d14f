"""Handing over: mail with its button to unsubscribe, a signed webhook, and channels of the host's own."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from django.core import mail
from django.utils import timezone

from personalization.campaigns import channels, outbox
from personalization.exceptions import ChannelFailed
from personalization.models import (
    Coupon,
    Decision,
)
from tests.personalization import reach
from tests.personalization.builders import make_shopper
from tests.personalization.reach import DAY, only, queue, reachable

pytestmark = pytest.mark.django_db
HOUR = timedelta(hours=1)


@pytest.fixture(autouse=True)
def _host(configure: Any) -> Iterator[None]:
    reach.empty()
    configure(**reach.PATHS)
    yield
    reach.empty()


def state() -> tuple[str, str]:
    message = only()
    return message.state, message.reason


# -- the channels


def test_mail_carries_both_bodies_and_the_button_to_unsubscribe() -> None:
    shopper = reachable()
    queue(shopper, channel="email")
    assert outbox.send_due() == 1
    (sent,) = mail.outbox
    assert sent.to == [f"user{shopper.user_id}@shop.example"]
    assert sent.subject == "A tenth off"
    headers = sent.message()
    assert headers["Message-ID"] == f"<{only().pk}@shop.example>"
    link = headers["List-Unsubscribe"]
    assert link.startswith("<https://shop.example/personalization/unsubscribe/")
    assert headers["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    assert str(shopper.user_id) + "@" not in link
    assert isinstance(sent, mail.EmailMultiAlternatives)
    assert [kind for _body, kind in sent.alternatives] == ["text/html"]


class Receiver(BaseHTTPRequestHandler):
    """Somebody else's server: notes what it is sent and answers as it is told."""

    got: list[tuple[dict[str, str], bytes]] = []
    status = 204

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.got.append(({name.lower(): value for name, value in self.headers.items()}, body))
        self.send_response(self.status)
        if self.status == 302:
            self.send_header("Location", "/elsewhere")
        self.end_headers()

    def log_message(self, *args: Any) -> None:
        return


@pytest.fixture
def receiver() -> Iterator[str]:
    Receiver.got, Receiver.status = [], 204
    server = HTTPServer(("127.0.0.1", 0), Receiver)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/hook"
    server.shutdown()
    server.server_close()


def test_the_webhook_is_signed_and_repeats_its_key(receiver: str, configure: Any, settings: Any) -> None:
    settings.DEBUG = True
    configure(WEBHOOK_URL=receiver, WEBHOOK_SECRET="hush")
    queue(make_shopper(joined_at=timezone.now() - DAY), channel="webhook")
    Receiver.status = 500
    assert outbox.send_due() == 0
    assert state() == ("waiting", "http_500")
    Receiver.status = 204
    assert outbox.send_due(timezone.now() + HOUR) == 1
    first, second = Receiver.got
    assert first[0]["idempotency-key"] == second[0]["idempotency-key"] == str(only().pk)
    headers, body = second
    moment = headers["x-timestamp"]
    assert channels.is_signed("hush", moment, body, headers["x-signature"], float(moment))
    assert not channels.is_signed("other", moment, body, headers["x-signature"], float(moment))
    assert not channels.is_signed("hush", moment, body + b" ", headers["x-signature"], float(moment))
    assert not channels.is_signed("hush", moment, body, headers["x-signature"], float(moment) + 301)
    assert json.loads(body)["code"] == loft_code()


def loft_code() -> str:
    from personalization.campaigns import codes

    return codes.reveal(Coupon.objects.get().code_ciphertext)


@pytest.mark.parametrize(
    ("changes", "debug", "reason"),
    [
        ({}, False, "webhook_not_https"),
        ({"WEBHOOK_URL": "file:///etc/passwd"}, True, "webhook_not_https"),
        ({"WEBHOOK_URL": "https://hook.example", "WEBHOOK_SECRET": ""}, False, "webhook_without_secret"),
    ],
)
def test_a_webhook_that_is_not_safe_is_not_used(
    receiver: str, configure: Any, settings: Any, changes: dict[str, str], debug: bool, reason: str
) -> None:
    settings.DEBUG = debug
    configure(**{"WEBHOOK_URL": receiver, "WEBHOOK_SECRET": "hush", **changes})
    queue(reachable(), channel="webhook")
    outbox.send_due()
    assert (state(), Receiver.got) == (("waiting", reason), [])


def test_a_redirect_is_not_followed(receiver: str, configure: Any, settings: Any) -> None:
    settings.DEBUG = True
    configure(WEBHOOK_URL=receiver, WEBHOOK_SECRET="hush")
    queue(reachable(), channel="webhook")
    Receiver.status = 302
    outbox.send_due()
    assert (state(), len(Receiver.got)) == (("waiting", "http_302"), 1)


def test_a_channel_that_is_not_there() -> None:
    with pytest.raises(ChannelFailed):
        channels.channel("drum")
    assert Decision.objects.count() == 0
