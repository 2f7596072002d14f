"""Rows of scores on their way into the table: by COPY on PostgreSQL, in batches elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from io import StringIO
from typing import Any

from django.db import connection

from personalization.models import ShopperScores
from personalization.tracking.storage import copied

BATCH = 500
_FIELDS = [
    field for field in ShopperScores._meta.concrete_fields if not field.primary_key and field.name != "score_set"
]
_COLUMNS = ", ".join(["score_set_id", *(f'"{field.column}"' for field in _FIELDS)])
_COPY = f"COPY {ShopperScores._meta.db_table} ({_COLUMNS}) FROM STDIN"


def insert(score_set_id: int, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows, each a mapping from a field's ``attname``; what one does not name has its default.

    Call it in a transaction: COPY stops where it fails, and takes nothing back by itself.
    """
    if rows:
        with connection.cursor() as cursor:
            if hasattr(cursor, "copy_expert"):  # psycopg2's; any driver can do the other
                text = StringIO("".join(_line(score_set_id, row) for row in rows))
                with connection.wrap_database_errors:
                    cursor.copy_expert(_COPY, text)
                return
        made = [ShopperScores(score_set_id=score_set_id, **row) for row in rows]
        ShopperScores.objects.bulk_create(made, batch_size=BATCH)


def _line(score_set_id: int, row: Mapping[str, Any]) -> str:
    cells = (row[field.attname] if field.attname in row else field.get_default() for field in _FIELDS)
    return "\t".join([str(score_set_id), *map(copied, cells)]) + "\n"
