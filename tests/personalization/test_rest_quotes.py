"""Quotes and baskets over HTTP: the whole way, what each caller may do, and every wrong turn."""

from __future__ import annotations

from typing import Any

import pytest

from personalization.campaigns import coupons
from personalization.campaigns.ledger import verify_ledger
from personalization.models import (
    Campaign,
    Coupon,
    Offer,
    Redemption,
    Reservation,
    RiskRule,
    Shopper,
)
from tests.personalization import host
from tests.personalization.builders import Browser, make_account, make_offer, make_user
from tests.personalization.conftest import Configure
from tests.personalization.test_rest_api import BASKET, BODIES, LINE, NOBODY, problem

pytestmark = pytest.mark.django_db
SHOPPERS = ["api-quote", "api-quote-reserve", "api-basket-release", "api-card-hold", "api-card-release"]
SHOPS = ["api-basket-redeem", "api-card-spend", "api-card-refund"]
ORDER = {"order_label": "erp.order", "order_id": "7"}
TEA = {**BASKET, "lines": [LINE | {"item_id": "p-2", "category": ""}]}


@pytest.fixture(autouse=True)
def _own_prices(configure: Configure) -> None:
    configure(CATALOG="", REFUSAL_FLOOR_MS=0)


def automatic(**terms: Any) -> Offer:
    return make_offer(**{"application": "automatic", "headline": "Spring", **terms})


def public(code: str = "SPRING-TEA", **terms: Any) -> Coupon:
    return coupons.issue(make_offer(application="code", **terms), origin=Coupon.Origin.VANITY, code=code, max_uses=100)


def quoted(browser: Browser, **more: Any) -> dict[str, Any]:
    answer = browser.call("api-quote", {"basket": BASKET, **more})
    assert answer.status_code == 200, answer.content
    told: dict[str, Any] = answer.json()
    return told


def reserved(browser: Browser, token: str, key: str = "k", **more: Any) -> Any:
    return browser.call("api-quote-reserve", {"token": token, "basket": BASKET, "idempotency_key": key, **more})


def another() -> Browser:
    browser = Browser()
    browser.answer("all")
    return browser


def balanced() -> None:
    for campaign in Campaign.objects.all():
        assert verify_ledger(campaign) == []


# --- From the price to the order --------------------------------------------------------------------------------------


def test_a_baskets_way_over_http(visitor: Browser, staff: Browser) -> None:
    offer, coupon = automatic(), public(amount_minor=500)
    told = quoted(visitor, codes=["spring tea", "NNNN-NNNN-NNNN-NNNN"])
    assert {(one["offer_id"], one["coupon_id"]) for one in told["applied"]} == {
        (offer.pk, ""),
        (coupon.offer_id, str(coupon.pk)),
    }
    assert told["off_minor"] == sum(told["per_line_minor"]) == sum(one["off_minor"] for one in told["applied"])
    assert (told["total_minor"], told["exact"]) == (10_000 - told["off_minor"], True)
    refused = {"offer_id": None, "coupon_id": "", "name": "", "reason": "coupon_refused"}
    assert told["refused"] == [refused | {"message": "This code cannot be used."}]
    assert not Reservation.objects.exists()
    held = reserved(visitor, told["token"]).json()
    assert reserved(visitor, told["token"]).json() == held
    assert (held["off_minor"], len(held["holds"])) == (told["off_minor"], 2)
    spend = {"basket_key": held["basket_key"], "basket": BASKET, **ORDER}
    for _ in range(2):
        assert staff.call("api-basket-redeem", spend).json() == {"amount_minor": told["off_minor"]}
    assert Redemption.objects.count() == 2
    balanced()


def test_a_return_is_told_by_what_is_kept(visitor: Browser, staff: Browser) -> None:
    automatic()
    held = reserved(visitor, quoted(visitor)["token"]).json()
    staff.call("api-basket-redeem", {"basket_key": held["basket_key"], "basket": BASKET, **ORDER})
    back = {**ORDER, "operation_id": "r", "kept": {**BASKET, "lines": [LINE | {"quantity": 1}]}}
    assert staff.call("api-refund", back).json() == {"amount_minor": 500}
    assert staff.call("api-refund", back).json() == {"amount_minor": 500}
    problem(staff.call("api-refund", back | {"operation_id": "s", "amount_minor": 1}), 400, "invalid")
    balanced()


