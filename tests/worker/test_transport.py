"""The folder that stands in for a broker: a message is there whole or not at all."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import pytest
from kombu import Connection
from kombu.transport import filesystem

from worker.transport import AtomicChannel, AtomicFilesystemTransport

PAYLOAD: dict[str, Any] = {"body": "x" * 200_000, "headers": {"ü": 1}}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "queue").mkdir()
    return tmp_path / "queue"


def channel(folder: Path, transport: type[filesystem.Transport] = AtomicFilesystemTransport) -> Any:
    options = {"data_folder_in": str(folder), "data_folder_out": str(folder), "control_folder": str(folder / "control")}
    return Connection("filesystem://", transport=transport, transport_options=options).channel()


def test_a_message_comes_back(folder: Path) -> None:
    sender = channel(folder)
    sender._put("gpu", PAYLOAD)
    assert sender._size("gpu") == 1
    assert sender._size("default") == 0
    assert sender._get("gpu") == PAYLOAD
    assert sender._size("gpu") == 0


def test_messages_come_in_order(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sender = channel(folder)
    clock = iter([100.0, 200.0, 300.0])
    monkeypatch.setattr("worker.transport.time.monotonic", lambda: next(clock))
    for number in range(3):
        sender._put("gpu", {"n": number})
    assert [sender._get("gpu")["n"] for _ in range(3)] == [0, 1, 2]


def test_at_the_moment_of_its_appearance_a_message_is_complete(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Until the renaming no reader sees anything; it is synced before, and the part's name belongs to no queue."""
    sender = channel(folder)
    synced: list[int] = []
    real_sync, real_replace = os.fsync, os.replace

    def replace(source: Any, target: Any) -> None:
        assert synced
        assert sender._size("gpu") == 0
        assert [path.name for path in folder.iterdir()] == [Path(source).name]
        assert ".gpu.msg" not in Path(source).name  # some versions of kombu look for it anywhere in a name
        assert len(Path(source).read_bytes()) > 200_000
        real_replace(source, target)

    def fsync(descriptor: int) -> None:
        synced.append(descriptor)
        real_sync(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(os, "replace", replace)
    sender._put("gpu", PAYLOAD)
    assert sender._size("gpu") == 1


def test_a_crash_while_writing_leaves_no_message(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    sender = channel(folder)
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        sender._put("gpu", PAYLOAD)
    assert sender._size("gpu") == 0


def watch(folder: Path, sender: Any, messages: int) -> list[int]:
    """Return the sizes in which a reader met messages while they were written."""
    sizes: list[int] = []
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            sizes.extend(path.stat().st_size for path in folder.glob("*.msg"))

    reader = threading.Thread(target=read)
    reader.start()
    try:
        for _ in range(messages):
            sender._put("gpu", PAYLOAD)
    finally:
        done.set()
        reader.join()
    sizes.extend(path.stat().st_size for path in folder.glob("*.msg"))
    return sizes


def test_a_reader_never_meets_a_part(folder: Path) -> None:
    sizes = watch(folder, channel(folder), 40)
    assert len(set(sizes)) == 1


def test_the_stock_transport_shows_parts(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The negative control: at the moment it writes, the message stands there empty under its final name."""
    sender = channel(folder, filesystem.Transport)
    met: list[int] = []
    real = filesystem.dumps

    def slow(payload: Any) -> Any:
        met.extend(path.stat().st_size for path in folder.glob("*.msg"))
        return real(payload)

    monkeypatch.setattr(filesystem, "dumps", slow)
    sender._put("gpu", PAYLOAD)
    assert met == [0]
    assert not isinstance(sender, AtomicChannel)
