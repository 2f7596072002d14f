"""Who tells attractiveness best: every estimator predicts later launches than it has learnt from, and is held to them.

Launches are tested in the order of their starts, in blocks; what teaches a block's estimators are the launches whose
outcomes were all known when its first launch began. The simplest stays unless a more complex one makes what happened
more probable, beyond doubt and on the same launches, and its intervals hold.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy.stats import binom, t

from personalization.exceptions import NotEnoughData
from personalization.features.frames import Floats, Ints
from personalization.features.launches import Launches
from personalization.learning import gate as checks
from personalization.learning import wordings as words
from personalization.learning.gate import Check
from personalization.learning.handlers import Stage
from personalization.learning.registry import ModelVersion
from personalization.learning.sentences import Sentence
from personalization.pure.launch_rate import interval
from personalization.pure.proportions import wilson
from worker.artifacts import weigh
from worker.attractiveness.base import Attractiveness, Prediction
from worker.attractiveness.learnt import LaunchCnn, LaunchLinear
from worker.attractiveness.mean import ShrunkMean
from worker.costs import Cost, Meter
from worker.gate import hold, last_words, sized

REGISTRY: dict[str, type[Any]] = {kind.name: kind for kind in (ShrunkMean, LaunchLinear, LaunchCnn)}
"""All estimators of attractiveness, the simplest first."""
CONFIDENCE = 0.8
MIN_TAUGHT, MIN_TESTED = 6, 6
MIN_LAUNCHES = MIN_TAUGHT + MIN_TESTED
MOST_BLOCKS = 4
DOUBT = 0.025
FIGURES = ("log_score", "mae", "coverage_80", "width_80")
"""On the board, in this order."""


@dataclass(slots=True)
class Entry:
    """One estimator of the race: its predictions for the tested launches, and its cost."""

    name: str
    predicted: Prediction
    cost: Cost
    size_bytes: int = 0
    checks: list[Check] = field(default_factory=list)


@dataclass(slots=True)
class Race:
    """The tested launches and everybody's predictions for them; ``champion`` won, ``promoted`` if the gate agrees."""

    tested: Launches
    entries: list[Entry]
    champion: str = ""
    promoted: bool = False
    reasons: list[Sentence] = field(default_factory=list)
    gains: dict[str, list[float]] = field(default_factory=dict)

    def entry(self, name: str) -> Entry:
        return next(item for item in self.entries if item.name == name)


def blocks(launches: Launches) -> list[tuple[Ints, Ints]]:
    """Return (taught, tested) rows of each block, or raise NotEnoughData with how many launches there are.

    Launches that begin at the same moment are in one block.
    """
    known = np.array([(launches.known <= start).sum() for start in launches.start], dtype=np.int64)
    testable = np.flatnonzero(known >= MIN_TAUGHT)
    if len(testable) < MIN_TESTED:
        told = {"have": len(launches), "need": MIN_LAUNCHES, "begun": len(testable)}
        raise NotEnoughData(words.FEW_LAUNCHES, params={**told, "tested": MIN_TESTED, "taught": MIN_TAUGHT})
    found = []
    moments = np.unique(launches.start[testable])
    for part in np.array_split(moments, min(MOST_BLOCKS, len(moments))):
        tested = testable[(launches.start[testable] >= part[0]) & (launches.start[testable] <= part[-1])]
        found.append((np.flatnonzero(launches.known <= part[0]), tested))
    return found


def run(launches: Launches, *, seed: int, stage: Stage) -> Race:
    """Let every estimator predict the tested launches."""
    folds = blocks(launches)
    entries = []
    for place, (name, kind) in enumerate(REGISTRY.items()):
        stage(Sentence(words.ATTRACTIVENESS_WITH, {"estimator": name}), place / len(REGISTRY))
        meter = Meter()
        said, size = [], 0
        for taught, tested in folds:
            estimator: Attractiveness = kind()
            estimator.fit(launches.take(taught), seed=seed)
            said.append(estimator.predict(launches.take(tested)))
            size = weigh(*estimator.dump())
        mean, precision = (np.concatenate([getattr(each, part) for each in said]) for part in ("mean", "precision"))
        entries.append(Entry(name, Prediction(mean, precision), meter.read(), size))
    return Race(launches.take(np.concatenate([tested for _taught, tested in folds])), entries)


