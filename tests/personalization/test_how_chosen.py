"""How offers are chosen, told to everybody: from the champion's card, without figures, and what is never used."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from personalization.learning import publish, registry
from personalization.learning.disclosure import disclose
from tests.admin.builders import make_version

pytestmark = pytest.mark.django_db
TOPICS = {"frequency": 0.5, "terms": 0.3, "fatigue": 0.1, "gender": 0.08, "moment": 0.02}


def champion(topics: dict[str, float] | None = None, **fields: Any) -> Any:
    given = TOPICS if topics is None else topics
    card = {"topics": given, "looks_at": list(given)}
    return make_version(state="champion", **{"card": card, **fields})


def words(html: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]*>", " ", html))


def test_topics_are_told_by_their_weight() -> None:
    champion()
    found = disclose("shop")
    assert [str(text) for text in found.most] == ["How often you buy", "What the offer gives and what it asks of you"]
    assert [str(text) for text in found.some] == [
        "How many offers you were shown lately",
        "Your gender, if you told us",
    ]
    assert [str(text) for text in found.little] == ["The time of day and the day of the week"]
    assert ([str(text) for text in found.protected], [str(text) for text in found.unused]) == (
        ["Gender"],
        ["Age"],
    )


def test_what_only_the_strategy_looks_at_is_not_called_unused() -> None:
    champion({"terms": 1.0})
    assert len(disclose("shop").unused) == 2
    champion({"age": 0.001, "terms": 0.999}, task="strategy")
    found = disclose("shop")
    assert [str(text) for text in found.protected] == ["Age"]
    assert [str(text) for text in found.unused] == ["Gender"]


def test_what_made_the_live_scores_counts_although_another_reigns_by_now() -> None:
    served = champion({"age": 0.4, "terms": 0.6})
    made = publish.begin("shop", None, response=served, strategy=None, preference=None)
    publish.publish(made, None, defaults={})
    registry.promote(make_version(card={"topics": {"terms": 1.0}, "looks_at": ["terms"]}))
    found = disclose("shop")
    assert [str(text) for text in found.protected] == ["Age"]
    assert len(found.most) == 2


def test_a_card_that_does_not_tell_all_promises_nothing() -> None:
    champion(card={"importances": {"orders_7d": 0.9, "hour": 0.1}})
    found = disclose("shop")
    assert [str(text) for text in found.most] == ["How often you buy"]
    assert found.unused == []


def test_something_counts_most_however_even_the_weights_are() -> None:
    champion(dict.fromkeys(("terms", "offer", "age", "city", "fit", "category", "visit", "moment", "income"), 1 / 9))
    found = disclose("shop")
    assert len(found.most) == 9
    assert found.some == found.little == []


def test_before_the_first_training_it_says_so(client: Client) -> None:
    html = client.get(reverse("personalization:how-chosen")).content.decode()
    assert "No program has learnt anything yet" in html
    assert "What counts" not in html


def test_the_page_tells_no_figures_and_nobodys_name(client: Client) -> None:
    version = champion()
    response = client.get(reverse("personalization:how-chosen"))
    told = words(response.content.decode())
    assert response.status_code == 200
    assert "How often you buy" in told
    assert not re.search(r"\d", told)
    assert version.estimator not in told
    assert client.post(reverse("personalization:how-chosen")).status_code == 405


def test_it_can_be_switched_off_there(client: Client, settings: Any) -> None:
    url = reverse("personalization:how-chosen")
    html = client.get(url).content.decode()
    assert 'name="answer" value="none"' in html
    assert client.post(reverse("personalization:consent"), {"answer": "none", "next": url})["Location"] == url
    settings.PERSONALIZATION = {**settings.PERSONALIZATION, "CONSENT": "tests.personalization.host.Consent"}
    html = client.get(url).content.decode()  # a consent manager asks: our form would be overruled
    assert 'value="none"' not in html
    assert "privacy settings" in html


def test_the_shops_own_page_links_to_it_and_shows_it(client: Client) -> None:
    champion()
    url = reverse("shop:how-chosen")
    assert f'href="{url}"' in client.get(reverse("shop:privacy")).content.decode()
    assert "How often you buy" in client.get(url).content.decode()


def test_a_withdrawal_is_confirmed_on_the_page() -> None:
    client, page = Client(), reverse("personalization:how-chosen")
    answered = client.post(
        reverse("personalization:consent"), {"answer": "none", "confirm": "1", "next": page}, follow=True
    )
    assert answered.redirect_chain == [(page, 302)]
    assert "there was no consent to withdraw" in words(answered.content.decode())
    assert "there was no consent to withdraw" not in words(client.get(page).content.decode())
