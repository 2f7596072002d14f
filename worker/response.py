"""Train response estimators: one temporal evaluation, every estimator in it, calibrated; ``worker.gate`` judges them.

Per estimator: fit without some shoppers and calibrate on those, fit on all training rows, predict the test block.
The winner is refitted on everything that has matured by the cut-off.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from personalization import conf
from personalization.exceptions import NotEnoughData
from personalization.features.compute import KINDS, FeatureBuilder, Rows
from personalization.features.frames import Exposures, Floats, Frames, Ints
from personalization.learning import diversity, fairness
from personalization.learning import wordings as words
from personalization.learning.handlers import Stage
from personalization.learning.readiness import MIN_POSITIVES
from personalization.learning.sentences import Sentence
from personalization.types import HEADS
from worker import metrics
from worker.calibrate import Calibrator
from worker.costs import Cost, Meter
from worker.data import Fold, Samples, Vocabularies, assemble, folds, horizon, labels
from worker.estimators.base import ResponseEstimator
from worker.estimators.blend import Blend
from worker.estimators.boosting import Boosting
from worker.estimators.four_part import ARMS, FourPartEstimator
from worker.estimators.logistic import Logistic
from worker.estimators.nets import NETS
from worker.estimators.offer_mean import OfferMean
from worker.refits import another, calibration_shoppers, fit_calibrated, reuse

_KINDS: tuple[type[Any], ...] = (OfferMean, Logistic, Boosting, *NETS, FourPartEstimator, Blend)
REGISTRY: dict[str, type[Any]] = {kind.name: kind for kind in _KINDS}
"""All response estimators, the simplest first."""
LINE_UP = ("offer_mean", "logistic", "boosting", "four_part", "blend")
"""Who is trained when nobody says otherwise."""
MEMBERS = (Boosting.name, FourPartEstimator.name)
"""Whose fits the blend mixes."""
Settings = Mapping[str, Mapping[str, Any]]
"""Estimator → hyper-parameters that replace the shipped ones."""
SHIPPED: Settings = {}
PRIMARY = ("redeem", "purchase", "click", "view")


@dataclass(slots=True)
class Problem:
    """Matured exposures: rows of offers shown (for the effects), and ``every`` one, control too (for the strategy)."""

    frames: Frames
    builder: FeatureBuilder
    shown: Rows
    y: Floats
    exposure: Ints
    span: int
    every: Exposures


@dataclass(slots=True)
class Fitted:
    """One estimator with its calibrator, and what it predicted for the test block."""

    name: str
    estimator: ResponseEstimator
    calibrator: Calibrator
    predicted: Floats
    held: Floats = field(default_factory=lambda: np.zeros((0, len(HEADS))))
    cost: Cost = field(default_factory=Cost)


def pose(frames: Frames, min_exposures: int | None = None) -> Problem:
    """Return the learning problem, or raise NotEnoughData with what is missing."""
    exposures, y, span = frames.exposures, labels(frames), horizon(frames)
    matured = exposures.time + span <= frames.until
    shown = matured & (exposures.offer >= 0)
    need = conf.get().min_exposures if min_exposures is None else min_exposures
    if int(shown.sum()) < need:
        told = {"have": f"{int(shown.sum()):,}", "need": f"{need:,}"}
        raise NotEnoughData(words.FEW_EXPOSURES, params=told)
    head = primary_head(y[shown])
    positives = int(np.nansum(y[shown, head]))
    negatives = int(np.sum(y[shown, head] == 0))
    if min(positives, negatives) < MIN_POSITIVES:
        told = {"positives": f"{positives:,}", "negatives": f"{negatives:,}"}
        raise NotEnoughData(
            words.ONE_CLASS, params={"head": Sentence(words.EFFECTS[HEADS[head]]), "need": MIN_POSITIVES, **told}
        )
    chosen = exposures.take(shown)
    return Problem(
        frames, FeatureBuilder(frames), Rows(chosen.shopper, chosen.offer, chosen.time, chosen.window_end),
        y[shown], chosen.id, span, exposures.take(matured),
    )  # fmt: skip


def primary_head(y: Floats) -> int:
    """Return the head that decides: redemption where it is known, else the nearest outcome that is."""
    for name in PRIMARY:
        head = HEADS.index(name)
        if np.nansum(y[:, head]) > 0:
            return head
    raise NotEnoughData(words.NO_OUTCOME)


def describe(problem: Problem, test_from: int) -> dict[str, Any]:
    """Return how diverse the data of this problem is, with the head that decides as its outcome."""
    head = primary_head(problem.y)
    outcomes = diversity.Outcomes.known(HEADS[head], problem.shown, problem.y[:, head])
    protected, hidden = conf.get().protected_attributes, fairness.hidden_from_offers(problem.frames.population)
    return diversity.describe(problem.frames, test_from, outcomes, problem.builder, protected=protected, hidden=hidden)


def strategy_targets(frames: Frames, exposures: Exposures) -> tuple[Ints, Floats]:
    """Return each exposure's arm and its reward / propensity.

    The reward is the margin on revenue in the window less the discount, never negative. Without a logged propensity
    the arm's share of the rows stands in. An offer's propensity times the offers of its kind in its campaign is the
    kind's propensity.
    """
    kinds = np.array([KINDS.index(kind) for kind in frames.offers.kinds] + [len(ARMS) - 1], dtype=np.int64)
    arm = kinds[exposures.offer]
    alternatives = _alternatives(frames)[exposures.offer]
    share = np.bincount(arm, minlength=len(ARMS)) / max(len(arm), 1)
    of_kind = np.where(np.isnan(exposures.propensity), share[arm], exposures.propensity * alternatives)
    reward = np.maximum(exposures.revenue * conf.get().margin - exposures.cost, 0.0)
    weight = reward / np.clip(of_kind, 0.01, 1.0)
    top = np.quantile(weight, 0.99) if len(weight) else 1.0
    return arm, np.minimum(weight, max(top, 1e-9))


def _alternatives(frames: Frames) -> Ints:
    """Return per offer how many offers of its kind its campaign holds; 1 in the last place, for "no offer"."""
    offers = frames.offers
    count = [
        sum(k == kind and c == campaign for k, c in zip(offers.kinds, offers.campaign, strict=True))
        for kind, campaign in zip(offers.kinds, offers.campaign, strict=True)
    ]
    return np.array([*count, 1], dtype=np.int64)


def line_up(asked: Iterable[str] | None) -> list[str]:
    """Return who is trained, the simplest first: those asked for (``all`` for everybody), or the usual line-up."""
    wanted = set(asked or LINE_UP)
    if "all" in wanted:
        wanted = set(REGISTRY)
    if Blend.name in wanted:
        wanted |= {Boosting.name, FourPartEstimator.name}  # its members
    return [name for name in REGISTRY if name in wanted]


def samples_of(problem: Problem, mask: Any, vocabularies: Vocabularies | None = None) -> Samples:
    """Return the samples of some of a problem's rows; without vocabularies, with their own."""
    rows = Rows(*(getattr(problem.shown, name)[mask] for name in Rows.__slots__))
    vocabularies = vocabularies or Vocabularies.fit(problem.builder, rows)
    return assemble(problem.builder, rows, problem.y[mask], problem.exposure[mask], vocabularies)


