"""The quarantine's pages: masked, filtered, counted; mended and replayed by whoever may, and by nobody else."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.urls import reverse

from personalization.admin.masking import MASK, unmask
from personalization.admin.masking import mask_payload as mask
from personalization.models import Event, QuarantinedEvent, Shopper
from personalization.tracking import quarantine, schema
from personalization.tracking.ingest import ingest
from personalization.tracking.quarantine import payload_of
from personalization.tracking.schema import EventType
from personalization.tracking.sealing import open_properties
from personalization.types import CONSENT_PURPOSES
from tests.admin.builders import make_shopper, make_user

pytestmark = pytest.mark.django_db
SECRET = "my grandmother's name"
REVIEW = {"rating": 9, "text": SECRET, "title": "Nice"}


def aside(shopper: Shopper, kind: str, source: str = "web:0123456789", **fields: Any) -> QuarantinedEvent:
    raw = {"id": uuid.uuid4().hex, "type": kind, **fields}
    ingest([raw], source=source, shopper=shopper, purposes=frozenset(CONSENT_PURPOSES))
    return QuarantinedEvent.objects.latest("pk")


@pytest.fixture
def shopper() -> Shopper:
    return make_shopper()


@pytest.fixture
def review(shopper: Shopper) -> QuarantinedEvent:
    return aside(shopper, "review_submitted", item_id="p-1", properties=REVIEW)


@pytest.fixture
def steward(client: Any) -> Any:
    """Somebody who may view, mend and replay."""
    client.force_login(make_user("view_quarantinedevent", "replay_quarantinedevent"))
    return client


def page(row: QuarantinedEvent) -> str:
    return reverse("admin:personalization_quarantinedevent_change", args=[row.pk])


def listed(**query: str) -> str:
    return reverse("admin:personalization_quarantinedevent_changelist", query=query)


def mend(client: Any, row: QuarantinedEvent, payload: Any) -> Any:
    text = payload if isinstance(payload, str) else json.dumps(payload)
    return client.post(
        reverse("admin:personalization_quarantinedevent_mend", args=[row.pk]), {"payload": text}, follow=True
    )


def test_personal_values_are_masked_everywhere(steward: Any, shopper: Shopper, review: QuarantinedEvent) -> None:
    unknown = aside(shopper, "teleported", properties={"to": SECRET}, note=SECRET)
    misplaced = aside(shopper, "page_viewed", remark=SECRET, properties={"path": "/tea/", "title": 5})
    for row in (review, unknown, misplaced):
        html = steward.get(page(row)).content.decode()
        assert SECRET.split()[1] not in html
        assert MASK in html
    assert "/tea/" in html
    html = steward.get(listed()).content.decode()
    assert SECRET.split()[1] not in html
    assert "0123456789" not in html


def test_a_mended_event_keeps_what_was_hidden(steward: Any, review: QuarantinedEvent) -> None:
    shown = mask(payload_of(review))
    assert shown["properties"] == {"rating": 9, "text": MASK, "title": MASK}
    shown["properties"]["rating"] = 5
    assert "1 event is stored." in mend(steward, review, shown).content.decode()
    stored = Event.objects.get()
    assert open_properties(stored.properties) == {"rating": 5, "text": SECRET, "title": "Nice"}
    assert SECRET not in str(stored.properties)
    assert not QuarantinedEvent.objects.exists()
    entry = LogEntry.objects.get()
    assert entry.object_id == str(review.pk)
    assert SECRET not in entry.change_message + entry.object_repr
    assert mend(steward, review, shown).status_code == 200
    assert Event.objects.count() == 1


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{", "not valid JSON"),
        ("[1]", "an object"),
        ("[" * 19_000, "not valid JSON"),
        ("", "required"),
        ("x" * 30_000, "20000"),
    ],
)
def test_what_is_no_event_is_told(steward: Any, review: QuarantinedEvent, text: str, told: str) -> None:
    assert told in mend(steward, review, text).content.decode()
    assert QuarantinedEvent.objects.get() == review
    assert not Event.objects.exists()


def test_still_invalid_the_page_says_why(steward: Any, review: QuarantinedEvent) -> None:
    html = mend(steward, review, mask(payload_of(review))).content.decode()
    assert "rating must lie between 1 and 5" in html


def test_many_are_replayed_at_once(steward: Any, shopper: Shopper, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [aside(shopper, "teleported") for _ in range(4)]
    withdrawn = make_shopper(consent_personalisation=True)
    rows.append(aside(withdrawn, "teleported"))
    Shopper.objects.filter(pk=withdrawn.pk).update(consent_personalisation=False)
    rows.append(aside(shopper, "page_viewed", properties={"path": 1}))
    monkeypatch.setattr(schema, "_TYPES", dict(schema._TYPES))
    schema.register(EventType("teleported", public=True))
    action = {"action": "replay_selected", "_selected_action": [row.pk for row in rows]}
    html = steward.post(listed(), action, follow=True).content.decode()
    assert "4 events are stored. 1 is not kept: its shopper does not agree. 1 is still not valid." in html
    assert Event.objects.count() == 4
    assert QuarantinedEvent.objects.count() == 1


def test_without_the_permission_nobody_mends(client: Any, review: QuarantinedEvent) -> None:
    client.force_login(make_user("view_quarantinedevent"))
    html = client.get(page(review)).content.decode()
    assert "Mend and replay" not in html
    assert mend(client, review, {"id": "a", "type": "page_viewed"}).status_code == 403
    action = {"action": "replay_selected", "_selected_action": [review.pk]}
    client.post(listed(), action)
    assert QuarantinedEvent.objects.get() == review
    assert not Event.objects.exists()
    client.force_login(make_user("replay_quarantinedevent"))
    assert mend(client, review, {}).status_code == 403


def test_mending_wants_a_post_and_a_row(steward: Any, review: QuarantinedEvent) -> None:
    address = reverse("admin:personalization_quarantinedevent_mend", args=[review.pk])
    assert steward.get(address).status_code == 405
    review.delete()
    assert mend(steward, QuarantinedEvent(pk=4711), {}).status_code in {200, 403}


def test_filters_and_figures(steward: Any, shopper: Shopper, review: QuarantinedEvent) -> None:
    other = aside(shopper, "teleported", source="import:till")
    quarantine.count("no_token")
    html = steward.get(listed()).content.decode()
    assert "request: without a token" in html
    for query, row, hidden in [
        ({"code": "unknown_type"}, other, review),
        ({"code": "out_of_range"}, review, other),
        ({"type": "review_submitted"}, review, other),
        ({"from": "import"}, other, review),
        ({"from": "web"}, review, other),
    ]:
        html = steward.get(listed(**query)).content.decode()
        assert page(row) in html, query
        assert page(hidden) not in html, query
    assert steward.get(listed(**{"from": "%"})).status_code == 200


@pytest.mark.parametrize(
    "odd", [None, [], "text", 7, [MASK], {"properties": [1]}, {"type": []}, {"properties": {"a": {}}}]
)
def test_a_payload_of_any_shape_is_shown(steward: Any, odd: Any) -> None:
    row = QuarantinedEvent.objects.create(source="w", payload=odd or {}, reason="?")
    assert steward.get(page(row)).status_code == 200
    assert unmask(mask(odd), odd) == odd
