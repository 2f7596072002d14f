"""What a campaign will do, asked before launch and scored after it.

A worker computes a forecast (a job row asks for it); here it is requested, read, and held against what happened.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.db.models import Count, Q, Sum
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from personalization.insight.feedback import join_outcomes
from personalization.learning import jobs
from personalization.models import Campaign, Exposure, Forecast, Job, Redemption
from personalization.types import Arm, JobKind

METRICS = ("audience", "views", "redemptions", "orders", "cost")


@dataclass(frozen=True, slots=True)
class ForecastLine:
    """One figure: its mean and 90 % interval, and what happened; ``inside`` is None while nothing has."""

    metric: str
    label: str
    mean: float
    low: float
    high: float
    actual: float | None
    inside: bool | None


LABELS = {
    "audience": _("shoppers shown an offer"),
    "views": _("shoppers who view it"),
    "redemptions": _("redemptions"),
    "orders": _("shoppers who order"),
    "cost": _("cost of discounts"),
}


def request_forecast(campaign: Campaign, by: Any = None) -> tuple[Job, bool]:
    """Queue the forecast of a campaign for a worker; return its job, and False if that was open already."""
    return jobs.ask(JobKind.FORECAST, {"campaign": campaign.pk}, by=by)


def latest(campaign: Campaign) -> Forecast | None:
    """Return the frozen forecast if there is one, else the newest."""
    frozen = Forecast.objects.filter(campaign=campaign, frozen_at__isnull=False).first()
    return frozen or Forecast.objects.filter(campaign=campaign).order_by("-created_at").first()


def actuals(campaign: Campaign) -> dict[str, float]:
    """Return what has happened so far, in the forecast's own units (shoppers; minor units for cost)."""
    join_outcomes(campaign_id=campaign.pk)
    shown = Exposure.objects.filter(campaign=campaign, arm=Arm.TREATMENT.value, offer__isnull=False)
    counts = shown.aggregate(
        audience=Count("shopper", distinct=True),
        views=Count("shopper", distinct=True, filter=Q(viewed_at__isnull=False)),
        redemptions=Count("shopper", distinct=True, filter=Q(redeemed_at__isnull=False)),
        orders=Count("shopper", distinct=True, filter=Q(purchased_at__isnull=False)),
        cost=Sum("cost_minor"),
    )
    spent = Redemption.objects.filter(campaign=campaign).aggregate(
        cost=Sum("amount_minor"), refunded=Sum("refunded_minor")
    )
    recorded = (spent["cost"] or 0) - (spent["refunded"] or 0)
    return {
        **{name: float(counts[name] or 0) for name in METRICS},
        # Real redemptions are the ledger's word; imported exposures carry their own cost.
        "cost": float(recorded or counts["cost"] or 0),
    }


def compare(campaign: Campaign) -> list[ForecastLine]:
    """Return forecast beside actual, one line a figure; empty without a forecast."""
    forecast = latest(campaign)
    if forecast is None:
        return []
    launched = campaign.status not in {Campaign.Status.DRAFT, Campaign.Status.REVIEW, Campaign.Status.SCHEDULED}
    happened = actuals(campaign) if launched or campaign.starts_at <= timezone.now() else None
    lines: list[ForecastLine] = []
    for metric in METRICS:
        figure = forecast.figures.get(metric) if isinstance(forecast.figures, dict) else None
        if not isinstance(figure, list) or len(figure) != 3:
            continue
        mean, low, high = (float(value) for value in figure)
        actual = happened[metric] if happened is not None else None
        over = campaign.status in {Campaign.Status.ENDED, Campaign.Status.ARCHIVED} and actual is not None
        inside = low <= actual <= high if over and actual is not None else None
        lines.append(ForecastLine(metric, str(LABELS[metric]), mean, low, high, actual, inside))
    return lines
