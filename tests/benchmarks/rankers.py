"""How well every ranker finds a player's next game, and what fitting it costs.

Value: the best ranker's NDCG@10 on Amazon Games, over the whole catalogue, items already bought left out. The check is
the last *given* item of each sampled user, the items before it are the training data (the true last items are kept
back by whoever prepared the set, so published figures are not comparable: compare within the run). Peer: decayed
item-to-item transitions, which fit in seconds. The notes hold each ranker's NDCG@10 and recall@20 with 95 % bootstrap
intervals over users, seconds and peak memory, each in a process of its own.

``BENCHMARK_RANKERS`` names some of them (by default all), ``BENCHMARK_USERS`` the size of the sample (20,000).
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from personalization.features.frames import Ints
from tests.benchmarks import report, stage
from worker import preference
from worker.preference import RankerResult
from worker.rankers import DAY, RANKERS, Catalogue, Interactions, top_items

PEER = "transitions"
DATA = "amazon_games"
USERS, FEW = 20_000, 1_500
BLOCK = 512
NOW = 1_700_000_000_000
SETTINGS: dict[str, dict[str, Any]] = {
    "popularity": {"half_life_days": 730},  # the days are made up: places in a sequence, the last one the newest
    "frequency": {"half_life_days": 730},
    "transitions": {"half_life_days": 730, "share": 1.0},  # what was bought is left out
    "als": {"factors": 64, "unobserved": 0.01},
    "explicit_als": {"factors": 64},
}


def folder() -> Path:
    """Return the set's folder; Skipped where it is absent."""
    shared = Path(os.environ.get("SHARED_DATA") or stage.ROOT.parent / "shared" / "data")
    if not (shared / DATA / "sequences.parquet").exists():
        raise stage.Skipped(f"The data set {DATA} is not there; name the folder that holds it in $SHARED_DATA.")
    return shared / DATA


def read(users: int) -> tuple[Interactions, Ints]:
    """Return a sample's items but the last given one, and those; an item's time is its place, counted from the end."""
    table = pl.read_parquet(folder() / "sequences.parquet")
    items = int(table["items_chrono"].list.max().max()) + 1  # type: ignore[arg-type]
    table = table.filter(pl.col("items_chrono").list.len() >= 3).sample(min(users, len(table)), seed=0)
    size = table["items_chrono"].list.len().to_numpy().astype(np.int64)
    flat = table["items_chrono"].explode().to_numpy().astype(np.int64)
    shopper = np.repeat(np.arange(len(size)), size)
    back = np.cumsum(size)[shopper] - 1 - np.arange(len(flat))
    past = back > 0
    data = Interactions(
        shopper[past], flat[past], NOW - back[past] * DAY, np.ones(int(past.sum())), items, len(size), titles(items)
    )
    return data, flat[~past]


def titles(items: int) -> Catalogue:
    """Return what the set knows of its items: their titles."""
    table = pl.read_parquet(folder() / "titles.parquet").drop_nulls()
    text = dict(zip(table["item"].to_list(), table["title"].to_list(), strict=True))
    blank = Catalogue.blank(items)
    return Catalogue(blank.category, blank.price, blank.brand, [text.get(item, "") for item in range(items)])


def race(name: str, users: int) -> dict[str, Any]:
    """Fit one ranker and rank everybody's kept-back item."""
    data, last = read(users)
    began, spent = time.monotonic(), time.process_time()
    ranker = RANKERS[name](**SETTINGS.get(name, {}))
    ranker.fit(data, NOW, seed=0)
    fitted, cpu = time.monotonic(), time.process_time() - spent
    rank = np.empty(len(last), dtype=np.int64)
    for start in range(0, len(last), BLOCK):
        block = np.arange(start, min(start + BLOCK, len(last)))
        scores = ranker.score(block)
        seen = slice(*np.searchsorted(data.shopper, [block[0], block[-1] + 1]))
        scores[data.shopper[seen] - start, data.item[seen]] = -np.inf
        hit = top_items(scores, 20) == last[block][:, None]
        rank[block] = np.where(hit.any(axis=1), hit.argmax(axis=1), 20)
    return {
        "ndcg@10": np.where(rank < 10, 1 / np.log2(rank + 2), 0.0),
        "recall@20": (rank < 20).astype(np.float64),
        "fit_s": round(fitted - began, 1),
        "rank_s": round(time.monotonic() - fitted, 1),
        "fit_cpu_s": round(cpu, 1),
        "epochs": len(getattr(ranker, "curves", [])),
    }


def measure(quick: bool) -> report.Measurement:
    """Race everybody, the simplest first."""
    users = FEW if quick else int(os.environ.get("BENCHMARK_USERS", USERS))
    named = os.environ.get("BENCHMARK_RANKERS", "").split()
    names = [name for name in RANKERS if name in ({*named, PEER} if named else RANKERS)]
    if quick and not named:
        names = [name for name in names if name in preference.LINE_UP]
    data, last = read(users)
    board: dict[str, Any] = {}
    results: list[RankerResult] = []
    for name in names:
        done = stage.apart(race, name, users)
        told = done.result
        result = RankerResult(name, {figure: told.pop(figure) for figure in ("ndcg@10", "recall@20")})
        results.append(result)
        board[name] = preference.summarise(result, seed=0) | told | {"peak_mb": round(done.grown_mb)}
        print(name, board[name], file=sys.stderr, flush=True)
    champion, reasons = preference.winner(results, seed=0)
    best = max(board, key=lambda name: float(board[name]["ndcg@10"][0]))
    value, peer = board[best]["ndcg@10"][0], board[PEER]["ndcg@10"][0]
    notes = {
        "data": f"Amazon Games, {len(last):,} users, {len(data.item):,} purchases, {data.items:,} items",
        "best": best,
        "champion_by_the_gate": champion,
        "reasons": reasons,
        "board": board,
    }
    return report.Measurement(
        "rankers", value, "NDCG@10", PEER, peer, round(value / max(peer, 1e-9), 3), notes=notes
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(stage.main("rankers", measure, server=False))
