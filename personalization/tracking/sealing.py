"""Personal values encrypted where they lie: an event's personal properties, what is kept aside, a profile's names.

A sealed value is a text that begins with ``sealed:``, in the place of the value in the same JSON column. What nobody
asks a database for is sealed; what an audience, a trigger or a feature compares is not (docs/how-to/privacy.md
has the table). Reading takes both forms, so that rows written before stay readable while they are sealed in batches.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from personalization import conf
from personalization.tracking import schema, secrets

PREFIX = "sealed:"
NEEDED = frozenset({"age", "gender", "city", "income", "tier", "points", "language", "birthday"})
"""Profile attributes that features, offers, letters or the birthday's trigger read in the database: never sealed."""


def seal(value: Any) -> str:
    """Return any JSON value encrypted under the newest key."""
    return PREFIX + secrets.encrypt(json.dumps(value, separators=(",", ":")))


def is_sealed(value: Any) -> bool:
    """Return whether this is what :func:`seal` made (or what somebody sent to look like it)."""
    return isinstance(value, str) and value.startswith(PREFIX)


def unseal(value: Any) -> Any:
    """Return the value that was sealed; one in clear, and one that no key opens, as it is."""
    text = secrets.decrypt(value.removeprefix(PREFIX)) if is_sealed(value) else ""
    return json.loads(text) if text else value


def renewed(value: Any) -> Any:
    """Return a value sealed under the newest key: re-encrypted, or sealed now. One that no key opens stays as it is."""
    if not is_sealed(value):
        return seal(value)
    token = value.removeprefix(PREFIX)
    if secrets.is_newest(token):
        return value
    again = secrets.rotate(token)
    return value if again is None else PREFIX + again


# --- Events -----------------------------------------------------------------------------------------------------------


def sealed_types() -> list[str]:
    """Return the event types of which some property is sealed."""
    return [name for name in schema.names() if schema.sealed(name)]


def seal_properties(kind: str, properties: Mapping[str, Any]) -> dict[str, Any]:
    """Return an event's properties as they are stored: personal ones sealed, even what looks sealed already."""
    personal = schema.sealed(kind)
    if not personal:
        return dict(properties)
    return {name: seal(value) if name in personal else value for name, value in properties.items()}


def open_properties(properties: Any) -> Any:
    """Return an event's properties, or a profile, in clear."""
    if not isinstance(properties, Mapping):
        return properties
    return {name: unseal(value) for name, value in properties.items()}


# --- Profiles ---------------------------------------------------------------------------------------------------------


def sealed_attributes() -> frozenset[str]:
    """Return the names of the profile attributes that are sealed."""
    return frozenset(conf.get().personal_attributes) - NEEDED


def seal_attributes(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Return a profile as it is stored: what ``PERSONAL_ATTRIBUTES`` names is sealed."""
    personal = sealed_attributes()
    return {name: seal(value) if name in personal else value for name, value in attributes.items()}
