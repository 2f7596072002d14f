"""Read what was planned for each offer, and when: what the launches of a population are described by."""

from __future__ import annotations

from collections import defaultdict

from personalization.features.frames import Frames, milliseconds
from personalization.features.launches import Plan
from personalization.learning.figures import mapping, moment
from personalization.models import Campaign, CampaignRevision


def plans(frames: Frames) -> list[Plan]:
    """Return the plan of every offer in the frames, with the ends that its campaign has had by its revisions."""
    campaigns = {campaign.pk: campaign for campaign in Campaign.objects.filter(population=frames.population)}
    ends = _ends(campaigns)
    return [
        Plan(
            offer=place,
            ends=ends[int(pk)],
            sent=campaigns[int(pk)].delivery == Campaign.Delivery.SENT,
            targeted=bool(campaigns[int(pk)].audience),
        )
        for place, pk in enumerate(frames.offers.campaign)
        if int(pk) in campaigns
    ]


def _ends(campaigns: dict[int, Campaign]) -> dict[int, tuple[tuple[int, int], ...]]:
    """Return campaign → (from when on, end), in order. One that was never edited has had one end only."""
    kept: dict[int, list[tuple[int, int]]] = defaultdict(list)
    rows = CampaignRevision.objects.filter(campaign__in=campaigns).order_by("campaign", "number")
    for pk, at, taken in rows.values_list("campaign", "at", "snapshot"):
        end = moment(mapping(mapping(taken).get("campaign")).get("ends_at"))
        if end is not None:
            kept[pk].append((milliseconds(at), milliseconds(end)))
    return {pk: tuple(kept[pk]) or ((0, milliseconds(each.ends_at)),) for pk, each in campaigns.items()}
