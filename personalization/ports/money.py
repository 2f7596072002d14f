"""Money as people read it, in the language of the request: hosts and edges word an amount in one way, this one.

Symbols are those of CLDR where a language has one of its own for a currency; any other currency keeps its code.
"""

from __future__ import annotations

from django.utils.formats import number_format
from django.utils.translation import get_language

from personalization.pure.money import Amount, exponent, from_minor

SYMBOLS = {"EUR": "€", "USD": "$", "GBP": "£", "JPY": "¥", "CNY": "CN¥"}
SYMBOLS_IN = {"zh": {**SYMBOLS, "USD": "US$", "JPY": "JP¥", "CNY": "¥"}}
"""Language → symbols, where they differ: a sign alone means the reader's own currency."""


def money(minor: int, currency: str) -> str:
    """Return an amount as text: ``€1,234.50``, ``−$2.00``, ``CHF 1,234.50``, with the language's own separators."""
    code = currency.upper()
    symbols = SYMBOLS_IN.get((get_language() or "").split("-")[0], SYMBOLS)
    figure = number_format(from_minor(abs(minor), code), exponent(code), force_grouping=True)
    return f"{'−' if minor < 0 else ''}{symbols.get(code, f'{code} ')}{figure}"


def money_of(amount: Amount) -> str:
    """Return an amount that knows its currency as text."""
    return money(amount.minor, amount.currency)
