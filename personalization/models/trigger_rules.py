"""What a trigger's details must say: one rule a kind, each naming what to mend."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date
from functools import lru_cache
from typing import Any

from django.core.exceptions import ValidationError
from django.utils.translation import gettext_lazy as _

from personalization import conf

DAY_OF_YEAR = re.compile(r"(0[1-9]|1[0-2])-(0[1-9]|[12]\d|3[01])")
CHANNEL = re.compile(r"[a-z][a-z0-9_]{0,38}")
BUILT_IN_CHANNELS = ("email", "webhook")
LAUNCH = "launch"
"""The occasion that sends a campaign to its whole audience once; every other one comes for single shoppers."""
# Kind → whole numbers it knows: (least, most, what holds when none is given; None: it must be given).
NUMBERS: dict[str, dict[str, tuple[int, int, int | None]]] = {
    LAUNCH: {},
    "welcome": {"days": (1, 365, 7)},
    "birthday": {"days_before": (0, 60, 0)},
    "season": {},
    "holiday": {"days_before": (0, 60, 0)},
    "win_back": {"days": (1, 3650, None)},
    "basket": {"hours": (1, 720, 4), "within_days": (1, 60, 3)},
    "replenishment": {"days_before": (0, 60, 0), "late_days": (1, 365, 14)},
    "price_drop": {"percent": (1, 99, 5), "within_days": (1, 90, 30)},
    "event": {"days": (1, 365, 7)},
}
TEXTS: dict[str, tuple[str, ...]] = {
    "season": ("from", "to"),
    "holiday": ("country", "subdivision", "name"),
    "event": ("type", "property"),
}
ANYTHING = {"event": ("value",)}


def parse_params(kind: str, raw: Any) -> dict[str, Any]:
    """Return the details of a trigger with its defaults; raise ValidationError with what is wrong.

    Numbers are days, hours or percent; days of the year are ``MM-DD``; countries are ISO codes.
    """
    if kind not in NUMBERS:
        raise ValidationError(_("There is no such occasion."))
    if not isinstance(raw, Mapping):
        raise ValidationError(_("The details are names with values."))
    known = {*NUMBERS[kind], *TEXTS.get(kind, ()), *ANYTHING.get(kind, ())}
    unknown = sorted(set(map(str, raw)) - known)
    if unknown:
        raise ValidationError(_("This occasion knows no “%(name)s”.") % {"name": unknown[0][:40]})
    found: dict[str, Any] = {name: _number(name, raw.get(name), *rule) for name, rule in NUMBERS[kind].items()}
    found.update({name: _text(name, raw.get(name, "")) for name in TEXTS.get(kind, ())})
    found.update({name: raw[name] for name in ANYTHING.get(kind, ()) if name in raw})
    _CHECKS.get(kind, _nothing)(found)
    return found


def _number(name: str, value: Any, least: int, most: int, otherwise: int | None) -> int:
    if value is None:
        value = otherwise
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        limits = {"name": name, "least": least, "most": most}
        raise ValidationError(_("%(name)s: give a whole number from %(least)s to %(most)s.") % limits)
    return value


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str) or len(value) > 100:
        raise ValidationError(_("%(name)s: give a short text.") % {"name": name})
    return value.strip()


def _nothing(found: dict[str, Any]) -> None:
    return


def _season(found: dict[str, Any]) -> None:
    for name in ("from", "to"):
        if not is_day(found[name]):
            raise ValidationError(
                _("%(name)s: give a day of the year as month and day, such as 12-24.") % {"name": name}
            )


def _holiday(found: dict[str, Any]) -> None:
    found["country"] = (found["country"] or conf.get().country).upper()
    if not found["country"]:
        raise ValidationError(_("Name the country whose public holidays are meant, such as DE."))
    try:
        holidays_of(found["country"], found["subdivision"], 2024)
    except LookupError:
        words = {"country": "-".join(filter(None, (found["country"], found["subdivision"])))}
        raise ValidationError(_("The public holidays of “%(country)s” are not known.") % words) from None


def _event(found: dict[str, Any]) -> None:
    if not found["type"]:
        raise ValidationError(_("Name the event that sets the campaign off."))
    if not re.fullmatch(r"\w{0,60}", found["property"]) or "__" in found["property"]:
        raise ValidationError(_("A property's name is letters, digits and single underscores."))
    if ("value" in found) != bool(found["property"]):
        raise ValidationError(_("A property and its value go together."))
    if "value" in found and not isinstance(found["value"], str | int | bool):
        raise ValidationError(_("A property's value is a text or a whole number."))


_CHECKS = {"season": _season, "holiday": _holiday, "event": _event}


def is_day(text: str) -> bool:
    """Tell whether this is a day that some year has, as ``MM-DD``."""
    try:
        return bool(DAY_OF_YEAR.fullmatch(text)) and bool(date.fromisoformat(f"2024-{text}"))
    except ValueError:
        return False


@lru_cache(maxsize=64)
def holidays_of(country: str, subdivision: str, year: int) -> dict[date, str]:
    """Return a year's public holidays in order; LookupError for a country or subdivision that nobody knows."""
    import holidays  # a hundred countries: only whoever has such a trigger pays for them

    known = holidays.list_supported_countries()
    if country not in known or (subdivision and subdivision not in known[country]):
        raise LookupError(country)
    return dict(sorted(holidays.country_holidays(country, subdiv=subdivision or None, years=year).items()))


def check_channels(kind: str, value: Any) -> list[str]:
    """Return the channels of a trigger; raise ValidationError for one that is not configured, or if it needs one."""
    if not isinstance(value, list) or not all(isinstance(name, str) and CHANNEL.fullmatch(name) for name in value):
        raise ValidationError(_("Channels are a list of names."))
    known = {*BUILT_IN_CHANNELS, *conf.get().channels}
    for name in value:
        if name not in known:
            raise ValidationError(_("There is no channel “%(name)s”.") % {"name": name})
    if len(set(value)) != len(value):
        raise ValidationError(_("A channel is named twice."))
    if kind == LAUNCH and not value:
        raise ValidationError(_("Name a channel: on the shop's pages the campaign is there from its launch anyway."))
    return value
