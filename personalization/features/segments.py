"""Groups of buyers for people: the RFM segments with their sizes, and shopping habits found by k-means.

Habits are clusters of how often somebody orders, how large the basket is and how long ago the last one was: logarithms,
standardised, fitted on a sample of at most 20,000 buyers with a fixed seed. Who belongs where is decided by the
database: the nearest centre is the highest of k linear scores, so no shopper's row comes into Python.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from itertools import product
from typing import Any

import numpy as np
from django.db import connection
from django.db.models import Count, Sum
from django.utils.translation import gettext as _
from numpy.typing import NDArray

from personalization.features.segment_names import BY_CODE, SEGMENTS, Segment, segment_of
from personalization.features.summary_sql import days_since
from personalization.models import ShopperSummary

__all__ = ["BY_CODE", "SEGMENTS", "Group", "Segment", "cluster", "habit_name", "habits", "overview", "segment_of"]

Floats = NDArray[np.float64]
SAMPLE = 20_000
LEAST_BUYERS = 50
JUDGED = 1_000
ROUNDS = 60
CHOICES = (3, 4, 5, 6)
SEED = 20_25
PLAIN = 0.4
"""A centre this many standard deviations from the middle is named for it."""
_PARTS = (("rare", "regular", "frequent"), ("small", "medium", "large"), ("recent", "usual", "quiet"))
TABLE = "personalization_shoppersummary"


@dataclass(frozen=True, slots=True)
class Group:
    """A segment or habit: how many shoppers, their share of all, and their share of all money spent (0–1)."""

    code: str
    name: str
    sentence: str
    shoppers: int
    share: float
    spend_share: float


def overview(population: str) -> list[Group]:
    """Return the RFM segments, best first, empty ones included."""
    found = _sizes(population, "segment")
    everybody = sum(count for count, _spent in found.values())
    money = sum(spent for _count, spent in found.values())
    return [
        _group(
            segment.code, str(segment.name), str(segment.sentence), found.get(segment.code, (0, 0)), everybody, money
        )
        for segment in SEGMENTS
    ]


def habits(population: str) -> list[Group]:
    """Return the shopping habits that were found, the one with the most money first."""
    found = {code: size for code, size in _sizes(population, "cluster").items() if code}
    everybody = sum(count for count, _spent in found.values())
    money = sum(spent for _count, spent in found.values())
    groups = [_group(code, habit_name(code), "", size, everybody, money) for code, size in found.items()]
    return sorted(groups, key=lambda group: (-group.spend_share, group.code))


def _group(code: str, name: str, sentence: str, size: tuple[int, int], everybody: int, money: int) -> Group:
    return Group(code, name, sentence, size[0], size[0] / max(everybody, 1), size[1] / max(money, 1))


def _sizes(population: str, column: str) -> dict[str, tuple[int, int]]:
    mine = ShopperSummary.objects.filter(population=population)
    rows = mine.order_by().values_list(column).annotate(shoppers=Count("pk"), spent=Sum("spent_minor"))
    return {code: (count, int(spent or 0)) for code, count, spent in rows}


def habit_name(code: str) -> str:
    """Return a habit's code (``frequent_small_recent``) as a marketer says it."""
    words = {
        "rare": _("rare"), "regular": _("regular"), "frequent": _("frequent"),
        "small": _("small baskets"), "medium": _("medium baskets"), "large": _("large baskets"),
        "recent": _("lately"), "usual": _("some time ago"), "quiet": _("not for long"),
    }  # fmt: skip
    often, size, since = (words.get(part, part) for part in (*code.split("_"), "", "", "")[:3])
    return _("%(often)s %(size)s, %(since)s") % {"often": often, "size": size, "since": since}


def codes() -> list[str]:
    """Return every habit that can be found."""
    return ["_".join(parts) for parts in product(*_PARTS)]


