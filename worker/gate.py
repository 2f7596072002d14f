"""The champion gate at work: who wins the training's own race, and whether they may take the reigning one's place.

From the simplest to the most complex, an estimator replaces the one before only where every check holds. Whoever is
left challenges the reigning champion on the same rows, each of which neither of them has learnt from. A tie keeps what
is simpler, and what reigns.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from personalization import conf
from personalization.exceptions import ArtifactCorrupt
from personalization.features.frames import Floats, Frames, Ints, milliseconds
from personalization.learning import gate, registry, sentences
from personalization.learning import wordings as words
from personalization.learning.gate import Check, Evidence
from personalization.learning.registry import ModelVersion
from personalization.learning.sentences import Sentence, of_error
from personalization.types import HEADS, ModelTask
from worker import artifacts, metrics
from worker.data import Samples, assemble
from worker.estimators.four_part import FourPartEstimator
from worker.preference import Race, RankerResult, paired_ndcg
from worker.response import REGISTRY, Fitted, Problem, figures, primary_head
from worker.versions import Loaded

MIN_ROWS = 200
"""Rows that both must have been judged on; fewer tell nothing."""
CONSTANT = 1e-9
TIMED_ROWS = 1000
TIMINGS = 3
MEGABYTE = 1_000_000


@dataclass(slots=True)
class Reigning:
    """The champion in force, and what it says to the test block: [rows, heads], nan where it has learnt from a row.

    ``problem``: why it cannot be asked, if so.
    """

    version: ModelVersion
    predicted: Floats
    problem: Sentence | None = None


@dataclass(slots=True)
class Verdict:
    """The board's figures per estimator, each one's checks, who won the race, and whether they are promoted.

    ``champion`` is None where what is left predicts the same for everybody.
    """

    head: str
    board: dict[str, dict[str, list[float]]]
    gains: dict[str, list[float]]
    champion: str | None
    reasons: list[Sentence]
    checks: dict[str, list[Check]] = field(default_factory=dict)
    promoted: bool = False


def summon(problem: Problem, test: Samples) -> Reigning | None:
    """Restore the reigning response champion and let it predict the test block; None where nobody reigns.

    A row whose outcome was open at the champion's cut-off has taught it nothing: the champion itself predicts it. A row
    that it has learnt from was, most likely, in the test block of its own training: there the fit that had not seen it
    left a prediction in the file. What is neither is nan.
    """
    version = registry.champion(ModelTask.RESPONSE, problem.frames.population)
    if version is None:
        return None
    predicted = np.full((len(test), len(HEADS)), np.nan)
    try:
        loaded = Loaded(version)
    except ArtifactCorrupt as error:
        return Reigning(version, predicted, of_error(error))
    unseen = ~taught(version, test.rows.time, problem.span)
    if unseen.any():
        mine = test.take(unseen)
        samples = assemble(problem.builder, mine.rows, mine.y, mine.exposure, loaded.vocabularies)
        predicted[unseen] = loaded.calibrator.apply(loaded.estimator.score(samples))
    kept = {int(pk): place for place, pk in enumerate(loaded.backtest.get("exposure", ()))}
    at = np.array([kept.get(int(pk), -1) for pk in test.exposure], dtype=np.int64)
    known = ~unseen & (at >= 0)
    if known.any():
        predicted[known] = loaded.backtest["probability"][at[known]]
    return Reigning(version, predicted)


def taught(version: ModelVersion, time: Ints, span: int) -> NDArray[np.bool_]:
    """Return which exposures (by their moments, ms) had matured by a version's cut-off, so that it learnt from them.

    The outcome window is the one of its own training; where an older card does not tell, all shown before count.
    """
    cutoff = milliseconds(version.cutoff_at)
    own = version.card.get("data", {}).get("outcome_window_ms") if isinstance(version.card, dict) else None
    learnt: NDArray[np.bool_] = time + int(own) <= cutoff if isinstance(own, int) else time < cutoff
    return learnt


def judge(
    fitted: list[Fitted], test: Samples, *, seed: int, reigning: Reigning | None = None, frames: Frames | None = None
) -> Verdict:
    """Compare on the primary head: the simplest first, then the winner with the reigning champion.

    Checks of other rooms are asked where the frames that the rows point into are given.
    """
    bench = _Bench.of(test, seed)
    verdict, best = _race(fitted, bench, tuple(REGISTRY))
    for item in fitted:
        verdict.checks[item.name].append(bench.against(item, reigning))
    rest = [] if frames is None else gate.further(bench.evidence(best, reigning, frames))
    return _concluded(verdict, best, rest, reigning.version if reigning else None)


def judge_intent(
    fitted: list[Fitted], test: Samples, order: Sequence[str], reigning: ModelVersion | None, *, seed: int
) -> Verdict:
    """Compare the estimators of purchase intent (``order``: the simplest first), then the winner with what reigns.

    The days that a test looks ahead overlap those that the reigning version has learnt from, so it cannot be asked
    itself. Its estimator is fitted anew in the same race: with that the winner is compared.
    """
    bench = _Bench.of(test, seed)
    verdict, best = _race(fitted, bench, order)
    for item in fitted:
        verdict.checks[item.name].append(bench.against_anew(item, fitted, reigning))
    return _concluded(verdict, best, [], reigning)


def _race(fitted: list[Fitted], bench: _Bench, simplest_first: Sequence[str]) -> tuple[Verdict, Fitted]:
    """Return the board and who is left: from the simplest on, replaced only where every check holds."""
    order = sorted(fitted, key=lambda item: simplest_first.index(item.name))
    best, gains = order[0], {}
    reasons: list[Sentence] = []
    checks = {best.name: [*bench.alone(best, None), Check("simpler", None, words.SIMPLEST)]}
    for item in order[1:]:
        simpler = bench.gain("simpler", bench.p(item), bench.p(best), best.name)
        gains[item.name] = [round(float(value), 5) for value in (simpler.figure, simpler.low, simpler.high)]  # type: ignore[arg-type]
        own = checks[item.name] = [*bench.alone(item, best), simpler]
        reasons.append(_reason(item.name, own))
        best = item if gate.holds(own) else best
    board = {item.name: figures(item.predicted, bench.test, seed=bench.seed) for item in fitted}
    verdict = Verdict(HEADS[bench.head], board, gains, best.name, reasons, checks)
    if checks[best.name][0].passed is False:
        told = {"estimator": best.name, "said": checks[best.name][0].said}
        reasons.append(Sentence(words.NOTHING_SHIPS, told))
        verdict.champion = None
    return verdict, best


def _concluded(verdict: Verdict, best: Fitted, rest: list[Check], reigning: ModelVersion | None) -> Verdict:
    """Add the last checks of whoever won the race, and say whether they reign from now on."""
    mine = verdict.checks[best.name]
    mine += [*rest, hold(reigning)]
    verdict.promoted = verdict.champion is not None and gate.holds(mine)
    if verdict.champion is not None:
        verdict.reasons += last_words(best.name, mine, reigning)
    return verdict


@dataclass(slots=True)
class _Bench:
    """The rows on which everybody is compared, on one head, and the resamples of shoppers that all share."""

    test: Samples
    head: int
    known: NDArray[np.bool_]
    y: Floats
    seed: int

    @classmethod
    def of(cls, test: Samples, seed: int) -> _Bench:
        head = primary_head(test.y)
        known = ~np.isnan(test.y[:, head])
        return cls(test, head, known, test.y[known, head], seed)

    def p(self, item: Fitted) -> Floats:
        """Return what an estimator says to the rows, of the head that decides."""
        said: Floats = item.predicted[self.known, self.head]
        return said

    def alone(self, item: Fitted, simpler: Fitted | None) -> list[Check]:
        """Return the checks that ask for no gain; calibration may be as far off as what would be kept instead."""
        p = self.p(item)
        spread = float(np.ptp(p))
        found = Check("distinct", True, words.DISTINCT, {"spread": spread}, spread, threshold=CONSTANT)
        if spread < CONSTANT:
            found = Check("distinct", False, words.CONSTANT, {}, spread, threshold=CONSTANT)
        return [found, self.calibrated(p, None if simpler is None else self.p(simpler)), *self.cost(item)]

    def calibrated(self, p: Floats, instead: Floats | None) -> Check:
        ones = np.ones(len(self.y))
        error, allowed = metrics.ece(p, self.y, ones), metrics.allowed(metrics.ece_null(p))
        if instead is None:
            return Check("calibration", None, words.CALIBRATION_OPEN, {"error": error}, error, threshold=allowed)
        allowed = max(allowed, metrics.ece(instead, self.y, ones))
        told = {"error": error, "allowed": allowed}
        return Check("calibration", error <= allowed, words.CALIBRATED, told, error, threshold=allowed)

    def cost(self, item: Fitted) -> list[Check]:
        """Return whether scoring is quick enough and the file small enough for the shop's settings."""
        seconds = seconds_per_1000(lambda rows: item.calibrator.apply(item.estimator.score(rows)), self.test)
        return [timed(seconds, words.SPEED), sized(artifacts.weigh(*item.estimator.dump()))]

    def gain(self, name: str, p: Floats, rival: Floats, whose: str, rows: NDArray[np.bool_] | None = None) -> Check:
        """Return whether ``p`` has the smaller log-loss beyond doubt, over paired resamples of shoppers."""
        rows = np.ones(len(self.y), dtype=bool) if rows is None else rows
        resampler = metrics.Resampler(self.test.rows.shopper[self.known][rows], seed=self.seed)
        gain, low, high = metrics.paired_gain(p[rows], rival[rows], self.y[rows], resampler)
        told = {"rival": whose, "rows": f"{int(rows.sum()):,}", "gain": gain, "low": low, "high": high}
        better = low > 0
        return Check(name, better, words.BETTER if better else words.NOT_BETTER, told, gain, low, high, 0.0)

    def against(self, item: Fitted, reigning: Reigning | None) -> Check:
        """Return whether an estimator beats the reigning champion on rows that neither has learnt from."""
        if reigning is None:
            return Check("reigning", None, words.NOBODY)
        rival = str(reigning.version)
        if reigning.problem is not None:
            return Check("reigning", None, words.LOST, {"rival": rival, "problem": reigning.problem})
        said = reigning.predicted[self.known, self.head]
        rows = ~np.isnan(said)
        if rows.sum() < MIN_ROWS or len(np.unique(self.y[rows])) < 2:
            told = {"rival": rival, "rows": f"{int(rows.sum()):,}", "needed": MIN_ROWS}
            return Check("reigning", False, words.SAME_ROWS, told, threshold=0.0)
        return self.gain("reigning", self.p(item), said, rival, rows)

    def against_anew(self, item: Fitted, race: list[Fitted], reigning: ModelVersion | None) -> Check:
        """Return whether an estimator beats the reigning one as it was fitted anew for the same race."""
        if reigning is None:
            return Check("reigning", None, words.NOBODY)
        rival = next((other for other in race if other.name == reigning.estimator), None)
        if rival is None:
            problem = Sentence(words.NO_ESTIMATOR, {"name": reigning.estimator})
            return Check("reigning", None, words.LOST, {"rival": str(reigning), "problem": problem})
        if rival is item:
            return Check("reigning", True, words.RENEWED, {"rival": str(reigning)})
        return self.gain("reigning", self.p(item), self.p(rival), str(reigning))

    def evidence(self, item: Fitted, reigning: Reigning | None, frames: Frames) -> Evidence:
        """Return what the checks of other rooms may look at."""
        rows = self.test.rows
        return Evidence(
            population=frames.population,
            task=ModelTask.RESPONSE.value,
            estimator=item.name,
            head=HEADS[self.head],
            exposure=self.test.exposure[self.known],
            shopper=frames.shoppers.ids[rows.shopper[self.known]],
            offer=frames.offers.ids[rows.offer[self.known]],
            probability=self.p(item),
            label=self.y,
            rival=None if reigning is None else reigning.predicted[self.known, self.head],
        )


