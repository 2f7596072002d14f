"""Occasions on a campaign's page, the outbox, and the addresses that get nothing."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from personalization.admin.triggers import TriggerForm
from personalization.models import OutboxMessage, Suppression, Trigger
from tests.admin.builders import make_campaign, make_offer, make_shopper, make_user

pytestmark = pytest.mark.django_db


def form(kind: str, **typed: Any) -> TriggerForm:
    trigger = Trigger(campaign=make_campaign())
    return TriggerForm({"kind": kind, "open_days": 14, "active": "on", **typed}, instance=trigger)


@pytest.mark.parametrize(
    ("kind", "typed", "params"),
    [
        ("welcome", {"days": "3", "percent": "9"}, {"days": 3}),
        ("season", {"first_day": "12-01", "last_day": "12-24"}, {"from": "12-01", "to": "12-24"}),
        (
            "event",
            {"type": "search_performed", "property": "results", "value": "0"},
            {"type": "search_performed", "property": "results", "value": 0},
        ),
        ("basket", {}, {}),
    ],
)
def test_plain_questions_become_details(kind: str, typed: dict[str, str], params: dict[str, Any]) -> None:
    given = form(kind, **typed, channels=["email"])
    assert given.is_valid(), given.errors
    saved = given.save()
    assert (saved.params, saved.channels) == (params, ["email"])
    again = TriggerForm(instance=saved)
    assert [again.initial[name] for name in typed if name != "percent"] == list(params.values())


@pytest.mark.parametrize(("kind", "typed"), [("win_back", {}), ("holiday", {"country": "QQ"}), ("season", {})])
def test_what_is_missing_is_said_at_the_occasion(kind: str, typed: dict[str, str]) -> None:
    assert set(form(kind, **typed).errors) == {"kind"}


@pytest.mark.parametrize(("status", "editable"), [("draft", True), ("running", False), ("ended", False)])
def test_the_campaigns_page_has_its_triggers(client: Client, status: str, editable: bool) -> None:
    campaign = make_campaign(status=status)
    make_offer(campaign)
    Trigger.objects.create(campaign=campaign, kind="win_back", params={"days": 90})
    kinds = ("view", "change", "add", "delete")
    names = [f"{kind}_{model}" for kind in kinds for model in ("campaign", "offer", "trigger")]
    client.force_login(make_user(*names))
    page = client.get(reverse("admin:personalization_campaign_change", args=[campaign.pk]))
    assert page.status_code == 200
    assert (b'name="triggers-0-days"' in page.content) is editable
    assert (b"days: 90" in page.content) is not editable


def test_the_outbox_and_the_suppressed_addresses(client: Client) -> None:
    message = OutboxMessage.objects.create(
        campaign=make_campaign(), shopper=make_shopper(), channel="email", dedupe_key="1"
    )
    noted = Suppression.objects.create(channel="email", digest="ab" * 32, reason="bounce")
    client.force_login(make_user("view_outboxmessage", "view_suppression", "delete_suppression"))
    for name, key in (("outboxmessage", message.pk), ("suppression", noted.pk)):
        assert client.get(reverse(f"admin:personalization_{name}_changelist")).status_code == 200
        assert client.get(reverse(f"admin:personalization_{name}_change", args=[key])).status_code == 200
    lift = reverse("admin:personalization_suppression_delete", args=[noted.pk])
    assert client.post(lift, {"post": "yes"}).status_code == 302
    assert not Suppression.objects.exists()
