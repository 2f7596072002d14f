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
_STUDENT = "_pz_student"
_live: dict[str, tuple[float, ScoreSet | None]] = {}


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


def live_set(population: str) -> ScoreSet | None:
    """Return the population's published ScoreSet, remembered for a few seconds."""
    cached = _live.get(population)
    if cached is None or cached[0] < time.monotonic():
        found = ScoreSet.objects.filter(population=population, state=ScoreSet.State.LIVE).first()
        cached = (time.monotonic() + _TTL_SECONDS, found)
        _live[population] = cached
    return cached[1]


def _student(live: ScoreSet) -> quick.Model | None:
    """Return the set's quick model, read once a set that is remembered."""
    held: tuple[quick.Model | None] | None = getattr(live, _STUDENT, None)
    if held is None:
        stored = live.defaults.get("quick")
        held = (quick.read(stored),)
        setattr(live, _STUDENT, held)
        if stored and held[0] is None:
            logger.warning("score set %s: its quick model is of another release and not used; score again", live.pk)
    return held[0]


def forget() -> None:
    """Drop the remembered ScoreSet: another has been published in this process."""
    _live.clear()


def for_shopper(shopper: Shopper | None, population: str) -> Scores:
    """Return the shopper's predictions; without them the batch's defaults, and the reason why."""
    live = live_set(population)
    if live is None:
        return Scores(fallback="no_scores")
    base = {"version_id": live.response_version_id, "defaults": live.defaults, "score_set_id": live.pk}
    if shopper is None:
        return Scores(fallback="unknown_shopper", **base)
    age = timezone.now() - (live.published_at or live.created_at)
    if age > timedelta(hours=conf.get().score_max_age_hours):
        return Scores(fallback="stale_scores", student=_student(live), **base)
    row = ShopperScores.objects.filter(shopper=shopper, score_set=live).first()
    if row is None:
        return Scores(fallback="not_scored", student=_student(live), **base)
    return Scores(
        fallback="", offers=row.offers, kinds=row.kinds, items=row.items, values=row.values, reasons=row.reasons, **base
    )
