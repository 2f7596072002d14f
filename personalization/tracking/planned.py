"""A statement that is run with ever other values, planned once a connection (PostgreSQL).

To plan a statement over several tables takes the database as long as to run it. Where connections are shared behind the
server's back (a pooler that hands them out by transaction) a plan may be gone, or there already: then the statement
runs as it is, and is not prepared any more.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from typing import Any

from django.db import InternalError, NotSupportedError, OperationalError, ProgrammingError
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.utils import CursorWrapper

USES = 2
"""From this use of a connection on a statement is prepared there: one closed after each request would gain nothing."""
_HELD = "_pz_planned"
_UNKNOWN, _THERE_ALREADY, _OUTDATED = "26000", "42P05", "0A000"
_REFUSALS = (ProgrammingError, OperationalError, NotSupportedError, InternalError)


class Planned:
    """``statement`` with %s for its values, %% for a percent sign.

    Run it outside transactions: what is refused is run again.
    """

    def __init__(self, statement: str) -> None:
        first, *others = [part.replace("%%", "%") for part in statement.split("%s")]
        numbered = first + "".join(f"${place}{text}" for place, text in enumerate(others, start=1))
        name = f"pz_{hashlib.sha256(statement.encode()).hexdigest()[:20]}"
        self._plain = statement
        self._prepare = f"PREPARE {name} AS {numbered}"
        self._execute = f"EXECUTE {name} ({', '.join(['%s'] * len(others))})"
        self._shared = False

    def run(self, connection: BaseDatabaseWrapper, values: Sequence[Any]) -> list[tuple[Any, ...]]:
        """Return the rows."""
        with connection.cursor() as cursor:
            if not self._tried(connection, cursor, values):
                cursor.execute(self._plain, values)
            return cursor.fetchall()

    def _tried(self, connection: BaseDatabaseWrapper, cursor: CursorWrapper, values: Sequence[Any]) -> bool:
        """Run the prepared statement if this connection has it, or is used often enough to get it."""
        if self._shared or connection.settings_dict.get("DISABLE_SERVER_SIDE_CURSORS"):
            return False  # the setting says that the connection is a pooler's
        uses = _uses(connection)
        uses[self._prepare] += 1
        if uses[self._prepare] < USES:
            return False
        try:
            if uses[self._prepare] == USES:
                cursor.execute(self._prepare)
            cursor.execute(self._execute, values)
        except _REFUSALS as error:
            if (state := sqlstate(error)) not in {_UNKNOWN, _THERE_ALREADY, _OUTDATED}:
                raise
            self._shared = state != _OUTDATED
            return False
        return True


def _uses(connection: BaseDatabaseWrapper) -> Counter[str]:
    """Return how often this very connection has run what; a new one begins anew."""
    held: tuple[Any, Counter[str]] | None = getattr(connection, _HELD, None)
    if held is None or held[0] is not connection.connection:
        held = (connection.connection, Counter())
        setattr(connection, _HELD, held)
    return held[1]


def sqlstate(error: Exception) -> str | None:
    """Return the SQLSTATE of a database error, as either driver (psycopg2, psycopg) names it."""
    cause = error.__cause__
    return getattr(cause, "pgcode", None) or getattr(cause, "sqlstate", None)