def judge(race: Race, reigning: ModelVersion | None) -> Race:
    """Find the winner, the simplest first, and whether it takes the place of what reigns."""
    best = race.entries[0]
    best.checks = [Check("simpler", None, words.SIMPLEST), _calibrated(race, best, None), sized(best.size_bytes)]
    for item in race.entries[1:]:
        gained = gain("simpler", race, item, best, best.name)
        item.checks = [gained, _calibrated(race, item, best), sized(item.size_bytes)]
        race.gains[item.name] = [round(float(value or 0.0), 5) for value in (gained.figure, gained.low, gained.high)]
        decisive = next((check for check in item.checks if check.passed is False), gained)
        template = words.REASON if decisive is gained else words.REFUSED
        race.reasons.append(Sentence(template, {"estimator": item.name, "said": decisive.said}))
        best = item if checks.holds(item.checks) else best
    race.champion = best.name
    best.checks += [_against(race, best, reigning), hold(reigning)]
    race.promoted = checks.holds(best.checks)
    race.reasons += last_words(best.name, best.checks, reigning)
    return race


def gain(name: str, race: Race, item: Entry, rival: Entry, whose: str) -> Check:
    """Return whether an estimator makes what happened more probable than another does, launch by launch."""
    each = item.predicted.log_score(race.tested) - rival.predicted.log_score(race.tested)
    low, high = _spread(each)
    told = {"rival": whose, "rows": f"{len(each):,}", "gain": float(each.mean()), "low": low, "high": high}
    better = low > 0
    return Check(
        name,
        better,
        words.BETTER_LAUNCHES if better else words.NOT_BETTER_LAUNCHES,
        told,
        float(each.mean()),
        low,
        high,
        0.0,
    )


def _spread(values: Floats) -> tuple[float, float]:
    """Return the 95 % interval of a mean over launches by Student's t: resamples of a handful are too narrow."""
    half = float(t.ppf(1 - DOUBT, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values)))
    return float(values.mean()) - half, float(values.mean()) + half


def held(race: Race, item: Entry) -> Any:
    """Return of which launches the 80 % interval held what happened, and the intervals [launches, 2]."""
    said = item.predicted
    bounds = np.array(
        [
            interval(float(mean), float(precision), int(shown), confidence=CONFIDENCE)
            for mean, precision, shown in zip(said.mean, said.precision, race.tested.shown, strict=True)
        ]
    )
    rate = race.tested.rate
    return (rate >= bounds[:, 0] - 1e-9) & (rate <= bounds[:, 1] + 1e-9), bounds


def _calibrated(race: Race, item: Entry, instead: Entry | None) -> Check:
    """Return whether intervals held as often as they should, or at least as often as those kept instead do."""
    mine, rows = int(held(race, item)[0].sum()), len(race.tested)
    needed = int(binom.ppf(DOUBT, rows, CONFIDENCE))
    if instead is not None:
        needed = min(needed, int(held(race, instead)[0].sum()))
    told = {"held": mine, "rows": rows, "needed": needed}
    passed = mine >= needed if instead is not None else None
    return Check("calibration", passed, words.INTERVALS_HELD, told, mine / rows, threshold=needed / rows)


def _against(race: Race, best: Entry, reigning: ModelVersion | None) -> Check:
    """Return whether the winner beats the reigning version's estimator, fitted anew for the same race."""
    if reigning is None:
        return Check("reigning", None, words.NOBODY)
    rival = str(reigning)
    if reigning.estimator == best.name:
        return Check("reigning", True, words.RENEWED, {"rival": rival})
    if reigning.estimator not in REGISTRY:
        problem = Sentence(words.NO_ESTIMATOR, {"name": reigning.estimator})
        return Check("reigning", None, words.LOST, {"rival": rival, "problem": problem})
    return gain("reigning", race, best, race.entry(reigning.estimator), rival)


def figures(race: Race, item: Entry) -> dict[str, list[float]]:
    """Return the board's figures: each with its 95 % interval over launches."""
    inside, bounds = held(race, item)
    share = wilson(int(inside.sum()), len(inside))
    assert share is not None
    found = {
        name: [float(values.mean()), *_spread(values)]
        for name, values in (
            ("mae", np.abs(item.predicted.mean - race.tested.rate)),
            ("log_score", item.predicted.log_score(race.tested)),
            ("width_80", bounds[:, 1] - bounds[:, 0]),
        )
    }
    found["coverage_80"] = [share.value, share.low, share.high]
    return {name: [round(value, 5) for value in found[name]] for name in FIGURES}
