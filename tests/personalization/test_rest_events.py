"""POST events/: who may send, what a body may be, and that nothing that arrives is answered with a 500."""

from __future__ import annotations

import gzip
import json
import uuid
from datetime import timedelta
from typing import Any

import pytest
import time_machine
from django.core import signing
from django.utils import timezone

from personalization.models import Event, QuarantinedEvent, Shopper
from personalization.tracking.pages import AGE_SECONDS, SALT, is_page_token, page_token
from personalization.types import Purpose
from tests.personalization.builders import (
    CRAWLER,
    DAY,
    EVENTS,
    Browser,
    event,
    make_account,
    make_alias,
    make_offer,
    make_request,
    make_shopper,
)
from tests.personalization.conftest import Configure

pytestmark = pytest.mark.django_db


def counts(**given: int) -> dict[str, int]:
    return {"accepted": 0, "duplicates": 0, "quarantined": 0, "dropped": 0} | given


def token(browser: Browser) -> str:
    return page_token(make_request(visitor=browser.visitor()))


def beacon(browser: Browser, *events: Any, content_type: str = "text/plain", **kwargs: Any) -> Any:
    """Send as the page script does: plain text, the page's token, no CSRF header."""
    body = {"token": token(browser), "events": list(events), **kwargs.pop("body", {})}
    return browser.post(EVENTS, json.dumps(body), content_type=content_type, **kwargs)


def refused(answer: Any, status: int = 400) -> str:
    assert answer.status_code == status, answer.content
    problem = answer.json()
    assert set(problem) == {"code", "message"}
    assert problem["code"]
    assert not Event.objects.exists()
    return str(problem["message"])


# --- Good input -------------------------------------------------------------------------------------------------------


def test_a_batch_is_stored_and_counted(visitor: Browser) -> None:
    one = event("product_viewed", item_id="p-1", category="tea", properties={"dwell_ms": 5})
    answer = visitor.events(one, one, event("teleported"), event())
    assert answer.status_code == 200
    assert answer.json() == counts(accepted=2, duplicates=1, quarantined=1)
    assert answer["Cache-Control"] == "private, no-store"
    stored = Event.objects.get(event_id=one["id"])
    assert (stored.shopper, stored.source) == (visitor.shopper(), f"web:{visitor.visitor()}")
    assert visitor.events(one).json() == counts(duplicates=1)


def test_a_beacon_needs_no_answer(visitor: Browser) -> None:
    answer = beacon(visitor, event(), headers={"origin": "http://testserver"})
    assert (answer.status_code, answer.content) == (204, b"")
    assert Event.objects.count() == 1


def test_an_accounts_events_are_the_accounts_whosever_browser_it_was(visitor: Browser) -> None:
    before = visitor.shopper()
    account = make_account()
    shopper = make_shopper(user=account)
    Browser.force_login(visitor, account)
    visitor.cookies["pz_visitor"] = make_alias(make_shopper(user=make_account()))  # somebody else's cookie
    assert visitor.events(event()).json() == counts(accepted=1)
    assert Event.objects.get(type="page_viewed").shopper == shopper != before


def test_gzip_is_unpacked(visitor: Browser) -> None:
    body = gzip.compress(json.dumps({"events": [event()]}).encode())
    assert visitor.call("events", body, headers={"content-encoding": "gzip"}).json() == counts(accepted=1)


def test_the_senders_clock_is_mended(visitor: Browser) -> None:
    wrong = timezone.now() - 300 * DAY
    body = {"sent_at": wrong.isoformat(), "events": [event(occurred_at=(wrong - DAY).isoformat())]}
    assert visitor.call("events", body).json() == counts(accepted=1)
    stored = Event.objects.get()
    assert stored.clock_corrected
    assert abs(timezone.now() - DAY - stored.occurred_at).total_seconds() < 60


