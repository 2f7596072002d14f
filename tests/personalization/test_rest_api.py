"""Offers, products and coupons over HTTP: good input, bad input of every sort, and a description that is true."""

from __future__ import annotations

import json
import uuid
from io import StringIO
from typing import Any

import pytest
import yaml
from django.core.management import call_command
from django.test import Client
from django.urls import reverse

from personalization.models import Campaign, Coupon, Decision, Exposure, Redemption, Reservation, Shopper
from tests.admin.builders import make_coupon
from tests.personalization import host
from tests.personalization.builders import (
    AGENT,
    Browser,
    make_account,
    make_offer,
    make_scores,
    make_shopper,
    make_user,
    running,
    score,
)
from tests.personalization.conftest import Configure

pytestmark = pytest.mark.django_db
NOBODY = "6f9619ff-8b86-d011-b42d-00cf4fc964ff"
CODE = "ABCD-EFGH-JKLM-NPQR"
LINE = {"item_id": "p-1", "quantity": 2, "unit_price_minor": 5000, "category": "tea"}
BASKET = {"currency": "EUR", "lines": [LINE]}
POSTS = ["api-claim", "api-preview", "api-reserve", "api-release", "api-redeem", "api-refund"]


@pytest.fixture(autouse=True)
def _own_prices(configure: Configure) -> None:
    """No catalogue: the prices given stand. With one, see the tests of baskets that the catalogue prices."""
    configure(CATALOG="")


def problem(answer: Any, status: int, code: str = "") -> str:
    assert answer.status_code == status, answer.content
    told = answer.json()
    assert set(told) <= {"code", "message", "errors"}
    assert told["code"] == (code or told["code"]) != ""
    assert answer["Cache-Control"] == "private, no-store"
    return str(told["message"])


@pytest.fixture
def coupon(visitor: Browser) -> Coupon:
    offer = make_offer()
    issued = visitor.call("api-claim", {"offer_id": offer.pk}).json()
    return Coupon.objects.get(pk=issued["coupon_id"])


# --- Offers and products ----------------------------------------------------------------------------------------------


def test_offers_of_a_slot(visitor: Browser, plain: None) -> None:
    offer = make_offer(headline="Ten off")
    answer = visitor.get(reverse("personalization:offers"), {"slot": "home_hero", "limit": "3"})
    assert answer.status_code == 200
    told = answer.json()
    assert (told["slot"], told["fallback"], told["model_version_id"]) == ("home_hero", "no_scores", None)
    assert [(one["offer_id"], one["headline"], one["position"]) for one in told["offers"]] == [(offer.pk, "Ten off", 1)]
    assert set(told["offers"][0]) & {"propensity", "value_minor"} == set()  # ours, not the shopper's business
    assert answer["Cache-Control"] == "private, no-store"
    assert Decision.objects.get(pk=told["decision_id"]).shopper == visitor.shopper()
    assert Exposure.objects.count() == 1


@pytest.mark.parametrize("slot", [None, "", "cellar", "\x00", "x" * 3000, "é", "home_hero\n"])
def test_an_unknown_slot_is_not_found(visitor: Browser, slot: str | None) -> None:
    given = {} if slot is None else {"slot": slot}
    problem(visitor.get(reverse("personalization:offers"), given), 404, "unknown_slot")


@pytest.mark.parametrize("limit", ["x", "", "1.5", "9" * 5000, "0x10", "\x00", "1e3"])
@pytest.mark.parametrize("name", ["offers", "products"])
def test_a_limit_that_is_no_number_is_refused(visitor: Browser, name: str, limit: str) -> None:
    answer = visitor.get(reverse(f"personalization:{name}"), {"slot": "home_hero", "limit": limit})
    assert "limit" in problem(answer, 400, "invalid")


@pytest.mark.parametrize("limit", ["-5", "0", "1", " 2 ", "999999999999"])
@pytest.mark.parametrize("name", ["offers", "products"])
def test_a_limit_out_of_bounds_is_moved_inside(visitor: Browser, name: str, limit: str) -> None:
    assert visitor.get(reverse(f"personalization:{name}"), {"slot": "home_hero", "limit": limit}).status_code == 200


