"""Runs contenders at the same moment, and takes guards away for the negative controls.

A race is played in a process of its own against a scratch database (see ``play``): many threads, each with
its own connection, start together at a barrier. A contender may be refused; whatever else it raises is an
error.
"""

from __future__ import annotations

import multiprocessing
import re
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any
from unittest import mock
from uuid import UUID

from django.db import connection, connections, models
from django.db.backends.signals import connection_created
from django.db.models import QuerySet

from personalization.campaigns import counters
from personalization.exceptions import PersonalizationError

PAUSE_SECONDS = 0.002
"""Between the check and the act of a contender whose guard was taken away."""


class Race(ABC):
    """One situation: what to prepare, who contends, what must hold afterwards, how to take its guard away."""

    threads = 8

    @abstractmethod
    def prepare(self) -> None:
        """Make fresh rows for one round."""

    @abstractmethod
    def contenders(self) -> Sequence[Callable[[], object]]:
        """Return what each thread does in this round."""

    @abstractmethod
    def overruns(self) -> list[str]:
        """Return what went beyond a limit, read from the rows themselves."""

    def faults(self) -> list[str]:
        """Return everything else that must not be: totals that disagree, a winner too few."""
        return []

    @abstractmethod
    def unguarded(self) -> AbstractContextManager[None]:
        """Take the guard away while the block runs."""


@dataclass
class Outcome:
    """What a number of rounds came to."""

    rounds: int = 0
    overruns: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    refusals: int = 0
    seconds: float = 0.0

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def play(race: Race, rounds: int, *, until_overrun: bool = False, processes: bool = False) -> Outcome:
    """Play rounds; with ``until_overrun`` stop as soon as one is seen, with ``processes`` each contender is one."""
    outcome = Outcome()
    began = time.monotonic()
    with ThreadPoolExecutor(max_workers=race.threads) as pool:
        for _ in range(rounds):
            race.prepare()
            if processes:
                _apart(race.contenders(), outcome)
            else:
                _together(pool, race.contenders(), outcome)
            outcome.rounds += 1
            outcome.overruns += race.overruns()
            outcome.faults += race.faults()
            if until_overrun and outcome.overruns:
                break
        _together(pool, [connections.close_all] * race.threads, outcome)
    outcome.seconds = round(time.monotonic() - began, 2)
    return outcome


def _together(pool: ThreadPoolExecutor, contenders: Sequence[Callable[[], object]], outcome: Outcome) -> None:
    barrier = threading.Barrier(len(contenders))

    def run(contender: Callable[[], object]) -> str | None:
        barrier.wait(timeout=60)
        return _ending(contender)

    _count(list(pool.map(run, contenders)), outcome)


def _apart(contenders: Sequence[Callable[[], object]], outcome: Outcome) -> None:
    """Run each contender in a forked process: what they left in this one's memory is not seen by ``faults``."""
    connections.close_all()  # a forked process must not share its parent's
    context = multiprocessing.get_context("fork")
    barrier, endings = context.Barrier(len(contenders)), context.SimpleQueue()

    def run(contender: Callable[[], object]) -> None:
        barrier.wait(timeout=60)
        ending = _ending(contender)
        connections.close_all()
        endings.put(ending)

    workers = [context.Process(target=run, args=(contender,)) for contender in contenders]
    for worker in workers:
        worker.start()
    told = [endings.get() for _ in workers]
    for worker in workers:
        worker.join()
    _count(told, outcome)


def _ending(contender: Callable[[], object]) -> str | None:
    """Return None for success, an empty text for a refusal, else what went wrong."""
    try:
        contender()
    except PersonalizationError:
        return ""
    except Exception as error:
        return f"{type(error).__name__}: {error}"[:300]
    return None


def _count(endings: Sequence[str | None], outcome: Outcome) -> None:
    outcome.refusals += sum(ending == "" for ending in endings)
    outcome.errors += [ending for ending in endings if ending]


@contextmanager
def check_then_act() -> Iterator[None]:
    """Turn every conditional UPDATE into a SELECT, a pause, and an UPDATE of the rows that were read.

    On SQLite, ``transaction.atomic`` goes too: there an IMMEDIATE transaction is itself the guard.
    """
    conditional_update = QuerySet.update

    def naive_update(self: QuerySet[Any], **changes: Any) -> int:
        keys = list(self.values_list("pk", flat=True))
        time.sleep(PAUSE_SECONDS)
        rows = self.model._base_manager.filter(pk__in=keys)
        return conditional_update(rows, **changes)

    with ExitStack() as stack:
        stack.enter_context(mock.patch.object(QuerySet, "update", naive_update))
        stack.enter_context(mock.patch.object(counters, "_move", _naive_move))
        if connection.vendor == "sqlite":
            stack.enter_context(without_transactions())
        yield


