"""The daily counts as statements: what is counted is declared once, and each use is composed from it.

A measure says what one event adds and how two amounts become one, so that counting new events, counting a day again
and reading events that are not counted yet are the same arithmetic. Every value is a parameter; SQLite and PostgreSQL
differ in days, in JSON and in what MIN and MAX do with NULL.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from django.db import connection

from personalization.features.frames import STREAM_TYPES
from personalization.features.reference import INTEREST

_ORDER = "e.type = 'order_placed'"
_VIEWS = ("page_viewed", "product_viewed", "category_viewed")
MARK = 26
"""Characters of a moment before the device that was seen at it."""


@dataclass(frozen=True, slots=True)
class Measure:
    """One column. ``event`` is what one event ``e`` contributes; ``how`` is SUM, MIN or MAX."""

    name: str
    how: str
    event: str

    def merged(self, table: str) -> str:
        """Return the amount in the table's row joined with that of the row to be inserted."""
        mine, new = f"{table}.{self.name}", f"excluded.{self.name}"
        if self.how == "SUM":
            return f"{mine} + {new}"
        if _postgres():
            return f"{'LEAST' if self.how == 'MIN' else 'GREATEST'}({mine}, {new})"
        return f"COALESCE({self.how}({mine}, {new}), {mine}, {new})"


@dataclass(frozen=True, slots=True)
class Counts:
    """A table of counts by shopper and day; ``keys`` are further columns by name, of the event's own."""

    table: str
    keys: tuple[tuple[str, str], ...]
    where: str
    measures: tuple[Measure, ...]

    @property
    def columns(self) -> str:
        return ", ".join([name for name, _event in self.keys] + [measure.name for measure in self.measures])

    @property
    def of_an_event(self) -> str:
        """Return the columns as one event fills them."""
        return ", ".join(
            [f"{event} AS {name}" for name, event in self.keys]
            + [f"{measure.event} AS {measure.name}" for measure in self.measures]
        )


def _postgres() -> bool:
    return connection.vendor == "postgresql"


def day_of(moment: str) -> str:
    """Return the UTC day of a moment as SQL."""
    return f"({moment} AT TIME ZONE 'UTC')::date" if _postgres() else f"SUBSTR({moment}, 1, 10)"


def start_of(day: str) -> str:
    """Return the moment at which a UTC day begins as SQL."""
    return f"({day}::timestamp AT TIME ZONE 'UTC')" if _postgres() else f"({day} || ' 00:00:00')"


def end_of(day: str) -> str:
    """Return the moment at which a UTC day is over as SQL."""
    return start_of(f"({day} + 1)" if _postgres() else f"DATE({day}, '+1 day')")


def _texts(names: Sequence[str]) -> str:
    return ", ".join(f"'{name}'" for name in names)


def _count(name: str, condition: str) -> Measure:
    return Measure(name, "SUM", f"CASE WHEN {condition} THEN 1 ELSE 0 END")


def _device() -> str:
    """Return the moment, in characters of one width, and the device: the greatest is the latest."""
    if _postgres():
        given = "e.properties->>'device'"
        is_text = f"jsonb_typeof(e.properties->'device') = 'string' AND {given} <> ''"
        moment = "TO_CHAR(e.occurred_at AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US')"
    else:
        given = "json_extract(e.properties, '$.device')"
        is_text = f"json_type(e.properties, '$.device') = 'text' AND {given} <> ''"
        moment = f"SUBSTR(e.occurred_at || '.000000', 1, {MARK})"
    return f"CASE WHEN e.type IN ({_texts(_VIEWS)}) AND {is_text} THEN {moment} || SUBSTR({given}, 1, 20) END"


def days() -> Counts:
    """Return what is counted of a shopper's day."""
    return Counts(
        "personalization_shopperday",
        (),
        "NOT e.is_bot",
        (
            Measure("events", "SUM", "1"),
            _count("orders", _ORDER),
            Measure("spent_minor", "SUM", f"CASE WHEN {_ORDER} THEN COALESCE(e.value_minor, 0) ELSE 0 END"),
            Measure("largest_minor", "MAX", f"CASE WHEN {_ORDER} THEN COALESCE(e.value_minor, 0) END"),
            _count("product_views", "e.type = 'product_viewed'"),
            _count("searches", "e.type = 'search_performed'"),
            _count("basket_changes", "e.type = 'basket_changed'"),
            Measure("first_order_at", "MIN", f"CASE WHEN {_ORDER} THEN e.occurred_at END"),
            Measure("last_order_at", "MAX", f"CASE WHEN {_ORDER} THEN e.occurred_at END"),
            Measure("last_stream_at", "MAX", f"CASE WHEN e.type IN ({_texts(STORED)}) THEN e.occurred_at END"),
            Measure("last_seen_at", "MAX", "e.occurred_at"),
            Measure("device", "MAX", _device()),
        ),
    )


