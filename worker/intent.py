"""Purchase intent: how likely a shopper is to buy anything within the next days, whatever is offered to them.

A sample is a shopper at a moment; its label, whether they order within the days after. The moments lie as far apart as
the label looks ahead, counted back from the cut-off: the latest whose days are over is the test, and those before it
teach, so that every label of the training was known when the test began. Features are the shopper's own, profile,
behaviour and taste strictly before the moment; offers are none of them, and neither is the calendar, which so few
moments would only spell out.

Estimators, calibration and judgement are those of the responses: intent is the head ``purchase`` of an exposure to
nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from personalization import conf
from personalization.exceptions import NotEnoughData
from personalization.features.compute import DAY, FeatureBuilder, Rows
from personalization.features.frames import TYPE_CODE, Floats, Frames, Ints
from personalization.features.series import Series
from personalization.learning import diversity, fairness
from personalization.learning import wordings as words
from personalization.learning.handlers import Stage
from personalization.learning.readiness import HISTORY_DAYS, MIN_MOMENTS, MIN_POSITIVES, days_for_intent
from personalization.learning.sentences import Sentence
from personalization.types import HEADS
from worker.costs import Meter
from worker.data import SEQUENCE_FIELDS, Samples, Vocabularies, code_profile
from worker.estimators.base import Progress, ResponseEstimator
from worker.estimators.base_rate import BaseRate
from worker.estimators.boosting import Boosting
from worker.estimators.logistic import Logistic
from worker.estimators.recency_frequency import RecencyFrequency
from worker.refits import calibration_shoppers, fit_again, fit_calibrated
from worker.response import Fitted

if TYPE_CHECKING:
    from worker.versions import Loaded

REGISTRY: dict[str, type[Any]] = {kind.name: kind for kind in (BaseRate, RecencyFrequency, Logistic, Boosting)}
"""All estimators of purchase intent, the simplest first."""
PURCHASE = HEADS.index("purchase")
HISTORY = HISTORY_DAYS * DAY
MOST_MOMENTS = 12
MOST_ROWS = 100_000
MIN_TESTED = 30
"""Shoppers in the test who bought, and who did not: with fewer, no interval says anything."""


@dataclass(slots=True)
class Problem:
    """Frames to learn from. ``moments`` are in milliseconds, the latest first; each label looks ``span`` ahead."""

    builder: FeatureBuilder
    orders: Series
    moments: list[int]
    days: int

    @property
    def span(self) -> int:
        return self.days * DAY


def pose(frames: Frames, days: int) -> Problem:
    """Return the learning problem, or raise NotEnoughData with how much of the log is missing."""
    span = days * DAY
    latest = frames.until + 1 - span  # what happened at the cut-off itself is the last thing that a label sees
    places = (latest - frames.start - HISTORY) // span + 1
    if places < MIN_MOMENTS + 1:
        need = days_for_intent(days)
        told = {"have": (frames.until - frames.start) / DAY, "need": need, "history": HISTORY // DAY}
        raise NotEnoughData(words.SHORT_LOG, params={**told, "moments": MIN_MOMENTS + 1, "days": days})
    events = frames.events
    ordered = events.type == TYPE_CODE["order_placed"]
    return Problem(
        builder=FeatureBuilder(frames),
        orders=Series(events.shopper[ordered], events.time[ordered]),
        moments=[latest - back * span for back in range(min(places, MOST_MOMENTS + 1))],
        days=days,
    )


def rows_at(shopper: Ints, moment: int) -> Rows:
    """Return rows of shoppers at one moment, with no offer."""
    time = np.full(len(shopper), moment, dtype=np.int64)
    return Rows(shopper, np.full(len(shopper), -1, dtype=np.int64), time, time)


def known_by(problem: Problem, moment: int) -> Ints:
    """Return who was there already: had joined, or done anything.

    Whoever came later is in the log because of what they did then; at the moment there was nobody to ask about.
    """
    frames = problem.builder.frames
    everybody = np.arange(len(frames.shoppers), dtype=np.int64)
    first, end = problem.builder.past(rows_at(everybody, moment))
    return everybody[(end > first) | (frames.shoppers.joined < moment)]


def pairs(problem: Problem, moments: list[int], *, seed: int) -> tuple[Rows, Floats]:
    """Return rows and labels at these moments, evenly thinned out to MOST_ROWS at most."""
    rng = np.random.default_rng(seed)
    share = MOST_ROWS // len(moments)
    drawn = []
    for moment in moments:
        shopper = known_by(problem, moment)
        if len(shopper) > share:
            shopper = np.sort(rng.choice(shopper, share, replace=False))
        drawn.append(rows_at(shopper, moment))
    rows = Rows(*(np.concatenate([getattr(each, name) for each in drawn]) for name in Rows.__slots__))
    later = problem.orders.count(rows.shopper, rows.time + problem.span)
    return rows, (later > problem.orders.count(rows.shopper, rows.time)).astype(np.float64)


def describe(problem: Problem, *, seed: int) -> dict[str, Any]:
    """Return how diverse the data of this problem is, with a purchase within the days as its outcome."""
    rows, bought = pairs(problem, problem.moments, seed=seed)
    outcomes = diversity.Outcomes.known(HEADS[PURCHASE], rows, bought)
    frames, protected = problem.builder.frames, conf.get().protected_attributes
    hidden = fairness.hidden_from_offers(frames.population)
    return diversity.describe(frames, problem.moments[0], outcomes, problem.builder, protected=protected, hidden=hidden)


def assemble(builder: FeatureBuilder, rows: Rows, bought: Floats, vocabularies: Vocabularies) -> Samples:
    """Return samples: the shopper's own columns, every other one missing; the head ``purchase``, no other one."""
    x = builder.build_shopper(rows)
    code_profile(builder, rows, x, vocabularies)
    vocabularies.tastes.fill(builder, rows, x)
    y = np.full((len(rows), len(HEADS)), np.nan)
    y[:, PURCHASE] = bought
    none = np.zeros(len(rows), dtype=np.int64)
    sequence = np.zeros((len(rows), 0, len(SEQUENCE_FIELDS)), dtype=np.float32)
    return Samples(rows, x, sequence, none, y, none, none, vocabularies)


