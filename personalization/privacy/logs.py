"""Personal data kept out of the log: what looks like it is taken out of every line that this app writes.

The app's own lines hold keys and counts. What slips in comes with errors: a database quotes the row that it refused, a
library the address that it could not reach. :func:`install` puts the filter in front of the host's handlers for all
loggers below ``personalization`` and ``worker``; a host can name :class:`PersonalDataFilter` for its own handlers too.
"""

from __future__ import annotations

import logging
import traceback

from personalization.pure.redaction import redact

LOGGERS = ("personalization", "worker")


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
