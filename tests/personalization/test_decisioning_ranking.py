"""Ranking by predicted value, what replaces a prediction, the session's pull, and which products are shown."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from personalization import api
from personalization.decisioning import momentary, scores, session
from personalization.decisioning.ranking import Ranked, rank
from personalization.decisioning.scores import Scores
from personalization.models import CatalogItem, Decision, ItemNeighbours, Offer, ScoreSet, Shopper
from personalization.pure import quick
from personalization.pure.quick import NAMES, Known, Recent
from personalization.types import HEADS
from tests.personalization import host
from tests.personalization.builders import (
    DAY,
    make_alias,
    make_event,
    make_offer,
    make_request,
    make_scores,
    make_shopper,
    running,
    score,
)
from tests.personalization.conftest import Configure

pytestmark = pytest.mark.django_db
SLOT = "home_hero"
MINUTE = timedelta(minutes=1)


def judged(offer: Offer, predictions: Scores, interest: dict[str, float] | None = None) -> Ranked:
    (found,) = rank([offer], predictions, interest or {})
    return found


# --- Value ------------------------------------------------------------------------------------------------------------


def test_value_is_gain_minus_the_expected_benefit() -> None:
    offer = make_offer(percent=20)
    predictions = Scores("", offers={str(offer.pk): [0.9, 0.5, 0.1, 0.4]}, values={"basket_minor": 10_000})
    found = judged(offer, predictions)
    assert found.value_minor == pytest.approx(0.4 * 10_000 * 0.3 - 0.1 * 2000)
    assert found.heads == (0.9, 0.5, 0.1, 0.4)
    assert found.reasons == ("predicted_for_shopper",)


def test_the_margin_and_the_threshold_enter(configure: Configure) -> None:
    configure(MARGIN=0.5)
    offer = make_offer(kind="spend_threshold", percent=10, threshold_minor=20_000)
    predictions = Scores("", offers={str(offer.pk): [1, 1, 0.5, 0.5]}, values={"basket_minor": 10_000})
    assert judged(offer, predictions).value_minor == pytest.approx(0.5 * 10_000 * 0.5 - 0.5 * 2000)


@pytest.mark.usefixtures("plain")
def test_offers_are_shown_by_falling_value(shopper: Shopper) -> None:
    low, high, middle = make_offer(running(priority=9)), make_offer(), make_offer()
    live = make_scores()
    heads = {low.pk: [0.5, 0.5, 0.05, 0.1], high.pk: [0.5, 0.5, 0.05, 0.9], middle.pk: [0.5, 0.5, 0.05, 0.5]}
    score(live, shopper, heads)
    result = api.decide(SLOT, shopper=shopper, limit=3)
    assert [offer.offer_id for offer in result.offers] == [high.pk, middle.pk, low.pk]
    values = [offer.value_minor or 0.0 for offer in result.offers]
    assert values == sorted(values, reverse=True)
    assert (result.fallback, result.model_version_id) == ("", live.response_version_id)
    row = Decision.objects.get()
    assert row.eligible[0] == {
        "offer": high.pk,
        "value_minor": 2650.0,
        "heads": heads[high.pk],
        "reasons": ["predicted_for_shopper"],
    }
    assert row.features["score_set"] == live.pk


def test_ties_go_by_priority_then_by_age() -> None:
    older, newer, urgent = make_offer(), make_offer(), make_offer(running(priority=3))
    same = {str(offer.pk): [0.5, 0.5, 0.0, 0.5] for offer in (older, newer, urgent)}
    for predictions in (Scores("no_scores"), Scores("", offers=same, values={"basket_minor": 100})):
        ranked = rank([newer, urgent, older], predictions, {})
        assert [item.offer.pk for item in ranked] == [urgent.pk, older.pk, newer.pk]


# --- What replaces a prediction ---------------------------------------------------------------------------------------

KIND = [0.4, 0.2, 0.1, 0.3]


@pytest.mark.parametrize(
    ("predictions", "heads", "reason"),
    [
        (Scores("x"), (), "by_priority"),
        (Scores("x", defaults={"kinds": {"coupon": KIND}}), tuple(KIND), "average_of_kind"),
        (
            Scores("x", defaults={"kinds": {"coupon": KIND}, "offers": {"OFFER": [1, 1, 0, 1]}}),
            (1, 1, 0, 1),
            "average_of_offer",
        ),
        (
            Scores("", kinds={"coupon": 0.6}, defaults={"kinds": {"coupon": KIND}, "strategy": {"coupon": 0.3}}),
            (0.8, 0.4, 0.2, 0.6),
            "predicted_by_kind",
        ),
        (
            Scores("", kinds={"coupon": 0.9}, defaults={"kinds": {"coupon": KIND}, "strategy": {"coupon": 0.1}}),
            (1.0, 1.0, 0.9, 1.0),
            "predicted_by_kind",
        ),
        (Scores("", kinds={"coupon": 0.9}, defaults={"kinds": {"flash_sale": KIND}}), (), "by_priority"),
        (
            Scores("", kinds={"coupon": 0.9}, defaults={"kinds": {"coupon": KIND}, "strategy": {"coupon": 0}}),
            tuple(KIND),
            "average_of_kind",
        ),
    ],
)
def test_an_offer_nobody_has_scored_borrows(predictions: Scores, heads: tuple[float, ...], reason: str) -> None:
    offer = make_offer()
    averages = {str(offer.pk): value for value in predictions.defaults.get("offers", {}).values()}
    found = judged(offer, replace(predictions, defaults={**predictions.defaults, "offers": averages}))
    assert found.heads == pytest.approx(heads)
    assert found.reasons[0] == reason
    assert (found.value_minor is None) is (not heads)


FOLLOWS: dict[str, Any] = {
    "features": list(NAMES),
    "heads": list(HEADS),
    "offers": {},
    "kinds": {"coupon": KIND},
    "bias": [0.0] * 4,
    "scale": [0.1] * 4,
    "weights": [[10 if name == "same_category" else 0 for name in NAMES]] * 4,
}
JUST_NOW = Known([Recent("product_viewed", "tea", 0.0)])


def test_whom_no_batch_has_scored_is_predicted_from_what_they_did_last() -> None:
    tea, coffee = make_offer(category="tea"), make_offer(category="coffee")
    defaults = {"kinds": {"coupon": KIND}, "basket_minor": 10_000}
    predictions = Scores("not_scored", defaults=defaults, student=quick.read(FOLLOWS))
    first, second = rank([coffee, tea], predictions, {}, (), JUST_NOW)
    assert (first.offer, second.offer) == (tea, coffee)
    assert first.heads == pytest.approx([1 / (1 + (1 - p) / p * math.exp(-1)) for p in KIND])
    assert second.heads == pytest.approx(KIND)
    assert first.reasons[0] == "predicted_from_recent"


def test_a_kind_that_the_quick_model_has_not_seen_keeps_its_average() -> None:
    offer = make_offer(kind="flash_sale", category="tea")
    predictions = Scores("not_scored", defaults={"kinds": {"flash_sale": KIND}}, student=quick.read(FOLLOWS))
    (found,) = rank([offer], predictions, {}, (), JUST_NOW)
    assert found.reasons[0] == "average_of_kind"


def test_the_quick_model_is_asked_of_shoppers_without_scores_alone(shopper: Shopper, configure: Configure) -> None:
    live = make_scores(defaults={"quick": FOLLOWS})
    score(live, shopper, {})
    assert scores.for_shopper(shopper, "shop").student is None
    assert scores.for_shopper(None, "shop").student is None
    assert scores.for_shopper(make_shopper(), "shop").student == quick.read(FOLLOWS)
    ScoreSet.objects.filter(pk=live.pk).update(published_at=timezone.now() - 400 * DAY)
    scores.forget()
    stale = scores.for_shopper(shopper, "shop")
    assert (stale.fallback, stale.student) == ("stale_scores", quick.read(FOLLOWS))


@pytest.mark.usefixtures("plain")
@pytest.mark.parametrize("stored", [FOLLOWS | {"features": ["present"]}, "nonsense", [1], {"kinds": {}}])
def test_a_quick_model_of_another_release_is_left_alone(
    shopper: Shopper, stored: Any, caplog: pytest.LogCaptureFixture
) -> None:
    offer = make_offer(category="tea")
    make_scores(defaults={"kinds": {"coupon": KIND}, "basket_minor": 10_000, "quick": stored})
    for _ in range(2):
        result = api.decide(SLOT, shopper=shopper)
        assert [found.offer_id for found in result.offers] == [offer.pk]
        assert result.offers[0].reasons[0] == "average_of_kind"
    assert caplog.text.count("of another release") == 1


@pytest.mark.usefixtures("plain")
def test_a_newcomer_s_offers_follow_the_quick_model_at_two_queries_more(shopper: Shopper) -> None:
    tea, coffee = make_offer(category="tea"), make_offer(category="coffee")
    live = make_scores(defaults={"kinds": {"coupon": KIND}, "basket_minor": 10_000})
    CatalogItem.objects.create(item_id="p-1", label="shop.product", title="Tea", category="tea", price_minor=1)
    make_event(shopper, item_id="p-1")  # its category is told by the catalogue
    assert api.decide(SLOT, shopper=shopper).fallback == "not_scored"
    with CaptureQueriesContext(connection) as without:
        api.decide(SLOT, shopper=shopper)
    ScoreSet.objects.filter(pk=live.pk).update(defaults={**live.defaults, "quick": FOLLOWS})
    scores.forget()
    api.decide(SLOT, shopper=shopper)
    with CaptureQueriesContext(connection) as with_it:
        result = api.decide(SLOT, shopper=shopper, limit=2)
    assert [offer.offer_id for offer in result.offers] == [tea.pk, coffee.pk]
    assert result.offers[0].reasons[0] == "predicted_from_recent"
    assert len(with_it) == len(without) + 2


@pytest.mark.parametrize("income", [10**400, float("inf"), True, "30000", None, [1]])
def test_an_odd_income_is_unknown(shopper: Shopper, income: Any) -> None:
    shopper.attributes = {"income": income}
    assert momentary.read(shopper, timezone.now()).person.income is None
    shopper.attributes = {"income": 30_000}
    assert momentary.read(shopper, timezone.now()).person.income == 30_000.0


def test_what_is_protected_is_hidden_from_the_quick_model_at_once(shopper: Shopper, configure: Configure) -> None:
    shopper.attributes = {"income": 30_000}
    configure(PROTECTED_ATTRIBUTES=["gender", "age", "income"])
    assert momentary.read(shopper, timezone.now()).person.income is None


def test_interest_raises_a_value_and_says_so() -> None:
    offer = make_offer(category="tea")
    base = Scores("", offers={str(offer.pk): [1, 1, 0.1, 0.5]}, values={"basket_minor": 1000, "interest": {"tea": 0.4}})
    cool, warm = judged(offer, base), judged(offer, base, {"tea": 1.0})
    assert cool.value_minor is not None
    assert warm.value_minor == pytest.approx(cool.value_minor * 1.5)
    assert cool.reasons == ("predicted_for_shopper", "known_interest")
    assert warm.reasons == ("predicted_for_shopper", "recent_interest", "known_interest")
    assert judged(offer, base, {"coffee": 1.0}) == cool


# --- Fallbacks --------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("plain")
def test_stale_scores_are_not_served(shopper: Shopper) -> None:
    good, plain = make_offer(), make_offer(running(priority=5))
    live = make_scores(published_at=timezone.now() - timedelta(hours=73))
    score(live, shopper, {good.pk: [1, 1, 0, 1], plain.pk: [1, 1, 0, 0.1]})
    result = api.decide(SLOT, shopper=shopper, limit=2)
    assert result.fallback == "stale_scores"
    assert [offer.offer_id for offer in result.offers] == [plain.pk, good.pk]
    assert {offer.value_minor for offer in result.offers} == {None}
    ScoreSet.objects.update(published_at=timezone.now() - timedelta(hours=71))
    scores.forget()
    assert api.decide(SLOT, shopper=shopper).fallback == ""


@pytest.mark.usefixtures("plain")
@pytest.mark.parametrize(
    ("live", "known", "scored", "fallback"),
    [
        (False, True, False, "no_scores"),
        (True, False, False, "unknown_shopper"),
        (True, True, False, "not_scored"),
        (True, True, True, ""),
    ],
)
def test_a_fallback_says_why(offer: Offer, live: bool, known: bool, scored: bool, fallback: str) -> None:
    shopper = make_shopper() if known else None
    score_set = make_scores(defaults={"kinds": {"coupon": KIND}, "basket_minor": 1000}) if live else None
    if score_set is not None and shopper is not None and scored:
        score(score_set, shopper, {offer.pk: KIND})
    result = api.decide(SLOT, shopper=shopper)
    assert (result.fallback, len(result.offers)) == (fallback, 1)
    assert (result.offers[0].value_minor is None) is (not live)
    assert Decision.objects.get().fallback == fallback


@pytest.mark.parametrize("state", ["building", "retired"])
def test_only_the_live_set_is_read(shopper: Shopper, offer: Offer, state: str, plain: None) -> None:
    live = make_scores()
    score(live, shopper, {offer.pk: KIND})
    ScoreSet.objects.update(state=state)
    assert api.decide(SLOT, shopper=shopper).fallback == "no_scores"


@pytest.mark.usefixtures("plain")
@pytest.mark.parametrize("rows", [{"offers": {}, "values": {}}, {"values": {"basket_minor": None, "interest": {}}}])
def test_thin_scores_are_no_trouble(shopper: Shopper, offer: Offer, rows: dict[str, Any]) -> None:
    row = score(make_scores(), shopper, {offer.pk: KIND}, values=rows["values"])
    if "offers" in rows:
        row.offers = rows["offers"]
        row.save()
    assert api.decide(SLOT, shopper=shopper).decision_id


# --- The session ------------------------------------------------------------------------------------------------------


def test_the_last_clicks_weigh_by_their_age() -> None:
    now = timezone.now()
    rows = [
        ("p-1", "tea", now),
        ("p-2", "tea", now - 30 * MINUTE),
        ("p-1", "tea", now - 60 * MINUTE),
        ("", "", now + MINUTE),
    ]
    found = session.summarise(rows, now)
    assert found.items == pytest.approx({"p-1": 1.0, "p-2": 0.5})
    assert found.interest == pytest.approx({"tea": 1.75 / 3})
    many = [("p", "tea", now)] * 20
    assert session.summarise(many, now).interest == {"tea": 1.0}


@pytest.mark.usefixtures("plain")
def test_offers_follow_the_last_click(shopper: Shopper) -> None:
    tea, coffee = make_offer(category="tea"), make_offer(category="coffee")
    heads = {tea.pk: [0.5, 0.5, 0.05, 0.5], coffee.pk: [0.5, 0.5, 0.05, 0.51]}
    score(make_scores(), shopper, heads)
    first = lambda: api.decide(SLOT, shopper=shopper).offers[0].offer_id  # noqa: E731
    assert first() == coffee.pk
    for _ in range(3):
        make_event(shopper, category="tea", item_id="p-1")
    assert first() == tea.pk


def test_bots_and_the_future_are_left_out(shopper: Shopper) -> None:
    now = timezone.now()
    make_event(shopper, item_id="bot", is_bot=True)
    make_event(shopper, item_id="future", occurred_at=now + DAY)
    make_event(make_shopper(), item_id="others")
    make_event(shopper, item_id="mine", occurred_at=now - MINUTE)
    assert set(session.read(shopper, now).items) == {"mine"}
    assert session.read(None, now) == session.Session()


# --- Products ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def shelf(hosted: None) -> list[str]:
    """Eight products: p-6 is hidden, p-7 sold out; of p-5 the stock is not kept."""
    host.PRODUCTS += [host.product(f"p-{number}", stock=3) for number in range(5)]
    host.PRODUCTS += [
        host.product("p-5", stock=None),
        host.product("p-6", visible=False),
        host.product("p-7", stock=0),
    ]
    return [product.item_id for product in host.PRODUCTS]


def test_products_that_cannot_be_bought_are_never_recommended(shopper: Shopper, shelf: list[str]) -> None:
    items = ["gone", "p-7", "p-6", "p-3", "p-5", "p-0"]
    score(make_scores(), shopper, {}, items=items)
    assert api.recommend(shopper=shopper) == ["p-3", "p-5", "p-0"]
    assert api.recommend(shopper=shopper, limit=2) == ["p-3", "p-5"]


def test_sold_out_bestsellers_leave_room_for_what_there_is(shopper: Shopper, shelf: list[str]) -> None:
    host.PRODUCTS += [host.product(f"sold-{number}", stock=0) for number in range(60)]
    score(make_scores(), shopper, {}, items=[f"sold-{number}" for number in range(60)] + ["p-1"])
    assert api.recommend(shopper=shopper, limit=8) == ["p-1"]


def test_the_page_and_the_last_clicks_pull(shopper: Shopper, shelf: list[str]) -> None:
    live = make_scores()
    score(live, shopper, {}, items=["p-0", "p-1", "p-2"])
    ItemNeighbours.objects.create(score_set=live, item_id="p-3", neighbours=[["p-4", 0.9], ["p-3", 0.5]])
    assert api.recommend(shopper=shopper, limit=1) == ["p-0"]
    assert api.recommend(shopper=shopper, item_id="p-3", limit=2) == ["p-4", "p-0"]
    assert "p-3" not in api.recommend(shopper=shopper, item_id="p-3", limit=20)
    make_event(shopper, item_id="p-3")
    assert api.recommend(shopper=shopper, limit=1) == ["p-4"]


def test_nobody_known_gets_the_defaults_and_else_what_is_new(shelf: list[str]) -> None:
    assert api.recommend(request=make_request()) == []
    api.sync_catalog()
    assert api.recommend(request=make_request(), limit=3) == ["p-5", "p-4", "p-3"]
    make_scores(defaults={"items": ["p-2", "p-7", "p-1"]})
    scores.forget()
    assert api.recommend(request=make_request(), limit=3) == ["p-2", "p-1"]


def test_without_consent_products_are_not_personal(shelf: list[str]) -> None:
    shopper = make_shopper(consent_personalisation=False)
    live = make_scores(defaults={"items": ["p-2"]})
    score(live, shopper, {}, items=["p-0"])
    assert api.recommend(shopper=shopper) == ["p-2"]
    assert api.recommend(request=make_request(visitor=make_alias(shopper))) == ["p-2"]


@pytest.mark.parametrize("item_id", ["", "nothing", "x" * 5000, "\x00", "' OR 1=1"])
def test_an_unknown_product_simply_has_no_neighbours(shopper: Shopper, shelf: list[str], item_id: str) -> None:
    score(make_scores(), shopper, {}, items=["p-0"])
    assert api.recommend(shopper=shopper, item_id=item_id) == ["p-0"]


def test_without_a_catalogue_the_ranking_stands(shopper: Shopper, configure: Configure) -> None:
    configure(CATALOG="")
    score(make_scores(), shopper, {}, items=["a", "b"])
    assert api.recommend(shopper=shopper) == ["a", "b"]
    assert not CatalogItem.objects.exists()
