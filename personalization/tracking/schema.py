"""Declared event types: which properties each carries, and for which purpose it may be kept.

An event from a browser or an API client is checked against this registry before it is stored. A host adds its own
types with :func:`register`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import isfinite
from typing import Any

from personalization.exceptions import InvalidEvent
from personalization.types import Purpose

MAX_TEXT = 500
MAX_AMOUNT_MINOR = 10**12
MAX_DEPTH = 6
# PostgreSQL refuses NUL, and half a surrogate pair (which JSON may carry) is no text in any encoding.
_UNSTORABLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class EventType:
    """One declared type. ``public`` types may arrive from browsers; the others only from the server."""

    name: str
    purpose: Purpose = Purpose.PERSONALISATION
    properties: Mapping[str, type] = field(default_factory=dict)
    needs_item: bool = False
    needs_offer: bool = False
    public: bool = False


_TYPES: dict[str, EventType] = {}


def register(event_type: EventType) -> EventType:
    """Declare an event type; a second declaration under the same name replaces the first."""
    _TYPES[event_type.name] = event_type
    return event_type


def get(name: str) -> EventType | None:
    """Return the declared type, or None."""
    return _TYPES.get(name)


def names() -> list[str]:
    """Return the names of all declared types."""
    return sorted(_TYPES)


register(EventType("page_viewed", properties={"path": str, "title": str, "dwell_ms": int, "device": str}, public=True))
register(EventType("product_viewed", needs_item=True, properties={"dwell_ms": int, "device": str}, public=True))
register(EventType("category_viewed", properties={"device": str}, public=True))
register(EventType("search_performed", properties={"query": str, "results": int}, public=True))
register(
    EventType(
        "basket_changed",
        needs_item=True,
        properties={"quantity": int, "basket_total_minor": int},
        public=True,
    )
)
register(
    EventType(
        "order_placed",
        purpose=Purpose.CONTRACT,
        properties={"order_id": str, "currency": str, "lines": list, "discount_minor": int},
    )
)
register(EventType("order_refunded", purpose=Purpose.CONTRACT, properties={"order_id": str, "currency": str}))
register(EventType("logged_in"))
register(EventType("offer_shown", needs_offer=True, properties={"decision_id": str, "position": int}))
register(EventType("offer_viewed", needs_offer=True, properties={"decision_id": str, "position": int}, public=True))
register(
    EventType(
        "offer_clicked",
        needs_offer=True,
        properties={"decision_id": str, "position": int, "channel": str},
        public=True,
    )
)
register(EventType("offer_dismissed", needs_offer=True, properties={"decision_id": str}, public=True))
register(EventType("coupon_claimed", needs_offer=True))
register(EventType("coupon_redeemed", needs_offer=True))


def storable(text: str) -> str:
    """Return the text without the characters that a database cannot hold."""
    return _UNSTORABLE.sub("", text)


def clean_text(value: Any, name: str, limit: int = MAX_TEXT) -> str:
    """Return text that every database can hold; refuse what is too long."""
    if not isinstance(value, str):
        raise InvalidEvent(f"{name} must be text.")
    value = storable(value).strip()
    if len(value) > limit:
        raise InvalidEvent(f"{name} is longer than {limit} characters.")
    return value


def clean_integer(value: Any, name: str) -> int:
    """Return a whole number within bounds that every database holds."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidEvent(f"{name} must be a whole number.")
    if abs(value) > MAX_AMOUNT_MINOR:
        raise InvalidEvent(f"{name} is out of range.")
    return value


def clean_properties(event_type: EventType, properties: Any) -> dict[str, Any]:
    """Return the declared properties, checked; undeclared ones are refused."""
    if properties is None:
        return {}
    if not isinstance(properties, Mapping):
        raise InvalidEvent("properties must be an object.")
    cleaned: dict[str, Any] = {}
    for name, value in properties.items():
        expected = event_type.properties.get(name)
        if expected is None:
            raise InvalidEvent(f"{event_type.name} has no property {str(name)[:60]!r}.")
        if expected is str:
            cleaned[name] = clean_text(value, name)
        elif expected is int:
            cleaned[name] = clean_integer(value, name)
        elif isinstance(value, expected):
            cleaned[name] = _clean_nested(value, name)
        else:
            raise InvalidEvent(f"{name} must be a {expected.__name__}.")
    return cleaned


def _clean_nested(value: Any, name: str, depth: int = 0) -> Any:
    """Return a list, an object or a number as JSON that every database holds; refuse what is none."""
    if depth > MAX_DEPTH:
        raise InvalidEvent(f"{name} is nested too deeply.")
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return clean_text(value, name)
    if isinstance(value, int):
        return clean_integer(value, name)
    if isinstance(value, float) and isfinite(value):
        return value
    if isinstance(value, list | tuple):
        return [_clean_nested(item, name, depth + 1) for item in value]
    if isinstance(value, Mapping):
        return {clean_text(key, name): _clean_nested(item, name, depth + 1) for key, item in value.items()}
    raise InvalidEvent(f"{name} holds what JSON cannot say.")
