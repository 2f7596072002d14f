"""Attractiveness as forecasts keep it: read for people, and held against what the launch came to.

A forecast's row holds, of each offer, the share of the shoppers shown it who will respond, with an 80 % interval and
what carries it; or, where no model reigns, how many launches there are of how many that are needed. Frozen with the
forecast, it is scored when the launch is over.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.db.models import (
    Case,
    Count,
    DateTimeField,
    DurationField,
    ExpressionWrapper,
    F,
    Max,
    Min,
    OuterRef,
    Q,
    Subquery,
    Value,
    When,
)
from django.utils import timezone

from personalization.features.compute import DAY
from personalization.features.launches import LONGEST, MIN_SHOWN, NAMES, PAUSE
from personalization.learning import sentences
from personalization.learning.figures import is_number, listed, mapping
from personalization.models import Campaign, Exposure, Forecast, Job, Offer
from personalization.pure.launch_rate import interval
from personalization.pure.proportions import Estimate, wilson
from personalization.types import Arm

LENGTH = Case(
    When(campaign__delivery=Campaign.Delivery.SENT, then=Value(timedelta(days=PAUSE / DAY))),
    default=Value(timedelta(days=LONGEST / DAY)),
    output_field=DurationField(),
)
"""How long a launch is watched from its first exposure on."""


@dataclass(frozen=True, slots=True)
class Part:
    """A topic that carries an offer: by how much (a share) the rate would lie lower without it."""

    name: str
    moved: float


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a launch has come to so far; ``over`` once the last outcome window has closed."""

    shown: int
    responded: int
    over: bool

    @property
    def rate(self) -> float:
        """The share that responded; 0 where nobody was shown anything."""
        return self.responded / self.shown if self.shown else 0.0


@dataclass(frozen=True, slots=True)
class Expected:
    """One offer's expected rate with its 80 % interval. ``precision`` counts in shoppers (``pure.launch_rate``)."""

    offer: int
    name: str
    mean: float
    low: float
    high: float
    precision: float
    parts: list[Part] = field(default_factory=list)

    def held(self, outcome: Outcome) -> bool | None:
        """Return whether the 80 % interval for as many shoppers as were shown it holds the rate; None if undecided."""
        if not outcome.over or outcome.shown < MIN_SHOWN:
            return None
        low, high = interval(self.mean, self.precision, outcome.shown)
        return low <= outcome.rate <= high


@dataclass(frozen=True, slots=True)
class Attractiveness:
    """What a forecast tells: offers, or that there are ``launches`` of ``needed``, or why the model cannot be asked."""

    offers: list[Expected] = field(default_factory=list)
    launches: int | None = None
    needed: int | None = None
    problem: str = ""


def read(forecast: Forecast | None) -> Attractiveness | None:
    """Return what a forecast's row tells, without what is of another shape; None of one that tells nothing."""
    stored = mapping(forecast.attractiveness) if forecast is not None else {}
    if "offers" in stored:
        return Attractiveness(
            [told for row in listed(stored["offers"]) if (told := _expected(mapping(row))) is not None]
        )
    problem = sentences.read(stored.get("problem"))
    if problem is not None:
        return Attractiveness(problem=str(problem))
    if is_number(stored.get("launches")) and is_number(stored.get("needed")):
        return Attractiveness(launches=int(stored["launches"]), needed=int(stored["needed"]))
    return None


def of_job(job: Job) -> Attractiveness | None:
    """Return what the forecast that a job has stored tells."""
    number = mapping(job.result).get("forecast")
    return read(Forecast.objects.filter(pk=number).first()) if isinstance(number, int) else None


def _expected(row: Any) -> Expected | None:
    figures = [row.get(name) for name in ("mean", "low", "high", "precision")]
    if not is_number(row.get("offer")) or not all(map(is_number, figures)):
        return None
    mean, low, high, precision = map(float, figures)
    if not 0 < mean < 1 or precision <= 0:
        return None
    parts = [
        Part(str(NAMES[part[0]]), float(part[1]))
        for part in listed(row.get("parts"))
        if isinstance(part, list)
        and len(part) == 2
        and isinstance(part[0], str)
        and part[0] in NAMES
        and is_number(part[1])
    ]
    return Expected(int(row["offer"]), str(row.get("name", "")), mean, low, high, precision, parts)


def outcomes(campaign: Campaign, now: datetime | None = None) -> dict[int, Outcome]:
    """Return offer → what its launch has come to: the first wave of what is sent, the first weeks on the pages."""
    return _outcomes(Q(pk=campaign.pk), now).get(campaign.pk, {})


def _outcomes(campaigns: Q, now: datetime | None) -> dict[int, dict[int, Outcome]]:
    """Return campaign → offer → outcome of the chosen campaigns, in one query: figures are of each offer's own rows."""
    now = now or timezone.now()
    shown = Exposure.objects.filter(
        campaign=OuterRef("campaign"), offer=OuterRef("pk"), arm=Arm.TREATMENT.value
    ).order_by()
    counted = shown.filter(exposed_at__lt=OuterRef("until")).values("offer")
    redeemed = Q(redeemed_at__isnull=False, redeemed_at__lte=F("window_ends_at"))
    people = Count("shopper", distinct=True)
    rows = (
        Offer.objects.filter(campaign__in=Campaign.objects.filter(campaigns))
        .annotate(first=Subquery(shown.values("offer").annotate(first=Min("exposed_at")).values("first")))
        .filter(first__isnull=False)
        .annotate(until=ExpressionWrapper(F("first") + LENGTH, output_field=DateTimeField()))
        .annotate(
            shown=Subquery(counted.annotate(n=people).values("n")),
            responded=Subquery(counted.filter(redeemed).annotate(n=people).values("n")),
            closed=Subquery(counted.annotate(last=Max("window_ends_at")).values("last")),
        )
        .values_list("campaign", "pk", "until", "campaign__ends_at", "shown", "responded", "closed")
    )
    found: dict[int, dict[int, Outcome]] = defaultdict(dict)
    for campaign, offer, until, ends_at, seen, responded, closed in rows:
        over = max(closed, min(until, ends_at)) <= now
        found[campaign][offer] = Outcome(seen, responded or 0, over)
    return found


@dataclass(frozen=True, slots=True)
class Hindsight:
    """How frozen expectations did: the mean distance from what happened (a share), and how many intervals held it."""

    launches: int
    error: float
    held: int
    coverage: Estimate


def hindsight(population: str, now: datetime | None = None) -> Hindsight | None:
    """Score every expectation that was frozen at its launch and is over; None before the first one."""
    frozen = Forecast.objects.filter(campaign__population=population, frozen_at__isnull=False)
    frozen = frozen.exclude(attractiveness={})
    every = _outcomes(Q(pk__in=frozen.values("campaign")), now)
    errors, held = [], 0
    for forecast in frozen.order_by("pk"):
        told, came = read(forecast), every.get(forecast.campaign_id, {})
        for expected in told.offers if told is not None else []:
            outcome = came.get(expected.offer)
            verdict = expected.held(outcome) if outcome is not None else None
            if outcome is not None and verdict is not None:
                errors.append(abs(expected.mean - outcome.rate))
                held += verdict
    coverage = wilson(held, len(errors))
    return None if coverage is None else Hindsight(len(errors), sum(errors) / len(errors), held, coverage)
