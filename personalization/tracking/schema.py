"""The registry of event types: what may arrive, what it carries, and for which purpose it may be kept.

An event from a browser or an API client is checked against its declaration before it is stored. A host adds its own
types with :func:`register`, in its ``AppConfig.ready``; ``UNKNOWN_EVENTS`` and ``UNKNOWN_PROPERTIES`` say what becomes
of what nobody declared.
"""

from __future__ import annotations

from personalization.tracking.checking import Checker
from personalization.tracking.declarations import EventType, Kind, Property, Unit
from personalization.tracking.event_types import BUILT_IN

__all__ = [
    "Checker", "EventType", "Kind", "Property", "Unit", "checker", "get", "names", "personal", "register", "sealed",
    "undeclared",
]  # fmt: skip
UNDECLARED = 0
"""The version that is stored with events of a type that nobody declared."""
_TYPES: dict[str, Checker] = {}


def register(event_type: EventType) -> EventType:
    """Declare an event type; a second declaration under the same name replaces the first."""
    _TYPES[event_type.name] = Checker(event_type)
    return event_type


def get(name: str) -> EventType | None:
    """Return the declared type, or None."""
    found = _TYPES.get(name)
    return None if found is None else found.event_type


def checker(name: str) -> Checker | None:
    """Return what checks events of this type, or None where nobody declared it."""
    return _TYPES.get(name)


def undeclared(name: str) -> Checker:
    """Return what checks events of an unknown type where ``UNKNOWN_EVENTS`` keeps them."""
    return Checker(EventType(name, public=True), undeclared=True)


def personal(name: str) -> frozenset[str] | None:
    """Return the personal properties of a type; None where nobody declared it, and any may be."""
    found = _TYPES.get(name)
    return None if found is None else found.personal


def sealed(name: str) -> frozenset[str]:
    """Return the properties of a type that are stored encrypted."""
    found = _TYPES.get(name)
    return frozenset() if found is None else found.sealed


def names() -> list[str]:
    """Return the names of all declared types."""
    return sorted(_TYPES)


for _event_type in BUILT_IN:
    register(_event_type)