def seconds_per_1000(score: Callable[[Samples], Any], samples: Samples) -> float:
    """Return how long 1,000 rows take to score: the quickest of three goes, since others use the machine too."""
    rows = samples.take(np.arange(min(len(samples), TIMED_ROWS)))
    taken = []
    for _ in range(TIMINGS):
        began = time.perf_counter()
        score(rows)
        taken.append(time.perf_counter() - began)
    return min(taken) * 1000 / max(len(rows), 1)


def timed(seconds: float, template: str) -> Check:
    """Return whether 1,000 rows (or shoppers) are done in the time that the settings allow."""
    allowed = conf.get().gate_scoring_seconds
    told = {"seconds": seconds, "allowed": allowed}
    return Check("latency", seconds <= allowed, template, told, round(seconds, 5), threshold=allowed)


def sized(size_bytes: int) -> Check:
    """Return whether a model's file is as small as the settings ask for."""
    size, allowed = size_bytes / MEGABYTE, conf.get().gate_artifact_mb
    return Check(
        "size", size <= allowed, words.SIZE, {"size": size, "allowed": allowed}, round(size, 3), threshold=allowed
    )


def hold(reigning: ModelVersion | None) -> Check:
    """Return whether promotions wait because somebody has rolled back to the reigning version a short while ago."""
    until = registry.held_until(reigning) if reigning is not None else None
    if reigning is None or until is None:
        return Check("hold", True, words.FREE)
    told = {"at": sentences.at(reigning.card["promoted_at"]), "until": sentences.at(until.isoformat())}
    return Check("hold", False, words.HELD, told)