def _network_samples(problem: Problem, train: Samples, before: int) -> tuple[Samples, Ints, Floats]:
    """Return the training rows of the four-part network: control rows added, with arms and weights for all."""
    ended = problem.every.take(problem.every.time + problem.span <= before)
    arm, weight = strategy_targets(problem.frames, ended)  # of these rows alone: later ones are for the test
    control = ended.take(ended.offer < 0)
    # Features need an offer: the first one stands in, and no effect is learnt from these rows.
    extra_rows = Rows(control.shopper, np.zeros(len(control), np.int64), control.time, control.window_end)
    nothing = np.full((len(control), len(HEADS)), np.nan)
    extra = assemble(problem.builder, extra_rows, nothing, np.zeros(len(control), np.int64), train.vocabularies)
    place = {int(pk): index for index, pk in enumerate(ended.id)}
    own = np.array([place[int(pk)] for pk in train.exposure], dtype=np.int64)
    rest = np.flatnonzero(ended.offer < 0)
    joined, chosen = _concatenate(train, extra), np.concatenate([own, rest])
    return joined, arm[chosen], weight[chosen]


def _concatenate(first: Samples, second: Samples) -> Samples:
    rows = Rows(*(np.concatenate([getattr(first.rows, name), getattr(second.rows, name)]) for name in Rows.__slots__))
    parts = {
        name: np.concatenate([getattr(first, name), getattr(second, name)])
        for name in ("x", "sequence", "length", "y", "kind", "exposure")
    }
    return Samples(rows, **parts, vocabularies=first.vocabularies)


