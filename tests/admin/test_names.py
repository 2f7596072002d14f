"""Codes in front of people: event types, consent, stages and broken rules have names, in the reader's language."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone, translation

from personalization.admin.monitoring import panel_of
from personalization.features import segments
from personalization.models import ConsentRecord, MonitoringReport, SessionVerdict, Shopper, ShopperSummary, names
from personalization.tracking import bot_rules, event_types
from personalization.types import CONSENT_PURPOSES
from tests.admin.builders import make_shopper, make_user
from tests.personalization.builders import make_event

pytestmark = pytest.mark.django_db


@pytest.fixture
def shopper(client: Client) -> Shopper:
    rights = ("consentrecord", "shoppersummary", "event", "sessionverdict")
    client.force_login(make_user(*(f"view_{right}" for right in rights)))
    return make_shopper()


def in_chinese(client: Client, address: str) -> str:
    with translation.override("zh-hans"):
        response: Any = client.get(address, headers={"accept-language": "zh-hans"})
    assert response.status_code == 200
    html: str = response.content.decode()
    return html


def page(row: Any) -> str:
    return reverse(f"admin:personalization_{row._meta.model_name}_change", args=[row.pk])


def test_every_code_of_ours_has_a_name_in_both_languages() -> None:
    codes = [
        *((names.EVENT_TYPES, each.name) for each in event_types.BUILT_IN),
        *((names.BOT_RULES, name) for name in bot_rules.DEFAULTS),
        *((names.PURPOSES, each.value) for each in CONSENT_PURPOSES),
        *((names.GIVEN_THROUGH, name) for name in ("banner", "manager", "unsubscribe")),
    ]
    for known, code in codes:
        with translation.override("zh-hans"):
            chinese = str(known[code])
        assert chinese != str(known[code]), code
    assert names.event_type("wheel_spun") == "wheel spun", "a host's own"


def test_the_consent_ledger(client: Client, shopper: Shopper) -> None:
    row = ConsentRecord.objects.create(
        shopper=shopper, purpose="analytics", granted=True, wording_version="1", source="banner"
    )
    assert str(row) == "analytics: agreed"
    html = in_chinese(client, page(row))
    for code in ("analytics", "banner", "=yes"):
        assert code not in html.replace("consentrecord", "")


def test_a_shopper_s_summary(client: Client, shopper: Shopper) -> None:
    row = ShopperSummary.objects.create(shopper=shopper, as_of=timezone.now(), segment="prospect")
    assert str(row) == f"{shopper.pk}: has not bought yet"
    assert str(segments.BY_CODE["prospect"].name) in client.get(page(row)).content.decode()
    html = in_chinese(client, page(row))
    assert "visitor" not in html
    assert "prospect" not in html


def test_event_types_and_bot_rules(client: Client, shopper: Shopper) -> None:
    events = in_chinese(client, reverse("admin:personalization_event_changelist"))
    assert "order placed" not in events
    assert "?type=order_placed" in events
    happened = page(make_event(shopper, "order_placed"))
    for address in (happened, reverse("admin:personalization_event_changelist")):
        assert "order_placed" not in in_chinese(client, address).replace("type=order_placed", "")
    now = timezone.now()
    row = SessionVerdict.objects.create(
        shopper=shopper, first_at=now, last_at=now, events=40, is_bot=True, rule="no_dwell"
    )
    assert "pages left at once" in client.get(page(row)).content.decode()
    assert "no_dwell" not in in_chinese(client, page(row))
    listed = client.get(reverse("admin:personalization_sessionverdict_changelist"), {"rule": "rate"})
    assert "pages left at once" in listed.content.decode(), "the filter"
    assert page(row) not in listed.content.decode()


def test_differences_of_shares_are_points_with_a_true_minus() -> None:
    gap = {"measure": "exposure", "attribute": "gender", "group": "f", "shoppers": 9, "level": "ok"}
    shares = {"gap": {"value": 0.092, "low": -0.02, "high": 0.213}, "own": {"value": 0.5}, "rest": {"value": 0.408}}
    report = MonitoringReport(kind="fairness", at=timezone.now(), figures={"gaps": [{**gap, **shares}]}, findings=[])
    assert panel_of(report).gaps[0].cells[2:5] == ("9.2 (−2.0 to 21.3)", "50.0 %", "40.8 %")
