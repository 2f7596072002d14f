"""A decision stays as the record of what was shown; the model's reasons for it go with the shopper's consent."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from personalization.models import Decision
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
