"""A search for settings, top to bottom: read → try, trial after trial → judge on the unseen fold → adopt or not.

A trial is stored as soon as it is done, so whatever ends the search (a kill, Ctrl-C, the time) costs the trial under
way and nothing else.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from personalization.exceptions import LeaseLost, NotEnoughData, PersonalizationError
from personalization.features.frames import Frames
from personalization.features.specification import VERSION as FEATURES_VERSION
from personalization.learning import frames as reading
from personalization.learning import tuning
from personalization.learning import wordings as words
from personalization.learning.handlers import Stage
from personalization.learning.jobs import Job
from personalization.learning.sentences import Said, Sentence
from personalization.learning.tuning import TuningRun, TuningTrial
from personalization.types import ModelTask
from worker import metrics
from worker.origins import PreferenceTarget, ResponseTarget, Target, whole_start
from worker.search import Past, propose
from worker.space import Space, around, check
from worker.train import population_of
from worker.tuned import KINDS, starting_point

SEED = 0
State = TuningTrial.State


class OutOfTime(Exception):
    """The search's time is over: the trial under way is dropped."""


class Budget:
    """How long a search may go on: until so many trials there are, or so many seconds have gone into this job's."""

    def __init__(self, params: Mapping[str, Any], spent: float) -> None:
        self.trials = params.get("trials")
        minutes = params.get("minutes")
        if minutes is None and self.trials is None:
            minutes = tuning.MINUTES
        self._seconds = None if minutes is None else max(60 * float(minutes) - spent, 0.0)
        self._began = time.monotonic()

    def over(self, done: int) -> bool:
        """Return whether no further trial is to begin."""
        return (self.trials is not None and done >= self.trials) or self.late()

    def late(self) -> bool:
        """Return whether the time is used up."""
        return self._seconds is not None and time.monotonic() - self._began > self._seconds

    def share(self, done: int) -> float:
        """Return how much of it is gone, between 0 and 1."""
        shares = [0.0]
        if self.trials:
            shares.append(done / self.trials)
        if self._seconds:
            shares.append((time.monotonic() - self._began) / self._seconds)
        return min(max(shares), 1.0)


def run(job: Job | None, params: dict[str, Any], stage: Stage, *, until: datetime | None = None) -> TuningRun:
    """Search, judge, and finish the job. A job that died before goes on with the search it had begun.

    Unless other settings are in force by now: then a new search begins, which compares with those.
    """
    population, name = population_of(params.get("population")), str(params.get("estimator"))
    seed, task = int(params.get("seed", SEED)), tuning.task_of(name)
    if task is None:
        raise NotEnoughData(words.NO_SETTINGS, params={"estimator": name})
    # Before the start: what comes into force in between is then one that the verdict is not about.
    against = tuning.reigning(population, task, name)
    start = starting_point(population, task, name)
    whole = whole_start(KINDS[task][name], start)
    tuning.end_outdated(population, task, name, whole)
    begun = tuning.run_of(job) if job is not None else None
    if begun is None or not tuning.began_from(begun, whole):
        fresh = until is not None or params.get("anew")
        begun = None if fresh else tuning.unfinished(population, task, name, seed)
    until = begun.cutoff_at if begun is not None else reading.learnt_until(population, until)
    if until is None:
        raise NotEnoughData(words.NO_EVENTS, params={"population": population})
    stage(words.READING, 0.02)
    frames = reading.load(population, until, lambda what: stage(what, 0.05))
    target = aim(task, name, frames, start, seed=seed, min_exposures=params.get("min_exposures"))
    space = around(target.space, target.start)
    found = tuning.begin(job, _key(target, population, space, until), _facts(target, space))
    budget = Budget(params, tuning.seconds_spent(found, job))
    _search(target, space, found, job, budget, lambda what, done: stage(what, 0.1 + 0.75 * done))
    return _judged(target, found, against, job, lambda what, done: stage(what, 0.86 + 0.12 * done))


def aim(
    task: ModelTask, name: str, frames: Frames, start: Mapping[str, Any], *, seed: int, min_exposures: int | None = None
) -> Target:
    """Return the target of a search; NotEnoughData says what is missing."""
    if task == ModelTask.RESPONSE:
        return ResponseTarget(name, frames, start, seed=seed, min_exposures=min_exposures)
    return PreferenceTarget(name, frames, start, seed=seed)


def _key(target: Target, population: str, space: Space, until: datetime) -> dict[str, Any]:
    """Return what makes two searches the same: what they ask, of which data, with which seed."""
    terms = {
        "space": {name: str(dimension) for name, dimension in space.items()},
        "start": target.start,
        "folds": [target.split, target.folds, target.held_from],
        "features": FEATURES_VERSION,
    }
    return {
        "population": population,
        "task": target.task.value,
        "estimator": target.name,
        "seed": target.seed,
        "cutoff_at": until,
        "terms": hashlib.sha256(json.dumps(terms, sort_keys=True).encode()).hexdigest(),
    }