@pytest.mark.parametrize(
    "sent_at",
    [None, 5, "soon", "2024-99-99T00:00:00Z", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", [], {}],
)
def test_a_time_of_sending_that_is_none_is_left_out(visitor: Browser, sent_at: Any) -> None:
    assert visitor.call("events", {"sent_at": sent_at, "events": [event()]}).json() == counts(accepted=1)


def test_a_naive_time_of_sending_is_read_as_ours(visitor: Browser) -> None:
    body = {"sent_at": timezone.now().replace(tzinfo=None).isoformat(), "events": [event()]}
    assert visitor.call("events", body).json() == counts(accepted=1)
    assert not Event.objects.get().clock_corrected


def test_a_bots_events_are_flagged(visitor: Browser) -> None:
    beacon(visitor, event(), headers={"user-agent": CRAWLER})
    assert Event.objects.get().is_bot


def test_five_hundred_are_the_most(visitor: Browser) -> None:
    assert visitor.events(*[event() for _ in range(500)]).json() == counts(accepted=500)
    Event.objects.all().delete()
    assert "500" in refused(visitor.events(*[event() for _ in range(501)]), 413)


def test_without_consent_nothing_is_kept_and_nothing_is_said(browser: Browser) -> None:
    answer = browser.events(event(), None, event("teleported"))
    assert (answer.status_code, answer.content) == (204, b"")
    for model in (Event, QuarantinedEvent, Shopper):
        assert not model._default_manager.exists(), model


def test_only_the_purposes_agreed_to(browser: Browser) -> None:
    browser.answer("chosen", purpose=[Purpose.MARKETING.value])
    assert browser.events(event(), event("teleported"), 7).json() == counts(dropped=3)
    assert not QuarantinedEvent.objects.exists()


# --- Bad events in a good batch ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "bad",
    [
        "null",
        "7",
        "[]",
        '"x"',
        "NaN",
        "{}",
        '{"type": "page_viewed", "id": null}',
        '{"type": "page_viewed", "id": "a", "value_minor": NaN}',
        '{"type": "page_viewed", "id": "a", "value_minor": -Infinity}',
        '{"type": "page_viewed", "id": "a", "value_minor": 1e400}',
        '{"type": "page_viewed", "id": "a", "value_minor": ' + "9" * 4000 + "}",
        '{"type": "offer_viewed", "id": "a", "offer_id": 99999999999999999999}',
        '{"type": "offer_viewed", "id": "a", "offer_id": 424242}',
        '{"type": "page_viewed", "id": "a", "properties": ' + '{"a":' * 200 + "1" + "}" * 200 + "}",
        '{"type": "page_viewed", "id": "\\ud800\\u0000", "properties": {"path": "\\ud800", "x": "\\udfff"}}',
        '{"type": "tele\\ud800ported", "id": "a"}',
        '{"type": "page_viewed", "id": "a", "occurred_at": "2999-01-01T00:00:00Z"}',
        '{"type": "order_placed", "id": "a", "value_minor": 1}',
    ],
    ids=lambda bad: bad[:60],
)
def test_one_bad_event_harms_no_other(visitor: Browser, bad: str) -> None:
    good = json.dumps(event())
    answer = visitor.call("events", f'{{"events": [{good}, {bad}, {json.dumps(event())}]}}')
    assert answer.status_code == 200, answer.content
    assert answer.json() == counts(accepted=2, quarantined=1)
    assert QuarantinedEvent.objects.get().reason


# --- Bad bodies -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"nothing",
        b"null",
        b"7",
        b"[]",
        b"{}",
        b'"events"',
        b'{"events": null}',
        b'{"events": []}',
        b'{"events": {}}',
        b'{"events": "x"}',
        b"\xff\xfe\xfa",
        b'{"events": ["\xff"]}',
        b"\x00" * 100,
        b"[" * 200_000,
        b'{"events": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'{"a":' * 100_000,
        b'{"events": [' + b"9" * 5000 + b"]}",
    ],
    ids=lambda body: repr(body[:30]),
)
def test_a_body_that_cannot_be_read_is_refused(visitor: Browser, body: bytes) -> None:
    assert refused(visitor.call("events", body))
    assert refused(visitor.post(EVENTS, body, content_type="text/plain", headers={"x-csrftoken": visitor.csrf()}))


def test_a_body_that_is_too_large_is_refused(visitor: Browser) -> None:
    body = json.dumps({"events": [event()], "padding": "x" * 1_000_001})
    assert "1000000 bytes" in refused(visitor.call("events", body), 413)


@pytest.mark.parametrize("length", ["", "x", "-1", "3"])
def test_a_length_that_is_a_lie_is_no_trouble(visitor: Browser, length: str) -> None:
    answer = visitor.call("events", {"events": [event()]}, CONTENT_LENGTH=length)
    assert answer.status_code in {200, 400}


def test_a_bomb_is_not_unpacked(visitor: Browser) -> None:
    bomb = gzip.compress(b"0" * 40_000_000)
    assert len(bomb) < 1_000_000
    assert "1000000 bytes" in refused(visitor.call("events", bomb, headers={"content-encoding": "gzip"}), 413)


@pytest.mark.parametrize(
    "body", [b"", b"plain", gzip.compress(b'{"events": [{}]}', mtime=0)[:-6], b"\x1f\x8b" + b"\x00" * 40]
)
def test_gzip_that_is_none_is_refused(visitor: Browser, body: bytes) -> None:
    assert refused(visitor.call("events", body, headers={"content-encoding": "gzip"}))


