"""The race: every contestant's settings on the validation, the best of them on everything before the test.

A row a fitted model, appended to a file as soon as it is there. A row tells the data, the split's digest, the seed, the
part, the settings, what they cost and the figures with intervals; a test row also holds every shopper's figures, so
that any two rows of one split can be compared in pairs, now or later. What a file holds already is not fitted again.
"""

from __future__ import annotations

import base64
import json
import logging
import multiprocessing
import os
import time
import warnings
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from django.db import connections
from numpy.typing import NDArray

from tests.benchmarks import report
from tests.benchmarks.peers import splits
from tests.benchmarks.peers.contestants import CONTESTANTS, Contestant, Fitted, Settings, settings_for
from tests.benchmarks.peers.splits import Split
from worker import costs, preference
from worker.preference import RankerResult

Row = dict[str, Any]
CHOSEN_BY = "ndcg@10"


@dataclass
class Results:
    """The rows of a file, and those of one split and seed found by what was fitted."""

    path: Path

    def rows(self) -> list[Row]:
        """Return all rows; a line that a kill cut off is left out."""
        if not self.path.exists():
            return []
        found = []
        for line in self.path.read_text(encoding="utf-8").splitlines():
            try:
                found.append(json.loads(line))
            except json.JSONDecodeError:
                continue
        return found

    def add(self, row: Row) -> None:
        """Append a row, on a line of its own even where the last one was cut off."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        held = self.path.read_bytes() if self.path.exists() else b""
        start = "\n" if held and not held.endswith(b"\n") else ""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(f"{start}{json.dumps(row)}\n")

    def find(self, wanted: Row) -> Row | None:
        """Return the row of this very fit, if it succeeded."""
        return next(
            (row for row in self.rows() if "figures" in row and all(row.get(k) == v for k, v in wanted.items())), None
        )


def run(split: Split, path: Path, names: Sequence[str], results: Results, *, seed: int = 0) -> Iterator[Row]:
    """Race these contestants on the split that lies at ``path``; yield each row that is new."""
    for name in names:
        contestant = CONTESTANTS[name]
        common = {"contestant": name, "data": split.data, "split": split.digest, "seed": seed}
        if not contestant.installed:
            yield {**common, "missing": f"not installed: {contestant.modules[0]}"}
            continue
        choices = settings_for(split.data, contestant)
        tried: list[Row] = []
        for settings in choices if len(choices) > 1 or contestant.peer else ():  # else there is nothing to choose
            row, new = _once(common, path, "validation", settings, results)
            if new:
                yield row
            if "figures" in row:
                tried.append(row)
        if tried or (len(choices) == 1 and not contestant.peer):
            row, new = _once(common, path, "test", chosen(tried) or choices[0], results)
            if new:
                yield row


def chosen(tried: Sequence[Row]) -> Settings | None:
    """Return the settings, and what their fit found out, that were best on the validation; None if none was tried."""
    best = max(tried, key=lambda row: float(row["figures"][CHOSEN_BY][0]), default=None)
    return None if best is None else best["settings"] | best["found"]


def _once(common: Row, path: Path, part: str, settings: Settings, results: Results, **more: Any) -> tuple[Row, bool]:
    """Return the row of this fit, and whether it was fitted now; a fit that fails is a row that says why."""
    wanted = {**common, "part": part, "settings": settings}
    known = results.find(wanted)
    if known is not None:
        return known, False
    try:
        told = apart(common["contestant"], str(path), part, settings, common["seed"])
    except Exception as error:
        told = {"failed": f"{type(error).__name__}: {error}"[:300]}
    row = {**wanted, "package": CONTESTANTS[common["contestant"]].package, **told}
    results.add(row)
    return row, True


def apart(*arguments: Any) -> Row:
    """Call ``measure`` in a process of its own, forked from one that has imported what all need and fitted nothing."""
    connections.close_all()
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    with ProcessPoolExecutor(max_workers=1, mp_context=context) as pool:
        return pool.submit(measure, *arguments).result()


def measure(name: str, path: str, part: str, settings: Settings, seed: int) -> Row:
    """Fit one contestant, in this process, on one part of a saved split; return what it cost and how good it is."""
    warnings.simplefilter("ignore")  # peers of several ages warn of each other
    logging.disable(logging.WARNING)
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS") or torch.get_num_threads()))
    split = Split.load(Path(path))
    return judged(CONTESTANTS[name], split, part, settings, seed)


def judged(contestant: Contestant, split: Split, name: str, settings: Settings, seed: int) -> Row:
    """Fit on one part of a split and judge; the final fit is told nothing of the test."""
    part = split.part(name)

    def validation(scorer: preference.Scoring) -> float:
        return float(splits.judge(scorer, part, repeats=split.repeats)[CHOSEN_BY].mean())

    contestant.load()
    costs.reset_peak()
    before, spent = costs.peak_memory() or 0, time.process_time()
    meter = costs.Meter()
    fitted: Fitted = contestant.fit(
        part.past, part.now, settings, seed=seed, judge=validation if name == "validation" else None
    )
    cost, spent = meter.read(), time.process_time() - spent
    began = time.monotonic()
    figures = splits.judge(fitted.scorer, part, repeats=split.repeats)
    row: Row = {
        "figures": preference.summarise(RankerResult(contestant.name, figures), seed=0),
        "tested": len(part.truth),
        "found": fitted.found,
        "fit_s": cost.seconds,
        "fit_cpu_s": round(spent, 2),
        "judge_s": round(time.monotonic() - began, 2),
        "peak_mib": cost.peak_mb,
        "grown_mib": (cost.peak_mb or 0) - before,
        "threads": torch.get_num_threads(),
        "machine": report.machine(os.getloadavg()[0]),
    }
    if name == "test":
        row["per_shopper"] = {figure: packed(values) for figure, values in figures.items()}
    return row


def packed(values: NDArray[np.float64]) -> str:
    """Return a vector as text: single precision, compressed."""
    return base64.b64encode(zlib.compress(values.astype("<f4").tobytes(), 9)).decode()


def unpacked(text: str) -> NDArray[np.float64]:
    """Return the vector."""
    return np.frombuffer(zlib.decompress(base64.b64decode(text)), dtype="<f4").astype(np.float64)
