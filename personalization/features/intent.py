"""Purchase intent as rules and people read it: bands, the scores that count, and what is missing where none do."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.db.models import F, Q, QuerySet
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from personalization import conf
from personalization.models import ScoreSet, ShopperScores

LOW, MIDDLE, HIGH = "low", "middle", "high"
BANDS = {LOW: gettext_lazy("low"), MIDDLE: gettext_lazy("middle"), HIGH: gettext_lazy("high")}


def edges(scores: QuerySet[ShopperScores]) -> dict[str, float | None]:
    """Return a set's edges by rank: low is the less likely half, high the most likely fifth; nothing scored: none.

    Equal scores share a band, so where many score the same the halves and fifths are rough.
    """
    ranked = scores.filter(intent__isnull=False).order_by("intent").values_list("intent", flat=True)
    count = ranked.count()
    return {"intent_low": ranked[(count - 1) // 2], "intent_high": ranked[count * 4 // 5]} if count else {}


def band(intent: float, score_set: ScoreSet) -> str:
    """Return in which band of its set a score lies."""
    if score_set.intent_low is None or intent <= score_set.intent_low:
        return LOW
    return HIGH if score_set.intent_high is not None and intent >= score_set.intent_high else MIDDLE


def in_band(name: str) -> Q:
    """Return :func:`band` as a filter of scores."""
    if name == LOW:
        return Q(intent__lte=F("score_set__intent_low"))
    edge = F("score_set__intent_high")
    return Q(intent__gt=F("score_set__intent_low")) & (Q(intent__gte=edge) if name == HIGH else Q(intent__lt=edge))


def counts(score_set: ScoreSet, now: datetime) -> bool:
    """Return whether a live set's scores may be used at a moment: as old as pages would take, and of today's span."""
    published, oldest = score_set.published_at, now - timedelta(hours=conf.get().score_max_age_hours)
    return score_set.intent_days == conf.get().intent_days and published is not None and oldest <= published <= now


def live(now: datetime) -> QuerySet[ShopperScores]:
    """Return the scores that :func:`counts` lets count, of all populations."""
    oldest = now - timedelta(hours=conf.get().score_max_age_hours)
    return ShopperScores.objects.filter(
        score_set__state=ScoreSet.State.LIVE,
        score_set__intent_days=conf.get().intent_days,
        score_set__published_at__range=(oldest, now),
        intent__isnull=False,
    )


def lacking(population: str, now: datetime) -> str:
    """Return why no shopper of a population has an intent that counts, and what to do; empty: some do."""
    found = ScoreSet.objects.filter(population=population, state=ScoreSet.State.LIVE).first()
    days = conf.get().intent_days
    if found is None or found.intent_version_id is None:
        return _(
            "There is no score of purchase intent yet: train a model, which needs some weeks of orders, then score. "
            "Until then nobody fulfils a condition on it."
        )
    if found.intent_days != days:
        return _(
            "The live scores of purchase intent look %(live)s days ahead, INTENT_DAYS says %(days)s: train and score "
            "again. Until then nobody fulfils a condition on it."
        ) % {"live": found.intent_days, "days": days}
    if not counts(found, now):
        return _(
            "The live scores of purchase intent are too old: see whether a worker runs, and score again. Until then "
            "nobody fulfils a condition on it."
        )
    return ""
