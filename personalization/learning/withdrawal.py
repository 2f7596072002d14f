"""What models have said about a shopper goes with their consent, in the transaction that withdraws it.

Not at the next scoring: until then staff could read it, and a new consent would bring back what was computed before.
"""

from __future__ import annotations

from typing import Any

from django.db import connection
from django.db.models import QuerySet

from personalization.models import ExposurePrediction, Shopper, ShopperScores
from personalization.tracking.identity import people_of
from personalization.types import Purpose

SHARED = " FOR SHARE"


def on_withdrawn(sender: object, *, shopper_id: int, purposes: frozenset[Purpose], **_data: Any) -> None:
    """Delete the shopper's scores in all sets, and what was predicted of their exposures.

    The scores of visitors who became them by a merge stayed with those, for when it is taken back: they go as well.
    """
    if Purpose.PERSONALISATION not in purposes:
        return
    ShopperScores.objects.filter(shopper__in=people_of(shopper_id))._raw_delete("default")
    ExposurePrediction.objects.filter(exposure__shopper=shopper_id).delete()


def staying(people: QuerySet[Shopper]) -> set[int]:
    """Return who of these shoppers is still there and still is as the query asks, and hold their rows, shared.

    For whoever writes what models say: call it when that is written, and take back what is about others. Until the
    transaction ends, somebody who leaves waits: they come either before, and are seen, or after, and take it along.
    Pages that decide share the rows, so none waits for a worker; and who leaves waits for the commit alone, not for
    the writing, however slow or frozen the worker is.
    """
    statement, values = people.order_by("pk").values_list("pk").query.sql_with_params()
    with connection.cursor() as cursor:
        cursor.execute(statement + (SHARED if connection.features.has_select_for_update else ""), values)
        return {pk for (pk,) in cursor.fetchall()}
