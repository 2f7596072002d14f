"""The link in a message: it leads into the shop and nowhere else, and a person who follows it is counted once."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.core import mail, signing
from django.test import Client

from personalization.campaigns import channels, clicks, outbox
from personalization.insight.feedback import join_outcomes
from personalization.models import Campaign, Event, Exposure, Offer, Shopper
from personalization.privacy import erasure
from personalization.tracking import consent
from personalization.types import Purpose
from tests.personalization import reach
from tests.personalization.builders import AGENT, CRAWLER, make_offer
from tests.personalization.reach import loft, only, queue, reachable

pytestmark = pytest.mark.django_db
HOME = "https://shop.example"
SALE = "https://shop.example/sale/"


@pytest.fixture(autouse=True)
def _host(configure: Any) -> Iterator[None]:
    reach.empty()
    configure(**reach.PATHS)
    yield
    reach.empty()


def sent(**fields: Any) -> str:
    """Send one message and return the path of its link."""
    queue(reachable(), offer=make_offer(headline="A tenth off", **{"cta_url": "/sale/", **fields}))
    assert outbox.send_due() == 1
    return urlsplit(loft.sent[0].link).path


def follow(path: str, committing: Any, *, method: str = "get", agent: str = AGENT, **headers: str) -> str:
    """Follow a link; returns where it leads."""
    with committing():
        answer = getattr(Client(), method)(path, headers={"user-agent": agent, **headers})
    assert answer.status_code == 302
    assert "no-store" in answer["Cache-Control"]
    return str(answer["Location"])


def test_a_click_is_counted_once_and_joins_its_exposure(committing: Any) -> None:
    path = sent()
    for _ in range(3):
        assert follow(path, committing) == SALE
    event, message = Event.objects.get(type="offer_clicked"), only()
    assert (event.shopper, event.offer) == (message.shopper, Offer.objects.get())
    assert event.properties == {"decision_id": str(message.pk), "message_channel": "pigeon"}
    assert Exposure.objects.get().clicked_at is None
    join_outcomes()
    assert Exposure.objects.get().clicked_at == event.occurred_at


def test_the_link_says_nothing_about_the_shopper_and_carries_no_code() -> None:
    path, shopper = sent(), Shopper.objects.get()
    token = path.rstrip("/").rpartition("/")[2]
    assert signing.loads(token, salt=clicks.SALT) == only().pk.hex
    assert loft.sent[0].code
    for secret in (loft.sent[0].code, shopper.key.hex, str(shopper.key), loft.sent[0].address):
        assert secret not in path


@pytest.mark.parametrize(
    ("method", "agent", "headers"),
    [
        ("head", AGENT, {}),
        ("get", CRAWLER, {}),
        ("get", "", {}),
        ("get", f"{AGENT} BarracudaCentral", {}),
        ("get", "Microsoft Office/16.0 (Windows NT 10.0; Microsoft Outlook 16.0.5134; Pro)", {}),
        ("get", AGENT, {"sec-purpose": "prefetch;prerender"}),
        ("get", AGENT, {"purpose": "prefetch"}),
        ("get", AGENT, {"x-moz": "prefetch"}),
        ("get", AGENT, {"sec-gpc": "1"}),
    ],
)
def test_what_only_looks_is_sent_on_and_not_counted(
    method: str, agent: str, headers: dict[str, str], committing: Any
) -> None:
    assert follow(sent(), committing, method=method, agent=agent, **headers) == SALE
    assert not Event.objects.exists()


def test_a_form_cannot_be_posted_there() -> None:
    assert Client().post(sent()).status_code == 405


@pytest.mark.parametrize("kept", [{Purpose.PERSONALISATION}, {Purpose.MARKETING}, set()])
def test_whoever_withdrew_is_sent_on_and_not_counted(kept: set[Purpose], committing: Any) -> None:
    path = sent()
    consent.record(Shopper.objects.get(), kept, source="test")
    assert follow(path, committing) == SALE
    assert not Event.objects.exists()


def test_an_old_link_still_leads_there(committing: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    path = sent()
    monkeypatch.setattr(clicks, "COUNTS_FOR", timedelta(seconds=-1))
    assert follow(path, committing) == SALE
    assert not Event.objects.exists()


@pytest.mark.parametrize(
    "token",
    ["x", "x:y:z", signing.dumps("no id", salt=clicks.SALT), signing.dumps([1], salt=clicks.SALT)],
    ids=["one letter", "three parts", "no id", "a list"],  # a signature carries the time
)
def test_a_link_that_is_not_ours_leads_home(token: str, committing: Any) -> None:
    assert follow(f"/personalization/m/{token}/", committing) == HOME
    assert not Event.objects.exists()


def test_the_link_of_somebody_erased_leads_home(committing: Any) -> None:
    path = sent()
    erasure.erase(Shopper.objects.get())
    assert follow(path, committing) == HOME
    assert not Event.objects.exists()


@pytest.mark.parametrize(
    "page",
    [
        "https://elsewhere.example/",
        "//elsewhere.example/",
        "https://shop.example.elsewhere.example/",
        "https://shop.example@elsewhere.example/",
        "https://elsewhere.example\\@shop.example/",
        "https:///elsewhere.example/",
        "javascript:alert(1)",
    ],
)
def test_it_is_no_open_redirect(page: str, committing: Any) -> None:
    path = sent()
    Offer.objects.update(cta_url=page)
    assert follow(path, committing) == HOME
    assert not Event.objects.exists()


def test_a_page_of_somebody_elses_is_linked_as_it_is() -> None:
    sent(cta_url="https://partner.example/tea")
    assert loft.sent[0].link == "https://partner.example/tea"


def test_a_page_on_another_of_the_campaigns_sites_is_ours(committing: Any) -> None:
    offer = make_offer(cta_url="https://second.example/sale/")
    Campaign.objects.update(sites=["second.example"])
    offer.refresh_from_db()
    queue(reachable(), offer=offer)
    outbox.send_due()
    assert follow(urlsplit(loft.sent[0].link).path, committing) == "https://second.example/sale/"
    assert Event.objects.count() == 1


@pytest.mark.parametrize("page", ["https://SECOND.example/sale/", "https://second.example:443/sale/"])
def test_hosts_are_compared_as_browsers_do(page: str, committing: Any) -> None:
    offer = make_offer(cta_url=page)
    Campaign.objects.update(sites=["Second.Example"])
    offer.refresh_from_db()
    queue(reachable(), offer=offer)
    outbox.send_due()
    assert follow(urlsplit(loft.sent[0].link).path, committing) == page
    assert Event.objects.count() == 1


def test_the_mail_and_the_webhook_carry_it() -> None:
    sent()
    assert channels._payload(loft.sent[0])["link"] == loft.sent[0].link
    queue(reachable(), channel="email")
    outbox.send_due()
    letter, *_others = mail.outbox
    assert "https://shop.example/personalization/m/" in letter.body
    assert "/sale/" not in letter.body


def test_without_an_address_of_the_shop_there_is_no_link(configure: Any) -> None:
    configure(PUBLIC_URL="")
    queue(reachable())
    outbox.send_due()
    assert loft.sent[0].link == ""
