"""Clocks that are off by a second or by ten years, in any zone: the moment is mended, flagged, never in the future."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from personalization.exceptions import InvalidEvent
from personalization.tracking import parsing, schema
from personalization.tracking.parsing import CLOCK_TOLERANCE, Envelope
from personalization.types import Purpose

TEN_YEARS = 10 * 366 * 86400
ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu", "Pacific/Apia")
LEAP_DAY = datetime(2024, 2, 29, 23, 59, 59, tzinfo=UTC)
SPRING = datetime(2025, 3, 30, 1, 0, tzinfo=UTC)
AUTUMN = datetime(2025, 10, 26, 1, 0, tzinfo=UTC)
moments = st.integers(0, 6 * 365 * 86400).map(lambda past: datetime(2023, 1, 1, tzinfo=UTC) + timedelta(seconds=past))
skews = st.one_of(st.integers(-TEN_YEARS, TEN_YEARS), st.integers(-90, 90))


def stored(
    happened: datetime, received: datetime, skew: timedelta, zone: str, transit: timedelta
) -> tuple[datetime, bool]:
    """Return the moment that is kept of an event, and whether it was mended; the device's clock is off by ``skew``."""
    tz = ZoneInfo(zone)
    envelope = Envelope(
        "web:x", received, frozenset({Purpose.PERSONALISATION}), (received - transit + skew).astimezone(tz)
    )
    raw = {"id": "1", "type": "page_viewed", "occurred_at": (happened + skew).astimezone(tz).isoformat()}
    parsed = parsing.parse(raw, schema.checker("page_viewed"), envelope, 1)
    assert parsed is not None
    return parsed[0].occurred_at, parsed[1]


@given(
    received=moments,
    ago=st.integers(0, 300 * 86400),
    skew=skews,
    transit=st.integers(0, 20),
    zone=st.sampled_from(ZONES),
)
@example(received=LEAP_DAY, ago=0, skew=TEN_YEARS, transit=0, zone="UTC")
@example(received=LEAP_DAY + timedelta(days=1), ago=86400, skew=-TEN_YEARS, transit=1, zone="Pacific/Apia")
@example(received=SPRING + timedelta(minutes=30), ago=3600, skew=3600, transit=0, zone="Europe/Berlin")
@example(received=AUTUMN + timedelta(minutes=30), ago=3600, skew=-3600, transit=0, zone="Europe/Berlin")
@example(received=AUTUMN, ago=1, skew=1, transit=0, zone="Europe/Berlin")
@example(received=AUTUMN, ago=0, skew=60, transit=0, zone="UTC")
@example(received=AUTUMN, ago=0, skew=-61, transit=0, zone="UTC")
def test_a_clock_that_is_off_is_mended_and_said_to_be(
    received: datetime, ago: int, skew: int, transit: int, zone: str
) -> None:
    happened, off, way = (
        received - timedelta(seconds=ago + transit),
        timedelta(seconds=skew),
        timedelta(seconds=transit),
    )
    kept, mended = stored(happened, received, off, zone, way)
    assert kept <= received
    plain = abs(off - way) > CLOCK_TOLERANCE
    assert mended == plain
    if plain:
        assert kept == happened + way, "what the way took is all that it is off by"
    else:
        assert abs(kept - happened) <= CLOCK_TOLERANCE + way


@given(received=moments, ago=st.integers(0, 300 * 86400), zone=st.sampled_from(ZONES), other=st.sampled_from(ZONES))
def test_a_moment_is_the_same_in_every_zone(received: datetime, ago: int, zone: str, other: str) -> None:
    happened, none = received - timedelta(seconds=ago), timedelta(0)
    assert stored(happened, received, none, zone, none) == stored(happened, received, none, other, none)
    assert stored(happened, received, none, zone, none) == (happened, False)


def test_the_hour_that_comes_twice_is_two_hours() -> None:
    berlin, none = ZoneInfo("Europe/Berlin"), timedelta(0)
    first = datetime(2025, 10, 26, 2, 30, tzinfo=berlin, fold=0)
    second = first.replace(fold=1)
    received = AUTUMN + timedelta(hours=3)
    told = [stored(moment.astimezone(UTC), received, none, "Europe/Berlin", none)[0] for moment in (first, second)]
    assert told[1] - told[0] == timedelta(hours=1)


def test_the_29th_of_february_needs_its_year() -> None:
    envelope = Envelope("web:x", LEAP_DAY, frozenset({Purpose.PERSONALISATION}))
    raw = {"id": "1", "type": "page_viewed", "occurred_at": "2024-02-29T12:00:00Z"}
    parsed = parsing.parse(raw, schema.checker("page_viewed"), envelope, 1)
    assert parsed is not None
    assert parsed[0].occurred_at == datetime(2024, 2, 29, 12, tzinfo=UTC)
    with pytest.raises(InvalidEvent):
        parsing.parse({**raw, "occurred_at": "2023-02-29T12:00:00Z"}, schema.checker("page_viewed"), envelope, 1)


def test_the_control_without_the_moment_of_sending_the_error_stays() -> None:
    envelope = Envelope("web:x", AUTUMN, frozenset({Purpose.PERSONALISATION}))
    occurred, mended = parsing.corrected(AUTUMN - timedelta(days=5), envelope)
    assert (occurred, mended) == (AUTUMN - timedelta(days=5), False)
