"""Statements planned once a connection: the same rows as ever, whatever has happened to the plan meanwhile."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.db import DatabaseError, connection
from django.test.utils import CaptureQueriesContext

from personalization.tracking.planned import USES, Planned

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(connection.vendor != "postgresql", reason="SQLite keeps the plans of its statements by itself."),
]


@pytest.fixture
def table() -> Iterator[str]:
    connection.close()  # the next one has run nothing yet
    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE planned_numbers (number integer)")
        cursor.execute("INSERT INTO planned_numbers VALUES (1), (2), (3)")
    yield "planned_numbers"
    with connection.cursor() as cursor:
        cursor.execute("DROP TABLE planned_numbers")
    connection.close()


@pytest.fixture
def planned(table: str) -> Planned:
    return Planned(f"SELECT *, '%%'::text || %s::text FROM {table} WHERE number >= %s ORDER BY 1")


def run(planned: Planned, least: int = 2) -> tuple[list[Any], str]:
    """Return the numbers, and the last statement that was sent."""
    with CaptureQueriesContext(connection) as queries:
        rows = planned.run(connection, ["x", least])
    return [row[0] for row in rows], queries.captured_queries[-1]["sql"]


def execute(statement: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement)


def test_a_connection_that_is_used_again_has_the_plan(planned: Planned) -> None:
    for use in range(1, USES + 3):
        found, sent = run(planned, least=2)
        assert found == [2, 3]
        assert sent.startswith("EXECUTE pz_") == (use >= USES)
    assert run(planned, least=3)[0] == [3]
    connection.close()
    assert not run(planned)[1].startswith("EXECUTE")


def test_a_percent_sign_means_the_same_planned_or_not(table: str) -> None:
    planned = Planned(f"SELECT number FROM {table} WHERE number %% 2 = %s ORDER BY 1")
    assert {tuple(planned.run(connection, [1])) for _ in range(4)} == {((1,), (3,))}


def test_a_plan_that_is_gone_is_done_without_from_then_on(planned: Planned) -> None:
    for _ in range(USES):
        run(planned)
    execute("DEALLOCATE ALL")  # a pooler handed us another session
    assert run(planned)[0] == [2, 3]
    found, sent = run(planned)
    assert (found, sent.startswith("SELECT")) == ([2, 3], True)


def test_a_name_that_is_taken_is_done_without(planned: Planned) -> None:
    for _ in range(USES - 1):
        run(planned)
    execute(planned._prepare)
    assert run(planned)[0] == [2, 3]
    assert run(planned)[1].startswith("SELECT")


def test_a_table_that_has_changed_is_read_as_it_is_now(planned: Planned, table: str) -> None:
    for _ in range(USES):
        run(planned)
    execute(f"ALTER TABLE {table} ADD COLUMN other integer")
    assert run(planned)[0] == [2, 3]


def test_behind_a_pooler_nothing_is_planned(planned: Planned, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(connection.settings_dict, "DISABLE_SERVER_SIDE_CURSORS", True)
    assert not any(run(planned)[1].startswith("EXECUTE") for _ in range(4))


def test_other_mistakes_are_told(planned: Planned, table: str) -> None:
    for _ in range(USES):
        run(planned)
    with pytest.raises(DatabaseError):
        planned.run(connection, ["x", "no number"])