def _reason(name: str, checks: list[Check]) -> Sentence:
    """Return why an estimator takes the simpler one's place, or does not: the check that decided."""
    of = {check.name: check for check in checks}
    decisive = (of["distinct"], of["simpler"], of["calibration"], *checks)
    failed = next((check for check in decisive if check.passed is False), None)
    told = {"estimator": name, "said": (failed or of["simpler"]).said}
    return Sentence(words.REASON if failed in (None, of["simpler"]) else words.REFUSED, told)


def last_words(name: str, checks: list[Check], reigning: ModelVersion | None) -> list[Sentence]:
    """Return why the winner of the race reigns from now on, or does not: what beats it, and each check that failed."""
    failed = [check for check in checks if check.passed is False]
    if not failed:
        judged = [check for check in checks if check.name == "reigning" and reigning is not None]
        return [Sentence(words.REASON, {"estimator": name, "said": check.said}) for check in judged]
    template = words.NOT_PROMOTED_FIRST if reigning is None else words.NOT_PROMOTED
    told = {"estimator": name, "rival": str(reigning or "")}
    return [Sentence(template, {**told, "said": check.said}) for check in failed]


def judge_strategy(item: Fitted, test: Samples, reigning: ModelVersion | None) -> list[Check]:
    """Return the checks of a strategy network for itself; ``worker.strategy`` compares it with others."""
    network = item.estimator
    assert isinstance(network, FourPartEstimator)
    seconds = seconds_per_1000(network.strategy, test)
    return [timed(seconds, words.SPEED), sized(artifacts.weigh(*network.dump())), hold(reigning)]


