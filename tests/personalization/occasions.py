"""Running campaigns with triggers, and what shoppers did before a fixed moment, for the tests about occasions."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

from personalization.campaigns import triggers
from personalization.models import (
    Campaign,
    Event,
    Occurrence,
    Shopper,
    Trigger,
)
from tests.personalization.builders import DAY

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


def campaign(**fields: Any) -> Campaign:
    given = {"status": "running", "starts_at": NOW - 400 * DAY, "ends_at": NOW + 1000 * DAY, "time_zone": "UTC"}
    return Campaign.objects.create(**{"name": "Spring", **given, **fields})


def trigger(kind: str, params: dict[str, Any] | None = None, **fields: Any) -> Trigger:
    of = fields.pop("campaign", None) or campaign()
    made = Trigger(campaign=of, kind=kind, params=params or {}, **fields)
    made.full_clean()
    made.save()
    return made


def event(shopper: Shopper, kind: str, at: datetime, **fields: Any) -> Event:
    given = {"source": "test", "event_id": uuid.uuid4().hex, "type": kind, "occurred_at": at}
    return Event.objects.create(shopper=shopper, **given, **fields)


def keys(of: Trigger, now: datetime = NOW) -> list[str]:
    triggers.evaluate(of, now)
    return list(Occurrence.objects.filter(trigger=of).order_by("pk").values_list("key", flat=True))
