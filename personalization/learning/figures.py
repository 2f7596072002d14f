"""How model cards write numbers and dates, and read JSON of any shape."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime
from typing import Any, TypeGuard

from django.utils.dateparse import parse_datetime
from django.utils.formats import date_format, number_format
from django.utils.timezone import localtime

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


def date(value: datetime | str | None) -> str:
    """Return a moment, or ISO text, as a date of the page's language; a dash for what is none."""
    moment = parse_datetime(value) if isinstance(value, str) else value
    return date_format(localtime(moment), "DATE_FORMAT") if moment is not None else DASH


def is_number(value: Any) -> TypeGuard[float]:
    """Return whether a value is a finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def mapping(value: Any) -> Mapping[str, Any]:
    """Return a JSON object; an empty one in place of anything else."""
    return value if isinstance(value, Mapping) else {}


def listed(value: Any) -> list[Any]:
    """Return a JSON list; an empty one in place of anything else."""
    return value if isinstance(value, list) else []
