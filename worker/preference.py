"""Train and judge preference rankers: global time cut, full catalogue, NDCG@10 with intervals over shoppers."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from personalization.exceptions import NotEnoughData
from personalization.features.frames import Floats, Frames, Ints
from personalization.learning import wordings as words
from personalization.learning.handlers import Stage
from personalization.learning.readiness import MIN_ORDERS
from personalization.learning.sentences import Said, Sentence
from worker import device as devices
from worker.costs import Meter
from worker.metrics import RESAMPLES
from worker.rankers import DAY, LIGHT, LINE_UP, RANKERS, Interactions, Ranker, interactions, top_items
from worker.rankers.base import Progress, Scores, ndcg, silent

BLOCK = 512
MOST_TESTED = 5000
BUDGET_SECONDS = 60.0
"""For the usual line-up. Rankers that were asked for by name take the time that they need."""


class OutOfTime(Exception):
    """The time for this training is used up."""


class Scoring(Protocol):
    """Whatever scores the catalogue for shoppers: [shoppers, items]."""

    def score(self, shoppers: Ints) -> Scores: ...


@dataclass(slots=True)
class RankerResult:
    """One ranker's figures per tested shopper, and how long fitting and ranking took."""

    name: str
    figures: dict[str, Floats]
    settings: dict[str, Any] = field(default_factory=dict)
    fit_seconds: float = 0.0
    rank_seconds: float = 0.0
    peak_mb: int | None = None


@dataclass(slots=True)
class Race:
    """Everybody's results, the simplest first; how many shoppers were tested; who was left out, in sentences.

    ``reigning``: what the reigning ranker, with its own settings, does for the same shoppers.
    """

    results: list[RankerResult]
    tested: int
    left_out: list[Sentence] = field(default_factory=list)
    reigning: RankerResult | None = None


def fit(
    name: str,
    data: Interactions,
    now: int,
    settings: dict[str, Any] | None = None,
    *,
    seed: int = 0,
    progress: Progress = silent,
) -> Ranker:
    """Return a fitted ranker."""
    ranker = RANKERS[name](**(settings or {}))
    ranker.fit(data, now, seed=seed, progress=progress)
    return ranker


def usual_settings(name: str) -> dict[str, Any]:
    """Return how the usual line-up sets a ranker on this machine; what is not named keeps its default."""
    return LIGHT.get(name, {}) if devices.pick().type == "cpu" else {}


def line_up(asked: Sequence[str] | None) -> list[str]:
    """Return who races, the simplest first: those asked for (``all`` for everybody), or the usual line-up."""
    wanted = set(asked or LINE_UP)
    if "all" in wanted:
        wanted = set(RANKERS)
    return [name for name in RANKERS if name in wanted]


def test_origin(frames: Frames) -> int:
    """Return the start of the test block: the last tenth of the observed time, 1 to 28 days."""
    span = frames.until - frames.start
    return int(frames.until - np.clip(span * 0.1, DAY, 28 * DAY))


def backtest(
    frames: Frames,
    asked: Sequence[str] | None = None,
    *,
    seed: int,
    stage: Stage,
    reigning: tuple[str, dict[str, Any]] | None = None,
    adopted: Mapping[str, dict[str, Any]] | None = None,
) -> Race:
    """Fit before the origin, predict who buys what after it.

    The usual line-up has a minute in all: who is not done by then is left out, the simplest never. The ``reigning``
    ranker (its name and settings) is asked for the same shoppers, whatever it takes: nobody replaces it unseen.
    ``adopted``: ranker → settings that a search has found, in place of the usual ones.
    """
    data = interactions(frames)
    if len(frames.lines.shopper) < MIN_ORDERS:
        told = {"have": f"{len(frames.lines.shopper):,}", "need": f"{MIN_ORDERS:,}"}
        raise NotEnoughData(words.FEW_LINES, params=told)
    origin = test_origin(frames)
    past = data.before(origin)
    truth = bought(frames, past, origin)
    if len(truth) < 20:
        raise NotEnoughData(words.FEW_BUYERS)
    shoppers = tested(truth, seed)
    names = line_up(asked)
    end = None if asked else time.monotonic() + BUDGET_SECONDS
    race = Race([], len(shoppers))
    for place, name in enumerate(names):
        said = Sentence(words.RANKING, {"ranker": name})
        report = _until(end if place else None, _share(stage, said, place, len(names)))
        try:
            settings = (adopted or {}).get(name) or ({} if asked else usual_settings(name))
            report(0.0)
            race.results.append(_run(name, settings, past, origin, shoppers, truth, seed=seed, progress=report))
        except OutOfTime:
            out: dict[str, Any] = {"ranker": name, "seconds": BUDGET_SECONDS, "best": race.results[-1].name}
            race.left_out.append(Sentence(words.OUT_OF_TIME, out))
    race.reigning = next((result for result in race.results if reigning == (result.name, plain(result))), None)
    if race.reigning is None and reigning is not None and reigning[0] in RANKERS:
        name, settings = reigning
        report = _share(stage, Sentence(words.RANKING_REIGNING, {"ranker": name}), len(names) - 1, len(names))
        race.reigning = _run(name, settings, past, origin, shoppers, truth, seed=seed, progress=report)
    return race


