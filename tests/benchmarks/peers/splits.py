"""Splits: what is learnt from, what settings and epochs are chosen on, and what is tested on, each later than the last.

``amazon_games``: a user's last given item is the test, the one before it the validation; what a user has already is
left out. The other sets: the test block of a training run (``worker.preference.test_origin``), and a block of the same
length before it as the validation; what a shopper bought before may be bought again, and new items are judged apart.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from personalization.features.frames import Frames, Ints
from tests.benchmarks import rankers
from worker import preference
from worker.preference import Scoring
from worker.rankers import DAY, Interactions
from worker.rankers.base import Scores

TESTED, VALIDATED = 10_000, 5_000
"""Shoppers at most; who they are is drawn once and the same for everybody."""
NEW = "new "
"""Stands before the figures that count new items only."""
PARTS = ("validation", "test")
Truth = dict[int, set[int]]


@dataclass(frozen=True)
class Part:
    """What happened up to ``now``, and what some shoppers turned to after it."""

    past: Interactions
    now: int
    truth: Truth


@dataclass(frozen=True)
class Split:
    """A data set's two parts. ``repeats``: whether what a shopper has already may be the right answer.

    ``who``: each shopper's number in the whole data set, so that who is in several draws is known as one person.
    """

    data: str
    validation: Part
    test: Part
    repeats: bool
    who: Ints

    def part(self, name: str) -> Part:
        """Return the part of this name, one of ``PARTS``."""
        return self.test if name == "test" else self.validation

    @property
    def digest(self) -> str:
        """Tells two splits apart: twelve hexadecimal digits of a hash over everything that is learnt or judged."""
        found = hashlib.sha256(f"{self.data} {self.repeats}".encode())
        for name, array in sorted(_arrays(self).items()):
            found.update(f"{name} {array.dtype} {array.shape}".encode())
            found.update(np.ascontiguousarray(array).tobytes())
        return found.hexdigest()[:12]

    def save(self, path: Path) -> None:
        """Write everything; the file appears whole or not at all."""
        aside = path.with_suffix(".part.npz")
        named = {"data": np.array(self.data), "repeats": np.array(self.repeats), "who": self.who}
        np.savez_compressed(aside, **named, **_arrays(self))  # type: ignore[arg-type]
        aside.replace(path)

    @classmethod
    def load(cls, path: Path) -> Split:
        """Return what was saved."""
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        validation, test = (_part(arrays, name) for name in PARTS)
        return cls(str(arrays["data"]), validation, test, bool(arrays["repeats"]), arrays["who"])


def _arrays(split: Split) -> dict[str, NDArray[Any]]:
    found: dict[str, NDArray[Any]] = {}
    for name in PARTS:
        part = split.part(name)
        pairs = sorted((shopper, item) for shopper, items in part.truth.items() for item in items)
        found[f"{name}/truth"] = np.array(pairs, dtype=np.int64).reshape(-1, 2)
        found[f"{name}/sizes"] = np.array([part.past.items, part.past.shoppers, part.now], dtype=np.int64)
        for column in ("shopper", "item", "time", "weight"):
            found[f"{name}/{column}"] = getattr(part.past, column)
    return found


def _part(arrays: dict[str, NDArray[Any]], name: str) -> Part:
    items, shoppers, now = (int(each) for each in arrays[f"{name}/sizes"])
    shopper, item, time, weight = (arrays[f"{name}/{column}"] for column in ("shopper", "item", "time", "weight"))
    truth: Truth = {}
    for who, what in arrays[f"{name}/truth"].tolist():
        truth.setdefault(who, set()).add(what)
    return Part(Interactions(shopper, item, time, weight, items, shoppers), now, truth)


def of_sequences(sequences: list[list[int]], items: int, *, who: Ints | None = None, seed: int = 0) -> Split:
    """Return the games' split of sequences of three items or more; an item's time is its place, from the end.

    ``who`` has each sequence's number in the whole data set; without it, these are the whole.
    """
    size = np.array([len(each) for each in sequences], dtype=np.int64)
    if len(size) == 0 or size.min() < 3:
        raise ValueError("A sequence needs three items: one to learn from, one to tune on, one to test on.")
    flat = np.concatenate([np.asarray(each, dtype=np.int64) for each in sequences])
    shopper = np.repeat(np.arange(len(size)), size)
    back = np.cumsum(size)[shopper] - 1 - np.arange(len(flat))
    time = rankers.NOW - back * DAY

    def part(kept_back: int, most: int) -> Part:
        past = back > kept_back
        learnt = Interactions(
            shopper[past], flat[past], time[past], np.ones(int(past.sum())), items, len(size)
        )  # fmt: skip
        truth = {
            int(who): {int(what)} for who, what in zip(shopper[back == kept_back], flat[back == kept_back], strict=True)
        }
        return Part(learnt, rankers.NOW - kept_back * DAY, sampled(truth, most, seed))

    who = np.arange(len(size)) if who is None else who
    return Split(rankers.DATA, part(1, VALIDATED), part(0, TESTED), repeats=False, who=who)


def games(*, items: int | None = None, users: int | None = None, seed: int = 0) -> Split:
    """Return the split of Amazon Games; with ``items``, of so many bought most often; with ``users``, of so many."""
    table = pl.read_parquet(rankers.folder() / "sequences.parquet")
    sequences: list[list[int]] = table["items_chrono"].to_list()
    count = np.bincount(np.concatenate([np.asarray(each) for each in sequences]))
    code = np.arange(len(count))
    if items is not None:
        code = np.full(len(count), -1)
        code[np.sort(np.argsort(-count, kind="stable")[:items])] = np.arange(min(items, len(count)))
    sequences = [[int(code[item]) for item in each if code[item] >= 0] for each in sequences]
    who = np.array([at for at, each in enumerate(sequences) if len(each) >= 3], dtype=np.int64)
    if users is not None and users < len(who):
        who = who[np.sort(np.random.default_rng(seed).choice(len(who), users, replace=False))]
    return of_sequences([sequences[at] for at in who], int((code >= 0).sum()), who=who, seed=seed)


def of_frames(data: str, frames: Frames, found: Interactions, *, seed: int = 0) -> Split:
    """Return the split by time; ``found`` are the frames' interactions."""
    origin = preference.test_origin(frames)
    before = origin - (frames.until - origin)
    parts = []
    for since, until, most in ((before, origin, VALIDATED), (origin, None, TESTED)):
        past = found.before(since)
        past.catalogue = None  # the race is between those who read who turned to what
        parts.append(Part(past, since, sampled(preference.bought(frames, past, since, until), most, seed)))
    return Split(data, parts[0], parts[1], repeats=True, who=np.arange(found.shoppers))


