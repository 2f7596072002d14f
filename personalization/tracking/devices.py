"""What sort of device a page was asked for from: one word of three, read off the user agent and nothing finer.

A tablet that calls itself a desktop computer (as an iPad does) is taken for one.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any

from django.http import HttpRequest

from personalization.tracking.checking import Checker

MOBILE, TABLET, DESKTOP = "mobile", "tablet", "desktop"
PROPERTY = "device"
_TABLET = re.compile(r"ipad|tablet|playbook|kindle|silk/|android(?!.*mobile)", re.IGNORECASE)
_MOBILE = re.compile(r"mobi|iphone|ipod|android|windows phone|opera mini", re.IGNORECASE)
_DESKTOP = re.compile(r"windows nt|macintosh|x11|cros ", re.IGNORECASE)


@lru_cache(maxsize=4096)
def device_class(user_agent: str) -> str:
    """Return ``mobile``, ``tablet`` or ``desktop``; empty for what is none of them (a program, a server)."""
    for name, looks in ((TABLET, _TABLET), (MOBILE, _MOBILE), (DESKTOP, _DESKTOP)):
        if looks.search(user_agent):
            return name
    return ""


def of_request(request: HttpRequest | None) -> str:
    """Return the class of the device that sent a request; empty without one."""
    return "" if request is None else device_class(request.headers.get("User-Agent", ""))


def noted(checker: Checker, properties: dict[str, Any], device: str) -> dict[str, Any]:
    """Return the properties with the device, where the type declares it; a sender that knows better is believed."""
    if device and checker.declares(PROPERTY):
        properties.setdefault(PROPERTY, device)
    return properties
