"""Sums over "strictly before t" for many (group, t) at once: sorted keys and prefix sums.

A series holds the events of one sort by (group, time). Every look-up is a binary search, so n rows over m events
cost O((n + m) log m) whatever the windows.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from personalization.features.frames import NEVER, Floats, Ints

_SPAN = np.int64(2**42)
"""Milliseconds a group's key range holds: 139 years."""


class Series:
    """Events of one sort. ``group`` and ``time`` need not be sorted; groups are any non-negative integers."""

    def __init__(self, group: Ints, time: Ints, value: Floats | None = None) -> None:
        self._groups, dense = np.unique(group, return_inverse=True)
        order = np.lexsort((time, dense))
        dense, time = dense[order].astype(np.int64), time[order]
        self._origin = np.int64(time.min()) if len(time) else np.int64(0)
        self._time = time
        self._key = dense * _SPAN + (time - self._origin)
        self._first = np.searchsorted(dense, np.arange(len(self._groups)))
        values = np.zeros(len(time)) if value is None else value[order].astype(np.float64)
        self._sum = np.concatenate(([0.0], np.cumsum(values)))
        # A running maximum that restarts with each group: shift every group above the one before it.
        shift = dense * (float(values.max() - values.min()) + 1.0 if len(values) else 1.0)
        self._max = np.maximum.accumulate(values + shift) - shift if len(values) else values

    def _locate(self, group: Ints, time: Ints) -> tuple[NDArray[np.bool_], Ints, Ints]:
        """Return (group known, first row of the group, first row not before time)."""
        if not len(self._groups):
            nothing = np.zeros(len(group), dtype=np.int64)
            return np.zeros(len(group), dtype=bool), nothing, nothing
        at = np.searchsorted(self._groups, group)
        at = np.minimum(at, len(self._groups) - 1)
        known = self._groups[at] == group
        offset = np.clip(time - self._origin, 0, _SPAN - 1)
        end = np.searchsorted(self._key, at * _SPAN + offset, side="left")
        first = self._first[at]
        return known, first, np.where(known, end, first)

    def count(self, group: Ints, time: Ints) -> Floats:
        """Return how many events of each group lie strictly before each time."""
        _known, first, end = self._locate(group, time)
        return (end - first).astype(np.float64)

    def total(self, group: Ints, time: Ints) -> Floats:
        """Return the sum of values strictly before each time."""
        _known, first, end = self._locate(group, time)
        return self._sum[end] - self._sum[first]

    def maximum(self, group: Ints, time: Ints) -> Floats:
        """Return the largest value strictly before each time; 0 where there is none."""
        _known, first, end = self._locate(group, time)
        some = end > first
        if not len(self._max):
            return np.zeros(len(group))
        return np.where(some, self._max[np.maximum(end - 1, 0)], 0.0)

    def last(self, group: Ints, time: Ints) -> Ints:
        """Return the time of the last event strictly before each time; NEVER where there is none."""
        _known, first, end = self._locate(group, time)
        some = end > first
        if not len(self._time):
            return np.full(len(group), NEVER)
        return np.where(some, self._time[np.maximum(end - 1, 0)], NEVER)
