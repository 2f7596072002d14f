"""Wall time and peak memory of a whole training run, beside the bare fit of one booster on the same matrix.

Value: ``worker.train.run`` with every estimator on the Starbucks set (simulated by its authors), or on the simulated
shop where the set is absent: reading, backtest of all, judging, refit, artefacts. Peer: :func:`bare_fit` below, the
least that training can cost.
"""

from __future__ import annotations

import sys
import time
from datetime import datetime
from typing import Any

import lightgbm as lgb
import numpy as np

from personalization.features.frames import Floats
from personalization.learning import frames as reading
from personalization.types import HEADS
from tests.benchmarks import report, simulated, stage, starbucks
from worker import response, train
from worker.data import Vocabularies, assemble

PEER = "one LightGBM fit (300 rounds, 1 thread) on the same matrix, already in memory"


def bare_fit(x: Floats, y: Floats) -> lgb.Booster:
    """The peer: no features to build, nothing to choose, nothing to judge, nothing to keep."""
    known = ~np.isnan(y)
    params = {"objective": "binary", "learning_rate": 0.05, "num_threads": 1, "verbosity": -1}
    return lgb.train(params, lgb.Dataset(x[known], label=y[known]), num_boost_round=300)


def measure(quick: bool) -> report.Measurement:
    """Train in a process of its own, then fit the peer in another."""
    try:
        population = starbucks.imported(starbucks.FEW if quick else None)
        data = f"Starbucks offers (simulated by its authors){f', {starbucks.FEW} customers' if quick else ''}"
    except stage.Skipped:
        population = simulated.built("small" if quick else "full")
        data = "simulated shop (the Starbucks set is not there)"
    peer = stage.apart(_peer, population)
    ours = stage.apart(_train, population, ["offer_mean", "logistic", "boosting"] if quick else None)
    notes: dict[str, Any] = {
        "data": data,
        "rows": peer.result["rows"],
        "columns": peer.result["columns"],
        "share_by_stage": ours.result["shares"],
        "seconds_by_stage": ours.result["seconds"],
        "peak_mb": ours.peak_mb,
        "peak_mb_above_start": ours.grown_mb,
        "peer_peak_mb": peer.peak_mb,
        "result": ours.result["sentences"],
    }
    seconds, lower_bound = round(ours.result["total"], 2), round(peer.result["fit_s"], 2)
    return report.Measurement(
        "train", seconds, "s", PEER, lower_bound, round(seconds / lower_bound, 2), better="lower", notes=notes
    )


def _train(population: str, estimators: list[str] | None) -> dict[str, Any]:
    params: dict[str, Any] = {"population": population}
    watch = stage.Stopwatch()
    began = time.monotonic()
    outcome = train.run(None, params | ({"estimators": estimators} if estimators else {}), watch)
    total = time.monotonic() - began
    shares = watch.shares()
    seconds = {what: round(taken, 2) for what, taken in watch.seconds.items()}
    return {"total": total, "shares": shares, "seconds": seconds, "sentences": outcome.sentences}


def _peer(population: str) -> dict[str, Any]:
    until = reading.last_moment(population)
    assert isinstance(until, datetime)
    problem = response.pose(reading.load(population, until))
    vocabularies = Vocabularies.fit(problem.builder, problem.shown)
    samples = assemble(problem.builder, problem.shown, problem.y, problem.exposure, vocabularies)
    head = HEADS.index("redeem")
    began = time.monotonic()
    bare_fit(samples.x, samples.y[:, head])
    taken = time.monotonic() - began
    return {"fit_s": taken, "rows": int((~np.isnan(samples.y[:, head])).sum()), "columns": samples.x.shape[1]}


if __name__ == "__main__":
    sys.exit(stage.main("train", measure, server=False))
