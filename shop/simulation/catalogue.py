"""The simulated catalogue: products, their prices, and what shoppers look at after them.

Pure numpy. Products are numbered from 0; ``build`` maps the numbers to the shop's own keys.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from shop.simulation.words import CATEGORIES

STYLES = 4
PRICE_LEVELS = 3
ARCHETYPES = STYLES * PRICE_LEVELS
"""A shopper's archetype is a style and a price level: ``style * PRICE_LEVELS + level``."""

NEIGHBOUR_WEIGHTS = np.array([0.46, 0.24, 0.12, 0.08, 0.06, 0.04])
"""Chance of each neighbour, given that a shopper goes on from one product to a neighbour of it."""

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Catalogue:
    """Products in arrays of length I, and the tables from which a next product is drawn.

    ``neighbours`` is I × 6. ``members`` is C × M (padded with -1), ``cumulative`` is A × C × M: within a category,
    the distribution over its members for a shopper of an archetype.
    """

    titles: tuple[str, ...]
    searches: tuple[str, ...]
    """What somebody types to find each product: its kind of thing, without make and variant."""
    brands: tuple[str, ...]
    brand: Ints
    category: Ints
    price: Ints
    cost: Ints
    stock: Ints
    popularity: Floats
    neighbours: Ints
    members: Ints
    cumulative: Floats

    def __len__(self) -> int:
        return len(self.titles)

    def draw(self, rng: np.random.Generator, archetype: Ints, category: Ints) -> Ints:
        """Draw one product for each (archetype, category)."""
        table = self.cumulative[archetype, category]
        position = (rng.random(len(table))[:, None] > table).sum(axis=1)
        return self.members[category, position]

    def draw_neighbour(self, rng: np.random.Generator, item: Ints) -> Ints:
        """Draw where a shopper turns after each product."""
        edges = np.cumsum(NEIGHBOUR_WEIGHTS)[:-1]
        return self.neighbours[item, np.searchsorted(edges, rng.random(len(item)))]

    def expected_price(self) -> Floats:
        """Return the mean price of a drawn product, by archetype and category (A × C)."""
        share = np.diff(self.cumulative, axis=2, prepend=0.0)
        return (share * np.where(self.members >= 0, self.price[self.members], 0)).sum(axis=2)


def make_catalogue(rng: np.random.Generator, size: int) -> Catalogue:
    """Draw a catalogue of ``size`` products, spread evenly over the categories."""
    brands = tuple(sorted({brand for words in CATEGORIES for brand in words.brands}))
    titles: list[str] = []
    searches: list[str] = []
    brand: list[int] = []
    category: list[int] = []
    for number, words in enumerate(CATEGORIES):
        wanted = size // len(CATEGORIES) + (number < size % len(CATEGORIES))
        names = [(noun, variant, mark) for noun in words.nouns for variant in words.variants for mark in words.brands]
        for pick in rng.permutation(len(names))[:wanted]:
            noun, variant, mark = names[pick]
            titles.append(f"{mark} {noun} {variant}")
            searches.append(noun.lower())
            brand.append(brands.index(mark))
            category.append(number)
    of = np.array(category)
    median = np.array([words.median_minor for words in CATEGORIES])[of]
    sigma = np.array([words.sigma for words in CATEGORIES])[of]
    price = _shop_price(median * np.exp(sigma * rng.standard_normal(len(of))))
    share = np.array([words.cost_share for words in CATEGORIES])[of]
    cost = np.rint(price * np.clip(share + 0.05 * rng.standard_normal(len(of)), 0.25, 0.9)).astype(np.int64)
    popularity = np.exp(0.9 * rng.standard_normal(len(of)))
    style = rng.integers(0, STYLES, len(of))
    members, cumulative = _tables(of, price, popularity, style)
    return Catalogue(
        titles=tuple(titles),
        searches=tuple(searches),
        brands=brands,
        brand=np.array(brand),
        category=of,
        price=price,
        cost=cost,
        stock=rng.integers(25, 400, len(of)),
        popularity=popularity,
        neighbours=_neighbours(rng, of, style),
        members=members,
        cumulative=cumulative,
    )


def _shop_price(raw: Floats) -> Ints:
    """Round to prices as shops write them: 12.49, 12.99, 129.00."""
    step = np.where(raw < 2_000, 50, np.where(raw < 10_000, 100, 500))
    rounded = np.maximum(np.rint(raw / step), 4) * step
    return (rounded - np.where(raw < 10_000, 1, 100)).astype(np.int64)


def _tables(category: Ints, price: Ints, popularity: Floats, style: Ints) -> tuple[Ints, Floats]:
    """Lay out each category's products, and each archetype's cumulative distribution over them."""
    sizes = np.bincount(category, minlength=len(CATEGORIES))
    members = np.full((len(CATEGORIES), sizes.max()), -1)
    cumulative = np.ones((ARCHETYPES, len(CATEGORIES), sizes.max()))
    for number in range(len(CATEGORIES)):
        inside = np.flatnonzero(category == number)
        members[number, : len(inside)] = inside
        rank = price[inside].argsort().argsort() / max(len(inside) - 1, 1) * (PRICE_LEVELS - 1)
        for archetype in range(ARCHETYPES):
            likes, level = divmod(archetype, PRICE_LEVELS)
            weight = popularity[inside] * np.exp(1.3 * (style[inside] == likes) - 1.1 * np.abs(rank - level))
            cumulative[archetype, number, : len(inside)] = np.cumsum(weight) / weight.sum()
            cumulative[archetype, number, len(inside) - 1 :] = 1.0
    return members, cumulative


def _neighbours(rng: np.random.Generator, category: Ints, style: Ints) -> Ints:
    """Give every product three neighbours in its own category, chained by style, and three in what goes with it."""
    slugs = [words.slug for words in CATEGORIES]
    found = np.empty((len(category), len(NEIGHBOUR_WEIGHTS)), dtype=np.int64)
    for number, words in enumerate(CATEGORIES):
        inside = np.flatnonzero(category == number)
        beside = np.flatnonzero(np.isin(category, [slugs.index(slug) for slug in words.goes_with]))
        chain = inside[np.lexsort((rng.random(len(inside)), style[inside]))]
        for place, item in enumerate(chain):
            found[item, [0, 2, 4]] = chain[(place + np.array([1, 2, 3])) % len(chain)]
            found[item, [1, 3, 5]] = rng.choice(beside, 3, replace=False)
    return found
