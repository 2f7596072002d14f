"""Attempts to be, to read or to poison somebody else."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.core import signing
from django.urls import reverse
from django.utils import timezone

from personalization import api
from personalization.campaigns import outbox, triggers
from personalization.models import Event, Occurrence, OutboxMessage, Shopper, Trigger
from personalization.tracking import merging
from personalization.types import Purpose
from tests.personalization.builders import Browser, make_account, make_offer, make_order, make_request, make_shopper
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


def test_a_claim_is_not_recorded_while_the_browser_refuses(committing: Committing) -> None:
    browser = Browser()
    user = make_account()
    browser.force_login(user)
    browser.answer("all")
    with committing():
        answer = browser.call("api-claim", {"offer_id": make_offer().pk}, headers={"Sec-GPC": "1"})
    assert answer.status_code == 200
    assert not Event.objects.filter(type="coupon_claimed").exists()


def test_a_session_forgets_the_pseudonym_of_the_erased() -> None:
    browser = Browser()
    browser.call("api-claim", {"offer_id": make_offer().pk})
    assert "pz_shopper" in browser.session
    browser.post(reverse("shop:privacy-erase"), {"sure": "on", "csrfmiddlewaretoken": browser.csrf()}, follow=True)
    assert not Shopper.objects.exists()
    assert "pz_shopper" not in browser.session


def test_a_visitor_cannot_speak_for_another() -> None:
    """Ids of shoppers, sources and decisions in a body change nothing: the cookie says whose events these are."""
    mine, other = Browser(), Browser()
    mine.answer("all")
    other.answer("all")
    offer = make_offer()
    decision = other.get(reverse("personalization:offers"), {"slot": "home_hero"}).json()
    forged = {"id": "1", "type": "offer_clicked", "offer_id": offer.pk, "properties": decision_of(decision)}
    assert mine.events(forged).json()["accepted"] == 1
    for field in ({"shopper": other.shopper().pk}, {"shopper_id": 1}, {"source": "orders"}, {"is_bot": False}):
        assert mine.events({**forged, "id": str(field), **field}).json()["quarantined"] == 1
    api.join_outcomes()
    theirs = other.shopper()
    assert Event.objects.get().shopper == mine.shopper()
    assert [row.clicked_at for row in theirs.exposures.all()] in ([], [None])


def decision_of(answer: dict[str, Any]) -> dict[str, str]:
    return {"decision_id": answer["decision_id"]}


def test_the_same_event_id_of_two_visitors_is_two_events() -> None:
    """Nobody can use up the event ids of somebody else."""
    for _person in range(2):
        browser = Browser()
        browser.answer("all")
        assert browser.events({"id": "1", "type": "page_viewed"}).json()["accepted"] == 1


def test_the_page_does_not_tell_scripts_who_the_visitor_is() -> None:
    """The cookie is HttpOnly; and the token's first part, which the script keeps its queue under, is one a shopper."""
    owners = set()
    for _person in range(2):
        browser = Browser()
        browser.answer("all")
        pages = [browser.get(reverse("shop:privacy")).content.decode() for _ in range(2)]
        tokens = [page.split('data-pz-token="')[1].split('"')[0] for page in pages]
        assert len({token.split(":")[0] for token in tokens}) == 1
        told = signing.TimestampSigner(salt="personalization.page").unsign(tokens[0])
        assert told not in {browser.visitor(), str(browser.shopper().key), browser.shopper().key.hex}
        owners.add(told)
    assert len(owners) == 2


def test_a_visitor_who_turns_out_to_be_an_account_gets_a_launch_once() -> None:
    """Both agreed to messages and both were written to; the login comes before the messages go out."""
    visitor, account = make_shopper(), make_shopper(user=make_account())
    offer, other = make_offer(), make_offer()
    both = Trigger.objects.create(campaign=offer.campaign, kind="launch", channels=["webhook"])
    assert triggers.evaluate(both) == 2
    alone = Trigger.objects.create(campaign=other.campaign, kind="launch", channels=["webhook"])
    moment = timezone.now()
    occurrence = Occurrence.objects.create(trigger=alone, shopper=visitor, key="launch", open_until=moment)
    OutboxMessage.objects.create(
        occurrence=occurrence, campaign=other.campaign, shopper=visitor, channel="webhook", dedupe_key="alone"
    )
    merging.merge(visitor, account)
    to_account = OutboxMessage.objects.filter(shopper=account)
    assert sorted(to_account.values_list("campaign_id", flat=True)) == sorted([offer.campaign_id, other.campaign_id])
    left = OutboxMessage.objects.select_related("shopper", "campaign", "occurrence__trigger").get(shopper=visitor)
    assert outbox.judge(left, timezone.now()).reason == "not_a_person"
