"""A campaign's states, and the only way between them: a guarded transition, written down."""

from __future__ import annotations

import logging
from datetime import datetime
from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import F
from django.utils import timezone
from django.utils.translation import gettext_noop

from personalization import conf
from personalization.campaigns import snapshots, triggers
from personalization.exceptions import ApprovalRefused, InvalidTerms, InvalidTransition, PersonalizationError
from personalization.features import audiences
from personalization.learning import forecast_terms, jobs
from personalization.models import Campaign, CampaignRevision, CampaignTransition, Forecast, ModelVersion
from personalization.types import JobKind

logger = logging.getLogger(__name__)
Status = Campaign.Status
TRANSITIONS: dict[str, tuple[str, ...]] = {
    Status.DRAFT: (Status.REVIEW, Status.SCHEDULED, Status.RUNNING, Status.ARCHIVED),
    Status.REVIEW: (Status.DRAFT, Status.SCHEDULED, Status.RUNNING),
    Status.SCHEDULED: (Status.DRAFT, Status.RUNNING, Status.ENDED),
    Status.RUNNING: (Status.PAUSED, Status.ENDED),
    Status.PAUSED: (Status.RUNNING, Status.ENDED),
    Status.ENDED: (Status.ARCHIVED,),
    Status.ARCHIVED: (),
}


STARTS = frozenset({Status.SCHEDULED, Status.RUNNING})
APPROVABLE = frozenset({Status.REVIEW, Status.SCHEDULED, Status.RUNNING, Status.PAUSED})


def allowed(campaign: Campaign) -> list[str]:
    """Return the states that the campaign may change to."""
    return list(TRANSITIONS[campaign.status])


def permissions(from_status: str, to_status: str) -> tuple[str, ...]:
    """Return the permissions of which a user needs one for this change of state."""
    if to_status in STARTS:  # a scheduled campaign starts by itself: whoever schedules it launches it
        return ("launch_campaign",)
    if to_status in {Status.PAUSED, Status.ENDED}:
        return ("stop_campaign",)
    if (from_status, to_status) == (Status.REVIEW, Status.DRAFT):
        return ("change_campaign", "approve_campaign")
    if (from_status, to_status) == (Status.SCHEDULED, Status.DRAFT):
        return ("change_campaign", "stop_campaign")
    if (from_status, to_status) == (Status.DRAFT, Status.REVIEW):
        return ("change_campaign", "add_campaign")
    return ("change_campaign",)


def may(by: Any, from_status: str, to_status: str) -> bool:
    """Tell whether somebody may make this change; None is the system, and may."""
    return by is None or any(by.has_perm(f"personalization.{name}") for name in permissions(from_status, to_status))


def transition(campaign: Campaign, to_status: str, by: Any = None, note: str = "") -> Campaign:
    """Change a campaign's state; concurrent changes from the same state succeed once.

    ``by`` is a user whose permissions are checked, or None for the system. Before it is scheduled or runs for the
    first time its offers and audience are validated (InvalidTerms); where approval is required, it is scheduled and
    runs only in the revision that was approved. When it first runs, the latest forecast that was made for it as it is
    now is frozen, a scoring job is queued, and so is the sending of its launch.
    """
    from_status, to_status = str(campaign.status), str(to_status)
    words = {"before": _word(from_status), "after": _word(to_status)}
    if to_status not in TRANSITIONS.get(from_status, ()):
        raise InvalidTransition(gettext_noop("A campaign that is %(before)s cannot become %(after)s."), params=words)
    if not may(by, from_status, to_status):
        text = gettext_noop("You may not change a campaign from %(before)s to %(after)s.")
        raise InvalidTransition(text, params=words, reason="permission")
    first_run = to_status == Status.RUNNING and from_status != Status.PAUSED
    if first_run or to_status == Status.SCHEDULED:
        _validate(campaign, timezone.now())
    with transaction.atomic():
        _move(campaign, from_status, to_status)
        CampaignTransition.objects.create(
            campaign=campaign, from_status=from_status, to_status=to_status, by=by, note=note[:300]
        )
        if first_run:
            snapshots.take(campaign)
            _freeze_forecast(campaign)
            triggers.queue_launch(campaign)
            if ModelVersion.objects.filter(population=campaign.population, state=ModelVersion.State.CHAMPION).exists():
                jobs.enqueue(JobKind.SCORE, {"population": campaign.population}, by=by)
    campaign.status = to_status
    return campaign