@pytest.mark.parametrize("item_id", [None, "p-0", "gone", "", "\x00", "x" * 3000, "' OR 1=1 --", "%ed%a0%80"])
def test_products_are_recommended(visitor: Browser, hosted: None, item_id: str | None) -> None:
    host.PRODUCTS += [host.product("p-0"), host.product("p-1"), host.product("p-2", stock=0)]
    score(make_scores(), visitor.shopper(), {}, items=["p-0", "p-1", "p-2"])
    given = {} if item_id is None else {"item_id": item_id}
    answer = visitor.get(reverse("personalization:products"), given)
    assert answer.status_code == 200
    assert answer.json() == {"products": ["p-1"] if item_id == "p-0" else ["p-0", "p-1"]}


# --- Coupons, from claim to refund ------------------------------------------------------------------------------------


def test_a_coupons_way_over_http(visitor: Browser, staff: Browser) -> None:
    offer = make_offer()
    claimed = visitor.call("api-claim", {"offer_id": offer.pk, "idempotency_key": "k"}).json()
    assert claimed["new"] is True
    assert visitor.call("api-claim", {"offer_id": offer.pk, "idempotency_key": "k"}).json()["new"] is False
    shown = visitor.call("api-preview", {"code": claimed["code"], "basket": BASKET}).json()
    assert shown == {"coupon_id": claimed["coupon_id"], "discount_minor": 1000, "per_line_minor": [1000]}
    given = {"code": claimed["code"], "basket": BASKET, "idempotency_key": "b-1"}
    held = visitor.call("api-reserve", given).json()
    assert visitor.call("api-reserve", given).json() == held
    order = {"order_label": "erp.order", "order_id": "A/1 é"}
    spend = {"reservation_id": held["reservation_id"], "basket": BASKET, **order}
    assert staff.call("api-redeem", spend).json() == {"amount_minor": 1000}
    assert staff.call("api-redeem", spend).json() == {"amount_minor": 1000}
    back = {**order, "operation_id": "r-1", "amount_minor": 400}
    assert staff.call("api-refund", back).json() == {"amount_minor": 400}
    assert staff.call("api-refund", back).json() == {"amount_minor": 400}
    assert staff.call("api-refund", {**order, "operation_id": "r-2"}).json() == {"amount_minor": 600}
    assert Redemption.objects.get().refunded_minor == 1000
    campaign = Campaign.objects.get()
    assert (campaign.reserved_minor, campaign.spent_minor) == (0, 0)


def test_a_reservation_is_released_once(visitor: Browser, coupon: Coupon) -> None:
    given = {"coupon_id": str(coupon.pk), "basket": BASKET, "idempotency_key": "k"}
    held = visitor.call("api-reserve", given).json()
    release = {"reservation_id": held["reservation_id"]}
    assert visitor.call("api-release", release).json() == {"released": True}
    assert visitor.call("api-release", release).json() == {"released": False}
    problem(visitor.call("api-reserve", given), 409, "reservation_gone")


def test_a_guest_without_consent_can_claim_and_hold(browser: Browser) -> None:
    claimed = browser.call("api-claim", {"offer_id": make_offer().pk}).json()
    given = {"code": claimed["code"], "basket": BASKET, "idempotency_key": "k"}
    assert browser.call("api-reserve", given).status_code == 200
    assert browser.visitor() == ""
    assert not Shopper.objects.get().consent_personalisation