def categories() -> Counts:
    """Return what is counted of a shopper's day by category, or by product where the event names no category.

    Which category a product belongs to is looked up when the counts are read: a catalogue changes.
    """
    return Counts(
        "personalization_shopperdaycategory",
        (("category", "e.category"), ("item_id", "CASE WHEN e.category = '' THEN e.item_id ELSE '' END")),
        f"NOT e.is_bot AND e.type IN ({_texts((*INTEREST, 'order_placed'))}) AND (e.category <> '' OR e.item_id <> '')",
        (_count("looks", f"e.type IN ({_texts(INTEREST)})"), _count("orders", _ORDER)),
    )


STORED = tuple(name for name in STREAM_TYPES if name != "offer_shown")
"""Types that the feature stream takes from the log; what was shown is an exposure."""


def tables() -> tuple[Counts, ...]:
    """Return every table of counts."""
    return days(), categories()


def _grouped(counts: Counts, source: str) -> str:
    keys = [event for _name, event in counts.keys]
    amounts = [f"{measure.how}({measure.event})" for measure in counts.measures]
    group = ", ".join(str(place) for place in range(1, 3 + len(keys)))
    chosen = ", ".join(["e.shopper_id", day_of("e.occurred_at"), *keys, *amounts])
    return f"""
INSERT INTO {counts.table} (shopper_id, day, {counts.columns})
SELECT {chosen} FROM personalization_event e
JOIN personalization_rolledshopper c ON c.shopper_id = e.shopper_id
WHERE {source} AND {counts.where} GROUP BY {group}
"""  # noqa: S608


def add(counts: Counts) -> str:
    """Return the statement that adds the events after ``%(after)s`` up to ``%(through)s`` to the counts."""
    unique = ", ".join(["shopper_id", "day", *(name for name, _event in counts.keys)])
    merged = ", ".join(f"{measure.name} = {measure.merged(counts.table)}" for measure in counts.measures)
    grouped = _grouped(counts, "e.id > %(after)s AND e.id <= %(through)s")
    return f"{grouped}ON CONFLICT ({unique}) DO UPDATE SET {merged}"


def clear(counts: Counts, marks: Sequence[int]) -> str:
    """Return the statement that removes the counts which these marks say are stale."""
    return f"""
DELETE FROM {counts.table} WHERE (shopper_id, day) IN (
    SELECT d.shopper_id, d.day FROM personalization_staledays x
    JOIN {counts.table} d ON d.shopper_id = x.shopper_id AND d.day BETWEEN x.first_day AND x.last_day
    WHERE x.id IN ({_numbers(marks)}))
"""  # noqa: S608


def drop(counts: Counts, shoppers: Sequence[int]) -> str:
    """Return the statement that removes all counts of these shoppers."""
    return f"DELETE FROM {counts.table} WHERE shopper_id IN ({_numbers(shoppers)})"  # noqa: S608


def recount(counts: Counts, marks: Sequence[int], shoppers: Sequence[int]) -> str:
    """Return the statement that counts the marked days of these shoppers anew, up to ``%(through)s``."""
    return _grouped(
        counts,
        f"""e.shopper_id IN ({_numbers(shoppers)}) AND e.id <= %(through)s AND EXISTS (
    SELECT 1 FROM personalization_staledays x WHERE x.id IN ({_numbers(marks)}) AND x.shopper_id = e.shopper_id
        AND {day_of("e.occurred_at")} BETWEEN x.first_day AND x.last_day)""",  # noqa: S608
    )


def _numbers(keys: Sequence[int]) -> str:
    return ", ".join(str(int(key)) for key in keys) or "NULL"


