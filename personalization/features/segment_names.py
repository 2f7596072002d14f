"""The named groups of buyers by recency, frequency and money: one table, first match wins."""

from __future__ import annotations

from dataclasses import dataclass

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _


@dataclass(frozen=True, slots=True)
class Segment:
    """A group. ``recency`` is the span of the recency score (1–5), ``worth`` of frequency + money scores (2–10)."""

    code: str
    name: str | Promise
    sentence: str | Promise
    recency: tuple[int, int] = (0, 0)
    worth: tuple[int, int] = (0, 0)


PROSPECT = "prospect"
SEGMENTS = (
    Segment(
        "champions", _("Champions"), _("Buy often, spend much and were here lately. Thank them first."), (4, 5), (8, 10)
    ),
    Segment("loyal", _("Loyal"), _("Buy often and spend much; last order a while ago."), (3, 3), (8, 10)),
    Segment("promising", _("Promising"), _("Were here lately and come back now and then."), (4, 5), (4, 7)),
    Segment("new", _("New"), _("Bought lately, and little so far. The second order decides."), (4, 5), (2, 3)),
    Segment("attention", _("Need attention"), _("Average in all; remind them before they drift."), (3, 3), (4, 7)),
    Segment("cooling", _("Cooling off"), _("Bought little, and some time ago."), (3, 3), (2, 3)),
    Segment(
        "cannot_lose", _("Cannot lose"), _("Were among the best and have stayed away. Call them back."), (1, 2), (9, 10)
    ),
    Segment("at_risk", _("At risk"), _("Bought well before, not for long now."), (1, 2), (5, 8)),
    Segment("lost", _("Lost"), _("Bought little, long ago."), (1, 2), (2, 4)),
    Segment(PROSPECT, _("No order yet"), _("Look around and have not bought.")),
)
BY_CODE = {segment.code: segment for segment in SEGMENTS}


def segment_of(recency: int, frequency: int, money: int) -> str:
    """Return the code for three scores from 1 to 5."""
    for segment in SEGMENTS:
        low, high = segment.recency
        least, most = segment.worth
        if low <= recency <= high and least <= frequency + money <= most:
            return segment.code
    return PROSPECT
