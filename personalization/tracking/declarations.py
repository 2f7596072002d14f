"""The words in which an event type is declared: its properties, what they may hold, and what they may be kept for."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from personalization.types import Purpose

MAX_TEXT = 500
FIELDS = ("item_id", "category", "offer_id", "value_minor")
"""What an event says outside its properties, and a type may ask for."""
_NAME = re.compile(r"[a-z][a-z0-9_]{0,39}")


class Kind(StrEnum):
    """What a property holds."""

    TEXT = "text"
    WHOLE = "whole number"
    NUMBER = "number"
    FLAG = "yes or no"
    MOMENT = "moment"
    LIST = "list"
    OBJECT = "object"


class Unit(StrEnum):
    """What a figure counts. A host may name another one."""

    MILLISECONDS = "ms"
    MINOR = "minor units"
    COUNT = "count"
    PLACE = "place"
    POINTS = "points"


@dataclass(frozen=True, slots=True)
class Property:
    """One property of an event type.

    ``choices`` lists all that it may be. ``least`` and ``most`` bound numbers, both included; ``max_length`` bounds
    text, in characters. ``personal`` values are hidden from staff and stored encrypted; with ``lookup`` they are hidden
    only, for the database is asked for them. A ``purpose`` of its own: without consent to it the
    event is kept and this property is not. Raises ValueError for a declaration that contradicts itself.
    """

    name: str
    kind: Kind = Kind.TEXT
    unit: str = ""
    required: bool = False
    personal: bool = False
    lookup: bool = False
    purpose: Purpose | None = None
    choices: tuple[str | int, ...] = ()
    least: float | None = None
    most: float | None = None
    max_length: int = MAX_TEXT
    description: str = ""

    def __post_init__(self) -> None:
        what = f"Property {self.name!r}"
        if not _NAME.fullmatch(self.name):
            raise ValueError(f"{what}: a name is made of small letters, digits and underscores, 40 at most.")
        if self.choices and self.kind not in {Kind.TEXT, Kind.WHOLE}:
            raise ValueError(f"{what}: only text and whole numbers have choices.")
        expected = str if self.kind == Kind.TEXT else int
        if any(not isinstance(each, expected) or isinstance(each, bool) for each in self.choices):
            raise ValueError(f"{what}: its choices are not all of kind {self.kind.value}.")
        bounded = self.least is not None or self.most is not None
        if bounded and self.kind not in {Kind.WHOLE, Kind.NUMBER}:
            raise ValueError(f"{what}: only numbers have a least and a most.")
        if self.least is not None and self.most is not None and self.least > self.most:
            raise ValueError(f"{what}: its least is above its most.")
        if not 1 <= self.max_length <= 10_000:
            raise ValueError(f"{what}: max_length lies between 1 and 10,000.")


@dataclass(frozen=True, slots=True)
class EventType:
    """One declared type. ``public`` types may arrive from browsers; the others only from the server.

    ``needs`` names the fields that must be there, ``needs_any`` those of which one must. ``version`` is stored with
    each event: raise it when the meaning of a property changes. ``retention_days``: its events are deleted after this
    time; None: they are kept, unless ``RETENTION_DAYS`` says otherwise. Raises ValueError for a contradiction.
    """

    name: str
    version: int = 1
    purpose: Purpose = Purpose.PERSONALISATION
    properties: tuple[Property, ...] = ()
    needs: tuple[str, ...] = ()
    needs_any: tuple[str, ...] = ()
    public: bool = False
    retention_days: int | None = None
    description: str = ""

    def __post_init__(self) -> None:
        what = f"Event type {self.name!r}"
        if not _NAME.fullmatch(self.name):
            raise ValueError(f"{what}: a name is made of small letters, digits and underscores, 40 at most.")
        if not 1 <= self.version <= 32_767:
            raise ValueError(f"{what}: a version lies between 1 and 32,767.")
        if self.retention_days is not None and self.retention_days < 1:
            raise ValueError(f"{what}: retention_days is at least 1; None keeps its events.")
        names = [each.name for each in self.properties]
        if len(set(names)) < len(names):
            raise ValueError(f"{what} declares a property twice.")
        unknown = {*self.needs, *self.needs_any} - set(FIELDS)
        if unknown:
            raise ValueError(f"{what} needs {sorted(unknown)[0]!r}: it can need {', '.join(FIELDS)}.")


def is_name(text: str) -> bool:
    """Return whether this could be the name of an event type."""
    return _NAME.fullmatch(text) is not None
