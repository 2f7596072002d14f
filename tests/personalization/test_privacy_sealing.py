"""Personal values lie encrypted, can be read while keys change, and end up under the newest key."""

from __future__ import annotations

import importlib
import io
from typing import Any

import pytest
from django.apps import apps
from django.core.management import call_command
from django.utils import timezone

from personalization import api
from personalization.campaigns import codes, support, triggers
from personalization.checks import check_settings
from personalization.exceptions import InvalidTrigger
from personalization.features import audience_fields
from personalization.insight import doctor
from personalization.models import AuditEntry, Coupon, Event, QuarantinedEvent, Shopper
from personalization.privacy import rotation
from personalization.tracking import schema, sealing, secrets
from personalization.tracking.declarations import EventType, Property
from personalization.tracking.identity import upsert_shoppers
from personalization.tracking.quarantine import payload_of
from personalization.types import EventData, ShopperData
from tests.personalization.builders import Browser, event, make_account, make_basket, make_offer
from tests.personalization.conftest import Configure

pytestmark = pytest.mark.django_db
SECRET = "a quiet riverside"
NOW = timezone.now()


def columns() -> str:
    """Return what the database itself holds, nothing opened."""
    rows: list[Any] = [*Event.objects.values_list("properties"), *QuarantinedEvent.objects.values_list("payload")]
    return str([*rows, *Shopper.objects.values_list("attributes")])


@pytest.fixture
def stored(visitor: Browser) -> Shopper:
    """A shopper who searched, sent something unknown, and has a name."""
    visitor.events(
        event("search_performed", properties={"query": SECRET, "results": 3}),
        event("teleported", properties={"to": SECRET}),
    )
    upsert_shoppers([ShopperData("crm-1", attributes={"name": SECRET, "tier": "gold"})])
    return visitor.shopper()


def test_personal_values_lie_encrypted(stored: Shopper) -> None:
    assert SECRET not in columns()
    found = Event.objects.get()
    assert found.properties["results"] == 3
    assert sealing.open_properties(found.properties) == {"query": SECRET, "results": 3}
    assert payload_of(QuarantinedEvent.objects.get())["properties"] == {"to": SECRET}
    named = Shopper.objects.get(aliases__value="crm-1")
    assert named.attributes["tier"] == "gold"
    assert sealing.open_properties(named.attributes)["name"] == SECRET


def test_the_shopper_gets_them_in_clear(stored: Shopper) -> None:
    given = api.export(stored)
    assert given["events"][0]["properties"] == {"query": SECRET, "results": 3}
    assert given["set_aside"][0]["payload"]["properties"] == {"to": SECRET}
    assert api.export(Shopper.objects.get(aliases__value="crm-1"))["profile"]["attributes"]["name"] == SECRET


def test_importing_a_profile_again_writes_nothing(stored: Shopper) -> None:
    before = Shopper.objects.get(aliases__value="crm-1").attributes
    upsert_shoppers([ShopperData("crm-1", attributes={"name": SECRET, "tier": "gold"})])
    assert Shopper.objects.get(aliases__value="crm-1").attributes == before


def test_what_looks_sealed_is_sealed_and_opened_once(visitor: Browser) -> None:
    """Whoever sends somebody else's ciphertext gets it back as it is."""
    stolen = sealing.seal("theirs")
    visitor.events(event("search_performed", properties={"query": stolen}))
    assert sealing.open_properties(Event.objects.get().properties) == {"query": stolen}


# --- Keys -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def old_key(configure: Configure) -> None:
    configure(SECRET_KEYS=["old"])


@pytest.fixture
def under_the_old_key(old_key: None, stored: Shopper) -> Shopper:
    offer = make_offer()
    api.claim(offer.pk, shopper=stored)
    support.give_goodwill(stored, 500, "EUR", by=make_account(), reason="late", idempotency_key="1")
    return stored


def readable() -> bool:
    opened = [
        sealing.open_properties(row.properties).get("query") for row in Event.objects.filter(type="search_performed")
    ]
    code = codes.reveal(Coupon.objects.get().code_ciphertext)
    return opened == [SECRET] and len(code) == 19 and payload_of(QuarantinedEvent.objects.get())["type"] == "teleported"


