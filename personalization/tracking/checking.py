"""Values against their declarations. Each type is compiled once: a good event costs a look-up a property."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from math import isfinite
from typing import Any

from django.utils import timezone
from django.utils.dateparse import parse_datetime

from personalization import conf
from personalization.exceptions import InvalidEvent
from personalization.tracking.declarations import MAX_TEXT, EventType, Kind, Property
from personalization.types import Purpose

MAX_AMOUNT_MINOR = 10**12
MAX_DEPTH = 6
MAX_UNKNOWN = 30
"""Undeclared properties that one event may bring where they are kept."""
# PostgreSQL refuses NUL, and half a surrogate pair (which JSON may carry) is no text in any encoding.
_UNSTORABLE = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff]")
Check = Callable[[Any], Any]


def storable(text: str) -> str:
    """Return the text without the characters that a database cannot hold."""
    return _UNSTORABLE.sub("", text)


def clean_text(value: Any, name: str, limit: int = MAX_TEXT) -> str:
    """Return text that every database can hold; refuse what is too long."""
    if not isinstance(value, str):
        raise InvalidEvent(f"{name} must be text.", reason="wrong_type")
    if len(value) <= limit and value.isprintable():
        return value.strip()
    value = storable(value).strip()  # line breaks are not printable, but can be stored
    if len(value) > limit:
        raise InvalidEvent(f"{name} is longer than {limit} characters.", reason="too_long")
    return value


def clean_integer(value: Any, name: str) -> int:
    """Return a whole number within bounds that every database holds."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidEvent(f"{name} must be a whole number.", reason="wrong_type")
    if not -MAX_AMOUNT_MINOR <= value <= MAX_AMOUNT_MINOR:
        raise InvalidEvent(f"{name} is out of range.", reason="out_of_range")
    return value


