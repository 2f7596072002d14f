"""Browsing: which products a session passes through, and when.

Sequences have structure that a sequence model can find: more than half of the steps go to a neighbour of the last
product (the neighbours have an order), the others follow the session's category or the shopper's taste.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from shop.simulation.catalogue import Catalogue, Floats, Ints
from shop.simulation.log import EventLog, Kind

LONGEST = 10
GO_ON_TO_NEIGHBOUR = 0.55
STAY_IN_CATEGORY = 0.87
STEP_TO_WISH = 0.06
SEARCHES = 0.22
BROWSES_CATEGORY = 0.45
ABANDONS_BASKET = 0.10


@dataclass(frozen=True)
class Habit:
    """How sessions of one sort begin: ``returns`` go on where the shopper's last one ended, ``wishes`` come for a
    product of the wish list, each at the product itself (share ``same``) or at a neighbour of it."""

    mean_length: float
    returns: float
    wishes: float
    same: float


BROWSING = Habit(mean_length=3.6, returns=0.30, wishes=0.35, same=0.5)
BUYING = Habit(mean_length=4.0, returns=0.25, wishes=0.55, same=0.2)

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


def draw_wish(rng: np.random.Generator, wishes: Ints) -> Ints:
    """Draw one product of each wish list (S × WISHES), the first ones most often."""
    weight = 1.0 / (1.0 + np.arange(wishes.shape[1]))
    edges = np.cumsum(weight / weight.sum())[:-1]
    return wishes[np.arange(len(wishes)), np.searchsorted(edges, rng.random(len(wishes)))]


def browse(
    rng: np.random.Generator,
    catalogue: Catalogue,
    habit: Habit,
    *,
    archetype: Ints,
    taste: Floats,
    last: Ints,
    wish: Ints,
    intent: Ints,
) -> tuple[Ints, Ints]:
    """Draw sessions: (products S × LONGEST padded with -1, lengths S).

    ``last`` is where the shopper left off (-1: nowhere), ``wish`` a product of the wish list, ``intent`` the category
    that the session is about (-1: by taste; given, the session starts in it).
    """
    sessions = len(archetype)
    length = np.minimum(rng.geometric(1.0 / habit.mean_length, sessions), LONGEST)
    items = np.full((sessions, LONGEST), -1)
    about = np.where(intent >= 0, intent, draw_category(rng, taste))
    current = _first(rng, catalogue, habit, catalogue.draw(rng, archetype, about), last, wish, intent)
    about = np.where(intent >= 0, intent, catalogue.category[current])
    items[:, 0] = current
    for step in range(1, int(length.max(initial=1))):
        way = rng.random(sessions)
        elsewhere = draw_category(rng, taste)
        fresh = catalogue.draw(rng, archetype, np.where(way < STAY_IN_CATEGORY, about, elsewhere))
        current = np.where(way < GO_ON_TO_NEIGHBOUR, catalogue.draw_neighbour(rng, current), fresh)
        current = np.where(way > 1 - STEP_TO_WISH, wish, current)
        items[:, step] = np.where(step < length, current, -1)
    return items, length


def _first(
    rng: np.random.Generator, catalogue: Catalogue, habit: Habit, fresh: Ints, last: Ints, wish: Ints, intent: Ints
) -> Ints:
    """Return where sessions begin: at the last product, at a wish, or (``fresh``) by taste."""
    way = rng.random(len(fresh))
    anchor = np.where((way < habit.returns) & (last >= 0), last, -1)
    anchor = np.where((way >= habit.returns) & (way < habit.returns + habit.wishes), wish, anchor)
    beside = catalogue.draw_neighbour(rng, np.maximum(anchor, 0))
    resumed = np.where(rng.random(len(fresh)) < habit.same, anchor, beside)
    return np.where((anchor >= 0) & (intent < 0), resumed, fresh)


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
