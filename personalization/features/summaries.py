"""Summaries of shoppers: orders, money, RFM scores, lifecycle stage, churn risk and interests, computed set-based.

What the past holds comes from the daily counts (``rollups``), which are brought up to date first.
Spans of 50,000 ids, a transaction each: memory is flat, and a run that was killed goes on where it stopped when it is
started again for the same moment. Only shoppers who agreed to personalisation have a row; robots' events, and what
happened at or after the moment, do not count.

Churn risk is how improbable so long a silence is for somebody who still buys: gaps between orders are exponential
with a rate of the shopper's own, drawn from a gamma over all shoppers (Ehrenberg's NBD, 1959), so with n orders over
T days, silent for t, and a mean gap of m days in the whole population, it is 1 − ((m + T) / (m + T + t)) ** n.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

from django.db import connection
from django.utils import timezone
from django.utils.translation import gettext_noop

from personalization.features import rollups, segments
from personalization.features import summary_sql as sql
from personalization.models import Shopper, ShopperSummary

SPAN = 50_000
INTEREST_DAYS = 90
LEAST_SHARE = 0.02
USUAL_GAP_DAYS = 30.0
"""Mean gap assumed while nobody has ordered twice."""
AT_RISK, LOST = 2.0, 4.0
"""So many of their own usual gaps without an order."""
Progress = Callable[[str, float], None]


def _silent(stage: str, done: float) -> None:
    """Say nothing."""


def refresh(population: str, now: datetime | None = None, progress: Progress | None = None) -> int:
    """Compute the summaries as of ``now`` and return how many there are; repeated, the result is the same."""
    moment, show = now or timezone.now(), progress or _silent
    last = Shopper.objects.filter(population=population).order_by("-pk").values_list("pk", flat=True).first() or 0
    values = _values(population, moment)
    rollups.catch_up(lambda what, done: show(what, 0.4 * done))
    rollups.tidy()
    _run(sql.DROP, values)
    _run(sql.DROP_INTERESTS, values)
    after = 0
    while (low := _one(sql.NEXT, {**values, "after": after})) is not None:
        show(gettext_noop("summarising shoppers"), 0.4 + 0.3 * low / max(last, 1))
        after = low + SPAN - 1
        _summarise({**values, "low": low, "high": after})
    _judge({**values, **_cuts(values)}, show)
    show(gettext_noop("grouping shopping habits"), 0.95)
    segments.cluster(population, moment)
    return ShopperSummary.objects.filter(population=population, as_of=moment).count()


def _values(population: str, now: datetime) -> dict[str, Any]:
    def stored(moment: datetime) -> Any:
        return connection.ops.adapt_datetimefield_value(moment)

    edges = {"now": now, "month": now - timedelta(days=30), "season": now - timedelta(days=INTEREST_DAYS)}
    return {
        "population": population,
        **{name: stored(moment) for name, moment in edges.items()},
        **rollups.edge_days(edges),
        "least": LEAST_SHARE,
        "at_risk": AT_RISK,
        "lost": LOST,
    }


def _run(statement: str, values: dict[str, Any]) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement, values)


def _one(statement: str, values: dict[str, Any]) -> Any:
    with connection.cursor() as cursor:
        cursor.execute(statement, values)
        return cursor.fetchone()[0]


def _summarise(values: dict[str, Any]) -> None:
    """Write the rows and interests of one span, all or none of them."""
    with rollups.held() as through:
        _run(sql.CLEAR_INTERESTS, values)
        _run(sql.interests(), {**values, "through": through})
        _run(sql.base(), {**values, "through": through})


def _cuts(values: dict[str, Any]) -> dict[str, Any]:
    """Return the quintiles' borders and the usual gap. Where buyers are few, missing borders repeat the highest."""
    found: dict[str, Any] = {"prior": max(_one(sql.prior(), values) or 0.0, 0.0) or USUAL_GAP_DAYS}
    found["prior"] = float(found["prior"])
    for name, column in (("r", "last_order_at"), ("f", "orders"), ("m", "spent_minor")):
        with connection.cursor() as cursor:
            cursor.execute(sql.cuts(column), values)
            borders = [row[1] for row in cursor.fetchall()]
        for place in range(1, 5):
            found[f"{name}{place}"] = borders[min(place, len(borders)) - 1] if borders else None
    return found


def _judge(values: dict[str, Any], show: Progress) -> None:
    """Write scores, churn risk, stage and segment, span by span."""
    mine = ShopperSummary.objects.filter(population=values["population"])
    last = mine.order_by("-pk").values_list("pk", flat=True).first() or 0
    after = 0
    while (low := mine.filter(pk__gt=after).order_by("pk").values_list("pk", flat=True).first()) is not None:
        show(gettext_noop("scoring"), 0.7 + 0.25 * low / max(last, 1))
        after = low + SPAN - 1
        _run(sql.judgement(), {**values, "low": low, "high": after})
