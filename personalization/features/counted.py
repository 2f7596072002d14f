"""The SQL form of what a shopper did: the features of every shopper at one moment, from the daily counts.

One row a shopper comes out of the database, however long the past. ``reference`` is its specification, as of
the form over series in memory (``compute``).
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from django.db import connection

from personalization.features import rollup_sql, rollups
from personalization.features.behaviour import Past
from personalization.features.frames import NEVER, Floats, Ints, milliseconds

SPAN = 50_000
_PAST = """
SELECT p.shopper_id, SUM(p.orders), {orders_28d}, {orders_7d}, SUM(p.spent_minor), {spent_28d}, {spent_7d},
    MAX(p.largest_minor), {views_28d}, {views_7d}, {searches_28d}, {baskets_28d}, MIN(p.first_order_at),
    MAX(p.last_order_at), MAX(p.last_stream_at)
FROM ({pieces}) p GROUP BY p.shopper_id
"""
_INTEREST = """
SELECT p.shopper_id, CASE WHEN p.category <> '' THEN p.category ELSE i.category END, SUM(p.looks)
FROM ({pieces}) p LEFT JOIN personalization_catalogitem i
    ON p.category = '' AND i.item_id = p.item_id AND i.population = %(population)s
WHERE p.looks > 0 GROUP BY 1, 2
"""


def past(shoppers: Ints, at: datetime, *, digits: int = 2, shown: tuple[Ints, Ints] | None = None) -> Past:
    """Return what lies before ``at`` for each of these shoppers (keys, ascending), who agreed to personalisation.

    Money is divided by 10 ** ``digits``. ``shown`` are the offers shown, which the log does not hold: places among
    the shoppers, and moments in milliseconds.
    """
    columns = np.zeros((11, len(shoppers)))
    moments = np.full((3, len(shoppers)), NEVER)
    for row in _rows(_past_sql(), shoppers, at, {}):
        place = int(np.searchsorted(shoppers, row[0]))
        if place < len(shoppers) and shoppers[place] == row[0]:
            columns[:, place] = [float(value or 0) for value in row[1:12]]
            moments[:, place] = [NEVER if value is None else milliseconds(_moment(value)) for value in row[12:]]
    if shown is not None:
        before = shown[1] < milliseconds(at)
        latest = np.full(len(shoppers), -NEVER)
        np.maximum.at(latest, shown[0][before], shown[1][before])
        known = latest > -NEVER
        last = moments[2]
        last[known] = np.where(last == NEVER, latest, np.maximum(last, latest))[known]
    columns[3:7] /= 10.0**digits
    orders, orders_28d, orders_7d, spent, spent_28d, spent_7d, largest, views_28d, views_7d, searches, baskets = columns
    return Past(
        orders=orders, orders_28d=orders_28d, orders_7d=orders_7d, spent=spent, spent_28d=spent_28d,
        spent_7d=spent_7d, largest=largest, product_views_28d=views_28d, product_views_7d=views_7d,
        searches_28d=searches, basket_changes_28d=baskets, first_order=moments[0], last_order=moments[1],
        last_event=moments[2],
    )  # fmt: skip


def interest(shoppers: Ints, at: datetime, population: str, categories: list[str]) -> Floats:
    """Return how often each shopper looked at each category before ``at``: counts [shoppers, categories].

    Only categories of the list count, as everywhere among the features.
    """
    code = {name: place for place, name in enumerate(categories)}
    counts = np.zeros((len(shoppers), len(categories)))
    for shopper, category, looks in _rows(_interest_sql(), shoppers, at, {"population": population}):
        place = int(np.searchsorted(shoppers, shopper))
        if category in code and place < len(shoppers) and shoppers[place] == shopper:
            counts[place, code[category]] = float(looks)
    return counts


def _past_sql() -> str:
    def within(column: str, edge: str) -> str:
        return f"SUM(CASE WHEN p.moment >= %({edge})s THEN p.{column} ELSE 0 END)"

    return _PAST.format(
        orders_28d=within("orders", "month"),
        orders_7d=within("orders", "week"),
        spent_28d=within("spent_minor", "month"),
        spent_7d=within("spent_minor", "week"),
        views_28d=within("product_views", "month"),
        views_7d=within("product_views", "week"),
        searches_28d=within("searches", "month"),
        baskets_28d=within("basket_changes", "month"),
        pieces=rollup_sql.pieces(rollup_sql.days(), ("now", "month", "week")),
    )


def _interest_sql() -> str:
    return _INTEREST.format(pieces=rollup_sql.pieces(rollup_sql.categories(), ("now",)))


def _rows(statement: str, shoppers: Ints, at: datetime, more: dict[str, Any]) -> list[tuple[Any, ...]]:
    """Return the rows of a statement over the shoppers' spans; within a span they are of one moment of the database."""
    edges = {"now": at, "month": at - timedelta(days=28), "week": at - timedelta(days=7)}
    values = {name: connection.ops.adapt_datetimefield_value(moment) for name, moment in edges.items()}
    values |= rollups.edge_days(edges) | more
    found: list[tuple[Any, ...]] = []
    for first in range(0, len(shoppers), SPAN):
        span = shoppers[first : first + SPAN]
        with rollups.held() as through, connection.cursor() as cursor:
            cursor.execute(
                f"WITH {rollup_sql.counted()} {statement}",
                values | {"low": int(span[0]), "high": int(span[-1]), "through": through},
            )
            found += cursor.fetchall()
    return found


def _moment(value: Any) -> datetime:
    """Return a moment that an aggregate brings: SQLite gives it as it is stored, as text in UTC."""
    moment = datetime.fromisoformat(value) if isinstance(value, str) else value
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
