"""How diverse and how even the data is that a model is to learn from: counted before anything is fitted.

A function of frames and outcomes: no database, no clock, no chance beyond a fixed draw of rows. What it returns is
JSON, kept on the model card; ``diversity_words`` says it to people, and warns.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from personalization.features.compute import DAY, TEXT_ATTRIBUTES, FeatureBuilder, Rows
from personalization.features.frames import TYPE_CODE, Events, Floats, Frames, Ints
from personalization.features.specification import FEATURES
from personalization.learning import fairness

CHANNELS = ("web", "mobile", "social")
PARTS = 6
"""Equal spans of time over which the outcome's rate is told."""
MOST_TOLD = 12
"""Offers whose rates are told, those with the most rows."""
MOST_GROUPS = 50
"""Groups of a protected attribute whose rates are told, those with the most shoppers."""
MOST_ROWS = 20_000
"""Rows, drawn at random, on which missing features are counted."""
FEW = 100
"""With fewer of them, the largest hundredth is a single one and says nothing."""


@dataclass(frozen=True, slots=True)
class Outcomes:
    """What is to be learnt: rows (offer -1: of none), and whether ``head`` happened in each [rows]."""

    head: str
    rows: Rows
    happened: NDArray[np.bool_]

    @classmethod
    def known(cls, head: str, rows: Rows, y: Floats) -> Outcomes:
        """Return the rows whose outcome is known: ``y`` [rows] is 0, 1 or nan."""
        known = ~np.isnan(y)
        return cls(head, Rows(*(getattr(rows, name)[known] for name in Rows.__slots__)), y[known] == 1)


def describe(
    frames: Frames,
    test_from: int,
    outcomes: Outcomes | None = None,
    builder: FeatureBuilder | None = None,
    *,
    protected: Sequence[str] = (),
    hidden: Collection[str] = (),
) -> dict[str, Any]:
    """Return the report on frames until their cut-off; ``test_from`` (ms) is where the part to be judged on begins.

    Without ``outcomes`` it is of the shop alone; without ``builder`` missing features are not counted. Groups of the
    ``protected`` attributes are told if they have as many shoppers as an audit asks for. Attributes that were
    ``hidden`` from the frames are told as not used: nobody knows from here whether they are missing.
    """
    own = frames.events.type != TYPE_CODE["offer_shown"]
    items, times = _turned_to(frames)
    told: dict[str, Any] = {
        "counts": _counts(frames, own, items),
        "concentration": {
            "shoppers": concentration(_sizes(frames.events.shopper[own])),
            "items": concentration(_sizes(items)),
            "categories": concentration(_sizes(_known(frames.items.category[items]))),
        },
        "largest_category": _largest_category(frames, items),
        "time": _time(frames, own),
        "duplicates": _duplicates(frames.events, own),
        "new_in_test": {
            "shoppers": new_from(frames.events.shopper[own], frames.events.time[own], test_from),
            "items": new_from(items, times, test_from),
        },
    }
    if outcomes is not None and len(outcomes.rows):
        told["outcome"] = _outcome(frames, outcomes, protected)
        if builder is not None:
            told["missing"] = _missing(builder, outcomes.rows, hidden)
            told["not_used"] = sorted(hidden)
    return told


def concentration(sizes: Ints) -> dict[str, float | None]:
    """Return how unevenly a total is spread over those who have a part in it (sizes above 0).

    ``gini``: 0 if all have the same; ``evenness``: entropy over its maximum, 1 if all have the same; ``top_1pct``: the
    share of the largest hundredth. None where there are too few to say.
    """
    if len(sizes) < 2:
        return {"gini": None, "evenness": None, "top_1pct": None}
    ordered = np.sort(sizes).astype(np.float64)
    total, count = float(ordered.sum()), len(ordered)
    share = ordered / total
    place = np.arange(1, count + 1)
    top = float(ordered[-int(np.ceil(count / 100)) :].sum()) / total if count >= FEW else None
    return {
        "gini": _rounded(float((2 * place - count - 1) @ ordered) / (count * total)),
        "evenness": _rounded(float(-(share * np.log(share)).sum()) / np.log(count)),
        "top_1pct": None if top is None else _rounded(top),
    }


