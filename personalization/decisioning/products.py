"""Which products to show: the shopper's ranked list, pulled towards what they looked at a moment ago."""

from __future__ import annotations

from collections.abc import Iterable

from django.http import HttpRequest
from django.utils import timezone

from personalization import conf
from personalization.decisioning import scores, session
from personalization.decisioning.decide import _subject
from personalization.models import CatalogItem, ItemNeighbours, Shopper
from personalization.ports import adapters
from personalization.tracking.checking import storable
from personalization.tracking.identity import batches
from personalization.types import ProductData

MOST_LETTERS = 100
SEEDS = 5
PRIOR = 10.0
"""Rank fusion constant: an item at rank r of a list counts 1 / (r + PRIOR)."""


def recommend(
    *, request: HttpRequest | None = None, shopper: Shopper | None = None, item_id: str = "", limit: int = 8
) -> list[str]:
    """Return product ids, best first, all of them visible and in stock now.

    ``item_id`` names the product that the page is about: its neighbours come first and it is left out itself.
    """
    item_id = storable(item_id)[:MOST_LETTERS]
    shopper, personal = _subject(request, shopper)
    shopper = shopper if personal else None
    population = shopper.population if shopper is not None else conf.get().population
    predictions = scores.for_shopper(shopper, population)
    recent = session.read(shopper, timezone.now())
    seeds = {item_id: 2.0} if item_id else {}
    for seed, weight in list(recent.items.items())[:SEEDS]:
        if seed not in recent.unwanted_items:
            seeds.setdefault(seed, weight)
    points: dict[str, float] = {}
    _add(points, predictions.items, 1.0)
    for seed, neighbours in _neighbours(predictions.score_set_id, seeds):
        _add(points, neighbours, 3.0 * seeds[seed])
    _add(points, predictions.defaults.get("items", []), 0.1)
    if not points:
        _add(points, _newest(population, limit), 1.0)
    left_out = {item_id, *recent.unwanted_items, *_of_categories(points, recent.unwanted_categories)}
    ranked = sorted((key for key in points if key not in left_out), key=lambda key: (-points[key], key))
    return _available(ranked, limit)


def _add(points: dict[str, float], items: Iterable[str], weight: float) -> None:
    for place, item in enumerate(items):
        points[item] = points.get(item, 0.0) + weight / (place + PRIOR)


def _neighbours(score_set_id: int | None, seeds: dict[str, float]) -> list[tuple[str, list[str]]]:
    if score_set_id is None or not seeds:
        return []
    rows = ItemNeighbours.objects.filter(score_set_id=score_set_id, item_id__in=seeds)
    return [(row.item_id, [pair[0] for pair in row.neighbours]) for row in rows]


def _of_categories(items: Iterable[str], categories: set[str]) -> list[str]:
    """Return those of these products that belong to one of these categories (one query, where there are any)."""
    if not categories:
        return []
    found = CatalogItem.objects.filter(item_id__in=list(items), category__in=categories)
    return list(found.values_list("item_id", flat=True))


def _newest(population: str, limit: int) -> list[str]:
    items = CatalogItem.objects.filter(population=population, visible=True).order_by("-pk")
    return list(items.values_list("item_id", flat=True)[: limit * 3])


def _available(ranked: list[str], limit: int) -> list[str]:
    """Keep what the host's catalogue says can be bought now (one query of the host's, more where much is sold out)."""
    adapter = adapters.catalog()
    if adapter is None:
        return ranked[:limit]
    buyable: list[str] = []
    for part in batches(ranked, limit * 5):
        current = adapter.get(part)
        buyable += [key for key in part if key in current and _can_buy(current[key])]
        if len(buyable) >= limit:
            break
    return buyable[:limit]


def _can_buy(product: ProductData) -> bool:
    return product.visible and (product.stock is None or product.stock > 0)