def _run(
    name: str,
    settings: dict[str, Any],
    past: Interactions,
    origin: int,
    shoppers: Ints,
    truth: dict[int, set[int]],
    *,
    seed: int,
    progress: Progress,
) -> RankerResult:
    meter = Meter()
    ranker = fit(name, past, origin, settings, seed=seed, progress=progress)
    cost, fitted = meter.read(), time.monotonic()
    figures = judge(ranker, shoppers, truth)
    taken = round(time.monotonic() - fitted, 2)
    return RankerResult(name, figures, ranker.settings, cost.seconds, taken, cost.peak_mb)


def plain(result: RankerResult) -> dict[str, Any]:
    """Return a ranker's settings as they are read back from a version's card."""
    settings: dict[str, Any] = json.loads(json.dumps(result.settings))
    return settings


def _share(stage: Stage, what: Said, place: int, places: int) -> Progress:
    return lambda done: stage(what, (place + done) / places)


def _until(end: float | None, report: Progress) -> Progress:
    """Return a progress that ends a fit, from within, when its time is over."""

    def checked(done: float) -> None:
        if end is not None and time.monotonic() > end:
            raise OutOfTime
        report(done)

    return checked


def bought(frames: Frames, past: Interactions, since: int, until: int | None = None) -> dict[int, set[int]]:
    """Return what each shopper with a past bought from one moment on, and before another where one is given."""
    later = frames.lines.time >= since
    if until is not None:
        later &= frames.lines.time < until
    known = set(np.unique(past.shopper).tolist())
    truth: dict[int, set[int]] = {}
    for shopper, item in zip(frames.lines.shopper[later].tolist(), frames.lines.item[later].tolist(), strict=True):
        if shopper in known:
            truth.setdefault(shopper, set()).add(item)
    return truth


def tested(truth: Mapping[int, object], seed: int) -> Ints:
    """Return who is tested, in order: everybody with a truth, or MOST_TESTED of them drawn with the seed."""
    shoppers = np.array(sorted(truth), dtype=np.int64)
    if len(shoppers) > MOST_TESTED:
        shoppers = np.sort(np.random.default_rng(seed).choice(shoppers, MOST_TESTED, replace=False))
    return shoppers


def judge(ranker: Scoring, shoppers: Ints, truth: dict[int, set[int]]) -> dict[str, Floats]:
    """Return metric → a figure for each shopper, over the whole catalogue, against what each bought.

    A product scored −inf must not be shown: it is no hit, even where the list has room for it.
    """
    found: dict[str, list[float]] = {"ndcg@10": [], "recall@10": [], "recall@20": []}
    for start in range(0, len(shoppers), BLOCK):
        block = shoppers[start : start + BLOCK]
        scores = ranker.score(block)
        best = top_items(scores, 20)
        best[np.isneginf(np.take_along_axis(scores, best, axis=1))] = -1
        for shopper, ranked in zip(block.tolist(), best.tolist(), strict=True):
            wanted = truth[shopper]
            hits = np.array([item in wanted for item in ranked], dtype=np.float64)
            found["ndcg@10"].append(ndcg(hits, len(wanted), 10))
            found["recall@10"].append(float(hits[:10].sum() / len(wanted)))
            found["recall@20"].append(float(hits.sum() / len(wanted)))
    return {name: np.array(values) for name, values in found.items()}


def summarise(result: RankerResult, *, seed: int) -> dict[str, list[float]]:
    """Return metric → [mean, low, high] with 95 % bootstrap intervals over shoppers."""
    rng = np.random.default_rng(seed)
    found: dict[str, list[float]] = {}
    for name, values in result.figures.items():
        draws = values[rng.integers(0, len(values), size=(RESAMPLES, len(values)))].mean(axis=1)
        low, high = np.quantile(draws, [0.025, 0.975])
        found[name] = [round(float(value), 5) for value in (values.mean(), low, high)]
    return found


def paired_ndcg(one: RankerResult, other: RankerResult, *, seed: int) -> tuple[float, float, float]:
    """Return by how much ``one`` has the higher NDCG@10, with its 95 % interval over paired resamples of shoppers."""
    gain = one.figures["ndcg@10"] - other.figures["ndcg@10"]
    draws = np.random.default_rng(seed).integers(0, len(gain), size=(RESAMPLES, len(gain)))
    low, high = np.quantile(gain[draws].mean(axis=1), [0.025, 0.975])
    return float(gain.mean()), float(low), float(high)


def winner(results: list[RankerResult], *, seed: int) -> tuple[str, list[Sentence]]:
    """Return the simplest ranker that none is shown to beat in NDCG@10 (paired bootstrap), and why."""
    best, reasons = results[0], list[Sentence]()
    for place, result in enumerate(results[1:]):
        gain, low, high = paired_ndcg(result, best, seed=seed + place)
        figures: dict[str, Any] = {
            "rows": f"{len(result.figures['ndcg@10']):,}",
            "gain": gain,
            "low": low,
            "high": high,
        }
        said = Sentence(words.BETTER_RANKS if low > 0 else words.NOT_BETTER_RANKS, {"rival": best.name, **figures})
        reasons.append(Sentence(words.REASON, {"estimator": result.name, "said": said}))
        best = result if low > 0 else best
    return best.name, reasons
