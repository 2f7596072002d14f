"""Campaigns made by a program: a host's importer, a simulation, a test. People make theirs in the admin.

The same checks hold here as there. What is made is a draft, or history that is over; every other state is reached
through :mod:`personalization.campaigns.lifecycle` alone.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from django.db import transaction

from personalization import conf
from personalization.exceptions import InvalidTransition
from personalization.features import audiences
from personalization.models import Campaign, CampaignTransition, Offer

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
    }
)
OFFER_COUNTERS = frozenset({"id", "campaign", "campaign_id", "issued_count", "reserved_count", "redeemed_count"})


def create_campaign(
    *,
    name: str,
    starts_at: datetime,
    ends_at: datetime,
    offers: Sequence[Mapping[str, Any]],
    status: str = Status.DRAFT,
    by: Any = None,
    **fields: Any,
) -> Campaign:
    """Make a campaign with its offers, all or nothing, and return it; the offers are ``campaign.offers``.

    ``offers`` are the fields of :class:`personalization.models.Offer`; their primary keys follow the order given.
    ``status`` is ``draft``, or ``ended`` for history from elsewhere. Raises ``ValidationError`` for a field that
    the admin would refuse too, InvalidAudience, and InvalidTransition for any other state.
    """
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
    with transaction.atomic():
        campaign.save(force_insert=True)
        if status == Status.ENDED:
            CampaignTransition.objects.create(campaign=campaign, from_status=Status.DRAFT, to_status=status, by=by)
        for row in rows:
            row.campaign = campaign
        Offer.objects.bulk_create(rows)
    return campaign


def find_campaign(pk: int) -> Campaign | None:
    """Return the campaign with this primary key; None if there is none (any more)."""
    return Campaign.objects.filter(pk=pk).first()


def _offer(campaign: Campaign, given: Mapping[str, Any]) -> Offer:
    """Return one offer, checked as the admin's form checks it."""
    _refuse("An offer", set(given) & OFFER_COUNTERS)
    offer = Offer(campaign=campaign, **given)
    offer.full_clean(exclude=["campaign"])
    return offer


def _refuse(what: str, names: set[str]) -> None:
    """Fail loudly where a caller sets what only the app's own verbs may set."""
    if names:
        raise TypeError(f"{what} is not made with {', '.join(sorted(names))}.")
