"""What each ready-made group may open, page by page: as declared here, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth.models import Group
from django.urls import NoReverseMatch, reverse

from personalization.campaigns import groups
from personalization.models import AuditEntry
from tests.admin.builders import make_everything, make_user

pytestmark = pytest.mark.django_db
MARKETER, APPROVER, SUPPORT, ANALYST = "marketer", "approver", "support", "analyst"
LISTS: dict[str, set[str]] = {
    "alert": {MARKETER, APPROVER, ANALYST},
    "allowance": set(),
    "auditentry": set(),
    "campaign": {MARKETER, APPROVER, ANALYST},
    "catalogitem": {MARKETER, ANALYST},
    "consentrecord": set(),
    "coupon": {MARKETER, SUPPORT},
    "decision": {ANALYST},
    "event": {ANALYST},
    "eventimport": set(),
    "exposure": {ANALYST},
    "giftcard": {SUPPORT},
    "grant": {SUPPORT},
    "job": {MARKETER, ANALYST},
    "ledgerentry": {ANALYST},
    "modelversion": {ANALYST},
    "monitoringreport": {ANALYST},
    "outboxmessage": {MARKETER, ANALYST},
    "quarantinedevent": set(),
    "redemption": {SUPPORT, ANALYST},
    "reservation": {SUPPORT},
    "riskreview": {SUPPORT},
    "riskrule": {ANALYST},
    "scoreset": {ANALYST},
    "sessionverdict": {ANALYST},
    "shopper": set(),
    "shoppermerge": {SUPPORT},
    "shoppersummary": set(),
    "supportaction": {SUPPORT},
    "suppression": set(),
    "tuningrun": {ANALYST},
}
"""Admin list → the groups that open it."""
ADDS: dict[str, set[str]] = {"campaign": {MARKETER}}
"""What can be added in the admin at all → by whom."""
OTHERS = {"support_desk": {SUPPORT}, "coupon_find": {MARKETER, SUPPORT}}
"""Further pages → the groups that open them."""
SENSITIVE = {"view_personal_data", "view_auditentry", "view_shopper", "export_coupon", "view_consentrecord"}
"""Permissions that nobody gets by being in a group."""


def ours() -> dict[str, Any]:
    """Return this app's pages of the admin, by model name."""
    return {
        str(model._meta.model_name): page
        for model, page in admin.site._registry.items()
        if model._meta.app_label == "personalization"
    }


def opened(client: Any, pages: list[str]) -> set[str]:
    """Return which of these pages answer to the client's user."""
    statuses = {page: client.get(reverse(f"admin:personalization_{page}")).status_code for page in pages}
    assert set(statuses.values()) <= {200, 403}, statuses
    return {page for page, status in statuses.items() if status == 200}


def test_every_list_is_declared() -> None:
    """A new page must say here which groups open it."""
    assert set(LISTS) == set(ours())


@pytest.mark.parametrize("group", sorted(groups.GROUPS))
def test_a_group_opens_what_is_declared_and_nothing_else(client: Any, group: str) -> None:
    make_everything()
    user = make_user()
    user.groups.add(Group.objects.get(name=groups.PREFIX + group))
    client.force_login(user)
    lists = {f"{name}_changelist" for name, able in LISTS.items() if group in able}
    adds = {f"{name}_add" for name, able in ADDS.items() if group in able}
    others = {page for page, able in OTHERS.items() if group in able}
    asked = [f"{name}_{kind}" for name in ours() for kind in ("changelist", "add")]
    assert opened(client, [*asked, *OTHERS]) == lists | adds | others


@pytest.mark.parametrize("group", sorted(groups.GROUPS))
def test_no_group_sees_personal_data_or_the_log(client: Any, group: str) -> None:
    """Not by permission, and not by trying: every page that could show some refuses."""
    assert SENSITIVE & set(groups.GROUPS[group]) == set()
    rows = make_everything()
    user = make_user()
    user.groups.add(Group.objects.get(name=groups.PREFIX + group))
    client.force_login(user)
    tried = 0
    for name, row in rows.items():
        try:
            address = reverse(f"admin:personalization_{name}_unmask", args=[row.pk])
        except NoReverseMatch:
            continue
        tried += 1
        assert client.post(address, {"why": "support", "reference": "1"}).status_code == 403, name
    assert tried >= 4
    assert not AuditEntry.objects.exists()


def test_who_is_in_no_group_opens_nothing(client: Any) -> None:
    client.force_login(make_user())
    assert opened(client, [f"{name}_changelist" for name in ours()] + list(OTHERS)) == set()


def test_a_permission_too_much_is_noticed(client: Any) -> None:
    """The control: a group that got one more page than is declared opens it."""
    user = make_user("view_shopper")
    user.groups.add(Group.objects.get(name=groups.PREFIX + "analyst"))
    client.force_login(user)
    assert "shopper_changelist" in opened(client, [f"{name}_changelist" for name in ours()])
    assert ANALYST not in LISTS["shopper"]
