"""Epochs a second of the sequence encoder on a GPU, on made-up data of MovieLens-1M's size.

Stands alone: needs numpy and torch, no Django and no database. 6,040 shoppers, 3,706 items, about a million
interactions, histories up to 200; an epoch is one pass over all of them. From the repository's root:

    python tests/benchmarks/sequence_gpu.py [--seconds 140] [--small]

Prints a line a variant as it ends and one JSON object at the end (in ``$OUT/sequence_gpu.json`` too, where OUT is set).
Planted: every item has a few successors, every shopper a taste; the last item of each history is kept back.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from worker import device as devices
from worker.rankers.sequence.fit import Trainer, Training, encode, train
from worker.rankers.sequence.histories import Histories, Ints, Windows
from worker.rankers.sequence.network import SequenceEncoder, Shape

CELLS = ("transformer", "hstu", "gru", "lstm", "cnn")
BATCHES = (128, 256, 512)
LENGTH, WIDTH = 200, 64
SUCCESSORS, TASTES = 12, 20
FOLLOWS, TASTE = 0.45, 0.3


@dataclass(frozen=True)
class Planted:
    """Histories without their last items, and those."""

    histories: Histories
    last: Ints
    items: int


def planted(*, shoppers: int, items: int, interactions: int, seed: int = 0) -> Planted:
    """Walk: with 45 % to one of an item's successors, with 30 % to the shopper's taste, else to what is popular."""
    rng = np.random.default_rng(seed)
    size = np.clip(rng.lognormal(4.57, 0.95, shoppers), 20, 1500)
    size = np.maximum((size * interactions / size.sum()).astype(np.int64), 5)
    popular = 1 / np.arange(1, items + 1) ** 0.8
    popular = np.cumsum(popular / popular.sum())
    of_taste = rng.permutation(items)[: items // TASTES * TASTES].reshape(TASTES, -1)
    successors = rng.integers(0, items, (items, SUCCESSORS))
    rank = np.cumsum(0.6 ** np.arange(SUCCESSORS))
    own = rng.integers(0, TASTES, shoppers)
    at = rng.integers(0, items, shoppers)
    walked = np.zeros((shoppers, int(size.max())), dtype=np.int32)
    for step in range(walked.shape[1]):
        how = rng.random(shoppers)
        drawn = np.minimum(np.searchsorted(popular, rng.random(shoppers)), items - 1)
        follow = successors[at, np.searchsorted(rank, rng.random(shoppers) * rank[-1])]
        liked = of_taste[own, (rng.random(shoppers) ** 3 * of_taste.shape[1]).astype(np.int64)]
        at = np.where(how < FOLLOWS, follow, np.where(how < FOLLOWS + TASTE, liked, drawn))
        walked[:, step] = at
    kept = np.arange(walked.shape[1]) < size[:, None] - 1
    shopper = np.repeat(np.arange(shoppers), size - 1)
    times = (np.cumsum(kept, axis=1)[kept] + rng.integers(0, 1000, shoppers)[shopper]) * 60_000
    return Planted(
        Histories.of(shopper, walked[kept] + 1, times.astype(np.int64), shoppers),
        walked[np.arange(shoppers), size - 1].astype(np.int64),
        items,
    )


def network(data: Planted, cell: str) -> SequenceEncoder:
    frequency = np.bincount(data.histories.items, minlength=data.items + 1)[1:]
    start = torch.tensor(np.log(np.maximum(frequency, 0.5)), dtype=torch.float32)
    return SequenceEncoder(Shape(data.items, cell, WIDTH, 2, 2, LENGTH), start - start.mean())  # type: ignore[arg-type]


def ndcg(scores: np.ndarray, last: Ints) -> float:
    """Return NDCG@10 with one right answer a row; ties count against."""
    own = scores[np.arange(len(last)), last]
    rank = (scores >= own[:, None]).sum(axis=1)
    return float(np.where(rank <= 10, 1 / np.log2(rank + 1), 0.0).mean())


class Clock:
    """Waits for the device before it reads the time."""

    def __init__(self, device: torch.device) -> None:
        self.device, self.began = device, time.perf_counter()

    def read(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()


def speed(data: Planted, cell: str, batch: int, device: torch.device, **how: bool) -> dict[str, Any]:
    """Time an epoch: the first apart, since it compiles, records and warms up; then the best of two."""
    devices.seed_all(0)
    clock = Clock(device)
    trainer = Trainer(network(data, cell), data.histories, Training(batch=batch, **how), device=device, seed=0)  # type: ignore[arg-type]
    trainer.learn_from(np.ones(len(data.histories.items), dtype=bool))
    windows = Windows.cut(data.histories.offset, LENGTH)
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    began = clock.read()
    first_loss = trainer.epoch(windows)
    first = clock.read() - began
    taken = []
    for _ in range(2):
        began = clock.read()
        loss = trainer.epoch(windows)
        taken.append(clock.read() - began)
    found = {
        "epoch_s": round(min(taken), 4),
        "epochs_per_s": round(1 / min(taken), 2),
        "first_epoch_s": round(first, 2),
        "steps": -(-len(windows) // batch),
        "loss": [round(first_loss, 3), round(loss, 3)],
    }
    if device.type == "cuda":
        found["peak_mb"] = round(torch.cuda.max_memory_allocated() / 2**20)
    return found


def quality(data: Planted, cell: str, epochs: int, device: torch.device, **how: Any) -> dict[str, Any]:
    """Train as the ranker does, early stopping included, and rank the items kept back."""
    devices.seed_all(0)
    encoder = network(data, cell)
    clock = Clock(device)
    began = clock.read()
    curves = train(encoder, data.histories, Training(epochs=epochs, **how), device=device, seed=0)
    seconds = clock.read() - began
    began = clock.read()
    states = encode(encoder, data.histories, np.arange(data.histories.shoppers), device=device)
    encoded = clock.read() - began
    scores = states @ encoder.table.detach().float().cpu().numpy().T + encoder.bias.detach().cpu().numpy()
    popular = np.bincount(data.histories.items - 1, minlength=data.items).astype(np.float64)
    popular = np.broadcast_to(popular + np.linspace(0, 1e-6, data.items), scores.shape)
    return {
        "epochs": len(curves),
        "fit_s": round(seconds, 2),
        "encode_s": round(encoded, 2),
        "ndcg@10": round(ndcg(scores, data.last), 4),
        "popularity_ndcg@10": round(ndcg(popular, data.last), 4),
        "late_mrr": [round(row["late_mrr"], 4) for row in curves if "late_mrr" in row],
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=140.0, help="begin no further variant after this long")
    parser.add_argument("--small", action="store_true", help="a thirtieth of the data: to try the script on a CPU")
    options = parser.parse_args()
    device = devices.pick()
    began = time.perf_counter()
    scale = 30 if options.small else 1
    data = planted(shoppers=6040 // scale, items=3706 // scale, interactions=1_000_000 // scale)
    told: dict[str, Any] = {
        "device": devices.describe(device),
        "torch": torch.__version__,
        "django_loaded": "django" in sys.modules,
        "data": {
            "shoppers": data.histories.shoppers,
            "items": data.items,
            "interactions": len(data.histories.items),
            "windows": len(Windows.cut(data.histories.offset, LENGTH)),
            "made_in_s": round(time.perf_counter() - began, 1),
        },
        "results": {},
        "failed": {},
    }
    print(json.dumps({key: told[key] for key in ("device", "torch", "data")}), flush=True)

    def measure(name: str, run: Callable[..., dict[str, Any]], *args: Any, **how: Any) -> None:
        if time.perf_counter() - began > options.seconds:
            told["failed"][name] = "not begun: out of time"
            return
        try:
            told["results"][name] = run(data, *args, device=device, **how)
        except Exception as error:
            told["failed"][name] = f"{type(error).__name__}: {error}"[:500]
            traceback.print_exc(limit=-4)
        print(f"{time.perf_counter() - began:6.1f} s  {name}: {told['results'].get(name, 'FAILED')}", flush=True)

    measure("transformer 128", speed, "transformer", 128)
    measure("transformer, 10 epochs", quality, "transformer", 10)
    for cell in CELLS:
        for batch in BATCHES:
            if (cell, batch) != ("transformer", 128):
                measure(f"{cell} {batch}", speed, cell, batch)
    if device.type == "cuda":
        measure("hstu, 10 epochs", quality, "hstu", 10)
        measure("gru, 10 epochs", quality, "gru", 10)
        measure("transformer 128, torch.compile", speed, "transformer", 128, compile=True)
        # A recording that fails can leave the device unusable, so these come last.
        measure("transformer 128, CUDA graph", speed, "transformer", 128, graph=True)
        measure("transformer, 10 epochs, CUDA graph", quality, "transformer", 10, graph=True)
        measure("hstu 128, CUDA graph", speed, "hstu", 128, graph=True)
        measure("gru 128, CUDA graph", speed, "gru", 128, graph=True)
        measure("transformer 128, torch.compile and CUDA graph", speed, "transformer", 128, compile=True, graph=True)
    told["seconds"] = round(time.perf_counter() - began, 1)
    text = json.dumps(told)
    if "OUT" in os.environ:
        (Path(os.environ["OUT"]) / "sequence_gpu.json").write_text(text)
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
