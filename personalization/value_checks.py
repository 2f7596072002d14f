"""What the values of PERSONALIZATION have to be beside of the right type: each rule with the words for it.

:mod:`personalization.checks` reports; a value of a wrong type is reported there and looked at no further.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning
from django.utils.functional import Promise

from personalization.pure.currencies import is_currency

LONGEST_NAME = 40
"""Columns that keep a population, a wording's version or a channel are that long."""
LONGEST_SLOT = 60
LEAST_KEY = 24
"""Characters of a key that nobody guesses."""
MAY_HOLD_SECRETS = ("WEBHOOK_URL",)
"""Never repeated: an address may have a password or a token in it."""
_COOKIE = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # a token, as RFC 6265 has it


class Rule(NamedTuple):
    """Whether a value can be meant, and the end of the sentence "must be …"."""

    holds: Callable[[Any], bool]
    words: str


def _is_hours(value: Any) -> bool:
    return value == [] or (len(value) == 2 and all(_is_whole(hour, 0, 24) for hour in value))


def _is_whole(value: Any, least: int, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def _is_name(value: Any, longest: int) -> bool:
    return isinstance(value, str) and 0 < len(value.strip()) <= len(value) <= longest


def _is_address(value: str, *schemes: str) -> bool:
    """Tell whether this is an address with a host and nothing behind its path; malformed brackets are no host."""
    try:
        parts = urlsplit(value)
        return parts.scheme in schemes and bool(parts.hostname) and " " not in value and (parts.port or 1) > 0
    except ValueError:
        return False


def _is_base(value: str) -> bool:
    return not value or (_is_address(value, "https", "http") and not re.search(r"[?#]", value))


def _is_webhook(value: str) -> bool:
    """The channel itself refuses an open connection, but for development."""
    return not value or _is_address(value, *(("https", "http") if settings.DEBUG else ("https",)))


def _is_country(value: str) -> bool:
    from personalization.models.trigger_rules import holidays_of  # models are there by the time checks run

    try:
        if value:
            holidays_of(value.upper(), "", 2024)
    except LookupError:
        return False
    return True


def _are_names(value: list[Any]) -> bool:
    return all(isinstance(name, str) and name for name in value)


VALUES: dict[str, Rule] = {
    "CURRENCY": Rule(is_currency, "the ISO 4217 code of a currency in capitals, such as EUR"),
    "COUNTRY": Rule(_is_country, "the ISO code of a country whose public holidays are known, such as DE"),
    "POPULATION": Rule(lambda value: _is_name(value, LONGEST_NAME), f"a name of 1 to {LONGEST_NAME} characters"),
    "WORDING_VERSION": Rule(lambda value: _is_name(value, LONGEST_NAME), f"a text of 1 to {LONGEST_NAME} characters"),
    "COOKIE_NAME": Rule(lambda value: bool(_COOKIE.fullmatch(value)), "the name of a cookie: letters, digits, - and _"),
    "QUIET_HOURS": Rule(_is_hours, "two whole hours from 0 to 24, such as [21, 8], or empty"),
    "PUBLIC_URL": Rule(_is_base, "an address such as https://shop.example, or empty"),
    "WEBHOOK_URL": Rule(_is_webhook, "an address that begins with https://, or empty"),
    "SLOTS": Rule(
        lambda value: all(
            _is_name(code, LONGEST_SLOT) and isinstance(name, str | Promise) for code, name in value.items()
        ),
        f"codes of 1 to {LONGEST_SLOT} characters with their names",
    ),
    "ROUNDING": Rule(
        lambda value: all(is_currency(code) and _is_whole(step, 1, 10**6) for code, step in value.items()),
        'currencies with whole steps in minor units, such as {"CHF": 5}',
    ),
    "CHANNELS": Rule(
        lambda value: all(_is_name(name, LONGEST_NAME) and isinstance(path, str) for name, path in value.items()),
        f"names of 1 to {LONGEST_NAME} characters with dotted paths",
    ),
    "PERSONAL_ATTRIBUTES": Rule(_are_names, "names of attributes"),
    "PROTECTED_ATTRIBUTES": Rule(_are_names, "names of attributes"),
}


def check_values(sound: Mapping[str, Any]) -> list[CheckMessage]:
    """Check settings that are of the right type. A key is never repeated: what a check says is printed and logged."""
    found: list[CheckMessage] = [
        Error(
            f'PERSONALIZATION["{name}"] must be {VALUES[name].words}.',
            hint=None if name in MAY_HOLD_SECRETS else f"It is {value!r}.",
            id="personalization.E016",
        )
        for name, value in sound.items()
        if name in VALUES and not VALUES[name].holds(value)
    ]
    return [*found, *_check_keys(sound.get("SECRET_KEYS", []))]


def _check_keys(keys: list[Any]) -> Iterator[CheckMessage]:
    """The newest key must be good. An earlier one opens what is not rewritten yet: it is warned of."""
    how = "python -c 'import secrets; print(secrets.token_urlsafe(32))', then `manage.py rotate_keys`."
    short = [number for number, key in enumerate(keys) if not isinstance(key, str) or len(key) < LEAST_KEY]
    if short[:1] == [0]:
        message = f'PERSONALIZATION["SECRET_KEYS"]: the newest key is no text of {LEAST_KEY} characters or more.'
        yield Error(message, hint=how, id="personalization.E017")
    elif short:
        message = f'PERSONALIZATION["SECRET_KEYS"]: an earlier key is shorter than {LEAST_KEY} characters.'
        yield Warning(
            message, hint="Encrypt anew with `manage.py rotate_keys`, then leave it out.", id="personalization.W006"
        )
