"""The shop's pace: what its shoppers spend a day, all together, as it was known at each moment.

A week's history tells less of a shopper than a year's. What somebody will spend in the time of an offer is therefore
expected as the mean of a gamma distribution after a Poisson count: their own days weigh as days, the shop's pace as
``PACE_DAYS`` more. So a model that learnt from young histories holds on longer ones, whose bare rates say more.

What one order comes to is bounded here: it says something of its own shopper, and an absurd one (a till's mistake, a
wholesaler) would otherwise be what to expect of everybody.
"""

from __future__ import annotations

import numpy as np

from personalization.features.frames import NEVER, TYPE_CODE, Floats, Frames, Ints
from personalization.features.reference import DAY
from personalization.features.series import DECIMALS, Series
from personalization.features.specification import PACE_BOUND, PACE_DAYS


class Pace:
    """Sums over everybody, strictly before each moment; shoppers count from when they are known."""

    def __init__(self, frames: Frames) -> None:
        events = frames.events
        orders = events.type == TYPE_CODE["order_placed"]
        self._orders = Series(np.zeros(int(orders.sum()), np.int64), events.time[orders], events.value[orders])
        self._placed, self._spent = _running_spend(events.time[orders], events.value[orders])
        self._since = np.sort(_known_since(frames)) - frames.start
        self._sum = np.concatenate(([np.int64(0)], np.cumsum(self._since)))
        self._start = frames.start
        self._counted: dict[tuple[int, float], float] = {}

    def expected_spend(self, spent: Floats, days: Floats, time: Ints) -> Floats:
        """Return the spend a day to expect of shoppers who spent so much in so many days."""
        everybody = self._spent[np.searchsorted(self._placed, time)] / DECIMALS
        return self._expected(spent, days, everybody, time)

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


def _running_spend(time: Ints, value: Floats) -> tuple[Ints, Ints]:
    """Return when orders were placed, ascending, and what the first 0, 1, … of them come to, in whole parts.

    An order counts for ``PACE_BOUND`` times the geometric mean of those before its moment at most. A mean of amounts
    would be drawn up by the very one that is to be bounded; the first order of all has nothing to be measured by.
    """
    order = np.argsort(time, kind="stable")
    time, value = time[order], value[order]
    sold, before = value > 0, np.searchsorted(time, time)
    many = np.concatenate(([0], np.cumsum(sold)))[before]
    logs = np.concatenate(([0.0], np.cumsum(np.log(np.where(sold, value, 1.0)))))[before]
    most = np.where(many > 0, PACE_BOUND * np.exp(logs / np.maximum(many, 1)), np.inf)
    exact = np.round(np.clip(value, -most, most) * DECIMALS).astype(np.int64)
    return time, np.concatenate(([np.int64(0)], np.cumsum(exact)))


def _known_since(frames: Frames) -> Ints:
    """Return since when each shopper is known, from the log's start on: joined or first seen, whichever came earlier.

    Whoever was back-filled joined when the app was installed; their orders lie before that, and so do their days.
    """
    first = np.full(len(frames.shoppers), NEVER, np.int64)
    np.minimum.at(first, frames.events.shopper, frames.events.time)
    since = np.maximum(np.minimum(frames.shoppers.joined, first), frames.start)
    known: Ints = since[since != NEVER]
    return known
