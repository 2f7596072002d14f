"""Trusted events: nothing is taken from the shop's own code that would come back as something else, or not at all."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from datetime import timezone as fixed
from math import inf, nan
from typing import Any

import pytest
from django.utils.safestring import mark_safe

from personalization.exceptions import InvalidEvent
from personalization.models import Event, Shopper
from personalization.tracking.ingest import store_events, track
from personalization.types import EventData, Purpose
from tests.personalization.builders import make_shopper

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    "bad",
    [
        {"properties": {"path": nan}},
        {"properties": {"path": {"deep": [1, {"er": inf}]}}},
        {"properties": {"path": datetime(2026, 3, 1, tzinfo=UTC)}},
        {"properties": {"path": Purpose}},
        {"properties": {"path": {(1, 2): "key"}}},
        {"value_minor": nan},
        {"occurred_at": datetime.min.replace(tzinfo=fixed(timedelta(hours=5)))},
    ],
)
def test_bulk_that_would_come_back_as_something_else_is_refused_whole_and_by_name(bad: dict[str, Any]) -> None:
    """The quick encoder writes null for what is no number; PostgreSQL holds moments before the year 1, Python none."""
    plain = EventData("pos", "good", "page_viewed", make_shopper().pk, datetime(1, 1, 1, tzinfo=UTC))
    with pytest.raises(InvalidEvent, match="'bad'"):
        store_events([plain, replace(plain, event_id="bad", **bad)])
    assert not Event.objects.exists()
    told = {"a": None, "b": [1.5, (True, 2**70)], "c": {"d": mark_safe("<b>"), 1: "one"}}
    assert store_events([replace(plain, properties=told)]) == 1, "the negative control: all that JSON has"
    expected = {"a": None, "b": [1.5, [True, 2**70]], "c": {"d": "<b>", "1": "one"}}
    assert Event.objects.get().properties == expected


def test_a_moment_that_no_database_gives_back_is_not_tracked(shopper: Shopper) -> None:
    first = datetime.min.replace(tzinfo=UTC)
    assert not track("page_viewed", shopper=shopper, occurred_at=first.replace(tzinfo=fixed(timedelta(hours=5))))
    assert track("page_viewed", shopper=shopper, occurred_at=first), "the negative control"
