"""The shop's pace: what its shoppers spend a day, all together, as it was known at each moment.

A week's history tells less of a shopper than a year's. What somebody will spend in the time of an offer is therefore
expected as the mean of a gamma distribution after a Poisson count: their own days weigh as days, the shop's pace as
``PACE_DAYS`` more. So a model that learnt from young histories holds on longer ones, whose bare rates say more.
"""

from __future__ import annotations

import numpy as np

from personalization.features.frames import NEVER, TYPE_CODE, Floats, Frames, Ints
from personalization.features.reference import DAY
from personalization.features.series import Series
from personalization.features.specification import PACE_DAYS


class Pace:
    """Sums over everybody, strictly before each moment; shoppers count from when they are known."""

    def __init__(self, frames: Frames) -> None:
        events = frames.events
        orders = events.type == TYPE_CODE["order_placed"]
        self._orders = Series(np.zeros(int(orders.sum()), np.int64), events.time[orders], events.value[orders])
        self._since = np.sort(_known_since(frames)) - frames.start
        self._sum = np.concatenate(([np.int64(0)], np.cumsum(self._since)))
        self._start = frames.start
        self._counted: dict[tuple[int, float], float] = {}

    def expected_spend(self, spent: Floats, days: Floats, time: Ints) -> Floats:
        """Return the spend a day to expect of shoppers who spent so much in so many days."""
        return self._expected(spent, days, self._orders.total(np.zeros_like(time), time), time)

    def expected_orders(self, reaching: Floats, days: Floats, time: Ints, floor: Floats) -> Floats:
        """Return the orders of at least ``floor`` a day to expect of shoppers who placed ``reaching`` of them."""
        return self._expected(reaching, days, self._reaching(time, floor), time)

    def _reaching(self, time: Ints, floor: Floats) -> Floats:
        """Return how many orders of everybody lie before each time and reach each floor."""
        if not len(time) or time.min() != time.max():
            return self._orders.at_least(np.zeros_like(time), time, floor)
        # A batch asks block after block for one moment and the same few floors: each is counted once.
        floors, which = np.unique(floor, return_inverse=True)
        return np.array([self._at(int(time[0]), float(least)) for least in floors])[which]

    def _at(self, moment: int, floor: float) -> float:
        if (moment, floor) not in self._counted:
            one = np.array([moment], dtype=np.int64)
            self._counted[moment, floor] = float(self._orders.at_least(np.zeros_like(one), one, np.array([floor]))[0])
        return self._counted[moment, floor]

    def _expected(self, own: Floats, days: Floats, everybody: Floats, time: Ints) -> Floats:
        expected: Floats = (own + PACE_DAYS * everybody / self._days(time)) / (days + PACE_DAYS)
        return expected

    def _days(self, time: Ints) -> Floats:
        """Return for how many days all shoppers together have been known, at least one."""
        moment = time - self._start
        known = np.searchsorted(self._since, moment)
        days: Floats = np.maximum((moment * known - self._sum[known]) / DAY, 1.0)
        return days


def _known_since(frames: Frames) -> Ints:
    """Return when each shopper was known: joined, or from the log's start where that was earlier; else first seen."""
    first = np.full(len(frames.shoppers), NEVER, np.int64)
    np.minimum.at(first, frames.events.shopper, frames.events.time)
    joined = frames.shoppers.joined
    since = np.maximum(np.where(joined == NEVER, first, joined), frames.start)
    known: Ints = since[since != NEVER]
    return known
