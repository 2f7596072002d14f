"""What looks like personal data, taken out of texts that errors bring along: for logs, and for notes on jobs."""

from __future__ import annotations

import re

HIDDEN = "[hidden]"
_E_MAIL = re.compile(r"[\w.+%-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,8}")
_PHONE = re.compile(r"(?<![\w.])\+\d[\d /()-]{6,18}\d")
_IP = re.compile(r"(?<![\w.])(?:\d{1,3}\.){3}\d{1,3}(?![\w.])")
_CODE = re.compile(r"\b(?:[0-9A-HJ-NP-Z]{4}-){3}[0-9A-HJ-NP-Z]{4}\b")
_TOKEN = re.compile(r"gAAAA[\w-]{40,}={0,2}")
# PostgreSQL quotes values: "Key (email)=(ada@…)", "Failing row contains (…)"; so do its parameters in a traceback.
_ROW = re.compile(r"(?:(?<=\)=\()|(?<=row contains \()).*(?=\))")
_PATTERNS = (_ROW, _E_MAIL, _PHONE, _IP, _CODE, _TOKEN)


def redact(text: str) -> str:
    """Return a text without addresses, phone numbers, codes and the values that databases quote."""
    for pattern in _PATTERNS:
        text = pattern.sub(HIDDEN, text)
    return text