def fit_all(
    problem: Problem,
    train: Samples,
    test: Samples,
    names: list[str],
    *,
    before: int,
    seed: int,
    stage: Stage,
    settings: Settings = SHIPPED,
) -> list[Fitted]:
    """Fit and calibrate the named estimators; the blend reuses its members' fits."""
    held = calibration_shoppers(train, seed)
    watched = train.take(held)
    fitted: dict[str, Fitted] = {}
    for place, name in enumerate(names):

        def tell(done: float, at: int = place, what: str = name) -> None:
            stage(Sentence(words.TRAINING, {"estimator": what}), (at + done) / len(names))

        tell(0.0)
        meter = Meter()
        if name == Blend.name:
            fitted[name] = _fit_blend(fitted, watched)
            own, shared = meter.read(), sum(fitted[member].cost.seconds for member in MEMBERS)
            fitted[name].cost = Cost(round(own.seconds + shared, 2), own.peak_mb)
            continue
        estimator: ResponseEstimator = REGISTRY[name](**settings.get(name, {}))
        if isinstance(estimator, FourPartEstimator):
            # It keeps the held shoppers out: a second training costs more than a seventh of the rows brings.
            data, arm, weight = _network_samples(problem, train.take(~held), before)
            estimator.with_strategy(arm, weight)
            estimator.fit(data, seed=seed, progress=tell)
            raw = estimator.score(watched)
            calibrator = Calibrator.fit(raw, watched.y)
        else:
            estimator, calibrator, raw = fit_calibrated(estimator, train, held, seed=seed, progress=tell)
        predicted = calibrator.apply(estimator.score(test))
        fitted[name] = Fitted(name, estimator, calibrator, predicted, raw, meter.read())
    if Blend.name in fitted:
        blend = fitted[Blend.name]
        blend.predicted = blend.calibrator.apply(blend.estimator.score(test))
    return list(fitted.values())


def _fit_blend(fitted: dict[str, Fitted], watched: Samples) -> Fitted:
    members = [fitted[member] for member in MEMBERS]
    blend = Blend([member.estimator for member in members])
    blend.weigh([member.held for member in members], watched.y)
    raw = blend.combine([member.held for member in members])
    return Fitted(Blend.name, blend, Calibrator.fit(raw, watched.y), raw[:0], raw)


def backtest(
    problem: Problem, names: list[str], *, seed: int, stage: Stage, settings: Settings = SHIPPED
) -> tuple[list[Fitted], Samples, list[Fold]]:
    """Evaluate on the latest fold; returns the fits, the test samples and all folds (the latest first)."""
    found = folds(problem.shown.time, problem.span, most=1)
    if not found:
        raise NotEnoughData(words.SHORT_PAST)
    fold = found[0]
    train = samples_of(problem, fold.train)
    test = samples_of(problem, fold.test, train.vocabularies)
    fitted = fit_all(problem, train, test, names, before=fold.origin, seed=seed, stage=stage, settings=settings)
    return fitted, test, found


def figures(predicted: Floats, test: Samples, *, seed: int) -> dict[str, list[float]]:
    """Return metric → [value, low, high] on the primary head, and AUC of the other learnable heads."""
    primary = primary_head(test.y)
    found: dict[str, list[float]] = {}
    for head, name in enumerate(HEADS):
        known = ~np.isnan(test.y[:, head])
        y, p = test.y[known, head], predicted[known, head]
        if not known.any() or len(np.unique(y)) < 2:
            continue
        resampler = metrics.Resampler(test.rows.shopper[known], seed=seed)
        if head == primary:
            for metric, function in metrics.METRICS.items():
                found[metric] = _rounded(metrics.interval(function, p, y, resampler))
        else:
            found[f"auc_{name}"] = _rounded(metrics.interval(metrics.auc, p, y, resampler))
    return found


def _rounded(values: tuple[float, float, float]) -> list[float]:
    return [round(value, 5) for value in values]


def refit(problem: Problem, judged: list[Fitted], *, seed: int, stage: Stage) -> tuple[list[Fitted], Vocabularies]:
    """Fit the named estimators once more on everything matured by the cut-off: what ships.

    Calibrators, rounds and the blend's weights stay those of the backtest: nothing is held out any more to fit them on.
    """
    everything = samples_of(problem, np.ones(len(problem.shown), dtype=bool))
    shipped: dict[str, Fitted] = {}
    for place, item in enumerate(judged):

        def tell(done: float, at: int = place, what: str = item.name) -> None:
            stage(Sentence(words.FITTING, {"estimator": what}), (at + done) / len(judged))

        if isinstance(item.estimator, Blend):
            members = [shipped[Boosting.name].estimator, shipped[FourPartEstimator.name].estimator]
            estimator: ResponseEstimator = Blend(members, item.estimator.weights)
        else:
            estimator = another(item.estimator)
            data = everything
            if isinstance(estimator, FourPartEstimator):
                data, arm, weight = _network_samples(problem, everything, problem.frames.until)
                estimator.with_strategy(arm, weight)
            reuse(estimator, item.estimator)
            estimator.fit(data, seed=seed, progress=tell)
        shipped[item.name] = Fitted(item.name, estimator, item.calibrator, item.predicted, cost=item.cost)
    return list(shipped.values()), everything.vocabularies
