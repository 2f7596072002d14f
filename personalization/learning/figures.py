"""How model cards write numbers and dates, and read JSON of any shape."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from django.utils.dateparse import parse_datetime
from django.utils.formats import number_format
from django.utils.timezone import is_naive

from personalization.ports import moments
from personalization.pure.numbers import is_number

DASH = "–"


def number(value: Any, decimals: int | None = None) -> str:
    """Return a number with as many decimals as tell something, or as are asked for; a dash for what is none."""
    if not is_number(value):
        return DASH
    if isinstance(value, int):
        return number_format(value, 0, force_grouping=True)
    if decimals is None:
        decimals = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 3
    return number_format(round(value, decimals), decimals, force_grouping=True)


def percent(share: Any, decimals: int = 0) -> str:
    """Return a share as a percentage; a dash for what is none."""
    return f"{number_format(round(share * 100, decimals), decimals)} %" if is_number(share) else DASH


def signed(text: str) -> str:
    """Return a number's text with a true minus sign in place of a hyphen."""
    return text.replace("-", "−")


def date(value: Any) -> str:
    """Return a moment, or ISO text, as a date of the page's language; a dash for what is none, or no date there."""
    found = moment(value)
    try:
        return DASH if found is None else moments.day(found)
    except (OverflowError, ValueError):
        return DASH


def moment(value: Any) -> datetime | None:
    """Return a moment, or one read from ISO text (UTC where it names no zone); None for anything else."""
    try:
        found = parse_datetime(value) if isinstance(value, str) else value
    except ValueError:
        return None
    if not isinstance(found, datetime):
        return None
    return found.replace(tzinfo=UTC) if is_naive(found) else found


def mapping(value: Any) -> Mapping[str, Any]:
    """Return a JSON object; an empty one in place of anything else."""
    return value if isinstance(value, Mapping) else {}


def listed(value: Any) -> list[Any]:
    """Return a JSON list; an empty one in place of anything else."""
    return value if isinstance(value, list) else []
