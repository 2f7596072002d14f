"""The buttons that move a campaign from state to state, and the check-list before its launch.

Which moves exist is the campaigns room's word (:mod:`personalization.campaigns.lifecycle`); here they get names,
permissions and, where a click cannot be taken back, a page that asks first.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.shortcuts import render
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _

from personalization.admin import moments
from personalization.admin.audience import AudienceView
from personalization.admin.checklist import Check, further
from personalization.campaigns import lifecycle
from personalization.exceptions import PersonalizationError
from personalization.insight import workers
from personalization.models import Campaign, Trigger
from personalization.ports.messages import explain

if TYPE_CHECKING:
    from personalization.admin.campaigns import CampaignAdmin

Status = Campaign.Status
MOST_CHANGES = 10
FINAL = {Status.ENDED, Status.ARCHIVED}


@dataclass(frozen=True)
class Step:
    """One button: the state it leads to and how it looks."""

    to: str
    label: str
    url: str
    asks_first: bool
    warns: bool


@dataclass(frozen=True)
class Change:
    """One line of the campaign's history of states."""

    at: datetime
    before: str
    after: str
    by: str


def steps(request: HttpRequest, campaign: Campaign) -> list[Step]:
    """Return the buttons that this user may press now."""
    return [
        Step(
            to=to,
            label=step_label(campaign, to),
            url=reverse("admin:personalization_campaign_state", args=[campaign.pk, to]),
            asks_first=asks_first(campaign, to),
            warns=to == Status.ENDED,
        )
        for to in lifecycle.allowed(campaign)
        if lifecycle.may(request.user, campaign.status, to)
    ]


def may_move(request: HttpRequest, to: str) -> bool:
    """Return whether the user may move campaigns to this state, from some state at least."""
    sources = [before for before, after in lifecycle.TRANSITIONS.items() if to in after]
    return any(lifecycle.may(request.user, before, to) for before in sources)


def is_launch(campaign: Campaign, to: str) -> bool:
    """Return whether this move starts the campaign (and is not a resumption)."""
    return to == Status.RUNNING and campaign.status != Status.PAUSED


def asks_first(campaign: Campaign, to: str) -> bool:
    """Return whether a page asks for confirmation before this move."""
    return to in FINAL or needs_checklist(campaign, to)


def needs_checklist(campaign: Campaign, to: str) -> bool:
    """Return whether this move puts the campaign before shoppers, now or by itself later."""
    return to == Status.SCHEDULED or is_launch(campaign, to)


def step_label(campaign: Campaign, to: str) -> str:
    """Return the words on the button."""
    if to == Status.RUNNING:
        return _("Launch") if is_launch(campaign, to) else _("Resume")
    labels = {
        Status.DRAFT.value: _("Back to draft"),
        Status.REVIEW.value: _("Submit for review"),
        Status.SCHEDULED.value: _("Schedule"),
        Status.PAUSED.value: _("Pause"),
        Status.ENDED.value: _("End"),
        Status.ARCHIVED.value: _("Archive"),
    }
    return labels.get(str(to)) or str(dict(Status.choices).get(to, to))


def consequence(campaign: Campaign, to: str) -> str:
    """Return what the confirmation page says will happen."""
    if is_launch(campaign, to):
        if campaign.starts_at > timezone.now():
            words = _(
                "From %(start)s on shoppers see the offers and can claim coupons; until then nothing is shown. "
                "The forecast is frozen at once, and the audience and the offers’ terms cannot be changed any more."
            ) % {"start": moments.starts(campaign)}
        else:
            words = _(
                "Shoppers will see the offers, coupons can be claimed, and the forecast is frozen. "
                "From then on the audience and the offers’ terms cannot be changed."
            )
        if campaign.triggers.filter(kind=Trigger.Kind.LAUNCH, active=True).exists():
            words += " " + _("Its messages go out to the whole audience; what is sent cannot be taken back.")
        return words
    if to == Status.SCHEDULED:
        return _(
            "The campaign starts by itself at its start. Until then the audience and the offers’ terms are fixed; "
            "send it back to draft to change them."
        )
    if to == Status.ENDED:
        return _("No more coupons are issued or redeemed. An ended campaign cannot be started again.")
    return _("The campaign leaves the daily list. Its figures are kept.")


def checklist(campaign: Campaign, audience: AudienceView) -> list[Check]:
    """Return what a careful marketer looks at before a launch."""
    now = timezone.now()
    offers = list(campaign.offers.all())
    checks = [Check(bool(offers), _("It has offers"), _("It has no offer yet"), _("Add at least one offer."))]
    if campaign.delivery == Campaign.Delivery.ON_PAGE:
        unplaced = [offer.name for offer in offers if not offer.slots]
        hint = _("Without a slot: %(names)s.") % {"names": ", ".join(unplaced)} if unplaced else ""
        still = _("An offer has no slot") if unplaced else _("No offer has a slot yet")
        checks.append(Check(bool(offers) and not unplaced, _("Every offer has a slot"), still, hint))
    checks.append(_of_dates(campaign, now))
    hint = _("Without one, discounts have no limit.")
    checks.append(Check(bool(campaign.budget_minor), _("It has a budget"), _("It has no budget"), hint))
    checks.append(
        Check(
            campaign.forecasts.exists(),
            _("Its forecast is computed"),
            _("It has no forecast yet"),
            _("Compute it: without one, there is nothing to compare the outcome with."),
        )
    )
    checks.append(
        Check(
            bool(audience.count),
            _("Its audience is not empty") if not audience.count else audience.sentence,
            _("Nobody is in its audience"),
            audience.error or _("Nobody meets all conditions."),
        )
    )
    return [*checks, *further(campaign, offers, now)]


