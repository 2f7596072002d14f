"""A campaign is in the shop's currency unless another is named; in one that nothing is sold in, it promises nothing."""

from __future__ import annotations

from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.core.management import call_command
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from personalization import api
from personalization.admin.checklist import Check, further
from personalization.campaigns import catalog, lifecycle
from personalization.decisioning import candidates
from personalization.exceptions import InvalidTerms
from personalization.insight import doctor
from personalization.insight.findings import BAD
from personalization.models import Campaign, Decision, Offer, Shopper
from personalization.types import OfferKind
from tests.admin.builders import make_campaign, make_user
from tests.personalization import host
from tests.personalization.builders import DAY, make_offer, running
from tests.personalization.conftest import Configure

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("hosted")]
REFUSED = "There is no such currency. Give its ISO 4217 code, for instance EUR."
SLOT = "home_hero"
PLAN: dict[str, Any] = {"name": "Spring", "offers": [{"name": "A tenth", "kind": "coupon", "percent": 10}]}


def sell(*currencies: str, **fields: Any) -> None:
    host.PRODUCTS[:] = [host.product(f"p-{code}", currency=code, **fields) for code in currencies]
    api.sync_catalog()
    candidates.forget()


def open_lines(campaign: Campaign) -> dict[str, Check]:
    checks = further(campaign, list(campaign.offers.select_related("campaign")), timezone.now())
    return {check.told: check for check in checks if not check.ok}


# --- The setting is the default ---------------------------------------------------------------------------------------


def test_a_new_campaign_is_in_the_shops_currency(configure: Configure) -> None:
    configure(CURRENCY="USD")
    start = timezone.now() + DAY
    assert api.create_campaign(**PLAN, starts_at=start, ends_at=start + DAY).currency == "USD"
    assert Campaign().currency == "USD"
    assert api.create_campaign(**PLAN, starts_at=start, ends_at=start + DAY, currency="JPY").currency == "JPY"


def test_the_admins_form_offers_it(configure: Configure) -> None:
    configure(CURRENCY="USD")
    browser = Client()
    browser.force_login(make_user("view_campaign", "add_campaign", "change_campaign", "add_offer"))
    page = browser.get(reverse("admin:personalization_campaign_add"))
    form = page.context["adminform"].form
    assert form["currency"].value() == "USD"
    assert form.fields["budget_minor"].currency == "USD"


def test_so_does_the_api(configure: Configure) -> None:
    configure(CURRENCY="USD")
    browser = Client()
    browser.force_login(make_user("view_campaign", "add_campaign"))
    start = timezone.now() + DAY
    body = {**PLAN, "starts_at": start.isoformat(), "ends_at": (start + DAY).isoformat()}
    answer = browser.post(reverse("personalization:api-campaigns"), body, content_type="application/json")
    assert answer.status_code == 201, answer.content
    assert answer.json()["currency"] == "USD"
    wrong = browser.post(
        reverse("personalization:api-campaigns"), {**body, "currency": "XTS"}, content_type="application/json"
    )
    assert wrong.status_code == 400
    assert wrong.json()["errors"] == {
        "currency": ["There is no such currency. Give its ISO 4217 code, for instance EUR."]
    }


@pytest.mark.parametrize("code", ["XTS", "usd", "E1", ""])
def test_what_is_no_currency_is_refused(code: str) -> None:
    start = timezone.now() + DAY
    with pytest.raises(ValidationError) as refused:
        api.create_campaign(**PLAN, starts_at=start, ends_at=start + DAY, currency=code)
    assert set(refused.value.message_dict) == {"currency"}


def test_it_cannot_be_launched_either() -> None:
    campaign = make_campaign(currency="XTS", starts_at=timezone.now(), ends_at=timezone.now() + timedelta(days=3))
    make_offer(campaign)
    with pytest.raises(InvalidTerms, match="no such currency"):
        lifecycle.launch(campaign)


# --- What nothing is sold in ------------------------------------------------------------------------------------------


def test_the_checklist_says_that_nobody_could_redeem_it() -> None:
    sell("USD", "JPY")
    campaign = make_campaign(currency="EUR")
    make_offer(campaign)
    told = open_lines(campaign)["No product is sold in its currency"]
    assert told.hint == (
        "Products are sold in JPY, USD, its offers are in EUR: nobody could redeem them, so they are not shown. "
        "Change the campaign’s currency."
    )


@pytest.mark.parametrize(
    ("sold", "kind"),
    [
        (["EUR", "USD"], OfferKind.COUPON),  # some product is sold in it
        ([], OfferKind.COUPON),  # an empty catalogue has no opinion
        (["USD"], OfferKind.ANNOUNCEMENT),  # nothing to redeem
    ],
)
def test_nothing_is_said_where_it_can_be_redeemed(sold: list[str], kind: OfferKind) -> None:
    sell(*sold)
    campaign = make_campaign(currency="EUR")
    make_offer(campaign, kind=kind.value)
    assert "No product is sold in its currency" not in open_lines(campaign)


def test_hidden_products_and_other_populations_do_not_count() -> None:
    sell("EUR", visible=False)
    api.upsert_items([host.product("x-1")], label="set", population="set")
    host.PRODUCTS.append(host.product("p-1", currency="USD"))
    api.sync_catalog()
    campaign = make_campaign(currency="EUR")
    make_offer(campaign)
    assert "No product is sold in its currency" in open_lines(campaign)


def test_an_offer_that_nobody_could_redeem_is_not_promised(shopper: Shopper) -> None:
    sell("USD")
    ours, theirs = make_offer(running(currency="USD")), make_offer(running(currency="EUR"))
    result = api.decide(SLOT, shopper=shopper, limit=20)
    assert [offer.offer_id for offer in result.offers] == [ours.pk]
    assert Decision.objects.get(pk=result.decision_id).excluded == {str(theirs.pk): "other_currency"}
    assert catalog.foreign(Offer.objects.all()) == {theirs.pk}  # as a message asks, which reads offers for itself
    sell("USD", "EUR")
    assert len(api.decide(SLOT, shopper=shopper, limit=20).offers) == 2


# --- The setting and the shop -----------------------------------------------------------------------------------------


def test_sync_catalog_and_doctor_tell_of_another_currency() -> None:
    host.PRODUCTS.append(host.product("p-1", currency="USD"))
    out, err = StringIO(), StringIO()
    call_command("sync_catalog", stdout=out, stderr=err)
    sentence = (
        'Products are sold in USD, but PERSONALIZATION["CURRENCY"] is EUR: offers of new campaigns could not be '
        "redeemed. Set it to USD."
    )
    assert err.getvalue().strip() == sentence
    assert (BAD, f"Catalogue: {sentence}") in [(found.level, found.text) for found in doctor.examine()]


def test_where_they_agree_nothing_is_told() -> None:
    host.PRODUCTS.append(host.product("p-1", currency="EUR"))
    err = StringIO()
    call_command("sync_catalog", stdout=StringIO(), stderr=err)
    assert err.getvalue() == ""
    assert not [found for found in doctor.examine() if "sold in" in found.text]