def _facts(target: Target, space: Space) -> dict[str, Any]:
    return {
        "held_from": datetime.fromtimestamp(target.held_from / 1000, tz=UTC),
        "metric": target.metric,
        "split": target.split,
        "folds": target.folds,
        "start": target.start,
        "space": {name: str(dimension) for name, dimension in space.items()},
    }


def _search(target: Target, space: Space, found: TuningRun, job: Job | None, budget: Budget, stage: Stage) -> None:
    """Try the start first, then what the sampler proposes, until the budget is used up."""
    done = tuning.trials(found)
    while not done or not budget.over(len(done)):
        said = Sentence(words.TRIAL, {"number": len(done), "estimator": target.name})
        if done:
            best = tuning.ranked(found, done)[0]
            of_best = {"figure": tuning.mean(best), "best": best.number}
            said = Sentence(words.TRIAL_BEST, {**said.params, **of_best})
        trial = TuningTrial(run=found, number=len(done))
        report = _reporter(stage, said, budget, len(done))
        try:
            _try(target, space, done, trial, report)
        except OutOfTime:
            return
        tuning.record(job, trial)
        done.append(trial)


def _reporter(stage: Stage, said: Said, budget: Budget, done: int) -> Any:
    """Return a progress that shows the budget's share, and ends a fit when the time is over; the start's never."""

    def report(_of_fit: float) -> None:
        if done and budget.late():
            raise OutOfTime
        stage(said, budget.share(done))

    return report


def _try(target: Target, space: Space, done: list[TuningTrial], trial: TuningTrial, report: Any) -> None:
    """Fill in a trial: go through the folds until the last one, or until it is hopeless, or fails."""
    began = time.monotonic()
    attempt = propose(space, _past(target, done), seed=target.seed) if done else None
    trial.settings = {name: target.start[name] for name in target.space} if attempt is None else attempt.settings
    given = {**target.start, **trial.settings}
    trial.state = State.FINISHED
    for fold in range(target.folds):
        report(0.0)
        try:
            figure = target.figure(given, fold, report)
            if not math.isfinite(figure):
                raise ValueError(f"the {target.metric} is {figure}")
        except (OutOfTime, LeaseLost):
            raise
        except Exception as error:
            if attempt is None:
                raise  # what is in force cannot be fitted: that is no trial's fault
            trial.state, trial.error, trial.figures = State.FAILED, f"{type(error).__name__}: {error}"[:500], []
            break
        trial.figures.append(figure)
        last = fold == target.folds - 1
        if attempt is not None and attempt.hopeless(_behind(target, done[0], trial)[fold]) and not last:
            trial.state = State.PRUNED
            break
    trial.seconds = round(time.monotonic() - began, 2)


def _behind(target: Target, first: TuningTrial, trial: TuningTrial) -> list[float]:
    """Return by how much a trial lies behind the start, fold by fold: folds differ more than settings do."""
    sign = -1.0 if target.metric in tuning.RISING else 1.0
    return [sign * (one - other) for one, other in zip(trial.figures, first.figures, strict=False)]


def _past(target: Target, done: list[TuningTrial]) -> list[Past]:
    return [Past(each.settings, _behind(target, done[0], each), each.state == State.FINISHED) for each in done]


def _judged(target: Target, found: TuningRun, against: int | None, job: Job | None, stage: Stage) -> TuningRun:
    """Hold the best trial against the start on the last fold, unless it is the start, or was judged before."""
    done = tuning.trials(found)
    best = tuning.ranked(found, done)[0]
    verdict = None
    if best.number and best.number != found.best:
        if why := _written_by_hand(target, best):
            told = {"search": found.pk, "estimator": target.name, "why": why}
            raise PersonalizationError(words.TRIAL_OUTDATED, params=told)
        settings = {**target.start, **best.settings}
        gain, shopper = target.gains(settings, stage)
        level = tuning.next_level(found)
        interval = metrics.mean_gain(gain, shopper, level=level, seed=target.seed)
        verdict = tuning.Verdict(best.number, settings, interval, level, len(gain), against)
    result = {"search": found.pk, "estimator": target.name, "trials": len(done), "best": best.number}
    return tuning.judge(job, found, verdict, result)


def _written_by_hand(target: Target, trial: TuningTrial) -> str:
    """Return what of a stored trial's settings no search has tried; empty where all is as it should be."""
    if unknown := trial.settings.keys() - target.space.keys():
        return f"there is no setting {', '.join(sorted(unknown))}"
    try:
        check(target.name, target.space, {**target.start, **trial.settings})
    except ValueError as error:
        return str(error).rstrip(".")
    return ""
