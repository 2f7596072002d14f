"""The forecast panel of a campaign: ask for one, follow its job, read it, and score it against what happened."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.utils.safestring import SafeString
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from personalization.admin import attractiveness
from personalization.admin.assumptions import read as read_assumptions
from personalization.admin.display import badge, progress
from personalization.admin.intervals import Chart, Figure, draw, metric_label, read_figures
from personalization.exceptions import PersonalizationError
from personalization.insight import forecast as forecasting
from personalization.learning import forecast_terms, jobs
from personalization.models import Campaign, Forecast, Job
from personalization.ports.messages import explain
from personalization.types import JobKind, JobState

if TYPE_CHECKING:
    from personalization.admin.campaigns import CampaignAdmin

log = logging.getLogger(__name__)
STARTED = {Campaign.Status.RUNNING, Campaign.Status.PAUSED, Campaign.Status.ENDED, Campaign.Status.ARCHIVED}
UNFIT = gettext_lazy(
    "The campaign’s offers, audience, budget or dates have changed since it was computed, so a launch does not freeze "
    "it. Compute it again."
)
NOT_FROZEN = gettext_lazy(
    "Nothing was frozen at the launch: no forecast had been computed for what was launched. This one does not count in "
    "how well forecasts did. Next time, compute it again before the launch."
)


@dataclass(frozen=True)
class Panel:
    """All that the panel's template shows; ``unfit``: why the forecast is not, or would not be, frozen."""

    forecast: Forecast | None
    figures: list[Figure]
    compared: bool
    chart: Chart | None
    assumptions: list[tuple[str, str]]
    simulated: bool
    job: Job | None
    attractiveness: attractiveness.Table | None
    can_compute: bool
    why_not: str = ""
    unfit: str = ""

    @property
    def job_is_open(self) -> bool:
        return self.job is not None and self.job.state in jobs.OPEN

    @property
    def job_failed(self) -> bool:
        return self.job is not None and self.job.state in {JobState.FAILED.value, JobState.QUARANTINED.value}

    @property
    def job_error(self) -> str:
        return jobs.error_of(self.job) if self.job is not None else ""

    @property
    def job_stage(self) -> str:
        return jobs.stage_of(self.job) if self.job is not None else ""

    @property
    def job_badge(self) -> SafeString:
        return badge(self.job.get_state_display(), self.job.state) if self.job else SafeString("")

    @property
    def job_progress(self) -> SafeString:
        return progress(self.job.progress, _("Progress of the forecast")) if self.job else SafeString("")


def panel(request: HttpRequest, campaign: Campaign) -> Panel:
    """Gather a campaign's forecast, its job and, once it runs, the outcome."""
    forecast = forecasting.latest(campaign)
    figures = compared_figures(campaign) if campaign.status in STARTED else []
    compared = bool(figures)
    if not figures and forecast is not None:
        figures = read_figures(forecast.figures, campaign.currency)
    assumptions = forecast.assumptions if forecast is not None else {}
    started = campaign.status in STARTED
    return Panel(
        forecast=forecast,
        figures=figures,
        compared=compared,
        chart=draw(figures),
        assumptions=read_assumptions(assumptions, campaign.currency),
        simulated=is_simulated(assumptions),
        job=latest_job(campaign),
        attractiveness=attractiveness.table(campaign, forecast, started=started),
        can_compute=may_compute(request) and not started,
        why_not=_("The forecast was frozen at the launch.") if started else "",
        unfit=unfit(forecast, started=started),
    )


def unfit(forecast: Forecast | None, *, started: bool) -> str:
    """Return why a launch did not, or would not, freeze a forecast, and what to do; empty where it did, or would."""
    if forecast is None or forecast.frozen_at is not None:
        return ""
    if started:
        return str(NOT_FROZEN)
    return "" if forecast_terms.fits(forecast) else str(UNFIT)


def may_compute(request: HttpRequest) -> bool:
    """Return whether the user may ask a worker for a forecast."""
    return bool(request.user.has_perm("personalization.run_job"))


def latest_job(campaign: Campaign) -> Job | None:
    """Return the newest forecast job of a campaign."""
    asked = Job.objects.filter(kind=JobKind.FORECAST.value, params__campaign=campaign.pk)
    return asked.order_by("-pk").first()


def compared_figures(campaign: Campaign) -> list[Figure]:
    """Return forecast beside actual; nothing where there is no forecast to compare."""
    try:
        lines = forecasting.compare(campaign)
    except (PersonalizationError, ArithmeticError, LookupError, TypeError, ValueError):
        log.exception("The forecast of campaign %s cannot be compared.", campaign.pk)
        return []
    return [
        Figure(
            metric=line.metric,
            label=metric_label(line.metric, line.label),
            mean=line.mean,
            low=line.low,
            high=line.high,
            actual=line.actual,
            inside=line.inside,
            currency=campaign.currency,
        )
        for line in lines
    ]


def is_simulated(assumptions: Any) -> bool:
    """Return whether the assumptions say that the figures come from simulated data."""
    if not isinstance(assumptions, Mapping):
        return "simulat" in str(assumptions).lower()
    return any(
        ("simulat" in str(name).lower() and bool(value)) or (isinstance(value, str) and "simulat" in value.lower())
        for name, value in assumptions.items()
    )


def forecast_view(model_admin: CampaignAdmin, request: HttpRequest, object_id: str) -> HttpResponse:
    """POST asks a worker for a forecast (the request only writes the job's row); GET returns the panel alone."""
    if request.method not in {"GET", "POST"}:
        return HttpResponseNotAllowed(["GET", "POST"])
    campaign = model_admin.get_object(request, object_id)
    if campaign is None:
        return model_admin.gone(request, object_id)
    if not model_admin.has_view_permission(request, campaign):
        raise PermissionDenied
    if request.method == "GET":
        context = {"panel": panel(request, campaign), "stored": campaign}
        return render(request, "admin/personalization/campaign/forecast.html", context)
    if not may_compute(request):
        raise PermissionDenied
    try:
        job, new = forecasting.request_forecast(campaign, request.user)
    except PersonalizationError as error:
        model_admin.message_user(request, explain(error), messages.ERROR)
    else:
        told = _("%(job)s waits for a worker, which computes the forecast. This page shows it when it is there.")
        if not new:
            told = _("%(job)s computes this forecast already. This page shows it when it is there.")
        model_admin.message_user(request, told % {"job": job}, messages.SUCCESS if new else messages.WARNING)
    return HttpResponseRedirect(reverse("admin:personalization_campaign_change", args=[campaign.pk]) + "#forecast")
