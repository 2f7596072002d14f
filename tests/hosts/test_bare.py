"""A foreign shop gets the app by the guide, step by step: wheel, fresh environment, then a walk over HTTP."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.hosts import guide

BUILD = "python -m build --wheel"
INSTALL = "pip install "
KEPT = ("PIP_", "HTTP", "NO_PROXY", "SSL", "REQUESTS_", "LANG", "LC_", "TMP")
"""What a shop's owner has in the environment, too: how pip finds packages, a language, a place for files."""


@dataclass(frozen=True)
class Installed:
    """The foreign shop's folder and environment, with the app installed."""

    folder: Path
    wheel: Path
    environment: dict[str, str]

    def run(self, command: str, *, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command as the shop's owner would, in the shop's folder and environment."""
        done = subprocess.run(
            shlex.split(command),
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        if check and done.returncode:
            pytest.fail(f"$ {command}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}", pytrace=False)
        return done


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """Corner Books with an empty environment of its own and the wheel beside it: nothing is installed yet."""
    folder = tmp_path_factory.mktemp("hosts") / "corner_books"
    ignored = shutil.ignore_patterns("__pycache__", "*.sqlite3*")
    shutil.copytree(guide.HOST, folder, ignore=ignored)
    subprocess.run([sys.executable, "-m", "venv", folder / ".venv"], check=True, timeout=120)
    keep = {name: value for name, value in os.environ.items() if name.upper().startswith(KEPT)}
    environment = keep | {
        "PATH": f"{folder / '.venv/bin'}:/usr/bin:/bin",
        "HOME": os.environ.get("HOME", "/"),
    }
    build = [sys.executable, *BUILD.split()[1:], "--no-isolation", "--outdir", str(folder)]
    built = subprocess.run(build, cwd=guide.ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert built.returncode == 0, built.stdout + built.stderr
    (wheel,) = folder.glob("*.whl")
    return Installed(folder, wheel, environment)


@pytest.fixture(scope="module")
def installed(shop: Installed) -> Installed:
    """The shop after every command of the guide."""
    steps = guide.commands()
    assert steps[0] == BUILD
    assert steps[1] == INSTALL + shop.wheel.name, "the guide names another wheel than the one that is built"
    for command in steps[1:]:
        shop.run(command)
    return shop


def test_the_guide_has_the_steps_of_an_installation() -> None:
    steps = " ".join(guide.commands())
    for word in ("build", "install", "migrate", "check", "doctor"):
        assert word in steps


def test_the_wheel_carries_what_is_not_python(shop: Installed) -> None:
    listing = subprocess.run(
        [sys.executable, "-m", "zipfile", "-l", str(shop.wheel)], capture_output=True, text=True, check=True
    ).stdout
    for part in ("personalization/templates/", "personalization/static/", "personalization/migrations/0001"):
        assert part in listing
    assert "personalization/py.typed" in listing
    for foreign in ("tests/", "shop/", "var/"):
        assert f"\n{foreign}" not in listing


def test_the_web_tier_came_without_what_only_the_worker_needs(installed: Installed) -> None:
    probe = (
        "import importlib.util as u, json;"
        "print(json.dumps([n for n in ('torch','celery','lightgbm','scipy','sklearn','polars','shop')"
        " if u.find_spec(n)]))"
    )
    assert json.loads(installed.run(f'python -c "{probe}"').stdout) == []


def test_nothing_is_left_to_migrate_or_to_mend(installed: Installed) -> None:
    installed.run("python manage.py makemigrations --check --dry-run")
    checked = installed.run("python manage.py check --fail-level WARNING")
    assert "no issues" in checked.stdout


def test_doctor_answers_in_plain_words(installed: Installed) -> None:
    answer = installed.run("python manage.py doctor").stdout
    assert "Nothing is wrong." in answer
    assert "The worker app is not installed here" in answer


def test_a_visitor_walks_from_event_to_order(installed: Installed) -> None:
    walked = installed.run("python walk.py")
    figures = json.loads(walked.stdout.splitlines()[-1])
    assert figures["events_without_consent"] == 0
    assert figures["product_viewed"] == 1
    assert figures["beacon_events"] == 1
    assert figures["order_events"] == 1
    assert (figures["discount_minor"], figures["account_discount_minor"]) == (300, 300)
    assert figures["redeemed_twice"] is False
    assert figures["ledger"] == []
    assert figures["loaded_by_the_request"] == []
