"""Distils the response champion into the quick model of :mod:`personalization.pure.quick`, and says what that costs.

The student learns the champion's own probabilities (soft targets) of a sample of exposures from a handful of features
that a page can compute at once. Weights that move next to nothing are pruned, the others rounded to eight bits. What is
stated, and decides, is the student as it ships: pruned and rounded. It ships only where it beats the offers' means,
which would be used without it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from personalization.features.compute import KINDS, FeatureBuilder, Rows
from personalization.features.frames import TYPE_CODE, Floats, Frames, Ints
from personalization.features.specification import INDEX
from personalization.pure import quick
from personalization.types import HEADS, OfferKind
from worker import metrics
from worker.data import Samples, Vocabularies, assemble
from worker.estimators.base import sigmoid
from worker.response import Fitted, Problem
from worker.versions import Loaded

MOST_ROWS = 20_000
"""Exposures from which a student learns: some fifty weights need no more."""
NEWCOMER_MS = 86_400_000
"""A shopper first seen less than this before an exposure is one whom the last batch did not know."""
FEWEST = 200
"""Rows from which figures are told."""
RIDGE, STEPS = 0.1, 25
ROUNDS = 6
"""How often weights and the offers' levels are fitted in turn."""
PRUNED_BELOW = 0.02
"""A weight is dropped if it moves the logit by less, per standard deviation of its feature."""
SHRINK_ROWS = 20.0
"""How many rows of its kind an offer's mean is pulled towards its kind's mean by."""
LARGEST = 127
_SILENT = KINDS.index(OfferKind.ANNOUNCEMENT)


@dataclass(slots=True)
class Student:
    """``offers`` and ``kinds`` say what each is at features of 0, ``means`` and ``kind_means`` on the average: chances
    [positions, heads], nan for what was never seen. ``kind_of`` is each offer's kind. ``weights`` are whole numbers
    [heads, features]."""

    offers: Floats
    means: Floats
    kinds: Floats
    kind_means: Floats
    kind_of: Ints
    bias: Floats
    scale: Floats
    weights: Ints

    def score(self, x: Floats, offer: Ints) -> Floats:
        """Return [rows, heads] for rows of features and offers (positions); nan where offer and kind are unknown."""
        base = self._known(self.offers, self.kinds, offer)
        inside = (base > 0) & (base < 1)
        moved = _logit(np.where(inside, base, 0.5)) + self.bias + (x @ self.weights.T) * self.scale
        return np.where(inside, sigmoid(moved), base)

    def average(self, offer: Ints) -> Floats:
        """Return what would be used without the student [rows, heads]: the offer's mean, else its kind's."""
        return self._known(self.means, self.kind_means, offer)

    def _known(self, of_offer: Floats, of_kind: Floats, offer: Ints) -> Floats:
        return np.where(np.isnan(of_offer[offer]), of_kind[self.kind_of[offer]], of_offer[offer])

    def as_json(self, frames: Frames) -> dict[str, Any]:
        """Return it as :func:`personalization.pure.quick.read` takes it."""
        ids = frames.offers.ids
        seen = np.flatnonzero(~np.isnan(self.offers).any(axis=1))
        known = np.flatnonzero(~np.isnan(self.kinds).any(axis=1))
        return {
            "features": list(quick.NAMES),
            "heads": list(HEADS),
            "offers": {str(int(ids[o])): [round(float(p), 6) for p in self.offers[o]] for o in seen},
            "kinds": {KINDS[k]: [round(float(p), 6) for p in self.kinds[k]] for k in known},
            "bias": [round(float(each), 6) for each in self.bias],
            "scale": [float(each) for each in self.scale],
            "weights": self.weights.tolist(),
        }


