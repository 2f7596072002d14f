"""Events ingested per second over HTTP, beside a plain DRF view.

Value: ``POST events/`` in batches of 500 (100 in the notes). Peer: :class:`plain_events.PlainEventsView`, into a plain
table of the same columns and indexes with the unique key in it. The same body, the same middleware, the same server.
What storing alone costs beside raw COPY is ``intake_copy``.
"""

from __future__ import annotations

import json
import sys
import time
import uuid
from typing import Any

from django.core import signing

from personalization import conf
from personalization.models import Event, Shopper, ShopperAlias
from personalization.tracking.pages import SALT
from tests.benchmarks import plain_events, report, stage, web
from tests.benchmarks.traffic import UNIQUE, Letter

BATCHES = (100, 500)
TARGET = 2.5
SHOPPERS = 50
PEER = "DRF view: Serializer(many=True) + bulk_create(ignore_conflicts=True)"


def measure(quick: bool) -> report.Measurement:
    """Take turns with both batch sizes."""
    plain_events.create_table()
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


if __name__ == "__main__":
    sys.exit(stage.main("intake", measure, server=True))
