"""The statements that summarise shoppers: each works on a span of shopper ids and leaves no row in Python.

The past comes from the daily counts, and from the log where they do not reach. Days between moments are what SQLite
and PostgreSQL say differently; every value is a parameter.
"""

from __future__ import annotations

from django.db import connection

from personalization.features import rollup_sql
from personalization.features.segment_names import PROSPECT, SEGMENTS

ELIGIBLE = "s.population = %(population)s AND s.merged_into_id IS NULL AND NOT s.is_bot AND s.consent_personalisation"
SPAN = "shopper_id >= %(low)s AND shopper_id <= %(high)s"


def _days(later: str, earlier: str) -> str:
    """Return the days between two moments as SQL."""
    if connection.vendor == "postgresql":
        return f"(EXTRACT(EPOCH FROM ({later} - {earlier}))::double precision / 86400)"
    return f"(julianday({later}) - julianday({earlier}))"


def _now() -> str:
    return "%(now)s::timestamptz" if connection.vendor == "postgresql" else "%(now)s"


def days_since(column: str) -> str:
    """Return the days from a moment to ``%(now)s`` as SQL."""
    return _days(_now(), column)


DROP = f"""
DELETE FROM personalization_shoppersummary WHERE population = %(population)s AND NOT EXISTS (
    SELECT 1 FROM personalization_shopper s WHERE s.id = personalization_shoppersummary.shopper_id AND {ELIGIBLE})
"""  # noqa: S608
DROP_INTERESTS = f"""
DELETE FROM personalization_shopperinterest WHERE shopper_id IN (
    SELECT s.id FROM personalization_shopper s WHERE s.population = %(population)s AND NOT ({ELIGIBLE}))
"""  # noqa: S608
NEXT = f"""
SELECT MIN(s.id) FROM personalization_shopper s
LEFT JOIN personalization_shoppersummary m ON m.shopper_id = s.id AND m.as_of = %(now)s
WHERE {ELIGIBLE} AND s.id > %(after)s AND m.shopper_id IS NULL
"""  # noqa: S608
CLEAR_INTERESTS = f"DELETE FROM personalization_shopperinterest WHERE {SPAN}"  # noqa: S608


def base() -> str:
    """Return the one statement for a span's orders, money, moments, views and device; interests stand already."""
    days = rollup_sql.days()
    return f"""
WITH {rollup_sql.counted()}
INSERT INTO personalization_shoppersummary (shopper_id, population, as_of, orders, spent_minor, first_order_at,
    last_order_at, last_seen_at, views_30d, cycle_days, device, stage, segment, cluster, top_category)
SELECT s.id, s.population, {_now()}, COALESCE(e.orders, 0), COALESCE(e.spent, 0), e.first_at, e.last_at, e.seen,
    COALESCE(e.views, 0),
    CASE WHEN e.orders > 1 THEN {_days("e.last_at", "e.first_at")} / (e.orders - 1) END,
    COALESCE(SUBSTR(e.device, {rollup_sql.MARK + 1}), ''), 'visitor', '', '',
    COALESCE((SELECT i.category FROM personalization_shopperinterest i
        WHERE i.shopper_id = s.id ORDER BY i.share DESC, i.category LIMIT 1), '')
FROM personalization_shopper s LEFT JOIN (
    SELECT p.shopper_id, SUM(p.orders) AS orders, SUM(p.spent_minor) AS spent, MIN(p.first_order_at) AS first_at,
        MAX(p.last_order_at) AS last_at, MAX(p.last_seen_at) AS seen, MAX(p.device) AS device,
        SUM(CASE WHEN p.moment >= %(month)s THEN p.product_views ELSE 0 END) AS views
    FROM ({rollup_sql.pieces(days, ("now", "month"))}) p GROUP BY p.shopper_id
) e ON e.shopper_id = s.id
WHERE s.id >= %(low)s AND s.id <= %(high)s AND {ELIGIBLE}
ON CONFLICT (shopper_id) DO UPDATE SET population = excluded.population, as_of = excluded.as_of,
    orders = excluded.orders, spent_minor = excluded.spent_minor, first_order_at = excluded.first_order_at,
    last_order_at = excluded.last_order_at, last_seen_at = excluded.last_seen_at, views_30d = excluded.views_30d,
    cycle_days = excluded.cycle_days, device = excluded.device, top_category = excluded.top_category
"""  # noqa: S608


