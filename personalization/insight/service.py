"""Whether the scores reach the shoppers: coverage, age, and whether what is served is what was published."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Count

from personalization import conf
from personalization.insight.calibration import predicted
from personalization.learning import publish, registry
from personalization.models import Decision, ModelVersion, ScoreSet, ShopperScores
from personalization.types import HEADS, ModelTask

WEEK = timedelta(days=7)
SAMPLE = 1000
"""Decisions that are held against the published scores, at most."""
LEAST_DECISIONS = 100
"""Decisions that a week's coverage is judged by, at least."""
BEFORE_SCORES = "no_scores"
"""The fallback of a decision that was made while nothing was published: no scores could have been used."""
ROUNDING = 1e-4
"""Scores are published with five decimal places."""


@dataclass(frozen=True, slots=True)
class Coverage:
    """A week's decisions: ``known`` about known shoppers while scores were published, ``personal`` by their own scores.

    ``fallbacks``: why the others were not, whenever they were made.
    """

    decisions: int
    known: int
    personal: int
    fallbacks: dict[str, int]

    @property
    def share(self) -> float | None:
        return self.personal / self.known if self.known else None

    @property
    def tells(self) -> bool:
        """Return whether the decisions are enough to judge by."""
        return self.known >= LEAST_DECISIONS


@dataclass(frozen=True, slots=True)
class Ages:
    """Hours since the live scores were published, days since the champion's cut-off; None where there is none."""

    scores_hours: float | None
    champion_days: float | None
    scores_too_old: bool


@dataclass(frozen=True, slots=True)
class Skew:
    """How many of so many rows differ."""

    rows: int
    changed: int

    @property
    def share(self) -> float:
        return self.changed / self.rows if self.rows else 0.0


def coverage(population: str, now: datetime) -> Coverage:
    """Count a week's decisions. Those about nobody are the shop's own: they have no shopper to tell the population."""
    rows = Decision.objects.filter(at__gt=now - WEEK, at__lte=now)
    known = rows.filter(shopper__population=population).values("fallback").annotate(amount=Count("pk")).order_by()
    counts = {row["fallback"]: row["amount"] for row in known}
    if population == conf.get().population:
        nobody = rows.filter(shopper=None).values("fallback").annotate(amount=Count("pk")).order_by()
        unknown = {row["fallback"]: row["amount"] for row in nobody}
    else:
        unknown = {}
    fallbacks = {name: counts.get(name, 0) + unknown.get(name, 0) for name in {*counts, *unknown} if name}
    return Coverage(
        decisions=sum(counts.values()) + sum(unknown.values()),
        known=sum(counts.values()) - counts.get(BEFORE_SCORES, 0),
        personal=counts.get("", 0),
        fallbacks=dict(sorted(fallbacks.items(), key=lambda item: (-item[1], item[0]))),
    )


def champion(population: str) -> ModelVersion | None:
    """Return the response model in force."""
    return registry.champion(ModelTask.RESPONSE, population)


def ages(population: str, now: datetime) -> Ages:
    """Return how old scores and champion are: two rows are read."""
    live, reigning = publish.live(population), champion(population)
    hours = (now - (live.published_at or live.created_at)).total_seconds() / 3600 if live else None
    days = (now - reigning.cutoff_at).total_seconds() / 86_400 if reigning else None
    return Ages(hours, days, hours is not None and hours > conf.get().score_max_age_hours)


def served_otherwise(live: ScoreSet) -> Skew:
    """Hold the latest decisions by these scores against the scores themselves: each has to be the published one."""
    rows = (
        Decision.objects.filter(at__gte=live.published_at or live.created_at, shopper__isnull=False, fallback="")
        .order_by("-at")
        .values_list("shopper_id", "eligible", "features")[:SAMPLE]
    )
    mine = [
        (shopper, eligible)
        for shopper, eligible, features in rows
        if isinstance(features, Mapping) and features.get("score_set") == live.pk
    ]
    people = ShopperScores.objects.filter(score_set=live, shopper__in={shopper for shopper, _eligible in mine})
    scores = dict(people.values_list("shopper_id", "offers"))
    verdicts = [
        all(same for same in _compared(eligible, scores[shopper])) for shopper, eligible in mine if shopper in scores
    ]
    return Skew(len(verdicts), verdicts.count(False))


def _compared(eligible: Any, offers: Any) -> Iterator[bool]:
    for row in eligible if isinstance(eligible, list) else ():
        offer = row.get("offer") if isinstance(row, Mapping) else None
        if offer is None or predicted([row], offer, 0) is None:
            continue
        published = offers.get(str(offer)) if isinstance(offers, Mapping) else None
        yield (
            isinstance(published, list)
            and len(published) == len(HEADS)
            and all(abs(used - kept) <= ROUNDING for used, kept in zip(row["heads"], published, strict=True))
        )


def late_data(live: ScoreSet) -> Skew | None:
    """Return how many of the last scores came out differently with what had arrived since; the worker counted it."""
    counted = live.profile.get("recomputed") if isinstance(live.profile, Mapping) else None
    if not isinstance(counted, Mapping) or not counted.get("rows"):
        return None
    return Skew(int(counted["rows"]), int(counted.get("changed", 0)))
