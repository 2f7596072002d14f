"""Personal data kept out of the log: what looks like it is taken out of every line that this app writes.

The app's own lines hold keys and counts. What slips in comes with errors: a database quotes the row that it refused, a
library the address that it could not reach. :func:`install` puts the filter in front of the host's handlers for all
loggers below ``personalization`` and ``worker``; a host can name :class:`PersonalDataFilter` for its own handlers too.
"""

from __future__ import annotations

import logging
import re
import traceback

HIDDEN = "[hidden]"
LOGGERS = ("personalization", "worker")
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


class PersonalDataFilter(logging.Filter):
    """Rewrites a record's message and traceback; every record passes."""

    def filter(self, record: logging.LogRecord) -> bool:
        try:
            message = record.getMessage()
        except (TypeError, ValueError):  # as badly formatted as it was: the handler will say so
            return True
        hidden = redact(message)
        if hidden != message:
            record.msg, record.args = hidden, ()
        if record.exc_info and record.exc_info[0] is not None and not record.exc_text:
            record.exc_text = redact("".join(traceback.format_exception(*record.exc_info)).rstrip("\n"))
        return True


class _First(logging.Handler):
    """Writes nothing. Handlers of a logger run before those of its parents: what passes here is redacted there."""

    def emit(self, record: logging.LogRecord) -> None:
        pass


def install() -> None:
    """Put the filter before the handlers of all loggers below the app's, whoever made them; once."""
    for name in LOGGERS:
        logger = logging.getLogger(name)
        if not any(isinstance(handler, _First) for handler in logger.handlers):
            handler = _First()
            handler.addFilter(PersonalDataFilter())
            logger.addHandler(handler)
