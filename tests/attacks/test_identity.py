"""Attempts to be, to read or to poison somebody else."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.urls import reverse

from personalization import api
from personalization.models import Event, Shopper
from personalization.types import Purpose
from tests.personalization.builders import Browser, make_account, make_offer, make_order, make_request
from tests.personalization.conftest import Committing

pytestmark = pytest.mark.django_db


def signed_in(user: Any) -> Browser:
    browser = Browser()
    browser.force_login(user)
    return browser


def test_signing_out_leaves_nothing_of_the_account_in_the_browser() -> None:
    """A shared computer: whoever comes next sees no coupon, no code, no history, and cannot erase any."""
    user, offer = make_account(), make_offer()
    browser = Browser()
    browser.answer("all")
    browser.force_login(user)
    code = browser.call("api-claim", {"offer_id": offer.pk}).json()["code"]
    browser.post(reverse("shop:logout"), {"csrfmiddlewaretoken": browser.csrf()})
    assert code not in browser.get(reverse("shop:basket")).content.decode()
    assert browser.get(reverse("shop:privacy-download")).json() == {}


def test_a_typed_address_gives_nobody_elses_orders(committing: Committing) -> None:
    """A guest's address is not checked: naming it must not lead its owner's orders to whoever named it first."""
    thief = Browser()
    thief.answer("all")
    with committing():
        api.record_order(make_order("1", guest_ref="victim@example.org"), request=make_request(visitor=thief.visitor()))
    with committing():
        api.record_order(make_order("2", guest_ref="victim@example.org"), request=make_request())
    told = json.dumps(thief.get(reverse("shop:privacy-download")).json())
    assert '"1"' in told
    assert '"order_id": "2"' not in told


def test_consent_of_an_account_that_was_erased_is_in_force_at_once() -> None:
    user = make_account()
    browser = signed_in(user)
    browser.answer("all")
    api.erase(Shopper.objects.get(user=user))
    browser.answer("all")
    shopper = Shopper.objects.get(user=user)
    assert shopper.allows(Purpose.PERSONALISATION)
    assert Shopper.objects.count() == 1


def test_a_claim_is_not_recorded_while_the_browser_refuses() -> None:
    browser = Browser()
    browser.answer("all")
    browser.call("api-claim", {"offer_id": make_offer().pk}, headers={"Sec-GPC": "1"})
    assert not Event.objects.filter(type="coupon_claimed").exists()
