"""A crowd of shoppers out of numbers: each statement makes all its rows inside the database, in the words it knows.

Chance is arithmetic (one multiplier a draw, modulo a prime), so that both databases and every run draw alike.
"""

from __future__ import annotations

from collections.abc import Sequence

from django.db import connection
from django.utils import timezone

_PRIME = 2_147_483_647
_MULTIPLIERS = (48_271, 16_807, 69_621, 39_373, 742_938_285)


class Rows:
    """Statements over a series ``i`` = 1, 2, …; moments are given in days before now."""

    def __init__(self) -> None:
        self.postgres = connection.vendor == "postgresql"
        self.json = "jsonb" if self.postgres else "text"
        self._now = f"{timezone.now():%Y-%m-%d %H:%M:%S}"

    def series(self, count: int) -> str:
        """Return a table ``n(i)`` of the numbers from 1 to ``count``."""
        if self.postgres:
            return f"generate_series(1, {count}) AS n(i)"
        counted = f"WITH RECURSIVE c(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM c WHERE i < {count})"
        return f"({counted} SELECT i FROM c) AS n"

    def draw(self, place: int, below: int) -> str:
        """Return a whole number from 0, drawn for each ``i``; draws of different places are independent enough."""
        return f"(CAST(i AS bigint) * {_MULTIPLIERS[place]} % {_PRIME} % {below})"

    def one_of(self, place: int, texts: Sequence[str]) -> str:
        """Return one of the texts, drawn for each ``i``."""
        cases = " ".join(f"WHEN {number} THEN '{text}'" for number, text in enumerate(texts))
        return f"CASE {self.draw(place, len(texts))} {cases} END"

    def ago(self, days: str) -> str:
        """Return the moment so many days back."""
        if self.postgres:
            return f"(CAST('{self._now}+00' AS timestamptz) - ({days}) * interval '1 day')"
        return f"strftime('%Y-%m-%d %H:%M:%S', '{self._now}', '-' || ({days}) || ' days')"

    def object(self, **values: str) -> str:
        """Return a JSON object of expressions."""
        made = "jsonb_build_object" if self.postgres else "json_object"
        pairs = ", ".join(f"'{name}', {value}" for name, value in values.items())
        return f"{made}({pairs})"

    def insert_shoppers(self, count: int, *, joined_days: str, attributes: str, marketing: str = "false") -> str:
        key = "gen_random_uuid()" if self.postgres else "lower(hex(randomblob(16)))"
        return (
            "INSERT INTO personalization_shopper (key, population, joined_at, attributes, consent_analytics, "
            "consent_personalisation, consent_marketing, is_bot, created_at) "
            f"SELECT {key}, 'shop', {self.ago(joined_days)}, {attributes}, true, true, {marketing}, false, "
            f"{self.ago('0')} FROM {self.series(count)}"
        )

    def insert_events(
        self,
        count: int,
        *,
        source: str,
        shopper: str,
        days: str,
        kind: str,
        where: str = "true",
        item: str = "''",
        category: str = "''",
        value: str = "NULL",
        properties: str = "{}",
    ) -> str:
        return (
            "INSERT INTO personalization_event (source, event_id, type, shopper_id, item_id, category, value_minor, "
            "properties, occurred_at, received_at, clock_corrected, is_bot) "
            f"SELECT '{source}', CAST(i AS varchar(20)), {kind}, {shopper}, {item}, {category}, "
            f"CAST({value} AS bigint), CAST('{properties}' AS {self.json}), {self.ago(days)}, {self.ago('0')}, "
            f"false, false FROM {self.series(count)} WHERE {where}"
        )


def first_key() -> int:
    """Return the key before the first shopper's: shopper ``i`` of a fresh table has this key plus ``i``."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT COALESCE(MIN(id), 1) - 1 FROM personalization_shopper")
        return int(cursor.fetchone()[0])


def run(*statements: str) -> None:
    with connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)


def analyze() -> None:
    """Let the database look at what its tables hold, as it does by itself in a shop."""
    run("ANALYZE")
