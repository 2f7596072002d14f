"""Launches made up row by row, with a rate to learn: no database, and all that an estimator reads of a launch."""

from __future__ import annotations

from typing import Literal

import numpy as np

from personalization.features.compute import DAY
from personalization.features.launches import AT, COLUMNS, KINDS, STEPS, Launches

Signal = Literal["depth", "busy", "none"]
LEVEL = -1.5
STRAYING = 60.0


def build(
    rows: int = 80, *, signal: Signal = "depth", seed: int = 0, shown: int | None = None, straying: float = STRAYING
) -> Launches:
    """Return launches a week apart, of two kinds and all of offers of their own.

    ``depth``: the deeper, the more respond. ``busy``: fewer respond where other offers crowd any of its days, however
    quiet the rest is. ``none``: nothing in the matrix matters. Around that, launches stray as a beta distribution of
    ``straying`` shoppers does.
    """
    rng = np.random.default_rng(seed)
    x = np.zeros((rows, STEPS, len(COLUMNS)))
    depth, crowd = rng.uniform(0.05, 0.5, rows), rng.random(rows) < 0.5
    x[:, :, AT["depth"]] = depth[:, None]
    x[:, :, AT["others"]] = rng.uniform(0.0, 2.0, rows)[:, None]  # how busy on the whole says nothing
    x[np.arange(rows), rng.integers(0, STEPS, rows), AT["others"]] += 6.0 * crowd
    kind = rng.integers(0, 2, rows)
    x[np.arange(rows), :, AT["kind_" + KINDS[0]] + kind] = 1.0
    away = {"depth": 5.0 * (depth - 0.275), "busy": 1.2 - 2.4 * crowd, "none": np.zeros(rows)}[signal]
    mean = 1 / (1 + np.exp(-(LEVEL + away)))
    n = rng.integers(30, 400, rows) if shown is None else np.full(rows, shown)
    k = rng.binomial(n, rng.beta(mean * straying, (1 - mean) * straying))
    start = np.arange(rows, dtype=np.int64) * 7 * DAY
    return Launches(np.arange(rows), kind, start, start + 5 * DAY, start + 6 * DAY, n, k, x)
