"""Decisions per second over HTTP, beside a DRF view that makes one indexed select.

Value: ``GET offers/?slot=`` for consenting visitors with published scores and a fresh session; every answer is a
committed decision with its exposure. Peer: :class:`PlainOffersView` below, which reads the same row of scores by the
same index and logs nothing.
"""

from __future__ import annotations

import sys
import uuid
from collections import Counter
from datetime import timedelta
from typing import Any

import numpy as np
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from personalization import conf
from personalization.models import (
    Campaign,
    Decision,
    ModelVersion,
    Offer,
    ScoreSet,
    Shopper,
    ShopperAlias,
    ShopperScores,
)
from personalization.tracking.ingest import store_events
from personalization.types import HEADS, NO_OFFER, EventData, ModelTask, OfferKind
from tests.benchmarks import report, stage, web
from tests.benchmarks.traffic import Letter

SLOT = "home_hero"
LIMIT = 3
OFFERS = 20
CAMPAIGNS = 4
ITEMS = 30
SESSION_EVENTS = 20
IN_PLAY = 1000
"""Visitors who send requests: they have a cookie and a session of fresh events."""
BATCH = 1000
PEER = "DRF view: one indexed select of the same scores, nothing written"


class PlainOffersView(APIView):
    """The peer: reads the shopper's scores by key and returns the offers most likely to be redeemed.

    It is told who the shopper is and which scores are live; it knows no consent, no limits, no budget, no session
    and no holdout, and nobody will ever know what it decided.
    """

    authentication_classes: Any = []
    permission_classes: Any = []

    def get(self, request: Request) -> Response:
        query = request.query_params
        found = ShopperScores.objects.filter(shopper_id=int(query["shopper"]), score_set_id=int(query["set"]))
        scores = found.values_list("offers", flat=True)[0]
        redeem = HEADS.index("redeem")
        best = sorted(scores, key=lambda pk: -scores[pk][redeem])[:LIMIT]
        return Response({"offers": [{"offer_id": int(pk), "probability": scores[pk][redeem]} for pk in best]})


def measure(quick: bool) -> report.Measurement:
    """Fill the tables, then let both answer in turn."""
    shoppers = 4_000 if quick else 20_000
    rounds, seconds = (3, 1.5) if quick else (6, 4.0)
    ours, peers = _fill(shoppers)
    queries = _queries(ours)
    before = Decision.objects.count()
    with web.site() as running:
        contest = web.contest(running, ours, peers, rounds=rounds, seconds=seconds)
    rate = contest.paired
    notes = rate.as_json() | {
        "setup": web.SETUP,
        "commit_ms": stage.commit_ms(),
        "rounds": rounds,
        "shoppers": shoppers,
        "offers": OFFERS,
        "ours": web.latencies_ms(contest.ours),
        "peer": web.latencies_ms(contest.peers),
        "queries_per_decision": sum(queries.values()),
        "queries": dict(queries),
        "decisions_logged": Decision.objects.count() - before,
    }
    return report.Measurement(
        "decide", round(rate.value, 1), "decisions/s", PEER, round(rate.peer_value, 1), round(rate.ratio, 3),
        connections=web.CONNECTIONS, notes=notes,
    )  # fmt: skip


def _fill(count: int) -> tuple[list[Letter], list[Letter]]:
    """Publish scores of ``count`` shoppers and return the requests of those in play, for both contenders."""
    offers = _offers()
    published = _published()
    agreed = {"consent_analytics": True, "consent_personalisation": True}
    made = Shopper.objects.bulk_create([Shopper(**agreed) for _ in range(count)], batch_size=BATCH)
    ids = [shopper.pk for shopper in made]
    rng = np.random.default_rng(0)
    for at in range(0, count, BATCH):
        block = [_scores(pk, published, offers, rng) for pk in ids[at : at + BATCH]]
        ShopperScores.objects.bulk_create(block)
    in_play = [int(pk) for pk in rng.choice(ids, min(IN_PLAY, count), replace=False)]
    visitors = {pk: uuid.uuid4().hex for pk in in_play}
    kind = ShopperAlias.Kind.VISITOR
    ShopperAlias.objects.bulk_create([ShopperAlias(kind=kind, value=v, shopper_id=pk) for pk, v in visitors.items()])
    store_events([_visit(pk, number, offers) for pk in in_play for number in range(SESSION_EVENTS)])
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")  # as autovacuum has done on a table of this size
    path = f"/personalization/api/v1/offers/?slot={SLOT}&limit={LIMIT}"
    agent = {"User-Agent": "Mozilla/5.0 (X11; Linux x86_64) Firefox/140.0"}
    ours = [Letter("GET", path, agent | {"Cookie": f"{conf.get().cookie_name}={v}"}) for v in visitors.values()]
    peers = [Letter("GET", f"/peer/offers/?shopper={pk}&set={published.pk}", agent) for pk in in_play]
    return ours, peers


