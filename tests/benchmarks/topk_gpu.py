"""Top-k on a GPU beside the bare matrix product there: ``PYTHONPATH=. python tests/benchmarks/topk_gpu.py``.

It stands alone (no Django, no database): a GPU machine needs this file, ``worker/__init__.py`` and ``worker/topk/``.
It first checks that the answers are exact, on small whole numbers (where no order of adding can differ) with ties,
constant and negative scores, hidden and owned items, then times both on a million shoppers and 10,000 items, vectors
and answers on the device, and prints one JSON object. What fails is told and does not stop the rest.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from functools import partial
from statistics import median
from typing import Any

import torch
from torch import Tensor

from worker.topk import gpu
from worker.topk.gpu import Catalogue, Kernel, Owned

KERNELS = (
    Kernel(),
    Kernel(rows=64, warps=4),
    Kernel(cols=64),
    Kernel(cols=64, warps=4),
    Kernel(width=32),
    Kernel(rows=256, cols=64),
    Kernel(stages=4),
    Kernel(stages=2),
    Kernel(step=2),
    Kernel(rows=64, cols=64, warps=4),
)
TARGET = 3.0


def reference(users: Tensor, catalogue: Catalogue, k: int, owned: Owned | None) -> tuple[Tensor, Tensor]:
    """Return (ids, scores) by a stable sort of the whole matrix in float64."""
    scores = users.double() @ catalogue.vectors.double().T
    if owned is not None:
        place = torch.full((catalogue.total,), -1, dtype=torch.int64, device=users.device)
        place[catalogue.names.long()] = torch.arange(len(catalogue), device=users.device)
        row = torch.repeat_interleave(torch.arange(len(users), device=users.device), owned.starts.diff())
        col = place[owned.items.long()]
        scores[row[col >= 0], col[col >= 0]] = -torch.inf
    values, order = torch.sort(scores, dim=1, descending=True, stable=True)
    values, order = values[:, :k], order[:, :k]
    ids = torch.where(values > -torch.inf, catalogue.names[order], -1)
    short = k - ids.shape[1]
    return (
        torch.nn.functional.pad(ids, (0, short), value=-1),
        torch.nn.functional.pad(values, (0, short), value=-torch.inf),
    )


def whole_numbers(device: torch.device) -> Iterator[tuple[str, Tensor, Catalogue, int, Owned | None]]:
    """Yield (what, users, catalogue, k, owned): vectors of −3 … 3, whose products are exact in any order."""
    seed = torch.Generator().manual_seed(0)

    def draw(rows: int, d: int) -> Tensor:
        return torch.randint(-3, 4, (rows, d), generator=seed).half().to(device)

    for what, n, m, d, k in (
        ("ties", 1000, 10_000, 64, 20),
        ("tile not filled", 333, 4_097, 64, 20),
        ("narrow", 130, 1_031, 24, 7),
        ("k > m", 50, 13, 64, 20),
        ("wide", 200, 3_000, 128, 32),
        ("k = 1", 77, 5_000, 64, 1),
    ):
        users, items, names = draw(n, d), draw(m, d), torch.arange(m, device=device)
        yield what, users, Catalogue(items, names, m), k, None
        shown = names[torch.rand(m, generator=seed).to(device) < 0.9]
        length = torch.randint(0, min(m, 12), (n,), generator=seed)
        length[0] = m // 2  # far more than the kernels have room for
        length[1] = m
        mine = torch.cat([torch.randperm(m, generator=seed)[:count] for count in length.tolist()]).int()
        starts = torch.cat([torch.zeros(1, dtype=torch.int64), length.cumsum(0)])
        owned = Owned(starts.to(device), mine.to(device))
        yield f"{what}, hidden and owned", users, Catalogue(items[shown], shown, m), k, owned
    users, items, names = draw(500, 64), draw(5_000, 64), torch.arange(5_000, device=device)
    yield "all scores negative", users.abs() + 1, Catalogue(-items.abs() - 1, names, 5_000), 20, None
    yield "all scores equal", users, Catalogue(torch.ones_like(items), names, 5_000), 20, None
    yield "users of zeros", users * 0, Catalogue(items, names, 5_000), 20, None
    yield "bfloat16", users.bfloat16(), Catalogue(items.bfloat16(), names, 5_000), 20, None
    yield "float32", users.float(), Catalogue(items.float(), names, 5_000), 20, None


def faults(device: torch.device, kernel: Kernel) -> list[str]:
    """Return which cases a kernel gets wrong; the empty list is the answer hoped for."""
    found = []
    for what, users, catalogue, k, owned in whole_numbers(device):
        ids, scores = reference(users, catalogue, k, owned)
        blocks = list(gpu.blocks(users, catalogue, k, owned, kernel=kernel))
        ours, values = torch.cat([block[1] for block in blocks]), torch.cat([block[2] for block in blocks])
        wrong = ((ours != ids) | (values != scores.float())).any(1)
        if bool(wrong.any()):
            found.append(f"{what}: {int(wrong.sum())} of {len(users)} users, first {int(wrong.nonzero()[0, 0])}")
    return found


def worst_loss(users: Tensor, catalogue: Catalogue, k: int, kernel: Kernel) -> float:
    """Return by how much a chosen item's float64 score falls short of the one that belongs there, scores being ~1."""
    _, ids, scores = next(gpu.blocks(users, catalogue, k, None, kernel=kernel))
    exact = users.double() @ catalogue.vectors.double().T
    best = exact.topk(k, dim=1).values
    chosen = exact.gather(1, ids.long())
    scale = best.abs().mean()
    return float(torch.maximum((best - chosen).abs().max(), (chosen - scores).abs().max()) / scale)