def test_an_offer_that_gives_way_says_why(visitor: Browser) -> None:
    automatic(exclusion_group="tea", headline="Small")
    big = automatic(exclusion_group="tea", percent=20, headline="Big")
    told = quoted(visitor)
    assert [one["offer_id"] for one in told["applied"]] == [big.pk]
    (refused,) = told["refused"]
    assert (refused["name"], refused["reason"]) == ("Small", "same_group")
    assert refused["message"]
    assert quoted(visitor, automatic=False)["applied"] == []


def test_a_basket_without_offers_costs_what_it_costs(browser: Browser) -> None:
    told = quoted(browser)
    assert (told["applied"], told["total_minor"]) == ([], 10_000)
    held = reserved(browser, told["token"]).json()
    assert (held["holds"], held["off_minor"]) == ([], 0)


def test_a_basket_is_released_and_its_coupons_are_free_again(visitor: Browser) -> None:
    public()
    told = quoted(visitor, codes=["SPRING-TEA"])
    held = reserved(visitor, told["token"]).json()
    release = {"basket_key": held["basket_key"]}
    assert visitor.call("api-basket-release", release).json() == {"released": True}
    assert visitor.call("api-basket-release", release).json() == {"released": False}
    problem(reserved(visitor, told["token"]), 409, "quote_changed")
    assert reserved(visitor, told["token"], "again").status_code == 200
    balanced()


# --- What is not believed ---------------------------------------------------------------------------------------------

INVENTED = {
    "currency": "EUR",
    "shipping_minor": 9_999,
    "lines": [{"item_id": "p-1", "quantity": 2, "unit_price_minor": 9_000_000, "host_discount_minor": 100}],
}


@pytest.mark.usefixtures("hosted")
def test_a_browser_invents_no_price_no_delivery_and_no_cost(visitor: Browser, staff: Browser) -> None:
    host.PRODUCTS.append(host.product("p-1", price_minor=2000, cost_minor=1900))
    automatic(percent=50)
    automatic(kind="free_shipping", percent=0)
    lines = [INVENTED["lines"][0] | {"unit_cost_minor": 0}]  # type: ignore[index]
    told = quoted(visitor, basket=INVENTED | {"lines": lines})
    assert (told["off_minor"], told["total_minor"]) == (200, 3800)
    # The shop's own systems are believed; costs that they leave out come from the catalogue all the same.
    ours = INVENTED | {"lines": [LINE | {"unit_price_minor": 1950, "host_discount_minor": 60}], "shipping_minor": 495}
    told = quoted(staff, basket=ours)
    assert (told["off_minor"], told["total_minor"]) == (40 + 495, 3800)


@pytest.mark.usefixtures("hosted")
def test_a_basket_in_another_currency_than_the_shops_is_refused(visitor: Browser) -> None:
    host.PRODUCTS.append(host.product("p-1", price_minor=2000))
    problem(visitor.call("api-quote", {"basket": {**BASKET, "currency": "JPY"}}), 400, "invalid")


@pytest.mark.usefixtures("hosted")
def test_stock_is_counted_over_all_lines(visitor: Browser) -> None:
    host.PRODUCTS.append(host.product("p-1", price_minor=2000, stock=3))
    problem(visitor.call("api-quote", {"basket": {**BASKET, "lines": [LINE, LINE]}}), 400, "invalid")


def test_the_order_is_the_basket_that_was_held(visitor: Browser, staff: Browser) -> None:
    automatic()
    held = reserved(visitor, quoted(visitor)["token"]).json()
    spend = {"basket_key": held["basket_key"], "basket": {**BASKET, "lines": [LINE | {"quantity": 1}]}, **ORDER}
    problem(staff.call("api-basket-redeem", spend), 400, "basket_not_eligible")
    assert not Redemption.objects.exists()


# --- Whose it is ------------------------------------------------------------------------------------------------------


def test_a_quote_belongs_to_its_shopper_and_its_basket(visitor: Browser) -> None:
    automatic()
    token = quoted(visitor)["token"]
    stranger, guest = another(), Browser()
    before = Shopper.objects.count()
    problem(reserved(stranger, token), 409, "quote_changed")
    problem(reserved(guest, token), 409, "quote_changed")
    problem(reserved(visitor, token, basket=TEA), 409, "quote_changed")
    problem(reserved(visitor, token, basket={**BASKET, "lines": [LINE | {"quantity": 3}]}), 409, "quote_changed")
    assert Shopper.objects.count() == before
    assert not Reservation.objects.exists()