def new_from(who: Ints, time: Ints, moment: int) -> float | None:
    """Return which share of those seen from the moment on had not been seen before it; None if there are none."""
    later = np.unique(who[time >= moment])
    if not len(later):
        return None
    return _rounded(1 - float(np.isin(later, who[time < moment]).mean()))


def _counts(frames: Frames, own: NDArray[np.bool_], items: Ints) -> dict[str, int]:
    shown = frames.exposures.offer[frames.exposures.offer >= 0]
    return {
        "shoppers": len(frames.shoppers),
        "active_shoppers": len(np.unique(frames.events.shopper[own])),
        "events": int(own.sum()),
        "orders": int((frames.events.type == TYPE_CODE["order_placed"]).sum()),
        "items": len(frames.items.ids),
        "items_turned_to": len(np.unique(items)),
        "categories": len(frames.categories),
        "offers": len(frames.offers),
        "offers_shown": len(np.unique(shown)),
        "exposures": len(shown),
    }


def _turned_to(frames: Frames) -> tuple[Ints, Ints]:
    """Return products and when they were viewed, put into a basket or bought, one entry each time."""
    seen = frames.events.item >= 0
    return (
        np.concatenate([frames.events.item[seen], frames.lines.item]),
        np.concatenate([frames.events.time[seen], frames.lines.time]),
    )


def _largest_category(frames: Frames, items: Ints) -> list[Any] | None:
    """Return [name, its share of what was turned to] of the category with the most; None without any."""
    category = _known(frames.items.category[items])
    if not len(category):
        return None
    count = np.bincount(category)
    return [frames.categories[int(count.argmax())], _rounded(float(count.max()) / len(category))]


