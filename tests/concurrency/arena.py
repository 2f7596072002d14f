"""Runs contenders at the same moment, and takes guards away for the negative controls.

A race is played in a process of its own against a scratch database (see ``play``): many threads, each with
its own connection, start together at a barrier. A contender may be refused; whatever else it raises is an
error.
"""

from __future__ import annotations

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any
from unittest import mock

from django.db import connection, connections, models
from django.db.models import QuerySet

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


def play(race: Race, rounds: int, *, until_overrun: bool = False) -> Outcome:
    """Play rounds; with ``until_overrun`` stop as soon as one is seen."""
    outcome = Outcome()
    began = time.monotonic()
    with ThreadPoolExecutor(max_workers=race.threads) as pool:
        for _ in range(rounds):
            race.prepare()
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

    def run(contender: Callable[[], object]) -> None:
        barrier.wait(timeout=30)
        try:
            contender()
        except PersonalizationError:
            outcome.refusals += 1
        except Exception as error:
            outcome.errors.append(f"{type(error).__name__}: {error}"[:300])

    list(pool.map(run, contenders))


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
        if connection.vendor == "sqlite":
            stack.enter_context(without_transactions())
        yield


@contextmanager
def without_transactions() -> Iterator[None]:
    """Let every statement commit by itself."""

    @contextmanager
    def no_transaction(*args: Any, **kwargs: Any) -> Iterator[None]:
        yield

    with mock.patch("django.db.transaction.atomic", no_transaction):
        yield


def pausing(function: Callable[..., Any]) -> Callable[..., Any]:
    """Wrap a check so that the others' checks pass before its caller acts on it."""

    def paused(*args: Any, **kwargs: Any) -> Any:
        answer = function(*args, **kwargs)
        time.sleep(PAUSE_SECONDS)
        return answer

    return paused


def drop_constraints(model: type[models.Model], *names: str) -> None:
    """Drop CHECK and UNIQUE constraints of a model from the scratch database, for good."""
    gone = [constraint for constraint in model._meta.constraints if constraint.name in names]
    assert len(gone) == len(names), f"{model.__name__} has no such constraints: {names}"
    model._meta.constraints = [each for each in model._meta.constraints if each not in gone]
    for constraint in gone:
        with connection.schema_editor() as editor:
            editor.remove_constraint(model, constraint)


def drop_unique(model: type[models.Model], name: str) -> None:
    """Drop a column's uniqueness from the scratch database, for good."""
    field_with = model._meta.get_field(name)
    assert isinstance(field_with, models.Field)
    field_without = field_with.clone()
    field_without._unique = False  # type: ignore[attr-defined]
    field_without.set_attributes_from_name(name)
    field_without.model = model
    with connection.schema_editor() as editor:
        editor.alter_field(model, field_with, field_without)
    field_with._unique = False  # type: ignore[attr-defined]


def let_go_negative(model: type[models.Model], *names: str) -> None:
    """Drop the CHECK that Django puts on positive integer columns, from the scratch database, for good."""
    for name in names:
        field_with = model._meta.get_field(name)
        assert isinstance(field_with, models.Field)
        field_without = models.BigIntegerField(default=0)
        field_without.set_attributes_from_name(name)
        field_without.model = model
        with connection.schema_editor() as editor:
            editor.alter_field(model, field_with, field_without)