def recent_features(builder: FeatureBuilder, rows: Rows) -> Floats:
    """Return what :func:`personalization.pure.quick.features` returns, for many rows at once: [rows, features].

    Only what happened strictly before a row's moment counts.
    """
    events, count = builder.frames.events, len(rows)
    codes = {name: TYPE_CODE[name] for name in quick.TYPES}
    kept = np.flatnonzero(np.isin(events.type, list(codes.values())))
    before = np.concatenate([[0], np.cumsum(np.isin(events.type, list(codes.values())))])
    first, end = (before[bound] for bound in builder.past(rows))
    length = np.minimum(end - first, quick.LAST_EVENTS)
    wanted = np.append(builder.frames.offers.category, -1)[rows.offer]
    spent, orders = np.zeros(count), np.zeros(count)
    age = {name: np.full(count, np.inf) for name in ("any", "same", *quick.HALF_LIVES_DAYS)}
    viewed = np.zeros(count)
    for back in range(1, quick.LAST_EVENTS + 1):
        has = np.flatnonzero(length >= back)
        at = kept[end[has] - back]
        days = (rows.time[has] - events.time[at]) / 86_400_000
        kind, category = events.type[at], events.category[at]
        viewed[has] += kind == codes["product_viewed"]
        ordered = kind == codes["order_placed"]
        orders[has] += ordered
        spent[has] += np.where(ordered, np.nan_to_num(events.value[at]), 0.0) * 10.0**builder.frames.digits
        marks = {name: kind == codes[name] for name in quick.HALF_LIVES_DAYS}
        marks |= {"any": np.ones(len(has), dtype=bool), "same": (category >= 0) & (category == wanted[has])}
        for name, mark in marks.items():
            age[name][has[mark]] = np.minimum(age[name][has[mark]], days[mark])
    faded = {name: np.power(0.5, days / quick.HALF_LIVES_DAYS.get(name, 1.0)) for name, days in age.items()}
    some = np.maximum(length, 1)
    columns = (
        length > 0,
        np.log1p(length) / np.log1p(quick.LAST_EVENTS),
        faded["any"],
        viewed / some,
        faded["search_performed"],
        faded["basket_changed"],
        faded["order_placed"],
        _logarithmic(spent / np.maximum(orders, 1), quick.MOST_SPENT_MINOR),
        faded["same"],
        *_of_people(builder, rows),
    )
    return np.stack([column.astype(np.float64) for column in columns], axis=1)


def _of_people(builder: FeatureBuilder, rows: Rows) -> tuple[Floats | NDArray[np.bool_], ...]:
    profile = builder.build_shopper(rows)
    income, tenure = profile[:, INDEX["income"]], profile[:, INDEX["tenure_days"]]
    known, since = ~np.isnan(income), np.power(0.5, np.maximum(tenure, 0.0) / quick.TENURE_HALF_LIFE_DAYS)
    return known, np.where(known, _logarithmic(income, quick.MOST_INCOME), 0.0), np.where(np.isnan(tenure), 0.0, since)


def _logarithmic(amount: Floats, most: float) -> Floats:
    found: Floats = np.clip(np.log1p(np.maximum(amount, 0.0)) / np.log1p(most), 0.0, 1.0)
    return found


def learn(x: Floats, offer: Ints, target: Floats, frames: Frames) -> Student:
    """Return the student of these soft targets [rows, heads], pruned and rounded. An unknown target (nan) counts as 0:
    the champion knows nothing of a head or everything."""
    kind_of = np.array([KINDS.index(kind) for kind in frames.offers.kinds], dtype=np.int64)
    target = np.nan_to_num(target, nan=0.0)
    target[kind_of[offer] == _SILENT, HEADS.index("redeem")] = 0.0
    kind_means = _means(kind_of[offer], target, len(KINDS))
    kinds = kind_means.copy()
    means = _means(offer, target, len(kind_of), towards=kind_means[kind_of])
    offers, bias, weights = means.copy(), np.zeros(len(HEADS)), np.zeros((len(HEADS), x.shape[1]))
    for head in range(len(HEADS)):
        learnt = (means[:, head] > 0) & (means[:, head] < 1)
        rows = learnt[offer]
        if not rows.any():
            continue
        level = np.where(learnt, _logit(means[:, head]), 0.0)
        at, bias[head], weights[head] = _fit(x[rows], offer[rows], level, target[rows, head])
        offers[learnt, head] = sigmoid(at[learnt])
        shift = _means(kind_of[offer[rows]], (at - level)[offer[rows], None], len(KINDS))[:, 0]
        known = (kinds[:, head] > 0) & (kinds[:, head] < 1) & ~np.isnan(shift)
        kinds[known, head] = sigmoid(_logit(kinds[known, head]) + shift[known])
    scale = np.abs(weights).max(axis=1) / LARGEST
    scale[scale == 0] = 1.0
    return Student(
        offers, means, kinds, kind_means, kind_of, bias, scale, np.round(weights / scale[:, None]).astype(np.int64)
    )


