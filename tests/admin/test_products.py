"""Products and categories on the campaign's page: searched, checked with suggestions, shown by title and id."""

from __future__ import annotations

from typing import Any

import pytest
from django.urls import reverse

from personalization.campaigns.catalog import near
from personalization.models import CatalogItem, Offer
from tests.admin.builders import make_campaign, make_offer, make_user
from tests.admin.test_campaigns import MARKETER, change_url, new_campaign_data, posted

pytestmark = pytest.mark.django_db
ADD = "admin:personalization_campaign_add"
SEARCH = "admin:personalization_campaign_products"


def make_item(item_id: str, title: str, **fields: Any) -> CatalogItem:
    given = {"label": "shop.product", "price_minor": 5900, "currency": "EUR", "category": "tea", **fields}
    return CatalogItem.objects.create(item_id=item_id, title=title, **given)


@pytest.fixture(autouse=True)
def catalogue() -> None:
    make_item("t-1", "Chai Blend Gift Tin")
    make_item("t-2", "Green Tea Organic", visible=False)
    make_item("k-1", "Kettle", category="kitchen")
    make_item("x-1", "Chai of another data set", population="elsewhere")


@pytest.fixture
def marketer(client):
    client.force_login(make_user(*MARKETER, "view_catalogitem"))
    return client


def offer_data(**typed: str) -> dict[str, Any]:
    return {**new_campaign_data(), **{f"offers-0-{name}": value for name, value in typed.items()}}


def complaints(response: Any, name: str) -> str:
    return " ".join(map(str, response.context["inline_admin_formsets"][0].formset.errors[0][name]))


# --- Search -----------------------------------------------------------------------------------------------------------


def test_the_search_finds_by_title_or_id_in_this_shops_catalogue(marketer):
    def search(term: str) -> list[tuple[str, str]]:
        answer = marketer.get(reverse(SEARCH), {"term": term}).json()
        return [(found["id"], found["text"]) for found in answer["results"]]

    assert search("chai") == [("t-1", "Chai Blend Gift Tin")]
    assert search("k-1") == [("k-1", "Kettle")]
    assert [item for item, _title in search("")] == ["t-1", "t-2", "k-1"]
    assert search("samovar") == []
    assert search("chai\x00") == [("t-1", "Chai Blend Gift Tin")]  # PostgreSQL has no such character
    (hidden,) = marketer.get(reverse(SEARCH), {"term": "green"}).json()["results"]
    assert hidden["about"].startswith("tea · ")
    assert hidden["about"].endswith("not visible")


def test_the_search_says_when_there_are_more(marketer):
    for number in range(25):
        make_item(f"c-{number}", f"Cup {number:02}")
    answer = marketer.get(reverse(SEARCH), {"term": "cup"}).json()
    assert (len(answer["results"]), answer["pagination"]["more"]) == (20, True)


@pytest.mark.parametrize("permissions", [(), ("view_campaign", "change_campaign", "add_campaign")])
def test_whoever_may_not_view_the_catalogue_may_not_search_it(client, permissions):
    client.force_login(make_user(*permissions))
    assert client.get(reverse(SEARCH), {"term": "chai"}).status_code == 403
    client.logout()
    assert client.get(reverse(SEARCH), {"term": "chai"}).status_code == 302


# --- Ids that are typed -----------------------------------------------------------------------------------------------


def test_ids_of_the_catalogue_are_stored_and_shown_with_their_titles(marketer):
    data = offer_data(item_ids="t-1, k-1\nt-1", gift_item_id="t-2", category="tea")
    response = marketer.post(reverse(ADD), data)
    assert response.status_code == 302, response.context["errors"]
    offer = Offer.objects.get()
    assert (offer.item_ids, offer.gift_item_id, offer.category) == (["t-1", "k-1"], "t-2", "tea")
    page = marketer.get(change_url(offer.campaign)).content.decode()
    assert '<li data-pz-item="t-1">Chai Blend Gift Tin <span class="pz-quiet">t-1</span></li>' in page
    assert '<li data-pz-item="t-2">Green Tea Organic <span class="pz-quiet">t-2</span></li>' in page
    assert '<option value="kitchen"></option>' in page
    assert "elsewhere" not in page


def test_an_unknown_id_is_named_and_near_titles_are_suggested(marketer):
    response = marketer.post(reverse(ADD), offer_data(item_ids="t-1, Chia blend, zz-9", gift_item_id="kettel"))
    assert response.status_code == 200
    told = complaints(response, "item_ids")
    assert "“Chia blend”. Did you mean Chai Blend Gift Tin (t-1)?" in told
    assert "“zz-9”." in told
    assert "“t-1”" not in told
    assert "“kettel”. Did you mean Kettle (k-1)?" in complaints(response, "gift_item_id")
    assert not Offer.objects.exists()


def test_an_unknown_category_names_those_that_come_near(marketer):
    assert "“Kitchn”. Did you mean kitchen?" in complaints(
        marketer.post(reverse(ADD), offer_data(category="Kitchn")), "category"
    )
    assert "Did you mean kitchen · tea?" in complaints(
        marketer.post(reverse(ADD), offer_data(category="qqq")), "category"
    )


def test_what_is_stored_may_stay_when_it_has_left_the_catalogue(marketer):
    offer = make_offer(make_campaign(), item_ids=["gone-1", "t-1"], gift_item_id="gone-2", category="gone")
    data = posted(marketer.get(change_url(offer.campaign)))
    data["offers-0-item_ids"] = "gone-1"
    assert marketer.post(change_url(offer.campaign), data).status_code == 302
    offer.refresh_from_db()
    assert (offer.item_ids, offer.gift_item_id, offer.category) == (["gone-1"], "gone-2", "gone")
    data["offers-0-item_ids"] = "gone-1, gone-3"
    assert "“gone-3”" in complaints(marketer.post(change_url(offer.campaign), data), "item_ids")


def test_an_empty_catalogue_has_no_opinion(marketer):
    CatalogItem.objects.all().delete()
    assert marketer.post(reverse(ADD), offer_data(item_ids="any-1", category="any")).status_code == 302


def test_fixed_terms_show_titles_too(marketer):
    offer = make_offer(make_campaign(status="running"), item_ids=["t-1", "gone"], gift_item_id="k-1")
    page = marketer.get(change_url(offer.campaign)).content.decode()
    assert "Chai Blend Gift Tin (t-1), gone" in page
    assert "Kettle (k-1)" in page


def test_titles_are_read_at_once_however_many_offers(marketer, django_assert_max_num_queries):
    campaign = make_campaign()
    for number in range(8):
        make_offer(campaign, name=f"O{number}", item_ids=["t-1", "k-1", f"gone-{number}"], gift_item_id="gone")
    with django_assert_max_num_queries(400) as captured:
        marketer.get(change_url(campaign))
    reads = [query for query in captured.captured_queries if '"item_id" IN' in query["sql"] and "title" in query["sql"]]
    assert len(reads) == 1


def test_suggestions_come_best_first_and_few():
    for number in range(9):
        make_item(f"m-{number}", f"Mug {number}")
    assert len(near("mug")) == 3
    assert near("Chai Blend")[0] == "Chai Blend Gift Tin (t-1)"
    assert near("%") == []