def _of_dates(campaign: Campaign, now: datetime) -> Check:
    """A start that has passed is no mistake: whoever starts today means at once."""
    if campaign.starts_at < now < campaign.ends_at:
        return Check(True, _("It starts at once: the start has passed."), "", notes=True)
    met, still = _("Its dates lie in the future"), _("Its dates do not lie in the future")
    return Check(campaign.ends_at > now, met, still, _("The end has passed."))


def checks_context(campaign: Campaign, audience: AudienceView, *, shown: bool) -> dict[str, Any]:
    """Return what the list's template needs: lines, whether one may change by itself, and where to ask again.

    While no worker is at any of what is waited for, it says how to start one.
    """
    checks = checklist(campaign, audience) if shown else []
    return {
        "checks": checks,
        "checks_wait": any(check.waits for check in checks),
        "checks_worked": any(check.worked for check in checks),
        "worker_command": workers.command(),
        "checks_met": bool(checks) and all(check.ok for check in checks),
        "checks_url": reverse("admin:personalization_campaign_checks", args=[campaign.pk]),
    }


def checks_view(model_admin: CampaignAdmin, request: HttpRequest, object_id: str) -> HttpResponse:
    """Return the check-list alone, for the pages on which it refreshes itself while a job is at one of its lines."""
    if request.method != "GET":
        return HttpResponseNotAllowed(["GET"])
    campaign = model_admin.get_object(request, object_id)
    if campaign is None:
        return model_admin.gone(request, object_id)
    if not model_admin.has_view_permission(request, campaign):
        raise PermissionDenied
    found = model_admin.audience_view(request, campaign)
    context = checks_context(campaign, found, shown=is_before_launch(campaign, steps(request, campaign)))
    return render(request, "admin/personalization/campaign/checks.html", context)


def is_before_launch(campaign: Campaign, possible: Iterable[Step]) -> bool:
    """Return whether one of the steps that the user may take wants the check-list."""
    return any(needs_checklist(campaign, step.to) for step in possible)


def history(campaign: Campaign) -> list[Change]:
    """Return the latest changes of state, newest first."""
    names = dict(Status.choices)
    return [
        Change(
            at=row.at,
            before=str(names.get(row.from_status, row.from_status)),
            after=str(names.get(row.to_status, row.to_status)),
            by=row.by.get_username() if row.by is not None else _("automatically"),
        )
        for row in campaign.transitions.select_related("by").order_by("-pk")[:MOST_CHANGES]
    ]


def move(request: HttpRequest, model_admin: CampaignAdmin, campaign: Campaign, to: str) -> bool:
    """Move the campaign; say how it went; return whether it did."""
    label = step_label(campaign, to)
    try:
        if is_launch(campaign, to):
            lifecycle.launch(campaign, request.user)
        else:
            lifecycle.transition(campaign, to, request.user)
    except PersonalizationError as error:
        model_admin.message_user(request, explain(error), messages.ERROR)
        return False
    campaign.refresh_from_db()
    model_admin.log_change(request, campaign, label)
    model_admin.message_user(
        request,
        _("“%(name)s” is now %(state)s.") % {"name": campaign.name, "state": moments.state_words(campaign)},
        messages.SUCCESS,
    )
    return True


def state_view(model_admin: CampaignAdmin, request: HttpRequest, object_id: str, to: str) -> HttpResponse:
    """GET asks for confirmation, POST moves the campaign; a word that is no state leads nowhere."""
    if to not in Status.values:
        raise Http404
    campaign = model_admin.get_object(request, object_id)
    if campaign is None:
        return model_admin.gone(request, object_id)
    if not model_admin.has_view_permission(request, campaign) or not may_move(request, to):
        raise PermissionDenied
    back = HttpResponseRedirect(reverse("admin:personalization_campaign_change", args=[campaign.pk]))
    if to not in lifecycle.allowed(campaign):
        model_admin.message_user(
            request,
            _("“%(name)s” is %(state)s now: this step is not possible any more.")
            % {"name": campaign.name, "state": campaign.get_status_display()},
            messages.ERROR,
        )
        return back
    if request.method == "POST":
        move(request, model_admin, campaign, to)
        return back
    if request.method != "GET":
        return HttpResponseNotAllowed(["GET", "POST"])
    return _confirmation(model_admin, request, campaign, to)


def _confirmation(model_admin: CampaignAdmin, request: HttpRequest, campaign: Campaign, to: str) -> HttpResponse:
    audience = model_admin.audience_view(request, campaign)
    context: dict[str, Any] = {
        **model_admin.admin_site.each_context(request),
        "opts": model_admin.opts,
        "original": campaign,
        "title": f"{step_label(campaign, to)}: {campaign.name}",
        "label": step_label(campaign, to),
        "consequence": consequence(campaign, to),
        **checks_context(campaign, audience, shown=needs_checklist(campaign, to)),
        "warns": to == Status.ENDED,
        "media": model_admin.media,
    }
    request.current_app = model_admin.admin_site.name
    return TemplateResponse(request, "admin/personalization/campaign/confirm_state.html", context)