def backtest(problem: Problem, *, seed: int, stage: Stage) -> tuple[list[Fitted], Samples]:
    """Fit everybody on the earlier moments; return the fits and the test, which is the latest moment."""
    rows, bought = pairs(problem, problem.moments[1:], seed=seed)
    _check(bought, MIN_POSITIVES, words.FEW_LEARNT)
    tested, truth = pairs(problem, problem.moments[:1], seed=seed)
    _check(truth, MIN_TESTED, words.FEW_TESTED)
    vocabularies = Vocabularies.fit(problem.builder, rows)
    train = assemble(problem.builder, rows, bought, vocabularies)
    test = assemble(problem.builder, tested, truth, vocabularies)
    held = calibration_shoppers(train, seed)
    fitted = []
    for place, (name, kind) in enumerate(REGISTRY.items()):

        def tell(done: float, at: int = place, what: str = name) -> None:
            stage(Sentence(words.INTENT_WITH, {"estimator": what}), (at + done) / len(REGISTRY))

        tell(0.0)
        fitted.append(_fit(kind(), train, held, test, seed=seed, progress=tell))
    return fitted, test


def _check(bought: Floats, need: int, refusal: str) -> None:
    positives = int(bought.sum())
    negatives = len(bought) - positives
    if min(positives, negatives) < need:
        told = {"positives": f"{positives:,}", "samples": f"{len(bought):,}", "need": need}
        raise NotEnoughData(refusal, params=told)


def _fit(
    estimator: ResponseEstimator, train: Samples, held: Any, test: Samples, *, seed: int, progress: Progress
) -> Fitted:
    """Fit, calibrate on shoppers whom the fit did not know, fit on all, predict the test."""
    meter = Meter()
    estimator, calibrator, raw = fit_calibrated(estimator, train, held, seed=seed, progress=progress)
    predicted = calibrator.apply(estimator.score(test))
    return Fitted(estimator.name, estimator, calibrator, predicted, raw, meter.read())


def refit(problem: Problem, item: Fitted, *, seed: int, progress: Progress) -> tuple[Fitted, Vocabularies]:
    """Fit the winner once more, on every moment whose days are over: what ships, with the backtest's calibrator."""
    rows, bought = pairs(problem, problem.moments, seed=seed)
    vocabularies = Vocabularies.fit(problem.builder, rows)
    everything = assemble(problem.builder, rows, bought, vocabularies)
    estimator = fit_again(item.estimator, everything, seed=seed, progress=progress)
    return Fitted(item.name, estimator, item.calibrator, item.predicted, cost=item.cost), vocabularies


def likelihood(loaded: Loaded, builder: FeatureBuilder, shopper: Ints, moment: int) -> Floats:
    """Return each shopper's calibrated probability of buying after the moment, within the version's days."""
    unknown = np.full(len(shopper), np.nan)
    samples = assemble(builder, rows_at(shopper, moment + 1), unknown, loaded.vocabularies)
    return loaded.calibrator.apply(loaded.estimator.score(samples))[:, PURCHASE]
