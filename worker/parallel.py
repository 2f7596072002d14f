"""Training by several processes, each on its part of every batch: launched through torchrun, from one place.

The gradients of the parts are added up before the step, each weighted by how many targets its part counted: the step is
the one that a single process would take on the whole batch, however unequal the parts, and all processes go on with
equal weights. One sum a step over all gradients at once does it. Torch's wrapper, DistributedDataParallel, takes the
plain mean of the parts' means, and sees only what its own ``forward`` returns, while our losses read the items' table.

Needs no Django. On GPUs the processes talk through NCCL, one a device; on a CPU through gloo.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, distributed, nn

from personalization.features.frames import Ints

POLL_SECONDS = 0.1
MOST_SAID = 4000
"""Bytes kept of what failing processes say: their own words come first, then torchrun's."""
PROGRESS, PARENT = "progress", "PERSONALIZATION_LAUNCHED_BY"
ROOT = Path(__file__).resolve().parents[1]


class ParallelFailed(RuntimeError):
    """The processes that trained together ended badly; the message is the beginning of what they said."""


@dataclass(frozen=True, slots=True)
class Group:
    """The processes that train together; alone by default, and then nothing here changes anything."""

    rank: int = 0
    size: int = 1

    def part(self, batch: Ints) -> Ints:
        """Return this process's part of a batch: every ``size``-th row."""
        return batch[self.rank :: self.size]

    def average(self, network: nn.Module, loss: Tensor, weight: Tensor) -> Tensor:
        """Replace each gradient by the weighted mean of all processes', and return the loss's mean likewise."""
        if self.size == 1:
            return loss
        parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
        weight = weight.to(torch.float32)
        gradients = [torch.zeros_like(each) if each.grad is None else each.grad for each in parameters]
        flat = torch.cat([*(each.reshape(-1).float() for each in gradients), loss.reshape(1).float()]) * weight
        flat = torch.cat([flat, weight.reshape(1)])
        distributed.all_reduce(flat)
        flat = flat[:-1] / flat[-1].clamp(min=1e-12)
        for parameter, mean in zip(parameters, flat[:-1].split([each.numel() for each in parameters]), strict=True):
            parameter.grad = mean.view_as(parameter).to(parameter.dtype)
        return flat[-1]


ALONE = Group()


@contextmanager
def joined() -> Iterator[tuple[Group, torch.device]]:
    """Join the group that torchrun has started this process for; yield it and the device of this process."""
    rank, size, local = (int(os.environ[name]) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK"))
    on_gpus = torch.cuda.is_available() and torch.cuda.device_count() > local
    device = torch.device("cuda", local) if on_gpus else torch.device("cpu")
    if on_gpus:
        torch.cuda.set_device(device)
    else:
        torch.set_num_threads(max((os.cpu_count() or 1) // size, 1))
    distributed.init_process_group("nccl" if on_gpus else "gloo", rank=rank, world_size=size)
    try:
        yield Group(rank, size), device
    finally:
        distributed.destroy_process_group()


def launch(module: str, folder: Path, processes: int, progress: Callable[[float], None]) -> None:
    """Run ``python -m module folder`` in so many processes under torchrun, and show how far the first one is.

    ParallelFailed if they end badly. Whatever ``progress`` raises ends them, and the death of this process does.
    """
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={processes}"]
    command += ["-m", module, str(folder)]
    path = os.pathsep.join([str(ROOT), *filter(None, sys.path)])
    environment = {"OMP_NUM_THREADS": "1", **os.environ, "PYTHONPATH": path, PARENT: str(os.getpid())}
    furthest = 0.0
    with tempfile.TemporaryFile() as said:
        process = subprocess.Popen(command, env=environment, stdout=said, stderr=said)
        try:
            while process.poll() is None:
                time.sleep(POLL_SECONDS)
                furthest = max(furthest, _told(folder))
                progress(furthest)
        except BaseException:
            process.terminate()
            process.wait()
            raise
        if process.returncode != 0:
            said.seek(0)
            raise ParallelFailed(said.read(MOST_SAID).decode(errors="replace"))


def _told(folder: Path) -> float:
    try:
        return float((folder / PROGRESS).read_text())
    except (OSError, ValueError):  # not there yet, or in the middle of a write
        return 0.0


def teller(group: Group, folder: Path) -> Callable[[float], None]:
    """Return a progress that the launching process reads, and that ends this process when that one is gone."""
    parent = int(os.environ.get(PARENT, "0"))

    def tell(done: float) -> None:
        if parent and not _alive(parent):
            raise SystemExit(f"process {parent}, which launched this training, is gone")
        if group.rank == 0:
            (folder / PROGRESS).write_text(f"{done:.4f}")

    return tell


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def wanted() -> int:
    """Return how many processes are to train a network: ``PERSONALIZATION_TRAIN_PROCESSES``, one by default."""
    return max(int(os.environ.get("PERSONALIZATION_TRAIN_PROCESSES") or 1), 1)
