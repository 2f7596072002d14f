"""What is typed wrongly is refused in one sentence, in every command alike; a bar is drawn in place."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.apps import apps
from django.core.management import call_command, get_commands, load_command_class
from django.core.management.base import CommandError, OutputWrapper
from django.db import OperationalError, ProgrammingError

from personalization.insight import schema
from personalization.management.arguments import TYPED_WRONGLY, AppCommand
from personalization.management.progress import progress_bar
from tests.management import parquet_sets
from tests.support import simulated

OURS = sorted(name for name, app in get_commands().items() if app in ("personalization", "worker", "shop"))


def typed(capsys: pytest.CaptureFixture[str], name: str, *arguments: str) -> str:
    """Return what a shell's command writes to standard error when it refuses its arguments."""
    command = load_command_class(get_commands()[name], name)
    with pytest.raises(SystemExit) as ended:
        command.run_from_argv(["manage.py", name, *arguments])
    assert ended.value.code == TYPED_WRONGLY
    return capsys.readouterr().err


def test_every_command_refuses_alike() -> None:
    assert apps.is_installed("worker")
    assert len(OURS) > 20
    assert [name for name in OURS if not isinstance(load_command_class(get_commands()[name], name), AppCommand)] == []


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (("train", "--seed=-5"), "--seed: '-5' is no seed: a seed is a whole number from 0 to 2147483647"),
        (
            ("demo", "--seed", "many"),
            f"--seed: 'many' is no seed: a seed is a whole number from 0 to {2**63 - 1}",
        ),
        (("demo", "--port", "99999"), "--port: '99999' is no port: a port is a whole number from 1 to 65535"),
        (("train", "--min-exposures", "0"), "--min-exposures: '0' is not a whole number from 1 on"),
        (("issue_codes", "--offer", "1", "--size", "0"), "--size: '0' is not a whole number from 1 on"),
        (("judge_bots", "--days=-1"), "--days: '-1' is not a whole number from 1 on"),
        (("rotate_keys", "--batch", "many"), "--batch: 'many' is not a whole number"),
        (("evaluate", "--threshold", "nan"), "--threshold: 'nan' is not a number"),
        (("forecast",), "the following arguments are required: campaign"),
        (("forecast", "spring"), "campaign: 'spring' is not a whole number"),
        (("doctor", "--loud"), "unrecognized arguments: --loud"),
    ],
)
def test_the_reason_stands_alone(capsys: pytest.CaptureFixture[str], given: tuple[str, ...], told: str) -> None:
    assert typed(capsys, *given) == f"manage.py {given[0]}: {told}\n"


def test_code_that_calls_a_command_gets_an_exception() -> None:
    with pytest.raises(CommandError, match="'spring' is not a whole number"):
        call_command("forecast", "spring")


@pytest.mark.parametrize(
    "typed", [["sync_catalog"], ["backfill"], ["verify_ledger"], ["import_dataset", "starbucks_offers"]]
)
def test_before_migrate_a_command_says_so(typed: list[str], tmp_path: Path) -> None:
    """In a process of its own: the tests' database has its tables."""
    if typed[0] == "import_dataset":
        typed = [*typed, str(parquet_sets.starbucks(tmp_path))]
    done = run(typed, tmp_path / "var")
    assert done.returncode == 1
    assert re.fullmatch(r"CommandError: \d+ migrations are not applied\. Run `manage\.py migrate`\.\n", done.stderr)


def run(typed: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "VAR_DIR": str(folder), "DATABASE_URL": "", "DJANGO_SETTINGS_MODULE": "shop.settings"}
    command = [sys.executable, "manage.py", *typed]
    return subprocess.run(command, cwd=simulated.ROOT, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.django_db
@pytest.mark.parametrize("error", [OperationalError("disk I/O error"), ProgrammingError("syntax error")])
def test_what_else_the_database_refuses_is_not_put_down_to_the_migrations(error: Exception) -> None:
    with pytest.raises(type(error), match=str(error)):
        call_command(Failing(error))


@pytest.mark.django_db
def test_a_database_that_is_away_is_told_as_what_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    def unmigrated() -> str:
        raise OperationalError("connection refused, still")

    monkeypatch.setattr(schema, "unmigrated", unmigrated)
    with pytest.raises(OperationalError, match=r"^connection refused$"):
        call_command(Failing(OperationalError("connection refused")))


class Failing(AppCommand):
    requires_system_checks: list[str] = []

    def __init__(self, error: Exception) -> None:
        super().__init__()
        self.error = error

    def handle(self, *args: Any, **options: Any) -> None:
        raise self.error


def test_help_tells_the_usage(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        load_command_class("personalization", "rollback").run_from_argv(["manage.py", "rollback", "--help"])
    assert capsys.readouterr().out.startswith("usage: manage.py rollback")


class Terminal(StringIO):
    def isatty(self) -> bool:
        return True


def test_a_bar_is_drawn_in_place(monkeypatch: pytest.MonkeyPatch) -> None:
    """On a command's wrapper, too, which ends each write with a line break: a bar would run down the screen."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("TTY_INTERACTIVE", raising=False)
    screen = Terminal()
    monkeypatch.setattr(sys, "stdout", screen)
    with progress_bar("Keys", OutputWrapper(screen)) as show:
        for done in range(4):
            show("encrypting", done / 4)
            time.sleep(0.15)  # it is drawn ten times a second
    drawn = screen.getvalue()
    assert drawn.count("Keys: encrypting") > 2
    assert drawn.count("\n") == 1


@pytest.mark.parametrize(("variable", "value"), [("TERM", "dumb"), ("TTY_INTERACTIVE", "0")])
def test_a_terminal_that_cannot_move_back_gets_lines(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)
    screen = Terminal()
    monkeypatch.setattr(sys, "stdout", screen)
    with progress_bar("Keys", OutputWrapper(screen)) as show:
        show("encrypting", 0.5)
    assert screen.getvalue() == "Keys: encrypting\n"


def test_without_a_terminal_each_new_stage_is_a_line() -> None:
    file = StringIO()
    with progress_bar("Training", OutputWrapper(file)) as show:
        for what in ("reading", "reading", "fitting", "fitting", "reading"):
            show(what, 0.5)
    assert file.getvalue().splitlines() == [f"Training: {what}" for what in ("reading", "fitting", "reading")]
