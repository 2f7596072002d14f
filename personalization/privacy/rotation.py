"""New keys for what is encrypted: every sealed value and every code, in batches, while shoppers go on shopping.

Both keys are accepted meanwhile: ``SECRET_KEYS`` lists the new one first, and reading tries all. Each batch is one
transaction that holds its rows; what is under the newest key already is left as it is, so a run that was stopped is
taken up by running it again. What lies in clear, since it was stored before it was declared personal, is sealed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from django.db import transaction
from django.db.models import Q, QuerySet

from personalization.models import Event, ProfileVersion, QuarantinedEvent, Shopper
from personalization.tracking import audit, schema, sealing

BATCH = 500
Progress = Callable[[str, float], None]
Renew = Callable[[Any], dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Room:
    """A table with something encrypted in it. ``renew`` returns the columns of a row that change; none if none does."""

    name: str
    rows: Callable[[], QuerySet[Any]]
    columns: tuple[str, ...]
    renew: Renew


_ROOMS: dict[str, Room] = {}


def register(room: Room) -> None:
    """Have a room's secrets renewed with the others."""
    _ROOMS[room.name] = room


def rotate(progress: Progress | None = None, *, by: Any = None, size: int = BATCH) -> dict[str, int]:
    """Encrypt everything under the newest key; returns how many rows changed, by room.

    May be stopped at any moment and run again. ``progress`` is told the room and the share of it that is done.
    """
    changed: dict[str, int] = {}
    for room in _ROOMS.values():
        total, done = max(room.rows().count(), 1), 0
        changed[room.name] = 0
        for seen, renewed in _batches(room, size):
            done += seen
            changed[room.name] += renewed
            if progress is not None:
                progress(room.name, min(done / total, 1.0))
    audit.note(audit.Action.ROTATED, by=by, kind="keys", rows=changed)
    return changed


def _batches(room: Room, size: int) -> Iterator[tuple[int, int]]:
    """Renew a room in the order of its keys; yield how many rows were seen and how many changed, batch by batch."""
    after: Any = None
    while True:
        beyond = Q() if after is None else Q(pk__gt=after)
        keys = list(room.rows().filter(beyond).order_by("pk").values_list("pk", flat=True)[:size])
        if not keys:
            return
        after = keys[-1]
        yield len(keys), _renew(room, keys)


@transaction.atomic
def _renew(room: Room, keys: list[Any]) -> int:
    changed = []
    # Read again, and held: what somebody writes meanwhile is not written over.
    for row in room.rows().filter(pk__in=keys).order_by("pk").select_for_update(of=("self",)):
        new = room.renew(row)
        if new:
            for name, value in new.items():
                setattr(row, name, value)
            changed.append(row)
    if changed:
        type(changed[0])._default_manager.bulk_update(changed, room.columns)
    return len(changed)


def in_clear() -> dict[str, int]:
    """Return how many of the newest rows hold in clear what should be encrypted, by room; a sample, for ``doctor``."""
    found: dict[str, int] = {}
    for name in ("events", "set_aside", "profiles"):
        room = _ROOMS[name]
        count = sum(_has_clear(room, row) for row in room.rows().order_by("-pk")[:BATCH])
        if count:
            found[name] = count
    return found


def _has_clear(room: Room, row: Any) -> bool:
    value = getattr(row, room.columns[0])
    if room.name == "set_aside":
        return not sealing.is_sealed(value)
    names = schema.sealed(row.type) if room.name == "events" else sealing.sealed_attributes()
    return any(name in names and not sealing.is_sealed(each) for name, each in value.items())


# --- Rooms below this one ---------------------------------------------------------------------------------------------


def _events() -> QuerySet[Event]:
    return Event.objects.filter(type__in=sealing.sealed_types()).only("pk", "type", "properties")


def _renew_event(event: Event) -> dict[str, Any]:
    return _renew_values("properties", event.properties, schema.sealed(event.type))


def _set_aside() -> QuerySet[QuarantinedEvent]:
    return QuarantinedEvent.objects.only("pk", "payload")


def _renew_set_aside(row: QuarantinedEvent) -> dict[str, Any]:
    new = sealing.renewed(row.payload)
    return {} if new == row.payload else {"payload": new}


def _profiles() -> QuerySet[Shopper]:
    return Shopper.objects.exclude(attributes={}).only("pk", "attributes")


def _earlier_profiles() -> QuerySet[ProfileVersion]:
    return ProfileVersion.objects.exclude(attributes={}).only("pk", "attributes")


def _renew_profile(shopper: Shopper | ProfileVersion) -> dict[str, Any]:
    return _renew_values("attributes", shopper.attributes, sealing.sealed_attributes())


def _renew_values(column: str, values: Any, names: frozenset[str]) -> dict[str, Any]:
    if not isinstance(values, dict):
        return {}
    new = {
        name: sealing.renewed(value) if name in names or sealing.is_sealed(value) else value
        for name, value in values.items()
    }
    return {} if new == values else {column: new}


register(Room("events", _events, ("properties",), _renew_event))
register(Room("set_aside", _set_aside, ("payload",), _renew_set_aside))
register(Room("profiles", _profiles, ("attributes",), _renew_profile))
register(Room("earlier_profiles", _earlier_profiles, ("attributes",), _renew_profile))
