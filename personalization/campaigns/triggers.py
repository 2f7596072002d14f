"""What sets a campaign off for a shopper: each occasion once for each shopper, whatever evaluates twice.

A pass goes through the shoppers in ranges. A range is one transaction: its occurrences, their messages and how far
the pass has come are written together, so that a killed pass goes on where it stopped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta
from typing import Any

from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import Q, QuerySet
from django.utils import timezone
from django.utils.translation import gettext_noop

from personalization.campaigns import occasions, snapshots, switch, triggers_sql
from personalization.exceptions import InvalidTrigger, PersonalizationError
from personalization.learning import handlers, jobs
from personalization.models import Campaign, Job, Occurrence, Offer, Shopper, Trigger
from personalization.models.trigger_rules import parse_params as parse_details
from personalization.tracking import schema
from personalization.types import JobKind

RANGE = 100_000
REASON = "no_occasion"
EVERY = timedelta(hours=1)
DONE = Q(kind=Trigger.Kind.LAUNCH, evaluated_at__isnull=False)
"""A launch is gone through once: whoever comes to fit later was not in the audience."""
Progress = Callable[[float], None]


def parse_params(kind: str, raw: Any) -> dict[str, Any]:
    """Return a trigger's details with their defaults, or raise InvalidTrigger with what is wrong."""
    try:
        params = parse_details(kind, raw)
    except ValidationError as error:
        raise InvalidTrigger(" ".join(error.messages)) from error
    if kind == Trigger.Kind.EVENT and params["property"] in schema.sealed(params["type"]):
        raise InvalidTrigger(
            f"{params['type']}: {params['property']} is personal and stored encrypted; a trigger cannot ask for it."
        )
    return params


def evaluate(trigger: Trigger, now: datetime | None = None, *, size: int = RANGE) -> int:
    """Go through the campaign's audience once; returns how many occurrences are new.

    A pass that was killed is taken up where it stopped. Nothing happens while the campaign does not run, or after a
    launch has been gone through. Raises InvalidTrigger.
    """
    now = now or timezone.now()
    if not is_due(trigger, now):
        return 0
    params = parse_params(trigger.kind, trigger.params)
    mine = Trigger.objects.filter(pk=trigger.pk).exclude(DONE)
    mine.filter(pass_started_at=None).update(pass_started_at=now, cursor=0)
    new, low = 0, mine.values_list("cursor", flat=True).first()
    if low is None:
        return 0
    found = occasions.find(trigger, params, snapshots.addressed(trigger.campaign, now), now)
    while found is not None:
        high = _range_end(trigger.campaign.population, low, size)
        if high is None:
            break
        new += _evaluate_range(trigger, found, low, high, now)
        low = high
    mine.update(pass_started_at=None, cursor=0, evaluated_at=now)
    return new


def is_due(trigger: Trigger, now: datetime) -> bool:
    """Return whether the trigger is active and its campaign runs at this moment."""
    campaign = trigger.campaign
    running = campaign.status == Campaign.Status.RUNNING and campaign.starts_at <= now < campaign.ends_at
    return trigger.active and running


def _range_end(population: str, low: int, size: int) -> int | None:
    """Return the key of the last of the next ``size`` shoppers; None if there is none."""
    ahead = Shopper.objects.filter(population=population, pk__gt=low).order_by("pk").values_list("pk", flat=True)
    ends = list(ahead[size - 1 : size])
    return ends[0] if ends else ahead.last()


def _evaluate_range(trigger: Trigger, found: occasions.Found, low: int, high: int, now: datetime) -> int:
    part = occasions.Found(found.shoppers.filter(pk__gt=low, pk__lte=high), found.prefix)
    open_until = min(now + timedelta(days=trigger.open_days), trigger.campaign.ends_at)
    with transaction.atomic():
        # First, so that on PostgreSQL as on SQLite one evaluation of a trigger writes at a time.
        Trigger.objects.filter(pk=trigger.pk).update(cursor=high)
        new = triggers_sql.insert_occurrences(trigger, part, now, open_until)
        if new:
            triggers_sql.insert_messages(trigger, low, high, now)
    return new


