"""Train the encoder in several processes: what they need goes into a folder, the weights come back in it.

``python -m worker.rankers.sequence.apart FOLDER`` is one of the processes; ``worker.parallel`` starts them.
The folder is a private one (``worker.scratch``), and shoppers' histories lie in it until every process has read them.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from safetensors.numpy import load_file, save_file

from worker import device as devices
from worker import parallel, scratch
from worker.rankers.sequence.fit import Training, train
from worker.rankers.sequence.histories import Histories
from worker.rankers.sequence.network import SequenceEncoder, Shape
from worker.rankers.training import load_weights, packed_weights

if TYPE_CHECKING:
    from worker.artifacts import Arrays

TASK, GIVEN, LEARNT, CURVES = "task.json", "given.safetensors", "learnt.safetensors", "curves.json"
COLUMNS = ("items", "time", "offset")


def train_apart(
    encoder: SequenceEncoder,
    histories: Histories,
    training: Training,
    processes: int,
    seed: int,
    progress: Callable[[float], None] = lambda done: None,
) -> list[dict[str, float]]:
    """Do what ``train`` does, in so many processes; ParallelFailed, with what they said, if they end badly."""
    with scratch.folder() as folder:
        columns = {f"histories/{column}": np.ascontiguousarray(getattr(histories, column)) for column in COLUMNS}
        save_file({**columns, **_weights(encoder)}, folder / GIVEN)
        task = {"shape": asdict(encoder.shape), "training": asdict(training), "seed": seed}
        (folder / TASK).write_text(json.dumps(task))
        parallel.launch(__name__, folder, processes, progress)
        load_weights(encoder, load_file(folder / LEARNT))
        found: list[dict[str, float]] = json.loads((folder / CURVES).read_text())
        return found


def _weights(encoder: SequenceEncoder) -> Arrays:
    return {key: np.ascontiguousarray(value) for key, value in packed_weights(encoder).items()}


def take_part(folder: Path) -> None:
    """Train as one of the processes; the first writes what was learnt."""
    task, given = json.loads((folder / TASK).read_text()), load_file(folder / GIVEN)
    with parallel.joined() as (group, device):
        group.meet()
        if group.rank == 0:
            (folder / GIVEN).unlink()
        devices.seed_all(task["seed"])
        encoder = SequenceEncoder(Shape(**task["shape"]))
        load_weights(encoder, given)
        histories = Histories(*(given[f"histories/{column}"] for column in COLUMNS))
        curves = train(
            encoder, histories, Training(**task["training"]), device=device, seed=task["seed"],
            progress=parallel.teller(group, folder), group=group,
        )  # fmt: skip
        if group.rank == 0:
            save_file(
                {key: np.ascontiguousarray(value) for key, value in packed_weights(encoder).items()}, folder / LEARNT
            )
            (folder / CURVES).write_text(json.dumps(curves))


if __name__ == "__main__":
    take_part(Path(sys.argv[1]))
    parallel.leave()
