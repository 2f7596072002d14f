"""Why an offer was predicted as it was: the sum of the causes, their shares, and who may see them."""

from __future__ import annotations

import pytest
from django.urls import reverse

from personalization.admin.causes import MOST, why_of
from personalization.features.topics import TOPICS
from personalization.models import Decision, ShopperScores
from tests.admin.builders import make_everything, make_user

WHY = {"head": "redeem", "base": -1.0, "frequency": 1.5, "fatigue": -0.5}


def test_causes_carry_their_share_and_direction() -> None:
    why = why_of(WHY)
    assert why is not None
    assert (why.effect, why.usual, why.predicted) == ("using it", "26.9 %", "50.0 %")
    assert [(cause.name, cause.up, cause.text) for cause in why.causes] == [
        ("How often the shopper buys", True, "+75 %"),
        ("How many offers the shopper got lately", False, "−25 %"),
    ]
    assert [(cause.x, cause.width) for cause in why.causes] == [("50.0", "50.0"), ("33.3", "16.7")]


def test_small_causes_are_added_up() -> None:
    why = why_of({"base": 0.0} | {topic.code: 0.5 - place / 100 for place, topic in enumerate(TOPICS[:9])})
    assert why is not None
    assert [cause.name for cause in why.causes][MOST:] == ["Everything else"]


@pytest.mark.parametrize("record", [None, [], "x", {}, {"base": "x"}, {"base": 1.0}, {"base": float("nan"), "age": 1}])
def test_what_is_no_explanation_gives_none(record: object) -> None:
    assert why_of(record) is None


@pytest.mark.django_db
def test_the_pages_of_a_decision_and_a_shopper_tell_the_causes(client) -> None:
    made = make_everything()
    offer, shopper = made["coupon"].offer, made["shopper"]
    Decision.objects.update(chosen=[{"offer": offer.pk, "position": 1, "propensity": 0.95, "why": WHY}])
    parts = {key: value for key, value in WHY.items() if key != "head"}
    ShopperScores.objects.update(reasons={"head": "redeem", "offers": {str(offer.pk): parts}})
    client.force_login(make_user("view_decision", "view_shopper"))
    for name, pk in (("decision", made["decision"].pk), ("shopper", shopper.pk)):
        html = client.get(reverse(f"admin:personalization_{name}_change", args=[pk])).content.decode()
        assert "How often the shopper buys" in html, name
        assert "usually 26.9 %, here 50.0 %" in html, name
    client.force_login(make_user("view_decision"))
    html = client.get(reverse("admin:personalization_decision_change", args=[made["decision"].pk])).content.decode()
    assert "How often the shopper buys" not in html  # causes are about the shopper
    assert "frequency" not in html
