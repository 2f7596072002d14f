"""Batch top-k by vectors on the CPU, beside the bare matrix product of the same run.

Value: microseconds a shopper of ``worker.topk.top_k``, top-20 of 10,000 items, d = 64, float16 vectors, the answers
in memory and not written anywhere. Peer: :func:`bare`, the same product in float32 into a buffer that is written over,
in the fastest of the ways tried first. Both in turn, on random vectors and on such as training gives; the figures are
of the worse of the two. In the notes also ``implicit``'s own top-k, where that package is installed.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from statistics import median
from typing import Any

import numpy as np
import torch
from threadpoolctl import threadpool_limits

from personalization.features.frames import Ints
from tests.benchmarks import report, stage
from worker.topk import top_k
from worker.topk.cpu import Floats, cores

PEER = "the bare product in float32, as fast as NumPy or torch gives it"
ITEMS, DIMENSIONS, K, TARGET = 10_000, 64, 20, 1.5


def vectors(kind: str, n: int) -> tuple[Floats, Floats]:
    """Draw vectors that float16 holds: ``random`` normal ones, or ``trained``.

    Trained ones spend most of their length in few directions, and popular items are longer by a power law.
    """
    draw = np.random.default_rng(1)
    users = draw.standard_normal((n, DIMENSIONS), dtype=np.float32)
    items = draw.standard_normal((ITEMS, DIMENSIONS), dtype=np.float32)
    if kind == "trained":
        spectrum = np.arange(1, DIMENSIONS + 1, dtype=np.float32) ** -0.7
        items *= spectrum * (draw.permutation(ITEMS).astype(np.float32)[:, None] + 1) ** -0.25
        users = (users + 0.5) * spectrum
    return users.astype(np.float16).astype(np.float32), items.astype(np.float16).astype(np.float32)


def bare(users: Floats, items: Floats) -> dict[str, Callable[[], None]]:
    """Return ways of the whole product: threads inside the BLAS, or each thread with a block of its own."""
    turned = np.ascontiguousarray(items.T)

    def inside(multiply: Callable[[Floats, Floats], Any], size: int) -> Callable[[], None]:
        buffer = np.empty((size, len(items)), dtype=np.float32)

        def run() -> None:
            for at in range(0, len(users), size):
                some = users[at : at + size]
                multiply(some, buffer[: len(some)])

        return run

    def apart(size: int) -> Callable[[], None]:
        def share(first: int) -> None:
            buffer = np.empty((size, len(items)), dtype=np.float32)
            for at in range(first, len(users), size * cores()):
                some = users[at : at + size]
                np.matmul(some, turned, out=buffer[: len(some)])

        def run() -> None:
            with threadpool_limits(1, "blas"), ThreadPoolExecutor(cores()) as pool:
                list(pool.map(share, range(0, size * cores(), size)))

        return run

    def numpy(some: Floats, out: Floats) -> Any:
        return np.matmul(some, turned, out=out)

    def mkl(some: Floats, out: Floats) -> Any:
        return torch.mm(torch.from_numpy(some), torch.from_numpy(turned), out=torch.from_numpy(out))

    ways = {f"NumPy, {size} rows": inside(numpy, size) for size in (512, 2048)}
    ways |= {f"torch, {size} rows": inside(mkl, size) for size in (512, 2048)}
    return ways | {f"NumPy, a thread each, {size} rows": apart(size) for size in (64, 128, 512)}


def measure(quick: bool) -> report.Measurement:
    """Take both kinds of vectors and tell of the worse."""
    torch.set_num_threads(cores())
    n, rounds = (32_768, 3) if quick else (65_536, 9)  # fewer, and what is done once a call would tell
    found = {kind: _compare(kind, n, rounds) for kind in ("random", "trained")}
    worst = max(found.values(), key=lambda each: each["ratio"])
    notes: dict[str, Any] = {"shoppers": n, "items": ITEMS, "d": DIMENSIONS, "k": K, "threads": cores()} | found
    notes["ratio_min_max"] = worst["ratio_min_max"]
    if not quick:
        apart = stage.apart(_million)
        notes["million"] = {"seconds": apart.result, "peak_mb_above_start": apart.grown_mb}
    return report.Measurement(
        "topk", worst["value"], "µs/shopper", PEER, worst["peer_value"], worst["ratio"], TARGET, "lower", notes=notes
    )


def _compare(kind: str, n: int, rounds: int) -> dict[str, Any]:
    users, items = vectors(kind, n)
    short, stored = users.astype(np.float16), items.astype(np.float16)
    ways = bare(users[:4096], items)
    tried = {name: min(_seconds(way) for _ in range(3)) for name, way in ways.items()}
    name = min(tried, key=lambda each: tried[each])
    product = bare(users, items)[name]
    scale = 1e6 / n
    peers, ours, shares = [], [], []
    for _ in range(rounds):
        before = time.process_time()
        peers.append(_seconds(product) * scale)
        between = time.process_time()
        ours.append(_seconds(lambda: _drain(short, stored)) * scale)
        shares.append((time.process_time() - between) / (between - before))
    told = report.paired(ours, peers).as_json() | {"product": name, "ratio_of_cpu_time": round(median(shares), 3)}
    return told | _beside_implicit(users, items, median(ours) / scale)


def _beside_implicit(users: Floats, items: Floats, ours: float) -> dict[str, Any]:
    """Time implicit's top-k, which all its factor models' ``recommend`` for many users comes down to.

    It has threads of its own, and asks for a BLAS with one: with more it takes nearly twice as long.
    """
    try:
        from implicit.cpu.topk import topk
    except ImportError:
        return {"implicit": "not installed"}
    with threadpool_limits(1, "blas"):
        seconds = min(_seconds(lambda: topk(items, users, K, num_threads=cores())) for _ in range(3))
        ids: Ints = topk(items, users[:256], K)[0]
    mine = next(top_k(users[:256], items, K)).ids
    return {
        "implicit": {"seconds": round(seconds, 2), "speed_up": round(seconds / ours, 2), "same": (ids == mine).mean()}
    }


def _drain(users: Any, items: Any) -> int:
    return sum(len(block.ids) for block in top_k(users, items, K))


def _million() -> float:
    """Do a million shoppers in a process of its own, for its memory."""
    users, items = vectors("random", 65_536)
    many = np.tile(users.astype(np.float16), (16, 1))[:1_000_000]
    return round(_seconds(lambda: _drain(many, items.astype(np.float16))), 1)


def _seconds(function: Callable[[], Any]) -> float:
    began = time.perf_counter()
    function()
    return time.perf_counter() - began


if __name__ == "__main__":
    sys.exit(stage.main("topk", measure, server=False))
