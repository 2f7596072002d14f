"""Whatever is posted to events/: never a 5xx, and what is not stored is counted. 100,000 bodies in a soak run."""

from __future__ import annotations

import gzip
import json
from typing import Any

import pytest
from django.db.models import Sum
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from personalization.models import Event, QuarantinedEvent, RejectionCount
from personalization.tracking import schema
from personalization.tracking.parsing import KEYS
from tests.personalization.builders import EVENTS, Browser, make_offer
from tests.personalization.conftest import Configure
from tests.support.scale import rounds

pytestmark = pytest.mark.django_db
BIG = "x" * 600
odd = st.sampled_from(
    [
        *[None, True, 0, -1, 2**31, 2**63, 10**30, 0.5, 1e308, float("nan"), float("inf"), "", "\x00", "\ud800", BIG],
        *["2024-02-29T12:00:00Z", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "2024-W01", [], {}, [[[]]]],
    ]
)
anything = st.recursive(
    odd | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)
names = st.sampled_from(schema.names())
declared = sorted({each.name for name in schema.names() if (kind := schema.get(name)) for each in kind.properties})
properties = st.dictionaries(
    st.sampled_from(declared) | st.text(max_size=6),
    anything,
    max_size=5,
)
events = (
    st.fixed_dictionaries(
        {},
        optional=dict.fromkeys(sorted(KEYS), anything)
        | {"type": names | anything, "properties": properties | anything},
    )
    | anything
)
bodies = st.fixed_dictionaries(
    {"events": st.lists(events, max_size=6) | anything},
    optional={"sent_at": anything, "channel": anything, "token": anything, "x": anything},
)
envelopes = st.fixed_dictionaries(
    {},
    optional={
        "content-encoding": st.sampled_from(["gzip", "identity", "br", "GZIP", "\x7f"]),
        "content-type": st.sampled_from(["application/json", "text/plain", "multipart/form-data", "x", ""]),
        "origin": st.sampled_from(["null", "http://testserver", "https://evil.example", "http://[", "\x00"]),
        "user-agent": st.text(alphabet=st.characters(min_codepoint=32, max_codepoint=255), max_size=20),
        "accept": st.sampled_from(["*/*", "application/json", "image/png", "x", ""]),
        "x-csrftoken": st.text(alphabet="abc", max_size=5),
    },
)


def counted() -> int:
    return RejectionCount.objects.aggregate(total=Sum("count"))["total"] or 0


@pytest.fixture
def known(configure: Configure) -> Browser:
    """A consenting visitor's browser; nobody limits it, and little is kept aside."""
    configure(RATE_LIMITS={"event": []}, QUARANTINE_PER_SOURCE=50)
    make_offer()
    browser = Browser()
    browser.answer("all")
    browser.csrf()
    return browser


@hypothesis_settings(
    max_examples=rounds(150, 100_000),
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)
@given(body=bodies | anything | st.binary(max_size=200), envelope=envelopes, honest=st.booleans(), packed=st.booleans())
def test_no_body_brings_the_intake_down(
    known: Browser, body: Any, envelope: dict[str, str], honest: bool, packed: bool
) -> None:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    headers = {"x-csrftoken": known.csrf()} | ({} if honest else envelope)
    if packed:
        raw, headers["content-encoding"] = gzip.compress(raw), "gzip"
    kind = headers.pop("content-type", "application/json")
    before, stored = counted(), Event.objects.count()
    answer = known.post(EVENTS, raw, content_type=kind, headers=headers)
    rejected = counted() - before
    assert answer.status_code < 500
    if answer.status_code >= 400:
        assert rejected == 1
        assert Event.objects.count() == stored
    elif answer.status_code == 200:
        told = answer.json()
        assert sum(told.values()) == len(body["events"])
        assert rejected == told["quarantined"]
        assert Event.objects.count() == stored + told["accepted"]
    assert QuarantinedEvent.objects.count() <= 50
