"""Training by several processes of this machine, each on its part of every batch: started and watched from one place.

The gradients of the parts are added up before the step, each weighted by how many targets its part counted: the step is
the one that a single process would take on the whole batch, however unequal the parts, and all processes go on with
equal weights. One sum a step over all gradients at once does it. Torch's wrapper, DistributedDataParallel, takes the
plain mean of the parts' means, and sees only what its own ``forward`` returns, while our losses read the items' table.

The processes get what torchrun gives its own (``RANK``, ``WORLD_SIZE``), but not from torchrun. Its rendezvous, also
that of ``--standalone``, is a store that listens on every interface, asks nobody who they are, and whose content the
agent unpickles: whoever reaches the port runs code here. Processes of one machine need none of it. They meet over a
file in a folder that only their owner reads, and talk over the loopback interface.

Needs no Django. On GPUs the processes talk through NCCL, one a device; on a CPU through gloo.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import torch
from torch import Tensor, distributed, nn

from personalization.features.frames import Ints

POLL_SECONDS = 0.1
MOST_SAID = 4000
"""Bytes kept of what failing processes say: their own words come first, then those of torch's threads."""
PROGRESS, RENDEZVOUS = "progress", "rendezvous"
MEET_AT, WANTED = "PERSONALIZATION_RENDEZVOUS", "PERSONALIZATION_TRAIN_PROCESSES"
LOOPBACK = "lo0" if sys.platform == "darwin" else "lo"
ORPHANED = 3
"""Status of a process whose launching process is gone."""
ROOT = Path(__file__).resolve().parents[1]


class ParallelFailed(RuntimeError):
    """The processes that trained together ended badly; the message is how, and the beginning of what they said."""


@dataclass(frozen=True, slots=True)
class Group:
    """The processes that train together; alone by default, and then nothing here changes anything."""

    rank: int = 0
    size: int = 1

    def part(self, batch: Ints) -> Ints:
        """Return this process's part of a batch: every ``size``-th row."""
        return batch[self.rank :: self.size]

    def meet(self) -> None:
        """Wait until every process is here."""
        if self.size > 1:
            distributed.barrier()

    def average(self, network: nn.Module, loss: Tensor) -> Tensor:
        """Replace each gradient by the mean of all processes', and return the loss's mean likewise."""
        if self.size == 1:
            return loss
        parameters = [parameter for parameter in network.parameters() if parameter.requires_grad]
        gradients = [torch.zeros_like(each) if each.grad is None else each.grad for each in parameters]
        flat = torch.cat([*(each.reshape(-1).float() for each in gradients), loss.reshape(1).float()])
        distributed.all_reduce(flat)
        flat /= self.size
        for parameter, mean in zip(parameters, flat[:-1].split([each.numel() for each in parameters]), strict=True):
            parameter.grad = mean.view_as(parameter).to(parameter.dtype)
        return flat[-1]


ALONE = Group()


