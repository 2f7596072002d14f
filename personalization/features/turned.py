"""What each shopper turned to of late: the products behind every feature that is read off them, weighed by age.

Views and basket changes count once, a purchase thrice; each counts half as much with every ``HALF_LIFE_DAYS`` that it
lies back, and only the last ``MOST`` of a shopper count at all: how long the log is changes neither cost nor value.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from personalization.features.frames import Floats, Frames, Ints
from personalization.features.reference import DAY
from personalization.features.series import Series

PURCHASE_WEIGHT = 3.0
HALF_LIFE_DAYS = 28.0
MOST = 50


@dataclass(frozen=True, slots=True)
class Pairs:
    """One line a product that a row's shopper turned to: ``row`` (ascending), ``item`` positions, weights above 0."""

    row: Ints
    item: Ints
    weight: Floats


class Turned:
    """Product views, basket changes and order lines of some frames, by (shopper, time)."""

    def __init__(self, frames: Frames) -> None:
        seen, lines = frames.events.item >= 0, frames.lines
        shopper = np.concatenate([frames.events.shopper[seen], lines.shopper])
        time = np.concatenate([frames.events.time[seen], lines.time])
        item = np.concatenate([frames.events.item[seen], lines.item])
        weight = np.concatenate([np.ones(int(seen.sum())), np.full(len(lines.shopper), PURCHASE_WEIGHT)])
        order = np.lexsort((item, time, shopper))  # of equal moments by product: the order of reading says nothing
        self._time, self._item, self._weight = time[order], item[order], weight[order]
        self._series = Series(shopper[order], self._time)

    def before(self, shopper: Ints, time: Ints) -> Pairs:
        """Return what each row's shopper turned to strictly before its moment, the latest ``MOST``."""
        first, end = self._series.span(shopper, time)
        first = np.maximum(first, end - MOST)
        length = end - first
        row = np.repeat(np.arange(len(shopper), dtype=np.int64), length)
        started = np.cumsum(length) - length
        at = np.repeat(first - started, length) + np.arange(int(length.sum()), dtype=np.int64)
        age = (time[row] - self._time[at]) / DAY
        return Pairs(row, self._item[at], self._weight[at] * np.power(0.5, age / HALF_LIFE_DAYS))
