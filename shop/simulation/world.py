"""The whole simulated past, drawn week by week from one seed.

Each week: tastes and engagement drift, a wave goes out, shoppers browse at their own rate, some order. What a week
leaves behind (recent visits, fatigue, the last product) is the next one's point of departure, so that the past
really predicts. Pure numpy: two worlds of one seed and scale are equal to the last bit.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from shop.simulation.baskets import place_orders
from shop.simulation.catalogue import Catalogue, Ints, make_catalogue
from shop.simulation.log import EventLog, Exposures, Orders
from shop.simulation.offers import OfferSpec, wave_offers
from shop.simulation.people import DAY, People, make_people
from shop.simulation.response import State, base_logit, respond, sigmoid
from shop.simulation.sessions import browse, last_of, log_browsing, shop_time
from shop.simulation.waves import (
    click_intent,
    draw_lottery,
    draw_outcomes,
    log_exposures,
    receivers,
    second_orders,
    tire,
)

VERSION = 1
"""Raise it with every change that makes one seed draw another world: what is stored no longer fits then."""
DAYS = 60
WAVES = 8
FIRST_WAVE = 3 * DAY + 6 * 3_600
WEEK = 7 * DAY
NEXT_WAVE = DAYS * DAY + DAY + 6 * 3_600
"""When the wave to come goes out: tomorrow morning, seen from the day after the past's last."""
MEAN_VIEWS = 3.6


@dataclass(frozen=True)
class Scale:
    """How large a world is."""

    name: str
    shoppers: int
    products: int


SCALES = {"full": Scale("full", 4_000, 400), "small": Scale("small", 900, 144)}


@dataclass(frozen=True)
class Wave:
    """One past wave. ``first_offer`` is the number of its first offer, counted over all waves."""

    number: int
    start: int
    first_offer: int
    offers: tuple[OfferSpec, ...]
    exposures: Exposures


@dataclass
class World:
    """A simulated past, and the state in which it leaves its shoppers. Times are seconds from its start."""

    seed: int
    scale: Scale
    catalogue: Catalogue
    people: People
    waves: tuple[Wave, ...]
    events: dict[str, Ints]
    orders: Orders
    state: State
    last_item: Ints
    next_offers: tuple[OfferSpec, ...]

    @property
    def seconds(self) -> int:
        return DAYS * DAY


class _Week:
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
            engagement=rng.standard_normal(len(people)),
            fatigue=np.zeros(len(people)),
            recent_sessions=rng.poisson(people.visits_per_day * 14).astype(float),
        )
        self._visits = [self.state.recent_sessions / 2, self.state.recent_sessions / 2]
        self._days = 0.0

    def begin(self, days: float) -> None:
        """Let the state move on by a week (or part of one)."""
        self._days = days
        drift(self.rng, self.state, days / 7)

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
        items, length = browse(
            self.rng,
            self.catalogue,
            archetype=self.people.archetype[who],
            taste=self.state.taste[who],
            last=self.last_item[who],
            intent=intent,
            mean_length=MEAN_VIEWS,
        )
        seen = self.people.consents[who]
        log_browsing(self.rng, self.log, self.catalogue, who[seen], start[seen], items[seen], length[seen])
        order = np.argsort(start, kind="stable")
        self.last_item[who[order]] = last_of(items, length)[order]
        visits = np.bincount(who, minlength=len(self.people)).astype(float)
        if self._days < WEEK / DAY / 2:  # too short to count as a week of its own
            self._visits[1] += visits
        else:
            self._visits = [self._visits[1], visits]

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
                taste=self.state.taste,
                who=who[rows],
                time=time[rows],
                redeemed=redeemed[rows],
                intent=intent[rows],
                offers=offers,
                first_offer=first_offer,
                last=self.last_item[who[rows]],
                log=log,
                first_order=self.placed,
            )
            self.placed += len(part)
            parts.append(part)
        self.orders += parts
        return Orders.joined(parts)

    def finish(self) -> None:
        """Close the week: what happened in it is the recent past from now on."""
        self.state.recent_sessions = self._visits[0] + self._visits[1]


def drift(rng: np.random.Generator, state: State, weeks: float) -> None:
    """Let tastes, engagement and fatigue move on by some weeks, in place."""
    state.taste += 0.14 * np.sqrt(weeks) * rng.standard_normal(state.taste.shape)
    keep = 0.7**weeks
    state.engagement *= keep
    state.engagement += np.sqrt(1 - keep**2) * rng.standard_normal(len(state.engagement))
    state.fatigue *= 0.6**weeks