def _means(group: Ints, target: Floats, groups: int, towards: Floats | None = None) -> Floats:
    """Return the mean target a group [groups, heads], pulled ``towards`` another; nan of a group without rows."""
    total = np.zeros((groups, target.shape[1]))
    np.add.at(total, group, target)
    rows = np.bincount(group, minlength=groups)[:, None].astype(np.float64)
    pull = 0.0 if towards is None else SHRINK_ROWS
    with np.errstate(invalid="ignore"):
        means: Floats = (total + pull * (0.0 if towards is None else towards)) / (rows + pull)
    means[rows[:, 0] == 0] = np.nan
    return means


def _fit(x: Floats, offer: Ints, level: Floats, target: Floats) -> tuple[Floats, float, Floats]:
    """Return each offer's level (logit), the bias and the weights: in turn, then without what moves next to nothing."""
    spread, kept = x.std(axis=0), np.ones(x.shape[1], dtype=bool)
    for step in range(ROUNDS):
        bias, some = _logistic(x[:, kept], level[offer], target)
        if step == ROUNDS - 2:
            kept[kept] = np.abs(some) * spread[kept] >= PRUNED_BELOW
            bias, some = _logistic(x[:, kept], level[offer], target)
        if step < ROUNDS - 1:
            p = sigmoid(level[offer] + bias + x[:, kept] @ some)
            room = np.bincount(offer, p * (1 - p), len(level)) + SHRINK_ROWS / 4
            level = level + np.bincount(offer, target - p, len(level)) / room
    weights = np.zeros(x.shape[1])
    weights[kept] = some
    return level, bias, weights


def _logit(p: Floats) -> Floats:
    with np.errstate(divide="ignore", invalid="ignore"):
        found: Floats = np.log(p / (1 - p))
    return found


def _logistic(x: Floats, offset: Floats, target: Floats) -> tuple[float, Floats]:
    """Return bias and weights of a ridge logistic regression on soft targets, by Newton's method."""
    design = np.concatenate([np.ones((len(x), 1)), x], axis=1)
    penalty = RIDGE * np.eye(design.shape[1])
    penalty[0, 0] = 1e-6
    w = np.zeros(design.shape[1])
    for _step in range(STEPS):
        p = sigmoid(np.clip(offset + design @ w, -30, 30))
        gradient = design.T @ (p - target) + penalty @ w
        move = np.linalg.solve((design * (p * (1 - p))[:, None]).T @ design + penalty, gradient)
        w -= move
        if np.abs(move).max() < 1e-8:
            break
    return float(w[0]), w[1:]


def teach(
    problem: Problem,
    judged: Fitted,
    shipped: Fitted,
    test: Samples,
    train: NDArray[Any],
    vocabularies: Vocabularies,
    head: str,
    *,
    seed: int,
) -> dict[str, Any]:
    """Return the card's part on the quick model: its figures, and the model itself where it ships.

    ``judged`` is the champion of the backtest, whose student is judged on ``test``; ``shipped`` the one refitted with
    ``vocabularies`` on everything, whose student ships.
    """
    student = distil(problem, train, judged, test.vocabularies, seed=seed)
    told = judge(problem, student, judged, test, head, seed=seed)
    if not told["ships"]:
        return {"quick": {**told, "model": None}}
    everything = np.ones(len(problem.shown), dtype=bool)
    final = distil(problem, everything, shipped, vocabularies, seed=seed)
    return {"quick": {**told, "model": final.as_json(problem.frames)}}


