"""Orders become events exactly once, live or from the past; the catalogue's copy follows the host's."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest
from django.utils import timezone

from personalization import api
from personalization.models import CatalogItem, Event, Shopper, ShopperAlias
from personalization.ports import signals
from personalization.tracking import backfill, consent, identity
from personalization.types import CONSENT_PURPOSES, BasketLine, OrderData
from tests.personalization import host
from tests.personalization.builders import make_account, make_alias, make_order, make_request
from tests.personalization.conftest import Committing, Configure

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("hosted")]


def orders() -> list[Event]:
    return list(Event.objects.filter(type="order_placed").order_by("event_id"))


def test_an_order_arrives_with_all_it_holds(committing: Committing) -> None:
    account = make_account()
    order = make_order(user_id=account.pk, discount_minor=100)
    with committing():
        signals.order_placed.send(sender=None, order=order, request=None)
    (stored,) = orders()
    assert stored.shopper.user == account
    assert (stored.source, stored.event_id) == ("orders", "host.order:1001")
    assert (stored.value_minor, stored.occurred_at) == (3000, order.placed_at)
    assert stored.properties == {
        "order_id": "1001",
        "currency": "EUR",
        "discount_minor": 100,
        "lines": [{"item_id": "p-1", "quantity": 2, "unit_price_minor": 1500, "category": "tea"}],
    }


def test_an_order_announced_twice_and_backfilled_is_one_event(committing: Committing) -> None:
    account = make_account()
    host.ORDERS.append(make_order(user_id=account.pk))
    with committing():
        signals.order_placed.send(sender=None, order=host.ORDERS[0])
        signals.order_placed.send(sender=None, order=host.ORDERS[0])
        api.record_order(host.ORDERS[0])
    assert len(orders()) == 1
    assert api.backfill_orders() == 0
    assert len(orders()) == 1


def test_backfilling_twice_adds_nothing() -> None:
    account = make_account()
    host.ORDERS += [
        make_order("1", user_id=account.pk),
        make_order("2", guest_ref="ada@example.org"),
        make_order("3", guest_ref="ADA@example.org "),
        make_order("4", guest_ref="bob@example.org"),
        make_order("5"),
        make_order("6"),
        make_order("7", user_id=account.pk, cancelled=True),
    ]
    steps: list[int] = []
    assert api.backfill_orders(progress=steps.append) == 6
    assert sum(steps) == 7
    one, two, three, four, five, six = orders()
    assert one.shopper.user == account
    assert two.shopper == three.shopper
    assert len({row.shopper_id for row in (one, two, four, five, six)}) == 5  # whom nothing identifies is somebody else
    shoppers, aliases = Shopper.objects.count(), ShopperAlias.objects.count()
    assert api.backfill_orders() == 0
    assert api.backfill_orders(since=timezone.now() - timedelta(days=2)) == 0
    assert (Shopper.objects.count(), ShopperAlias.objects.count(), len(orders())) == (shoppers, aliases, 6)
    assert "ada" not in str(list(ShopperAlias.objects.values()) + list(Event.objects.values()))


def test_only_what_is_new_since_a_moment(configure: Configure) -> None:
    now = timezone.now()
    host.ORDERS += [make_order("1", placed_at=now - timedelta(days=9)), make_order("2", placed_at=now)]
    assert api.backfill_orders(since=now - timedelta(days=1)) == 1
    assert [row.event_id for row in orders()] == ["host.order:2"]
    assert backfill.pending(host.ORDERS, "host.order") == host.ORDERS[:1]


def test_many_orders_stream_in_batches() -> None:
    host.ORDERS += [make_order(str(number), guest_ref=f"{number % 40}@example.org") for number in range(1203)]
    steps: list[int] = []
    assert api.backfill_orders(progress=steps.append) == 1203
    assert steps == [500, 500, 203]
    assert Shopper.objects.count() == 40


def test_an_account_that_is_gone_stops_nobody_elses_order() -> None:
    account = make_account()
    host.ORDERS += [make_order("1", user_id=account.pk), make_order("2", guest_ref="ada@example.org")]
    account.delete()
    assert api.backfill_orders() == 2
    assert all(row.shopper.user is None for row in orders())
    assert api.backfill_orders() == 0


def test_long_ids_stay_apart(committing: Committing) -> None:
    host.ORDERS += [make_order("x" * 99 + end) for end in "ab"]
    assert api.backfill_orders() == 2
    assert api.backfill_orders() == 0
    assert backfill.pending(host.ORDERS, "host.order") == []
    with committing():
        signals.order_refunded.send(sender=None, order_id=host.ORDERS[1].order_id, amount_minor=5)
    placed = Event.objects.get(type="order_placed", properties__order_id=host.ORDERS[1].order_id)
    assert Event.objects.get(type="order_refunded").shopper == placed.shopper


def test_without_an_adapter_there_is_nothing_to_backfill(configure: Configure) -> None:
    configure(ORDERS="")
    assert api.backfill_orders() == 0


# --- Whose order it is ------------------------------------------------------------------------------------------------


def placed(order: OrderData, committing: Committing, **request: object) -> Shopper:
    with committing():
        signals.order_placed.send(sender=None, order=order, request=make_request(**request) if request else None)  # type: ignore[arg-type]
    return orders()[-1].shopper


def test_a_visitors_order_is_theirs_and_the_address_they_typed_is_not(shopper: Shopper, committing: Committing) -> None:
    order = make_order(guest_ref="ada@example.org")
    assert placed(order, committing, visitor=make_alias(shopper)) == shopper
    assert identity.shopper_for_guest("ada@example.org") != shopper


def test_without_consent_a_guests_reference_joins_nobody(committing: Committing) -> None:
    known = Shopper.objects.create()
    assert placed(make_order(guest_ref="ada@example.org"), committing, visitor=make_alias(known)) == known
    assert identity.shopper_for_guest("ada@example.org") != known


def test_an_accounts_order_is_the_accounts_whoever_asks(shopper: Shopper, committing: Committing) -> None:
    account = make_account()
    assert placed(make_order(user_id=account.pk), committing, visitor=make_alias(shopper)).user == account


def test_a_guest_without_reference_is_bound_to_the_session(committing: Committing) -> None:
    request = make_request()
    with committing():
        api.record_order(make_order(), request=request)
        api.record_order(make_order("1002"), request=request)
        api.record_order(make_order("1003"))
    first, second, third = (row.shopper for row in orders())
    assert first == second == api.shopper_for(request)
    assert third != first
    assert not any(first.allows(purpose) for purpose in CONSENT_PURPOSES)


def test_an_order_of_somebody_without_consent_is_kept_as_contract(committing: Committing) -> None:
    account = make_account()
    consent.record(api.shopper_for_user(account), [], source="test")
    assert placed(make_order(user_id=account.pk), committing).user == account


# --- Refunds ----------------------------------------------------------------------------------------------------------


def test_a_refund_is_an_event_of_the_orders_shopper(committing: Committing) -> None:
    host.ORDERS.append(make_order(guest_ref="ada@example.org"))
    api.backfill_orders()
    for _ in range(2):
        with committing():
            signals.order_refunded.send(sender=None, order_id="1001", amount_minor=500)
    stored = Event.objects.get(type="order_refunded")
    assert (stored.value_minor, stored.properties) == (500, {"order_id": "1001"})
    assert stored.shopper == orders()[0].shopper


# --- The catalogue ----------------------------------------------------------------------------------------------------


def test_the_catalogue_is_copied_and_what_vanished_is_hidden(configure: Configure) -> None:
    host.PRODUCTS += [host.product(f"p-{number}", brand="b" * 300, title="t" * 400) for number in range(3)]
    assert api.sync_catalog() == 3
    host.PRODUCTS[0] = replace(host.PRODUCTS[0], price_minor=5, visible=False)
    del host.PRODUCTS[1]
    assert api.sync_catalog() == 2
    rows = {row.item_id: row for row in CatalogItem.objects.all()}
    assert [rows[key].visible for key in ("p-0", "p-1", "p-2")] == [False, False, True]
    assert rows["p-0"].price_minor == 5
    assert (len(rows["p-2"].title), len(rows["p-2"].brand)) == (300, 100)
    configure(CATALOG="")
    assert api.sync_catalog() == 0


def test_of_two_products_with_one_id_the_later_counts() -> None:
    twice = [host.product("p-1", title="old"), host.product("p-1", title="new")]
    assert api.upsert_items(twice, label="set", population="set") == 2
    assert CatalogItem.objects.get().title == "new"


def test_other_sources_stay_as_they_are() -> None:
    api.upsert_items([host.product("x-1")], label="set", population="set")
    host.PRODUCTS.append(host.product("p-1"))
    api.sync_catalog()
    assert CatalogItem.objects.get(item_id="x-1").visible
    assert CatalogItem.objects.get(item_id="x-1").population == "set"


def test_a_line_says_what_it_costs() -> None:
    assert BasketLine("p-1", 3, 250).total_minor == 750
