"""The response networks that train only when asked for, beside gradient boosting: same rows, same later test block.

Value: the log-loss of the best of them on the Starbucks set's wave at 336 h, trained on the waves at 0 and 168 h
(simulated by its authors). Peer: this repository's own boosting in the same run. The notes hold every figure with its
95 % interval over shoppers, each network's paired gain over boosting (below zero: boosting is better), and the CPU
seconds of an estimator's two fits with their scores.
"""

from __future__ import annotations

import sys
import time
from datetime import datetime
from typing import Any

from personalization.learning import frames as reading
from tests.benchmarks import report, stage, starbucks
from worker import metrics, response
from worker.data import Samples
from worker.estimators.boosting import Boosting
from worker.estimators.nets import NETS

PEER = "gradient boosting, three seeds averaged"
FIGURES = ("auc", "log_loss", "ece")


class ProcessorTime:
    """A ``stage`` callback that notes the CPU seconds between one stage's beginning and the next one's."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._what, self._since = "", time.process_time()

    def __call__(self, what: object, done: float) -> None:
        now = time.process_time()
        self.seconds[self._what] = self.seconds.get(self._what, 0.0) + now - self._since
        self._what, self._since = str(what), now


def measure(quick: bool) -> report.Measurement:
    """Train boosting and every network on the same rows; a quick run has too few customers to tell them apart."""
    population = starbucks.imported(starbucks.FEW if quick else None)
    until = reading.last_moment(population)
    assert isinstance(until, datetime)
    watch = ProcessorTime()
    names = [Boosting.name, *(net.name for net in NETS)]
    fitted, test, _folds = response.backtest(response.pose(reading.load(population, until)), names, seed=0, stage=watch)
    watch("", 1.0)
    board = {item.name: response.figures(item.predicted, test, seed=0) for item in fitted}
    losses = {name: figures["log_loss"][0] for name, figures in board.items()}
    best = min(names[1:], key=losses.__getitem__)
    notes: dict[str, Any] = {
        "data": "Starbucks offers, SIMULATED by its authors" + (f"; {starbucks.FEW} customers only" if quick else ""),
        "rows": int((test.y[:, response.primary_head(test.y)] >= 0).sum()),
        "best": best,
        "models": {name: {figure: board[name][figure] for figure in FIGURES} for name in names},
        "gain_over_boosting": gains(fitted, test),
        "cpu_seconds": {name: round(watch.seconds[f"training {name}"], 1) for name in names},
    }
    value, peer = losses[best], losses[Boosting.name]
    return report.Measurement(
        "nets", value, "log-loss of redemption", PEER, peer, round(value / peer, 4), better="lower", notes=notes
    )


def gains(fitted: list[response.Fitted], test: Samples) -> dict[str, list[float]]:
    """Return by how much each network lowers boosting's log-loss, with the paired 95 % interval over shoppers."""
    head = response.primary_head(test.y)
    known = test.y[:, head] >= 0
    resampler = metrics.Resampler(test.rows.shopper[known])
    boosting, *nets = (item.predicted[known, head] for item in fitted)
    found = (metrics.paired_gain(p, boosting, test.y[known, head], resampler) for p in nets)
    return {item.name: [round(each, 5) for each in gain] for item, gain in zip(fitted[1:], found, strict=True)}


if __name__ == "__main__":
    sys.exit(stage.main("nets", measure, server=False))
