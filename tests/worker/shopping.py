"""Interactions with a signal planted in them, rankers small enough for them, and how well these found it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from worker.rankers import RANKERS, Catalogue, Interactions, Ranker, top_items
from worker.rankers.base import DAY
from worker.rankers.graphs import GraphRanker
from worker.rankers.sequence.rankers import SequenceRanker
from worker.rankers.sets import SetRanker

NOW = 1_760_000_000_000
CLUSTERS, EACH, SHOPPERS, SEEN = 4, 8, 96, 5


def quick(name: str) -> dict[str, Any]:
    """Return the settings of a training that is about breaking nothing, not about finding anything."""
    return {"epochs": 2} if "epochs" in RANKERS[name].space else {}


def small(name: str, **changes: Any) -> Ranker:
    """Return the ranker, not yet fitted, in a size that fits these tests' data and time."""
    kind = RANKERS[name]
    settings: dict[str, Any] = {}
    if issubclass(kind, SequenceRanker):
        settings = {"width": 16, "epochs": 14, "batch": 32, "length": 10, "learning_rate": 0.02, "patience": 14}
    elif issubclass(kind, SetRanker):
        settings = {"epochs": 30, "batch": 32, "learning_rate": 0.02, "patience": 30}
        if issubclass(kind, GraphRanker):
            settings |= {"width": 16, "batch": 128}
        else:
            settings |= {"width": 16} | ({"latent": 8} if "latent" in kind.space else {})
    elif "factors" in kind.space:
        settings = {"factors": 6}
    return kind(**(settings | changes))


def fit(name: str, data: Interactions, seed: int = 3, now: int = NOW, **changes: Any) -> Ranker:
    ranker = small(name, **changes)
    ranker.fit(data, now, seed=seed)
    return ranker


def rows(
    shopper: Any, item: Any, age_days: Any, *, items: int, shoppers: int, catalogue: Catalogue | None = None
) -> Interactions:
    """Return interactions from columns, in the order that rankers are given."""
    columns = [np.asarray(column).ravel() for column in (shopper, item, age_days)]
    time = (NOW - columns[2] * DAY).astype(np.int64)
    order = np.lexsort((time, columns[0]))
    return Interactions(
        columns[0].astype(np.int64)[order], columns[1].astype(np.int64)[order], time[order],
        np.ones(len(order)), items, shoppers, catalogue,
    )  # fmt: skip


def described(items: int = CLUSTERS * EACH) -> Catalogue:
    """Return what products are like: a cluster's share a category, a brand and a word, and each has one of its own."""
    cluster = np.arange(items) // EACH
    brand = [f"brand {at % 2}" for at in cluster]
    return Catalogue(
        cluster, cluster + np.full(items, 10.0), brand, [f"kind{kind} piece{at}" for at, kind in enumerate(cluster)]
    )


def clusters(seed: int = 0, shoppers: int = SHOPPERS) -> Interactions:
    """Return shoppers who each turned to five of the eight items of their one cluster, in any order."""
    rng = np.random.default_rng(seed)
    item = np.array([rng.permutation(EACH)[:SEEN] + EACH * (shopper % CLUSTERS) for shopper in range(shoppers)])
    who = np.repeat(np.arange(shoppers), SEEN)
    age = np.tile(np.arange(SEEN, 0, -1), shoppers) + rng.random(len(who))
    return rows(who, item, age, items=CLUSTERS * EACH, shoppers=shoppers, catalogue=described())


def walks(seed: int = 0, shoppers: int = SHOPPERS, items: int = 12) -> Interactions:
    """Return walks of six steps in which item i is followed by i + 1; the next is each one's last plus one."""
    start = np.random.default_rng(seed).integers(0, items, shoppers)
    item = (start[:, None] + np.arange(6)) % items
    who = np.repeat(np.arange(shoppers), 6)
    return rows(who, item, np.tile(np.arange(6, 0, -1), shoppers), items=items, shoppers=shoppers)


def one_more_item(data: Interactions, like: int | None = None) -> Interactions:
    """Return the same with an item that nobody turned to, of which nothing is known, or what is known of another."""
    assert data.catalogue is not None
    old, none = data.catalogue, Catalogue.blank(1)
    new = none if like is None else Catalogue(old.category[[like]], old.price[[like]], [old.brand[like]], ["kind1"])
    both = (
        np.append(old.category, new.category), np.append(old.price, new.price), [*old.brand, *new.brand],
        [*old.text, *new.text],
    )  # fmt: skip
    return replace(data, items=data.items + 1, catalogue=Catalogue(*both))


def shuffled(data: Interactions, seed: int = 5) -> Interactions:
    """Return the same items, as popular as before, with other shoppers at other times."""
    item = np.random.default_rng(seed).permutation(data.item)
    return replace(data, item=item)


def unseen_best(ranker: Ranker, data: Interactions, count: int) -> np.ndarray:
    """Return each shopper's best items [shoppers, count] among those they have not turned to."""
    scores = ranker.score(np.arange(data.shoppers))
    scores[data.shopper, data.item] = -np.inf
    return top_items(scores, count)


def right_cluster(ranker: Ranker, data: Interactions) -> float:
    """Return which share of the best three unseen items lies in the shopper's own cluster: 3 do, of 27."""
    best = unseen_best(ranker, data, EACH - SEEN)
    return float((best // EACH == (np.arange(data.shoppers) % CLUSTERS)[:, None]).mean())


def next_found(ranker: Ranker, data: Interactions) -> float:
    """Return for which share of the shoppers the best unseen item is the one that comes next in their walk."""
    last = data.item[np.searchsorted(data.shopper, np.arange(data.shoppers), side="right") - 1]
    return float((unseen_best(ranker, data, 1)[:, 0] == (last + 1) % data.items).mean())
