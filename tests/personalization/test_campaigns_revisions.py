"""What a campaign looked like after each edit, what differs, and which edits its state still takes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from django.db import transaction
from django.db.transaction import TransactionManagementError

from personalization.campaigns import authoring, coupons, revisions
from personalization.exceptions import FrozenField, PersonalizationError, RevisionOutdated
from personalization.models import Campaign, CampaignRevision, Coupon, Offer, Trigger
from tests.admin.builders import make_campaign, make_offer, make_user
from tests.personalization.builders import DAY, make_shopper, running
from tests.personalization.conftest import Configure

pytestmark = pytest.mark.django_db
TERMS = {"name": "A tenth", "kind": "coupon", "percent": 10}


@contextmanager
def editing(campaign: Campaign, by: Any = None) -> Iterator[None]:
    with transaction.atomic():
        revisions.require(campaign, campaign.revision)
        yield
        revisions.record(campaign, by)


def made(**fields: Any) -> Campaign:
    starts_at = datetime(2030, 3, 1, tzinfo=UTC)
    given = {"name": "Spring", "starts_at": starts_at, "ends_at": starts_at + 10 * DAY, "offers": [TERMS], **fields}
    return authoring.create_campaign(**given)


def test_an_edit_is_written_down_with_who_and_what_differs() -> None:
    author, editor = make_user(), make_user()
    campaign = made(by=author, budget_minor=500)
    first = campaign.revisions.get()
    assert (first.number, first.by, first.changes, campaign.revision) == (1, author, [], 1)
    with editing(campaign, editor):
        Campaign.objects.filter(pk=campaign.pk).update(budget_minor=900, goal="More")
        Offer.objects.filter(campaign=campaign).update(percent=12)
        Trigger.objects.create(campaign=campaign, kind="welcome")
    second = campaign.revisions.get(number=2)
    assert (second.by, campaign.revision, Campaign.objects.get().revision) == (editor, 2, 2)
    assert second.changes == [
        {"what": "campaign", "name": "", "field": "goal", "before": "", "after": "More"},
        {"what": "campaign", "name": "", "field": "budget_minor", "before": 500, "after": 900},
        {"what": "offer", "name": "A tenth", "field": "percent", "before": "10.00", "after": "12.00"},
        {"what": "trigger", "name": "welcome", "field": "", "before": None, "after": "welcome"},
    ]


def test_an_edit_that_changes_nothing_is_no_revision() -> None:
    campaign = made()
    with editing(campaign):
        pass
    assert revisions.record(campaign) is None
    assert (Campaign.objects.get().revision, CampaignRevision.objects.count()) == (1, 1)


def test_counters_are_no_edit() -> None:
    campaign = made()
    Campaign.objects.update(spent_minor=3, reserved_minor=2, liability_minor=1)
    Offer.objects.update(issued_count=3)
    assert revisions.record(campaign) is None


def test_of_two_editors_the_later_one_is_refused() -> None:
    campaign = made()
    stale = Campaign.objects.get()
    with editing(campaign):
        Campaign.objects.update(goal="Mine")
    with pytest.raises(RevisionOutdated), editing(stale):
        Campaign.objects.update(goal="Theirs")
    assert Campaign.objects.get().goal == "Mine"
    with pytest.raises(RevisionOutdated):  # also where nobody asked before writing
        revisions.record(stale)
    assert (Campaign.objects.get().goal, CampaignRevision.objects.count()) == ("Mine", 2)


def test_requiring_belongs_into_a_transaction(transactional_db: None) -> None:
    campaign = made()
    with pytest.raises(TransactionManagementError, match="transaction"):
        revisions.require(campaign, 1)


def test_an_old_campaign_remembers_what_it_was_before_its_first_edit() -> None:
    campaign = make_campaign(goal="Before")
    with editing(campaign):
        Campaign.objects.update(goal="After")
    assert [row.number for row in campaign.revisions.order_by("number")] == [0, 1]
    change = campaign.revisions.get(number=1).changes[0]
    assert (change["field"], change["before"], change["after"]) == ("goal", "Before", "After")


@pytest.mark.parametrize("status", ["scheduled", "running", "paused"])
@pytest.mark.parametrize(
    ("model", "fields", "frozen"),
    [
        (Campaign, {"name": "New", "budget_minor": 200_000, "goal": "x", "sites": ["a.example"]}, False),
        (Offer, {"headline": "New", "body": "x", "max_issued": 9, "slots": ["basket"]}, False),
        (Campaign, {"currency": "USD"}, True),
        (Campaign, {"audience": {"all": []}}, True),
        (Campaign, {"starts_at": datetime(2020, 1, 1, tzinfo=UTC)}, True),
        (Offer, {"percent": 90}, True),
        (Offer, {"kind": "welcome"}, True),
        (Offer, {"per_shopper": 3}, True),
    ],
)
def test_what_coupons_rest_on_is_frozen(status: str, model: Any, fields: dict[str, Any], frozen: bool) -> None:
    campaign = running(status=status)
    make_offer(campaign)
    if not frozen:
        with editing(campaign):
            model.objects.update(**fields)
        assert campaign.revisions.count() == 2
        return
    before = list(model.objects.values())
    with pytest.raises(FrozenField, match="cannot be changed"), editing(campaign):
        model.objects.update(**fields)
    assert list(model.objects.values()) == before


@pytest.mark.parametrize("status", ["scheduled", "running"])
def test_no_offer_comes_or_goes_once_it_is_scheduled(status: str) -> None:
    campaign = running(status=status)
    make_offer(campaign)
    with pytest.raises(FrozenField, match="added or taken away"), editing(campaign):
        make_offer(campaign)
    with pytest.raises(FrozenField, match="added or taken away"), editing(campaign):
        Offer.objects.all().delete()
    assert Offer.objects.count() == 1


def test_the_end_of_what_has_started_only_moves_away() -> None:
    campaign = running()
    make_offer(campaign)
    end = campaign.ends_at
    with editing(campaign):
        Campaign.objects.update(ends_at=end + DAY)
    with pytest.raises(FrozenField, match="later day"), editing(campaign):
        Campaign.objects.update(ends_at=end)
    Campaign.objects.update(status="scheduled")
    with editing(campaign):
        Campaign.objects.update(ends_at=end)


@pytest.mark.parametrize("status", ["ended", "archived"])
def test_nothing_of_a_campaign_that_is_over_is_edited(status: str) -> None:
    campaign = running(status=status)
    with pytest.raises(FrozenField, match="is over"), editing(campaign):
        Campaign.objects.update(name="New")


def test_where_approval_is_required_a_running_campaign_is_paused_first(configure: Configure) -> None:
    configure(APPROVAL_REQUIRED=True)
    campaign = running()
    make_offer(campaign)
    with pytest.raises(FrozenField), editing(campaign):
        Campaign.objects.update(budget_minor=10_000_000)
    Campaign.objects.update(status="paused")
    with editing(campaign):
        Campaign.objects.update(budget_minor=10_000_000)


# --- Restoring and cloning --------------------------------------------------------------------------------------------


def test_a_draft_comes_back_as_it_was() -> None:
    campaign = made(budget_minor=500, triggers=[{"kind": "welcome"}])
    was = revisions.snapshot(campaign)
    with editing(campaign):
        Campaign.objects.update(goal="Else", budget_minor=None, ends_at=campaign.ends_at + DAY)
        Offer.objects.update(percent=0, amount_minor=300)
        Trigger.objects.all().delete()
        make_offer(campaign, name="Second")
    back = revisions.restore(campaign, 1, make_user())
    assert back is not None
    assert (back.number, campaign.revision, campaign.budget_minor, campaign.goal) == (3, 3, 500, "")
    now = revisions.snapshot(campaign)
    assert (now["campaign"], now["offers"]) == (was["campaign"], was["offers"])
    assert list(now["triggers"].values()) == list(was["triggers"].values())
    assert revisions.restore(campaign, 3) is None


def test_only_a_draft_without_coupons_in_the_way_is_restored() -> None:
    campaign = made()
    with pytest.raises(PersonalizationError, match="no such revision"):
        revisions.restore(campaign, 9)
    with editing(campaign):
        second = make_offer(campaign, name="Second")
    coupons.issue(second, origin=Coupon.Origin.SUPPORT)
    with pytest.raises(FrozenField, match="has coupons"):
        revisions.restore(campaign, 1)
    Campaign.objects.update(status="scheduled")
    with pytest.raises(FrozenField, match="Only a draft"):
        revisions.restore(campaign, 1)
    assert (Offer.objects.count(), Campaign.objects.get().revision) == (2, 2)


def test_a_clone_is_a_draft_without_a_past() -> None:
    start = datetime(2030, 3, 30, 9, tzinfo=UTC)  # ten o'clock in Berlin; the night after, clocks go forward
    window = {"starts_at": start + timedelta(hours=1), "ends_at": start + timedelta(hours=2)}
    campaign = made(
        starts_at=start, ends_at=start + 7 * DAY, time_zone="Europe/Berlin", sites=["a.example"], budget_minor=1000,
        offers=[{**TERMS, **window}], triggers=[{"kind": "birthday"}], by=make_user(), name="N" * 120,
    )  # fmt: skip
    Campaign.objects.update(status="running", approved_revision=1)
    Campaign.objects.filter(pk=campaign.pk).update(starts_at=start - 3000 * DAY)
    campaign.refresh_from_db()
    coupons.issue(_open(campaign), origin=Coupon.Origin.SUPPORT, shopper=make_shopper())
    cloner = make_user()
    copy = authoring.clone(campaign, cloner, now=datetime(2030, 3, 30, 12, tzinfo=UTC))
    assert (copy.status, copy.revision, copy.approved_revision, copy.created_by) == ("draft", 1, None, cloner)
    assert copy.name.endswith("(copy)")
    assert len(copy.name) == 120
    assert copy.ends_at - copy.starts_at == campaign.ends_at - campaign.starts_at
    assert (copy.time_zone, copy.sites, copy.budget_minor) == ("Europe/Berlin", ["a.example"], 1000)
    offer = copy.offers.get()
    assert (offer.percent, offer.issued_count, copy.triggers.get().kind) == (10, 0, "birthday")
    assert Coupon.objects.filter(offer=offer).count() == 0
    assert copy.starts_at.date() == date(2030, 3, 31)


def _open(campaign: Campaign) -> Offer:
    Offer.objects.update(starts_at=None, ends_at=None)
    return campaign.offers.get()