def evaluate_all(population: str, now: datetime | None = None, progress: Progress | None = None) -> dict[int, int]:
    """Evaluate every active trigger of running campaigns; returns trigger → new occurrences, −1 where it failed."""
    now = now or timezone.now()
    if switch.engaged_now(population):
        return {}
    mine = _running().filter(campaign__population=population)
    waiting = list(mine.select_related("campaign").order_by("pk"))
    done: dict[int, int] = {}
    for number, trigger in enumerate(waiting):
        if progress is not None:
            progress(number / len(waiting))
        try:
            done[trigger.pk] = evaluate(trigger, now)
        except PersonalizationError:  # one that cannot be read must not hold up the others
            done[trigger.pk] = -1
    return done


def _running() -> QuerySet[Trigger]:
    return Trigger.objects.filter(active=True, campaign__status=Campaign.Status.RUNNING).exclude(DONE)


# -- on the page


def opening() -> QuerySet[Trigger]:
    """Return the triggers that keep their campaign closed until they go off: all active ones but a launch."""
    return Trigger.objects.filter(active=True).exclude(kind=Trigger.Kind.LAUNCH)


def without_occasion(offers: Iterable[Offer], shopper: Shopper | None, now: datetime) -> set[int]:
    """Return which offers wait for an occasion that has not come for this shopper: one query, or none.

    ``offers`` carry ``triggered`` (whether their campaign has such a trigger, see :func:`opening`); one without it is
    asked about.
    """
    waiting = [offer for offer in offers if getattr(offer, "triggered", None) is not False]
    unknown = {offer.campaign_id for offer in waiting if not hasattr(offer, "triggered")}
    if unknown:
        known = set(opening().filter(campaign__in=unknown).values_list("campaign_id", flat=True))
        waiting = [offer for offer in waiting if offer.campaign_id in known or hasattr(offer, "triggered")]
    if not waiting:
        return set()
    open_for = _open_campaigns({offer.campaign_id for offer in waiting}, shopper, now)
    return {offer.pk for offer in waiting if offer.campaign_id not in open_for}


def _open_campaigns(campaigns: set[int], shopper: Shopper | None, now: datetime) -> set[int]:
    if shopper is None:
        return set()
    rows = Occurrence.objects.filter(
        shopper=shopper, open_until__gt=now, trigger__campaign__in=campaigns, trigger__active=True
    )
    return set(rows.values_list("trigger__campaign_id", flat=True))


def reason(offer: Offer, shopper: Shopper | None, now: datetime) -> str:
    """Return why this shopper must wait for an occasion of the offer's campaign; empty if they need not."""
    return REASON if without_occasion([offer], shopper, now) else ""


# -- the job


def run(job: Job, params: dict[str, Any], stage: handlers.Stage, until: datetime | None) -> None:
    """Evaluate a population's triggers in a job."""
    done = evaluate_all(params["population"], until, lambda share: stage(gettext_noop("evaluating triggers"), share))
    jobs.finish(job, {"triggers": {str(key): new for key, new in done.items()}})


def queue_launch(campaign: Campaign) -> bool:
    """Queue an evaluation at once where the campaign's launch is to be sent; call it in the launch's transaction."""
    launches = campaign.triggers.filter(kind=Trigger.Kind.LAUNCH, active=True)
    if not launches.exists():
        return False
    jobs.enqueue(JobKind.TRIGGERS, {"population": campaign.population})
    return True


def queue_hourly(now: datetime | None = None) -> int:
    """Queue an evaluation for every population with running triggers, once an hour; returns how many."""
    now = now or timezone.now()
    populations = list(_running().order_by().values_list("campaign__population", flat=True).distinct())
    if not populations or jobs.asked_since(JobKind.TRIGGERS, now - EVERY):
        return 0
    return sum(jobs.ask(JobKind.TRIGGERS, {"population": population})[1] for population in populations)
