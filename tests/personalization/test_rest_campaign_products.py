"""Products and categories that a campaign names over HTTP are those of the catalogue, as on the admin's page."""

from __future__ import annotations

from typing import Any

import pytest

from personalization.models import CatalogItem, Offer
from tests.personalization.builders import Browser
from tests.personalization.test_rest_campaigns import OFFER, call, draft_body, person

pytestmark = pytest.mark.django_db


@pytest.fixture
def marketer() -> Browser:
    return person("view_campaign", "add_campaign", "change_campaign")


def create(marketer: Browser, **offer: Any) -> Any:
    return call(marketer, "post", "campaigns", body=draft_body(offers=[{**OFFER, **offer}]))


def tea(item_id: str, title: str) -> CatalogItem:
    return CatalogItem.objects.create(item_id=item_id, title=title, category="tea", label="shop.product")


@pytest.mark.parametrize(
    ("named", "told"),
    [
        ({"item_ids": ["t-1", "t-9"]}, {"item_ids": ["There is no product “t-9”."]}),
        ({"kind": "gift", "percent": "0", "gift_item_id": "mug"}, {"gift_item_id": ["There is no product “mug”."]}),
        ({"category": "teas"}, {"category": ["There is no category “teas”. Did you mean tea?"]}),
    ],
)
def test_what_the_catalogue_does_not_have_is_refused(marketer: Browser, named: Any, told: Any) -> None:
    tea("t-1", "Green Tea")
    answer = create(marketer, **named)
    assert answer.status_code == 400
    assert answer.json()["errors"]["offers"] == {"0": told}
    assert not Offer.objects.exists()


def test_what_it_has_is_taken_and_an_empty_catalogue_has_no_opinion(marketer: Browser) -> None:
    assert create(marketer, item_ids=["anything"], category="any").status_code == 201
    tea("t-1", "Green Tea")
    assert create(marketer, item_ids=["t-1"], category="tea").status_code == 201


def test_what_an_offer_names_already_is_not_questioned_again(marketer: Browser) -> None:
    gone = tea("t-1", "Green Tea")
    tea("t-2", "Black Tea")
    made = create(marketer, item_ids=["t-1"], category="tea").json()
    gone.delete()
    offer = {"id": made["offers"][0]["id"], "item_ids": ["t-1", "t-2"], "category": "tea"}
    changed = call(marketer, "patch", "campaign", made["id"], {"revision": 1, "offers": [offer]})
    assert changed.status_code == 200, changed.content
    offer["item_ids"] = ["t-1", "t-2", "t-3"]
    refused = call(marketer, "patch", "campaign", made["id"], {"revision": 2, "offers": [offer]})
    assert refused.status_code == 400
    assert "t-3" in str(refused.json())
    assert "t-1”" not in str(refused.json())
