"""A snapshot holds whoever fitted at launch: later changes move nobody in or out, consent and erasure do."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from personalization.campaigns import lifecycle, snapshots
from personalization.decisioning import eligibility
from personalization.decisioning.session import Session
from personalization.models import AudienceMember, Campaign, Shopper
from tests.admin.builders import make_campaign
from tests.personalization.builders import DAY, make_offer, make_shopper, running

pytestmark = pytest.mark.django_db
GOLD = {"all": [{"field": "tier", "op": "in", "value": ["gold"]}]}


def launched(**fields: Any) -> Campaign:
    given = {"audience": GOLD, "audience_mode": "snapshot", "starts_at": timezone.now() - DAY, **fields}
    campaign = make_campaign(**given)
    make_offer(campaign)
    return lifecycle.launch(campaign)


def verdict(shopper: Shopper, *campaigns: Campaign, personal: bool = True) -> list[str]:
    offers = [offer for campaign in campaigns for offer in campaign.offers.select_related("campaign")]
    shopper = Shopper.objects.get(pk=shopper.pk)
    _eligible, excluded, _held = eligibility.split(
        offers, shopper, personal=personal, recent=Session(), now=timezone.now()
    )
    return [excluded.get(offer.pk, "") for offer in offers]


def test_the_launch_writes_down_who_fits() -> None:
    mara = make_shopper()
    make_shopper(attributes={"tier": "silver"})
    make_shopper(consent_personalisation=False)
    campaign = launched()
    assert list(AudienceMember.objects.values_list("campaign", "shopper")) == [(campaign.pk, mara.pk)]
    assert snapshots.take(campaign) == 0
    assert AudienceMember.objects.count() == 1


def test_later_changes_move_nobody_in_or_out() -> None:
    mara, otto = make_shopper(), make_shopper(attributes={"tier": "silver"})
    campaign = launched()
    Shopper.objects.filter(pk=mara.pk).update(attributes={"tier": "silver"})
    Shopper.objects.filter(pk=otto.pk).update(attributes={"tier": "gold"})
    assert verdict(mara, campaign) == [""]
    assert verdict(otto, campaign) == ["not_in_audience"]
    assert list(snapshots.addressed(campaign)) == [mara]


def test_a_live_audience_is_asked_each_time_and_writes_nothing() -> None:
    mara = make_shopper()
    campaign = launched(audience_mode="live")
    Shopper.objects.filter(pk=mara.pk).update(attributes={"tier": "silver"})
    assert verdict(mara, campaign) == ["not_in_audience"]
    assert not AudienceMember.objects.exists()


def test_whoever_withdraws_or_is_erased_is_gone() -> None:
    mara, otto = make_shopper(), make_shopper()
    campaign = launched()
    Shopper.objects.filter(pk=mara.pk).update(consent_personalisation=False)
    assert verdict(mara, campaign, personal=False) == ["not_in_audience"]
    assert not snapshots.belongs(campaign, Shopper.objects.get(pk=mara.pk), timezone.now())
    assert list(snapshots.addressed(campaign)) == [otto]
    otto.delete()
    assert AudienceMember.objects.count() == 1
    assert not snapshots.addressed(campaign).exists()


def test_a_visitor_stays_in_it_through_the_account() -> None:
    visitor, account = make_shopper(), make_shopper(attributes={})
    campaign = launched()
    Shopper.objects.filter(pk=visitor.pk).update(merged_into=account, consent_personalisation=False)
    assert verdict(account, campaign) == [""]
    assert list(snapshots.addressed(campaign)) == [account]


def test_before_the_launch_the_rule_is_asked() -> None:
    campaign = make_campaign(audience=GOLD, audience_mode="snapshot")
    assert snapshots.belongs(campaign, make_shopper(), timezone.now())
    assert not snapshots.belongs(campaign, None, timezone.now())


def test_one_query_asks_for_all_campaigns() -> None:
    mara = make_shopper()
    campaigns = [launched() for _number in range(4)]
    live = running()
    with CaptureQueriesContext(connection) as captured:
        members = snapshots.memberships(mara, [*campaigns, live])
    assert members == {campaign.pk for campaign in campaigns}
    assert len(captured) == 1
    with CaptureQueriesContext(connection) as captured:
        assert snapshots.memberships(mara, [live]) == frozenset()
    assert len(captured) == 0