def vectors(kind: str, n: int, m: int, d: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Draw float16 vectors: ``random`` normal ones, or ``trained``: few directions matter, norms follow a power law."""
    seed = torch.Generator(device).manual_seed(1)
    users = torch.randn(n, d, generator=seed, device=device)
    items = torch.randn(m, d, generator=seed, device=device)
    if kind == "trained":
        spectrum = torch.arange(1, d + 1, device=device) ** -0.7
        popularity = torch.randperm(m, generator=seed, device=device) + 1
        items *= spectrum * popularity[:, None] ** -0.25
        users = (users + 0.5) * spectrum
    return users.half(), items.half()


def milliseconds(function: Callable[[], Any], rounds: int) -> float:
    """Return the median time on the device, after one call to warm up."""
    function()
    taken = []
    for _ in range(rounds):
        begin, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        begin.record()
        function()
        end.record()
        torch.cuda.synchronize()
        taken.append(begin.elapsed_time(end))
    return median(taken)


def bare_product(users: Tensor, items: Tensor, rounds: int) -> dict[str, float]:
    """Time the whole product in blocks into one buffer that is written over, by block size: the peer."""
    found = {}
    for size in (1 << 13, 1 << 15, 1 << 17):
        buffer = torch.empty((size, len(items)), dtype=users.dtype, device=users.device)

        def product(size: int = size, buffer: Tensor = buffer) -> None:
            for at in range(0, len(users), size):
                block = users[at : at + size]
                torch.matmul(block, items.T, out=buffer[: len(block)])

        found[str(size)] = milliseconds(product, rounds)
        del buffer
    return found


def drain(users: Tensor, catalogue: Catalogue, k: int, kernel: Kernel) -> None:
    for _ in gpu.blocks(users, catalogue, k, None, kernel=kernel):
        pass


def tried(function: Callable[[], Any]) -> Any:
    """Return what a function does, or how it failed."""
    try:
        return function()
    except Exception as error:
        return {"failed": f"{type(error).__name__}: {error}"[:600], "where": traceback.format_exc(limit=-3)[-900:]}


def measure(kind: str, options: argparse.Namespace, kernels: list[Kernel], deadline: float) -> dict[str, Any]:
    """Time product, kernels and the plain way on one kind of vectors."""
    device = torch.device("cuda")
    users, items = vectors(kind, options.users, options.items, options.d, device)
    catalogue = Catalogue(items, torch.arange(len(items), device=device), len(items))
    told: dict[str, Any] = {"product_ms_by_block": tried(lambda: bare_product(users, items, options.rounds))}
    products = told["product_ms_by_block"]
    bare = min(products.values()) if "failed" not in products else float("nan")
    told["product_ms"] = bare
    told["kernels"] = []
    for kernel in kernels:
        if time.monotonic() > deadline:
            told["kernels"].append({"kernel": asdict(kernel), "skipped": "out of time"})
            continue
        figures = tried(partial(_kernel, users, catalogue, kernel, options))
        told["kernels"].append({"kernel": asdict(kernel)} | figures)
    done = [each for each in told["kernels"] if "ms" in each]
    if done:
        best = min(done, key=lambda each: each["ms"])
        told |= {"best": best["kernel"], "best_ms": best["ms"], "ratio": best["ms"] / bare}
        told["met"] = told["ratio"] <= TARGET
    few = users[: 1 << 16].float()
    exact = Catalogue(items.float(), catalogue.names, len(items))
    plain = partial(drain, few, exact, options.k, Kernel())
    told["plain_torch_ms"] = tried(lambda: milliseconds(plain, 2) * len(users) / len(few))
    return told


def _kernel(users: Tensor, catalogue: Catalogue, kernel: Kernel, options: argparse.Namespace) -> dict[str, Any]:
    k, some = options.k, users[: gpu.FUSED_ROWS]
    if not catalogue.fused(k, kernel):
        raise ValueError("This kernel does not serve these vectors or this k.")
    ms = milliseconds(lambda: drain(users, catalogue, k, kernel), options.rounds)
    words = gpu.screen(some, catalogue, k, None, kernel)
    counts, _kept = gpu.collect(words, catalogue, kernel)
    first = milliseconds(lambda: gpu.screen(some, catalogue, k, None, kernel), options.rounds)
    second = milliseconds(lambda: gpu.collect(words, catalogue, kernel), options.rounds)
    return {
        "ms": ms,
        "screen_ms": first * len(users) / len(some),
        "collect_ms": second * len(users) / len(some),
        "survivors_mean": float(counts.float().mean()),
        "spilt_share": float((counts > kernel.width).float().mean()),
        "worst_loss": worst_loss(users[:2000], catalogue, k, kernel),
    }


def main() -> int:
    """Check, time and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--users", type=int, default=1_000_000)
    parser.add_argument("--items", type=int, default=10_000)
    parser.add_argument("--d", type=int, default=64)
    parser.add_argument("--k", type=int, default=20)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=50.0, help="start no further kernel after this")
    options = parser.parse_args()
    began = time.monotonic()
    if not torch.cuda.is_available():
        print(json.dumps({"skipped": "torch sees no CUDA device"}))
        return 0
    device = torch.device("cuda")
    told: dict[str, Any] = {"device": torch.cuda.get_device_name(device), "torch": torch.__version__}
    told["triton"] = gpu.kernels.triton.__version__ if gpu.kernels else None
    told["asked"] = vars(options)
    deadline = began + options.seconds
    told["wrong"] = {"default": tried(lambda: faults(device, Kernel()))}
    print(json.dumps(told["wrong"]), file=sys.stderr, flush=True)
    told["random"] = measure("random", options, list(KERNELS), deadline - 15)
    print(json.dumps(told["random"]), file=sys.stderr, flush=True)
    best = told["random"].get("best", asdict(Kernel()))
    chosen = [Kernel(), Kernel(**best)] if Kernel(**best) != Kernel() else [Kernel()]
    told["trained"] = measure("trained", options, [*chosen, replace(chosen[-1], width=128)], deadline)
    told["wrong"]["best"] = tried(lambda: faults(device, Kernel(**best)))
    told["seconds"] = round(time.monotonic() - began, 1)
    print(json.dumps(told))
    return 0


if __name__ == "__main__":
    sys.exit(main())