def clean_number(value: Any, name: str) -> int | float:
    """Return a finite number; a Decimal becomes the nearest float, which is what JSON can say."""
    if isinstance(value, Decimal):
        value = float(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidEvent(f"{name} must be a number.", reason="wrong_type")
    if not -MAX_AMOUNT_MINOR <= value <= MAX_AMOUNT_MINOR:  # NaN is in no range
        raise InvalidEvent(f"{name} is out of range.", reason="out_of_range")
    return value


def clean_moment(value: Any, name: str) -> datetime:
    """Return an aware moment from ISO 8601 text or a datetime; a naive one is read in the shop's time zone."""
    try:
        moment = parse_datetime(value) if isinstance(value, str) else value
    except ValueError:
        moment = None
    if not isinstance(moment, datetime):
        raise InvalidEvent(f"{name} must be an ISO 8601 moment.", reason="bad_time")
    try:
        return timezone.make_aware(moment) if moment.tzinfo is None else moment
    except (ValueError, OverflowError):
        raise InvalidEvent(f"{name} is out of range.", reason="bad_time") from None


def in_utc(moment: datetime, name: str) -> datetime:
    """Return an aware moment in UTC, in which every database holds it; refuse one that has no year there."""
    try:
        return moment.astimezone(UTC)
    except (ValueError, OverflowError):
        raise InvalidEvent(f"{name} is out of range.", reason="bad_time") from None


def is_json(value: Any) -> bool:
    """Return whether a value is one of JSON's own, all the way down, and comes back from a database as it was."""
    left = [value]
    while left:
        each = left.pop()
        if isinstance(each, dict):
            if not all(key is None or isinstance(key, str | int | float) for key in each):
                return False
            left.extend(each.values())
        elif isinstance(each, list | tuple):
            left.extend(each)
        elif isinstance(each, float):
            if not isfinite(each):
                return False
        elif each is not None and not isinstance(each, str | int):
            return False
    return True


def clean_nested(value: Any, name: str, depth: int = 0) -> Any:
    """Return a list, an object or a number as JSON that every database holds; refuse what is none."""
    if depth > MAX_DEPTH:
        raise InvalidEvent(f"{name} is nested too deeply.", reason="too_long")
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return clean_text(value, name)
    if isinstance(value, int):
        return clean_integer(value, name)
    if isinstance(value, float) and isfinite(value):
        return value
    if isinstance(value, list | tuple):
        return [clean_nested(item, name, depth + 1) for item in value]
    if isinstance(value, Mapping):
        return {clean_text(key, name): clean_nested(item, name, depth + 1) for key, item in value.items()}
    raise InvalidEvent(f"{name} holds what JSON cannot say.", reason="wrong_type")


def check_of(declared: Property) -> Check:
    """Compile one property: the function returns the value as it is stored, or raises InvalidEvent."""
    check = _KINDS[declared.kind](declared)
    if declared.choices:
        return _one_of(declared, check)
    if declared.least is not None or declared.most is not None:
        return _between(declared, check)
    return check


def _text(declared: Property) -> Check:
    name, limit = declared.name, declared.max_length

    def check(value: Any) -> str:
        if type(value) is str and len(value) <= limit and value.isprintable():
            return value.strip()
        return clean_text(value, name, limit)

    return check


def _flag(declared: Property) -> Check:
    def check(value: Any) -> bool:
        if not isinstance(value, bool):
            raise InvalidEvent(f"{declared.name} must be true or false.", reason="wrong_type")
        return value

    return check


def _moment(declared: Property) -> Check:
    def check(value: Any) -> str:
        return in_utc(clean_moment(value, declared.name), declared.name).isoformat()

    return check


def _nested(declared: Property) -> Check:
    expected: Any = (list, tuple) if declared.kind == Kind.LIST else Mapping
    article = "a list" if declared.kind == Kind.LIST else "an object"

    def check(value: Any) -> Any:
        if not isinstance(value, expected):
            raise InvalidEvent(f"{declared.name} must be {article}.", reason="wrong_type")
        return clean_nested(value, declared.name)

    return check


def _one_of(declared: Property, check: Check) -> Check:
    allowed = frozenset(declared.choices)
    told = ", ".join(map(str, declared.choices))

    def checked(value: Any) -> Any:
        value = check(value)
        if value not in allowed:
            raise InvalidEvent(f"{declared.name} must be one of {told}.", reason="not_a_choice")
        return value

    return checked


def _between(declared: Property, check: Check) -> Check:
    least = float("-inf") if declared.least is None else declared.least
    most = float("inf") if declared.most is None else declared.most

    def checked(value: Any) -> Any:
        value = check(value)
        if not least <= value <= most:
            raise InvalidEvent(f"{declared.name} must lie between {least:g} and {most:g}.", reason="out_of_range")
        return value

    return checked


_KINDS: dict[Kind, Callable[[Property], Check]] = {
    Kind.TEXT: _text,
    Kind.WHOLE: lambda declared: lambda value: clean_integer(value, declared.name),
    Kind.NUMBER: lambda declared: lambda value: clean_number(value, declared.name),
    Kind.FLAG: _flag,
    Kind.MOMENT: _moment,
    Kind.LIST: _nested,
    Kind.OBJECT: _nested,
}


class Checker:
    """A compiled event type: returns the properties as they are stored, or raises InvalidEvent.

    ``undeclared``: the type itself is unknown and kept, with whatever it brings.
    """

    __slots__ = ("_checks", "_gated", "_required", "event_type", "personal", "sealed", "undeclared")

    def __init__(self, event_type: EventType, *, undeclared: bool = False) -> None:
        self.event_type = event_type
        self.undeclared = undeclared
        self._checks = {each.name: check_of(each) for each in event_type.properties}
        self._required = tuple(each.name for each in event_type.properties if each.required)
        self.personal = frozenset(each.name for each in event_type.properties if each.personal)
        self.sealed = frozenset(each.name for each in event_type.properties if each.personal and not each.lookup)
        self._gated = tuple((each.name, each.purpose) for each in event_type.properties if each.purpose is not None)

    def __call__(self, given: Any, purposes: frozenset[Purpose]) -> dict[str, Any]:
        """Check ``given``; what no purpose allows to keep is left out."""
        cleaned: dict[str, Any] = {}
        if isinstance(given, dict | Mapping):  # dict first: it is what JSON brings, and quickly told
            checks = self._checks
            for name, value in given.items():
                check = checks.get(name)
                if check is None:
                    self._unknown(name, value, cleaned)
                else:
                    cleaned[name] = check(value)
        elif given is not None:
            raise InvalidEvent("properties must be an object.", reason="wrong_type")
        for name in self._required:
            if cleaned.get(name, "") == "":
                raise InvalidEvent(f"{self.event_type.name} needs the property {name}.", reason="missing_property")
        for name, purpose in self._gated:
            if purpose is not Purpose.CONTRACT and purpose not in purposes:
                cleaned.pop(name, None)
        return cleaned

    def asks_only(self, purpose: Purpose, given: Any) -> bool:
        """Return whether consent to ``purpose`` alone decides what of these properties is kept."""
        return not any(
            name in (given or ()) and other not in {purpose, Purpose.CONTRACT} for name, other in self._gated
        )

    def declares(self, name: str) -> bool:
        """Return whether the type has this property."""
        return name in self._checks

    def _unknown(self, name: Any, value: Any, cleaned: dict[str, Any]) -> None:
        """Do with a property that nobody declared what ``UNKNOWN_PROPERTIES`` says."""
        told = str(name)[:60]
        policy = "keep" if self.undeclared else conf.get().unknown_properties
        if policy == "drop":
            return
        if policy != "keep":
            raise InvalidEvent(f"{self.event_type.name} has no property {told!r}.", reason="unknown_property")
        name = clean_text(name, "a property's name", 60)
        if len(cleaned) >= MAX_UNKNOWN + len(self._checks):
            raise InvalidEvent(f"{self.event_type.name} has too many properties.", reason="too_long")
        if name not in self._checks:  # cleaned, it could pass for a declared one
            cleaned[name] = clean_nested(value, told)