@pytest.mark.parametrize("token", ["x", "a:b:c", ".eJx:1:x", "é", "x" * 100_000])
def test_an_invented_token_is_refused_and_makes_nobody(browser: Browser, token: str) -> None:
    problem(reserved(browser, token), 409, "quote_changed")
    assert not Shopper.objects.exists()


def test_a_guests_quote_holds_for_the_guest(browser: Browser) -> None:
    automatic()
    held = reserved(browser, quoted(browser)["token"]).json()
    assert held["off_minor"] == 1000
    assert Reservation.objects.get().shopper == Shopper.objects.get()


def test_an_old_quote_is_refused(visitor: Browser, configure: Configure) -> None:
    token = quoted(visitor)["token"]
    configure(QUOTE_MINUTES=-1)
    problem(reserved(visitor, token), 409, "quote_changed")


def test_a_key_stands_for_one_quote_of_one_shopper(visitor: Browser) -> None:
    automatic(per_shopper=9)
    first = reserved(visitor, quoted(visitor)["token"]).json()
    bigger = {**BASKET, "lines": [LINE | {"quantity": 4}]}
    replayed = reserved(visitor, quoted(visitor, basket=bigger)["token"], basket=bigger)
    problem(replayed, 400, "coupon_refused")
    stranger = another()
    theirs = reserved(stranger, quoted(stranger)["token"]).json()
    assert theirs["basket_key"] != first["basket_key"]
    assert Reservation.objects.count() == 2


def test_nobody_releases_somebody_elses_basket(visitor: Browser) -> None:
    automatic()
    key = reserved(visitor, quoted(visitor)["token"]).json()["basket_key"]
    customer = Browser()
    customer.force_login(make_account())
    for caller in (another(), Browser(), customer):
        answers = {problem(caller.call("api-basket-release", {"basket_key": each}), 409) for each in (key, "none")}
        assert len(answers) == 1
    assert Reservation.objects.get().state == "held"


def test_only_the_shops_own_systems_spend(visitor: Browser) -> None:
    automatic()
    key = reserved(visitor, quoted(visitor)["token"]).json()["basket_key"]
    customer, clerk = Browser(), Browser()
    customer.force_login(make_account())
    clerk.force_login(make_user("view_redemption", "change_campaign"))
    for caller in (visitor, customer, clerk):
        for name in SHOPS:
            problem(caller.call(name, {"basket_key": key, "basket": BASKET, "hold_id": NOBODY, **ORDER}), 403)
    assert Reservation.objects.get().state == "held"


def test_the_shop_asks_in_a_shoppers_name_and_nobody_else_does(visitor: Browser, staff: Browser) -> None:
    automatic()
    mine = visitor.shopper()
    named = {"shopper": str(mine.key)}
    held = reserved(staff, quoted(staff, **named)["token"], **named).json()
    assert Reservation.objects.get().shopper == mine
    problem(another().call("api-quote", {"basket": BASKET, **named}), 403)
    problem(staff.call("api-quote", {"basket": BASKET, "shopper": NOBODY}), 400, "invalid")
    assert visitor.call("api-basket-release", {"basket_key": held["basket_key"]}).json() == {"released": True}


# --- Limits -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scope", "name", "more"),
    [
        ("quote", "api-quote", {}),
        ("code", "api-quote", {"codes": ["NNNN-NNNN-NNNN-NNNN"]}),
        ("code", "api-preview", {"code": "NNNN-NNNN-NNNN-NNNN"}),
        ("code", "api-reserve", {"code": "NNNN-NNNN-NNNN-NNNN", "idempotency_key": "k"}),
        ("claim", "api-claim", {"offer_id": 424242}),
        ("gift_card", "api-card-hold", {"code": "NNNN-NNNN-NNNN-NNNN", "amount_minor": 5, "idempotency_key": "k"}),
    ],
)
def test_tries_are_counted(visitor: Browser, configure: Configure, scope: str, name: str, more: dict[str, Any]) -> None:
    configure(RATE_LIMITS={scope: ["account 2/d"]})
    for _ in range(2):
        assert visitor.call(name, {"basket": BASKET, **more}).status_code != 429
    answer = visitor.call(name, {"basket": BASKET, **more})
    problem(answer, 429, "too_many_tries")
    assert 0 < int(answer["Retry-After"]) <= 86_400


