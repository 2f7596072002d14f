"""Processes that train together keep to themselves: no port for other hosts, nothing left when one is killed."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from tests.support.processes import Address, children, listens_on, runs
from tests.worker.test_parallel import TRAINING, untrained
from tests.worker.test_sequence import histories
from worker import parallel, scratch
from worker.parallel import ParallelFailed
from worker.rankers.sequence import apart
from worker.rankers.sequence.apart import GIVEN, train_apart

ROOT = Path(__file__).resolve().parents[2]
LONG = replace(TRAINING, epochs=100_000)
PATIENCE_SECONDS = 120
MODULE = apart.__name__
LAUNCHER = """
from tests.worker.test_parallel_private import LONG, histories, train_apart, untrained
train_apart(untrained(), histories(), LONG, 2, 0)
"""
on_linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def wait_for(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "it did not come about"
        time.sleep(0.02)


class Seen(Exception):
    """Raised to end a training that has shown what was to be seen."""


@on_linux
def test_no_other_host_reaches_a_training() -> None:
    heard: set[Address] = set()

    def look(done: float) -> None:
        heard.update(listens_on(children(os.getpid(), MODULE)))
        if done > 0:
            raise Seen

    with pytest.raises(Seen):
        train_apart(untrained(), histories(), LONG, 2, 0, look)
    assert heard, "they talk to each other, so they do listen"
    assert [str(address) for address in heard if not address.is_loopback] == []


@on_linux
@pytest.mark.parametrize("address", ["0.0.0.0", "127.0.0.1", "::", "::1"])
def test_a_port_would_be_seen(address: str) -> None:
    """The control: the look at this process finds each listener, and tells the loopback interface from the rest."""
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        listener = socket.create_server((address, 0), family=family)
    except OSError:
        pytest.skip("no IPv6 here")
    with listener:
        found = listens_on([os.getpid()])
        assert address in map(str, found)
        assert {each.is_loopback for each in found if str(each) == address} == {address in {"127.0.0.1", "::1"}}
    assert address not in map(str, listens_on([os.getpid()]))


@on_linux
@pytest.mark.parametrize("moment", [GIVEN, parallel.PROGRESS])
def test_a_killed_launcher_leaves_no_process_and_no_histories(
    moment: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    environment = {**os.environ, "TMPDIR": str(tmp_path)}
    launcher = subprocess.Popen([sys.executable, "-c", LAUNCHER], cwd=ROOT, env=environment)
    try:
        wait_for(lambda: list(tmp_path.glob(f"*/{moment}")) and len(children(launcher.pid, MODULE)) == 2)
        started = children(launcher.pid, MODULE)
        (folder,) = tmp_path.glob(f"{scratch.PREFIX}*")
        assert folder.stat().st_mode & 0o777 == 0o700
        assert (folder / GIVEN).exists() == (moment == GIVEN), "who trains has read the histories, and they are gone"
        assert scratch.sweep() == 0, "it is in use"
        assert folder.exists()
    finally:
        os.kill(launcher.pid, signal.SIGKILL)
    wait_for(lambda: not runs(launcher.pid))  # and a zombie: nobody has waited for it
    assert scratch.sweep() == 1
    assert list(tmp_path.glob("**/*.safetensors")) == []
    wait_for(lambda: not any(map(runs, started)))
    assert list(tmp_path.iterdir()) == []
    launcher.wait()


@on_linux
def test_when_one_process_dies_the_others_end() -> None:
    started: set[int] = set()

    def kill_one(done: float) -> None:
        if done > 0 and not started:
            started.update(children(os.getpid(), MODULE))
            os.kill(min(started), signal.SIGKILL)

    with pytest.raises(ParallelFailed, match=r"of 2 ended with status"):
        train_apart(untrained(), histories(), LONG, 2, 0, kill_one)
    assert len(started) == 2
    assert not any(map(runs, started))


def test_a_folder_is_private_and_gone_at_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with scratch.folder() as one, scratch.folder() as other:
        assert one != other
        assert one.stat().st_mode & 0o777 == 0o700
        (one / "file").write_text("")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_swept_before_it_is_held_is_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    make, made = tempfile.mkdtemp, []

    def make_and_lose(**named: str) -> str:
        made.append(make(**named))
        if len(made) == 1:
            assert scratch.sweep() == 1
        return made[-1]

    monkeypatch.setattr(tempfile, "mkdtemp", make_and_lose)
    with scratch.folder() as folder:
        assert made == [made[0], str(folder)]
        assert folder.is_dir()


def test_only_folders_of_ours_are_swept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "kept").write_text("")
    (tmp_path / f"{scratch.PREFIX}link").symlink_to(elsewhere)
    (tmp_path / f"{scratch.PREFIX}left").mkdir()
    assert scratch.sweep() == 1
    assert (elsewhere / "kept").exists()
    assert not (tmp_path / f"{scratch.PREFIX}left").exists()


@pytest.mark.parametrize(("gpus", "kinds"), [(0, ["cpu", "cpu"]), (1, ["cpu", "cpu"]), (2, ["cuda:0", "cuda:1"])])
def test_all_processes_have_a_gpu_or_none(gpus: int, kinds: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpus > 0)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: gpus)
    assert [str(parallel._device(rank, 2)) for rank in range(2)] == kinds


@pytest.mark.parametrize(("value", "processes"), [(None, 1), ("", 1), ("1", 1), ("4", 4)])
def test_as_many_processes_as_are_asked_for(value: str | None, processes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    monkeypatch.delenv(parallel.WANTED, raising=False)
    if value is not None:
        monkeypatch.setenv(parallel.WANTED, value)
    assert parallel.wanted() == processes


@pytest.mark.parametrize("value", ["abc", "2.5", "0", "-1", "5", "99999"])
def test_a_number_that_cannot_be_is_refused_with_what_to_do(value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    monkeypatch.setenv(parallel.WANTED, value)
    with pytest.raises(ValueError, match=f"TRAIN_PROCESSES is '{value}' and must be a whole number from 1 to 4, the"):
        parallel.wanted()
