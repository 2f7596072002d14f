"""What counts as a number in JSON that somebody else wrote: a host's profile, an offer's attributes, a stored card."""

from __future__ import annotations

import math
from typing import Any, TypeGuard


def is_number(value: Any) -> TypeGuard[float]:
    """Return whether a value is a finite number, and none too large to compute with."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def number_or_nan(value: Any) -> float:
    """Return a value as a float; nan, which reads as missing, for whatever is no number."""
    return float(value) if is_number(value) else math.nan
