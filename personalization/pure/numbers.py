"""What counts as a number in JSON that somebody else wrote: a host's profile, an offer's attributes, a stored card."""

from __future__ import annotations

import math
from typing import Any, TypeGuard

MOST = 10**15
"""No age, income or duration is larger; up to here sums of squares fit a float of 32 bits."""


def is_number(value: Any) -> TypeGuard[float]:
    """Return whether a value is a finite number, as far as a float tells."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:
        return False


def number_or_nan(value: Any) -> float:
    """Return a value as a float; nan, which reads as missing, for whatever is no number or beyond ±MOST.

    The mean and the deviation of a column with an income of 1e308 in it are infinite: nothing could learn from anybody.
    """
    return float(value) if is_number(value) and -MOST <= value <= MOST else math.nan
