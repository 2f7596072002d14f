"""A consent manager's cookie, read on the server: one adapter for what the common managers write.

Name it in ``PERSONALIZATION["CONSENT"]`` and describe the cookie in ``PERSONALIZATION["CONSENT_COOKIE"]``::

    "CONSENT": "personalization.ports.consent_cookie.CookieConsent",
    "CONSENT_COOKIE": {
        "name": "CookieConsent",
        "format": "flags",
        "purposes": {
            "personalisation": ["preferences"],
            "analytics": ["statistics"],
            "marketing": ["marketing"],
        },
    },

``flags``: names with yes or no, whatever is between them: JSON, ``statistics:true``, ``C0002:1``. ``list``: the names
that were agreed to, as lists in JSON. ``tcf``: an IAB TCF 2 string; names are the numbers of its purposes. A purpose is
agreed to where all its names are. What cannot be read agrees to nothing.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote

from django.http import HttpRequest

from personalization import conf
from personalization.types import CONSENT_PURPOSES, Purpose

FORMATS = ("flags", "list", "tcf")
MOST_CHARACTERS = 8192
_FLAG = re.compile(
    r"([\w.-]{1,64})[\"']?\s*[:=]\s*[\"']?(?:(true|yes|allow|granted|1)|(false|no|deny|denied|0))\b", re.IGNORECASE
)
_TCF_VERSION = 2
_TCF_CONSENTS = (152, 24)
"""Where the purposes stand in the core segment, and how many there are, in bits (IAB TCF 2.2, "core string")."""


class CookieConsent:
    """The consent adapter: see the module's docstring for how it is configured."""

    def purposes(self, request: HttpRequest) -> frozenset[Purpose]:
        """Return the purposes that the cookie agrees to; none without one."""
        wanted = conf.get().consent_cookie
        value = request.COOKIES.get(str(wanted.get("name", "")), "")
        if not value or len(value) > MOST_CHARACTERS:
            return frozenset()
        agreed = granted(value, str(wanted.get("format", FORMATS[0])))
        names = wanted.get("purposes", {})
        return frozenset(
            purpose
            for purpose in CONSENT_PURPOSES
            if names.get(purpose.value) and agreed.issuperset(map(str, names[purpose.value]))
        )


def granted(value: str, form: str) -> set[str]:
    """Return the names that a cookie's value agrees to; an empty set where it cannot be read."""
    if form == "tcf":
        return _of_tcf(value)
    text = unquote(unquote(value))  # some managers encode what is encoded already
    if form == "list":
        try:
            return set(_listed(json.loads(text)))
        except (ValueError, RecursionError):
            return set()
    found = _FLAG.findall(text)
    return {name for name, yes, _no in found if yes} - {name for name, _yes, no in found if no}


def _listed(value: Any) -> Iterator[str]:
    """Yield every text that stands in a list, however deep."""
    if isinstance(value, dict):
        for each in value.values():
            yield from _listed(each)
    elif isinstance(value, list):
        for each in value:
            if isinstance(each, str):
                yield each
            else:
                yield from _listed(each)


def _of_tcf(value: str) -> set[str]:
    core = value.split(".", 1)[0]
    try:
        raw = base64.b64decode(core + "=" * (-len(core) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError):
        return set()
    first, count = _TCF_CONSENTS
    if len(raw) * 8 < first + count or raw[0] >> 2 != _TCF_VERSION:
        return set()
    bits = int.from_bytes(raw, "big") >> (len(raw) * 8 - first - count)
    return {str(number) for number in range(1, count + 1) if bits >> (count - number) & 1}
