"""One week of the simulated shop at a time: who browses, who orders, and what that leaves behind.

Sessions are chained: each begins, more often than not, near the product with which the shopper's last one ended.
"""

from __future__ import annotations

import numpy as np

from shop.simulation.baskets import place_orders
from shop.simulation.catalogue import Catalogue, Ints
from shop.simulation.log import EventLog, Exposures, Orders
from shop.simulation.offers import OfferSpec
from shop.simulation.people import DAY, People
from shop.simulation.response import State
from shop.simulation.sessions import (
    BROWSING,
    LONGEST,
    browse,
    draw_category,
    draw_wish,
    last_of,
    log_browsing,
    shop_time,
)

WEEK = 7 * DAY
WISHES = 4
WISH_MOVES = 0.05
"""Chance a week that a wish gives way to a neighbour of it."""
_FAR = 10**9
"""More seconds than the simulation has: ``who * _FAR + time`` sorts by shopper, then time."""


class Week:
    """The running week's collector: keeps the parts of :class:`World` while they grow."""

    def __init__(self, rng: np.random.Generator, catalogue: Catalogue, people: People) -> None:
        self.rng = rng
        self.catalogue = catalogue
        self.people = people
        self.log = EventLog()
        self.orders: list[Orders] = []
        self.placed = 0
        self.last_item = np.full(len(people), -1)
        self.state = State(
            taste=people.taste.copy(),
            wishes=make_wishes(rng, catalogue, people),
            engagement=rng.standard_normal(len(people)),
            fatigue=np.zeros(len(people)),
            recent_sessions=rng.poisson(people.visits_per_day * 14).astype(float),
        )
        self._visits = [self.state.recent_sessions / 2, self.state.recent_sessions / 2]
        self._days = 0.0
        self._before = self.last_item
        self._sessions = self._ends = np.zeros(0, dtype=np.int64)

    def begin(self, days: float) -> None:
        """Let the state move on by a week (or part of one)."""
        self._days = days
        drift(self.rng, self.catalogue, self.state, days / 7)

    def browse(self, earliest: Ints, until: int, led: tuple[Ints, Ints, Ints]) -> None:
        """Draw the week's sessions without an order: at the shopper's own pace, and those that a click ``led`` to
        (who, time, category)."""
        rate = self.people.visits_per_day * np.exp(0.45 * self.state.engagement)
        count = self.rng.poisson(rate * np.maximum(until - earliest, 0) / DAY)
        who = np.repeat(np.arange(len(self.people)), count)
        start = shop_time(self.rng, earliest[who], np.full(len(who), until - 3_600))
        who = np.concatenate([who, led[0]])
        start = np.concatenate([start, led[1]])
        intent = np.concatenate([np.full(count.sum(), -1), led[2]])
        order = np.lexsort((start, who))
        who, start, intent = who[order], start[order], intent[order]
        items, length = self._chained(who, intent)
        seen = self.people.consents[who]
        log_browsing(self.rng, self.log, self.catalogue, who[seen], start[seen], items[seen], length[seen])
        self._sessions = who * _FAR + start
        self._ends = last_of(items, length)
        visits = np.bincount(who, minlength=len(self.people)).astype(float)
        if self._days < WEEK / DAY / 2:  # too short to count as a week of its own
            self._visits[1] += visits
        else:
            self._visits = [self._visits[1], visits]

    def _chained(self, who: Ints, intent: Ints) -> tuple[Ints, Ints]:
        """Draw sessions, given in the order of (shopper, time): each goes on from its shopper's one before."""
        rank = np.arange(len(who)) - np.searchsorted(who, who)
        items = np.full((len(who), LONGEST), -1)
        length = np.ones(len(who), dtype=np.int64)
        self._before = self.last_item.copy()
        for turn in range(int(rank.max(initial=-1)) + 1):
            rows = np.flatnonzero(rank == turn)
            items[rows], length[rows] = browse(
                self.rng,
                self.catalogue,
                BROWSING,
                archetype=self.people.archetype[who[rows]],
                taste=self.state.taste[who[rows]],
                last=self.last_item[who[rows]],
                wish=draw_wish(self.rng, self.state.wishes[who[rows]]),
                intent=intent[rows],
            )
            self.last_item[who[rows]] = last_of(items[rows], length[rows])
        return items, length

    def _last_before(self, who: Ints, time: Ints) -> Ints:
        """Return the product with which each shopper's latest session before ``time`` ended (-1: none)."""
        keys = np.concatenate([[-1], self._sessions])
        ends = np.concatenate([[-1], self._ends])
        place = np.searchsorted(keys, who * _FAR + time) - 1
        return np.where(keys[place] // _FAR == who, ends[place], self._before[who])

    def order(
        self,
        who: Ints,
        time: Ints,
        redeemed: Ints,
        intent: Ints,
        offers: tuple[OfferSpec, ...],
        first_offer: int,
    ) -> Orders:
        """Place orders; those of shoppers without consent leave no browsing behind."""
        parts = []
        for rows, log in ((self.people.consents[who], self.log), (~self.people.consents[who], None)):
            part = place_orders(
                self.rng,
                self.catalogue,
                self.people,
                state=self.state,
                who=who[rows],
                time=time[rows],
                redeemed=redeemed[rows],
                intent=intent[rows],
                offers=offers,
                first_offer=first_offer,
                last=self._last_before(who[rows], time[rows]),
                log=log,
                first_order=self.placed,
            )
            self.placed += len(part)
            self.last_item[part.who] = part.items[:, 0]
            parts.append(part)
        self.orders += parts
        return Orders.joined(parts)

    def finish(self) -> None:
        """Close the week: what happened in it is the recent past from now on."""
        self.state.recent_sessions = self._visits[0] + self._visits[1]


def make_wishes(rng: np.random.Generator, catalogue: Catalogue, people: People) -> Ints:
    """Draw everybody's wish list by taste (N × WISHES)."""
    lists = [catalogue.draw(rng, people.archetype, draw_category(rng, people.taste)) for _ in range(WISHES)]
    return np.stack(lists, axis=1)


def drift(rng: np.random.Generator, catalogue: Catalogue, state: State, weeks: float) -> None:
    """Let tastes, wishes, engagement and fatigue move on by some weeks, in place."""
    state.taste += 0.14 * np.sqrt(weeks) * rng.standard_normal(state.taste.shape)
    moves = rng.random(state.wishes.shape) < WISH_MOVES * weeks
    state.wishes[moves] = catalogue.draw_neighbour(rng, state.wishes[moves])
    keep = 0.7**weeks
    state.engagement *= keep
    state.engagement += np.sqrt(1 - keep**2) * rng.standard_normal(len(state.engagement))
    state.fatigue *= 0.6**weeks


def with_money(exposures: Exposures, first: Orders, second: Orders, shoppers: int) -> Exposures:
    """Return the exposures with what their orders brought (after the discount) and what the offer cost."""
    revenue = np.zeros(shoppers, dtype=np.int64)
    cost = np.zeros(shoppers, dtype=np.int64)
    for orders in (first, second):
        np.add.at(revenue, orders.who, orders.gross - orders.discount)
        np.add.at(cost, orders.who, orders.discount)
    columns = {name: getattr(exposures, name) for name in Exposures.__annotations__}
    return Exposures(**{**columns, "revenue": revenue[exposures.who], "cost": cost[exposures.who]})
