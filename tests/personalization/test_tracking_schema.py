"""Declarations: what a property may hold is checked when an event comes, a contradiction when it is declared."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from math import inf, nan
from typing import Any

import pytest

from personalization import api
from personalization.exceptions import InvalidEvent
from personalization.models import Event, QuarantinedEvent, Shopper
from personalization.tracking import schema
from personalization.tracking.ingest import ingest
from personalization.tracking.schema import EventType, Kind, Property, Unit
from personalization.types import CONSENT_PURPOSES, IngestResult, Purpose
from tests.personalization.builders import event
from tests.personalization.conftest import Committing, Configure

ALL = frozenset(CONSENT_PURPOSES)
Declare = Callable[..., EventType]


@pytest.fixture
def declare(monkeypatch: pytest.MonkeyPatch) -> Declare:
    """Declare a type of the host's own, for one test."""
    monkeypatch.setattr(schema, "_TYPES", dict(schema._TYPES))

    def declare(*properties: Property, **fields: Any) -> EventType:
        return api.register_event_type(EventType("size_advised", public=True, properties=properties, **fields))

    return declare


def check(declared: Property, value: Any, purposes: frozenset[Purpose] = ALL) -> Any:
    kind = EventType("size_advised", properties=(declared,))
    return schema.Checker(kind)({declared.name: value}, purposes).get(declared.name)


@pytest.mark.parametrize(
    ("kind", "value", "stored"),
    [
        (Kind.TEXT, " S\x00 ", "S"),
        (Kind.TEXT, "two\nlines", "two\nlines"),
        (Kind.WHOLE, -3, -3),
        (Kind.NUMBER, 2.5, 2.5),
        (Kind.NUMBER, 3, 3),
        (Kind.NUMBER, Decimal("1.25"), 1.25),
        (Kind.FLAG, True, True),
        (Kind.MOMENT, "2024-02-29T12:00:00+02:00", "2024-02-29T10:00:00+00:00"),
        (Kind.MOMENT, datetime(2024, 2, 29, tzinfo=UTC), "2024-02-29T00:00:00+00:00"),
        (Kind.LIST, ["a", {"b": [1]}], ["a", {"b": [1]}]),
        (Kind.OBJECT, {"a": None}, {"a": None}),
    ],
)
def test_a_value_of_its_kind_is_stored(kind: Kind, value: Any, stored: Any) -> None:
    assert check(Property("size", kind), value) == stored


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        (Kind.TEXT, [1, True, [], {}, b"x"]),
        (Kind.WHOLE, ["1", 1.0, True, nan, 10**13, -(10**13)]),
        (Kind.NUMBER, ["1", True, nan, inf, -inf, 1e13, Decimal("NaN"), []]),
        (Kind.FLAG, [0, 1, "true", []]),
        (Kind.MOMENT, ["yesterday", 5, "2023-02-29T00:00:00Z", "0001-01-01T00:00:00+14:00", {}]),
        (Kind.LIST, ["ab", {}, 1, [[[[[[[[1]]]]]]]]]),
        (Kind.OBJECT, [[], "a", 1]),
    ],
)
def test_a_value_of_another_kind_is_refused(kind: Kind, values: list[Any]) -> None:
    for value in [None, *values]:
        with pytest.raises(InvalidEvent, match="size") as refused:
            check(Property("size", kind), value)
        assert refused.value.reason


