"""The further lines of the check-list, and what an outdated page may not overwrite."""

from __future__ import annotations

import html
from datetime import timedelta

import pytest
from django.template import Context, Template
from django.urls import reverse
from django.utils import timezone

from personalization.admin import forecasts
from personalization.admin.checklist import further
from personalization.admin.lifecycle import consequence
from personalization.campaigns import lifecycle as campaigns
from personalization.models import Campaign, Job, Trigger
from tests.admin.builders import make_campaign, make_forecast, make_offer, make_shopper, make_user
from tests.admin.test_campaigns import MARKETER, change_url, messages_of, posted
from tests.personalization import reach

pytestmark = pytest.mark.django_db


def lines(campaign: Campaign) -> dict[str, bool]:
    return {check.text: check.ok for check in further(campaign, list(campaign.offers.all()), timezone.now())}


def test_a_forecast_in_the_making_is_waited_for():
    campaign = make_campaign()
    make_forecast(campaign)
    assert lines(campaign)["Its forecast is up to date"]
    Job.objects.create(kind="forecast", state="running", params={"campaign": campaign.pk})
    assert lines(campaign)["No forecast is being computed"] is False


def test_the_list_refreshes_itself_while_a_job_is_at_it_and_says_when_it_is_done(client):
    """What the page's script asks again and again: it stops where the answer does not name the address any more."""
    client.force_login(make_user(*MARKETER, "launch_campaign"))
    make_shopper()
    campaign = make_campaign(budget_minor=100_000)
    make_offer(campaign, headline="A tenth off", body="Of everything")
    address = reverse("admin:personalization_campaign_checks", args=[campaign.pk])
    polls, done = f'data-pz-poll="{address}"', "Nothing is open any more: it is ready for its launch."
    assert polls not in client.get(address).content.decode()  # nobody is at it
    job = Job.objects.create(kind="forecast", state="queued", params={"campaign": campaign.pk})
    worked, waits = "A worker is at it", "No worker has taken it up yet. Where none runs, start one: "
    launch = reverse("admin:personalization_campaign_state", args=[campaign.pk, "running"])
    for page in (address, change_url(campaign), launch):
        html_of = client.get(page).content.decode()
        assert polls in html_of
        assert "A forecast is being computed" in html_of
        assert done not in html_of
        assert waits in html_of
        assert "celery -A worker worker" in html_of
        assert worked not in html_of
    for minutes, at_it in ((1, True), (-1, False)):  # a lease that is alive, and that of a worker who died
        lease = timezone.now() + timedelta(minutes=minutes)
        Job.objects.filter(pk=job.pk).update(state="running", lease_expires_at=lease)
        told = client.get(address).content.decode()
        assert (worked in told, waits in told) == (at_it, not at_it)
    Job.objects.filter(pk=job.pk).update(state="succeeded")
    make_forecast(campaign)
    for page in (address, change_url(campaign), launch):
        html_of = client.get(page).content.decode()
        assert polls not in html_of
        assert done in html_of
        assert "<strong>Open:</strong>" not in html_of


def test_the_list_alone_is_for_who_may_see_the_campaign(client):
    campaign = make_campaign()
    address = reverse("admin:personalization_campaign_checks", args=[campaign.pk])
    client.force_login(make_user("view_job"))
    assert client.get(address).status_code == 403
    client.force_login(make_user(*MARKETER, "launch_campaign"))
    assert client.get(address).status_code == 200
    assert client.post(address).status_code == 405
    assert client.get(reverse("admin:personalization_campaign_checks", args=[0])).status_code == 302


@pytest.mark.parametrize("kind", ["score", "train"])
def test_scores_that_are_on_their_way_are_waited_for(kind):
    campaign = make_campaign(audience={"all": [{"field": "intent_percent", "op": ">=", "value": 20}]})

    def waits() -> bool:
        return any(check.waits for check in further(campaign, [], timezone.now()))

    Job.objects.create(kind=kind, state="running", params={"population": "games"})
    assert not waits()
    Job.objects.create(kind=kind, state="running", params={"population": "shop"})
    assert waits()


