"""What a search is measured on: rolling origins in the past, and the last fold, which it never sees.

The last fold is the one that a training judges on. Everything that a search learns from had its outcome before that
fold begins: nothing found can owe itself to it. A trial fits before each of the earlier origins, the earliest first
(the fewest rows: what is bad is given up cheaply), and is measured on the block after it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from functools import cached_property
from typing import Any, ClassVar

import numpy as np

from personalization.exceptions import NotEnoughData
from personalization.features.frames import Floats, Frames, Ints
from personalization.learning import wordings as words
from personalization.learning.handlers import Stage
from personalization.types import ModelTask
from worker import metrics, preference, response
from worker.data import Samples, folds
from worker.estimators.base import Progress
from worker.rankers import RANKERS, interactions
from worker.space import Space

MOST_FOLDS = 3
SHOPPER_FOLDS = 3
LEAST_ROWS = 500
"""Rows to learn from before an earlier origin: below, settings are compared by chance."""
FEW_TESTED = 20


def space_of(kind: type[Any]) -> Space:
    """Return what of an estimator is searched: the space that it declares, without what makes it another estimator."""
    identity: frozenset[str] = getattr(kind, "identity", frozenset())
    return {key: found for key, found in getattr(kind, "space", {}).items() if key not in identity}


def whole_start(kind: type[Any], start: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that a search begins from: ``start``, and as shipped what it leaves out of the space."""
    shipped = kind(**start).settings
    return {**{key: shipped[key] for key in space_of(kind)}, **start}


class Target(ABC):
    """One estimator to be searched for, with its folds in the past and the last one."""

    task: ClassVar[ModelTask]
    metric: ClassVar[str]
    split: str = "time"
    folds: int
    held_from: int
    """When the last fold begins (milliseconds)."""

    def __init__(self, name: str, kind: type[Any], start: Mapping[str, Any], *, seed: int) -> None:
        self.name, self.seed = name, seed
        self.space: Space = space_of(kind)
        if not self.space:
            raise NotEnoughData(words.NO_SETTINGS, params={"estimator": name})
        self.start: dict[str, Any] = whole_start(kind, start)

    @abstractmethod
    def figure(self, settings: Mapping[str, Any], fold: int, progress: Progress) -> float:
        """Return the metric of these settings on an earlier fold."""

    @abstractmethod
    def gains(self, settings: Mapping[str, Any], stage: Stage) -> tuple[Floats, Ints]:
        """Return by how much each row of the last fold gains over the start's settings, and whose row it is."""


class ResponseTarget(Target):
    """Log-loss of the effect that decides. Where no earlier origin leaves enough, the folds are groups of shoppers."""

    task, metric = ModelTask.RESPONSE, "log_loss"

    def __init__(
        self, name: str, frames: Frames, start: Mapping[str, Any], *, seed: int, min_exposures: int | None = None
    ) -> None:
        super().__init__(name, response.REGISTRY[name], start, seed=seed)
        self._problem = response.pose(frames, min_exposures)
        shown, span = self._problem.shown, self._problem.span
        found = folds(shown.time, span, most=1)
        if not found:
            raise NotEnoughData(words.SHORT_PAST)
        self._last, self.held_from = found[0], found[0].origin
        self._masks = self._earlier(np.flatnonzero(self._last.train))
        self.folds = len(self._masks)
        self._kept: dict[int, tuple[Samples, Samples]] = {}

    def _earlier(self, rows: Ints) -> list[tuple[Ints, Ints]]:
        """Return (rows to learn from, rows to be measured on), the earliest first, of what had matured in time."""
        times = self._problem.shown.time[rows]
        found = folds(times, self._problem.span, most=MOST_FOLDS, min_train=LEAST_ROWS)
        if found:
            return [(rows[fold.train], rows[fold.test]) for fold in reversed(found)]
        self.split = "shoppers"
        shopper = self._problem.shown.shopper[rows]
        unique = np.unique(shopper)
        drawn = np.random.default_rng(self.seed).permutation(len(unique)) % SHOPPER_FOLDS
        group = drawn[np.searchsorted(unique, shopper)]
        return [(rows[group != number], rows[group == number]) for number in range(SHOPPER_FOLDS)]

    def _samples(self, fold: int) -> tuple[Samples, Samples]:
        if fold not in self._kept:
            taught, watched = self._masks[fold]
            train = response.samples_of(self._problem, taught)
            self._kept[fold] = train, response.samples_of(self._problem, watched, train.vocabularies)
        return self._kept[fold]

    def figure(self, settings: Mapping[str, Any], fold: int, progress: Progress) -> float:
        train, test = self._samples(fold)
        estimator = response.REGISTRY[self.name](**settings)
        estimator.fit(train, seed=self.seed, progress=progress)
        return float(_losses(estimator.score(test), test)[0].mean())

    def gains(self, settings: Mapping[str, Any], stage: Stage) -> tuple[Floats, Ints]:
        train = response.samples_of(self._problem, self._last.train)
        test = response.samples_of(self._problem, self._last.test, train.vocabularies)
        losses = []
        for place, given in enumerate((self.start, settings)):
            (fitted,) = response.fit_all(
                self._problem, train, test, [self.name], before=self._last.origin, seed=self.seed,
                stage=_half(stage, place), settings={self.name: given},
            )  # fmt: skip
            loss, shopper = _losses(fitted.predicted, test)
            losses.append(loss)
        return losses[0] - losses[1], shopper