def sampled(truth: Truth, most: int, seed: int) -> Truth:
    """Return the truth of at most so many shoppers, in ascending order."""
    shoppers = np.array(sorted(truth), dtype=np.int64)
    if len(shoppers) > most:
        shoppers = np.sort(np.random.default_rng(seed).choice(shoppers, most, replace=False))
    return {int(shopper): truth[int(shopper)] for shopper in shoppers}


@dataclass(frozen=True)
class Unseen:
    """Another's scores, −inf for what a shopper has already."""

    scorer: Scoring
    past: Interactions

    def score(self, shoppers: Ints) -> Scores:
        found = np.array(self.scorer.score(shoppers), dtype=np.float32)
        start, end = (np.searchsorted(self.past.shopper, shoppers, side=side) for side in ("left", "right"))
        row = np.repeat(np.arange(len(shoppers)), end - start)
        place = np.arange(len(row)) - np.repeat(np.cumsum(end - start) - (end - start), end - start) + start[row]
        found[row, self.past.item[place]] = -np.inf
        return found


def judge(scorer: Scoring, part: Part, *, repeats: bool) -> dict[str, NDArray[np.float64]]:
    """Return figure → a value for each shopper of the truth, ascending; figures of new items have fewer of them."""
    unseen = Unseen(scorer, part.past)
    shoppers = np.array(list(part.truth), dtype=np.int64)
    if not repeats:
        return preference.judge(unseen, shoppers, part.truth)
    new = news(part)
    apart = preference.judge(unseen, np.array(list(new), dtype=np.int64), new)
    return {
        **preference.judge(scorer, shoppers, part.truth),
        **{NEW + figure: values for figure, values in apart.items()},
    }


def news(part: Part) -> Truth:
    """Return what of the truth a shopper had not turned to before; who turned to nothing new is left out."""
    had: Truth = {}
    for shopper, item in zip(part.past.shopper.tolist(), part.past.item.tolist(), strict=True):
        had.setdefault(shopper, set()).add(item)
    found = {shopper: items - had.get(shopper, set()) for shopper, items in part.truth.items()}
    return {shopper: items for shopper, items in found.items() if items}
