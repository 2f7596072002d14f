"""Ready-made campaigns: each is a whole draft that could be launched as it is."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from django.utils import translation

from personalization import api, conf
from personalization.campaigns import templates
from personalization.exceptions import PersonalizationError
from personalization.models import Campaign
from personalization.pure.benefits import discount_for
from personalization.types import Basket, BasketLine
from tests.admin.builders import make_user

pytestmark = pytest.mark.django_db
START = datetime(2030, 5, 1, tzinfo=UTC)


@pytest.mark.parametrize("currency", ["EUR", "JPY", "KWD"])
@pytest.mark.parametrize("name", sorted(templates.DESIGNS))
def test_a_design_is_a_whole_draft(name: str, currency: str) -> None:
    user = make_user()
    campaign = templates.design(name, currency=currency, by=user, starts_at=START, time_zone="Europe/Berlin")
    assert (campaign.status, campaign.created_by, campaign.starts_at) == ("draft", user, START)
    assert (campaign.currency, campaign.revision) == (currency, 1)
    campaign.full_clean(exclude=["created_by", "approved_by"])
    for offer in campaign.offers.all():
        offer.full_clean()
        assert offer.headline
        assert offer.body
        assert offer.cta_label
        assert offer.slots == list(conf.get().slots)
        price = offer.terms().threshold_minor or 10_000
        lines = tuple(BasketLine(f"p{number}", 1, max(price, 100_000)) for number in range(3))
        benefit = discount_for(offer.terms(), Basket(lines, currency, shipping_minor=500))
        assert benefit.cost_minor > 0
    for trigger in campaign.triggers.all():
        trigger.full_clean()
    assert api.transition(campaign, "scheduled").status == "scheduled"


def test_a_design_begins_at_the_next_midnight_and_speaks_the_language_that_is_active() -> None:
    with translation.override("en"):
        campaign = templates.design("win_back", "elsewhere", time_zone="Asia/Shanghai")
    assert (campaign.population, campaign.currency) == ("elsewhere", conf.get().currency)
    assert (campaign.starts_at.hour, campaign.starts_at.minute) == (16, 0)
    assert campaign.name == "Win-back"


def test_amounts_rise_to_the_currencys_level() -> None:
    def amount(currency: str) -> int:
        return templates.design("win_back", currency=currency).offers.get().amount_minor

    assert (amount("EUR"), amount("JPY"), amount("KWD"), amount("CNY")) == (1000, 1000, 10_000, 10_000)


def test_there_are_enough_and_no_others() -> None:
    assert len(templates.DESIGNS) >= 8
    with pytest.raises(PersonalizationError, match="no such template"):
        templates.design("lottery")
    assert not Campaign.objects.exists()
