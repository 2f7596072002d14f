"""Rows of scores on their way into the table: by COPY on PostgreSQL, in batches elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from django.db import connection

from personalization.models import ShopperScores
from personalization.tracking import storage

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
            if storage.can_copy(cursor):
                storage.copy(cursor, _COPY, (_cells(score_set_id, row) for row in rows))
                return
        made = [ShopperScores(score_set_id=score_set_id, **row) for row in rows]
        ShopperScores.objects.bulk_create(made, batch_size=BATCH)


def _cells(score_set_id: int, row: Mapping[str, Any]) -> list[Any]:
    given = (row[field.attname] if field.attname in row else field.get_default() for field in _FIELDS)
    return [score_set_id, *given]