def _naive_move(statement: str, **parameters: Any) -> bool:
    """Do what ``counters._move`` does, as above: ask whether the conditions hold, wait, and write regardless."""
    for name, value in parameters.items():
        if isinstance(value, UUID):
            parameters[name] = models.UUIDField().get_db_prep_value(value, connection)
    found = _UPDATE.fullmatch(statement.strip())
    assert found, f"This is no plain UPDATE: {statement}"
    table, changes, conditions = found.groups()
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT id FROM {table} WHERE {conditions}", parameters)
        keys = [row[0] for row in cursor.fetchall()]
        time.sleep(PAUSE_SECONDS)
        for key in keys:
            cursor.execute(f"UPDATE {table} SET {changes} WHERE id = %(key)s", parameters | {"key": key})
    return bool(keys)


_UPDATE = re.compile(r"UPDATE (\w+)\s+SET (.*?)\s+WHERE (.*)", re.DOTALL)


@contextmanager
def without_transactions() -> Iterator[None]:
    """Let every statement commit by itself."""

    @contextmanager
    def no_transaction(*args: Any, **kwargs: Any) -> Iterator[None]:
        yield

    with mock.patch("django.db.transaction.atomic", no_transaction):
        yield


@contextmanager
def without_row_locks() -> Iterator[None]:
    """Let SELECT … FOR UPDATE lock nothing."""

    def no_lock(rows: QuerySet[Any], **kwargs: Any) -> QuerySet[Any]:
        return rows

    with mock.patch.object(QuerySet, "select_for_update", no_lock):
        yield


def pausing(function: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a check so that the others' checks pass before its caller acts on it."""

    def paused(*args: Any, **kwargs: Any) -> Any:
        answer = function(*args, **kwargs)
        time.sleep(PAUSE_SECONDS)
        return answer

    return paused


def drop_checks() -> None:
    """Drop every CHECK of the app's and the shop's tables in the scratch database, for good."""
    if connection.vendor == "sqlite":
        connection_created.connect(_ignore_checks, dispatch_uid="arena")
        _ignore_checks(connection=connection)
        return
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT conrelid::regclass::text, conname FROM pg_constraint "
            "WHERE contype = 'c' AND coninhcount = 0 AND conrelid::regclass::text ~ '^(personalization|shop)_'"
        )  # a partition's go with its parent's
        for table, name in cursor.fetchall():
            cursor.execute(f'ALTER TABLE {table} DROP CONSTRAINT "{name}"')


def _ignore_checks(*, connection: Any, **kwargs: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA ignore_check_constraints = ON")


def drop_unique(model: type[models.Model], *names: str) -> None:
    """Drop the uniqueness of columns, and unique constraints, from the scratch database, for good."""
    for name in names:
        constraint = next((each for each in model._meta.constraints if each.name == name), None)
        if constraint is None:
            _drop_unique_column(model, name)
        else:
            model._meta.constraints = [each for each in model._meta.constraints if each is not constraint]
            with connection.schema_editor() as editor:
                editor.remove_constraint(model, constraint)


def _drop_unique_column(model: type[models.Model], name: str) -> None:
    column = model._meta.get_field(name)
    assert isinstance(column, models.Field)
    column._unique = False  # type: ignore[attr-defined]
    column.__dict__.pop("unique", None)  # a cached property that reads it
    with connection.schema_editor() as editor:
        if connection.vendor == "sqlite":
            editor._remake_table(model)  # type: ignore[attr-defined]
            return
        with connection.cursor() as cursor:
            found = connection.introspection.get_constraints(cursor, model._meta.db_table)
        for key, details in found.items():
            if details["unique"] and not details["primary_key"] and details["columns"] == [column.column]:
                editor.execute(f'ALTER TABLE {model._meta.db_table} DROP CONSTRAINT "{key}"')


def drop_primary_key(model: type[models.Model]) -> None:
    """Drop a table's primary key from the scratch database, for good: nothing in it is unique any more."""
    table = model._meta.db_table
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute(f"ALTER TABLE {table} DROP CONSTRAINT {table}_pkey")
            return
        cursor.execute(f"CREATE TABLE plain AS SELECT * FROM {table}")
        cursor.execute(f"DROP TABLE {table}")
        cursor.execute(f"ALTER TABLE plain RENAME TO {table}")
