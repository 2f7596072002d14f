"""Consent: nothing without it, a ledger that only grows, and a withdrawal that works at the next request."""

from __future__ import annotations

import pytest
from django.contrib.messages import get_messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils import timezone

from personalization import api
from personalization.learning import frames, publish
from personalization.models import (
    ConsentRecord,
    Decision,
    Event,
    Exposure,
    QuarantinedEvent,
    Shopper,
    ShopperAlias,
    ShopperScores,
)
from personalization.tracking import consent, identity
from personalization.tracking.middleware import ShopperMiddleware
from personalization.types import CONSENT_PURPOSES, Purpose
from tests.personalization.builders import (
    Browser,
    event,
    make_account,
    make_alias,
    make_event,
    make_offer,
    make_request,
    make_shopper,
)
from tests.personalization.conftest import Committing, Configure

pytestmark = pytest.mark.django_db
GPC = {"sec-gpc": "1"}
P, A, M = Purpose.PERSONALISATION, Purpose.ANALYTICS, Purpose.MARKETING


def ledger(shopper: Shopper) -> list[tuple[str, bool]]:
    return list(ConsentRecord.objects.filter(shopper=shopper).order_by("pk").values_list("purpose", "granted"))


def nobody_is_known() -> bool:
    personal = (Shopper, ShopperAlias, Event, QuarantinedEvent, Exposure, Decision.objects.exclude(shopper=None))
    return not any((rows if isinstance(rows, QuerySet) else rows._default_manager).exists() for rows in personal)


# --- Nothing without consent ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("answer", [None, "none", "chosen", "perhaps"])
def test_without_consent_there_is_no_cookie_and_no_row(
    browser: Browser, committing: Committing, answer: str | None
) -> None:
    make_offer()
    with committing():
        if answer:
            browser.answer(answer)
        browser.get(reverse("shop:home"))
        assert browser.events(event(), event("teleported"), None).status_code == 204
        browser.get(reverse("personalization:offers"), {"slot": "home_hero"})
    assert browser.visitor() == ""
    assert nobody_is_known()


def test_a_refusal_is_remembered_without_an_id(browser: Browser) -> None:
    answer = browser.answer("none")
    assert browser.cookies["pz_consent"].value == "no"
    assert set(answer.cookies) <= {"pz_consent", "pz_visitor"}
    assert browser.visitor() == ""
    assert api.purposes_of(make_request()) == frozenset()


def test_consent_sets_a_careful_cookie(browser: Browser) -> None:
    browser.answer("all")
    cookie = browser.cookies["pz_visitor"]
    assert (cookie["httponly"], cookie["samesite"]) == (True, "Lax")
    assert cookie["max-age"] == 180 * 86400
    shopper = browser.shopper()
    assert all(shopper.allows(purpose) for purpose in CONSENT_PURPOSES)
    assert str(shopper.key).replace("-", "") != browser.visitor()  # the cookie is not the pseudonym
    assert browser.get("/", secure=True).status_code == 200
    assert browser.post(reverse("personalization:consent"), {"answer": "all"}, secure=True).status_code == 403


@pytest.mark.parametrize(("answer", "ticks", "agreed"), [
    ("all", [], {P, A, M}),
    ("chosen", ["analytics"], {A}),
    ("chosen", ["personalisation", "marketing", "contract", "world domination"], {P, M}),
    ("none", ["personalisation"], set()),
])  # fmt: skip
def test_exactly_the_purposes_agreed_to(browser: Browser, answer: str, ticks: list[str], agreed: set[Purpose]) -> None:
    browser.answer(answer, purpose=ticks)
    if not agreed:
        assert not Shopper.objects.exists()
        return
    shopper = browser.shopper()
    assert {purpose for purpose in CONSENT_PURPOSES if shopper.allows(purpose)} == agreed
    assert set(ledger(shopper)) == {(purpose.value, True) for purpose in agreed}


# --- The ledger -------------------------------------------------------------------------------------------------------


def test_the_ledger_grows_by_differences_only(browser: Browser, configure: Configure) -> None:
    browser.answer("chosen", purpose=["personalisation"])
    browser.answer("chosen", purpose=["personalisation"])
    configure(WORDING_VERSION="2")
    browser.answer("chosen", purpose=["analytics"])
    assert ledger(browser.shopper()) == [("personalisation", True), ("analytics", True), ("personalisation", False)]
    assert [row.wording_version for row in ConsentRecord.objects.order_by("pk")] == ["1", "2", "2"]
    assert {row.source for row in ConsentRecord.objects.all()} == {"banner"}


def test_the_flags_are_the_ledgers_latest_word(browser: Browser) -> None:
    for ticks in (["analytics"], ["analytics", "marketing"], ["marketing"], ["personalisation"]):
        browser.answer("chosen", purpose=ticks)
        shopper = browser.shopper()
        latest = dict(ledger(shopper))
        for purpose in CONSENT_PURPOSES:
            assert shopper.allows(purpose) == latest.get(purpose.value, False) == (purpose.value in ticks)


