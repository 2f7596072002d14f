"""Money for people: integer minor units in, localised text out. The only place that knows about decimals."""

from __future__ import annotations

from decimal import Decimal

from django.conf import settings
from django.utils.formats import number_format

SYMBOLS = {"EUR": "€", "USD": "$", "GBP": "£", "CNY": "¥", "JPY": "¥"}
WITHOUT_DECIMALS = {"JPY"}


def currency() -> str:
    """Return the currency that the whole shop trades in."""
    return str(settings.PERSONALIZATION["CURRENCY"])


def money(minor: int, code: str = "") -> str:
    """Return an amount as text, for instance ``€1,234.50``."""
    code = code or currency()
    places = 0 if code in WITHOUT_DECIMALS else 2
    amount = number_format(Decimal(abs(minor)).scaleb(-places), places, force_grouping=True)
    return f"{'−' if minor < 0 else ''}{SYMBOLS.get(code, code + ' ')}{amount}"
