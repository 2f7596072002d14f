"""A query kept compiled answers as Django does when it composes the query anew."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured
from django.db import IntegrityError, connection, transaction
from django.forms.models import model_to_dict
from django.test.utils import CaptureQueriesContext

from personalization.campaigns import coupons, redemption
from personalization.models import Coupon, LedgerEntry, Reservation
from personalization.models.prepared import Prepared, insert
from tests.personalization.builders import make_offer, make_shopper
from tests.support import build

pytestmark = pytest.mark.django_db
JOINED = ("shopper", "coupon", "offer__campaign")


def reservation() -> Reservation:
    shopper = make_shopper()
    coupon_id = coupons.claim(make_offer().pk, shopper=shopper).coupon_id
    held = redemption.reserve(
        shopper=shopper, basket=build.basket(), coupon_id=coupon_id, idempotency_key=uuid.uuid4().hex
    )
    return Reservation.objects.get(pk=held.reservation_id)


def test_it_finds_the_same_row_and_all_that_is_joined_to_it() -> None:
    prepared = Prepared(lambda: Reservation.objects.select_related(*JOINED))
    for row in (reservation(), reservation()):
        plain = Reservation.objects.select_related(*JOINED).get(pk=row.pk)
        found = prepared.get(row.pk)
        assert found is not None
        with CaptureQueriesContext(connection) as queries:
            pairs: list[tuple[Any, Any]] = [(found, plain), (found.coupon, plain.coupon), (found.offer, plain.offer)]
            pairs += [(found.shopper, plain.shopper), (found.offer.campaign, plain.offer.campaign)]
            for mine, theirs in pairs:
                assert type(mine) is type(theirs)
                assert mine == theirs
                assert {f.attname: getattr(mine, f.attname) for f in mine._meta.concrete_fields} == {
                    f.attname: getattr(theirs, f.attname) for f in theirs._meta.concrete_fields
                }
        assert not queries.captured_queries, "what was joined must not be fetched again"
        assert not found._state.adding
        assert model_to_dict(found) == model_to_dict(plain)


def test_an_outer_join_that_finds_nothing_gives_none() -> None:
    row = reservation()
    Reservation.objects.filter(pk=row.pk).update(shopper=None)
    found = Prepared(lambda: Reservation.objects.select_related(*JOINED)).get(row.pk)
    assert found is not None
    assert found.shopper is None


def test_an_unknown_key_gives_none() -> None:
    assert Prepared(lambda: Coupon.objects.all()).get(uuid.uuid4()) is None
    assert Prepared(lambda: Reservation.objects.all(), "idempotency_key").get("nobody's") is None


def test_it_is_composed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    prepared = Prepared(lambda: Reservation.objects.all(), "idempotency_key")
    first, second = reservation(), reservation()
    assert prepared.get(first.idempotency_key) == first
    monkeypatch.setattr(Prepared, "_compile", None)
    assert prepared.get(second.idempotency_key) == second


def test_a_query_with_parameters_of_its_own_is_refused() -> None:
    with pytest.raises(ImproperlyConfigured, match="its key alone"):
        Prepared(lambda: Reservation.objects.filter(state="held")).get(uuid.uuid4())


def test_a_row_is_written_as_save_writes_it() -> None:
    """JSON, moments, foreign keys and a key of the row's own; and one that the database gives."""
    row = reservation()
    twin = Reservation.objects.get(pk=row.pk)
    twin.pk, twin.idempotency_key, twin.per_line_minor = uuid.uuid4(), "twin", [1, 2]
    twin._state.adding = True
    insert(twin)
    assert not twin._state.adding
    stored = Reservation.objects.get(pk=twin.pk)
    for field in Reservation._meta.concrete_fields:
        assert getattr(stored, field.attname) == getattr(twin, field.attname)

    def entry() -> LedgerEntry:
        given = {"campaign_id": row.campaign_id, "reservation": row, "reserved_delta": 1, "spent_delta": 0}
        return LedgerEntry(operation_id="x", kind="reserve", **given)

    written = entry()
    insert(written)
    assert written.pk is not None
    assert LedgerEntry.objects.get(operation_id="x") == written
    with pytest.raises(IntegrityError), transaction.atomic():
        insert(entry())
