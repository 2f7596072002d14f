"""No more messages: what looking does not do, what pressing does, and what mail providers report."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest
from django.core import signing
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from personalization.campaigns import channels, outbox, unsubscribe
from personalization.models import ConsentRecord, OutboxMessage, Shopper, Suppression
from personalization.tracking import consent
from personalization.types import CONSENT_PURPOSES
from tests.personalization import reach
from tests.personalization.builders import make_offer, running
from tests.personalization.reach import DAY, loft, only, queue, reachable

pytestmark = pytest.mark.django_db
SECRET = "hush"


@pytest.fixture(autouse=True)
def _host(configure: Any) -> Iterator[None]:
    reach.empty()
    configure(**reach.PATHS, WEBHOOK_SECRET=SECRET)
    yield
    reach.empty()


def link(shopper: Shopper, channel: str = "pigeon") -> str:
    return reverse("personalization:unsubscribe", args=[unsubscribe.token(shopper, channel)])


def client() -> Client:
    return Client(enforce_csrf_checks=True)


def test_looking_changes_nothing() -> None:
    shopper = reachable()
    answer = client().get(link(shopper))
    assert answer.status_code == 200
    assert b"<form" in answer.content
    assert b"<script" not in answer.content
    assert answer["Referrer-Policy"] == "no-referrer"
    assert "no-store" in answer["Cache-Control"]
    shopper.refresh_from_db()
    assert shopper.consent_marketing
    assert Suppression.objects.count() == 0


def test_pressing_unsubscribes_without_a_cookie_and_once() -> None:
    shopper = reachable()
    for _ in range(2):
        answer = client().post(link(shopper), {"List-Unsubscribe": "One-Click"})
        assert answer.status_code == 200
        assert b"no more messages" in answer.content
    shopper.refresh_from_db()
    assert (shopper.consent_marketing, shopper.consent_personalisation, shopper.consent_analytics) == (
        False,
        True,
        True,
    )
    assert list(ConsentRecord.objects.values_list("purpose", "granted", "source")) == [
        ("marketing", False, "unsubscribe")
    ]
    assert list(Suppression.objects.values_list("channel", "reason")) == [("pigeon", "unsubscribed")]


def test_nothing_goes_out_afterwards() -> None:
    shopper = reachable()
    queue(shopper)
    client().post(link(shopper))
    assert outbox.send_due() == 0
    assert only().reason == "no_consent"


def test_whoever_agrees_again_gets_messages_again() -> None:
    shopper = reachable()
    client().post(link(shopper))
    consent.record(shopper, CONSENT_PURPOSES, source="banner")
    queue(shopper)
    assert outbox.send_due() == 1


def test_an_address_that_complained_stays_out_though_its_owner_agrees_again() -> None:
    shopper = reachable()
    client().post(link(shopper))
    unsubscribe.record_bounce("pigeon", unsubscribe.address_of(shopper, "pigeon"), "complaint")
    consent.record(shopper, CONSENT_PURPOSES, source="banner")
    queue(shopper)
    assert outbox.send_due() == 0
    assert Suppression.objects.get().reason == "complaint"


def test_the_link_says_nothing_about_its_owner() -> None:
    shopper = reachable()
    token = unsubscribe.token(shopper, "email")
    kept = signing.loads(token, salt=unsubscribe.SALT)
    assert kept == [shopper.key.hex, "email"]
    assert "@" not in token


@pytest.mark.parametrize("token", ["x", "a:b:c", "Ü", "x" * 3000])
def test_a_link_that_is_not_ours(token: str) -> None:
    for call in (client().get, client().post):
        answer = call(reverse("personalization:unsubscribe", args=[token]))
        assert answer.status_code == 404
        assert b"This link is not complete" in answer.content


def test_a_link_signed_for_something_else() -> None:
    shopper = reachable()
    for value, salt in (([shopper.key.hex, "email"], "other"), ([1, 2], unsubscribe.SALT), ("x", unsubscribe.SALT)):
        assert unsubscribe.read(signing.dumps(value, salt=salt)) is None


def test_the_link_of_somebody_erased_is_friendly() -> None:
    shopper = reachable()
    address = link(shopper)
    shopper.delete()
    assert client().post(address).status_code == 200


def test_the_link_of_a_visitor_who_has_an_account_now() -> None:
    visitor, account = reachable(), reachable()
    address = link(visitor)
    Shopper.objects.filter(pk=visitor.pk).update(merged_into=account)
    client().post(address)
    account.refresh_from_db()
    assert not account.consent_marketing


# -- bounces


def report(body: Any, *, secret: str = SECRET, at: float | None = None) -> Any:
    text = json.dumps(body).encode() if not isinstance(body, bytes) else body
    moment = str(int(at if at is not None else time.time()))
    headers = {"X-Timestamp": moment, "X-Signature": channels.sign(secret, moment, text)}
    return client().post(reverse("personalization:bounces"), text, content_type="application/json", headers=headers)


def test_a_hard_bounce_suppresses_the_address_and_marks_the_message() -> None:
    shopper = reachable()
    queue(shopper)
    outbox.send_due()
    body = {
        "channel": "pigeon",
        "address": loft.sent[0].address,
        "kind": "hard",
        "message_id": f"<{only().pk}@shop.example>",
    }
    for _ in range(2):
        assert report(body).status_code == 204
    assert (only().state, only().reason) == ("bounced", "hard")
    assert Suppression.objects.get().reason == "bounce"
    assert loft.sent[0].address not in Suppression.objects.get().digest
    assert Shopper.objects.get().consent_marketing


def test_a_complaint_withdraws_the_consent() -> None:
    queue(reachable())
    outbox.send_due()
    report({"channel": "pigeon", "address": loft.sent[0].address, "kind": "complaint", "message_id": str(only().pk)})
    assert not Shopper.objects.get().consent_marketing
    assert Suppression.objects.get().reason == "complaint"


def test_the_third_soft_bounce_is_one_too_many() -> None:
    shopper = reachable()
    outcomes = []
    for _ in range(3):
        queue(shopper, offer=make_offer(running()))
    outbox.send_due()
    for message in OutboxMessage.objects.all():
        for _ in range(2):  # a repeated report counts once
            outcomes.append(
                unsubscribe.record_bounce("pigeon", loft.sent[0].address, "soft", message_id=str(message.pk))
            )
    assert outcomes == [False, False, False, False, True, True]
    assert unsubscribe.record_bounce("pigeon", "nobody@shop.example", "soft") is False
    assert Suppression.objects.count() == 1


@pytest.mark.parametrize(
    ("body", "given", "code"),
    [
        ({"address": "a@b.example", "kind": "hard"}, {"secret": "guess"}, 403),
        ({"address": "a@b.example", "kind": "hard"}, {"at": 1_000_000}, 403),
        ({"address": "a@b.example", "kind": "odd"}, {}, 400),
        ({"kind": "hard"}, {}, 400),
        ([], {}, 400),
        (b"{", {}, 400),
        (b"[" * 90_000, {}, 400),
        (b" " * 100_001, {}, 413),
    ],
)
def test_reports_that_are_not_taken(body: Any, given: dict[str, Any], code: int) -> None:
    assert report(body, **given).status_code == code
    assert Suppression.objects.count() == 0


def test_without_a_secret_nobody_reports(configure: Any) -> None:
    configure(WEBHOOK_SECRET="")
    assert report({"address": "a@b.example", "kind": "hard"}, secret="").status_code == 403


def test_another_kind_is_refused() -> None:
    with pytest.raises(ValueError, match="hard or soft"):
        unsubscribe.record_bounce("email", "a@b.example", "medium")
    assert timezone.now() - DAY < timezone.now()
