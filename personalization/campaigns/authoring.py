"""Campaigns made by a program: a host's importer, a simulation, a test. People make theirs in the admin.

The same checks hold here as there. What is made is a draft, or history that is over; every other state is reached
through :mod:`personalization.campaigns.lifecycle` alone.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any

from django.db import IntegrityError, transaction
from django.utils import timezone
from django.utils.translation import gettext

from personalization import conf
from personalization.campaigns import clock, revisions
from personalization.exceptions import InvalidTransition, KeyReused
from personalization.features import audiences
from personalization.models import Campaign, CampaignCreation, CampaignTransition, Offer, Trigger

Status = Campaign.Status
FIELDS = frozenset(
    {
        "goal",
        "delivery",
        "population",
        "audience",
        "priority",
        "attribution_hours",
        "currency",
        "budget_minor",
        "time_zone",
        "sites",
        "audience_mode",
        "pacing",
        "gate_liability",
    }
)
OFFER_COUNTERS = frozenset({"id", "campaign", "campaign_id", "issued_count", "reserved_count", "redeemed_count"})
TRIGGER_STATE = frozenset({"id", "campaign", "campaign_id", "cursor", "pass_started_at", "evaluated_at"})


def create_campaign(
    *,
    name: str,
    starts_at: datetime,
    ends_at: datetime,
    offers: Sequence[Mapping[str, Any]],
    triggers: Sequence[Mapping[str, Any]] = (),
    status: str = Status.DRAFT,
    by: Any = None,
    note: str = "",
    idempotency_key: str = "",
    **fields: Any,
) -> Campaign:
    """Make a campaign with its offers, all or nothing, and return it; the offers are ``campaign.offers``.

    ``offers`` are the fields of :class:`personalization.models.Offer`; their primary keys follow the order given.
    ``triggers`` are the fields of :class:`personalization.models.Trigger`. What is made is the first revision.
    ``status`` is ``draft``, or ``ended`` for history from elsewhere. Raises ``ValidationError`` for a field that
    the admin would refuse too, InvalidAudience, and InvalidTransition for any other state. The same
    ``idempotency_key`` of the same author returns the campaign that it made before; for another request it raises
    KeyReused.
    """
    given = {"name": name, "starts_at": starts_at, "ends_at": ends_at, "status": status, "note": note, **fields}
    making = partial(_make, **given, offers=offers, triggers=triggers, by=by)
    if not idempotency_key:
        return making()
    key = f"{getattr(by, 'pk', '') or ''}:{idempotency_key}"[:150]
    digest = _digest({**given, "offers": offers, "triggers": triggers})
    try:
        with transaction.atomic():
            done = _made_before(key, digest)
            if done is None:
                done = making()
                CampaignCreation.objects.create(key=key, digest=digest, campaign=done)
            return done
    except IntegrityError:  # the same key, at the same moment
        done = _made_before(key, digest)
        if done is None:
            raise
        return done


def _made_before(key: str, digest: str) -> Campaign | None:
    done = CampaignCreation.objects.select_related("campaign").filter(key=key).first()
    if done is not None and done.digest != digest:
        raise KeyReused
    return done.campaign if done is not None else None


def _digest(given: Mapping[str, Any]) -> str:
    """Return what tells one request from another; moments and decimals count by their value as text."""
    return hashlib.sha256(json.dumps(given, sort_keys=True, default=str).encode()).hexdigest()


def _make(
    *,
    name: str,
    starts_at: datetime,
    ends_at: datetime,
    offers: Sequence[Mapping[str, Any]],
    triggers: Sequence[Mapping[str, Any]],
    status: str,
    by: Any,
    note: str,
    **fields: Any,
) -> Campaign:
    status = str(status)
    if status not in (Status.DRAFT, Status.ENDED):
        raise InvalidTransition(f"A campaign is made as a draft, or as history that has ended; not as {status}.")
    _refuse("A campaign", set(fields) - FIELDS)
    fields.setdefault("population", conf.get().population)
    fields.setdefault("currency", conf.get().currency)
    campaign = Campaign(name=name, starts_at=starts_at, ends_at=ends_at, status=status, created_by=by, **fields)
    audiences.parse(campaign.audience)
    campaign.full_clean(exclude=["created_by"])
    rows = [_offer(campaign, given) for given in offers]
    occasions = [_trigger(campaign, given) for given in triggers]
    with transaction.atomic():
        campaign.save(force_insert=True)
        if status == Status.ENDED:
            CampaignTransition.objects.create(campaign=campaign, from_status=Status.DRAFT, to_status=status, by=by)
        for row in rows:
            row.campaign = campaign
        for occasion in occasions:
            occasion.campaign = campaign
        Offer.objects.bulk_create(rows)
        Trigger.objects.bulk_create(occasions)
        revisions.record(campaign, by, note)
    return campaign


def clone(campaign: Campaign, by: Any = None, *, name: str = "", now: datetime | None = None) -> Campaign:
    """Make a draft like this campaign, with its offers and triggers, and without what happened to it.

    It starts tomorrow at the same time on the wall clock of its time zone and lasts as long; windows of offers move
    along. Counters, coupons, approvals, forecasts and history stay behind. Raises as :func:`create_campaign` does.
    """
    now = now or timezone.now()
    taken = revisions.snapshot(campaign)
    starts_at = clock.on_day_after(now, campaign.starts_at, clock.zone_of(campaign))
    shift = starts_at - campaign.starts_at
    fields = revisions.values(Campaign, taken["campaign"])
    fields.update(name=name or _copy_name(campaign), starts_at=starts_at, ends_at=campaign.ends_at + shift)
    offers = [revisions.values(Offer, row) for row in taken["offers"].values()]
    for offer in offers:
        for edge in ("starts_at", "ends_at"):
            offer[edge] = offer[edge] + shift if offer[edge] is not None else None
    triggers = [revisions.values(Trigger, row) for row in taken["triggers"].values()]
    given = {**fields, "population": campaign.population, "offers": offers, "triggers": triggers}
    return create_campaign(**given, by=by, note=gettext("Copy of “%(name)s”") % {"name": campaign.name})


def _copy_name(campaign: Campaign) -> str:
    """Return the copy's name, within the column's length."""
    longest = Campaign._meta.get_field("name").max_length or 120
    words = gettext("%(name)s (copy)")
    room = longest - len(words % {"name": ""})
    return words % {"name": campaign.name[:room]}


def find_campaign(pk: int) -> Campaign | None:
    """Return the campaign with this primary key; None if there is none (any more)."""
    return Campaign.objects.filter(pk=pk).first()


def _offer(campaign: Campaign, given: Mapping[str, Any]) -> Offer:
    """Return one offer, checked as the admin's form checks it."""
    _refuse("An offer", set(given) & OFFER_COUNTERS)
    offer = Offer(campaign=campaign, **given)
    offer.full_clean(exclude=["campaign"])
    return offer


def _trigger(campaign: Campaign, given: Mapping[str, Any]) -> Trigger:
    """Return one trigger, checked as the admin's form checks it."""
    _refuse("A trigger", set(given) & TRIGGER_STATE)
    trigger = Trigger(campaign=campaign, **given)
    trigger.full_clean(exclude=["campaign"])
    return trigger


def _refuse(what: str, names: set[str]) -> None:
    """Fail loudly where a caller sets what only the app's own verbs may set."""
    if names:
        raise TypeError(f"{what} is not made with {', '.join(sorted(names))}.")
