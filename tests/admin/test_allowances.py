"""Goodwill limits in the admin: who sees them, who changes them, and that nobody raises their own."""

from __future__ import annotations

from datetime import date
from typing import Any

import pytest
from django.db import IntegrityError
from django.urls import reverse

from personalization.admin.allowances import AllowanceAdmin
from personalization.campaigns.support import give_goodwill
from personalization.models import Allowance
from tests.admin.builders import make_shopper, make_user

pytestmark = pytest.mark.django_db
LIST = "admin:personalization_allowance_changelist"


def make_allowance(**fields: Any) -> Allowance:
    given = {"month": date(2026, 3, 1), "currency": "EUR", "granted_minor": 20_00, "limit_minor": 50_00, **fields}
    return Allowance.objects.create(user=given.pop("user", None) or make_user(username="nina"), **given)


def page_of(allowance: Allowance) -> str:
    return reverse("admin:personalization_allowance_change", args=[allowance.pk])


@pytest.fixture
def lead(client):
    client.force_login(make_user("view_allowance", "change_allowance", username="lead"))
    return client


def test_the_list_says_who_gave_how_much_and_can_be_searched_and_filtered(lead):
    make_allowance()
    make_allowance(user=make_user(username="omar"), currency="JPY", granted_minor=0, limit_minor=700)
    page = lead.get(reverse(LIST)).content.decode()
    assert "March 2026" in page
    assert "nina" in page
    assert "40 %" in page  # 20 of 50
    found = lead.get(reverse(LIST), {"q": "omar"}).content.decode()
    assert "omar" in found
    assert "nina" not in found
    assert "omar" not in lead.get(reverse(LIST), {"currency": "EUR"}).content.decode()


def test_a_limit_is_changed_and_counts_at_once(lead, settings):
    settings.PERSONALIZATION = {**settings.PERSONALIZATION, "GOODWILL_LIMIT_MINOR": 1_00}
    staff = make_user(username="nina")
    give_goodwill(make_shopper(), 1_00, "EUR", by=staff, reason="late", idempotency_key="1")
    allowance = Allowance.objects.get()
    answer = lead.post(page_of(allowance), {"limit_minor": "3.50", "granted_minor": "0", "currency": "USD"})
    assert answer.status_code == 302
    allowance.refresh_from_db()
    assert (allowance.limit_minor, allowance.granted_minor, allowance.currency) == (3_50, 1_00, "EUR")
    give_goodwill(make_shopper(), 2_50, "EUR", by=staff, reason="late", idempotency_key="2")
    assert Allowance.objects.get().granted_minor == 3_50


@pytest.mark.parametrize(
    ("typed", "told"), [("19.99", "is given already"), ("", "Give an amount"), ("1.005", "decimals")]
)
def test_a_limit_below_what_is_given_is_refused_beside_the_field(lead, typed, told):
    allowance = make_allowance()
    page = lead.post(page_of(allowance), {"limit_minor": typed})
    assert page.status_code == 200
    assert told in str(page.context["adminform"].form.errors["limit_minor"])
    allowance.refresh_from_db()
    assert allowance.limit_minor == 50_00


def test_a_gift_between_check_and_write_wins(lead, monkeypatch):
    allowance = make_allowance()

    def late(self: Any, request: Any, obj: Allowance, form: Any, change: bool) -> None:
        Allowance.objects.filter(pk=obj.pk).update(granted_minor=45_00)
        real(self, request, obj, form, change)

    real = AllowanceAdmin.save_model
    monkeypatch.setattr(AllowanceAdmin, "save_model", late)
    page = lead.post(page_of(allowance), {"limit_minor": "30"}, follow=True).content.decode()
    assert "Nothing is saved" in page
    with pytest.raises(IntegrityError):  # the negative control: it is the database that refuses
        Allowance.objects.filter(pk=allowance.pk).update(granted_minor=45_00, limit_minor=30_00)


def test_nobody_changes_their_own_limit_and_viewers_change_none(client):
    colleague = make_user("view_allowance", "change_allowance", username="nina")
    own = make_allowance(user=colleague)
    client.force_login(colleague)
    page = client.get(page_of(own)).content.decode()
    assert 'name="limit_minor"' not in page
    assert client.post(page_of(own), {"limit_minor": "500"}).status_code == 403
    client.force_login(make_user("view_allowance"))
    assert 'name="limit_minor"' not in client.get(page_of(own)).content.decode()
    assert client.post(page_of(own), {"limit_minor": "500"}).status_code == 403
    own.refresh_from_db()
    assert own.limit_minor == 50_00


def test_rows_are_neither_added_nor_deleted_here(admin_client):
    allowance = make_allowance()
    assert admin_client.get(reverse("admin:personalization_allowance_add")).status_code == 403
    delete = reverse("admin:personalization_allowance_delete", args=[allowance.pk])
    assert admin_client.post(delete, {"post": "yes"}).status_code == 403
    assert Allowance.objects.count() == 1


def test_without_permission_there_is_no_list(client):
    client.force_login(make_user("grant_coupon", "view_supportaction"))
    assert client.get(reverse(LIST)).status_code == 403
