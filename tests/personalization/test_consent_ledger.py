"""The consent ledger only grows: the database itself refuses to change or delete a line while its shopper is there."""

from __future__ import annotations

import pytest
from django.db import IntegrityError, connection, transaction

from personalization import api
from personalization.models import ConsentRecord, Shopper
from personalization.tracking import consent, ledger_guard
from personalization.types import CONSENT_PURPOSES


@pytest.fixture
def shopper(transactional_db: None) -> Shopper:
    """Somebody in a database that commits: a deletion is judged when its transaction ends."""
    made = Shopper.objects.create()
    consent.record(made, CONSENT_PURPOSES, source="banner")
    return made


def test_a_line_is_never_changed(shopper: Shopper) -> None:
    line = ConsentRecord.objects.first()
    assert line is not None
    line.granted = False
    with pytest.raises(IntegrityError, match="only grows"):
        line.save()
    with pytest.raises(IntegrityError, match="only grows"):
        ConsentRecord.objects.update(wording_version="2")
    assert set(ConsentRecord.objects.values_list("granted", "wording_version")) == {(True, "1")}


def test_a_line_does_not_go_without_its_shopper(shopper: Shopper) -> None:
    with pytest.raises(IntegrityError):
        ConsentRecord.objects.filter(shopper=shopper)[:1].get().delete()
    with pytest.raises(IntegrityError), connection.cursor() as cursor, transaction.atomic():
        cursor.execute("DELETE FROM personalization_consentrecord")
    assert ConsentRecord.objects.count() == len(CONSENT_PURPOSES)


def test_an_erasure_takes_them_along(shopper: Shopper) -> None:
    other = Shopper.objects.create()
    consent.record(other, CONSENT_PURPOSES, source="banner")
    api.erase(shopper)
    assert set(ConsentRecord.objects.values_list("shopper", flat=True)) == {other.pk}
    other.delete()
    assert not ConsentRecord.objects.exists()


def test_without_the_guard_the_same_would_pass(shopper: Shopper) -> None:
    """The negative control; and what is missing is installed again."""
    assert ledger_guard.is_installed(connection)
    with connection.cursor() as cursor:
        for name, table in (("unchanged", ledger_guard.LEDGER), ("kept", ledger_guard.LEDGER)):
            on = f" ON {table}" if connection.vendor == "postgresql" else ""
            cursor.execute(f"DROP TRIGGER pz_consent_{name}{on}")
    assert not ledger_guard.is_installed(connection)
    try:
        ConsentRecord.objects.update(wording_version="2")
        ConsentRecord.objects.all().delete()
        assert not ConsentRecord.objects.exists()
    finally:
        ledger_guard.install()
    assert ledger_guard.is_installed(connection)