def _move(campaign: Campaign, from_status: str, to_status: str) -> None:
    """Write the new state; the row count tells whether the old one, and the approval, still held."""
    rows = Campaign.objects.filter(pk=campaign.pk, status=from_status)
    needs_approval = to_status in STARTS and conf.get().approval_required
    if needs_approval:
        rows = rows.filter(approved_revision=F("revision"))
    if rows.update(status=to_status):
        return
    if needs_approval and Campaign.objects.filter(pk=campaign.pk, status=from_status).exists():
        text = gettext_noop("The campaign’s latest revision is not approved yet.")
        raise InvalidTransition(text, reason="not_approved")
    raise InvalidTransition(gettext_noop("Somebody else has changed this campaign's state. Reload the page."))


def is_approved(campaign: Campaign) -> bool:
    """Tell whether the campaign as it is now has been approved."""
    return campaign.approved_revision is not None and campaign.approved_revision == campaign.revision


def approve(campaign: Campaign, by: Any, revision: int | None = None) -> Campaign:
    """Approve one revision: the one that ``by`` looked at, else the one in memory. Edits afterwards lapse it.

    Raises ApprovalRefused without permission, for one's own edits where four eyes are asked for, in a state where
    there is nothing to approve, and when the campaign was edited meanwhile.
    """
    seen = campaign.revision if revision is None else revision
    if by is None or not by.has_perm("personalization.approve_campaign"):
        raise ApprovalRefused(gettext_noop("You may not approve campaigns."), reason="permission")
    if conf.get().four_eyes and edited_since_approval(campaign, by):
        text = gettext_noop("You have edited this campaign: somebody else has to approve it.")
        raise ApprovalRefused(text, reason="four_eyes")
    rows = Campaign.objects.filter(pk=campaign.pk, status__in=APPROVABLE)
    if not rows.filter(revision=seen).update(approved_revision=seen, approved_by=by, approved_at=timezone.now()):
        if not rows.exists():
            raise ApprovalRefused(gettext_noop("Only what waits for a review or is under way can be approved."))
        text = gettext_noop("The campaign was edited since you looked at it. Read it again before you approve it.")
        raise ApprovalRefused(text, reason="edited")
    campaign.refresh_from_db()
    return campaign


def edited_since_approval(campaign: Campaign, user: Any) -> bool:
    """Tell whether anything that waits for approval is this user's own: an edit, or the campaign itself."""
    approved = Campaign.objects.values_list("approved_revision", flat=True).get(pk=campaign.pk)
    if approved is None and campaign.created_by_id == user.pk:
        return True
    return CampaignRevision.objects.filter(campaign=campaign, by=user, number__gt=approved or 0).exists()


def launch(campaign: Campaign, by: Any = None, note: str = "") -> Campaign:
    """Start a campaign now."""
    return transition(campaign, Status.RUNNING, by, note)


def tick(now: datetime | None = None) -> int:
    """Start scheduled campaigns that are due, end those that are over; returns how many changed."""
    now = now or timezone.now()
    changed = 0
    due = Campaign.objects.filter(status=Status.SCHEDULED, starts_at__lte=now, ends_at__gt=now)
    over = Campaign.objects.filter(status__in=[Status.RUNNING, Status.PAUSED, Status.SCHEDULED], ends_at__lte=now)
    for campaigns, to_status in ((due, Status.RUNNING), (over, Status.ENDED)):
        for campaign in campaigns:
            try:
                transition(campaign, to_status)
            except PersonalizationError as error:  # one that cannot start must not hold up the others
                logger.warning("campaign %s cannot become %s: %s", campaign.pk, to_status, error.message)
            else:
                changed += 1
    return changed


def _word(status: str) -> object:
    """Return a state as people read it; what is no state at all, as it is."""
    return Status(status).label if status in Status.values else status


def _validate(campaign: Campaign, now: datetime) -> None:
    if campaign.ends_at <= now:
        raise InvalidTerms(gettext_noop("The campaign's end lies in the past. Choose a later one."))
    offers = list(campaign.offers.all())
    if not offers:
        raise InvalidTerms(gettext_noop("The campaign has no offer yet. Add one."))
    try:
        campaign.clean()
    except ValidationError as error:
        params = {"problems": " ".join(error.messages)}
        raise InvalidTerms(gettext_noop("The campaign cannot start: %(problems)s"), params=params) from error
    audiences.parse(campaign.audience)
    for offer in offers:
        try:
            offer.clean()
        except ValidationError as error:
            problems = {"offer": offer.name, "problems": " ".join(error.messages)}
            raise InvalidTerms(gettext_noop("%(offer)s: %(problems)s"), params=problems) from error


def _freeze_forecast(campaign: Campaign) -> None:
    """Freeze the newest forecast that was made for what is launched; without one the launch goes on."""
    forecasts = Forecast.objects.filter(campaign=campaign)
    if forecasts.filter(frozen_at__isnull=False).exists():
        return
    fitting = forecasts.filter(made_for=forecast_terms.digest(campaign.pk)).order_by("-created_at").first()
    if fitting is not None:
        forecasts.filter(pk=fitting.pk).update(frozen_at=timezone.now())
