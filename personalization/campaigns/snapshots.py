"""The audience as it stood at launch: one statement writes it, one query asks it for all campaigns of a decision.

Rows are never stronger than consent: whoever withdraws is left out at once, whoever is erased leaves the table too.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from django.db import connection
from django.db.models import Exists, F, OuterRef, Q, QuerySet
from django.utils import timezone

from personalization.features import audiences
from personalization.models import AudienceMember, Campaign, Shopper

LAUNCHED = (Campaign.Status.RUNNING, Campaign.Status.PAUSED, Campaign.Status.ENDED, Campaign.Status.ARCHIVED)


def take(campaign: Campaign, now: datetime | None = None) -> int:
    """Write down who belongs to the audience now, where the campaign asks for a snapshot; returns how many are new.

    Call it in the transaction of the launch. Taken again it adds nobody twice.
    """
    if campaign.audience_mode != Campaign.AudienceMode.SNAPSHOT:
        return 0
    found = audiences.reachable(campaign, now or timezone.now()).order_by("pk").values(member=F("pk"))
    query, params = found.query.get_compiler(connection=connection).as_sql()
    statement = f"""
INSERT INTO personalization_audiencemember (campaign_id, shopper_id)
SELECT %s, q.member FROM ({query}) q WHERE TRUE ON CONFLICT (campaign_id, shopper_id) DO NOTHING
"""  # noqa: S608
    with connection.cursor() as cursor:
        cursor.execute(statement, [campaign.pk, *params])
        return max(cursor.rowcount, 0)


def is_fixed(campaign: Campaign) -> bool:
    """Return whether the audience is the one of the launch (before it, the rule is asked)."""
    return campaign.audience_mode == Campaign.AudienceMode.SNAPSHOT and campaign.status in LAUNCHED


def memberships(shopper: Shopper | None, campaigns: Iterable[Campaign]) -> frozenset[int]:
    """Return which of these campaigns' snapshots hold the shopper: one query, none where no campaign has a snapshot.

    A visitor who logged in since the launch is still in it through the account.
    """
    fixed = {campaign.pk for campaign in campaigns if is_fixed(campaign)}
    if shopper is None or not fixed or not shopper.consent_personalisation:
        return frozenset()
    mine = AudienceMember.objects.filter(Q(shopper=shopper) | Q(shopper__merged_into=shopper), campaign__in=fixed)
    return frozenset(mine.values_list("campaign_id", flat=True))


def belongs(campaign: Campaign, shopper: Shopper | None, now: datetime, members: frozenset[int] | None = None) -> bool:
    """Return whether the shopper belongs to the campaign's audience: of the launch or of now, as the campaign says.

    ``members`` is what :func:`memberships` answered for all campaigns of a decision; without it one query asks.
    """
    if shopper is None or not is_fixed(campaign):
        return audiences.parse(campaign.audience).matches(shopper, now)
    return campaign.pk in (memberships(shopper, [campaign]) if members is None else members)


def addressed(campaign: Campaign, now: datetime | None = None) -> QuerySet[Shopper]:
    """Return the shoppers a campaign may address: of its snapshot those who still agree, else who fits now."""
    if not is_fixed(campaign):
        return audiences.reachable(campaign, now)
    everybody = audiences.reachable(_without_rule(campaign), now)
    mine = AudienceMember.objects.filter(campaign=campaign)
    return everybody.filter(
        Exists(mine.filter(shopper=OuterRef("pk"))) | Exists(mine.filter(shopper__merged_into=OuterRef("pk")))
    )


def _without_rule(campaign: Campaign) -> Campaign:
    return Campaign(population=campaign.population, delivery=campaign.delivery, audience={})
