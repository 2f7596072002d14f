"""What campaigns collide in is told in sentences; what cannot collide is not."""

from __future__ import annotations

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from personalization.admin import conflicts
from tests.admin.builders import DAY, make_campaign, make_offer, make_shopper

pytestmark = pytest.mark.django_db
GOLD = {"all": [{"field": "tier", "op": "in", "value": ["gold"]}]}
BASIC = {"all": [{"field": "tier", "op": "in", "value": ["basic"]}]}


def pair(mine: dict | None = None, theirs: dict | None = None, **other):
    campaign, rival = make_campaign(name="Mine"), make_campaign(**{"name": "Theirs", "status": "scheduled", **other})
    make_offer(campaign, **(mine or {}))
    make_offer(rival, name="Their offer", **(theirs or {}))
    return campaign


def sentences(campaign) -> str:
    return " ".join(conflict.sentence for conflict in conflicts.of_campaign(campaign).found)


def test_the_same_place_and_the_same_products():
    campaign = pair()
    text = sentences(campaign)
    assert "It wants the same place (" in text
    assert "may be used together: “Ten off” with “Their offer”" in text
    assert [conflict.serious for conflict in conflicts.of_campaign(campaign).found] == [True, False]


@pytest.mark.parametrize(
    "other",
    [
        {"status": "draft"},
        {"status": "ended"},
        {"population": "elsewhere"},
        {"delivery": "sent", "theirs": {"item_ids": ["b"]}, "mine": {"item_ids": ["a"]}},
    ],
)
def test_what_cannot_meet_is_no_conflict(other):
    assert conflicts.of_campaign(pair(**other)).found == []


def test_other_days_are_no_conflict():
    campaign = make_campaign()
    make_offer(campaign)
    later = make_campaign(name="Later", status="scheduled", starts_at=campaign.ends_at, ends_at=campaign.ends_at + DAY)
    make_offer(later)
    assert conflicts.of_campaign(campaign).found == []


def test_a_group_and_an_exclusive_offer_do_not_stack():
    text = sentences(pair({"exclusion_group": "g", "slots": []}, {"exclusion_group": "g"}))
    assert "exclusion group g" in text
    assert "used together" not in text
    assert "cannot be used with any other offer" in sentences(pair({"exclusive": True, "slots": []}))


def test_audiences_that_share_nobody_do_not_collide():
    make_shopper(attributes={"tier": "gold"})
    campaign = make_campaign(audience=GOLD)
    make_offer(campaign)
    rival = make_campaign(name="Theirs", status="running", audience=BASIC)
    make_offer(rival)
    assert conflicts.of_campaign(campaign).found == []
    rival.audience = GOLD
    rival.save()
    assert conflicts.of_campaign(campaign).found != []


def test_different_sites_do_not_collide():
    campaign = make_campaign(sites=["de.example"])
    make_offer(campaign)
    make_offer(make_campaign(name="Theirs", status="running", sites=["fr.example"]))
    assert conflicts.of_campaign(campaign).found == []


def test_the_number_of_queries_is_bounded():
    campaign = pair()
    with CaptureQueriesContext(connection) as few:
        conflicts.of_campaign(campaign)
    for number in range(30):
        make_offer(make_campaign(name=f"C {number}", status="running"))
    with CaptureQueriesContext(connection) as many:
        found = conflicts.of_campaign(campaign)
    assert len(many) == len(few)
    assert found.unseen == 21
