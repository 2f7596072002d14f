"""The whole simulated past, drawn week by week from one seed.

Each week: tastes and engagement drift, a wave goes out, shoppers browse at their own rate, some order. What a week
leaves behind (recent visits, fatigue, the last product) is the next one's point of departure, so that the past
really predicts. Pure numpy: two worlds of one seed and scale are equal to the last bit.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from shop.simulation.catalogue import Catalogue, Ints, make_catalogue
from shop.simulation.log import Exposures, Orders
from shop.simulation.offers import OfferSpec, wave_offers
from shop.simulation.people import DAY, People, make_people
from shop.simulation.response import State, base_logit, respond, sigmoid
from shop.simulation.sessions import shop_time
from shop.simulation.waves import (
    click_intent,
    draw_lottery,
    draw_outcomes,
    log_exposures,
    receivers,
    second_orders,
    tire,
)
from shop.simulation.week import WEEK, Week, with_money

VERSION = 1
"""Raise it with every change that makes one seed draw another world: what is stored no longer fits then."""
DAYS = 60
WAVES = 8
FIRST_WAVE = 4 * DAY + 6 * 3_600
LAST_WAVE = FIRST_WAVE + (WAVES - 1) * WEEK
"""Its window closes a few hours before the simulated past does, so that every outcome is known."""
NEXT_WAVE = DAYS * DAY + DAY + 6 * 3_600
"""When the wave to come goes out: tomorrow morning, seen from the day after the past's last."""


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


def simulate(seed: int, scale: str = "full") -> World:
    """Draw the whole past for this seed and scale."""
    size = SCALES[scale]
    rng = np.random.default_rng([seed, size.shoppers, size.products])
    catalogue = make_catalogue(rng, size.products)
    people = make_people(rng, size.shoppers, catalogue, DAYS)
    week = Week(rng, catalogue, people)
    _quiet(week, 0, FIRST_WAVE)
    waves = []
    for number in range(WAVES):
        waves.append(_wave(week, number, FIRST_WAVE + number * WEEK, number * 8))
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


def _base_orders(week: Week, earliest: Ints, until: int, among: np.ndarray) -> None:
    """Place the orders of those who are not part of a wave, at their base rate."""
    length = np.maximum(until - earliest, 0) / WEEK
    chance = 1 - (1 - sigmoid(base_logit(week.people, week.state))) ** length
    who = np.flatnonzero(among & (week.rng.random(len(week.people)) < chance))
    time = shop_time(week.rng, earliest[who], np.full(len(who), until - 60))
    none = np.full(len(who), -1)
    week.order(who, time, none, none, (), 0)


def _quiet(week: Week, start: int, until: int) -> None:
    """Simulate a stretch without a wave."""
    week.begin((until - start) / DAY)
    earliest = np.maximum(start, week.people.joined)
    week.browse(earliest, until, _nobody())
    _base_orders(week, earliest, until, np.ones(len(week.people), dtype=bool))
    week.finish()


def _wave(week: Week, number: int, start: int, first_offer: int) -> Wave:
    """Simulate one week that begins with a wave."""
    week.begin(7)
    people, rng = week.people, week.rng
    until = min(start + WEEK, DAYS * DAY)
    offers = wave_offers(rng)
    response = respond(people, week.state, offers)
    lottery = draw_lottery(rng, receivers(people, start), response.eligible)
    drawn = draw_outcomes(rng, response, offers, lottery, start)
    intent = click_intent(rng, offers, drawn)
    buys = drawn.purchased >= 0
    browses = (drawn.clicked >= 0) & ~buys
    led = drawn.who[browses], drawn.clicked[browses] + 5, intent[browses]
    week.browse(np.maximum(start, people.joined), until, led)
    redeemed = np.where(drawn.redeemed >= 0, drawn.offer, -1)
    first = week.order(drawn.who[buys], drawn.purchased[buys], redeemed[buys], intent[buys], offers, first_offer)
    again, again_at = second_orders(rng, drawn)
    none = np.full(len(again), -1)
    second = week.order(again, again_at, none, none, offers, first_offer)
    outside = np.ones(len(people), dtype=bool)
    outside[drawn.who] = False
    _base_orders(week, np.maximum(start, people.joined), until, outside)
    log_exposures(week.log, drawn, first_offer)
    tire(week.state, drawn)
    week.finish()
    return Wave(number, start, first_offer, offers, with_money(drawn, first, second, len(people)))