def test_every_code_that_cannot_be_used_gets_the_same_answer(visitor: Browser) -> None:
    offer, paused = make_offer(), make_offer(running(status="paused"))
    mine = visitor.shopper()
    expired = make_coupon(offer, mine, code="EXPR-EXPR-EXPR-EXPR")
    Coupon.objects.filter(pk=expired.pk).update(expires_at="2020-01-01T00:00:00Z", claim_no=2)
    make_coupon(offer, make_shopper(), code="FRGN-FRGN-FRGN-FRGN")
    used = make_coupon(offer, mine, code="VSED-VSED-VSED-VSED")
    Coupon.objects.filter(pk=used.pk).update(used_count=1)
    make_coupon(paused, mine, code="PAVS-PAVS-PAVS-PAVS")
    tried: list[dict[str, str]] = [
        {"code": code} for code in ("NNNN-NNNN-NNNN-NNNN", "x", "EXPR-EXPR-EXPR-EXPR", "FRGN-FRGN-FRGN-FRGN")
    ]
    tried += [{"code": "VSED-VSED-VSED-VSED"}, {"code": "PAVS-PAVS-PAVS-PAVS"}, {"coupon_id": str(uuid.uuid4())}, {}]
    answers = set()
    for given in tried:
        for name in ("api-preview", "api-reserve"):
            answer = visitor.call(name, {**given, "basket": BASKET, "idempotency_key": uuid.uuid4().hex})
            answers.add((answer.status_code, answer.content))
    assert len(answers) == 1
    ((status, content),) = answers
    assert (status, json.loads(content)) == (400, {"code": "coupon_refused", "message": "This code cannot be used."})


def test_a_basket_that_does_not_qualify_is_told_why(visitor: Browser, coupon: Coupon) -> None:
    basket = {**BASKET, "currency": "USD"}
    answer = visitor.call("api-preview", {"coupon_id": str(coupon.pk), "basket": basket})
    assert "currency" in problem(answer, 400, "basket_not_eligible")


# --- Who may ----------------------------------------------------------------------------------------------------------


def test_only_the_shops_own_systems_redeem_and_refund(visitor: Browser, coupon: Coupon) -> None:
    given = {"coupon_id": str(coupon.pk), "basket": BASKET, "idempotency_key": "k"}
    held = visitor.call("api-reserve", given).json()
    order = {"order_label": "o", "order_id": "1", "operation_id": "x", "reservation_id": held["reservation_id"]}
    customer, clerk = Browser(), Browser()
    customer.force_login(make_account())
    clerk.force_login(make_user("view_redemption"))
    for caller in (visitor, customer, clerk):
        for name in ("api-redeem", "api-refund"):
            problem(caller.call(name, order), 403)
    assert not Redemption.objects.exists()


def test_nobody_releases_somebody_elses_reservation(visitor: Browser, coupon: Coupon) -> None:
    given = {"coupon_id": str(coupon.pk), "basket": BASKET, "idempotency_key": "k"}
    held = visitor.call("api-reserve", given).json()
    other = Browser()
    other.answer("all")
    for caller in (other, Browser()):
        mine = problem(caller.call("api-release", {"reservation_id": held["reservation_id"]}), 409, "reservation_gone")
        none = problem(caller.call("api-release", {"reservation_id": str(uuid.uuid4())}), 409, "reservation_gone")
        assert mine == none
    assert Reservation.objects.get().state == "held"


def test_an_account_needs_its_csrf_token(db: None) -> None:
    account = Browser()
    account.force_login(make_account())
    answer = account.post(reverse("personalization:api-claim"), "{}", content_type="application/json")
    problem(answer, 403, "permission_denied")


# --- Bad input of each sort -------------------------------------------------------------------------------------------

BODIES = [
    b"",
    b"{",
    b"null",
    b"7",
    b'"x"',
    b"[]",
    b"[{}]",
    b"{}",
    b"\xff\xfe",
    b"NaN",
    b'{"basket": NaN}',
    b"[" * 200_000,
    b'{"basket":' * 100_000,
]


@pytest.mark.parametrize("name", POSTS)
@pytest.mark.parametrize("body", BODIES, ids=lambda body: repr(body[:20]))
def test_a_body_that_cannot_be_read_is_refused(staff: Browser, name: str, body: bytes) -> None:
    problem(staff.call(name, body), 400)


@pytest.mark.parametrize("name", POSTS)
def test_what_is_no_json_is_refused(staff: Browser, name: str) -> None:
    address, headers = reverse(f"personalization:{name}"), {"x-csrftoken": staff.csrf()}
    problem(staff.post(address, "<a/>", content_type="application/xml", headers=headers), 415)
    problem(staff.get(address), 405, "method_not_allowed")
    problem(staff.put(address, "{}", content_type="application/json", headers=headers), 405)


