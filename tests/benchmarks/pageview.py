"""What tracking adds to a page view, and what a broker or a cache in trouble adds to that: nothing.

Value: the median that tracking adds to a page. The same page is asked for tracked (the signal, the banner's and the
page script's tags, for a visitor who agreed) and untracked (none of them), in turn, over one connection; what is added
is the median over the pairs of rounds. Then the tracked page of two servers in turn: one as ever, one whose broker
refuses, whose broker takes connections and never answers, whose cache is gone, whose cache is two seconds late.
"""

from __future__ import annotations

import os
import socket
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median
from typing import Any
from unittest import mock

from django.core.cache.backends.base import BaseCache
from django.db import connection
from django.http import HttpRequest, HttpResponse
from django.template import Context, Template

from personalization import conf
from personalization.models import CatalogItem, Event, Shopper, ShopperAlias
from personalization.ports.signals import product_viewed
from tests.benchmarks import report, stage, web
from tests.benchmarks.traffic import Letter
from tests.support import servers

VISITORS = 500
ITEM = "sku-1"
P50_LIMIT_MS, P99_LIMIT_MS, TROUBLE_LIMIT = 1.0, 3.0, 1.2
LATE_SECONDS = 2.0
TROUBLE = "BENCHMARK_TROUBLE"
TROUBLES = ("broker_refused", "broker_black_holed", "cache_gone", "cache_late")
BARE = Template("<!doctype html><title>{{ item.title }}</title><main>{{ item.title }}</main>")
TAGGED = Template(
    "{% load personalization %}<!doctype html><title>{{ item.title }}</title><main>{{ item.title }}</main>"
    "{% consent_banner %}{% personalization_beacon %}"
)


def tracked(request: HttpRequest) -> HttpResponse:
    """A product page that tells what it shows."""
    product_viewed.send(sender=CatalogItem, request=request, item_id=ITEM, category="tea")
    return HttpResponse(TAGGED.render(Context({"request": request, "item": CatalogItem.objects.get(item_id=ITEM)})))


def untracked(request: HttpRequest) -> HttpResponse:
    """The same page as it was before the app was installed."""
    return HttpResponse(BARE.render(Context({"request": request, "item": CatalogItem.objects.get(item_id=ITEM)})))


class LateCache(BaseCache):
    """A cache that answers late, and knows nothing."""

    def __init__(self, location: str, params: dict[str, Any]) -> None:
        super().__init__(params)

    def _wait(self, *args: Any, **kwargs: Any) -> None:
        time.sleep(LATE_SECONDS)

    get = set = add = delete = touch = get_many = set_many = delete_many = has_key = clear = _wait  # type: ignore


def measure(quick: bool) -> report.Measurement:
    """Compare page with page, then server with server."""
    rounds, seconds = (6, 1.0) if quick else (20, 3.0)
    letters, bare = _letters()
    before = Event.objects.count()
    with web.site() as running:
        contest = web.contest(running, letters, bare, rounds=rounds, seconds=seconds, connections=1)
        lost = {"normal": running.answered[letters[0].path] - (Event.objects.count() - before)}
        troubles = {}
        for name in TROUBLES:
            before = Event.objects.count()
            troubles[name], sent = _in_trouble(name, running, letters, max(3, rounds // 4), seconds)
            lost[name] = sent - (Event.objects.count() - before)
    added = {share: _added_ms(contest, share) for share in (0.5, 0.99)}
    p99_ratio = max(troubles.values())
    notes = {
        "commit_ms": stage.commit_ms(),
        "rounds": rounds,
        "tracked": web.latencies_ms(contest.ours),
        "untracked": web.latencies_ms(contest.peers),
        "added_p50_ms": round(added[0.5], 3),
        "added_p99_ms": round(added[0.99], 3),
        "p99_met": added[0.99] <= P99_LIMIT_MS,
        "p99_in_trouble_by_normal": troubles,
        "trouble_met": p99_ratio <= TROUBLE_LIMIT,
        "events_lost": lost,
    }
    return report.Measurement(
        "pageview", round(added[0.5], 3), "ms added at p50", f"the limit of {P50_LIMIT_MS} ms", P50_LIMIT_MS,
        round(added[0.5] / P50_LIMIT_MS, 3), target=1.0, better="lower", connections=1, notes=notes,
    )  # fmt: skip


def _letters() -> tuple[list[Letter], list[Letter]]:
    """Make visitors who agreed, and return their requests for both pages."""
    CatalogItem.objects.create(
        item_id=ITEM, label="shop.product", title="Green tea", price_minor=900, currency="EUR", category="tea"
    )
    agreed = {"consent_analytics": True, "consent_personalisation": True, "consent_marketing": True}
    made = Shopper.objects.bulk_create([Shopper(**agreed) for _ in range(VISITORS)])
    cookies = [uuid.uuid4().hex for _ in made]
    kind = ShopperAlias.Kind.VISITOR
    ShopperAlias.objects.bulk_create(
        [ShopperAlias(kind=kind, value=cookie, shopper=each) for cookie, each in zip(cookies, made, strict=True)]
    )
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE")
    agent = {"User-Agent": "Mozilla/5.0 (X11; Linux x86_64) Firefox/140.0"}
    headers = [agent | {"Cookie": f"{conf.get().cookie_name}={cookie}; pz_consent=yes"} for cookie in cookies]
    return [Letter("GET", "/page/tracked/", each) for each in headers], [
        Letter("GET", "/page/untracked/", each) for each in headers
    ]


def _added_ms(contest: web.Contest, share: float) -> float:
    """Return what tracking adds at a quantile: the median over neighbouring rounds, in milliseconds."""
    pairs = zip(contest.ours, contest.peers, strict=True)
    return median(
        (report.quantile_ms(ours.latencies, share) or 0.0) - (report.quantile_ms(peers.latencies, share) or 0.0)
        for ours, peers in pairs
    )


def _in_trouble(name: str, normal: web.Site, letters: list[Letter], rounds: int, seconds: float) -> tuple[float, int]:
    """Return the p99 of a server in trouble by that of one as ever (median over rounds), and how many were answered.

    Every answer has to be a 200: :meth:`tests.benchmarks.web.Site.send` raises otherwise.
    """
    path, before = letters[0].path, normal.answered[letters[0].path]
    with _trouble(name), web.site() as troubled:
        for running in (normal, troubled):
            running.send(letters, seconds / 2, connections=1)
        ratios = []
        for _ in range(rounds):
            own, ever = (running.send(letters, seconds, connections=1) for running in (troubled, normal))
            p99 = [report.quantile_ms(each.latencies, 0.99) or 0.0 for each in (own, ever)]
            ratios.append(p99[0] / p99[1])
        sent = normal.answered[path] - before + troubled.answered[path]
    return round(median(ratios), 3), sent


@contextmanager
def _trouble(name: str) -> Iterator[None]:
    """Let the servers that are started meanwhile have this trouble."""
    with socket.create_server(("127.0.0.1", 0), backlog=100) as hole:  # takes connections, and never answers
        port = hole.getsockname()[1] if name == "broker_black_holed" else servers.free_port()
        with mock.patch.dict(os.environ, {TROUBLE: name, f"{TROUBLE}_URL": f"redis://127.0.0.1:{port}/0"}):
            yield


if __name__ == "__main__":
    sys.exit(stage.main("pageview", measure, server=True))
