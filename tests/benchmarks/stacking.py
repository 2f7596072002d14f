"""The slowest hundredth of searches for the best of twenty offers, beside the 20 ms that a checkout may wait.

Value: the 99th percentile of ``resolve`` over random baskets and twenty offers with at most five applied, in
milliseconds; shapes: mixed, groups of four, no groups, percentages only, all equal. Peer: the promise itself, 20 ms.
In the notes each shape's p50, p99, nodes and the share that was proven exact, and p99 of processor time, which
other work on the machine disturbs less.
"""

from __future__ import annotations

import sys
import time
from random import Random
from typing import Any

from personalization.pure.stacking import NODE_BUDGET, resolve
from tests.benchmarks import report, stage
from tests.pure import stacks

OFFERS, LIMIT, ALLOWED_MS = 20, 5, 20.0
PEER = "the promise: 20 ms"


def measure(quick: bool) -> report.Measurement:
    """Resolve as many random instances of each shape."""
    times = 20 if quick else 500
    taken: list[float] = []
    notes: dict[str, Any] = {"node_budget": NODE_BUDGET, "offers": OFFERS, "limit": LIMIT}
    for shape in stacks.SHAPES:
        own, busy, nodes, exact = [], [], [], 0
        for seed in range(times):
            rng = Random(f"{shape} {seed}")
            basket, candidates = stacks.basket(rng), stacks.candidates(rng, OFFERS, shape)
            began, worked = time.perf_counter(), time.process_time()
            found = resolve(candidates, basket, LIMIT)
            own.append(time.perf_counter() - began)
            busy.append(time.process_time() - worked)
            nodes.append(found.nodes)
            exact += found.exact
        taken += own
        notes[shape] = {
            "p50_ms": report.quantile_ms(own, 0.5),
            "p99_ms": report.quantile_ms(own, 0.99),
            "cpu_p99_ms": report.quantile_ms(busy, 0.99),
            "nodes_p99": sorted(nodes)[int(0.99 * times)],
            "exact": exact / times,
        }
    worst = report.quantile_ms(taken, 0.99) or 0.0
    notes["p50_ms"] = report.quantile_ms(taken, 0.5)
    return report.Measurement(
        "stacking", worst, "ms at p99", PEER, ALLOWED_MS, round(worst / ALLOWED_MS, 3), 1.0, "lower", notes=notes
    )


if __name__ == "__main__":
    sys.exit(stage.main("stacking", measure, server=False))
