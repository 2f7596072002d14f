"""Which settings to try next, and when to give a trial up: Optuna over the trials that are stored.

The rows of the database are the memory. For each trial an in-memory study is made anew from them, with a sampler
seeded by the search's seed and the trial's number: what is tried next depends on nothing else, so a search that was
killed goes on as if nothing had happened. Optuna's own storages would be a second database with a schema and a
life of their own; they do not know the fencing token, and a sampler that goes on draws anew.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import optuna
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from optuna.trial import TrialState

from worker.space import Choice, Range, Space

RANDOM_TRIALS = 8
"""Drawn evenly before the sampler (a tree-structured Parzen estimator) leans on what was found."""
UNPRUNED_TRIALS = 4
"""Trials that go through all folds whatever they bring: a median of fewer says nothing."""
STRIDE = 1_000_003
"""Between the seeds of two searches: their trials share none."""

optuna.logging.set_verbosity(optuna.logging.ERROR)


@dataclass(frozen=True, slots=True)
class Past:
    """A stored trial: its settings and, fold by fold, by how much it lies behind the start (less is better).

    ``whole``: whether it went through all folds; a failed one has no figures.
    """

    settings: Mapping[str, Any]
    behind: Sequence[float]
    whole: bool

    @property
    def value(self) -> float:
        """The mean over the folds that it went through."""
        return sum(self.behind) / len(self.behind)


@dataclass(slots=True)
class Attempt:
    """A trial in the making."""

    settings: dict[str, Any]
    _trial: optuna.Trial
    _behind: list[float] = field(default_factory=list)

    def hopeless(self, behind: float) -> bool:
        """Take down the next fold; return whether the trial is behind the median of the others at the same fold."""
        self._behind.append(behind)
        self._trial.report(sum(self._behind) / len(self._behind), len(self._behind))
        return bool(self._trial.should_prune())


def propose(space: Space, past: Sequence[Past], *, seed: int) -> Attempt:
    """Return the next trial after these; the same ones and the same seed always give the same."""
    distributions = {name: _distribution(dimension) for name, dimension in space.items()}
    study = optuna.create_study(
        sampler=optuna.samplers.TPESampler(seed=(seed * STRIDE + len(past)) % 2**32, n_startup_trials=RANDOM_TRIALS),
        pruner=optuna.pruners.MedianPruner(n_startup_trials=UNPRUNED_TRIALS),
    )
    for trial in past:
        if frozen := _frozen(trial, space, distributions):
            study.add_trial(frozen)
    asked = study.ask(distributions)
    settings = {name: _even(dimension, asked.params[name]) for name, dimension in space.items()}
    return Attempt(settings, asked)


def _even(dimension: Range | Choice, value: Any) -> Any:
    return value if isinstance(dimension, Choice) else dimension.even(value)


def _frozen(
    trial: Past, space: Space, distributions: Mapping[str, BaseDistribution]
) -> optuna.trial.FrozenTrial | None:
    """Return a stored trial as Optuna knows it, a failed one as given up at once: the worst; None of one outside."""
    if not all(name in trial.settings and trial.settings[name] in dimension for name, dimension in space.items()):
        return None
    own = {name: trial.settings[name] for name in space}
    running = [sum(trial.behind[: step + 1]) / (step + 1) for step in range(len(trial.behind))]
    return optuna.trial.create_trial(
        params=own,
        distributions=dict(distributions),
        value=running[-1] if trial.whole else None,
        intermediate_values=dict(enumerate(running, start=1)),
        state=TrialState.COMPLETE if trial.whole else TrialState.PRUNED,
    )


def _distribution(dimension: Range | Choice) -> BaseDistribution:
    if isinstance(dimension, Choice):
        return CategoricalDistribution(dimension.values)
    if dimension.whole:
        return IntDistribution(int(dimension.low), int(dimension.high), log=dimension.log)
    return FloatDistribution(float(dimension.low), float(dimension.high), log=dimension.log)
