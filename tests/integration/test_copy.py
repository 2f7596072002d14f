"""Rows that are sent by COPY arrive as they were, through either driver of PostgreSQL."""

from __future__ import annotations

from contextlib import closing
from datetime import UTC, datetime
from typing import Any

import pytest

from personalization.tracking import storage
from tests.support.servers import Postgres

COLUMNS = "number bigint, text varchar, given jsonb, at timestamptz, yes boolean"
AT = datetime(2026, 5, 1, 12, 30, tzinfo=UTC)
ROWS: list[tuple[Any, ...]] = [
    (1, "plain", {"path": "/"}, AT, True),
    (2, "tab\tline\nreturn\rslash\\dot\\.", {"quoted": '"', "line": "a\nb", "slash": "\\"}, AT, False),
    (3, "", [], AT, True),
    (4, None, {"none": None, "umlaut": "Schuhgröße", "emoji": "🌿"}, None, None),
    (5, "\\N", {}, AT, False),
]


@pytest.mark.parametrize("driver", ["psycopg2", "psycopg"])
def test_what_is_copied_arrives_as_it_was(postgres_server: Postgres, driver: str) -> None:
    module = pytest.importorskip(driver, reason=f"{driver} is not installed")
    with closing(module.connect(postgres_server.url)) as connected, connected.cursor() as cursor:
        assert storage.can_copy(cursor)
        cursor.execute(f"CREATE TEMPORARY TABLE sent ({COLUMNS})")
        storage.copy(cursor, "COPY sent FROM STDIN", ROWS)
        cursor.execute("SELECT * FROM sent ORDER BY number")
        assert cursor.fetchall() == ROWS


def test_another_driver_is_told_by_its_cursor() -> None:
    import sqlite3

    with closing(sqlite3.connect(":memory:")) as connected:
        assert not storage.can_copy(connected.cursor())
