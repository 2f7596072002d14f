"""The preview shows what would be shown, to whom it may be shown, and leaves no trace."""

from __future__ import annotations

import pytest
from django.urls import reverse

from personalization.models import Decision, Event, Exposure
from tests.admin.builders import make_campaign, make_offer, make_shopper, make_user

pytestmark = pytest.mark.django_db
EYES = ("view_campaign", "view_shopper", "view_decision")


def url(campaign) -> str:
    return reverse("admin:personalization_campaign_preview", args=[campaign.pk])


@pytest.fixture
def campaign():
    campaign = make_campaign(audience={"all": [{"field": "tier", "op": "in", "value": ["gold"]}]})
    make_offer(campaign, headline="Ten off today", body="All of it", percent=10)
    return campaign


def test_both_devices_show_the_stored_words(client, campaign):
    client.force_login(make_user("view_campaign"))
    page = client.get(url(campaign)).content.decode()
    assert page.count("Ten off today") == 2
    assert page.count(" inert") == 2
    assert "See it as" not in page


def test_seeing_it_as_a_shopper_tells_what_and_why_and_writes_nothing(client, campaign, settings):
    settings.PERSONALIZATION = {**settings.PERSONALIZATION, "HOLDOUT_PERCENT": 0.0}
    client.force_login(make_user(*EYES))
    gold, other = make_shopper(), make_shopper(attributes={"tier": "basic"})
    page = client.get(url(campaign), {"as": gold.pk}).content.decode()
    assert page.count("Ten off today") == 3
    assert "as if it ran already" in page
    page = client.get(url(campaign), {"as": other.pk}).content.decode()
    assert page.count("Ten off today") == 2
    assert "the shopper is not in the audience" in page
    assert not Decision.objects.exists()
    assert not Exposure.objects.exists()
    assert not Event.objects.exists()
    campaign.refresh_from_db()
    assert campaign.status == "draft"


def test_a_shopper_is_found_by_a_name_in_the_body(client, campaign):
    client.force_login(make_user(*EYES))
    shopper = make_shopper()
    response = client.post(url(campaign), {"shopper": str(shopper.key)})
    assert response["Location"] == f"{url(campaign)}?as={shopper.pk}#pz-see-as"
    assert "Nobody is found" in client.post(url(campaign), {"shopper": "nobody"}).content.decode()
    assert "There is no such shopper" in client.get(url(campaign), {"as": "999999"}).content.decode()
    assert client.get(url(campaign), {"as": "x'"}).status_code == 200


@pytest.mark.parametrize("missing", EYES)
def test_each_permission_is_needed(client, campaign, missing):
    client.force_login(make_user(*(name for name in EYES if name != missing)))
    assert client.post(url(campaign), {"shopper": "x"}).status_code == 403
    assert client.get(url(campaign), {"as": "1"}).status_code == 403


def test_shoppers_of_another_population_are_not_seen(client, campaign):
    client.force_login(make_user(*EYES))
    stranger = make_shopper(population="elsewhere")
    assert "There is no such shopper" in client.get(url(campaign), {"as": stranger.pk}).content.decode()
