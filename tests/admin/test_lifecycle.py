"""The admin's pages of the lifecycle: revisions and approval, the kill switch, copies and templates."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.db import transaction
from django.test import Client
from django.urls import reverse

from personalization.campaigns import authoring, lifecycle, revisions, switch
from personalization.models import Campaign, Switch
from tests.admin.builders import make_campaign, make_offer, make_user
from tests.personalization.builders import running

pytestmark = pytest.mark.django_db
LIST = "admin:personalization_campaign_changelist"
STOP = "admin:personalization_campaign_stop"


@pytest.fixture(autouse=True)
def _forget() -> Iterator[None]:
    switch.forget()
    yield
    switch.forget()


def page(name: str, campaign: Campaign) -> str:
    return reverse(f"admin:personalization_campaign_{name}", args=[campaign.pk])


def sign_in(client: Client, *rights: str) -> Any:
    user = make_user("view_campaign", *rights)
    client.force_login(user)
    return user


def edited() -> Campaign:
    """Return a draft with an offer and two revisions."""
    campaign = make_campaign(goal="Before", budget_minor=500)
    make_offer(campaign)
    with transaction.atomic():
        revisions.require(campaign, 0)
        Campaign.objects.filter(pk=campaign.pk).update(goal="After", budget_minor=1500)
        revisions.record(campaign, make_user(username="ada"), "cheaper")
    return campaign


def said(response: Any) -> str:
    return " ".join(str(message) for message in response.context["messages"])


def test_a_word_that_is_no_state_leads_nowhere(client: Client) -> None:
    sign_in(client, "launch_campaign", "run_job")
    campaign = make_campaign()
    assert client.get(reverse("admin:personalization_campaign_state", args=[campaign.pk, "foo"])).status_code == 404
    assert client.post(reverse("admin:personalization_job_start", args=["foo"])).status_code == 404
    archived = reverse("admin:personalization_campaign_state", args=[campaign.pk, "archived"])
    assert client.get(archived).status_code == 403, "a state, and none of theirs"


def test_the_revisions_say_who_changed_what(client: Client) -> None:
    sign_in(client)
    html = client.get(page("revisions", edited())).content.decode()
    for text in ("ada", "cheaper", "Before", "After", "€5.00", "€15.00"):
        assert text in html
    assert "Back to this revision" not in html
    assert "Approve revision" not in html


def test_a_draft_goes_back_to_a_revision(client: Client) -> None:
    sign_in(client, "change_campaign")
    campaign = edited()
    assert "Back to this revision" in client.get(page("revisions", campaign)).content.decode()
    client.post(page("revisions", campaign), {"revision": "0"})
    campaign.refresh_from_db()
    assert (campaign.goal, campaign.budget_minor, campaign.revision) == ("Before", 500, 2)


def test_going_back_needs_the_permission(client: Client) -> None:
    sign_in(client, "approve_campaign")
    campaign = edited()
    assert client.post(page("revisions", campaign), {"revision": "0"}).status_code == 403
    assert Campaign.objects.get().goal == "After"


def test_what_was_looked_at_is_what_is_approved(client: Client) -> None:
    user = sign_in(client, "approve_campaign")
    campaign = lifecycle.transition(edited(), "review")
    assert "Approve revision 1" in client.get(page("revisions", campaign)).content.decode()
    outdated = client.post(page("revisions", campaign), {"revision": "0", "approve": "1"}, follow=True)
    assert "since you looked" in said(outdated)
    client.post(page("revisions", campaign), {"revision": "1", "approve": "1"})
    campaign.refresh_from_db()
    assert (campaign.approved_revision, campaign.approved_by) == (1, user)
    assert "was approved by" in client.get(page("revisions", campaign)).content.decode()


def test_approving_needs_the_permission(client: Client) -> None:
    sign_in(client, "change_campaign")
    campaign = lifecycle.transition(edited(), "review")
    assert "may not" in said(client.post(page("revisions", campaign), {"revision": "1", "approve": "1"}, follow=True))
    assert Campaign.objects.get().approved_revision is None


def test_the_button_that_stops_everything_asks_first_and_shows_a_banner(client: Client) -> None:
    user = sign_in(client, "stop_campaign")
    assert "Stop all campaigns" in client.get(reverse(LIST)).content.decode()
    assert client.get(reverse(STOP)).status_code == 200
    assert not Switch.objects.exists()
    assert "Say why" in said(client.post(reverse(STOP), {"to": "stop", "reason": ""}, follow=True))
    html = client.post(reverse(STOP), {"to": "stop", "reason": "wrong price"}, follow=True).content.decode()
    for text in ("All campaigns are stopped.", "wrong price", "Open all campaigns again"):
        assert text in html
    assert (switch.engaged_now("shop"), Switch.objects.get().by) == (True, user)
    client.post(reverse(STOP), {"to": "open"})
    assert not switch.engaged_now("shop")
    assert "All campaigns are stopped." not in client.get(reverse(LIST)).content.decode()


def test_stopping_needs_its_permission(client: Client) -> None:
    sign_in(client, "change_campaign", "launch_campaign")
    assert "Stop all campaigns" not in client.get(reverse(LIST)).content.decode()
    assert client.get(reverse(STOP)).status_code == 403
    assert client.post(reverse(STOP), {"to": "stop", "reason": "x"}).status_code == 403
    switch.engage("shop", None, "everybody reads this")
    assert "everybody reads this" in client.get(reverse(LIST)).content.decode()


def test_a_clone_is_opened_as_a_draft(client: Client) -> None:
    user = sign_in(client, "add_campaign", "change_campaign")
    campaign = running()
    make_offer(campaign)
    assert page("clone", campaign) in client.get(page("change", campaign)).content.decode()
    assert client.get(page("clone", campaign)).status_code == 403
    client.post(page("clone", campaign))
    copy = Campaign.objects.exclude(pk=campaign.pk).get()
    assert (copy.status, copy.created_by, copy.offers.count()) == ("draft", user, 1)


def test_a_draft_from_a_template(client: Client) -> None:
    user = sign_in(client, "add_campaign", "change_campaign")
    url = reverse("admin:personalization_campaign_templates")
    assert url in client.get(reverse(LIST)).content.decode()
    assert "Win-back" in client.get(url).content.decode()
    assert "no such template" in said(client.post(url, {"template": "lottery"}, follow=True))
    response = client.post(url, {"template": "win_back"}, follow=True)
    campaign = Campaign.objects.get()
    assert (campaign.created_by, campaign.triggers.get().kind) == (user, "win_back")
    assert "is a draft now" in said(response)


def test_making_needs_its_permission(client: Client) -> None:
    sign_in(client, "change_campaign")
    campaign = authoring.clone(running())
    assert client.post(page("clone", campaign)).status_code == 403
    assert client.post(reverse("admin:personalization_campaign_templates")).status_code == 403