COVERABLE = "s.consent_personalisation AND s.merged_into_id IS NULL"
COVER_NEWCOMERS = f"""
INSERT INTO personalization_rolledshopper (shopper_id)
SELECT DISTINCT e.shopper_id FROM personalization_event e JOIN personalization_shopper s ON s.id = e.shopper_id
WHERE e.id > %(after)s AND e.id <= %(through)s AND {COVERABLE}
    AND NOT EXISTS (SELECT 1 FROM personalization_rolledshopper c WHERE c.shopper_id = e.shopper_id)
RETURNING shopper_id
"""  # noqa: S608
COVER_UNCOUNTED = f"""
INSERT INTO personalization_rolledshopper (shopper_id)
SELECT s.id FROM personalization_shopper s
WHERE {COVERABLE} AND NOT EXISTS (SELECT 1 FROM personalization_rolledshopper c WHERE c.shopper_id = s.id)
    AND EXISTS (SELECT 1 FROM personalization_event o WHERE o.shopper_id = s.id AND o.id <= %(after)s)
LIMIT %(most)s RETURNING shopper_id
"""  # noqa: S608


def mark_older(shoppers: Sequence[int]) -> str:
    """Return the statement that marks every day of those of these shoppers who have events up to ``%(after)s``."""
    return f"""
INSERT INTO personalization_staledays (shopper_id, first_day, last_day)
SELECT s.id, %(first_day)s, %(last_day)s FROM personalization_shopper s WHERE s.id IN ({_numbers(shoppers)})
    AND EXISTS (SELECT 1 FROM personalization_event o WHERE o.shopper_id = s.id AND o.id <= %(after)s)
"""  # noqa: S608


def pieces(counts: Counts, edges: Sequence[str]) -> str:
    """Return a subquery of ``(shopper_id, moment, …)``: all that counts before ``%(now)s``, each event once.

    Whole days come from the counts. A day that an edge cuts (``%(now)s`` is the last one, others are names of
    parameters with ``_day`` for their day), what came after ``%(through)s``, and shoppers without counts or with stale
    ones are read from the log. A day's ``moment`` is its beginning, on the same side of every edge as all its events.
    For the shoppers from ``%(low)s`` to ``%(high)s`` in the ``counted`` of :func:`counted`.
    """
    cut = ", ".join(f"%({edge}_day)s" for edge in edges)
    columns, event = counts.columns, f"e.shopper_id, e.occurred_at AS moment, {counts.of_an_event}"
    before = f"e.occurred_at < %(now)s AND {counts.where}"
    return f"""
    SELECT d.shopper_id, {start_of("d.day")} AS moment, {columns} FROM {counts.table} d
    WHERE d.shopper_id IN (SELECT shopper_id FROM counted)
        AND d.shopper_id >= %(low)s AND d.shopper_id <= %(high)s AND d.day < %(now_day)s AND d.day NOT IN ({cut})
    UNION ALL
    SELECT {event} FROM personalization_shopperday d
    JOIN personalization_event e ON e.shopper_id = d.shopper_id
        AND e.occurred_at >= {start_of("d.day")} AND e.occurred_at < {end_of("d.day")}
    WHERE d.shopper_id IN (SELECT shopper_id FROM counted)
        AND d.shopper_id >= %(low)s AND d.shopper_id <= %(high)s AND d.day IN ({cut})
        AND e.id <= %(through)s AND {before}
    UNION ALL
    SELECT {event} FROM personalization_event e
    WHERE e.id > %(through)s AND e.shopper_id IN (SELECT shopper_id FROM counted) AND {before}
    UNION ALL
    {_of_the_uncounted(event, before)}
"""  # noqa: S608


def _of_the_uncounted(columns: str, condition: str) -> str:
    """Return the events of a span's shoppers whose counts do not hold, looked up shopper by shopper: they are few.

    PostgreSQL takes them for half of all and would read the whole log; what it may not flatten, it must look up.
    """
    shoppers = f"""SELECT s.id FROM personalization_shopper s WHERE s.id >= %(low)s AND s.id <= %(high)s
        AND {COVERABLE} AND NOT EXISTS (SELECT 1 FROM counted k WHERE k.shopper_id = s.id)"""  # noqa: S608
    if _postgres():
        mine = f"SELECT {columns} FROM personalization_event e WHERE e.shopper_id = u.id AND {condition} OFFSET 0"  # noqa: S608
        return f"SELECT mine.* FROM ({shoppers}) u CROSS JOIN LATERAL ({mine}) mine"  # noqa: S608
    return f"SELECT {columns} FROM personalization_event e WHERE e.shopper_id IN ({shoppers}) AND {condition}"  # noqa: S608


def counted() -> str:
    """Return the common table of the shoppers of a span whose counts hold."""
    return """counted AS (
    SELECT c.shopper_id FROM personalization_rolledshopper c
    WHERE c.shopper_id >= %(low)s AND c.shopper_id <= %(high)s
        AND NOT EXISTS (SELECT 1 FROM personalization_staledays x WHERE x.shopper_id = c.shopper_id))"""