def test_a_smaller_cap_is_kept(visitor: Browser, configure: Configure) -> None:
    configure(EVENT_MAX_BATCH=2, EVENT_MAX_BYTES=400)
    assert visitor.events(event(), event()).json() == counts(accepted=2)
    Event.objects.all().delete()
    assert refused(visitor.events(event(), event(), event()), 413)
    assert refused(visitor.events(event(properties={"path": "x" * 400})), 413)


@pytest.mark.parametrize("method", ["get", "put", "patch", "delete"])
def test_another_method_is_refused(visitor: Browser, method: str) -> None:
    headers = {"x-csrftoken": visitor.csrf()}
    assert refused(getattr(visitor, method)(EVENTS, headers=headers), 405)


# --- Who may send -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "origin",
    ["https://evil.example", "http://testserver.evil.example", "http://testserver:81", "http://[bad", "x", "file://"],
)
def test_another_origin_is_refused_even_with_a_token(visitor: Browser, origin: str) -> None:
    assert "origin" in refused(beacon(visitor, event(), headers={"origin": origin}), 403)


@pytest.mark.parametrize("origin", ["http://testserver", "https://shop.example"])
def test_our_own_origins_may_send(visitor: Browser, settings: Any, origin: str) -> None:
    settings.CSRF_TRUSTED_ORIGINS = ["https://shop.example"]
    assert beacon(visitor, event(), headers={"origin": origin}).status_code == 204
    assert Event.objects.count() == 1


@pytest.mark.parametrize(
    "forged",
    [
        None,
        "",
        "x",
        5,
        [],
        {},
        "a:b:c",
        "\ud800:1:2",
        "a:b:\ud800",
        signing.TimestampSigner().sign("page"),
        signing.TimestampSigner(salt="other").sign("page"),
        signing.TimestampSigner(salt=SALT).sign(""),
        signing.TimestampSigner(key="another secret", salt=SALT).sign("page"),
        "x" * 100_000,
    ],
    # Names of their own: a signature holds the time, and the processes that share the tests must agree on names.
    ids=[
        "none",
        "empty",
        "text",
        "number",
        "list",
        "object",
        "three-parts",
        "surrogate",
        "surrogate-last",
        "unsalted",
        "other-salt",
        "for-nobody",
        "other-key",
        "long",
    ],
)
def test_without_token_and_csrf_nothing_is_taken(visitor: Browser, forged: Any) -> None:
    body = json.dumps({"token": forged, "events": [event()]})
    assert "token" in refused(visitor.post(EVENTS, body, content_type="text/plain"), 403)
    assert refused(visitor.post(EVENTS, body, content_type="application/json", headers={"x-csrftoken": "x" * 32}), 403)


def test_a_form_token_in_the_body_is_no_proof(visitor: Browser) -> None:
    body = f"csrfmiddlewaretoken={visitor.csrf()}"
    assert refused(visitor.post(EVENTS, body, content_type="application/x-www-form-urlencoded"))


def test_a_token_lasts_a_day(visitor: Browser) -> None:
    given = token(visitor)
    assert is_page_token(given)
    body = json.dumps({"token": given, "events": [event()]})
    with time_machine.travel(timezone.now() + timedelta(seconds=AGE_SECONDS - 5), tick=False):
        assert is_page_token(given)
    with time_machine.travel(timezone.now() + timedelta(seconds=AGE_SECONDS + 5), tick=False):
        assert not is_page_token(given)
        assert refused(visitor.post(EVENTS, body, content_type="text/plain"), 403)


def test_a_replay_under_another_cookie_stores_nothing_of_mine(visitor: Browser) -> None:
    """A token proves the page, the cookie says who it is: nobody writes into another one's history."""
    mine, body = visitor.shopper(), json.dumps({"token": token(visitor), "events": [event()]})
    other = Browser()
    other.answer("all")
    assert other.post(EVENTS, body, content_type="text/plain").status_code == 204
    assert not Event.objects.filter(shopper=mine).exists()
    stranger = Browser()
    assert stranger.post(EVENTS, body, content_type="text/plain").status_code == 204
    assert Event.objects.count() == 1


def test_an_unknown_offer_is_set_aside_and_a_known_one_is_not(visitor: Browser) -> None:
    offer = make_offer()
    answer = visitor.events(
        event("offer_viewed", offer_id=offer.pk, properties={"decision_id": str(uuid.uuid4()), "position": 1}),
        event("offer_viewed", offer_id=offer.pk + 1),
    )
    assert answer.json() == counts(accepted=1, quarantined=1)