def lines(*changes: dict[str, Any]) -> dict[str, Any]:
    return {"currency": "EUR", "lines": [LINE | change for change in changes]}


BAD: list[tuple[str, dict[str, Any], int]] = [
    ("api-claim", {"offer_id": 0}, 400),
    ("api-claim", {"offer_id": -1}, 400),
    ("api-claim", {"offer_id": "x"}, 400),
    ("api-claim", {"offer_id": None}, 400),
    ("api-claim", {"offer_id": 2**63}, 400),
    ("api-claim", {"offer_id": 10**400}, 400),
    ("api-claim", {"offer_id": 424242}, 404),
    ("api-claim", {"offer_id": 1, "decision_id": "x"}, 400),
    ("api-claim", {"offer_id": 1, "idempotency_key": "k" * 101}, 400),
    ("api-preview", {"code": CODE}, 400),
    ("api-preview", {"code": "x" * 65, "basket": BASKET}, 400),
    ("api-preview", {"code": "a\x00b", "basket": BASKET}, 400),
    ("api-preview", {"code": "\ud800", "basket": BASKET}, 400),
    ("api-preview", {"code": {"$ne": 1}, "basket": BASKET}, 400),
    ("api-preview", {"coupon_id": "1", "basket": BASKET}, 400),
    ("api-preview", {"code": CODE, "basket": []}, 400),
    ("api-preview", {"code": CODE, "basket": {"currency": "EUR", "lines": []}}, 400),
    ("api-preview", {"code": CODE, "basket": {"currency": "EUROS", "lines": [LINE]}}, 400),
    ("api-preview", {"code": CODE, "basket": lines({"quantity": 0})}, 400),
    ("api-preview", {"code": CODE, "basket": lines({"quantity": -1})}, 400),
    ("api-preview", {"code": CODE, "basket": lines({"quantity": 1.5})}, 400),
    ("api-preview", {"code": CODE, "basket": lines({"quantity": 10**9})}, 400),
    ("api-preview", {"code": CODE, "basket": lines({"unit_price_minor": -1})}, 400),
    ("api-preview", {"code": CODE, "basket": lines({"unit_price_minor": 10**13})}, 400),
    ("api-preview", {"code": CODE, "basket": lines({"unit_price_minor": "1e3"})}, 400),
    ("api-preview", {"code": CODE, "basket": lines({"item_id": "p" * 101})}, 400),
    ("api-preview", {"code": CODE, "basket": lines({"item_id": "a\x00"})}, 400),
    ("api-preview", {"code": CODE, "basket": lines({}) | {"reference": "r" * 101}}, 400),
    ("api-reserve", {"code": CODE, "basket": BASKET}, 400),
    ("api-reserve", {"code": CODE, "basket": BASKET, "idempotency_key": ""}, 400),
    ("api-reserve", {"code": CODE, "basket": BASKET, "idempotency_key": "k" * 101}, 400),
    ("api-release", {"reservation_id": "x"}, 400),
    ("api-release", {"reservation_id": NOBODY}, 409),
    ("api-redeem", {"reservation_id": NOBODY, "order_label": "o", "order_id": "1", "basket": BASKET}, 409),
    ("api-redeem", {"reservation_id": NOBODY, "order_label": "o", "order_id": "1"}, 400),
    ("api-redeem", {"reservation_id": NOBODY, "order_label": "o" * 81, "order_id": "1", "basket": BASKET}, 400),
    ("api-redeem", {"reservation_id": NOBODY, "order_label": "o", "order_id": "1" * 101, "basket": BASKET}, 400),
    ("api-refund", {"order_label": "o", "order_id": "1", "operation_id": "x", "amount_minor": 5}, 400),
    ("api-refund", {"order_label": "o", "order_id": "1", "operation_id": "x", "amount_minor": -5}, 400),
    ("api-refund", {"order_label": "o", "order_id": "1", "operation_id": "x" * 81}, 400),
]


@pytest.mark.parametrize(("name", "body", "status"), BAD, ids=lambda value: str(value)[:50])
def test_bad_input_is_refused_with_a_code_and_a_message(
    staff: Browser, name: str, body: dict[str, Any], status: int
) -> None:
    offer = make_offer()
    make_coupon(offer, Shopper.objects.get(), code=CODE)
    assert problem(staff.call(name, body), status)


