"""Names of places: time zones and the host names of sites."""

from __future__ import annotations

import re
from functools import lru_cache
from zoneinfo import available_timezones

_LABEL = re.compile(r"(?!-)[a-z0-9-]{1,63}(?<!-)")
_LONGEST = 253


@lru_cache(maxsize=1)
def _zones() -> frozenset[str]:
    return frozenset(available_timezones())


def is_zone(name: object) -> bool:
    """Tell whether this is the IANA name of a time zone."""
    return isinstance(name, str) and name in _zones()


def is_host(name: object) -> bool:
    """Tell whether this is a host name as :func:`plain_host` returns it: lower case, no scheme, no port."""
    if not isinstance(name, str) or not 0 < len(name) <= _LONGEST:
        return False
    return all(_LABEL.fullmatch(label) for label in name.split("."))


def plain_host(given: str) -> str:
    """Return a host name as it is compared: lower case, without port and final dot."""
    host = given.strip().lower()
    name, colon, port = host.rpartition(":")
    if colon and port.isdigit() and "]" not in port:
        host = name
    return host.rstrip(".")
