"""An offer's fields on the campaign's page: steps as a table, markup cleaned, times on the campaign's clock."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from django.urls import reverse

from personalization.admin.fields import from_zone
from personalization.admin.offers import KIND_FIELDS, TERMS
from personalization.models import Campaign, Offer
from tests.admin.builders import make_campaign, make_offer, make_user
from tests.admin.test_campaigns import MARKETER, change_url, new_campaign_data, posted

pytestmark = pytest.mark.django_db
ADD = "admin:personalization_campaign_add"


@pytest.fixture(autouse=True)
def marketer(client):
    client.force_login(make_user(*MARKETER))


def steps_data(*rows: tuple[str, str, str]) -> dict[str, object]:
    data = {**new_campaign_data(), "offers-0-amount_minor": "", "offers-0-threshold_minor": ""}
    for index, row in enumerate(rows):
        for part, value in zip(("threshold", "percent", "amount"), row, strict=True):
            data[f"offers-0-steps_{index}_{part}"] = value
    return data


def test_steps_are_typed_in_a_table(client):
    response = client.post(reverse(ADD), steps_data(("100", "", "12.50"), ("50", "5", ""), ("", "", "")))
    assert response.status_code == 302, response.context["errors"]
    offer = Offer.objects.get()
    assert offer.steps == [
        {"threshold_minor": 50_00, "percent": "5"},
        {"threshold_minor": 100_00, "amount_minor": 12_50},
    ]
    page = client.get(change_url(offer.campaign)).content.decode()
    assert 'name="offers-0-steps_1_amount" value="12.50"' in page
    before = list(Offer.objects.values())
    assert client.post(change_url(offer.campaign), posted_with_steps(client, offer)).status_code == 302
    assert list(Offer.objects.values()) == before


def posted_with_steps(client, offer: Offer) -> dict[str, object]:
    data = posted(client.get(change_url(offer.campaign)))
    data.pop("offers-0-steps", None)
    return {**data, **{key: value for key, value in steps_data(("50", "5", ""), ("100", "", "12.50")).items()
                       if "steps_" in key}}  # fmt: skip


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        (("50", "", ""), "Step 1 needs its spend"),
        (("50", "5", "3"), "Step 1 needs its spend"),
        (("", "5", ""), "Step 1 needs its spend"),
        (("50", "", "1.999"), "Step 1 is no amount in EUR"),
        (("fifty", "5", ""), "Step 1 is no amount in EUR"),
        (("NaN", "5", ""), "Step 1 is no amount in EUR"),
        (("50", "500", ""), "A step has a minimum spend"),
    ],
)
def test_a_step_that_is_none_is_said_beside_the_table(client, row, complaint):
    response = client.post(reverse(ADD), steps_data(row))
    assert response.status_code == 200
    assert complaint in response.content.decode()
    assert not Campaign.objects.exists()


def test_markup_is_cleaned_when_it_is_saved(client):
    html = '<p onclick="x()">Hello <b>you</b><script>alert(1)</script> <a href="javascript:x()">a</a></p>'
    client.post(reverse(ADD), {**new_campaign_data(), "offers-0-body_html": html})
    stored = Offer.objects.get().body_html
    assert stored.startswith("<p>Hello <b>you</b>")
    assert "script" not in stored
    assert "onclick" not in stored


def test_markup_that_came_another_way_is_cleaned_when_it_is_shown(client):
    offer = make_offer(make_campaign(), headline="Hi")
    Offer.objects.filter(pk=offer.pk).update(body_html="<img src=x onerror=alert(1)><b>bold</b>")
    page = client.get(reverse("admin:personalization_campaign_preview", args=[offer.campaign_id])).content.decode()
    assert "onerror" not in page
    assert "<b>bold</b>" in page


def test_dates_are_meant_on_the_campaigns_clock(client):
    given = {**new_campaign_data(), "time_zone": "Asia/Tokyo", "starts_at_1": "09:00:00"}
    assert client.post(reverse(ADD), given).status_code == 302
    campaign = Campaign.objects.get()
    assert campaign.starts_at == datetime(2030, 3, 1, 0, 0, tzinfo=UTC)
    page = client.get(change_url(campaign)).content.decode()
    assert 'name="starts_at_1" value="09:00:00"' in page


def test_an_hour_that_spring_leaves_out_is_refused(client):
    given = {**new_campaign_data(), "time_zone": "Europe/Berlin", "starts_at_0": "2030-03-31", "starts_at_1": "02:30"}
    response = client.post(reverse(ADD), given)
    assert "There is no such hour" in response.content.decode()
    wall = datetime(2030, 3, 31, 3, 30)  # noqa: DTZ001 - a wall clock
    assert from_zone(wall, "Europe/Berlin").astimezone(UTC).hour == 1


def test_sites_are_host_names(client):
    given = {**new_campaign_data(), "sites": "DE.shop.example:443, fr.shop.example"}
    assert client.post(reverse(ADD), given).status_code == 302
    assert Campaign.objects.get().sites == ["de.shop.example", "fr.shop.example"]
    response = client.post(reverse(ADD), {**given, "sites": "not a host"})
    assert "is no host name" in response.content.decode()


def test_the_page_tells_its_script_which_fields_a_kind_has(client):
    response = client.get(reverse(ADD))
    inline = response.context["inline_admin_formsets"][0]
    assert json.loads(inline.opts.kind_fields) == KIND_FIELDS
    assert set(KIND_FIELDS) == {kind for kind, _label in Offer.KINDS}
    names = {name for fields in KIND_FIELDS.values() for name in fields}
    assert names <= set(inline.formset.forms[0].fields)


def test_a_running_offer_shows_the_fields_of_its_kind_alone(client):
    """Each offer by its own kind; what stands in another kind's field all the same is shown."""
    campaign = make_campaign(status=Campaign.Status.RUNNING)
    make_offer(campaign)
    make_offer(campaign, name="Three for two", kind="n_for_m", percent=0, buy_quantity=3, pay_quantity=2)
    make_offer(campaign, name="Odd", points=7)

    def shown(line) -> set[str]:
        return {name for part in line for row in part for name in row.fields} & set(map(TERMS.get, terms))

    terms = {name for fields in KIND_FIELDS.values() for name in fields}
    response = client.get(change_url(campaign))
    coupon, pieces, odd = (set(shown(line)) for line in response.context["inline_admin_formsets"][0])
    money_off = {"percent_text", "amount_text", "threshold_text", "max_discount_text"}
    assert (coupon, pieces, odd) == (money_off, {"buy_quantity", "pay_quantity"}, {*money_off, "points"})
    assert "Steps of a spend threshold" not in response.content.decode()
    draft = make_campaign()
    make_offer(draft)
    (first, *_spare) = client.get(change_url(draft)).context["inline_admin_formsets"][0]
    assert {name for part in first for row in part for name in row.fields} >= terms, "the script hides them while empty"


def errors_of(response) -> dict[str, list[str]]:
    return dict(response.context["inline_admin_formsets"][0].formset.errors[0])


@pytest.mark.parametrize(
    ("given", "where"), [({"percent": "150"}, "percent"), ({"amount_minor": "many"}, "amount_minor")]
)
def test_what_is_wrong_is_said_once(client, given, where):
    """The control: with nothing typed, what is missing is told."""
    bare = {"offers-0-kind": "coupon", "offers-0-amount_minor": "", "offers-0-threshold_minor": ""}
    data = {**new_campaign_data(), **bare}
    assert errors_of(client.post(reverse(ADD), data)) == {"percent": ["Give a percentage or an amount."]}
    found = errors_of(
        client.post(reverse(ADD), {**data, **{f"offers-0-{name}": value for name, value in given.items()}})
    )
    assert list(found) == [where]
    assert len(found[where]) == 1
    assert "Give a percentage or an amount." not in found[where]


def test_the_page_has_no_inline_script_or_style(client):
    page = client.get(reverse(ADD)).content.decode()
    assert "<style" not in page
    assert ' style="' not in page
    assert " onclick" not in page
