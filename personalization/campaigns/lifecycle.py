"""A campaign's states, and the only way between them: a guarded transition, written down."""

from __future__ import annotations

import logging
from datetime import datetime
from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext_noop

from personalization.exceptions import InvalidTerms, InvalidTransition, PersonalizationError
from personalization.features import audiences
from personalization.learning import jobs
from personalization.models import Campaign, CampaignTransition, Forecast, ModelVersion
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


def allowed(campaign: Campaign) -> list[str]:
    """Return the states that the campaign may change to."""
    return list(TRANSITIONS[campaign.status])


def transition(campaign: Campaign, to_status: str, by: Any = None) -> Campaign:
    """Change a campaign's state; concurrent changes from the same state succeed once.

    Before it is scheduled or runs for the first time its offers and audience are validated (InvalidTerms). When it
    first runs its latest forecast is frozen and a scoring job is queued.
    """
    to_status = str(to_status)
    if to_status not in TRANSITIONS.get(campaign.status, ()):
        raise InvalidTransition(
            gettext_noop("A campaign that is %(before)s cannot become %(after)s."),
            params={"before": _word(campaign.status), "after": _word(to_status)},
        )
    from_status = campaign.status
    first_run = to_status == Status.RUNNING and from_status != Status.PAUSED
    if first_run or to_status == Status.SCHEDULED:
        _validate(campaign, timezone.now())
    with transaction.atomic():
        moved = Campaign.objects.filter(pk=campaign.pk, status=from_status).update(status=to_status)
        if not moved:
            raise InvalidTransition(gettext_noop("Somebody else has changed this campaign's state. Reload the page."))
        CampaignTransition.objects.create(campaign=campaign, from_status=from_status, to_status=to_status, by=by)
        if first_run:
            _freeze_forecast(campaign)
            if ModelVersion.objects.filter(population=campaign.population, state=ModelVersion.State.CHAMPION).exists():
                jobs.enqueue(JobKind.SCORE, {"population": campaign.population}, by=by)
    campaign.status = to_status
    return campaign


def launch(campaign: Campaign, by: Any = None) -> Campaign:
    """Start a campaign now."""
    return transition(campaign, Status.RUNNING, by)


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
    audiences.parse(campaign.audience)
    for offer in offers:
        try:
            offer.clean()
        except ValidationError as error:
            problems = {"offer": offer.name, "problems": " ".join(error.messages)}
            raise InvalidTerms(gettext_noop("%(offer)s: %(problems)s"), params=problems) from error


def _freeze_forecast(campaign: Campaign) -> None:
    latest = Forecast.objects.filter(campaign=campaign).order_by("-created_at").first()
    frozen = Forecast.objects.filter(campaign=campaign, frozen_at__isnull=False).exists()
    if latest is not None and not frozen:
        Forecast.objects.filter(pk=latest.pk).update(frozen_at=timezone.now())
