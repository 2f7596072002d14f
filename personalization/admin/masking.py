"""What staff see in place of personal data. No query, no decision: :mod:`personalization.admin.personal` decides."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from personalization.tracking import schema

MASK = "•••"
SHOWN = {"type", "channel", "occurred_at", "value_minor", "offer_id", "item_id", "category"}
"""Fields of an event that name nobody."""
PLAIN_ATTRIBUTES = {"tier", "points", "language"}
"""Profile attributes that say nothing of the person beside their account; all others are hidden."""


def mask_payload(payload: Any) -> Any:
    """Return a payload in which no personal value can be read.

    Of a declared type that is its personal properties; of any other, and of fields that do not belong there, all text.
    """
    if not isinstance(payload, dict):
        return _mask_text(payload)
    kind = payload.get("type")
    shown: dict[str, Any] = {}
    for name, value in payload.items():
        if name == "properties" and isinstance(value, dict):
            shown[name] = mask_properties(kind, value)
        else:
            shown[name] = value if name in SHOWN else _mask_text(value)
    return shown


def mask_properties(kind: Any, properties: Any) -> Any:
    """Return an event's properties without its personal values; of a type that nobody declared, without any text."""
    if not isinstance(properties, dict):
        return _mask_text(properties)
    personal = schema.personal(kind) if isinstance(kind, str) else None
    declared = schema.get(kind) if isinstance(kind, str) else None
    known = {each.name for each in declared.properties} if declared is not None else set()
    return {
        name: value if name in known and personal is not None and name not in personal else _mask_text(value)
        for name, value in properties.items()
    }


def mask_attributes(attributes: Any) -> Any:
    """Return a profile of which only the account's standing can be read, and which attributes there are."""
    if not isinstance(attributes, Mapping):
        return MASK if attributes else attributes
    return {
        name: value if name in PLAIN_ATTRIBUTES or value in (None, "") else MASK for name, value in attributes.items()
    }


def _mask_text(value: Any) -> Any:
    if isinstance(value, str):
        return MASK if value else value
    if isinstance(value, list):
        return [_mask_text(item) for item in value]
    if isinstance(value, dict):
        return {name: _mask_text(item) for name, item in value.items()}
    return value


def unmask(edited: Any, original: Any) -> Any:
    """Return an edited payload with the original value wherever the mask was left as it is."""
    if edited == MASK:
        return original
    if isinstance(edited, dict):
        before = original if isinstance(original, dict) else {}
        return {name: unmask(value, before.get(name, value)) for name, value in edited.items()}
    if isinstance(edited, list):
        known = original if isinstance(original, list) and len(original) == len(edited) else edited
        return [unmask(value, before) for value, before in zip(edited, known, strict=True)]
    return edited


def masked_source(source: str) -> str:
    """Return where an event came from: what follows the colon is a visitor's cookie or an account."""
    kind, _colon, name = source.partition(":")
    return f"{kind}:{MASK}" if name else kind


def masked_order(order_id: str) -> str:
    """Return the end of an order's number: enough to tell two orders of a list apart."""
    return f"…{order_id[-2:]}" if len(order_id) > 3 else MASK if order_id else ""