def test_an_old_forecast_is_not_up_to_date():
    campaign = make_campaign()
    make_forecast(campaign, created_at=timezone.now() - timedelta(days=8))
    assert lines(campaign)["Its forecast is up to date"] is False


def test_a_forecast_of_other_terms_is_told_before_and_after_the_launch(client):
    client.force_login(make_user(*MARKETER, "launch_campaign"))
    campaign = make_campaign(starts_at=timezone.now() - timedelta(minutes=1))
    offer = make_offer(campaign)
    make_forecast(campaign)
    unfit, not_frozen = str(forecasts.UNFIT), str(forecasts.NOT_FROZEN)
    assert unfit not in html.unescape(client.get(change_url(campaign)).content.decode())  # the negative control
    offer.percent += 5
    offer.save()
    (check,) = (each for each in further(campaign, [offer], timezone.now()) if "up to date" in each.text)
    assert (check.ok, check.hint) == (False, unfit)
    assert unfit in html.unescape(client.get(change_url(campaign)).content.decode())
    campaigns.launch(campaign)
    page = html.unescape(client.get(change_url(campaign)).content.decode())
    assert not_frozen in page
    assert "Frozen at launch" not in page


def test_an_audience_of_likely_buyers_waits_for_scores():
    line = "Its audience asks for nothing that is not known yet"
    likely = {"all": [{"field": "intent_percent", "op": ">=", "value": 20}]}
    assert lines(make_campaign(audience=likely))[line] is False
    assert line not in lines(make_campaign(audience={"all": [{"field": "age", "op": ">=", "value": 20}]}))
    assert line not in lines(make_campaign(audience={"all": "nonsense"}))


def test_a_slot_that_the_shop_does_not_declare_is_named():
    campaign = make_campaign()
    make_offer(campaign, slots=["nowhere"])
    assert lines(campaign)["Every slot exists"] is False


@pytest.mark.parametrize(
    ("terms", "told"),
    [
        ({"application": "automatic"}, True),
        ({"application": "automatic", "cta_url": "/sale/"}, False),
        ({"application": "claim"}, False),
        ({"application": "automatic", "cta_label": ""}, False),
    ],
    ids=["automatic", "with a link", "claimed", "without words"],
)
def test_a_button_that_leads_nowhere_is_told(terms: dict[str, str], told: bool):
    campaign = make_campaign()
    make_offer(campaign, **{"cta_label": "To the sale", "cta_url": ""} | terms)
    assert ("Every button leads somewhere" in lines(campaign)) is told


def test_an_outdated_page_saves_nothing(client):
    client.force_login(make_user(*MARKETER))
    campaign = make_campaign()
    page = posted(client.get(change_url(campaign)))
    assert client.post(change_url(campaign), {**page, "name": "First", "_seen_revision": "0"}).status_code == 302
    answer = client.post(change_url(campaign), {**page, "name": "Second", "_seen_revision": "0"}, follow=True)
    assert "Somebody else has changed this campaign" in messages_of(answer)
    campaign.refresh_from_db()
    assert (campaign.name, campaign.revision) == ("First", 1)


def test_the_filter_lets_only_harmless_markup_through():
    page = Template("{% load personalization %}{{ text|clean_markup }}")
    shown = page.render(Context({"text": '<b>Hi</b><script>x()</script><a href="javascript:x()">y</a>'}))
    assert shown.startswith("<b>Hi</b>")
    assert "script" not in shown


def test_the_checklist_tells_what_is_open(client):
    client.force_login(make_user(*MARKETER, "launch_campaign"))
    make_shopper()
    campaign = make_campaign(budget_minor=None)
    make_offer(campaign, name="Homeless", slots=[])
    checks = {check.text: check.ok for check in client.get(change_url(campaign)).context["checks"]}
    assert checks == {
        "It has offers": True,
        "Every offer has a slot": False,
        "Its dates lie in the future": True,
        "It has a budget": False,
        "Its forecast is computed": False,
        "1 shopper now": True,
        "Every offer has a headline and a text": False,
        "The number of coupons is bounded": False,
        "It gets along with other campaigns": True,
    }