def judge_ranking(
    race: Race,
    winner: RankerResult,
    reigning: ModelVersion | None,
    *,
    seed: int,
    lost: Mapping[str, Any] | None = None,
) -> list[Check]:
    """Return the checks of the rankers' winner: against the reigning ranker on the same shoppers, and its speed.

    ``lost``: why the reigning one could not be asked, for ``EARLIER_SETTINGS``; nothing where it was.
    """
    checks = [timed(winner.rank_seconds * 1000 / max(race.tested, 1), words.SPEED_RANKS), hold(reigning)]
    if reigning is None:
        return [Check("reigning", None, words.NOBODY), *checks]
    rival = str(reigning)
    if race.reigning is None:
        gone = Sentence(words.NO_ESTIMATOR, {"name": reigning.estimator})
        problem = Sentence(words.EARLIER_SETTINGS, lost) if lost else gone
        return [Check("reigning", None, words.LOST, {"rival": rival, "problem": problem}), *checks]
    if race.reigning is winner:
        return [Check("reigning", True, words.RENEWED, {"rival": rival}), *checks]
    gain, low, high = paired_ndcg(winner, race.reigning, seed=seed)
    told = {"rival": rival, "rows": f"{race.tested:,}", "gain": gain, "low": low, "high": high}
    better = low > 0
    template = words.BETTER_RANKS if better else words.NOT_BETTER_RANKS
    return [Check("reigning", better, template, told, gain, low, high, 0.0), *checks]