def student_of(champion: Loaded | None) -> dict[str, Any] | None:
    """Return the quick model that came with a response version; None where none ships."""
    card = champion.version.card if champion is not None else {}
    taught = card.get("quick") if isinstance(card, dict) else None
    return taught.get("model") if isinstance(taught, dict) else None


def distil(problem: Problem, mask: NDArray[Any], teacher: Fitted, vocabularies: Vocabularies, *, seed: int) -> Student:
    """Return the student of a fitted estimator, learnt from at most ``MOST_ROWS`` of these exposures."""
    chosen = np.flatnonzero(mask)
    if len(chosen) > MOST_ROWS:
        chosen = np.sort(np.random.default_rng(seed).choice(chosen, MOST_ROWS, replace=False))
    rows = Rows(*(getattr(problem.shown, name)[chosen] for name in Rows.__slots__))
    samples = assemble(problem.builder, rows, problem.y[chosen], problem.exposure[chosen], vocabularies)
    target = teacher.calibrator.apply(teacher.estimator.score(samples))
    return learn(recent_features(problem.builder, rows), rows.offer, target, problem.frames)


def judge(
    problem: Problem, student: Student, teacher: Fitted, test: Samples, head: str, *, seed: int
) -> dict[str, Any]:
    """Return the student's figures on the test block, and whether it ships.

    AUC of student, champion and offers' means, what the student loses, and its gain in log-loss over the means, each
    with its 95 % interval over shoppers; of all rows, and of newcomers where there are enough. An offer that was never
    shown before is judged by its kind, as pages do. Where too little can be judged there are no figures, and it does
    not ship.
    """
    column = HEADS.index(head)
    p = student.score(recent_features(problem.builder, test.rows), test.rows.offer)[:, column]
    mean = student.average(test.rows.offer)[:, column]
    usable = ~np.isnan(test.y[:, column]) & ~np.isnan(mean)
    groups = {"all": usable, "newcomers": usable & _newcomers(problem.frames, test.rows)}
    told = {
        name: _figures(test.y[rows, column], p[rows], teacher.predicted[rows, column], mean[rows], test, rows, seed)
        for name, rows in groups.items()
        if rows.sum() >= FEWEST and len(np.unique(test.y[rows, column])) > 1
    }
    gains = [each["gain"] for each in told.values()]
    ships = "all" in told and told["all"]["gain"][1] > 0 and all(high > 0 for _value, _low, high in gains)
    return {"head": head, **told, "ships": ships, "weights_kept": int((student.weights != 0).sum())}


def _figures(
    y: Floats, p: Floats, champion: Floats, mean: Floats, test: Samples, rows: NDArray[Any], seed: int
) -> dict[str, Any]:
    resampler = metrics.Resampler(test.rows.shopper[rows], seed=seed)
    auc = {
        name: [round(value, 5) for value in metrics.interval(metrics.auc, each, y, resampler)]
        for name, each in (("student", p), ("champion", champion), ("mean", mean))
    }
    lost = auc["champion"][0] - auc["student"][0]
    gain = [round(value, 6) for value in metrics.paired_gain(p, mean, y, resampler)]
    return {"rows": int(rows.sum()), "auc": auc, "auc_lost": round(lost, 5), "gain": gain}


def _newcomers(frames: Frames, rows: Rows) -> NDArray[np.bool_]:
    """Return the rows whose shopper did something for the first time less than a day before, or nothing yet."""
    events = frames.events
    first = np.searchsorted(events.shopper, rows.shopper)
    end = np.searchsorted(events.shopper, rows.shopper, side="right")
    began = np.where(first < end, events.time[np.minimum(first, max(len(events) - 1, 0))], rows.time)
    new: NDArray[np.bool_] = began > rows.time - NEWCOMER_MS
    return new
