"""Running offers for a slot, kept in the process for a few seconds.

A stale copy can only show an offer that has just closed: claiming and reserving ask the database again.
"""

from __future__ import annotations

import time
from typing import Any

from django.db.models import Exists, OuterRef
from django.db.models.signals import post_delete, post_save

from personalization.campaigns import catalog, sites, triggers
from personalization.models import Campaign, CampaignTransition, Offer, Trigger

TTL_SECONDS = 5.0
_cache: dict[str, tuple[float, list[Offer]]] = {}


def for_slot(slot: str, population: str, host: str | None = None) -> list[Offer]:
    """Return the offers of running on-page campaigns that name this slot, campaigns attached.

    ``host`` is the site they are for; None: all sites.
    """
    cached = _cache.get(population)
    if cached is None or cached[0] < time.monotonic():
        cached = (time.monotonic() + TTL_SECONDS, _load(population))
        _cache[population] = cached
    return [offer for offer in cached[1] if slot in offer.slots and sites.shows_on(offer.campaign, host)]


def _load(population: str) -> list[Offer]:
    return list(
        Offer.objects.select_related("campaign")
        .filter(
            campaign__status=Campaign.Status.RUNNING,
            campaign__delivery=Campaign.Delivery.ON_PAGE,
            campaign__population=population,
        )
        .annotate(
            triggered=Exists(triggers.opening().filter(campaign=OuterRef("campaign"))),
            foreign=catalog.foreign_money(),
        )
        .order_by("-campaign__priority", "pk")
    )


def forget(**kwargs: Any) -> None:
    """Drop the copy: something about campaigns has changed in this process."""
    _cache.clear()


for _model in (Campaign, CampaignTransition, Offer, Trigger):
    post_save.connect(forget, sender=_model, dispatch_uid=f"personalization.candidates.save.{_model.__name__}")
    post_delete.connect(forget, sender=_model, dispatch_uid=f"personalization.candidates.delete.{_model.__name__}")