def cluster(population: str, now: datetime, *, seed: int = SEED) -> int:
    """Find the habits of a population's buyers and write them to their summaries; returns how many habits.

    With fewer than 50 buyers nobody has one. Four queries for finding them, one statement for writing.
    """
    buyers = ShopperSummary.objects.filter(population=population, orders__gt=0)
    count = buyers.count()
    values = {"population": population, "now": connection.ops.adapt_datetimefield_value(now)}
    if count < LEAST_BUYERS:
        ShopperSummary.objects.filter(population=population).exclude(cluster="").update(cluster="")
        return 0
    rows = _sampled(values, -(-count // SAMPLE))
    middle, spread = rows.mean(axis=0), np.maximum(rows.std(axis=0), 1e-9)
    points = (rows - middle) / spread
    centres = _best(points, seed)
    names = [_code(centre) for centre in centres]
    _assign(values, centres, names, middle, spread)
    return len(set(names))


def _columns() -> tuple[str, str, str]:
    """Return the three habits as SQL: orders, mean basket, days since the last order, as logarithms."""
    return (
        "LN(1 + orders)",
        "LN(1 + (CASE WHEN spent_minor > 0 THEN spent_minor ELSE 0 END) / (orders * 1.0))",
        f"LN(1 + {days_since('last_order_at')})",
    )


def _sampled(values: dict[str, Any], step: int) -> Floats:
    often, size, since = _columns()
    statement = f"""
SELECT {often}, {size}, {since} FROM {TABLE}
WHERE population = %(population)s AND orders > 0 AND MOD(shopper_id, %(step)s) = 0 ORDER BY shopper_id LIMIT %(most)s
"""  # noqa: S608
    with connection.cursor() as cursor:
        cursor.execute(statement, {**values, "step": step, "most": 2 * SAMPLE})
        rows = cursor.fetchall()
        if len(rows) < LEAST_BUYERS:  # ids of a sharded key may skip the step: take the first ones
            cursor.execute(statement, {**values, "step": 1, "most": SAMPLE})
            rows = cursor.fetchall()
    return np.array(rows, dtype=np.float64)


def _best(points: Floats, seed: int) -> Floats:
    """Return the centres of the number of clusters whose silhouette is widest."""
    rng = np.random.default_rng(seed)
    judged = points[rng.choice(len(points), min(JUDGED, len(points)), replace=False)]
    distances = np.sqrt(_squares(judged, judged))
    tried = [_lloyd(points, k, rng) for k in CHOICES if k <= len(np.unique(points, axis=0))]
    tried = tried or [points.mean(axis=0, keepdims=True)]
    return max(tried, key=lambda centres: _silhouette(distances, _nearest(judged, centres)))


def _squares(points: Floats, centres: Floats) -> Floats:
    """Return squared distances [points, centres]."""
    found: Floats = ((points[:, None, :] - centres[None, :, :]) ** 2).sum(axis=2)
    return found


def _nearest(points: Floats, centres: Floats) -> NDArray[np.intp]:
    return _squares(points, centres).argmin(axis=1)


def _lloyd(points: Floats, k: int, rng: np.random.Generator) -> Floats:
    """Return k centres: k-means++ beginnings, then Lloyd's rounds until nothing moves."""
    centres = points[rng.integers(len(points))][None, :]
    while len(centres) < k:
        away = _squares(points, centres).min(axis=1)
        total = away.sum()
        chosen = rng.choice(len(points), p=away / total if total > 0 else None)
        centres = np.vstack([centres, points[chosen]])
    for _round in range(ROUNDS):
        mine = _nearest(points, centres)
        moved = np.array([points[mine == j].mean(axis=0) if (mine == j).any() else centres[j] for j in range(k)])
        if np.allclose(moved, centres):
            break
        centres = moved
    return centres


def _silhouette(distances: Floats, mine: NDArray[np.intp]) -> float:
    """Return the mean silhouette width (−1 to 1) of a clustering, from pairwise distances."""
    kinds = np.unique(mine)
    if len(kinds) < 2:
        return -1.0
    sizes = np.array([(mine == kind).sum() for kind in kinds])
    sums = np.stack([distances[:, mine == kind].sum(axis=1) for kind in kinds], axis=1)
    own = np.searchsorted(kinds, mine)
    rows = np.arange(len(mine))
    inside = sums[rows, own] / np.maximum(sizes[own] - 1, 1)
    means = sums / sizes
    means[rows, own] = np.inf
    outside = means.min(axis=1)
    width = np.where(sizes[own] > 1, (outside - inside) / np.maximum(np.maximum(outside, inside), 1e-12), 0.0)
    return float(width.mean())


def _code(centre: Iterable[float]) -> str:
    places = [0 if value < -PLAIN else 2 if value > PLAIN else 1 for value in centre]
    return "_".join(words[place] for words, place in zip(_PARTS, places, strict=True))


def _assign(values: dict[str, Any], centres: Floats, names: list[str], middle: Floats, spread: Floats) -> None:
    """Give every buyer the name of the nearest centre: −|x − c|² / 2 without |x|² is linear in x."""
    given = dict(values)
    scores = []
    for j, centre in enumerate(centres):
        weights = centre / spread
        given[f"b{j}"] = float(-(centre**2).sum() / 2 - (weights * middle).sum())
        for i, weight in enumerate(weights):
            given[f"w{j}_{i}"] = float(weight)
        given[f"n{j}"] = names[j]
        terms = " + ".join(f"%(w{j}_{i})s * habit.x{i}" for i in range(len(weights)))
        scores.append(f"{terms} + %(b{j})s AS s{j}")
    every = range(len(centres))
    cases = " ".join(
        f"WHEN {' AND '.join([f's{j} >= s{other}' for other in every if other != j] or ['1 = 1'])} THEN %(n{j})s"
        for j in every
    )
    columns = ", ".join(f"{column} AS x{i}" for i, column in enumerate(_columns()))
    # The limits keep each part whole: unfolded, every comparison would compute every logarithm again. And only what
    # differs is written: most shoppers keep their habit from one day to the next.
    statement = f"""
UPDATE {TABLE} SET cluster = found.cluster FROM (
    SELECT shopper_id AS id, CASE WHEN orders > 0 THEN
        (SELECT CASE {cases} ELSE '' END FROM
            (SELECT {", ".join(scores)} FROM (SELECT {columns} LIMIT 1) habit LIMIT 1) q) ELSE '' END AS cluster
    FROM {TABLE} WHERE population = %(population)s
) found
WHERE found.id = {TABLE}.shopper_id AND found.cluster <> {TABLE}.cluster
"""  # noqa: S608
    with connection.cursor() as cursor:
        cursor.execute(statement, given)