def test_after_the_rotation_the_old_key_opens_nothing(under_the_old_key: Shopper, configure: Configure) -> None:
    code = codes.reveal(Coupon.objects.get().code_ciphertext)
    configure(SECRET_KEYS=["new", "old"])
    assert readable()
    told = io.StringIO()
    call_command("rotate_keys", stdout=told)
    assert "events: 1 encrypted anew" in told.getvalue()
    configure(SECRET_KEYS=["new"])
    assert readable()
    assert api.preview(shopper=under_the_old_key, basket=make_basket(), code=code)
    configure(SECRET_KEYS=["old"])
    assert not readable()
    entry = AuditEntry.objects.get(action="rotated")
    assert entry.details["rows"]["coupons"] == 1


def test_a_rotation_that_was_stopped_goes_on(
    under_the_old_key: Shopper, configure: Configure, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped after two batches, everything is readable under both keys; run again, the rest is done and no more."""
    api.store_events(
        [
            EventData("t", str(number), "search_performed", under_the_old_key.pk, NOW, properties={"query": SECRET})
            for number in range(9)
        ]
    )
    configure(SECRET_KEYS=["new", "old"])
    batches = 0

    def stop(name: str, done: float) -> None:
        nonlocal batches
        batches += 1
        if batches == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        rotation.rotate(stop, size=2)
    sealed = [row.properties["query"].removeprefix(sealing.PREFIX) for row in Event.objects.order_by("pk")]
    assert [secrets.is_newest(token) for token in sealed] == [True] * 4 + [False] * 6
    assert {sealing.unseal(sealing.PREFIX + token) for token in sealed} == {SECRET}
    assert rotation.rotate(size=2)["events"] == 6
    assert set(rotation.rotate(size=2).values()) == {0}


def test_what_lies_in_clear_is_found_and_sealed(stored: Shopper) -> None:
    Event.objects.filter(type="search_performed").update(properties={"query": SECRET})
    QuarantinedEvent.objects.update(payload={"type": "x", "properties": {"to": SECRET}})
    Shopper.objects.filter(pk=stored.pk).update(attributes={"name": SECRET})
    assert rotation.in_clear() == {"events": 1, "set_aside": 1, "profiles": 1}
    assert any("rotate_keys" in finding.text for finding in doctor.examine())
    rotation.rotate()
    assert SECRET not in columns()
    assert rotation.in_clear() == {}


def test_the_migration_seals_and_opens_again(stored: Shopper) -> None:
    migration = importlib.import_module("personalization.migrations.0012_privacy")
    Event.objects.filter(type="search_performed").update(properties={"query": SECRET, "results": 3})
    Shopper.objects.filter(pk=stored.pk).update(attributes={"name": SECRET})
    migration.seal_existing(apps, None)
    assert SECRET not in columns()
    migration.open_again(apps, None)
    assert Event.objects.get().properties == {"query": SECRET, "results": 3}
    assert Shopper.objects.get(pk=stored.pk).attributes == {"name": SECRET}
    assert QuarantinedEvent.objects.get().payload["properties"] == {"to": SECRET}


# --- What a database is asked for is not sealed -----------------------------------------------------------------------


def test_no_audience_asks_for_what_is_sealed(configure: Configure) -> None:
    assert audience_fields.find("attributes.name") is None
    assert audience_fields.find("attributes.shoe_size") is not None
    configure(PERSONAL_ATTRIBUTES=["shoe_size"])
    assert audience_fields.find("attributes.shoe_size") is None


def test_no_trigger_asks_for_what_is_sealed() -> None:
    with pytest.raises(InvalidTrigger, match="query is personal"):
        triggers.parse_params("event", {"type": "search_performed", "property": "query", "value": "tea"})
    assert triggers.parse_params("event", {"type": "search_performed", "property": "results", "value": 0})


@pytest.mark.parametrize("name", sorted(sealing.NEEDED))
def test_what_features_read_cannot_be_sealed(configure: Configure, name: str) -> None:
    configure(PERSONAL_ATTRIBUTES=[name, "nickname"])
    assert "personalization.E014" in {message.id for message in check_settings(None)}
    assert sealing.seal_attributes({name: 1, "nickname": 2})[name] == 1


def test_a_property_that_is_looked_up_is_hidden_and_not_sealed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schema, "_TYPES", dict(schema._TYPES))
    schema.register(
        EventType("x", properties=(Property("a", personal=True), Property("b", personal=True, lookup=True)))
    )
    assert schema.personal("x") == {"a", "b"}
    assert schema.sealed("x") == {"a"}
