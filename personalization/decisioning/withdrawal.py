"""A decision stays as the record of what was shown; the model's reasons for it go with the shopper's consent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.db import connection

from personalization.models import Decision, Shopper
from personalization.types import Purpose

BATCH = 500


def without_why(row: Any) -> Any:
    """Return one line of a decision without the model's reasons."""
    return {key: value for key, value in row.items() if key != "why"} if isinstance(row, Mapping) else row


def on_withdrawn(sender: object, *, shopper_id: int, purposes: frozenset[Purpose], **_data: Any) -> None:
    """Take the reasons out of the shopper's decisions."""
    if Purpose.PERSONALISATION not in purposes:
        return
    changed = []
    for decision in Decision.objects.filter(shopper=shopper_id).only("chosen").iterator(chunk_size=BATCH):
        told = [without_why(row) for row in decision.chosen] if isinstance(decision.chosen, list) else decision.chosen
        if told != decision.chosen:
            decision.chosen = told
            changed.append(decision)
    Decision.objects.bulk_update(changed, ["chosen"], batch_size=BATCH)


def stays(shopper: Shopper) -> bool:
    """Return whether a shopper is still there, and still agrees if they did. Call it in the transaction that writes.

    Their row is held, shared, until the decision is written: who leaves at the same moment does so before, and is seen,
    or after, and takes it along.
    """
    agrees = " AND consent_personalisation" if shopper.consent_personalisation else ""  # else a manager said so
    share = " FOR SHARE" if connection.features.has_select_for_update else ""
    with connection.cursor() as cursor:
        cursor.execute(f"SELECT 1 FROM {Shopper._meta.db_table} WHERE id = %s{agrees}{share}", [shopper.pk])  # noqa: S608
        return cursor.fetchone() is not None