def _time(frames: Frames, own: NDArray[np.bool_]) -> dict[str, Any]:
    moments = np.unique(frames.events.time[own])
    gaps = np.diff(moments)
    longest = int(gaps.argmax()) if len(gaps) else None
    return {
        "days": _rounded((frames.until - frames.start) / DAY),
        "days_with_events": len(np.unique(moments // DAY)),
        "longest_gap_days": None if longest is None else _rounded(float(gaps[longest]) / DAY),
        "longest_gap_from": None if longest is None else _iso(moments[longest]),
    }


def _duplicates(events: Events, own: NDArray[np.bool_]) -> int:
    """Return how many events equal another one in everything, the moment included: a log that was sent twice."""
    columns = [getattr(events, name)[own] for name in Events.__slots__]
    shopper, time, kind = columns[:3]
    # Sorted by these three: only what ties in them with a neighbour can have an equal.
    tied = (np.diff(shopper) == 0) & (np.diff(time) == 0) & (np.diff(kind) == 0)
    either = np.append(tied, False) | np.append(False, tied) if len(shopper) else np.zeros(0, dtype=bool)
    rest = [column[either] for column in columns]
    order = np.lexsort(rest)
    same = np.ones(max(len(order) - 1, 0), dtype=bool)
    for column in rest:
        same &= np.diff(column[order]) == 0
    return int(same.sum())


def _outcome(frames: Frames, outcomes: Outcomes, protected: Sequence[str]) -> dict[str, Any]:
    rows, happened = outcomes.rows, outcomes.happened
    found: dict[str, Any] = {
        "head": outcomes.head,
        "rows": len(rows),
        "positives": int(happened.sum()),
        "shoppers": concentration(_sizes(rows.shopper)),
        "groups": {name: _of_group(frames, outcomes, name) for name in protected},
        "over_time": _over_time(rows.time, happened),
    }
    if (rows.offer >= 0).any():
        names = [*frames.offers.names, ""]
        kinds = np.array([*frames.offers.kinds, ""], dtype=object)[rows.offer]
        by_offer = _rates_of(rows.offer, happened, lambda at: names[at])
        found["offers"] = sorted(by_offer, key=lambda rate: -rate[1])[:MOST_TOLD]
        found["largest_offer"] = max(by_offer, key=lambda rate: rate[2])
        found["kinds"] = _rates_of(kinds, happened)
        channel = np.vstack([frames.offers.channels, np.zeros(3)])[rows.offer] > 0
        found["channels"] = _rates(((name, channel[:, at]) for at, name in enumerate(CHANNELS)), happened)
    return found


def _of_group(frames: Frames, outcomes: Outcomes, name: str) -> list[list[Any]]:
    """Return the rates of an attribute's groups; of those with few shoppers nothing, it would be about persons.

    At most MOST_GROUPS, the largest: an attribute may have a value a shopper.
    """
    of_shopper = [fairness.group_of(name, own.get(name)) for own in frames.shoppers.attributes]
    shoppers = Counter(of_shopper[at] for at in np.unique(outcomes.rows.shopper).tolist())
    shoppers.pop(fairness.UNKNOWN, None)
    large = {value for value, count in shoppers.most_common(MOST_GROUPS) if count >= fairness.LEAST}
    group = np.array([value if value in large else fairness.UNKNOWN for value in of_shopper], dtype=object)
    of_row = group[outcomes.rows.shopper]
    told = of_row != fairness.UNKNOWN
    return _rates_of(of_row[told], outcomes.happened[told])


def _over_time(time: Ints, happened: NDArray[np.bool_]) -> list[list[Any]]:
    first, last = int(time.min()), int(time.max())
    part = np.minimum((time - first) * PARTS // max(last - first, 1), PARTS - 1)
    return _rates(((_iso(time[part == at].min()), part == at) for at in np.unique(part)), happened)


def _rates_of(part: NDArray[Any], happened: NDArray[np.bool_], name: Callable[[Any], str] = str) -> list[list[Any]]:
    """Return what :func:`_rates` does of the part that each row lies in, in the parts' order; in one pass."""
    parts, place = np.unique(part, return_inverse=True)
    rows, hits = np.bincount(place, minlength=len(parts)), np.bincount(place[happened], minlength=len(parts))
    return [[name(each), *counts] for each, *counts in zip(parts, rows.tolist(), hits.tolist(), strict=True)]


def _rates(parts: Iterable[tuple[str, NDArray[np.bool_]]], happened: NDArray[np.bool_]) -> list[list[Any]]:
    """Return [name, rows, rows in which it happened] of each part that has rows."""
    return [[name, int(mask.sum()), int(happened[mask].sum())] for name, mask in parts if mask.any()]


def _missing(builder: FeatureBuilder, rows: Rows, hidden: Collection[str]) -> dict[str, float]:
    """Return feature → the share of rows in which it is missing, of those that are missing anywhere.

    Taste is left out, which a version fills in from what it was fitted on, and so are what is hidden and what rows of
    no offer cannot have.
    """
    if len(rows) > MOST_ROWS:
        drawn = np.sort(np.random.default_rng(0).choice(len(rows), MOST_ROWS, replace=False))
        rows = Rows(*(getattr(rows, name)[drawn] for name in Rows.__slots__))
    offered = bool((rows.offer >= 0).any())
    share = np.isnan(builder.build(rows) if offered else builder.build_shopper(rows)).mean(axis=0)
    found: dict[str, float] = {}
    for feature, of_rows in zip(FEATURES, share.tolist(), strict=True):
        missing = float((builder.text(feature.name, rows) == "").mean()) if feature.name in TEXT_ATTRIBUTES else of_rows
        told = feature.group == "profile" or (feature.group != "taste" and missing < 1)
        if missing > 0 and told and feature.name not in hidden:
            found[feature.name] = _rounded(missing)
    return found


def _sizes(who: Ints) -> Ints:
    """Return how often each of them occurs."""
    return np.unique(who, return_counts=True)[1].astype(np.int64)


def _known(positions: Ints) -> Ints:
    return positions[positions >= 0]


def _rounded(value: float) -> float:
    return round(value, 5)


def _iso(moment: Any) -> str:
    return datetime.fromtimestamp(int(moment) / 1000, tz=UTC).isoformat()
