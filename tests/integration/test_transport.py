"""Celery without a server: what several processes send over the folder arrives whole, and once."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.support import simulated
from tests.support.scale import rounds


def _start(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "tests.integration.courier", *arguments],
        cwd=simulated.ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_every_message_arrives_whole_and_once(tmp_path: Path) -> None:
    count = rounds(150, 4000)
    folder = tmp_path / "queue"
    folder.mkdir()
    receivers = [_start("receive", str(folder)) for _ in range(2)]
    senders = [_start("send", str(folder), name, str(count)) for name in ("ada", "grace")]
    for sender in senders:
        _, errors = sender.communicate(timeout=300)
        assert sender.returncode == 0, errors
    arrived: list[str] = []
    for receiver in receivers:
        printed, errors = receiver.communicate(timeout=300)
        assert receiver.returncode == 0, errors
        arrived += json.loads(printed)
    assert sorted(arrived) == sorted(f"{name} {number}" for name in ("ada", "grace") for number in range(count))
    assert not list(folder.glob("*.msg")), "something was left behind"
