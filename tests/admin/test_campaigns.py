"""The campaign's page: what is typed is stored, what is fixed stays, and states change only through the buttons."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.urls import reverse
from django.utils import timezone

from personalization.models import Campaign, Forecast, Job, Offer
from tests.admin.builders import DAY, make_campaign, make_forecast, make_offer, make_shopper, make_user

pytestmark = pytest.mark.django_db
MARKETER = (
    "view_campaign",
    "add_campaign",
    "change_campaign",
    "delete_campaign",
    "view_offer",
    "add_offer",
    "change_offer",
    "delete_offer",
)


@pytest.fixture
def marketer(client):
    user = make_user(*MARKETER)
    client.force_login(user)
    return user


@pytest.fixture
def launcher(client):
    user = make_user(*MARKETER, "launch_campaign", "stop_campaign", "run_job")
    client.force_login(user)
    return user


def change_url(campaign: Campaign) -> str:
    return reverse("admin:personalization_campaign_change", args=[campaign.pk])


def state_url(campaign: Campaign, to: str) -> str:
    return reverse("admin:personalization_campaign_state", args=[campaign.pk, to])


def messages_of(response) -> str:
    return " ".join(str(message) for message in response.context["messages"])


def posted(response) -> dict[str, object]:
    """Return what a browser would post back from this page, untouched."""
    adminform, formsets = response.context["adminform"], response.context["inline_admin_formsets"]
    data: dict[str, object] = {"_seen_status": getattr(response.context.get("stored"), "status", "")}
    forms = [adminform.form]
    for wrapped in formsets:
        forms += [wrapped.formset.management_form, *wrapped.formset.forms]
    for form in forms:
        for bound in form:
            value = bound.value()
            name = bound.html_name
            if isinstance(value, list):
                data[name] = value
            elif hasattr(value, "strftime"):
                local = timezone.localtime(value)
                data[f"{name}_0"], data[f"{name}_1"] = local.strftime("%Y-%m-%d"), local.strftime("%H:%M:%S")
            elif value is not None:
                data[name] = value
    return data


def new_campaign_data() -> dict[str, object]:
    return {
        "name": "Spring",
        "goal": "",
        "delivery": "on_page",
        "starts_at_0": "2030-03-01",
        "starts_at_1": "00:00:00",
        "ends_at_0": "2030-04-01",
        "ends_at_1": "00:00:00",
        "currency": "eur",
        "budget_minor": "1234.50",
        "priority": "0",
        "pacing": "none",
        "audience_mode": "live",
        "attribution_hours": "",
        "audience_tier": "gold, silver",
        "audience_age_min": "18",
        "offers-TOTAL_FORMS": "1",
        "offers-INITIAL_FORMS": "0",
        "offers-0-name": "Twelve fifty off",
        "offers-0-kind": "spend_threshold",
        "offers-0-amount_minor": "12.50",
        "offers-0-threshold_minor": "50",
        "offers-0-slots": ["home_hero", "basket"],
        "offers-0-tiers": "gold\nsilver",
        "offers-0-per_shopper": "1",
        "offers-0-uses_per_shopper": "1",
        "offers-0-application": "claim",
    }


def test_a_new_campaign_is_stored_in_minor_units(client, marketer):
    response = client.post(reverse("admin:personalization_campaign_add"), new_campaign_data())
    assert response.status_code == 302, response.context["errors"]
    campaign = Campaign.objects.get()
    assert (campaign.currency, campaign.budget_minor) == ("EUR", 1234_50)
    assert campaign.created_by == marketer
    assert campaign.population == "shop"
    assert campaign.audience == {
        "all": [
            {"field": "tier", "op": "in", "value": ["gold", "silver"]},
            {"field": "age", "op": ">=", "value": 18},
        ]
    }
    offer = campaign.offers.get()
    assert (offer.amount_minor, offer.threshold_minor, offer.max_discount_minor) == (1250, 5000, None)
    assert (offer.slots, offer.tiers, offer.percent) == (["home_hero", "basket"], ["gold", "silver"], 0)


def test_amounts_follow_the_currency_typed_beside_them(client, marketer):
    yen = {**new_campaign_data(), "currency": "JPY", "budget_minor": "100000", "offers-0-amount_minor": "500"}
    response = client.post(reverse("admin:personalization_campaign_add"), {**yen, "offers-0-threshold_minor": "3000"})
    assert response.status_code == 302, response.context["errors"]
    assert Campaign.objects.get().budget_minor == 100_000
    assert Offer.objects.get().amount_minor == 500
    response = client.post(
        reverse("admin:personalization_campaign_add"), {**yen, "offers-0-threshold_minor": "3000.50"}
    )
    assert "JPY has no decimals." in response.content.decode()


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"currency": "E1"}, "There is no such currency."),
        ({"currency": "XTS"}, "There is no such currency."),
        ({"budget_minor": "1.999"}, "at most 2 decimals"),
        ({"ends_at_0": "2030-02-01"}, "after the start"),
        ({"audience_age_min": "40", "audience_age_max": "30"}, "below the lower limit"),
        ({"offers-0-amount_minor": ""}, "percentage or an amount"),
        ({"offers-0-percent": "10"}, "not both"),
        ({"offers-0-threshold_minor": ""}, "minimum spend"),
    ],
)
def test_contradictions_are_said_beside_their_field(client, marketer, changes, complaint):
    response = client.post(reverse("admin:personalization_campaign_add"), {**new_campaign_data(), **changes})
    assert response.status_code == 200
    assert complaint in response.content.decode()
    assert not Campaign.objects.exists()


@pytest.mark.parametrize("status", ["draft", "review", "scheduled", "running", "paused"])
def test_saving_an_untouched_page_changes_nothing(client, marketer, status):
    campaign = make_campaign(
        status=status,
        currency="JPY",
        audience={
            "all": [{"field": "income", "op": ">=", "value": 5.5}, {"field": "city", "op": "in", "value": ["Köln"]}]
        },
        starts_at=timezone.now().replace(microsecond=0),
        ends_at=timezone.now().replace(microsecond=0) + 9 * DAY,
    )
    make_offer(campaign, percent=0, amount_minor=700, max_issued=9, issued_count=4)
    before = [list(Campaign.objects.values()), list(Offer.objects.values())]
    page = client.get(change_url(campaign))
    response = client.post(change_url(campaign), posted(page))
    assert response.status_code == 302, response.context["errors"]
    assert [list(Campaign.objects.values()), list(Offer.objects.values())] == before


def test_saving_never_writes_the_counters(client, marketer, monkeypatch):
    campaign = make_campaign(status="running", starts_at=timezone.now() - DAY)
    offer = make_offer(campaign)
    data = {**posted(client.get(change_url(campaign))), "name": "Renamed", "offers-0-headline": "New words"}
    full_clean = Offer.full_clean

    def checkout_meanwhile(self, *args, **kwargs):
        Campaign.objects.filter(pk=campaign.pk).update(reserved_minor=500, spent_minor=700)
        Offer.objects.filter(pk=offer.pk).update(issued_count=3, reserved_count=1, redeemed_count=1)
        return full_clean(self, *args, **kwargs)

    monkeypatch.setattr(Offer, "full_clean", checkout_meanwhile)  # the last check before the write
    assert client.post(change_url(campaign), data).status_code == 302
    campaign.refresh_from_db()
    offer.refresh_from_db()
    assert (campaign.name, campaign.reserved_minor, campaign.spent_minor) == ("Renamed", 500, 700)
    assert (offer.headline, offer.issued_count, offer.reserved_count) == ("New words", 3, 1)


def test_a_budget_below_what_is_spent_is_refused(client, marketer):
    campaign = make_campaign(status="running", spent_minor=400_00, reserved_minor=100_00)
    data = {**posted(client.get(change_url(campaign))), "budget_minor": "499.99"}
    response = client.post(change_url(campaign), data)
    assert "below what is already reserved and spent" in response.content.decode()


def test_a_limit_that_a_checkout_has_just_used_up_is_a_message(client, marketer, monkeypatch):
    campaign = make_campaign(status="running")
    offer = make_offer(campaign, max_issued=10)
    data = {**posted(client.get(change_url(campaign))), "offers-0-max_issued": "5"}
    full_clean = Offer.full_clean

    def claims_meanwhile(self, *args, **kwargs):
        result = full_clean(self, *args, **kwargs)
        Offer.objects.filter(pk=offer.pk).update(issued_count=7)
        return result

    monkeypatch.setattr(Offer, "full_clean", claims_meanwhile)
    response = client.post(change_url(campaign), data, follow=True)
    assert "Nothing is saved" in messages_of(response)
    assert Offer.objects.get().max_issued == 10


@pytest.mark.parametrize("status", ["scheduled", "running", "paused", "ended", "archived"])
def test_terms_are_fixed_once_scheduled_and_the_page_says_why(client, marketer, status):
    campaign = make_campaign(status=status, audience={"all": [{"field": "tier", "op": "in", "value": ["gold"]}]})
    make_offer(campaign)
    page = client.get(change_url(campaign)).content.decode()
    assert 'name="offers-0-percent"' not in page
    assert 'name="audience_tier"' not in page
    assert "Loyalty tier: one of gold" in page
    assert "fixed because" in page or "is over" in page
    data = {
        "name": "Renamed",
        "audience_tier": "",
        "currency": "USD",
        "offers-0-percent": "90",
        "offers-TOTAL_FORMS": "2",
        "offers-INITIAL_FORMS": "1",
        "offers-0-id": str(Offer.objects.get().pk),
        "offers-0-campaign": str(campaign.pk),
        "offers-1-name": "Sneaked in",
        "offers-1-kind": "coupon",
        "offers-1-per_shopper": "1",
    }
    client.post(change_url(campaign), {**posted(client.get(change_url(campaign))), **data})
    campaign.refresh_from_db()
    assert (campaign.currency, len(campaign.audience["all"])) == ("EUR", 1)
    assert Offer.objects.get().percent == 10


def test_an_outdated_page_saves_nothing(client, marketer):
    campaign = make_campaign()
    make_offer(campaign)
    data = {**posted(client.get(change_url(campaign))), "name": "Renamed"}
    Campaign.objects.update(status="running")
    response = client.post(change_url(campaign), data, follow=True)
    assert "running since you opened this page" in messages_of(response)
    assert Campaign.objects.get().name == "Autumn"


def test_a_rule_of_another_shape_is_kept(client, marketer):
    campaign = make_campaign(audience={"any": []})
    data = {**posted(client.get(change_url(campaign))), "audience_tier": "gold", "name": "Renamed"}
    assert client.post(change_url(campaign), data).status_code == 302
    campaign.refresh_from_db()
    assert (campaign.name, campaign.audience) == ("Renamed", {"any": []})


def test_only_a_draft_can_be_deleted(client, marketer):
    draft, running = make_campaign(), make_campaign(status="running")
    for campaign, status in [(draft, 302), (running, 403)]:
        url = reverse("admin:personalization_campaign_delete", args=[campaign.pk])
        assert client.post(url, {"post": "yes"}).status_code == status
    assert list(Campaign.objects.all()) == [running]


def test_the_buttons_lead_a_campaign_through_its_life(client, launcher):
    campaign = make_campaign(starts_at=timezone.now() - timedelta(minutes=1))
    make_offer(campaign)
    make_forecast(campaign)
    for to in ["review", "running", "paused", "running", "ended", "archived"]:
        page = client.get(change_url(campaign)).content.decode()
        assert state_url(campaign, to) in page
        assert client.post(state_url(campaign, to)).status_code == 302
        campaign.refresh_from_db()
        assert campaign.status == to
    assert campaign.transitions.count() == 6
    first = campaign.transitions.first()
    assert first is not None
    assert first.by == launcher
    assert Forecast.objects.get().frozen_at is not None


@pytest.mark.parametrize("to", ["running", "scheduled", "archived"])
def test_what_matters_asks_first_and_a_get_changes_nothing(client, launcher, to):
    campaign = make_campaign()
    make_offer(campaign)
    response = client.get(state_url(campaign, to))
    assert response.status_code == 200
    assert ("Check-list" in response.content.decode()) == (to != "archived")
    campaign.refresh_from_db()
    assert campaign.status == "draft"


@pytest.mark.parametrize(
    ("status", "to"),
    [("draft", "running"), ("draft", "scheduled"), ("running", "paused"), ("paused", "running"), ("running", "ended")],
)
def test_launching_needs_its_permission(client, marketer, status, to):
    campaign = make_campaign(status=status)
    make_offer(campaign)
    assert state_url(campaign, to) not in client.get(change_url(campaign)).content.decode()
    assert client.post(state_url(campaign, to)).status_code == 403
    campaign.refresh_from_db()
    assert campaign.status == status


def test_a_viewer_moves_nothing(client):
    campaign = make_campaign()
    client.force_login(make_user("view_campaign"))
    assert client.post(state_url(campaign, "review")).status_code == 403


def test_a_launch_without_offers_is_a_message(client, launcher):
    campaign = make_campaign()
    response = client.post(state_url(campaign, "running"), follow=True)
    assert "no offer yet" in messages_of(response)
    campaign.refresh_from_db()
    assert campaign.status == "draft"


def test_an_impossible_step_is_a_message(client, launcher):
    campaign = make_campaign(status="ended")
    response = client.post(state_url(campaign, "running"), follow=True)
    assert "not possible any more" in messages_of(response)


def test_computing_a_forecast_queues_one_job(client, launcher):
    campaign = make_campaign()
    url = reverse("admin:personalization_campaign_forecast", args=[campaign.pk])
    response = client.post(url, follow=True)
    assert "waits for a worker" in messages_of(response)
    job = Job.objects.get()
    assert (job.kind, job.requested_by) == ("forecast", launcher)
    html = client.get(change_url(campaign)).content.decode()
    assert f'data-pz-poll="{url}"' in html
    assert "queued" in client.get(url).content.decode()
    client.post(url)
    assert Job.objects.count() == 1


def test_computing_a_forecast_needs_its_permission(client, marketer):
    campaign = make_campaign()
    url = reverse("admin:personalization_campaign_forecast", args=[campaign.pk])
    assert client.post(url).status_code == 403
    assert "Compute forecast" not in client.get(change_url(campaign)).content.decode()


def test_a_forecast_shows_intervals_and_where_its_data_come_from(client, marketer):
    campaign = make_campaign()
    make_forecast(campaign, assumptions={"data": "simulated shoppers"})
    html = client.get(change_url(campaign)).content.decode()
    assert "€610.00 to €1,100.00" in html
    assert "Simulated data." in html
    assert 'role="img"' in html


def test_an_ended_campaign_shows_forecast_beside_outcome(client, marketer):
    campaign = make_campaign(status="ended", starts_at=timezone.now() - 9 * DAY, ends_at=timezone.now() - DAY)
    make_forecast(campaign, frozen_at=campaign.starts_at, figures={"redemptions": [84, 61, 110], "orders": [0, 0, 9]})
    html = client.get(change_url(campaign)).content.decode()
    assert "Forecast and outcome" in html
    assert "Frozen at launch" in html
    assert "outside the interval" in html
    assert "inside the interval" in html


def test_the_audience_is_counted_while_it_is_typed(client):
    make_shopper()
    make_shopper(attributes={"tier": "none"})
    url = reverse("admin:personalization_campaign_audience")
    client.force_login(make_user("change_campaign", "view_shopper"))
    html = client.post(url, {"audience_tier": "gold"}).json()["html"]
    assert "1 shopper now" in html
    assert "A few of them" in html
    assert (
        "below the lower limit" in client.post(url, {"audience_age_min": "9", "audience_age_max": "8"}).json()["html"]
    )
    client.force_login(make_user("change_campaign"))
    assert "A few of them" not in client.post(url, {}).json()["html"]
    client.force_login(make_user("view_campaign"))
    assert client.post(url, {}).status_code == 403
