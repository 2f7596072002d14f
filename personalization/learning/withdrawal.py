"""What models have said about a shopper goes with their consent, in the transaction that withdraws it.

Not at the next scoring: until then staff could read it, and a new consent would bring back what was computed before.
"""

from __future__ import annotations

from typing import Any

from personalization.models import ExposurePrediction, ShopperScores
from personalization.types import Purpose


def on_withdrawn(sender: object, *, shopper_id: int, purposes: frozenset[Purpose], **_data: Any) -> None:
    """Delete the shopper's scores in all sets, and what was predicted of their exposures."""
    if Purpose.PERSONALISATION not in purposes:
        return
    ShopperScores.objects.filter(shopper=shopper_id)._raw_delete("default")
    ExposurePrediction.objects.filter(exposure__shopper=shopper_id).delete()
