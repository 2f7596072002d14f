"""The shopper's predictions: one indexed read, and what to use where there is none."""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from django.utils import timezone

from personalization import conf
from personalization.models import ScoreSet, Shopper, ShopperScores
from personalization.pure import quick

logger = logging.getLogger(__name__)
_TTL_SECONDS = 3.0


@dataclass(slots=True)
class _Remembered:
    """A population's published set (None: there is none), until when it is remembered, and its quick model once read.

    ``student`` is empty until somebody has asked for the quick model.
    """

    until: float
    live: ScoreSet | None
    student: tuple[quick.Model | None] | None = None


_remembered: dict[str, _Remembered] = {}


@dataclass(frozen=True, slots=True)
class Scores:
    """Predictions as the ranking reads them. ``fallback`` says why they are not personal; empty if they are."""

    fallback: str
    version_id: int | None = None
    offers: dict[str, list[float]] = field(default_factory=dict)
    kinds: dict[str, float] = field(default_factory=dict)
    items: list[str] = field(default_factory=list)
    values: dict[str, Any] = field(default_factory=dict)
    reasons: dict[str, Any] = field(default_factory=dict)
    defaults: dict[str, Any] = field(default_factory=dict)
    score_set_id: int | None = None
    student: quick.Model | None = None
    """The quick model, where it may be asked: of a shopper who agreed and has no scores, or too old ones."""


def _remember(population: str) -> _Remembered:
    """Return the population's published ScoreSet, read again every few seconds."""
    cached = _remembered.get(population)
    if cached is None or cached.until < time.monotonic():
        found = ScoreSet.objects.filter(population=population, state=ScoreSet.State.LIVE).first()
        cached = _remembered[population] = _Remembered(time.monotonic() + _TTL_SECONDS, found)
    return cached


def _student(held: _Remembered, live: ScoreSet) -> quick.Model | None:
    """Return the set's quick model, read once as long as the set is remembered."""
    if held.student is None:
        stored = live.defaults.get("quick")
        held.student = (quick.read(stored),)
        if stored and held.student[0] is None:
            logger.warning("score set %s: its quick model is of another release and not used; score again", live.pk)
    return held.student[0]


def forget() -> None:
    """Drop the remembered ScoreSet: another has been published in this process."""
    _remembered.clear()


def for_shopper(shopper: Shopper | None, population: str) -> Scores:
    """Return the shopper's predictions; without them the batch's defaults, and the reason why."""
    held = _remember(population)
    live = held.live
    if live is None:
        return Scores(fallback="no_scores")
    base = {"version_id": live.response_version_id, "defaults": live.defaults, "score_set_id": live.pk}
    if shopper is None:
        return Scores(fallback="unknown_shopper", **base)
    age = timezone.now() - (live.published_at or live.created_at)
    if age > timedelta(hours=conf.get().score_max_age_hours):
        return Scores(fallback="stale_scores", student=_student(held, live), **base)
    row = ShopperScores.objects.filter(shopper=shopper, score_set=live).first()
    if row is None:
        return Scores(fallback="not_scored", student=_student(held, live), **base)
    return Scores(
        fallback="", offers=row.offers, kinds=row.kinds, items=row.items, values=row.values, reasons=row.reasons, **base
    )
