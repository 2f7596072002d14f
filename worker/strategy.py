"""Judges a strategy: does it tell better than everybody's same shares which kind of offer brings value, and to whom?

A strategy says of each shopper how the expected value is shared among the kinds of offer, and no offer at all. On the
exposures of the test block it is scored by the value that followed: the mean of −log(share of the kind that was shown),
weighted by reward over propensity, as it was trained. The rival that needs no model gives everybody the shares of the
training rows. Where it wins nothing reigns, and pages use each kind's average.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from personalization.exceptions import ArtifactCorrupt
from personalization.features.compute import Rows
from personalization.features.frames import Floats, Ints
from personalization.learning import wordings as words
from personalization.learning.gate import RIVALS, Check
from personalization.learning.registry import ModelVersion
from personalization.learning.sentences import Sentence, of_error
from personalization.types import HEADS
from worker import metrics
from worker.data import Fold, Samples, Vocabularies, assemble
from worker.estimators.four_part import ARMS, FourPartEstimator
from worker.gate import MIN_ROWS, judge_strategy, taught
from worker.response import Fitted, Problem, strategy_targets
from worker.versions import Loaded

LEAST_SHARE = 1e-4
"""A kind that a strategy rules out altogether counts as this: one mistake is not infinitely bad."""


@dataclass(slots=True)
class Bench:
    """The test block's exposures, control too: which arm each had, and what it weighs (reward / propensity)."""

    problem: Problem
    rows: Rows
    exposure: Ints
    arm: Ints
    weight: Floats
    usual: Floats
    """The shares of the rows before the block: the same for everybody."""
    seed: int

    @classmethod
    def of(cls, problem: Problem, fold: Fold, *, seed: int) -> Bench:
        """Return the bench of a fold of the problem's shown exposures."""
        every, last = problem.every, problem.shown.time[fold.test].max()
        before = every.take(every.time + problem.span <= fold.origin)
        block = every.take((every.time >= fold.origin) & (every.time <= last))
        arm, weight = strategy_targets(problem.frames, block)
        # A strategy knows of no offer; the first one stands in, as at scoring.
        rows = Rows(block.shopper, np.zeros(len(block), np.int64), block.time, block.window_end)
        usual = np.bincount(*strategy_targets(problem.frames, before), minlength=len(ARMS)).astype(np.float64)
        usual = (usual + 1e-9) / (usual + 1e-9).sum()
        return cls(problem, rows, block.id, arm, weight, usual, seed)

    def shares(self, estimator: FourPartEstimator, vocabularies: Vocabularies) -> Floats:
        """Return a strategy's shares [rows, arms] of this block."""
        return estimator.strategy(self._samples(vocabularies))

    def _samples(self, vocabularies: Vocabularies) -> Samples:
        nothing = np.full((len(self.rows), len(HEADS)), np.nan)
        return assemble(self.problem.builder, self.rows, nothing, self.exposure, vocabularies)

    def constant(self) -> Floats:
        """Return the shares of before for every row [rows, arms]."""
        return np.broadcast_to(self.usual, (len(self.rows), len(ARMS)))

    def gain(self, shares: Floats, other: Floats, rows: NDArray[np.bool_]) -> tuple[float, float, float]:
        """Return by how much ``shares`` lower the weighted loss of ``other``, with the 95 % interval over shoppers."""
        saved = (self._losses(other) - self._losses(shares))[rows]
        weight = self.weight[rows]
        resampler = metrics.Resampler(self.rows.shopper[rows], seed=self.seed)
        draws = [float(np.average(saved, weights=w * weight)) for w in resampler if (w * weight).sum() > 0]
        low, high = np.quantile(draws, [0.025, 0.975]) if draws else (np.nan, np.nan)
        return float(np.average(saved, weights=weight)), float(low), float(high)

    def _losses(self, shares: Floats) -> Floats:
        losses: Floats = -np.log(np.maximum(shares[np.arange(len(self.arm)), self.arm], LEAST_SHARE))
        return losses

    def enough(self, rows: NDArray[np.bool_]) -> bool:
        """Return whether value followed often enough on these rows, and on more than one arm, to tell anything."""
        worth = rows & (self.weight > 0)
        return int(worth.sum()) >= MIN_ROWS and len(np.unique(self.arm[worth])) > 1


