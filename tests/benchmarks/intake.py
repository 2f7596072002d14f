"""Events ingested per second over HTTP, beside a plain DRF view that writes into the same table.

Value: ``POST events/`` in batches of 500 (100 in the notes). Peer: :class:`PlainEventsView` below. The same body, the
same middleware, the same server; in the notes also raw COPY of the same rows into the same table with its indexes.
"""

from __future__ import annotations

import json
import sys
import threading
import time
import uuid
from io import StringIO
from typing import Any

from django.core import signing
from django.db import connection, connections
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from personalization import conf
from personalization.models import Event, Shopper, ShopperAlias
from personalization.tracking.pages import SALT
from tests.benchmarks import report, stage, web
from tests.benchmarks.traffic import UNIQUE, Letter

BATCHES = (100, 500)
TARGET = 2.5
SHOPPERS = 50
PEER = "DRF view: Serializer(many=True) + bulk_create(ignore_conflicts=True)"
COLUMNS = (
    "source, event_id, type, shopper_id, item_id, category, offer_id, value_minor, properties, "
    "occurred_at, sent_at, received_at, clock_corrected, is_bot, channel, schema_version"
)


class PlainEventSerializer(serializers.Serializer[Any]):
    """The peer's idea of an event."""

    id = serializers.CharField(max_length=100)
    type = serializers.CharField(max_length=40)
    item_id = serializers.CharField(max_length=100, required=False, default="")
    category = serializers.CharField(max_length=100, required=False, default="")
    value_minor = serializers.IntegerField(required=False, default=None)
    occurred_at = serializers.DateTimeField()
    properties = serializers.DictField(required=False, default=dict)


class PlainEventsView(APIView):
    """The peer: what a DRF developer writes in ten minutes.

    It trusts its caller: the shopper's key comes with the request, nobody's consent is asked, no clock is corrected,
    no erased event is kept out, and one bad event refuses its whole batch.
    """

    authentication_classes: Any = []
    permission_classes: Any = []

    def post(self, request: Request) -> Response:
        body: Any = request.data
        checked = PlainEventSerializer(data=body["events"], many=True)
        checked.is_valid(raise_exception=True)
        shopper_id = int(request.query_params["shopper"])
        Event.objects.bulk_create(
            [
                Event(
                    source="peer",
                    event_id=row["id"],
                    type=row["type"],
                    shopper_id=shopper_id,
                    item_id=row["item_id"],
                    category=row["category"],
                    value_minor=row["value_minor"],
                    occurred_at=row["occurred_at"],
                    properties=row["properties"],
                )
                for row in checked.validated_data
            ],
            ignore_conflicts=True,
        )
        return Response({"accepted": len(checked.validated_data)})


def measure(quick: bool) -> report.Measurement:
    """Take turns with both batch sizes, then copy the rows that came in."""
    visitors = _visitors()
    rounds, seconds = (2, 1.0) if quick else (5, 3.0)
    notes: dict[str, Any] = {"setup": web.SETUP, "commit_ms": stage.commit_ms(), "rounds": rounds}
    found: dict[int, report.Paired] = {}
    with web.site() as running:
        for size in BATCHES:
            before = Event.objects.count()
            ours, peers = _letters(visitors, size)
            contest = web.contest(running, ours, peers, rounds=rounds, seconds=seconds)
            found[size] = _events(contest.paired, size)
            notes[f"batch_{size}"] = found[size].as_json() | {
                "ours": web.latencies_ms(contest.ours),
                "peer": web.latencies_ms(contest.peers),
                "rows_stored": Event.objects.count() - before,
            }
    rate = found[BATCHES[-1]]
    notes["copy"] = _copy(rate.value, 10_000 if quick else 50_000)
    notes["ratio_min_max"] = [round(rate.lowest, 3), round(rate.highest, 3)]
    return report.Measurement(
        "intake", round(rate.value, 1), f"events/s in batches of {BATCHES[-1]}", PEER, round(rate.peer_value, 1),
        round(rate.ratio, 3), TARGET, connections=web.CONNECTIONS, notes=notes,
    )  # fmt: skip