@pytest.mark.parametrize("price", [10**12, 10**10])
def test_a_basket_beyond_all_sense_is_refused(visitor: Browser, coupon: Coupon, price: int) -> None:
    """Each line is within bounds; together they are more than a database's integer."""
    basket = lines(*[{"quantity": 100_000, "unit_price_minor": price}] * 900)
    for name in ("api-preview", "api-reserve"):
        given = {"coupon_id": str(coupon.pk), "basket": basket, "idempotency_key": "k"}
        assert "basket" in problem(visitor.call(name, given), 400, "invalid")
    too_many = lines(*[{}] * 1001)
    problem(visitor.call("api-preview", {"coupon_id": str(coupon.pk), "basket": too_many}), 400, "invalid")


# --- The two forms ----------------------------------------------------------------------------------------------------


def form(browser: Browser, name: str, **data: Any) -> Any:
    token = browser.csrf()
    return browser.post(reverse(f"personalization:{name}"), {"csrfmiddlewaretoken": token, **data}, follow=False)


def test_the_form_claims_and_goes_back(browser: Browser) -> None:
    offer = make_offer()
    answer = form(browser, "claim", offer=offer.pk, next="/basket/")
    assert (answer.status_code, answer.url) == (302, "/basket/")
    coupon = Coupon.objects.get()
    assert browser.session["pz_coupons"] == [str(coupon.pk)]
    form(browser, "claim", offer=offer.pk)
    assert browser.session["pz_coupons"] == [str(coupon.pk)]
    assert "no-store" in answer["Cache-Control"]


@pytest.mark.parametrize("offer", [None, "", "x", "0", "-1", "424242", "9" * 500, "²", "1.0", "\x00"])
@pytest.mark.parametrize("decision", ["", "x", NOBODY])
def test_a_form_with_nonsense_says_so_and_goes_back(browser: Browser, offer: str | None, decision: str) -> None:
    given = {"decision": decision} if offer is None else {"offer": offer, "decision": decision}
    answer = form(browser, "claim", **given)
    assert (answer.status_code, answer.url) == (302, "/")
    assert not Coupon.objects.exists()
    assert "pz_coupons" not in browser.session


@pytest.mark.parametrize("name", ["claim", "consent"])
@pytest.mark.parametrize(
    "target",
    ["https://evil.example/", "//evil.example", "javascript:alert(1)", "http:///evil.example", "\\\\evil.example", ""],
)
def test_a_form_leads_nowhere_else(browser: Browser, name: str, target: str) -> None:
    assert form(browser, name, next=target, offer="1", answer="none").url == "/"
    token = browser.csrf()
    answer = browser.post(
        reverse(f"personalization:{name}"),
        {"csrfmiddlewaretoken": token, "offer": "1"},
        headers={"referer": target or "https://evil.example/"},
    )
    assert answer["Location"] == "/"


@pytest.mark.parametrize("name", ["claim", "consent"])
def test_a_form_needs_post_and_csrf(name: str) -> None:
    client = Client(enforce_csrf_checks=True, headers={"user-agent": AGENT})
    assert client.get(reverse(f"personalization:{name}")).status_code == 405
    assert client.post(reverse(f"personalization:{name}"), {"offer": "1", "answer": "all"}).status_code == 403
    assert not Shopper.objects.exists()


# --- The description --------------------------------------------------------------------------------------------------


def test_the_description_is_valid_and_complete() -> None:
    out, told = StringIO(), StringIO()
    call_command("spectacular", "--validate", "--fail-on-warn", stdout=out, stderr=told)
    assert told.getvalue() == ""
    described = yaml.safe_load(out.getvalue())
    paths = {path.removeprefix("/personalization/api/v1/"): item for path, item in described["paths"].items()}
    for name in ("events", "offers", "products", *(f"coupons/{post.removeprefix('api-')}" for post in POSTS)):
        operation = next(iter(paths[f"{name}/"].values()))
        assert operation["responses"]["200"]["content"]["application/json"]["schema"], name
        assert "requestBody" in operation or "parameters" in operation, name
