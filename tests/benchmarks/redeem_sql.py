"""What Python adds to a redemption: our pairs per second, beside the very same SQL sent through bare psycopg2.

Value: ``reserve`` and ``redeem`` as in :mod:`tests.benchmarks.redeem`, all on one offer. Peer: the statements of one
such pair were recorded, and are sent again and again with other ids, without Django, the models or our code; what the
statements answer is not looked at. Both ledgers are verified afterwards.
"""

from __future__ import annotations

import sys
import uuid
from typing import Any

from django.db import connection
from django.test.utils import CaptureQueriesContext

from personalization.models import Reservation, Shopper
from tests.benchmarks import report, stage
from tests.benchmarks.redeem import LABEL, PROCESSES, Bout, our_pair
from tests.support import build

PEER = "the identical SQL, recorded and replayed through bare psycopg2"


class Replay:
    """The statements of one pair as texts, in which coupon, reservation and key can be exchanged."""

    def __init__(self, shopper: Shopper, coupon_id: str) -> None:
        key = f"{LABEL}:{coupon_id}"
        with CaptureQueriesContext(connection) as recorded:
            our_pair(shopper, coupon_id, key)
        reservation = str(Reservation.objects.get(idempotency_key=key).pk)
        self._ids = (coupon_id, reservation)
        self.statements = [str(query["sql"]) for query in recorded.captured_queries]

    def __call__(self, shopper: Shopper, coupon_id: str, key: str) -> None:
        recorded_coupon, recorded_reservation = self._ids
        reservation = str(uuid.uuid4())
        raw: Any = connection.connection
        with raw.cursor() as cursor:
            for text in self.statements:
                mine = text.replace(recorded_coupon, coupon_id).replace(recorded_reservation, reservation)
                cursor.execute(mine)


def measure(quick: bool) -> report.Measurement:
    """Take turns; each bout has a campaign of its own."""
    rounds, seconds, most = (2, 0.6, 600) if quick else (5, 4.0, 4000)
    shopper = build.shopper()
    sides: tuple[list[float], list[float]] = ([], [])
    faults: list[str] = []
    statements = 0
    for _ in range(rounds):
        ours = Bout(shopper, our_pair, 1, most)
        replayed = Bout(shopper, our_pair, 1, most)
        replay = Replay(shopper, replayed.coupons.pop())
        replayed.pair, statements = replay, len(replay.statements)
        for side, bout in zip(sides, (ours, replayed), strict=True):
            fought = bout.fight(seconds)
            side.append(fought.rate)
            faults += fought.faults
    rate = report.paired(*sides)
    notes = rate.as_json() | {"statements": statements, "rounds": rounds, "ledger_faults": faults}
    return report.Measurement(
        "redeem_sql", round(rate.value, 1), "reserve+redeem pairs/s", PEER, round(rate.peer_value, 1),
        round(rate.ratio, 3), target=0.5, connections=PROCESSES, notes=notes,
    )  # fmt: skip


if __name__ == "__main__":
    sys.exit(stage.main("redeem_sql", measure, server=True))