def test_each_code_of_a_quote_is_a_try(visitor: Browser, configure: Configure) -> None:
    configure(RATE_LIMITS={"code": ["account 4/d"]})
    problem(visitor.call("api-quote", {"basket": BASKET, "codes": ["A", "B", "C", "D", "E"]}), 429)


# --- Bad input --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", SHOPPERS + SHOPS)
@pytest.mark.parametrize("body", BODIES, ids=lambda body: repr(body[:20]))
def test_a_body_that_cannot_be_read_is_refused(staff: Browser, name: str, body: bytes) -> None:
    problem(staff.call(name, body), 400)


HOLD = {"code": "x", "amount_minor": 1, "idempotency_key": "k"}
BAD: list[tuple[str, dict[str, Any], int]] = [
    ("api-quote", {"basket": BASKET, "codes": ["x" * 65]}, 400),
    ("api-quote", {"basket": BASKET, "codes": ["a\x00"]}, 400),
    ("api-quote", {"basket": BASKET, "codes": ["x"] * 6}, 400),
    ("api-quote", {"basket": BASKET, "codes": "x"}, 400),
    ("api-quote", {"basket": BASKET, "coupon_ids": ["x"]}, 400),
    ("api-quote", {"basket": BASKET, "coupon_ids": [NOBODY] * 21}, 400),
    ("api-quote", {"basket": BASKET, "automatic": "perhaps"}, 400),
    ("api-quote", {"basket": BASKET, "shopper": "x"}, 400),
    ("api-quote", {"basket": BASKET | {"shipping_minor": -1}}, 400),
    ("api-quote", {"basket": BASKET | {"lines": [LINE | {"unit_cost_minor": 10**13}]}}, 400),
    ("api-quote", {"basket": BASKET | {"lines": [LINE | {"quantity": 100_000, "unit_price_minor": 10**12}]}}, 400),
    ("api-quote", {"basket": BASKET, "coupon_ids": [NOBODY]}, 200),
    ("api-quote", {"basket": BASKET, "codes": ["\U0001f375", "' OR 1=1 --"]}, 200),
    ("api-quote-reserve", {"basket": BASKET, "token": "x"}, 400),
    ("api-quote-reserve", {"basket": BASKET, "token": "\ud800", "idempotency_key": "k"}, 400),
    ("api-quote-reserve", {"basket": BASKET, "token": 7, "idempotency_key": "k" * 101}, 400),
    ("api-basket-release", {"basket_key": ""}, 400),
    ("api-basket-release", {"basket_key": "\x00"}, 400),
    ("api-basket-redeem", {"basket_key": "x", "basket": BASKET, **ORDER}, 409),
    ("api-basket-redeem", {"basket_key": "x", **ORDER}, 400),
    ("api-card-hold", HOLD | {"amount_minor": 0}, 400),
    ("api-card-hold", HOLD | {"amount_minor": 10**30}, 400),
    ("api-card-hold", HOLD | {"card_id": NOBODY}, 400),
    ("api-card-hold", HOLD | {"code": ""}, 400),
    ("api-card-release", {"idempotency_key": "k" * 101}, 400),
    ("api-card-spend", {"hold_id": "x", **ORDER}, 400),
    ("api-card-spend", {"hold_id": NOBODY, **ORDER}, 400),
    ("api-card-refund", {**ORDER, "operation_id": "x", "amount_minor": 5}, 400),
]


@pytest.mark.parametrize(("name", "body", "status"), BAD, ids=[f"{row[0]}-{n}" for n, row in enumerate(BAD)])
def test_bad_input_is_never_an_error_of_ours(staff: Browser, name: str, body: dict[str, Any], status: int) -> None:
    answer = staff.call(name, body)
    assert answer.status_code == status, answer.content
    if status >= 400:
        problem(answer, status)


def test_what_is_being_checked_waits(visitor: Browser) -> None:
    RiskRule.objects.update_or_create(kind="velocity", defaults={"threshold": 1, "points": 100, "active": True})
    automatic()
    told = quoted(visitor)
    problem(reserved(visitor, told["token"]), 409, "under_review")
    problem(reserved(visitor, told["token"]), 409, "under_review")
    assert {row.state for row in Reservation.objects.all()} == {"review"}
