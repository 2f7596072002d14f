"""Train and judge preference rankers: global time cut, full catalogue, NDCG@10 with intervals over shoppers."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from personalization.exceptions import NotEnoughData
from personalization.features.frames import Floats, Frames, Ints
from personalization.learning.readiness import MIN_ORDERS
from worker.metrics import RESAMPLES
from worker.rankers import DAY, RANKERS, Interactions, Popularity, interactions, top_items
from worker.response import Stage

BLOCK = 512
MOST_TESTED = 5000


@dataclass(slots=True)
class RankerResult:
    """One ranker's figures per tested shopper."""

    name: str
    figures: dict[str, Floats]


def fit(name: str, data: Interactions, now: int) -> Popularity:
    """Return a fitted ranker."""
    ranker = RANKERS[name]()
    ranker.fit(data, now)
    return ranker


def test_origin(frames: Frames) -> int:
    """Return the start of the test block: the last tenth of the observed time, 1 to 28 days."""
    span = frames.until - frames.start
    return int(frames.until - np.clip(span * 0.1, DAY, 28 * DAY))


def backtest(frames: Frames, *, seed: int, stage: Stage) -> tuple[list[RankerResult], int]:
    """Fit before the origin, predict who buys what after it; returns per-shopper figures and how many were tested."""
    data = interactions(frames)
    if len(frames.lines.shopper) < MIN_ORDERS:
        raise NotEnoughData(f"{len(frames.lines.shopper):,} of {MIN_ORDERS:,} order lines with known products.")
    origin = test_origin(frames)
    past = data.before(origin)
    truth = _bought_after(frames, origin, past)
    if len(truth) < 20:
        raise NotEnoughData("Too few shoppers with a history bought anything lately to test a ranker on.")
    shoppers = np.array(sorted(truth), dtype=np.int64)
    if len(shoppers) > MOST_TESTED:
        shoppers = np.sort(np.random.default_rng(seed).choice(shoppers, MOST_TESTED, replace=False))
    results = []
    for place, name in enumerate(RANKERS):
        stage(f"ranking with {name}", place / len(RANKERS))
        results.append(RankerResult(name, _figures(fit(name, past, origin), shoppers, truth)))
    return results, len(shoppers)


def _bought_after(frames: Frames, origin: int, past: Interactions) -> dict[int, set[int]]:
    later = frames.lines.time >= origin
    known = set(np.unique(past.shopper).tolist())
    truth: dict[int, set[int]] = {}
    for shopper, item in zip(frames.lines.shopper[later].tolist(), frames.lines.item[later].tolist(), strict=True):
        if shopper in known:
            truth.setdefault(shopper, set()).add(item)
    return truth


def _figures(ranker: Popularity, shoppers: Ints, truth: dict[int, set[int]]) -> dict[str, Floats]:
    found: dict[str, list[float]] = {"ndcg@10": [], "recall@10": [], "recall@20": []}
    discount = 1 / np.log2(np.arange(2, 12))
    for start in range(0, len(shoppers), BLOCK):
        block = shoppers[start : start + BLOCK]
        for shopper, ranked in zip(block.tolist(), top_items(ranker.score(block), 20).tolist(), strict=True):
            wanted = truth[shopper]
            hits = np.array([item in wanted for item in ranked], dtype=np.float64)
            ideal = discount[: min(len(wanted), 10)].sum()
            found["ndcg@10"].append(float((hits[:10] * discount[: len(hits[:10])]).sum() / ideal))
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


def winner(results: list[RankerResult], *, seed: int) -> tuple[str, list[str]]:
    """Return the simplest ranker that none beats beyond doubt in NDCG@10 (paired bootstrap), and why."""
    best, reasons = results[0], []
    rng = np.random.default_rng(seed)
    for result in results[1:]:
        gain = result.figures["ndcg@10"] - best.figures["ndcg@10"]
        draws = gain[rng.integers(0, len(gain), size=(RESAMPLES, len(gain)))].mean(axis=1)
        low, high = np.quantile(draws, [0.025, 0.975])
        said = f"NDCG@10 gain {gain.mean():.4f}, 95 % interval {low:.4f} to {high:.4f}"
        if low > 0:
            reasons.append(f"{result.name}: better than {best.name} ({said})")
            best = result
        else:
            reasons.append(f"{result.name}: not better than {best.name} beyond doubt ({said})")
    return best.name, reasons
