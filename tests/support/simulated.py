"""A small simulated shop on disk, built once a session by ``manage.py demo`` and copied by whoever changes it."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SECRET_KEY = "the-key-of-a-simulated-shop-which-lives-for-one-test-run-only"
BUILD_SECONDS = 600


@dataclass(frozen=True)
class SimulatedShop:
    """A shop's folder (its ``VAR_DIR``) and what the demo printed while it built it."""

    folder: Path
    printed: str

    @property
    def database(self) -> Path:
        return self.folder / "shop.sqlite3"

    @property
    def admin_password(self) -> str:
        found = re.search(r"^\s*admin\s+(\S+)", self.printed, re.M)
        assert found, f"the demo printed no admin login:\n{self.printed[-2000:]}"
        return found[1]

    def copy(self, folder: Path) -> SimulatedShop:
        """Return a copy that a test may change."""
        shutil.copytree(self.folder, folder)
        return SimulatedShop(folder, self.printed)

    def environment(self, **changes: str) -> dict[str, str]:
        """Return the environment of a process that works on this shop, with nothing left of the test run's own."""
        return clean_environment(VAR_DIR=str(self.folder), SECRET_KEY=SECRET_KEY, **changes)


def clean_environment(**changes: str) -> dict[str, str]:
    """Return our environment without what a test run or a developer's shell set for the shop."""
    ours = {"DATABASE_URL", "REDIS_URL", "CELERY_BROKER_URL", "ARTIFACTS_DIR", "WITH_WORKER", "TEST_VAR_DIR", "DEBUG"}
    kept = {name: value for name, value in os.environ.items() if name not in ours}
    return kept | {"DJANGO_SETTINGS_MODULE": "shop.settings"} | changes


def manage(*arguments: str, environment: dict[str, str], timeout: float = BUILD_SECONDS) -> str:
    """Run a management command in a process of its own; return what it printed."""
    done = subprocess.run(
        [sys.executable, "manage.py", *arguments],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    if done.returncode:
        told = f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        pytest.fail(f"manage.py {' '.join(arguments)} ended with {done.returncode}\n{told}", pytrace=False)
    return done.stdout


def build(folder: Path, **environment: str) -> SimulatedShop:
    """Build a small shop into ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    shop = SimulatedShop(folder, "")
    printed = manage("demo", "--no-serve", "--scale", "small", environment=shop.environment(**environment))
    return SimulatedShop(folder, printed)


def once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], SimulatedShop]) -> SimulatedShop:
    """Make a shop the first time that any process of this test run asks for it."""
    base = factory.getbasetemp()
    shared = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / name
    shared.mkdir(exist_ok=True)
    with (shared / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        log = shared / "printed"
        if not log.exists():
            log.write_text(make(shared / "var").printed)
        return SimulatedShop(shared / "var", log.read_text())
