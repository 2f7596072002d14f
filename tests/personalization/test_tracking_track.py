"""track(), the host's signals and the bots: recorded after commit, and never a harm to the host."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth import login
from django.db import DatabaseError, transaction
from django.utils import timezone

from personalization import api
from personalization.models import Event, QuarantinedEvent, Shopper
from personalization.ports import signals
from personalization.tracking import bots, ingest, logins, receivers, sealing
from tests.personalization.builders import CRAWLER, make_account, make_alias, make_offer, make_order, make_request
from tests.personalization.conftest import Committing, Configure

Send = Callable[[], Any]


# --- After commit -----------------------------------------------------------------------------------------------------


@pytest.mark.django_db(transaction=True)
def test_an_event_is_recorded_when_its_transaction_commits_and_only_then() -> None:
    shopper = Shopper.objects.create(consent_personalisation=True)
    assert api.track("page_viewed", shopper=shopper) is True  # outside a transaction: at once
    assert Event.objects.count() == 1
    with transaction.atomic():
        assert api.track("page_viewed", shopper=shopper) is True
        assert Event.objects.count() == 1
    assert Event.objects.count() == 2

    def order_that_fails() -> None:
        with transaction.atomic():
            api.track("page_viewed", shopper=shopper)
            api.record_order(make_order())
            signals.order_placed.send(sender=None, order=make_order("1002"))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        order_that_fails()
    assert Event.objects.count() == 2


@pytest.mark.django_db(transaction=True)
def test_a_database_that_refuses_the_event_harms_neither_transaction_nor_caller(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    shopper = Shopper.objects.create(consent_personalisation=True)
    for failure in (DatabaseError("gone"), TypeError("strange"), MemoryError()):

        def fail(*args: Any, failure: Exception = failure, **kwargs: Any) -> int:
            raise failure

        monkeypatch.setattr(ingest, "insert_events", fail)
        api.track("page_viewed", shopper=shopper)
        with transaction.atomic():
            api.track("page_viewed", shopper=shopper)
            Shopper.objects.create(population="kept")
    assert Shopper.objects.filter(population="kept").count() == 3
    assert "could not be stored" in caplog.text
    monkeypatch.undo()
    assert api.track("offer_shown", shopper=shopper, offer_id=999_999)  # a key that leads nowhere
    assert not Event.objects.exists()


# --- Never raises -----------------------------------------------------------------------------------------------------


@pytest.mark.django_db
@pytest.mark.parametrize(
    "arguments",
    [
        {"event_type": "teleported"},
        {"event_type": ""},
        {"event_type": None},
        {"event_type": "page_viewed", "properties": {"price": 1}},
        {"event_type": "page_viewed", "properties": {"path": None}},
        {"event_type": "page_viewed", "properties": 5},
        {"event_type": "page_viewed", "category": None},
        {"event_type": "page_viewed", "category": 5},
        {"event_type": "product_viewed", "item_id": "p" * 101},
        {"event_type": "page_viewed", "value_minor": float("nan")},
        {"event_type": "page_viewed", "value_minor": 10**30},
        {"event_type": "page_viewed", "value_minor": "12"},
        {"event_type": "page_viewed", "offer_id": "1"},
        {"event_type": "page_viewed", "event_id": "e" * 101},
        {"event_type": "page_viewed", "occurred_at": "yesterday"},
        {"event_type": "order_placed", "properties": {"lines": [{"price": object()}]}},
        {"event_type": "order_placed", "properties": {"lines": [float("inf")]}},
        {"event_type": "page_viewed", "request": object()},
        {"event_type": "page_viewed", "shopper": None},
    ],
)
def test_what_cannot_be_recorded_is_logged_and_not_raised(
    shopper: Shopper, committing: Committing, caplog: pytest.LogCaptureFixture, arguments: dict[str, Any]
) -> None:
    given = arguments if "request" in arguments else {"shopper": shopper, **arguments}
    with caplog.at_level(logging.WARNING), committing():
        assert api.track(**given) is False
    assert not Event.objects.exists()
    assert caplog.text or given["shopper"] is None


@pytest.mark.django_db
def test_a_broken_adapter_harms_nobody(configure: Configure, shopper: Shopper) -> None:
    configure(CONSENT="tests.personalization.host.Broken", ORDERS="tests.personalization.host.Broken")
    request = make_request(visitor=make_alias(shopper))
    assert api.track("page_viewed", request=request) is False
    signals.product_viewed.send(sender=None, request=request, item_id="p-1")
    signals.order_refunded.send(sender=None, order_id="1", amount_minor=1)


@pytest.mark.django_db
def test_text_is_cleaned_as_it_is_for_browsers(shopper: Shopper, committing: Committing) -> None:
    with committing():
        api.track("product_viewed", shopper=shopper, item_id="p\x00-1\ud800", category=" tea\x00 ", event_id="e\x00")
        api.track("category_viewed", shopper=shopper, category="x" * 300)  # cut as the catalogue's copy cuts it
    stored = Event.objects.get(type="product_viewed")
    assert (stored.item_id, stored.category, stored.event_id) == ("p-1", "tea", "e")
    assert Event.objects.get(type="category_viewed").category == "x" * 100


@pytest.mark.django_db
def test_nobody_known_is_nobody_recorded(committing: Committing, db: None) -> None:
    with committing():
        assert api.track("page_viewed") is False
        assert api.track("page_viewed", request=make_request()) is False
        assert api.track("page_viewed", shopper=Shopper.objects.create()) is False
    assert not Event.objects.exists()


@pytest.mark.django_db
def test_an_event_of_the_contract_needs_no_consent(committing: Committing) -> None:
    with committing():
        assert api.track("order_refunded", shopper=Shopper.objects.create(), value_minor=5) is True
    assert Event.objects.get().value_minor == 5


@pytest.mark.django_db
def test_everything_given_is_recorded(shopper: Shopper, committing: Committing) -> None:
    offer, moment = make_offer(), timezone.now() - timedelta(days=3)
    for _ in range(2):
        with committing():
            assert api.track(
                "offer_shown",
                shopper=shopper,
                item_id="p-1",
                category="tea",
                offer_id=offer.pk,
                value_minor=12,
                properties={"decision_id": "d", "position": 1},
                event_id="e-1",
                source="mail",
                occurred_at=moment,
            )
    stored = Event.objects.get()  # the second is the first again
    assert (stored.source, stored.event_id, stored.occurred_at, stored.offer) == ("mail", "e-1", moment, offer)
    assert (stored.item_id, stored.category, stored.value_minor) == ("p-1", "tea", 12)
    assert stored.properties == {"decision_id": "d", "position": 1}


@pytest.mark.django_db
def test_what_has_not_happened_yet_is_refused_and_what_clocks_explain_is_now(
    shopper: Shopper, committing: Committing, caplog: pytest.LogCaptureFixture
) -> None:
    with committing():
        assert not api.track("page_viewed", shopper=shopper, occurred_at=timezone.now() + timedelta(minutes=6))
    assert "lies in the future" in caplog.text
    assert not Event.objects.exists()
    for moment in (timezone.now() + timedelta(minutes=4), timezone.make_naive(timezone.now())):
        before = timezone.now() - timedelta(seconds=1)
        with committing():
            assert api.track("page_viewed", shopper=shopper, occurred_at=moment)
        assert before <= Event.objects.latest("pk").occurred_at <= timezone.now()


# --- Signals ----------------------------------------------------------------------------------------------------------

SIGNALS: list[tuple[Any, dict[str, Any], dict[str, Any]]] = [
    (signals.product_viewed, {"item_id": 7, "category": "tea"}, {"type": "product_viewed", "item_id": "7"}),
    (signals.category_viewed, {"category": "tea"}, {"type": "category_viewed", "category": "tea"}),
    (
        signals.search_performed,
        {"query": "x" * 900, "results": 3},
        {"type": "search_performed", "properties": {"query": "x" * 200, "results": 3}},
    ),
    (
        signals.basket_changed,
        {"item_id": "p-1", "quantity": 2, "basket_total_minor": 500},
        {"type": "basket_changed", "properties": {"quantity": 2, "basket_total_minor": 500}},
    ),
]


@pytest.mark.django_db
@pytest.mark.parametrize(("signal", "keywords", "expected"), SIGNALS, ids=[row[2]["type"] for row in SIGNALS])
def test_a_signal_becomes_an_event(
    shopper: Shopper, committing: Committing, signal: Any, keywords: dict[str, Any], expected: dict[str, Any]
) -> None:
    request = make_request(visitor=make_alias(shopper))
    with committing():
        signal.send(sender=object, request=request, unknown_keyword=1, **keywords)
        signal.send(sender=object, request=make_request(), **keywords)  # somebody who never agreed
        signal.send(sender=object, request=None, **keywords)
    stored = Event.objects.get()
    stored.properties = sealing.open_properties(stored.properties)
    assert {name: getattr(stored, name) for name in expected} == expected
    assert stored.shopper == shopper


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("signal", "keywords"),
    [
        (signals.search_performed, {"query": None, "results": 1}),
        (signals.search_performed, {"query": "tea", "results": "many"}),
        (signals.basket_changed, {"item_id": None, "quantity": None}),
        (signals.product_viewed, {"item_id": "x" * 500}),
        (signals.category_viewed, {"category": 5}),
        (signals.order_placed, {"order": None}),
        (signals.order_placed, {}),
        (signals.order_refunded, {}),
        (signals.order_refunded, {"order_id": "unknown", "amount_minor": 5}),
    ],
)
def test_a_signal_with_nonsense_harms_nobody(
    shopper: Shopper, committing: Committing, caplog: pytest.LogCaptureFixture, signal: Any, keywords: dict[str, Any]
) -> None:
    request = make_request(visitor=make_alias(shopper))
    with committing(), caplog.at_level(logging.WARNING):
        for receiver, answer in signal.send(sender=object, request=request, **keywords):
            assert not isinstance(answer, Exception), receiver
    assert not Event.objects.filter(type="order_placed").exists()


@pytest.mark.django_db
def test_receivers_are_hooked_once() -> None:
    before = [len(signal.receivers) for signal in (signals.product_viewed, signals.order_placed)]
    receivers.connect()
    assert [len(signal.receivers) for signal in (signals.product_viewed, signals.order_placed)] == before


@pytest.mark.django_db
def test_a_login_is_an_event_of_the_account(shopper: Shopper, committing: Committing) -> None:
    account = make_account()
    request = make_request(visitor=make_alias(shopper))
    with committing():
        login(request, account, backend="django.contrib.auth.backends.ModelBackend")
    stored = Event.objects.get(type="logged_in")
    assert stored.shopper.user == account


@pytest.mark.django_db
def test_a_login_never_fails_on_our_account(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    def fail(*args: Any) -> None:
        raise DatabaseError("gone")

    monkeypatch.setattr(logins, "link_at_login", fail)
    account, request = make_account(), make_request()
    login(request, account, backend="django.contrib.auth.backends.ModelBackend")
    assert request.user == account
    assert "finish_login failed" in caplog.text


# --- Bots -------------------------------------------------------------------------------------------------------------


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("agent", "flagged"), [(CRAWLER, True), ("", True), ("  ", True), ("Mozilla/5.0 Firefox", False)]
)
def test_bots_are_flagged_and_not_deleted(shopper: Shopper, committing: Committing, agent: str, flagged: bool) -> None:
    request = make_request(visitor=make_alias(shopper), agent=agent)
    with committing():
        assert api.track("product_viewed", request=request, item_id="p-1") is True
    assert Event.objects.get().is_bot is flagged
    assert bots.is_bot(agent) is flagged
    assert not QuarantinedEvent.objects.exists()
