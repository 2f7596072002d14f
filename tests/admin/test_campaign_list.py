"""What the list of campaigns tells of money that our ledger knows nothing of."""

from __future__ import annotations

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from personalization.models import Exposure
from tests.admin.builders import make_campaign, make_offer, make_shopper

pytestmark = pytest.mark.django_db


def listed(client: Client) -> str:
    return client.get(reverse("admin:personalization_campaign_changelist")).content.decode()


def test_money_that_went_past_the_ledger_is_told_as_such(admin_client: Client) -> None:
    """A simulated or imported wave: its exposures know what was given."""
    campaign = make_campaign(name="Wave", status="ended", budget_minor=None)
    offer = make_offer(campaign, attributes={"simulated": True})
    now = timezone.now()
    exposure = Exposure.objects.create(
        campaign=campaign, offer=offer, shopper=make_shopper(), source="simulation", source_row="1", exposed_at=now,
        window_ends_at=now, redeemed_at=now, cost_minor=1250,
    )  # fmt: skip
    page = listed(admin_client)
    assert "€12.50 given" in page
    assert "simulated, outside the ledger" in page
    assert "€0.00 spent" not in page
    offer.attributes = {}
    offer.save()
    page = listed(admin_client)
    assert "outside the ledger" in page
    assert "simulated, outside" not in page
    exposure.cost_minor = 0
    exposure.save()
    assert "not recorded in the ledger" in listed(admin_client)
    campaign.spent_minor = 500  # the control: what the ledger knows is told by the bar
    campaign.save()
    assert "€5.00 spent" in listed(admin_client)