def simulate(seed: int, scale: str = "full") -> World:
    """Draw the whole past for this seed and scale."""
    size = SCALES[scale]
    rng = np.random.default_rng([seed, size.shoppers, size.products])
    catalogue = make_catalogue(rng, size.products)
    people = make_people(rng, size.shoppers, catalogue, DAYS)
    week = _Week(rng, catalogue, people)
    _quiet(week, 0, FIRST_WAVE)
    waves = []
    for number in range(WAVES):
        waves.append(_wave(week, number, FIRST_WAVE + number * WEEK, number * 8))
    _quiet(week, FIRST_WAVE + WAVES * WEEK, DAYS * DAY)
    return World(
        seed=seed,
        scale=size,
        catalogue=catalogue,
        people=people,
        waves=tuple(waves),
        events=week.log.columns(),
        orders=Orders.joined(week.orders),
        state=week.state,
        last_item=week.last_item,
        next_offers=wave_offers(rng),
    )


def _nobody() -> tuple[Ints, Ints, Ints]:
    empty = np.zeros(0, dtype=np.int64)
    return empty, empty, empty


def _base_orders(week: _Week, earliest: Ints, until: int, among: np.ndarray) -> None:
    """Place the orders of those who are not part of a wave, at their base rate."""
    length = np.maximum(until - earliest, 0) / WEEK
    chance = 1 - (1 - sigmoid(base_logit(week.people, week.state))) ** length
    who = np.flatnonzero(among & (week.rng.random(len(week.people)) < chance))
    time = shop_time(week.rng, earliest[who], np.full(len(who), until - 60))
    none = np.full(len(who), -1)
    week.order(who, time, none, none, (), 0)


def _quiet(week: _Week, start: int, until: int) -> None:
    """Simulate a stretch without a wave."""
    week.begin((until - start) / DAY)
    earliest = np.maximum(start, week.people.joined)
    _base_orders(week, earliest, until, np.ones(len(week.people), dtype=bool))
    week.browse(earliest, until, _nobody())
    week.finish()


def _wave(week: _Week, number: int, start: int, first_offer: int) -> Wave:
    """Simulate one week that begins with a wave."""
    week.begin(7)
    people, rng = week.people, week.rng
    offers = wave_offers(rng)
    response = respond(people, week.state, offers)
    lottery = draw_lottery(rng, receivers(people, start), response.eligible)
    drawn = draw_outcomes(rng, response, offers, lottery, start)
    intent = click_intent(rng, offers, drawn)
    buys = drawn.purchased >= 0
    redeemed = np.where(drawn.redeemed >= 0, drawn.offer, -1)
    first = week.order(drawn.who[buys], drawn.purchased[buys], redeemed[buys], intent[buys], offers, first_offer)
    again, again_at = second_orders(rng, drawn)
    none = np.full(len(again), -1)
    second = week.order(again, again_at, none, none, offers, first_offer)
    outside = np.ones(len(people), dtype=bool)
    outside[drawn.who] = False
    _base_orders(week, np.maximum(start, people.joined), start + WEEK, outside)
    browses = (drawn.clicked >= 0) & ~buys
    led = drawn.who[browses], drawn.clicked[browses] + 5, intent[browses]
    week.browse(np.maximum(start, people.joined), start + WEEK, led)
    log_exposures(week.log, drawn, first_offer)
    tire(week.state, drawn)
    week.finish()
    return Wave(number, start, first_offer, offers, with_money(drawn, first, second, len(people)))


def with_money(exposures: Exposures, first: Orders, second: Orders, shoppers: int) -> Exposures:
    """Return the exposures with what their orders brought (after the discount) and what the offer cost."""
    revenue = np.zeros(shoppers, dtype=np.int64)
    cost = np.zeros(shoppers, dtype=np.int64)
    for orders in (first, second):
        np.add.at(revenue, orders.who, orders.gross - orders.discount)
        np.add.at(cost, orders.who, orders.discount)
    columns = {name: getattr(exposures, name) for name in Exposures.__annotations__}
    return Exposures(**{**columns, "revenue": revenue[exposures.who], "cost": cost[exposures.who]})