@contextmanager
def joined() -> Iterator[tuple[Group, torch.device]]:
    """Join the group that ``launch`` has started this process for; yield it and the device of this process.

    From here on this process ends, wherever it is, as soon as the launching one is gone.
    """
    _end_with_the_launcher()
    rank, size = (int(os.environ[name]) for name in ("RANK", "WORLD_SIZE"))
    device = _device(rank, size)
    if device.type == "cuda":
        torch.cuda.set_device(device)
    else:
        torch.set_num_threads(max((os.cpu_count() or 1) // size, 1))
    store = distributed.FileStore(os.environ[MEET_AT], size)
    backend = "nccl" if device.type == "cuda" else "gloo"
    distributed.init_process_group(backend, store=store, rank=rank, world_size=size)
    try:
        yield Group(rank, size), device
        distributed.barrier()  # nobody hangs up while another still talks
    finally:
        distributed.destroy_process_group()


def leave() -> None:
    """End this process well, at once: torn down in the usual way, torch's own threads now and then abort it."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def _device(rank: int, size: int) -> torch.device:
    """Return a GPU of its own where there is one for every process, else the CPU: all of them talk in one way."""
    if torch.cuda.is_available() and torch.cuda.device_count() >= size:
        return torch.device("cuda", rank)
    return torch.device("cpu")


def _end_with_the_launcher() -> None:
    """Watch the standard input: nobody writes there, and it ends only when the launcher has, a zombie included."""

    def watch() -> None:
        while os.read(0, 1):
            pass
        os._exit(ORPHANED)  # no cleaning up: the others may be waited for, and they are gone too

    threading.Thread(target=watch, name="launcher", daemon=True).start()


def launch(module: str, folder: Path, processes: int, progress: Callable[[float], None]) -> None:
    """Run ``python -m module folder`` in so many processes that train together, and show how far the first one is.

    The folder is theirs alone from now on, with mode 0700. ParallelFailed if one ends badly; the others end with it.
    Whatever ``progress`` raises ends them, and the death of this process does.
    """
    folder.chmod(0o700)
    (folder / RENDEZVOUS).unlink(missing_ok=True)  # one that was met at before leads nowhere
    with ExitStack() as stack:
        said = stack.enter_context(tempfile.TemporaryFile())
        started: list[subprocess.Popen[bytes]] = []
        for rank in range(processes):
            process = stack.enter_context(_started(module, folder, rank, processes, said))
            stack.callback(process.kill)  # before it is waited for; one that has ended stays as it is
            started.append(process)
        _follow(started, folder, progress, said)


def _started(module: str, folder: Path, rank: int, size: int, said: IO[bytes]) -> subprocess.Popen[bytes]:
    environment = {
        "OMP_NUM_THREADS": "1",
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(ROOT), *filter(None, sys.path)]),
        "RANK": str(rank),
        "WORLD_SIZE": str(size),
        MEET_AT: str((folder / RENDEZVOUS).resolve()),
        "GLOO_SOCKET_IFNAME": LOOPBACK,
        "NCCL_SOCKET_IFNAME": f"={LOOPBACK}",
    }
    command = [sys.executable, "-m", module, str(folder)]
    return subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=said, stderr=said)


def _follow(
    started: list[subprocess.Popen[bytes]], folder: Path, progress: Callable[[float], None], said: IO[bytes]
) -> None:
    """Return when all have ended well; ParallelFailed as soon as one has not."""
    furthest = 0.0
    while True:
        ended = [process.poll() for process in started]
        for rank, status in enumerate(ended):
            if status:
                said.seek(0)
                words = said.read(MOST_SAID).decode(errors="replace")
                raise ParallelFailed(f"Process {rank} of {len(started)} ended with status {status}.\n{words}")
        if None not in ended:
            return
        time.sleep(POLL_SECONDS)
        furthest = max(furthest, _told(folder))
        progress(furthest)


def _told(folder: Path) -> float:
    try:
        return float((folder / PROGRESS).read_text())
    except (OSError, ValueError):  # not there yet, or in the middle of a write
        return 0.0


def teller(group: Group, folder: Path) -> Callable[[float], None]:
    """Return a progress that the launching process reads; the first process tells it."""

    def tell(done: float) -> None:
        if group.rank == 0:
            (folder / PROGRESS).write_text(f"{done:.4f}")

    return tell


def wanted() -> int:
    """Return how many processes are to train a network: ``PERSONALIZATION_TRAIN_PROCESSES``, one by default.

    As many as this machine has cores at most, since each keeps one busy, also where it feeds a GPU; else ValueError.
    """
    value, most = os.environ.get(WANTED) or "1", os.cpu_count() or 1
    try:
        processes = int(value)
    except ValueError:
        processes = 0
    if not 1 <= processes <= most:
        raise ValueError(
            f"{WANTED} is {value!r} and must be a whole number from 1 to {most}, the cores of this machine. "
            "Set it so, or leave it out to train in one process."
        )
    return processes
