"""The statements that write occurrences and their messages: a whole range of shoppers each, repeated without effect."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from django.db import connection

from personalization.campaigns.occasions import Found
from personalization.models import Trigger

# Materialized: folded into the SELECT, a marker would be looked up twice, to test it and to write it.
_OCCURRENCES = """
INSERT INTO personalization_occurrence (trigger_id, shopper_id, key, at, open_until)
WITH found AS MATERIALIZED ({found})
SELECT %s, found.id, %s || substr(CAST(found.marker AS varchar(40)), 1, 10), %s, %s
FROM found
WHERE found.marker IS NOT NULL
ORDER BY found.id
{once}
"""
_ONCE = "ON CONFLICT (trigger_id, shopper_id, key) DO NOTHING"
_MESSAGES = """
INSERT INTO personalization_outboxmessage (id, occurrence_id, campaign_id, shopper_id, channel, dedupe_key, state,
    reason, not_before, attempts, lease_expires_at, fence, sent_at, created_at)
SELECT {new_id}, o.id, %s, o.shopper_id, c.channel, CAST(o.id AS varchar(20)) || ':' || c.channel, 'waiting',
    '', %s, 0, NULL, 0, NULL, %s
FROM personalization_occurrence o
JOIN personalization_shopper s ON s.id = o.shopper_id
CROSS JOIN ({channels}) AS c
WHERE o.trigger_id = %s AND o.shopper_id > %s AND o.shopper_id <= %s AND o.at = %s AND s.consent_marketing
ORDER BY o.id, c.channel
ON CONFLICT (dedupe_key) DO NOTHING
"""


def insert_occurrences(trigger: Trigger, found: Found, now: datetime, open_until: datetime) -> int:
    """Write one occurrence for everybody found and not written yet; returns how many are new (one statement)."""
    # The order goes: the statement has its own, so that two evaluations wait for each other and never in a circle.
    inner, params = found.shoppers.order_by().values("id", "marker").query.sql_with_params()
    statement = _OCCURRENCES.format(found=inner, once=_ONCE)
    return _run(statement, [*params, trigger.pk, found.prefix, _moment(now), _moment(open_until)])


def insert_messages(trigger: Trigger, low: int, high: int, now: datetime) -> int:
    """Write the messages of the occurrences that began at ``now`` in this range of shoppers (one statement)."""
    if not trigger.channels:
        return 0
    new_id = "gen_random_uuid()" if connection.vendor == "postgresql" else "lower(hex(randomblob(16)))"
    # A parameter alone has no type in a SELECT list on PostgreSQL.
    channels = " UNION ALL ".join(["SELECT CAST(%s AS varchar(40)) AS channel"] * len(trigger.channels))
    moment = _moment(now)
    params = [trigger.campaign_id, moment, moment, *trigger.channels, trigger.pk, low, high, moment]
    return _run(_MESSAGES.format(new_id=new_id, channels=channels), params)


def _run(statement: str, params: list[Any]) -> int:
    with connection.cursor() as cursor:
        cursor.execute(statement, params)
        return max(cursor.rowcount, 0)


def _moment(value: datetime) -> Any:
    return connection.ops.adapt_datetimefield_value(value)