def interests() -> str:
    """Return the statement for a span's shares of attention over the season, those too small left out."""
    return f"""
WITH {rollup_sql.counted()}
INSERT INTO personalization_shopperinterest (shopper_id, category, share)
SELECT c.shopper_id, c.category, CAST(c.n AS double precision) / c.total FROM (
    SELECT t.shopper_id, t.category, SUM(t.n) AS n, SUM(SUM(t.n)) OVER (PARTITION BY t.shopper_id) AS total FROM (
        SELECT p.shopper_id, CASE WHEN p.category <> '' THEN p.category ELSE i.category END AS category,
            p.looks + p.orders AS n
        FROM ({rollup_sql.pieces(rollup_sql.categories(), ("now", "season"))}) p
        JOIN personalization_shopper s ON s.id = p.shopper_id
        LEFT JOIN personalization_catalogitem i ON p.category = '' AND i.item_id = p.item_id
        WHERE p.moment >= %(season)s AND {ELIGIBLE}
    ) t WHERE t.category <> '' GROUP BY t.shopper_id, t.category
) c WHERE c.n >= %(least)s * c.total
ON CONFLICT (shopper_id, category) DO UPDATE SET share = excluded.share
"""  # noqa: S608


def prior() -> str:
    """Return the population's mean gap between orders, in days."""
    gap = _days("last_order_at", "first_order_at")
    return f"""
SELECT SUM({gap}) / SUM(orders - 1) FROM personalization_shoppersummary
WHERE population = %(population)s AND orders > 1
"""  # noqa: S608


def cuts(column: str) -> str:
    """Return the statement for the upper ends of the buyers' quintiles of a column."""
    return f"""
SELECT q.fifth, MAX(q.x) FROM (
    SELECT {column} AS x, NTILE(5) OVER (ORDER BY {column}, shopper_id) AS fifth
    FROM personalization_shoppersummary WHERE population = %(population)s AND orders > 0
) q GROUP BY q.fifth ORDER BY q.fifth
"""  # noqa: S608


def judgement() -> str:
    """Return the update of a span's quintile scores, churn risk, stage and segment: one, since writing is what costs.

    Equal values get equal scores.
    """

    def score(column: str, name: str) -> str:
        steps = " + ".join(f"CASE WHEN {column} > %({name}{place})s THEN 1 ELSE 0 END" for place in range(1, 5))
        return f"CASE WHEN orders > 0 THEN 1 + {steps} END"

    since = _days(_now(), "last_order_at")
    own = f"(%(prior)s + CASE WHEN orders > 1 THEN {_days('last_order_at', 'first_order_at')} ELSE 0 END)"
    late = f"{since} / ((%(prior)s + COALESCE(cycle_days, 0) * (orders - 1)) / orders)"
    rules = " ".join(
        f"WHEN q.recency BETWEEN {s.recency[0]} AND {s.recency[1]} "
        f"AND q.frequency + q.monetary BETWEEN {s.worth[0]} AND {s.worth[1]} THEN '{s.code}'"
        for s in SEGMENTS
        if s.code != PROSPECT
    )
    return f"""
UPDATE personalization_shoppersummary SET
    recency_score = q.recency, frequency_score = q.frequency, monetary_score = q.monetary,
    churn_risk = CASE WHEN orders > 0 THEN 1 - POWER({own} / ({own} + {since}), orders) END,
    stage = CASE WHEN orders = 0 THEN 'visitor' WHEN {late} > %(lost)s THEN 'lost'
        WHEN {late} > %(at_risk)s THEN 'at_risk' WHEN orders = 1 THEN 'new'
        WHEN orders > 2 AND q.frequency >= 4 THEN 'loyal' ELSE 'active' END,
    segment = CASE {rules} ELSE '{PROSPECT}' END
FROM (
    SELECT shopper_id AS id, {score("last_order_at", "r")} AS recency, {score("orders", "f")} AS frequency,
        {score("spent_minor", "m")} AS monetary
    FROM personalization_shoppersummary WHERE population = %(population)s AND {SPAN}
) q
WHERE q.id = personalization_shoppersummary.shopper_id
"""  # noqa: S608