def _offers() -> list[int]:
    """Make running campaigns with offers of every redeemable kind; return the offers' keys."""
    now = timezone.now()
    kinds = [kind.value for kind in OfferKind if kind not in {OfferKind.ANNOUNCEMENT, OfferKind.MEMBER_EXCLUSIVE}]
    keys: list[int] = []
    for number in range(CAMPAIGNS):
        campaign = Campaign.objects.create(
            name=f"Campaign {number}",
            status=Campaign.Status.RUNNING,
            starts_at=now - timedelta(days=1),
            ends_at=now + timedelta(days=30),
            budget_minor=10**9,
            audience={"all": [{"field": "tenure_days", "op": ">=", "value": 1}]} if number == CAMPAIGNS - 1 else {},
        )
        for place in range(OFFERS // CAMPAIGNS):
            offer = Offer.objects.create(
                campaign=campaign,
                name=f"Offer {number}.{place}",
                kind=kinds[place % len(kinds)],
                percent=5 + place,
                threshold_minor=1000 * place,
                category=f"category-{place}" if place % 2 else "",
                slots=[SLOT],
            )
            keys.append(offer.pk)
    return keys


def _published() -> ScoreSet:
    version = ModelVersion.objects.create(
        task=ModelTask.RESPONSE.value, estimator="boosting", state=ModelVersion.State.CHAMPION,
        cutoff_at=timezone.now(), path="none", sha256="0" * 64, size_bytes=0,
    )  # fmt: skip
    return ScoreSet.objects.create(state=ScoreSet.State.LIVE, response_version=version, published_at=timezone.now())


def _scores(pk: int, published: ScoreSet, offers: list[int], rng: np.random.Generator) -> ShopperScores:
    heads = rng.uniform(0.02, 0.6, (len(offers), len(HEADS))).round(5)
    kinds = [*OfferKind, NO_OFFER]
    return ShopperScores(
        score_set=published,
        shopper_id=pk,
        offers={str(key): row.tolist() for key, row in zip(offers, heads, strict=True)},
        kinds=dict(zip(map(str, kinds), rng.dirichlet(np.ones(len(kinds))).round(5).tolist(), strict=True)),
        items=[f"sku-{number}" for number in rng.integers(0, 4000, ITEMS)],
        values={"basket_minor": 4500, "visit_rate": 0.2, "interest": {"category-1": 0.4, "category-3": 0.2}},
    )


def _visit(pk: int, number: int, offers: list[int]) -> EventData:
    return EventData(
        source="benchmark",
        event_id=f"{pk}-{number}",
        type="product_viewed",
        shopper_id=pk,
        occurred_at=timezone.now() - timedelta(minutes=number),
        item_id=f"sku-{number}",
        category=f"category-{number % 6}",
        offer_id=offers[number % len(offers)] if number % 5 == 0 else None,
    )


def _queries(letters: list[Letter]) -> Counter[str]:
    """Return the statements of one decision in a process that has the campaigns in its cache: verb, table → count."""
    client = Client(headers={"host": "127.0.0.1"})
    for letter in letters[:2]:
        with CaptureQueriesContext(connection) as captured:
            answer = client.get(letter.path, headers=letter.headers)
        if answer.status_code != 200:
            raise RuntimeError(f"{letter.path} answered {answer.status_code}: {answer.content[:500]!r}")
    return Counter(_short(query["sql"]) for query in captured.captured_queries)


def _short(sql: str) -> str:
    words = sql.replace('"', " ").split()
    table = next((word for word in words if word.startswith("personalization_")), "")
    return f"{words[0]} {table.removeprefix('personalization_')}".strip()


if __name__ == "__main__":
    sys.exit(stage.main("decide", measure, server=True))