def examine(
    problem: Problem, fold: Fold, item: Fitted, test: Samples, reigning: ModelVersion | None, *, seed: int
) -> tuple[dict[str, Any], list[Check]]:
    """Return what the file of a strategy network keeps of its test (for the next challenger), and all its checks.

    ``item`` is the network as it was fitted for the test block ``test``.
    """
    bench = Bench.of(problem, fold, seed=seed)
    assert isinstance(item.estimator, FourPartEstimator)
    shares = bench.shares(item.estimator, test.vocabularies)
    kept = {"exposure": bench.exposure, "shares": shares.astype(np.float32)}
    return kept, [*judge(bench, shares, reigning), *judge_strategy(item, test, reigning)]


def figures(verdicts: list[Check]) -> dict[str, list[float]]:
    """Return the board's figures of a strategy: its gain over each rival that it was compared with."""
    return {
        f"gain_{check.name}": [round(float(value), 5) for value in (check.figure, check.low, check.high)]
        for check in verdicts
        if check.name in RIVALS and check.figure is not None and check.low is not None and check.high is not None
    }


def judge(bench: Bench, shares: Floats, reigning: ModelVersion | None) -> list[Check]:
    """Return the checks of a strategy, by its shares of the bench's rows: against the same shares, against what reigns.

    Where value followed too seldom to compare, nothing is judged, and the newest reigns.
    """
    everything = np.ones(len(bench.rows), dtype=bool)
    simpler = _compared(bench, "simpler", shares, bench.constant(), everything, Sentence(words.SAME_SHARES))
    return [simpler, _against(bench, shares, reigning)]


def _against(bench: Bench, shares: Floats, reigning: ModelVersion | None) -> Check:
    if reigning is None:
        return Check("reigning", None, words.NOBODY)
    try:
        other, known = _remembered(bench, reigning)
    except ArtifactCorrupt as error:
        return Check("reigning", None, words.LOST, {"rival": str(reigning), "problem": of_error(error)})
    return _compared(bench, "reigning", shares, other, known, str(reigning))


def _remembered(bench: Bench, reigning: ModelVersion) -> tuple[Floats, NDArray[np.bool_]]:
    """Return the reigning strategy's shares, and for which rows: it has learnt from none of them.

    Those whose outcome was open at its cut-off it predicts itself; for those of its own training's test block the fit
    that had not seen them left the shares in the file.
    """
    loaded = Loaded(reigning)
    unseen = ~taught(reigning, bench.rows.time, bench.problem.span)
    assert isinstance(loaded.estimator, FourPartEstimator)
    shares = bench.shares(loaded.estimator, loaded.vocabularies)
    kept = {int(pk): place for place, pk in enumerate(loaded.backtest.get("exposure", ()))}
    at = np.array([kept.get(int(pk), -1) for pk in bench.exposure], dtype=np.int64)
    left = ~unseen & (at >= 0)
    if left.any():
        shares[left] = loaded.backtest["shares"][at[left]]
    return shares, unseen | left


def _compared(bench: Bench, name: str, shares: Floats, other: Floats, rows: NDArray[np.bool_], rival: Any) -> Check:
    if not bench.enough(rows):
        told = {"rival": rival, "rows": f"{int((rows & (bench.weight > 0)).sum()):,}", "needed": MIN_ROWS}
        return Check(name, None, words.FEW_WORTH, told, threshold=0.0)
    gain, low, high = bench.gain(shares, other, rows)
    told = {"rival": rival, "rows": f"{int(rows.sum()):,}", "gain": gain, "low": low, "high": high}
    better = low > 0
    return Check(name, better, words.BETTER_SHARES if better else words.NOT_BETTER_SHARES, told, gain, low, high, 0.0)
