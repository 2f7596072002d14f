"""Less like this: what a shopper wants less of is left out of the next decision; the latest wish counts."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import nullcontext
from datetime import timedelta
from typing import Any
from urllib.parse import urldefrag

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from personalization import api
from personalization.decisioning import session, wishes
from personalization.models import Decision, Event, Offer, Shopper
from personalization.tracking import retention
from personalization.tracking.catalog import upsert_items
from personalization.tracking.event_types import LESS, MORE, NEITHER
from personalization.types import ProductData
from tests.personalization.builders import Browser, event, make_event, make_offer, make_scores, make_shopper, score
from tests.personalization.conftest import Configure

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("plain")]
Wish = Callable[..., None]
UNDO = "personalization:take-back"


@pytest.fixture
def wish(shopper: Shopper) -> Wish:
    """Say less or more of something, each wish a minute after the one before."""
    moment = timezone.now() - timedelta(hours=1)

    def wish(what: str, **about: Any) -> None:
        nonlocal moment
        moment += timedelta(minutes=1)
        make_event(shopper, "feedback_given", occurred_at=moment, properties={"wish": what}, **about)

    return wish


def offered(shopper: Shopper) -> set[int]:
    return {offer.offer_id for offer in api.decide("home_hero", shopper=shopper, limit=20).offers}


def excluded() -> dict[str, str]:
    return dict(Decision.objects.latest("at").excluded)


def test_offers_products_and_categories(shopper: Shopper, wish: Wish) -> None:
    plain, tea = make_offer(), make_offer(category="tea")
    one, two = make_offer(item_ids=["p-1"]), make_offer(item_ids=["p-1", "p-2"])
    assert offered(shopper) == {plain.pk, tea.pk, one.pk, two.pk}
    wish(LESS, offer=plain)
    wish(LESS, item_id="p-1", category="shoes")
    wish(LESS, category="tea")
    assert offered(shopper) == {two.pk}
    assert set(excluded().values()) == {"dismissed"}
    assert offered(make_shopper()) == {plain.pk, tea.pk, one.pk, two.pk}


def test_the_latest_wish_counts(shopper: Shopper, wish: Wish, offer: Offer) -> None:
    wish(LESS, offer=offer)
    wish(MORE, offer=offer)
    assert offered(shopper) == {offer.pk}
    make_event(shopper, "offer_dismissed", offer=offer)
    assert offered(shopper) == set()


def test_neither_takes_the_wish_before_back(shopper: Shopper, wish: Wish, offer: Offer) -> None:
    wish(LESS, offer=offer)
    wish(MORE, item_id="p-1", category="tea")
    wish(NEITHER, offer=offer)
    wish(NEITHER, item_id="p-1", category="tea")
    assert offered(shopper) == {offer.pk}
    assert session.read(shopper, timezone.now()) == session.Session()


def test_a_wish_of_tomorrow_does_not_count_and_stands_in_no_wishs_way(
    shopper: Shopper, wish: Wish, offer: Offer
) -> None:
    """Such rows are not stored any more; where there are some, they outranked every wish before their day."""
    make_event(shopper, "offer_dismissed", offer=offer, occurred_at=timezone.now() + timedelta(days=1))
    assert offered(shopper) == {offer.pk}
    assert wishes._latest(shopper, offer.pk) == (0, "")
    wish(LESS, offer=offer)
    assert offered(shopper) == set()
    assert wishes._latest(shopper, offer.pk)[1] == LESS
    wish(NEITHER, offer=offer)
    assert offered(shopper) == {offer.pk}


def test_more_of_a_category_is_interest_in_it_and_less_is_none(shopper: Shopper, wish: Wish) -> None:
    wish(MORE, category="tea")
    wish(LESS, category="shoes")
    wish(LESS, item_id="p-1", category="hats")
    found = session.read(shopper, timezone.now())
    assert found.interest == {"tea": session.WISHED}
    assert found.items == {}
    assert (found.unwanted_items, found.unwanted_categories) == ({"p-1"}, {"shoes"})


def test_a_glance_is_no_interest(shopper: Shopper) -> None:
    for number in range(30):
        make_event(shopper, "product_seen", item_id=f"p-{number}", category="tea")
    make_event(
        shopper, "product_viewed", item_id="p-9", category="shoes", occurred_at=timezone.now() - timedelta(hours=2)
    )
    assert set(session.read(shopper, timezone.now()).items) == {"p-9"}


def test_recommendations_leave_them_out(shopper: Shopper, wish: Wish, configure: Configure) -> None:
    configure(CATALOG="")
    upsert_items(
        [ProductData(f"p-{n}", "A thing", 100, "EUR", category="tea" if n < 3 else "shoes") for n in range(6)],
        label="shop.product",
    )
    score(make_scores(defaults={"items": [f"p-{n}" for n in range(6)]}), shopper, {})
    assert set(api.recommend(shopper=shopper)) == {f"p-{n}" for n in range(6)}
    wish(LESS, item_id="p-5")
    wish(LESS, category="tea")
    assert set(api.recommend(shopper=shopper)) == {"p-3", "p-4"}
    wish(MORE, category="tea")
    assert "p-0" in api.recommend(shopper=shopper)


def test_a_wish_over_http_counts_at_the_next_decision(visitor: Browser, offer: Offer) -> None:
    assert offered(visitor.shopper()) == {offer.pk}
    told = visitor.events(event("feedback_given", offer_id=offer.pk, properties={"wish": LESS}))
    assert told.json()["accepted"] == 1
    assert offered(visitor.shopper()) == set()


def test_wishes_cost_no_further_query(shopper: Shopper, wish: Wish, offer: Offer) -> None:
    offered(shopper)
    with CaptureQueriesContext(connection) as before:
        offered(shopper)
    wish(LESS, offer=offer)
    wish(LESS, category="tea")
    with CaptureQueriesContext(connection) as after:
        offered(shopper)
    assert len(after) <= len(before)


# --- The button on the card -------------------------------------------------------------------------------------------


def press(browser: Browser, offer: Any, name: str = "dismiss", **more: Any) -> Any:
    data = {"offer": offer, "next": reverse("shop:privacy"), "csrfmiddlewaretoken": browser.csrf(), **more}
    return browser.post(reverse(f"personalization:{name}"), data, follow=True)


def told(answer: Any) -> list[str]:
    return [str(message) for message in answer.context["messages"]]


def noted(offer: Offer) -> str:
    return f"Noted: “{offer.name}” stays away from now on."


def agreed() -> Browser:
    browser = Browser()
    browser.answer()
    return browser


@pytest.mark.django_db(transaction=True)
def test_the_cards_button_takes_the_offer_away_without_a_script(offer: Offer) -> None:
    browser = agreed()
    card = browser.get(reverse("shop:home")).content.decode()
    assert f'action="{reverse("personalization:dismiss")}"' in card
    decision = Decision.objects.latest("at").pk
    assert offered(browser.shopper()) == {offer.pk}
    answer = press(browser, offer.pk, decision=decision)
    assert answer.redirect_chain == [(f"{reverse('shop:privacy')}#pz-undo-{offer.pk}", 302)]
    assert told(answer) == [noted(offer)]
    stored = Event.objects.get(type="offer_dismissed")
    assert (stored.offer_id, stored.properties) == (offer.pk, {"decision_id": str(decision)})
    assert offered(browser.shopper()) == set()


@pytest.mark.django_db(transaction=True)
def test_it_is_taken_back_where_the_card_was_and_noted_again_if_pressed_again(offer: Offer) -> None:
    browser = agreed()
    home, undo = reverse("shop:home"), reverse(UNDO)
    browser.get(home)
    press(browser, offer.pk)
    assert f'action="{undo}"' in browser.get(home).content.decode()
    answer = press(browser, offer.pk, "take-back")
    assert told(answer) == [f"Taken back: “{offer.name}” may be shown again."]
    (_privacy, button), page = urldefrag(answer.redirect_chain[0][0]), browser.get(home).content.decode()
    assert undo not in page
    assert page.count(f'id="{button}"') == 1  # of the card that is back: it gets the focus
    assert offered(browser.shopper()) == {offer.pk}
    press(browser, offer.pk)
    assert offered(browser.shopper()) == set()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("headline", ["A tenth off", ""])
def test_card_message_and_way_back_call_the_offer_the_same(headline: str) -> None:
    """An offer without a headline is shown under its name, there too."""
    browser, offer = agreed(), make_offer(headline=headline, name="Named")
    home, called = reverse("shop:home"), headline or "Named"
    assert f">{called}</h2>" in browser.get(home).content.decode()
    assert told(press(browser, offer.pk)) == [f"Noted: “{called}” stays away from now on."]
    assert f"“{called}” stays away from now on." in browser.get(home).content.decode()


@pytest.mark.django_db(transaction=True)
def test_the_way_back_is_there_for_a_while_however_often_the_page_is_loaded(
    offer: Offer, monkeypatch: pytest.MonkeyPatch
) -> None:
    browser, home, undo = agreed(), reverse("shop:home"), reverse(UNDO)
    browser.get(home)
    press(browser, offer.pk)
    browser.get(home, headers={"sec-purpose": "prefetch"})
    pages = [browser.get(home).content.decode() for _time in range(3)]
    assert all(f'action="{undo}"' in page for page in pages)
    assert "autofocus" not in pages[0]  # it would draw everybody who loads the page again back to it
    later = timezone.now() + wishes.UNDO_FOR
    monkeypatch.setattr(wishes.timezone, "now", lambda: later)
    assert undo not in browser.get(home).content.decode()


@pytest.mark.django_db(transaction=True)
def test_each_of_several_can_be_taken_back() -> None:
    browser, home = agreed(), reverse("shop:home")
    offers = {make_offer(name=name).pk for name in ("first", "second")}
    pressed: list[int] = []
    for _time in offers:
        shown = re.search(r'data-pz-offer="([0-9]+)"', browser.get(home).content.decode())
        assert shown is not None
        pressed.append(int(shown[1]))
        press(browser, pressed[-1])
    assert set(pressed) == offers
    for left in (pressed, pressed[1:], []):
        found = re.findall(r'id="pz-undo-([0-9]+)"', browser.get(home).content.decode())
        assert [int(number) for number in found] == left
        press(browser, (left or pressed)[0], "take-back")


@pytest.mark.django_db(transaction=True)
def test_a_session_of_an_earlier_release_is_read_as_an_empty_one(offer: Offer) -> None:
    browser, home = agreed(), reverse("shop:home")
    browser.get(home)
    session = browser.session
    session[wishes.SESSION_DISMISSED] = {"slot": "home_hero", "offer_id": offer.pk}
    session.save()
    assert reverse(UNDO) not in browser.get(home).content.decode()
    press(browser, offer.pk)
    assert reverse(UNDO) in browser.get(home).content.decode()


@pytest.mark.django_db(transaction=True)
def test_the_way_back_stands_in_the_slot_of_the_card_only(offer: Offer) -> None:
    browser = agreed()
    browser.get(reverse("shop:home"))
    press(browser, offer.pk)
    undo = reverse(UNDO)
    assert undo not in browser.get(reverse("shop:basket")).content.decode()
    assert undo in browser.get(reverse("shop:home")).content.decode()


@pytest.mark.django_db(transaction=True)
def test_pressing_again_stores_nothing(offer: Offer) -> None:
    browser = agreed()
    browser.get(reverse("shop:home"))
    for name, kind in (("dismiss", "offer_dismissed"), ("take-back", "feedback_given")):
        first, second = press(browser, offer.pk, name), press(browser, offer.pk, name)
        assert told(first) == told(second)
        assert Event.objects.filter(type=kind).count() == 1


@pytest.mark.django_db(transaction=True)
def test_presses_at_one_moment_carry_one_key(offer: Offer, monkeypatch: pytest.MonkeyPatch) -> None:
    browser = agreed()
    browser.get(reverse("shop:home"))
    stale = wishes._latest(browser.shopper(), offer.pk)
    monkeypatch.setattr(wishes, "_latest", lambda *_: stale)  # both read before either wrote
    assert told(press(browser, offer.pk)) == told(press(browser, offer.pk)) == [noted(offer)]
    assert Event.objects.filter(type="offer_dismissed").count() == 1


@pytest.mark.django_db(transaction=True)
def test_what_retention_has_deleted_can_be_dismissed_again(offer: Offer, configure: Configure) -> None:
    configure(RETENTION_DAYS={"offer_dismissed": 30})
    browser = agreed()
    browser.get(reverse("shop:home"))
    press(browser, offer.pk)
    retention.delete_old(timezone.now() + timedelta(days=31))
    assert offered(browser.shopper()) == {offer.pk}
    assert told(press(browser, offer.pk)) == [noted(offer)]
    assert Event.objects.filter(type="offer_dismissed").count() == 1
    assert offered(browser.shopper()) == set()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("in_transaction", [False, True])
def test_what_is_not_stored_is_not_said_to_be(offer: Offer, configure: Configure, in_transaction: bool) -> None:
    """A page that was open all the while, and no showing since: its press has the key of the deleted wish."""
    configure(RETENTION_DAYS={"offer_dismissed": 30})
    browser = agreed()
    browser.get(reverse("shop:home"))
    with transaction.atomic() if in_transaction else nullcontext():
        assert told(press(browser, offer.pk)) == [noted(offer)]  # the negative control
    retention.delete_old(timezone.now() + timedelta(days=31))
    with transaction.atomic() if in_transaction else nullcontext():
        assert told(press(browser, offer.pk)) == ["This could not be noted. Please try again."]
    assert not Event.objects.filter(type="offer_dismissed").exists()


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("name", ["dismiss", "take-back"])
@pytest.mark.parametrize(
    ("named", "status"),
    [("", 400), ("0", 400), ("x", 400), ("-1", 400), ("9" * 30, 400), ("1\x00", 400), ("999999", 404)],
)
def test_what_no_card_could_have_sent_is_answered_plainly(name: str, named: str, status: int) -> None:
    answer = press(agreed(), named, name, decision="\x00" * 900)
    assert answer.status_code == status
    assert answer["Content-Type"].startswith("text/plain")
    assert answer.content.decode().endswith(".")
    assert not Event.objects.filter(type__in=("offer_dismissed", "feedback_given")).exists()


@pytest.mark.django_db(transaction=True)
def test_an_offer_that_others_were_shown_cannot_be_dismissed(offer: Offer, shopper: Shopper) -> None:
    assert offered(shopper) == {offer.pk}
    browser = agreed()
    assert press(browser, offer.pk).status_code == 404
    browser.get(reverse("shop:home"))  # the negative control: now it was
    assert press(browser, offer.pk).status_code == 200


@pytest.mark.django_db(transaction=True)
def test_what_is_no_person_gets_no_button(offer: Offer) -> None:
    page = agreed().get(reverse("shop:home"), headers={"user-agent": "HeadlessChrome/130"}).content.decode()
    assert f'data-pz-offer="{offer.pk}"' in page
    assert reverse("personalization:dismiss") not in page


@pytest.mark.django_db(transaction=True)
def test_without_consent_there_is_no_button_and_nothing_is_kept(offer: Offer) -> None:
    browser = Browser()
    browser.answer("none")
    assert reverse("personalization:dismiss") not in browser.get(reverse("shop:home")).content.decode()
    assert "could not be noted" in told(press(browser, offer.pk))[0]
    assert not Event.objects.exists()
