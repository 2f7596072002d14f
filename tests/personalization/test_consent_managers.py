"""Consent managers of the host's: their cookies are read, and what they say reaches the ledger."""

from __future__ import annotations

import base64
from typing import Any
from urllib.parse import quote

import pytest
from django.http import HttpRequest
from django.urls import reverse
from hypothesis import given
from hypothesis import strategies as st

from personalization import api
from personalization.checks import check_settings
from personalization.models import ConsentRecord, Event, Shopper
from personalization.ports.consent_cookie import FORMATS, CookieConsent, granted
from personalization.tracking import consent
from personalization.types import Purpose
from tests.personalization.builders import Browser, event, make_request
from tests.personalization.conftest import Committing, Configure

P, A, M = Purpose.PERSONALISATION, Purpose.ANALYTICS, Purpose.MARKETING
ADAPTER = "personalization.ports.consent_cookie.CookieConsent"
COOKIEBOT = "{stamp:'x==',necessary:true,preferences:true,statistics:false,marketing:true,ver:1,utc:17}"
ONETRUST = "isGpcEnabled=0&datestamp=Fri&groups=C0001%3A1%2CC0002%3A1%2CC0003%3A0%2CC0004%3A0"
NAMES = {"personalisation": ["preferences"], "analytics": ["statistics"], "marketing": ["marketing"]}


def tcf(*purposes: int, version: int = 2) -> str:
    """Return the core segment of a TCF string that agrees to these purposes, and nothing else."""
    bits = version << 170 | sum(1 << 24 - number for number in purposes)
    text = base64.urlsafe_b64encode((bits << 4 + 60).to_bytes(30, "big")).decode().rstrip("=")
    return f"{text}.YAAAAAAAAAAA"


@pytest.mark.parametrize(
    ("value", "form", "names"),
    [
        (COOKIEBOT, "flags", {"necessary", "preferences", "marketing", "ver"}),
        (quote(COOKIEBOT), "flags", {"necessary", "preferences", "marketing", "ver"}),
        (ONETRUST, "flags", {"C0001", "C0002"}),
        (quote(ONETRUST), "flags", {"C0001", "C0002"}),
        ('{"analytics": true, "ads": false, "more": {"deep": "yes"}}', "flags", {"analytics", "deep"}),
        ("consent:yes,analytics:no,analytics:yes", "flags", {"consent"}),  # who contradicts themselves, refuses
        ('{"categories":["necessary","analytics"],"level":["x"]}', "list", {"necessary", "analytics", "x"}),
        (quote('{"categories":["ads"]}'), "list", {"ads"}),
        (tcf(1, 3, 24), "tcf", {"1", "3", "24"}),
        (tcf(), "tcf", set()),
        (tcf(1, version=1), "tcf", set()),
        ("not base 64!", "tcf", set()),
        ("C", "tcf", set()),
        ("{[", "list", set()),
        ("[" * 5000, "list", set()),
        ("", "flags", set()),
    ],
)
def test_what_a_cookie_agrees_to(value: str, form: str, names: set[str]) -> None:
    assert granted(value, form) == names


def test_a_real_tcf_string_is_read_where_its_purposes_stand() -> None:
    """Version 2, all other fields filled with ones: only the bits of the purposes count."""
    ones = (2 << 146 | (1 << 146) - 1) << 24  # 152 bits before the purposes
    bits = ones | sum(1 << 24 - number for number in (2, 4))
    text = base64.urlsafe_b64encode((bits << 64 | (1 << 64) - 1).to_bytes(30, "big")).decode()
    assert granted(text, "tcf") == {"2", "4"}


@given(st.text(max_size=300) | st.binary(max_size=200).map(lambda raw: base64.urlsafe_b64encode(raw).decode()))
def test_no_cookie_breaks_it(value: str) -> None:
    for form in FORMATS:
        assert isinstance(granted(value, form), set)


def with_cookie(value: str) -> HttpRequest:
    request = make_request()
    request.COOKIES["cmp"] = value
    return request


def described(configure: Configure, **cookie: Any) -> None:
    configure(CONSENT=ADAPTER, CONSENT_COOKIE={"name": "cmp", "format": "flags", "purposes": NAMES, **cookie})


def test_the_adapter_maps_names_to_purposes(configure: Configure) -> None:
    described(configure)
    assert CookieConsent().purposes(with_cookie(COOKIEBOT)) == {P, M}
    assert CookieConsent().purposes(make_request()) == frozenset()
    assert CookieConsent().purposes(with_cookie("x" * 9000)) == frozenset()
    described(configure, format="tcf", purposes={"personalisation": [1, 3], "marketing": [2]})
    assert CookieConsent().purposes(with_cookie(tcf(1, 3))) == {P}
    assert CookieConsent().purposes(with_cookie(tcf(1, 2))) == {M}  # all that a purpose names, or nothing


def test_the_checks_say_what_the_description_lacks(configure: Configure) -> None:
    def told(**cookie: Any) -> set[str | None]:
        described(configure, **cookie)
        return {message.id for message in check_settings(None)} - {"personalization.W001"}

    assert told() == set()
    for wrong in ({"name": ""}, {"format": "xml"}, {"purposes": {"profit": ["x"]}}, {"purposes": {"analytics": "x"}}):
        assert told(**wrong) == {"personalization.E009"}, wrong


@pytest.mark.django_db
def test_a_visitor_agrees_and_withdraws_in_the_manager(
    browser: Browser, configure: Configure, committing: Committing
) -> None:
    described(configure)
    home = reverse("shop:home")
    browser.get(home)
    assert not Shopper.objects.exists()
    browser.cookies["cmp"] = COOKIEBOT
    browser.get(home)
    shopper = browser.shopper()
    assert (shopper.allows(P), shopper.allows(A), shopper.allows(M)) == (True, False, True)
    assert browser.events(event()).json()["accepted"] == 1
    written = ConsentRecord.objects.count()
    browser.get(home)
    assert ConsentRecord.objects.count() == written == 2
    assert set(ConsentRecord.objects.values_list("source", flat=True)) == {"manager"}
    browser.cookies["cmp"] = COOKIEBOT.replace("true", "false")
    assert browser.events(event()).status_code == 204  # at once
    assert browser.visitor() == ""
    shopper.refresh_from_db()
    assert not shopper.allows(P)  # and for the next job
    assert Event.objects.count() == 1
    del browser.cookies["pz_visitor"]  # a browser drops what is deleted; the test client keeps it, empty
    answers = browser.get(home).cookies
    assert "pz_visitor" not in answers
    assert "pz_consent" not in answers


@pytest.mark.django_db
def test_a_manager_that_fails_agrees_to_nothing_and_harms_nobody(browser: Browser, configure: Configure) -> None:
    configure(CONSENT="tests.personalization.host.Broken")
    assert browser.get(reverse("shop:home")).status_code == 200
    assert not Shopper.objects.exists()
    request = make_request()
    assert api.purposes_of(request) == frozenset()
    assert consent.consent_asked(request)
