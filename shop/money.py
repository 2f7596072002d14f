"""The shop's currency, and money for people: integer minor units in, localised text out."""

from __future__ import annotations

from django.conf import settings

from personalization.ports import money as wording


def currency() -> str:
    """Return the currency that the whole shop trades in."""
    return str(settings.PERSONALIZATION["CURRENCY"])


def money(minor: int, code: str = "") -> str:
    """Return an amount as text, in the shop's own currency unless another is given."""
    return wording.money(minor, code or currency())
