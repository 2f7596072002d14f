"""Why a prediction is what it is, for people: causes for and against, each with its share, from stored reasons.

Reads what :mod:`worker.reasons` wrote, of any age: a shape that is not known gives no explanation and no error.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext as _

from personalization.admin.display import percent
from personalization.features.topics import BY_CODE
from personalization.learning.figures import is_number
from personalization.types import HEADS

MOST = 6
"""Causes shown by name; the others are added up."""


@dataclass(frozen=True)
class Cause:
    """One cause: its share of all that pulled either way, as text with its sign, and a bar from the middle."""

    name: str
    up: bool
    text: str
    x: str
    width: str


@dataclass(frozen=True)
class Why:
    """One prediction explained: the usual probability, this one, and what lies between them."""

    effect: str
    usual: str
    predicted: str
    causes: list[Cause]


def why_of(record: Any) -> Why | None:
    """Return the explanation in a stored record (``head``, ``base`` and topics in logits); None if there is none."""
    if not isinstance(record, Mapping) or not is_number(record.get("base")):
        return None
    parts = {str(code): float(value) for code, value in record.items() if code != "base" and is_number(value)}
    if not parts:
        return None
    base = float(record["base"])
    ordered = sorted(parts, key=lambda code: -abs(parts[code]))
    named = [(str(BY_CODE[code].name) if code in BY_CODE else code, parts[code]) for code in ordered[:MOST]]
    rest = sum(parts[code] for code in ordered[MOST:])
    if len(ordered) > MOST:
        named.append((_("Everything else"), rest))
    total = sum(abs(value) for _name, value in named) or 1.0
    longest = max(abs(value) for _name, value in named) or 1.0
    return Why(
        effect=effect_in_words(record.get("head")),
        usual=percent(_probability(base)),
        predicted=percent(_probability(base + sum(parts.values()))),
        causes=[_cause(name, value / total, value / longest) for name, value in named],
    )


def effect_in_words(head: Any) -> str:
    """Return what a head predicts, for a sentence."""
    words = {
        "view": _("looking at it"),
        "click": _("clicking on it"),
        "redeem": _("using it"),
        "purchase": _("buying something"),
    }
    return words.get(head, "") if head in HEADS else ""


def _cause(name: str, share: float, of_longest: float) -> Cause:
    width = min(abs(of_longest), 1.0) * 50
    text = percent(abs(share), 0)
    return Cause(
        name=name,
        up=share >= 0,
        text=f"+{text}" if share >= 0 else f"−{text}",
        x=f"{50 if share >= 0 else 50 - width:.1f}",
        width=f"{width:.1f}",
    )


def _probability(logit: float) -> float:
    return 1 / (1 + math.exp(-min(max(logit, -60.0), 60.0)))
