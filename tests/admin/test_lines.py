"""One line an offer and a trigger: what a closed one says, and which one an error opens."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from personalization.admin.lines import offer_line, trigger_line
from personalization.models import Trigger
from tests.admin.builders import make_campaign, make_offer, make_user
from tests.admin.test_campaigns import MARKETER, change_url, posted

pytestmark = pytest.mark.django_db


@pytest.fixture
def marketer(client):
    client.force_login(make_user(*MARKETER))
    return client


def test_an_offers_line_says_kind_terms_limits_and_state():
    campaign = make_campaign()
    offer = make_offer(
        campaign, category="tea", max_redemptions=1, max_issued=2_000, uses_per_shopper=3, issued_count=7
    )
    line = offer_line(offer)
    assert line.kind == "Coupon"
    assert line.facts == ("10% off on tea", "1 redemption at most", "2,000 coupons at most", "3 times a shopper")
    assert (line.state, line.tone) == ("7 issued · 0 redeemed", "good")
    assert offer_line(make_offer(campaign, slots=[])).state == "no slot yet"
    assert offer_line(make_offer(campaign, slots=[], application="automatic")).state == ""
    over = make_offer(campaign, ends_at=timezone.now() - timedelta(hours=1))
    assert (offer_line(over).state, offer_line(over).facts[-1]) == ("window closed", "in its own window")
    assert offer_line(make_offer(campaign, kind="announcement", percent=0)).facts == ()


def test_a_triggers_line_says_its_details_in_words():
    trigger = Trigger(kind="win_back", params={"days": 90}, channels=["email"], open_days=1, active=False)
    line = trigger_line(trigger, {"days": "Days"})
    assert line.kind == "win-back: has not bought for long"
    assert line.facts == ("Days: 90", "open for 1 day", "email")
    assert line.state == "switched off"


def opened(page: str) -> list[bool]:
    """Return for each stored offer whether it stands open."""
    bodies = page.split('class="inline-related pz-line has_original')[1:]
    return [bodies_open.split("<summary>")[0].rstrip().endswith("open>") for bodies_open in bodies]


def test_several_offers_are_closed_and_an_error_opens_the_right_one(marketer):
    campaign = make_campaign()
    for number in range(3):
        make_offer(campaign, name=f"O{number}")
    response = marketer.get(change_url(campaign))
    assert opened(response.content.decode()) == [False, False, False]
    wrong = {**posted(response), "offers-1-percent": "120"}
    page = marketer.post(change_url(campaign), wrong).content.decode()
    assert opened(page) == [False, True, False]


def test_a_single_offer_is_open(marketer):
    campaign = make_campaign()
    make_offer(campaign)
    assert opened(marketer.get(change_url(campaign)).content.decode()) == [True]


def test_steps_are_closed_with_what_is_stored_and_open_for_what_is_wrong(marketer):
    campaign = make_campaign(
        goal="Bring gold members back", audience={"all": [{"field": "tier", "op": "in", "value": ["gold"]}]}
    )
    make_offer(campaign)
    response = marketer.get(change_url(campaign))
    goal, reach, offers, budget, *_after = response.context["parts"]
    assert [part.open for part in (goal, reach, offers, budget)] == [False, False, True, False]
    assert goal.summary.endswith("Bring gold members back")
    assert reach.summary == "Loyalty tier: one of gold · 0 shoppers now"
    assert budget.summary == "€1,000.00 · spend as it comes"
    response = marketer.post(change_url(campaign), {**posted(response), "budget_minor": "-5"})
    assert [part.open for part in response.context["parts"][:4]] == [False, False, True, True]
