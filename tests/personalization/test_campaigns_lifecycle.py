"""A campaign's states: which way they go, what is checked and frozen on the way, and what the clock does."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils import timezone

from personalization import api
from personalization.campaigns import lifecycle, revisions
from personalization.exceptions import ApprovalRefused, InvalidAudience, InvalidTerms, InvalidTransition
from personalization.models import Campaign, CampaignTransition, Forecast, Job, Offer
from tests.admin.builders import make_campaign, make_forecast, make_user, make_version
from tests.personalization.builders import DAY, make_offer, running
from tests.personalization.conftest import Configure

pytestmark = pytest.mark.django_db
Status = Campaign.Status
EVERY_RIGHT = ("change_campaign", "approve_campaign", "launch_campaign", "stop_campaign")
ALLOWED = {
    ("draft", "review"),
    ("draft", "scheduled"),
    ("draft", "running"),
    ("draft", "archived"),
    ("review", "draft"),
    ("review", "scheduled"),
    ("review", "running"),
    ("scheduled", "draft"),
    ("scheduled", "running"),
    ("scheduled", "ended"),
    ("running", "paused"),
    ("running", "ended"),
    ("paused", "running"),
    ("paused", "ended"),
    ("ended", "archived"),
}
TENTH = {"name": "A tenth", "kind": "coupon", "percent": 10}


def in_state(status: str, **fields: Any) -> Campaign:
    return make_offer(running(status=status, **fields)).campaign


def states(*campaigns: Campaign) -> list[str]:
    return [Campaign.objects.get(pk=campaign.pk).status for campaign in campaigns]


# --- The table --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("old", Status.values)
@pytest.mark.parametrize("new", [*Status.values, "launched", ""])
def test_the_table_of_transitions(old: str, new: str) -> None:
    campaign, staff = in_state(old), make_user(*EVERY_RIGHT)
    if (old, new) in ALLOWED:
        assert api.transition(campaign, new, by=staff).status == new
        row = CampaignTransition.objects.get()
        assert (row.from_status, row.to_status, row.by) == (old, new, staff)
        assert states(campaign) == [new]
    else:
        with pytest.raises(InvalidTransition):
            api.transition(campaign, new, by=staff)
        assert not CampaignTransition.objects.exists()
        assert (campaign.status, states(campaign)) == (old, [old])
    assert (new in lifecycle.allowed(Campaign(status=old))) == ((old, new) in ALLOWED)


def test_of_two_who_change_a_campaign_one_succeeds() -> None:
    campaign = in_state("running")
    stale = Campaign.objects.get(pk=campaign.pk)
    api.transition(campaign, Status.PAUSED)
    with pytest.raises(InvalidTransition, match="Somebody else"):
        api.transition(stale, Status.ENDED)
    assert states(campaign) == ["paused"]
    assert CampaignTransition.objects.count() == 1


# --- What is checked --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("to", ["scheduled", "running"])
@pytest.mark.parametrize(
    ("campaign", "terms", "said"),
    [
        ({"ends_at": timezone.now() - timedelta(hours=1)}, {}, "past"),
        ({}, None, "no offer"),
        ({}, {"percent": 0}, "percentage or an amount"),
        ({}, {"kind": "flash_sale"}, "closes"),
        ({}, {"kind": "member_exclusive"}, "loyalty tier"),
        ({}, {"kind": "spend_threshold"}, "minimum spend"),
        ({}, {"kind": "announcement", "percent": 5}, "no benefit"),
        ({}, {"amount_minor": 900, "threshold_minor": 800}, "larger than the minimum"),
        ({}, {"starts_at": timezone.now(), "ends_at": timezone.now() - DAY}, "close after it opens"),
    ],
)
def test_a_campaign_that_contradicts_itself_does_not_start(
    to: str, campaign: dict[str, Any], terms: dict[str, Any] | None, said: str
) -> None:
    draft = running(status="draft", **campaign)
    if terms is not None:
        make_offer(draft, **terms)
    with pytest.raises(InvalidTerms, match=said):
        api.transition(draft, to)
    assert states(draft) == ["draft"]


@pytest.mark.parametrize(
    "rule", [{"any": []}, {"all": [{"field": "religion", "op": "in", "value": ["x"]}]}, "everyone"]
)
def test_an_audience_that_cannot_be_read_does_not_start(rule: Any) -> None:
    draft = in_state("draft", audience=rule)
    with pytest.raises(InvalidAudience):
        api.launch(draft)
    assert states(draft) == ["draft"]


# --- Who may ----------------------------------------------------------------------------------------------------------

RIGHTS = {
    ("draft", "review"): {"change_campaign", "add_campaign"},
    ("draft", "archived"): {"change_campaign"},
    ("review", "draft"): {"change_campaign", "approve_campaign"},
    ("scheduled", "draft"): {"change_campaign", "stop_campaign"},
    ("ended", "archived"): {"change_campaign"},
    **{edge: {"launch_campaign"} for edge in ALLOWED if edge[1] in {"scheduled", "running"}},
    **{edge: {"stop_campaign"} for edge in ALLOWED if edge[1] in {"paused", "ended"}},
}


@pytest.mark.parametrize("right", ["add_campaign", "view_campaign", *EVERY_RIGHT])
@pytest.mark.parametrize(("old", "new"), sorted(ALLOWED))
def test_every_step_asks_for_its_permission(old: str, new: str, right: str) -> None:
    campaign, staff = in_state(old), make_user(right)
    if right in RIGHTS[old, new]:
        assert api.transition(campaign, new, by=staff).status == new
        return
    with pytest.raises(InvalidTransition, match="may not") as refused:
        api.transition(campaign, new, by=staff)
    assert (refused.value.reason, states(campaign)) == ("permission", [old])
    assert not CampaignTransition.objects.exists()


def test_a_step_keeps_its_note() -> None:
    lifecycle.transition(in_state("running"), "paused", note="wrong picture")
    assert CampaignTransition.objects.get().note == "wrong picture"


# --- Approval ---------------------------------------------------------------------------------------------------------


def drafted(by: Any = None) -> Campaign:
    """Return a draft whose first revision is written down, sent to review."""
    now = timezone.now()
    campaign = make(by=by, starts_at=now - DAY, ends_at=now + DAY)
    return api.transition(campaign, "review")


def edit(campaign: Campaign, by: Any = None, **fields: Any) -> None:
    with transaction.atomic():
        revisions.require(campaign, campaign.revision)
        Campaign.objects.filter(pk=campaign.pk).update(**fields)
        revisions.record(campaign, by)


@pytest.mark.parametrize("to", ["scheduled", "running"])
def test_without_approval_nothing_starts_where_it_is_required(configure: Configure, to: str) -> None:
    configure(APPROVAL_REQUIRED=True)
    campaign = drafted()
    with pytest.raises(InvalidTransition) as refused:
        api.transition(campaign, to)
    assert refused.value.reason == "not_approved"
    lifecycle.approve(campaign, make_user("approve_campaign"))
    assert api.transition(campaign, to).status == to


def test_an_edit_after_the_approval_lapses_it(configure: Configure) -> None:
    configure(APPROVAL_REQUIRED=True)
    campaign, approver = drafted(), make_user("approve_campaign")
    lifecycle.approve(campaign, approver)
    assert lifecycle.is_approved(campaign)
    edit(campaign, goal="another")
    campaign.refresh_from_db()
    assert not lifecycle.is_approved(campaign)
    with pytest.raises(InvalidTransition):
        api.launch(campaign)
    lifecycle.approve(campaign, approver)
    assert api.launch(campaign).status == "running"


def test_an_edit_between_look_and_approval_refuses_it() -> None:
    campaign = drafted()
    seen = Campaign.objects.get(pk=campaign.pk)
    edit(campaign, goal="another")
    with pytest.raises(ApprovalRefused, match="since you looked") as refused:
        lifecycle.approve(seen, make_user("approve_campaign"))
    assert refused.value.reason == "edited"
    assert Campaign.objects.get().approved_revision is None


def test_nobody_approves_their_own_edit(configure: Configure) -> None:
    author, editor = make_user("approve_campaign"), make_user("approve_campaign")
    campaign = drafted(by=author)
    edit(campaign, by=editor, goal="another")
    for user in (author, editor):
        with pytest.raises(ApprovalRefused, match="somebody else"):
            lifecycle.approve(campaign, user)
    lifecycle.approve(campaign, make_user("approve_campaign"))
    edit(campaign, by=editor, goal="a third")
    assert lifecycle.approve(campaign, author).approved_revision == campaign.revision  # nothing new is theirs
    configure(FOUR_EYES=False)
    edit(campaign, by=editor, goal="a fourth")
    assert lifecycle.approve(campaign, editor).approved_by == editor


def test_approving_needs_its_permission_and_something_to_approve() -> None:
    campaign = drafted()
    for user in (None, make_user("change_campaign", "launch_campaign")):
        with pytest.raises(ApprovalRefused, match="may not"):
            lifecycle.approve(campaign, user)
    for status in ("draft", "ended", "archived"):
        with pytest.raises(ApprovalRefused, match="under way"):
            lifecycle.approve(in_state(status), make_user("approve_campaign"))


def test_the_clock_starts_only_what_is_approved(configure: Configure) -> None:
    configure(APPROVAL_REQUIRED=True)
    campaign = drafted()
    lifecycle.approve(campaign, make_user("approve_campaign"))
    api.transition(campaign, "scheduled")
    edit(campaign, goal="another")
    assert lifecycle.tick() == 0
    campaign.refresh_from_db()
    lifecycle.approve(campaign, make_user("approve_campaign"))
    assert lifecycle.tick() == 1
    assert states(campaign) == ["running"]


# --- What is frozen ---------------------------------------------------------------------------------------------------


def test_the_latest_forecast_is_frozen_at_the_first_launch() -> None:
    draft = in_state("draft")
    now = timezone.now()
    old = make_forecast(draft, created_at=now - DAY)
    new = make_forecast(draft, created_at=now)
    api.launch(draft)
    assert list(Forecast.objects.filter(frozen_at__isnull=False)) == [new]
    late = make_forecast(draft, created_at=now + DAY)
    for to in ("paused", "running"):
        api.transition(draft, to)
    assert list(Forecast.objects.filter(frozen_at__isnull=False)) == [new]
    assert {old.pk, late.pk} < set(Forecast.objects.values_list("pk", flat=True))


def test_a_launch_without_forecast_freezes_nothing() -> None:
    draft = in_state("draft")
    api.launch(draft)
    assert not Forecast.objects.exists()


@pytest.mark.parametrize("champion", [True, False])
def test_a_launch_asks_for_scores_where_a_model_can_give_them(champion: bool) -> None:
    make_version(state="champion" if champion else "candidate")
    campaign = api.launch(in_state("draft"))
    assert list(Job.objects.values_list("kind", "params")) == ([("score", {"population": "shop"})] if champion else [])
    api.transition(campaign, "paused")
    api.transition(campaign, "running")
    assert Job.objects.count() == int(champion)


# --- The clock --------------------------------------------------------------------------------------------------------


def test_the_clock_starts_and_ends_campaigns() -> None:
    now = timezone.now()
    due = in_state("scheduled", starts_at=now - DAY, ends_at=now + DAY)
    early = in_state("scheduled", starts_at=now + DAY, ends_at=now + 2 * DAY)
    missed = in_state("scheduled", starts_at=now - 2 * DAY, ends_at=now - DAY)
    over = in_state("running", starts_at=now - 2 * DAY, ends_at=now - DAY)
    paused = in_state("paused", starts_at=now - 2 * DAY, ends_at=now - DAY)
    on, draft = in_state("running"), in_state("draft", starts_at=now - 2 * DAY, ends_at=now - DAY)
    assert lifecycle.tick() == 4
    assert states(due, early, missed, over, paused) == ["running", "scheduled", "ended", "ended", "ended"]
    assert states(on, draft) == ["running", "draft"]
    assert lifecycle.tick() == 0
    assert lifecycle.tick(now + timedelta(days=20)) == 3


def test_a_campaign_that_cannot_start_stops_no_other() -> None:
    now = timezone.now()
    broken = in_state("scheduled", starts_at=now - DAY, ends_at=now + DAY)
    Offer.objects.all().delete()
    due = in_state("scheduled", starts_at=now - DAY, ends_at=now + DAY)
    over = in_state("running", starts_at=now - 2 * DAY, ends_at=now - DAY)
    assert lifecycle.tick() == 2
    assert states(broken, due, over) == ["scheduled", "running", "ended"]


# --- Campaigns made by a program --------------------------------------------------------------------------------------


def make(**fields: Any) -> Campaign:
    now = timezone.now()
    given = {"name": "Autumn", "starts_at": now, "ends_at": now + DAY, "offers": [TENTH], **fields}
    return api.create_campaign(**given)


def test_a_program_makes_a_draft_or_history() -> None:
    staff = make_user()
    draft = make(offers=[TENTH, {**TENTH, "name": "Another"}], by=staff, budget_minor=5)
    assert (draft.status, draft.population, draft.currency, draft.created_by) == ("draft", "shop", "EUR", staff)
    assert [offer.name for offer in draft.offers.order_by("pk")] == ["A tenth", "Another"]
    assert make(status="ended", by=staff).transitions.get().to_status == "ended"
    assert api.find_campaign(draft.pk) == draft
    assert api.find_campaign(0) is None


@pytest.mark.parametrize(
    ("fields", "error"),
    [
        ({"status": "running"}, InvalidTransition),
        ({"spent_minor": 5}, TypeError),
        ({"offers": [{**TENTH, "issued_count": 3}]}, TypeError),
        ({"offers": [{**TENTH, "percent": 101}]}, ValidationError),
        ({"offers": [TENTH, {**TENTH, "kind": "lottery"}]}, ValidationError),
        ({"offers": [{**TENTH, "amount_minor": 5}]}, ValidationError),
        ({"ends_at": timezone.now() - DAY}, ValidationError),
        ({"name": ""}, ValidationError),
        ({"audience": {"all": [{"field": "age"}]}}, InvalidAudience),
    ],
)
def test_a_program_is_held_to_the_same_rules(fields: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        make(**fields)
    assert not Campaign.objects.exists()
    assert not Offer.objects.exists()


def test_a_draft_of_yesterday_can_still_be_launched_today() -> None:
    assert api.launch(make_offer(make_campaign(starts_at=timezone.now() - DAY)).campaign).status == "running"
