"""Rows of scores written per second: COPY beside the ORM's bulk_create, the same rows, a part of a set a transaction.

Value: ``score_rows.insert``, which a scoring uses on PostgreSQL. Peer: ``ShopperScores.objects.bulk_create`` in
batches of 500, which it used before. They take turns; each part goes into a set of its own.
"""

from __future__ import annotations

import sys
import time
from typing import Any

import numpy as np
from django.db import connection, transaction

from personalization.learning import score_rows
from personalization.models import ScoreSet, Shopper, ShopperScores
from tests.benchmarks import report, stage

PART = 2000
OFFERS = 12
PEER = "bulk_create in batches of 500"


def measure(quick: bool) -> report.Measurement:
    """Write part after part both ways."""
    if connection.vendor != "postgresql":
        raise stage.Skipped("COPY is PostgreSQL's.")
    people = [shopper.pk for shopper in Shopper.objects.bulk_create([Shopper() for _ in range(PART)], batch_size=500)]
    rounds = stage.size(quick, 6, 20, 100)
    rates: dict[str, list[float]] = {"copy": [], "bulk_create": []}
    for number in range(rounds):
        rows = scores(people, number)
        for way in sorted(rates, reverse=bool(number % 2)):
            rates[way].append(PART / _seconds(way, rows))
    found = report.paired(rates["copy"], rates["bulk_create"])
    notes: dict[str, Any] = found.as_json() | {"rounds": rounds, "rows_a_part": PART, "commit_ms": stage.commit_ms()}
    return report.Measurement(
        "score_rows",
        round(found.value, 1),
        "rows/s",
        PEER,
        round(found.peer_value, 1),
        round(found.ratio, 3),
        notes=notes,
    )


def scores(people: list[int], seed: int) -> list[dict[str, Any]]:
    """Return rows as a scoring of a dozen offers leaves them, without explanations."""
    heads = np.random.default_rng(seed).random((len(people), OFFERS, 4)).round(5)
    return [
        {
            "shopper_id": pk,
            "offers": {str(offer): row.tolist() for offer, row in enumerate(own)},
            "items": [f"sku-{(pk * 7919 + place) % 4000}" for place in range(30)],
            "values": {"basket_minor": 4990, "visit_rate": 0.12, "interest": {"shoes": 0.5, "tea": 0.25}},
            "intent": float(own[0, 0]),
        }
        for pk, own in zip(people, heads, strict=True)
    ]


def _seconds(way: str, rows: list[dict[str, Any]]) -> float:
    score_set = ScoreSet.objects.create()
    began = time.perf_counter()
    with transaction.atomic():
        if way == "copy":
            score_rows.insert(score_set.pk, rows)
        else:
            made = [ShopperScores(score_set=score_set, **row) for row in rows]
            ShopperScores.objects.bulk_create(made, batch_size=score_rows.BATCH)
    taken = time.perf_counter() - began
    assert ShopperScores.objects.filter(score_set=score_set).count() == len(rows)
    ShopperScores.objects.filter(score_set=score_set)._raw_delete("default")
    return taken


if __name__ == "__main__":
    sys.exit(stage.main("score_rows", measure, server=True))