def test_an_open_line_says_in_words_that_it_is_open(client):
    client.force_login(make_user(*MARKETER, "launch_campaign"))
    campaign = make_campaign(budget_minor=None)
    make_offer(campaign)
    launch = reverse("admin:personalization_campaign_state", args=[campaign.pk, "running"])
    for address in (change_url(campaign), launch):
        page = " ".join(client.get(address).content.decode().split())
        assert "<strong>Open:</strong> It has no budget" in page
        assert '<span class="visually-hidden">Done:</span> It has offers' in page


def test_a_start_that_has_passed_is_a_note_and_an_end_is_open(client):
    client.force_login(make_user(*MARKETER, "launch_campaign"))
    now = timezone.now()
    today = make_campaign(starts_at=now - timedelta(hours=9))
    note = '<li class="pz-check--note"> <span class="pz-mark" aria-hidden="true">i</span> <span><span'
    page = " ".join(client.get(change_url(today)).content.decode().split())
    assert f'{note} class="visually-hidden">Note:</span> It starts at once: the start has passed.' in page
    assert "lie in the future" not in page
    over = make_campaign(starts_at=now - timedelta(days=2), ends_at=now - timedelta(days=1))
    page = " ".join(client.get(change_url(over)).content.decode().split())
    assert "<strong>Open:</strong> Its dates do not lie in the future" in page
    assert note not in page


def test_a_campaign_to_be_sent_needs_an_occasion_and_a_channel_that_works(settings):
    campaign = make_campaign(delivery="sent")
    sent, ready = "It is sent to its shoppers", "Its channels are set up"
    assert lines(campaign)[sent] is False
    assert ready not in lines(campaign)
    launch = Trigger.objects.create(campaign=campaign, kind="launch", channels=["email"])
    assert lines(campaign)[sent]
    lacking = {"CONTACTS": "", "PUBLIC_URL": ""}
    settings.PERSONALIZATION = {**settings.PERSONALIZATION, **lacking}
    assert lines(campaign)[ready] is False
    settings.PERSONALIZATION = {**settings.PERSONALIZATION, **reach.PATHS}
    assert lines(campaign)[ready]
    Trigger.objects.filter(pk=launch.pk).update(channels=["drum"])
    assert lines(campaign)[ready] is False


@pytest.mark.parametrize("status", ["scheduled", "running", "paused"])
def test_the_page_of_a_launched_mailing_says_that_nobody_is_reached(client, settings, status):
    client.force_login(make_user(*MARKETER))
    settings.PERSONALIZATION = {**settings.PERSONALIZATION, "CONTACTS": "", "PUBLIC_URL": ""}
    campaign = make_campaign(delivery="sent", status=status)
    Trigger.objects.create(campaign=campaign, kind="launch", channels=["email"])
    told = "These settings are empty, so nobody is reached. email: CONTACTS, PUBLIC_URL."
    assert told in client.get(change_url(campaign)).content.decode()
    settings.PERSONALIZATION = {**settings.PERSONALIZATION, **reach.PATHS}
    assert "nobody is reached" not in client.get(change_url(campaign)).content.decode()
    Campaign.objects.filter(pk=campaign.pk).update(status="ended")
    settings.PERSONALIZATION = {**settings.PERSONALIZATION, "CONTACTS": ""}
    assert "nobody is reached" not in client.get(change_url(campaign)).content.decode()


def test_an_on_page_campaign_is_not_asked_how_it_is_sent():
    assert not {"It is sent to its shoppers", "Its channels are set up"} & set(lines(make_campaign()))


def test_whoever_launches_is_told_that_messages_go_out():
    campaign = make_campaign()
    assert "messages go out" not in consequence(campaign, "running")
    Trigger.objects.create(campaign=campaign, kind="launch", channels=["email"])
    assert "messages go out" in consequence(campaign, "running")
