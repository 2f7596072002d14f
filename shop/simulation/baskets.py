"""Orders: what is bought in a session, what it costs, and what the redeemed offer takes off.

A redeemed offer's terms always hold for its order: the basket reaches the minimum spend, and something in it
belongs to the offer's category.
"""

from __future__ import annotations

import numpy as np

from shop.simulation.catalogue import Catalogue, Ints
from shop.simulation.log import EventLog, Kind, Orders
from shop.simulation.offers import OfferSpec
from shop.simulation.people import People
from shop.simulation.response import State
from shop.simulation.sessions import BUYING, browse, draw_wish, dwell, last_of, log_openings, log_views
from shop.simulation.words import CATEGORIES

LINES = 4
BUYS_WHAT_IT_CAME_FOR = 0.65
"""How often a session that ends in an order comes back to its first product."""
CONSUMABLES = tuple(n for n, words in enumerate(CATEGORIES) if words.slug in {"coffee-tea", "beauty", "books"})


def place_orders(
    rng: np.random.Generator,
    catalogue: Catalogue,
    people: People,
    *,
    state: State,
    who: Ints,
    time: Ints,
    redeemed: Ints,
    intent: Ints,
    offers: tuple[OfferSpec, ...],
    first_offer: int,
    last: Ints,
    log: EventLog | None,
    first_order: int,
) -> Orders:
    """Draw the sessions that end in an order at ``time``, and the orders.

    ``redeemed`` is the offer redeemed, counted within ``offers`` (-1: none), ``intent`` the category that brought
    the shopper here (-1: taste). With a ``log``, the session's events are written to it.
    """
    category = np.array([offer.category for offer in offers] + [-1])[redeemed]
    intent = np.where(category >= 0, category, intent)
    archetype = people.archetype[who]
    items, length = browse(
        rng,
        catalogue,
        BUYING,
        archetype=archetype,
        taste=state.taste[who],
        last=last,
        wish=draw_wish(rng, state.wishes[who]),
        intent=intent,
    )
    rows = np.arange(len(who))
    decided = np.where(rng.random(len(who)) < BUYS_WHAT_IT_CAME_FOR, items[:, 0], items[rows, length - 1])
    decided = np.where(category >= 0, catalogue.draw(rng, archetype, np.maximum(category, 0)), decided)
    items[rows, length - 1] = decided
    bought, quantity = _choose_lines(rng, catalogue, items, length)
    _reach_threshold(rng, catalogue, offers, redeemed, archetype, bought, quantity)
    price = np.where(bought >= 0, catalogue.price[bought], 0)
    gross = (price * quantity).sum(axis=1)
    orders = Orders(
        time=time,
        who=who,
        items=bought,
        quantities=quantity,
        gross=gross,
        discount=discount(catalogue, offers, redeemed, bought, price * quantity),
        offer=np.where(redeemed >= 0, redeemed + first_offer, -1),
    )
    if log is not None:
        _log_orders(rng, log, catalogue, orders, items, length, first_order)
    return orders


def discount(
    catalogue: Catalogue, offers: tuple[OfferSpec, ...], redeemed: Ints, bought: Ints, line_total: Ints
) -> Ints:
    """Return what each order's offer takes off, in minor units (0 where none was redeemed)."""
    taken = np.zeros(len(redeemed), dtype=np.int64)
    for number, offer in enumerate(offers):
        rows = redeemed == number
        if not rows.any():
            continue
        inside = (bought[rows] >= 0) & ((offer.category < 0) | (catalogue.category[bought[rows]] == offer.category))
        base = (line_total[rows] * inside).sum(axis=1)
        off = (base * offer.percent + 50) // 100 if offer.percent else np.minimum(offer.amount_minor, base)
        taken[rows] = np.minimum(off, offer.max_discount_minor) if offer.max_discount_minor else off
    return taken


def _choose_lines(rng: np.random.Generator, catalogue: Catalogue, items: Ints, length: Ints) -> tuple[Ints, Ints]:
    """Choose up to three different products from the end of each session, the last one always."""
    rows = np.arange(len(items))
    bought = np.full((len(items), LINES), -1)
    bought[:, 0] = last_of(items, length)
    wanted = np.minimum(1 + rng.poisson(0.7, len(items)), LINES - 1)
    filled = np.ones(len(items), dtype=np.int64)
    for back in range(2, int(length.max(initial=1)) + 1):
        candidate = items[rows, np.maximum(length - back, 0)]
        take = (back <= length) & (filled < wanted) & ~(bought == candidate[:, None]).any(axis=1)
        bought[rows[take], filled[take]] = candidate[take]
        filled += take
    several = np.where(np.isin(catalogue.category[bought], CONSUMABLES), 0.30, 0.05)
    quantity = np.where(bought >= 0, 1 + (rng.random(bought.shape) < several), 0)
    return bought, quantity


def _reach_threshold(
    rng: np.random.Generator,
    catalogue: Catalogue,
    offers: tuple[OfferSpec, ...],
    redeemed: Ints,
    archetype: Ints,
    bought: Ints,
    quantity: Ints,
) -> None:
    """Fill the baskets of those who redeem up to the minimum spend: one product more, then more of the dearest."""
    threshold = np.array([offer.threshold_minor for offer in offers] + [0])[redeemed]

    def missing() -> Ints:
        price = np.where(bought >= 0, catalogue.price[bought], 0)
        return threshold - (price * quantity).sum(axis=1)

    short = np.flatnonzero(missing() > 0)
    extra = catalogue.draw_neighbour(rng, bought[short, 0])
    new = ~(bought[short] == extra[:, None]).any(axis=1)
    bought[short[new], LINES - 1] = extra[new]
    quantity[short[new], LINES - 1] = 1
    gap = missing()
    short = np.flatnonzero(gap > 0)
    price = np.where(bought[short] >= 0, catalogue.price[bought[short]], 0)
    dearest = price.argmax(axis=1)
    unit = price[np.arange(len(short)), dearest]
    quantity[short, dearest] += -(-gap[short] // unit)


def _log_orders(
    rng: np.random.Generator,
    log: EventLog,
    catalogue: Catalogue,
    orders: Orders,
    items: Ints,
    length: Ints,
    first_order: int,
) -> None:
    """Log the views, the basket and the order; a redemption lies inside its order."""
    after = np.cumsum(dwell(rng, items.shape), axis=1)
    checkout = 90
    start = orders.time - after[np.arange(len(orders)), length - 1] - checkout
    log_openings(rng, log, catalogue, orders.who, items[:, 0], start)
    log_views(log, catalogue, orders.who, items, start[:, None] + after)
    running = np.cumsum(np.where(orders.items >= 0, catalogue.price[orders.items], 0) * orders.quantities, axis=1)
    row, line = np.nonzero(orders.items >= 0)
    log.add(
        Kind.BASKET_CHANGED,
        orders.time[row] - checkout + 10 + 15 * line,
        orders.who[row],
        item=orders.items[row, line],
        first=orders.quantities[row, line],
        second=running[row, line],
    )
    number = first_order + np.arange(len(orders))
    log.add(Kind.ORDER_PLACED, orders.time, orders.who, first=number)
    used = orders.offer >= 0
    log.add(
        Kind.COUPON_REDEEMED,
        orders.time[used],
        orders.who[used],
        offer=orders.offer[used],
        first=number[used],
    )