def _losses(predicted: Floats, test: Samples) -> tuple[Floats, Ints]:
    """Return the log-loss of each row whose deciding outcome is known, and the row's shopper."""
    head = response.primary_head(test.y)
    known = ~np.isnan(test.y[:, head])
    return metrics.log_losses(predicted[known, head], test.y[known, head]), test.rows.shopper[known]


class PreferenceTarget(Target):
    """NDCG@10 on what was bought in the block after the origin, over the whole catalogue; blocks of equal length."""

    task, metric = ModelTask.PREFERENCE, "ndcg@10"

    def __init__(self, name: str, frames: Frames, start: Mapping[str, Any], *, seed: int) -> None:
        super().__init__(name, RANKERS[name], start, seed=seed)
        self._frames = frames
        self.held_from = preference.test_origin(frames)
        self._block = int(frames.until) + 1 - self.held_from
        self._origins = [at for at in self._possible() if len(self._truth(at)) >= FEW_TESTED]
        if not self._origins or len(self._truth(self.held_from)) < FEW_TESTED:
            raise NotEnoughData(words.FEW_IN_BLOCKS)
        self.folds = len(self._origins)

    @cached_property
    def _data(self) -> Any:
        return interactions(self._frames)

    def _possible(self) -> list[int]:
        """Return the origins before the last one, the earliest first, each with as much log before it as after."""
        back = range(MOST_FOLDS, 0, -1)
        origins = (self.held_from - number * self._block for number in back)
        return [at for at in origins if at - self._frames.start >= self._block]

    def _truth(self, origin: int) -> dict[int, set[int]]:
        return preference.bought(self._frames, self._data.before(origin), origin, origin + self._block)

    def _each(self, settings: Mapping[str, Any], origin: int, progress: Progress) -> tuple[Floats, Ints]:
        truth = self._truth(origin)
        shoppers = preference.tested(truth, self.seed)
        past = self._data.before(origin)
        ranker = preference.fit(self.name, past, origin, dict(settings), seed=self.seed, progress=progress)
        return preference.judge(ranker, shoppers, truth)["ndcg@10"], shoppers

    def figure(self, settings: Mapping[str, Any], fold: int, progress: Progress) -> float:
        return float(self._each(settings, self._origins[fold], progress)[0].mean())

    def gains(self, settings: Mapping[str, Any], stage: Stage) -> tuple[Floats, Ints]:
        found = []
        for place, given in enumerate((self.start, settings)):
            tell = _half(stage, place)
            each, shoppers = self._each(given, self.held_from, lambda done, say=tell: say(words.JUDGING, done))  # type: ignore[misc]
            found.append(each)
        return found[1] - found[0], shoppers


def _half(stage: Stage, place: int) -> Stage:
    return lambda what, done: stage(what, (place + done) / 2)