def test_bounds_and_choices() -> None:
    stars = Property("rating", Kind.WHOLE, least=1, most=5)
    assert [check(stars, value) for value in (1, 5)] == [1, 5]
    size = Property("size", choices=("S", "M"), max_length=3)
    assert check(size, " M ") == "M"
    for declared, value, reason in [
        (stars, 0, "out_of_range"),
        (stars, 6, "out_of_range"),
        (Property("height", Kind.NUMBER, most=2.5), 2.6, "out_of_range"),
        (size, "L", "not_a_choice"),
        (size, "LARGE", "too_long"),
        (Property("size", max_length=3), "x" * 4, "too_long"),
    ]:
        with pytest.raises(InvalidEvent) as refused:
            check(declared, value)
        assert refused.value.reason == reason


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (lambda: Property("Size"), "small letters"),
        (lambda: Property("size", Kind.FLAG, choices=("a",)), "choices"),
        (lambda: Property("size", Kind.WHOLE, choices=("a",)), "choices"),
        (lambda: Property("size", Kind.WHOLE, choices=(True,)), "choices"),
        (lambda: Property("size", least=1), "numbers"),
        (lambda: Property("size", Kind.WHOLE, least=2, most=1), "above"),
        (lambda: Property("size", max_length=0), "max_length"),
        (lambda: EventType("Size advised"), "small letters"),
        (lambda: EventType("x" * 41), "small letters"),
        (lambda: EventType("advised", version=0), "version"),
        (lambda: EventType("advised", properties=(Property("a"), Property("a"))), "twice"),
        (lambda: EventType("advised", needs=("price",)), "price"),
        (lambda: EventType("advised", needs_any=("price",)), "price"),
    ],
)
def test_a_declaration_that_contradicts_itself_is_refused(make: Callable[[], Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        make()


@pytest.mark.django_db
def test_a_type_of_the_hosts_own(shopper: Shopper, declare: Declare) -> None:
    height = Property("height", Kind.NUMBER, unit="cm", required=True)
    declare(height, version=3, needs=("item_id",), needs_any=("category", "value_minor"))
    good = {"item_id": "p-1", "category": "tea", "properties": {"height": 180}}
    batch = [
        event("size_advised", **good),
        event("size_advised", **{**good, "properties": {}}),
        event("size_advised", **{**good, "item_id": ""}),
        event("size_advised", **{**good, "category": ""}),
        event("size_advised", **{**good, "value_minor": 0, "category": ""}),
    ]
    result = ingest(batch, source="app:1", shopper=shopper, purposes=ALL)
    assert result == IngestResult(accepted=2, quarantined=3)
    assert set(Event.objects.values_list("schema_version", flat=True)) == {3}
    codes = list(QuarantinedEvent.objects.order_by("pk").values_list("code", flat=True))
    assert codes == ["missing_property", "missing_field", "missing_field"]


@pytest.mark.django_db
def test_a_property_is_kept_only_for_its_own_purpose(
    shopper: Shopper, declare: Declare, committing: Committing
) -> None:
    declare(Property("size"), Property("height", Kind.WHOLE, purpose=Purpose.ANALYTICS))
    raw = event("size_advised", properties={"size": "S", "height": 180})
    for purposes, kept in [(ALL, {"size": "S", "height": 180}), (frozenset({Purpose.PERSONALISATION}), {"size": "S"})]:
        ingest([{**raw, "id": str(len(purposes))}], source="w", shopper=shopper, purposes=purposes)
        assert Event.objects.get(event_id=str(len(purposes))).properties == kept
    Shopper.objects.filter(pk=shopper.pk).update(consent_analytics=False)
    shopper.refresh_from_db()
    with committing():
        assert api.track("size_advised", shopper=shopper, properties=raw["properties"], event_id="server")
    assert Event.objects.get(event_id="server").properties == {"size": "S"}


@pytest.mark.django_db
class TestUnknown:
    """What nobody declared: rejected, kept or dropped, as the settings say."""

    def send(self, shopper: Shopper, *raw: Any) -> IngestResult:
        return ingest(raw, source="w", shopper=shopper, purposes=ALL)

    def test_types_are_kept_with_what_they_bring(self, shopper: Shopper, configure: Configure) -> None:
        configure(UNKNOWN_EVENTS="keep")
        good = event("teleported", item_id="p-1", properties={"to": "Mars\x00", "deep": [{"a": 1}]})
        bad = [
            event("Tele ported"),
            event(""),
            event("teleported", properties={"a": nan}),
            event("teleported", properties={f"p{number}": 1 for number in range(31)}),
            event("teleported", x=1),
        ]
        assert self.send(shopper, good, *bad) == IngestResult(accepted=1, quarantined=len(bad))
        stored = Event.objects.get()
        assert (stored.type, stored.schema_version, stored.item_id) == ("teleported", 0, "p-1")
        assert stored.properties == {"to": "Mars", "deep": [{"a": 1}]}

    def test_a_kept_type_needs_consent_like_any_other(self, shopper: Shopper, configure: Configure) -> None:
        configure(UNKNOWN_EVENTS="keep")
        result = ingest([event("teleported")], source="w", shopper=shopper, purposes=frozenset({Purpose.ANALYTICS}))
        assert result == IngestResult(dropped=1)

    def test_keeping_unknown_types_opens_no_door_to_the_servers(self, shopper: Shopper, configure: Configure) -> None:
        configure(UNKNOWN_EVENTS="keep", UNKNOWN_PROPERTIES="keep")
        assert self.send(shopper, event("order_placed"), event("order_placed\x00")) == IngestResult(quarantined=2)

    @pytest.mark.parametrize(
        ("policy", "properties", "kept"),
        [
            ("keep", {"path": "/", "mood": ["good"]}, {"path": "/", "mood": ["good"]}),
            ("drop", {"path": "/", "mood": "good"}, {"path": "/"}),
            ("drop", {"path": "/", "path\x00": 5}, {"path": "/"}),
            ("keep", {"path": "/", "path\x00": 5}, {"path": "/"}),
        ],
    )
    def test_properties(
        self, shopper: Shopper, configure: Configure, policy: str, properties: dict[str, Any], kept: dict[str, Any]
    ) -> None:
        configure(UNKNOWN_PROPERTIES=policy)
        assert self.send(shopper, event(properties=properties)) == IngestResult(accepted=1)
        assert Event.objects.get().properties == kept

    def test_a_flood_of_unknown_properties_is_no_event(self, shopper: Shopper, configure: Configure) -> None:
        configure(UNKNOWN_PROPERTIES="keep")
        flood = event(properties={f"p{number}": number for number in range(1000)})
        assert self.send(shopper, flood) == IngestResult(quarantined=1)


@pytest.mark.django_db
@pytest.mark.parametrize(
    ("kind", "fields", "reason"),
    [
        ("review_submitted", {"item_id": "p-1", "properties": {"rating": 5, "text": "Good."}}, ""),
        ("review_submitted", {"item_id": "p-1", "properties": {"rating": 6}}, "out_of_range"),
        ("review_submitted", {"item_id": "p-1", "properties": {"text": "Good."}}, "missing_property"),
        ("review_submitted", {"properties": {"rating": 5}}, "missing_field"),
        ("feedback_given", {"category": "tea", "properties": {"wish": "less_like_this"}}, ""),
        ("feedback_given", {"item_id": "p-1", "properties": {"wish": "more_like_this"}}, ""),
        ("feedback_given", {"item_id": "p-1", "properties": {"wish": "none"}}, "not_a_choice"),
        ("feedback_given", {"properties": {"wish": "less_like_this"}}, "missing_field"),
        ("satisfaction_answered", {"properties": {"question_id": "delivery", "score": 1}}, ""),
        ("satisfaction_answered", {"properties": {"question_id": "", "score": 1}}, "missing_property"),
        ("satisfaction_answered", {"properties": {"question_id": "delivery", "score": 0}}, "out_of_range"),
        ("product_seen", {"item_id": "p-1", "properties": {"position": 1, "list": "search"}}, ""),
        ("page_left", {"properties": {"dwell_ms": -1}}, "out_of_range"),
        ("page_viewed", {"channel": "mini_program"}, ""),
        ("page_viewed", {"channel": "fax"}, "not_a_choice"),
        ("page_viewed", {"channel": 7}, "not_a_choice"),
    ],
)
def test_built_in_types(shopper: Shopper, kind: str, fields: dict[str, Any], reason: str) -> None:
    result = ingest([event(kind, **fields)], source="w", shopper=shopper, purposes=ALL, channel="web")
    assert result == (IngestResult(quarantined=1) if reason else IngestResult(accepted=1))
    if reason:
        assert QuarantinedEvent.objects.get().code == reason
    else:
        assert Event.objects.get().channel == fields.get("channel", "web")


def test_personal_text_and_units_are_declared() -> None:
    declared = {
        (name, each.name): each for name in schema.names() for each in getattr(schema.get(name), "properties", ())
    }
    personal = {key for key, each in declared.items() if each.personal}
    assert {
        ("review_submitted", "text"),
        ("search_performed", "query"),
        ("satisfaction_answered", "comment"),
    } <= personal
    assert {each.unit for key, each in declared.items() if key[1].endswith("_ms")} == {Unit.MILLISECONDS}
    assert {each.unit for key, each in declared.items() if key[1].endswith("_minor")} == {Unit.MINOR}