def test_contract_needs_no_consent() -> None:
    assert Shopper().allows(Purpose.CONTRACT)
    assert not any(Shopper().allows(purpose) for purpose in CONSENT_PURPOSES)


# --- Withdrawal -------------------------------------------------------------------------------------------------------


def test_withdrawal_works_at_the_next_request(visitor: Browser) -> None:
    assert visitor.events(event()).json()["accepted"] == 1
    shopper, old = visitor.shopper(), visitor.visitor()
    visitor.answer("none")
    assert visitor.cookies["pz_visitor"].value == ""
    assert not ShopperAlias.objects.filter(value=old).exists()
    shopper.refresh_from_db()
    assert not any(shopper.allows(purpose) for purpose in CONSENT_PURPOSES)
    assert set(ledger(shopper)[-3:]) == {(purpose.value, False) for purpose in CONSENT_PURPOSES}
    visitor.cookies["pz_visitor"] = old  # a copy of the cookie leads nowhere either
    assert visitor.events(event()).status_code == 204
    assert Event.objects.count() == 1


def confirmed(browser: Browser, **fields: str) -> list[str]:
    answered = browser.answer("none", **fields)
    return [str(message) for message in get_messages(answered.wsgi_request)]


def test_a_withdrawal_is_confirmed(visitor: Browser) -> None:
    assert confirmed(visitor, confirm="1") == [
        "Withdrawn: from now on nothing more is recorded for what you no longer allow."
    ]


def test_so_is_that_there_was_nothing_to_withdraw_but_only_where_it_was_asked(browser: Browser) -> None:
    assert confirmed(browser, confirm="1") == ["Nothing is recorded about you: there was no consent to withdraw."]
    assert confirmed(Browser()) == []


def test_an_accounts_withdrawal_counts_in_every_browser(browser: Browser, committing: Committing) -> None:
    account = make_account()
    browser.force_login(account)
    browser.answer("all")
    other = Browser()
    other.force_login(account)
    assert other.events(event()).json()["accepted"] == 1
    browser.answer("none")
    assert other.events(event()).status_code == 204
    shopper = api.shopper_for_user(account)
    with committing():
        assert api.track("product_viewed", shopper=shopper, item_id="p-1") is False
    assert Event.objects.exclude(type="logged_in").count() == 1


def test_withdrawing_one_purpose_stops_its_events(visitor: Browser) -> None:
    visitor.answer("chosen", purpose=["analytics"])
    assert visitor.events(event()).json() == {"accepted": 0, "duplicates": 0, "quarantined": 0, "dropped": 1}
    assert visitor.events("not an event").json()["dropped"] == 1
    assert not QuarantinedEvent.objects.exists()


def test_the_door_withdraws_too(db: None) -> None:
    request, response = make_request(), HttpResponse()
    api.give_consent(request, response, [P])
    shopper = api.shopper_for(request)
    assert shopper is not None
    assert api.purposes_of(request) == {P}
    api.withdraw_consent(request, response)
    assert api.purposes_of(request) == frozenset()
    assert api.shopper_for(request) is None
    assert ledger(shopper) == [("personalisation", True), ("personalisation", False)]


# --- Jobs -------------------------------------------------------------------------------------------------------------


def test_a_withdrawal_counts_for_the_next_job(shopper: Shopper) -> None:
    make_event(shopper)

    def read() -> set[int]:
        return {int(key) for key in frames.load("shop", timezone.now()).shoppers.ids}

    assert read() == {shopper.pk}
    consent.record(shopper, (), source="banner")
    assert read() == set()


def test_a_withdrawal_counts_for_a_job_that_is_running(shopper: Shopper) -> None:
    """It has read them, and scores them; what it publishes is without them."""
    stays = make_shopper()
    score_set = publish.begin("shop", None, response=None, strategy=None, preference=None)
    publish.write_scores(score_set, [{"shopper_id": each.pk, "items": []} for each in (shopper, stays)])
    consent.record(shopper, {A, M}, source="banner")
    publish.publish(score_set, None, defaults={})
    score_set.refresh_from_db()
    assert (score_set.state, score_set.shoppers) == ("live", 1)
    assert list(ShopperScores.objects.values_list("shopper", flat=True)) == [stays.pk]


# --- Without a cookie -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("headers", [{}, GPC], ids=["never asked", "privacy control"])
def test_offers_are_served_without_a_cookie_and_without_a_row(
    browser: Browser, committing: Committing, headers: dict[str, str]
) -> None:
    """The contextual mode: an offer by its own merits, to nobody in particular."""
    offer = make_offer()
    with committing():
        answer = browser.get(reverse("personalization:offers"), {"slot": "home_hero"}, headers=headers)
    assert [shown["offer_id"] for shown in answer.json()["offers"]] == [offer.pk]
    assert not answer.cookies
    assert nobody_is_known()
    with committing():
        page = browser.get(reverse("shop:home"), headers=headers)
    assert "pz-offer" in page.content.decode()
    assert set(page.cookies) <= {"csrftoken"}
    assert nobody_is_known()


