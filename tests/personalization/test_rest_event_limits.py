"""POST events/: which channel, how many, what is counted, and what OpenAPI says of it."""

from __future__ import annotations

import gzip
import json
from typing import Any

import pytest
from drf_spectacular.generators import SchemaGenerator

from personalization.models import Event, RejectionCount
from personalization.tracking import schema
from tests.personalization.builders import EVENTS, Browser, event
from tests.personalization.conftest import Configure
from tests.personalization.test_rest_events import beacon, counts, refused

pytestmark = pytest.mark.django_db


def test_the_channel_is_the_events_the_requests_or_the_web(visitor: Browser) -> None:
    assert visitor.call("events", {"channel": "app", "events": [event(id="a"), event(id="b", channel="shop_floor")]})
    visitor.events(event(id="c"))
    assert dict(Event.objects.values_list("event_id", "channel")) == {"a": "app", "b": "shop_floor", "c": "web"}
    Event.objects.all().delete()
    odd: list[Any] = ["fax", 7, [], {}, True]
    for wrong in odd:
        assert "channel" in refused(visitor.call("events", {"channel": wrong, "events": [event()]}))


def test_events_are_limited_by_browser_and_say_when_to_come_again(visitor: Browser, configure: Configure) -> None:
    configure(RATE_LIMITS={"event": ["session 5/h"]})
    assert visitor.events(event(), event(), event()).json() == counts(accepted=3)
    answer = visitor.events(event(), event(), event())
    assert (answer.status_code, answer.json()["code"]) == (429, "too_many_tries")
    assert 0 < int(answer["Retry-After"]) <= 3600
    assert Event.objects.count() == 3
    assert RejectionCount.objects.get().code == "too_many"
    other = Browser()
    other.answer("all")
    assert other.events(event(), event()).json() == counts(accepted=2)


def test_events_are_limited_by_address(configure: Configure, visitor: Browser) -> None:
    configure(RATE_LIMITS={"event": ["network 4/h"]})
    other = Browser()
    other.answer("all")
    assert visitor.events(event(), event()).status_code == 200
    assert other.events(event(), event()).status_code == 200
    assert other.events(event()).status_code == 429
    assert visitor.events(event(), REMOTE_ADDR="192.0.2.7").status_code == 200


def test_the_shops_own_systems_are_not_limited(configure: Configure, staff: Browser) -> None:
    configure(RATE_LIMITS={"event": ["session 1/h", "network 1/h"]})
    staff.answer("all")
    for _ in range(3):
        assert staff.events(event(), event()).json() == counts(accepted=2)


def test_without_consent_the_sender_is_told_to_forget(browser: Browser, visitor: Browser) -> None:
    stranger = Browser()
    assert stranger.events(event())["Personalization-Consent"] == "none"
    assert "Personalization-Consent" not in visitor.events(event()).headers


@pytest.mark.parametrize(
    ("code", "send"),
    [
        ("bad_body", lambda browser: browser.call("events", "{")),
        ("bad_body", lambda browser: browser.call("events", b"x", headers={"content-encoding": "br"})),
        ("bad_body", lambda browser: browser.events(event(), headers={"accept": "image/png"})),
        ("too_large", lambda browser: browser.events(*[7] * 501)),
        ("too_large", lambda browser: browser.call("events", "[" * 1_000_001)),
        ("foreign_origin", lambda browser: beacon(browser, event(), headers={"origin": "https://evil.example"})),
        ("no_token", lambda browser: browser.post(EVENTS, '{"events": [1]}', content_type="text/plain")),
        ("not_an_object", lambda browser: browser.events(7)),
    ],
)
def test_whatever_is_rejected_is_counted(visitor: Browser, code: str, send: Any) -> None:
    send(visitor)
    assert list(RejectionCount.objects.values_list("code", "count")) == [(code, 1)]


def test_another_encoding_is_refused(visitor: Browser) -> None:
    assert "gzipped" in refused(visitor.call("events", b"x", headers={"content-encoding": "br"}), 415)
    body = gzip.compress(json.dumps({"events": [event()]}).encode())
    assert visitor.call("events", body, headers={"content-encoding": "GZIP"}).json() == counts(accepted=1)


# --- The description --------------------------------------------------------------------------------------------------


def described() -> dict[str, Any]:
    document: dict[str, Any] = SchemaGenerator().get_schema(request=None, public=True)
    return document


def test_openapi_describes_every_type_that_a_client_may_send(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema, "_TYPES", dict(schema._TYPES))
    size = schema.Property("size", choices=("S", "M"), required=True, personal=True)
    schema.register(schema.EventType("size_advised", version=7, needs=("item_id",), properties=(size,), public=True))
    components = described()["components"]["schemas"]
    items = components["EventsRequest"]["properties"]["events"]["items"]
    public = {name for name in schema.names() if getattr(schema.get(name), "public", False)}
    assert set(items["discriminator"]["mapping"]) == public > {"size_advised", "feedback_given"}
    assert {each["$ref"] for each in items["oneOf"]} == set(items["discriminator"]["mapping"].values())
    own = components["SizeAdvisedEvent"]
    assert own["required"] == ["id", "type", "item_id", "properties"]
    assert own["properties"]["properties"]["required"] == ["size"]
    assert "Version 7" in own["description"]
    rating = components["ReviewSubmittedEvent"]["properties"]["properties"]["properties"]["rating"]
    assert (rating["minimum"], rating["maximum"]) == (1, 5)
