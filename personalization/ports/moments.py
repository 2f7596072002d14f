"""Moments as people read them: one way, in the language of the request and its time zone. Logs and files write ISO."""

from __future__ import annotations

from datetime import datetime

from django.utils.formats import date_format
from django.utils.timezone import localtime


def moment(at: datetime) -> str:
    """Return a moment as day and time of day."""
    return str(date_format(localtime(at), "DATETIME_FORMAT"))


def day(at: datetime) -> str:
    """Return the day of a moment."""
    return str(date_format(localtime(at), "DATE_FORMAT"))