def _events(requests: report.Paired, size: int) -> report.Paired:
    return report.Paired(
        requests.value * size, requests.peer_value * size, requests.ratio, requests.lowest, requests.highest
    )


def _visitors() -> dict[str, int]:
    """Make consenting visitors; return cookie → primary key."""
    agreed = {"consent_analytics": True, "consent_personalisation": True}
    shoppers = Shopper.objects.bulk_create([Shopper(**agreed) for _ in range(SHOPPERS)])
    known = {uuid.uuid4().hex: shopper.pk for shopper in shoppers}
    kind = ShopperAlias.Kind.VISITOR
    ShopperAlias.objects.bulk_create([ShopperAlias(kind=kind, value=v, shopper_id=pk) for v, pk in known.items()])
    return known


def _letters(visitors: dict[str, int], size: int) -> tuple[list[Letter], list[Letter]]:
    """Return the same bodies, addressed to both contenders."""
    ours, peers = [], []
    token = signing.dumps("page", salt=SALT)
    for visitor, pk in visitors.items():
        body = json.dumps({"events": [_event(number) for number in range(size)], "token": token})
        headers = {
            "Content-Type": "application/json",
            "Cookie": f"{conf.get().cookie_name}={visitor}",
            "User-Agent": "Mozilla/5.0 (X11; Linux x86_64) Firefox/140.0",
        }
        ours.append(Letter("POST", "/personalization/api/v1/events/", headers, body))
        peers.append(Letter("POST", f"/peer/events/?shopper={pk}", headers, body))
    return ours, peers


def _event(number: int) -> dict[str, Any]:
    """Return one of the events that a visit leaves behind."""
    moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - 3600 + number))
    event: dict[str, Any] = {"id": f"{UNIQUE}-{number}", "occurred_at": moment}
    product = {"item_id": f"sku-{number * 7919 % 4000}", "category": f"category-{number % 24}"}
    match number % 4:
        case 0:
            return event | {"type": "page_viewed", "properties": {"path": f"/c/{number % 24}/", "title": "Shoes"}}
        case 1:
            properties = {"quantity": 1, "basket_total_minor": 4990}
            return event | product | {"type": "basket_changed", "properties": properties}
        case _:
            return event | product | {"type": "product_viewed", "properties": {"dwell_ms": 1200 + number}}


def _copy(rate: float, count: int) -> dict[str, Any]:
    """Return what raw COPY does with the rows that came in last, into the same table and its indexes.

    Once as HTTP brings them (a batch a transaction, as many connections), once as one statement.
    """
    if connection.vendor != "postgresql":
        return {"skipped": "COPY is PostgreSQL's"}
    size, links = BATCHES[-1], web.CONNECTIONS
    rows = _exported(count)
    batches = ["".join(f"copy-{row}" for row in rows[at : at + size]) for at in range(0, len(rows), size)]
    together = "".join(f"again-{row}" for row in rows)
    threads = [threading.Thread(target=_copy_in, args=(batches[link::links],)) for link in range(links)]
    began = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    batched = len(rows) / (time.perf_counter() - began)
    began = time.perf_counter()
    _copy_in([together])
    whole = len(rows) / (time.perf_counter() - began)
    return {
        "rows": len(rows),
        "batches_of_500_events_per_s": round(batched),
        "share_of_batched_copy": round(rate / batched, 3),
        "one_statement_events_per_s": round(whole),
        "share_of_one_copy": round(rate / whole, 3),
    }


def _exported(count: int) -> list[str]:
    """Return rows in COPY's own format, the source's name first: another one, and they are new to the unique key."""
    out = StringIO()
    query = f"SELECT {COLUMNS} FROM personalization_event ORDER BY id DESC LIMIT {count}"
    with connection.cursor() as cursor:
        cursor.copy_expert(f"COPY ({query}) TO STDOUT", out)
    return out.getvalue().splitlines(keepends=True)


def _copy_in(batches: list[str]) -> None:
    with connection.cursor() as cursor:
        for batch in batches:
            cursor.copy_expert(f"COPY personalization_event ({COLUMNS}) FROM STDIN", StringIO(batch))
    connections.close_all()


if __name__ == "__main__":
    sys.exit(stage.main("intake", measure, server=True))
