"""Browsing: which products a session passes through, and when.

Sequences have structure that a sequence model can find: more than half of the steps go to a neighbour of the last
product (the neighbours have an order), the others follow the session's category or the shopper's taste.
"""

from __future__ import annotations

import numpy as np

from shop.simulation.catalogue import Catalogue, Floats, Ints
from shop.simulation.log import EventLog, Kind

LONGEST = 10
GO_ON_TO_NEIGHBOUR = 0.55
STAY_IN_CATEGORY = 0.87
RETURN_TO_LAST = 0.45
RETURN_TO_LAST_TO_BUY = 0.65
"""How often a session goes on where the shopper's last one ended; more often if it ends in an order."""
RETURN_TO_SAME = 0.25
"""Share of those that begin with the very product that was looked at last."""
SEARCHES = 0.22
BROWSES_CATEGORY = 0.45
ABANDONS_BASKET = 0.10

HOURS = np.array([1, 1, 1, 1, 1, 2, 4, 8, 11, 12, 13, 14, 15, 14, 13, 13, 14, 16, 19, 22, 22, 17, 9, 4]) / 22
"""How busy each hour (UTC) is, as a share of the busiest."""


def shop_time(rng: np.random.Generator, earliest: Ints, latest: Ints) -> Ints:
    """Draw moments between two bounds, at hours at which people shop."""
    span = np.maximum(latest - earliest, 1)
    time = earliest + (rng.random(len(span)) * span).astype(np.int64)
    for _ in range(8):
        again = rng.random(len(time)) > HOURS[time // 3_600 % 24]
        if not again.any():
            break
        time = np.where(again, earliest + (rng.random(len(span)) * span).astype(np.int64), time)
    return time


def draw_category(rng: np.random.Generator, taste: Floats) -> Ints:
    """Draw one category a row from log weights."""
    weight = np.exp(taste - taste.max(axis=1, keepdims=True))
    edges = np.cumsum(weight, axis=1) / weight.sum(axis=1, keepdims=True)
    return np.minimum((rng.random(len(taste))[:, None] > edges).sum(axis=1), taste.shape[1] - 1)


def browse(
    rng: np.random.Generator,
    catalogue: Catalogue,
    *,
    archetype: Ints,
    taste: Floats,
    last: Ints,
    intent: Ints,
    mean_length: float,
    returning: float = RETURN_TO_LAST,
) -> tuple[Ints, Ints]:
    """Draw sessions: (products S × LONGEST padded with -1, lengths S).

    ``last`` is where the shopper left off (-1: nowhere), ``intent`` the category that the session is about (-1: by
    taste; given, the session starts in it).
    """
    sessions = len(archetype)
    about = np.where(intent >= 0, intent, draw_category(rng, taste))
    length = np.minimum(rng.geometric(1.0 / mean_length, sessions), LONGEST)
    items = np.full((sessions, LONGEST), -1)
    current = catalogue.draw(rng, archetype, about)
    returns = (intent < 0) & (last >= 0) & (rng.random(sessions) < returning)
    resumed = np.where(rng.random(sessions) < RETURN_TO_SAME, last, catalogue.draw_neighbour(rng, np.maximum(last, 0)))
    current = np.where(returns, resumed, current)
    about = np.where(returns, catalogue.category[current], about)
    items[:, 0] = current
    for step in range(1, int(length.max(initial=1))):
        way = rng.random(sessions)
        elsewhere = draw_category(rng, taste)
        fresh = catalogue.draw(rng, archetype, np.where(way < STAY_IN_CATEGORY, about, elsewhere))
        current = np.where(way < GO_ON_TO_NEIGHBOUR, catalogue.draw_neighbour(rng, current), fresh)
        items[:, step] = np.where(step < length, current, -1)
    return items, length


def last_of(items: Ints, length: Ints) -> Ints:
    """Return each session's last product."""
    return items[np.arange(len(items)), length - 1]


def dwell(rng: np.random.Generator, shape: tuple[int, int]) -> Ints:
    """Draw seconds spent before each view, the first included."""
    return 8 + np.minimum(rng.exponential(55.0, shape), 600).astype(np.int64)


def log_views(log: EventLog, catalogue: Catalogue, who: Ints, items: Ints, times: Ints) -> None:
    """Log every product of the sessions as viewed; padding is skipped."""
    row, step = np.nonzero(items >= 0)
    item = items[row, step]
    log.add(Kind.PRODUCT_VIEWED, times[row, step], who[row], item=item, category=catalogue.category[item])


def log_openings(
    rng: np.random.Generator, log: EventLog, catalogue: Catalogue, who: Ints, first: Ints, at: Ints
) -> None:
    """Log how sessions begin: some with a search, some on a category's page, the others on the product itself."""
    way = rng.random(len(who))
    category = catalogue.category[first]
    searched = way < SEARCHES
    log.add(Kind.SEARCH_PERFORMED, at[searched], who[searched], first=first[searched])
    opened = ~searched & (way < BROWSES_CATEGORY)
    log.add(Kind.CATEGORY_VIEWED, at[opened], who[opened], category=category[opened])


def log_browsing(
    rng: np.random.Generator,
    log: EventLog,
    catalogue: Catalogue,
    who: Ints,
    start: Ints,
    items: Ints,
    length: Ints,
) -> None:
    """Log sessions that buy nothing; some of them leave a basket behind."""
    times = start[:, None] + np.cumsum(dwell(rng, items.shape), axis=1)
    log_openings(rng, log, catalogue, who, items[:, 0], start)
    log_views(log, catalogue, who, items, times)
    leaves = np.flatnonzero(rng.random(len(who)) < ABANDONS_BASKET)
    item = last_of(items, length)[leaves]
    log.add(
        Kind.BASKET_CHANGED,
        times[leaves, length[leaves] - 1] + 12,
        who[leaves],
        item=item,
        first=1,
        second=catalogue.price[item],
    )
