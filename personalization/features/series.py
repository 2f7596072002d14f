"""Sums over "strictly before t" for many (group, t) at once: sorted keys and prefix sums.

A series holds the events of one sort by (group, time). Every look-up is a binary search, so n rows over m events
cost O((n + m) log m) whatever the windows.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from personalization.features.frames import NEVER, Floats, Ints

DECIMALS = 10_000
"""Values count in ten-thousandths: no currency has smaller parts."""


class Series:
    """Events of one sort. ``group`` and ``time`` need not be sorted; groups are any non-negative integers.

    Groups and times enter the keys by rank: no number of groups and no length of time makes a key overflow.
    """

    def __init__(self, group: Ints, time: Ints, value: Floats | None = None) -> None:
        self._groups, dense = np.unique(group, return_inverse=True)
        order = np.lexsort((time, dense))
        dense, time = dense[order].astype(np.int64), time[order]
        self._time = time
        self._moments, rank = np.unique(time, return_inverse=True)
        self._width = np.int64(len(self._moments) + 1)
        self._key = dense * self._width + rank
        self._first = np.searchsorted(dense, np.arange(len(self._groups)))
        values = np.zeros(len(time)) if value is None else value[order].astype(np.float64)
        self._value = values if value is not None else values[:0]
        # Whole numbers: a later event, or another shopper's, cannot change a sum by its rounding error.
        exact = np.round(values * DECIMALS).astype(np.int64)
        self._sum = np.concatenate(([np.int64(0)], np.cumsum(exact)))
        # A running maximum that restarts with each group: over ranks of values, each group's above the one before.
        levels, level = np.unique(values, return_inverse=True)
        highest = np.maximum.accumulate(dense * np.int64(len(levels)) + level)
        self._max = levels[highest % len(levels)] if len(levels) else values

    def _locate(self, group: Ints, time: Ints) -> tuple[NDArray[np.bool_], Ints, Ints]:
        """Return (group known, first row of the group, first row not before time)."""
        if not len(self._groups):
            nothing = np.zeros(len(group), dtype=np.int64)
            return np.zeros(len(group), dtype=bool), nothing, nothing
        at = np.searchsorted(self._groups, group)
        at = np.minimum(at, len(self._groups) - 1)
        known = self._groups[at] == group
        rank = np.searchsorted(self._moments, time, side="left")
        end = np.searchsorted(self._key, at * self._width + rank, side="left")
        first = self._first[at]
        return known, first, np.where(known, end, first)

    def span(self, group: Ints, time: Ints) -> tuple[Ints, Ints]:
        """Return where each group's events strictly before each time begin and end, in order of (group, time)."""
        _known, first, end = self._locate(group, time)
        return first, end

    def count(self, group: Ints, time: Ints) -> Floats:
        """Return how many events of each group lie strictly before each time."""
        _known, first, end = self._locate(group, time)
        return (end - first).astype(np.float64)

    def total(self, group: Ints, time: Ints) -> Floats:
        """Return the sum of values strictly before each time."""
        _known, first, end = self._locate(group, time)
        found: Floats = (self._sum[end] - self._sum[first]) / DECIMALS
        return found

    def maximum(self, group: Ints, time: Ints) -> Floats:
        """Return the largest value strictly before each time; 0 where there is none."""
        _known, first, end = self._locate(group, time)
        some = end > first
        if not len(self._max):
            return np.zeros(len(group))
        return np.where(some, self._max[np.maximum(end - 1, 0)], 0.0)

    def at_least(self, group: Ints, time: Ints, floor: Floats) -> Floats:
        """Return how many events strictly before each time have at least the value ``floor`` of their row.

        Of a series made with values. Costs a pass over the groups that are asked for, and those between them, for each
        distinct floor.
        """
        _known, first, end = self._locate(group, time)
        found = np.zeros(len(group))
        if not len(group) or not len(self._time):
            return found
        low = first.min()
        values = self._value[low : end.max()]
        floors, which = np.unique(floor, return_inverse=True)
        for place, least in enumerate(floors):
            rows = which == place
            reached = np.concatenate(([np.int64(0)], np.cumsum(values >= least)))
            found[rows] = reached[end[rows] - low] - reached[first[rows] - low]
        return found

    def first(self, group: Ints, time: Ints) -> Ints:
        """Return the time of the first event strictly before each time; NEVER where there is none."""
        _known, first, end = self._locate(group, time)
        some = end > first
        if not len(self._time):
            return np.full(len(group), NEVER)
        return np.where(some, self._time[np.minimum(first, len(self._time) - 1)], NEVER)

    def last(self, group: Ints, time: Ints) -> Ints:
        """Return the time of the last event strictly before each time; NEVER where there is none."""
        _known, first, end = self._locate(group, time)
        some = end > first
        if not len(self._time):
            return np.full(len(group), NEVER)
        return np.where(some, self._time[np.maximum(end - 1, 0)], NEVER)