# --- Global Privacy Control -------------------------------------------------------------------------------------------


def test_global_privacy_control_counts_as_a_refusal(visitor: Browser, committing: Committing) -> None:
    with committing():
        assert visitor.events(event(), headers=GPC).status_code == 204
        page = visitor.get(reverse("shop:home"), headers=GPC)
    assert page.cookies["pz_visitor"].value == ""
    assert not Event.objects.exists()
    request = make_request(headers=GPC)
    assert consent.consent_asked(request)
    assert not consent.consent_asked(make_request())


def test_global_privacy_control_refuses_for_an_account(db: None) -> None:
    account = make_account()
    shopper = api.shopper_for_user(account)
    consent.record(shopper, CONSENT_PURPOSES, source="test")
    assert api.purposes_of(make_request(user=account)) == frozenset(CONSENT_PURPOSES)
    assert api.purposes_of(make_request(user=account, headers=GPC)) == frozenset()
    assert api.track("page_viewed", request=make_request(user=account, headers=GPC)) is False


def test_no_cookie_is_set_where_the_browser_refuses(browser: Browser) -> None:
    given = {"answer": "all", "csrfmiddlewaretoken": browser.csrf()}
    browser.post(reverse("personalization:consent"), given, headers=GPC)
    assert browser.visitor() == ""
    assert not Shopper.objects.filter(consent_personalisation=True).exists()


# --- Cookies that are not ours ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", ["", "x", "../../etc", "0" * 5000, "é", "' OR 1=1 --", "0" * 31 + "g"])
def test_a_malformed_cookie_is_nobody_and_is_deleted(db: None, value: str) -> None:
    request = make_request(visitor=value)
    assert identity.visitor_id(request) == ""
    assert api.shopper_for(request) is None
    response = ShopperMiddleware(lambda _request: HttpResponse())(request)
    assert ("pz_visitor" in response.cookies) == ("pz_visitor" in request.COOKIES)


def test_consent_survives_a_malformed_cookie(browser: Browser) -> None:
    """The cookie that the answer sets is not the one that the middleware deletes."""
    browser.csrf()
    browser.cookies["pz_visitor"] = "malformed"
    browser.answer("all")
    assert browser.visitor()
    assert browser.events(event()).json()["accepted"] == 1


def test_a_forged_cookie_is_nobody(browser: Browser) -> None:
    browser.csrf()
    browser.cookies["pz_visitor"] = "6f9619ff8b86d011b42d00cf4fc964ff"
    assert browser.events(event()).status_code == 204
    browser.answer("all")
    assert browser.visitor() != "6f9619ff8b86d011b42d00cf4fc964ff"  # nobody chooses their own id


# --- A consent manager of the host's ----------------------------------------------------------------------------------


def test_the_hosts_consent_manager_decides(configure: Configure, shopper: Shopper) -> None:
    configure(CONSENT="tests.personalization.host.Consent")
    visitor = make_alias(shopper)

    def asked(purposes: str, **headers: str) -> HttpRequest:
        return make_request(visitor=visitor, headers={"x-purposes": purposes, **headers})

    assert api.purposes_of(asked("")) == frozenset()
    assert api.track("page_viewed", request=asked("")) is False
    assert api.purposes_of(asked("personalisation")) == {P}
    assert api.track("page_viewed", request=asked("personalisation")) is True
    assert api.purposes_of(asked("personalisation", **{"sec-gpc": "1"})) == frozenset()
    assert consent.consent_asked(asked(""))


# --- The middleware ---------------------------------------------------------------------------------------------------


def test_the_middleware_costs_no_query(django_assert_num_queries: object, shopper: Shopper) -> None:
    request = make_request(visitor=make_alias(shopper))
    with django_assert_num_queries(0):  # type: ignore[operator]
        ShopperMiddleware(lambda _request: HttpResponse())(request)
    with django_assert_num_queries(1):  # type: ignore[operator]
        assert api.shopper_for(request) == shopper
        assert api.shopper_for(request) == shopper


# --- Erased at that moment, in another window -------------------------------------------------------------------------


def test_who_agrees_after_an_erasure_is_somebody_new() -> None:
    account = make_account("ada")
    request, response = make_request(user=account), HttpResponse()
    old = identity.shopper_for_user(account)
    assert identity.shopper_for(request) == old
    api.erase(Shopper.objects.get(pk=old.pk))
    consent.give_consent(request, response, [P])
    new = Shopper.objects.get()
    assert new.key != old.key
    assert new.allows(P)
    assert ledger(new) == [("personalisation", True)]


def test_who_is_erased_can_refuse_all_the_same() -> None:
    request, response = make_request(visitor=make_alias(make_shopper())), HttpResponse()
    shopper = identity.shopper_for(request)
    assert shopper is not None
    api.erase(Shopper.objects.get(pk=shopper.pk))
    consent.withdraw_consent(request, response)
    assert response.cookies["pz_consent"].value == "no"
    assert nobody_is_known()
