"""Merges in the admin: seen by whoever may view, taken back by whoever may, once."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.urls import reverse

from personalization.models import Shopper, ShopperMerge
from personalization.tracking import merging
from tests.admin.builders import make_shopper, make_user

pytestmark = pytest.mark.django_db
LIST = "admin:personalization_shoppermerge_changelist"


@pytest.fixture
def merge() -> ShopperMerge:
    done = merging.merge(make_shopper(), make_shopper())
    assert done is not None
    return done


def take_back(client: Any, merge: ShopperMerge) -> str:
    given = {"action": "take_back", "_selected_action": [merge.pk]}
    return client.post(reverse(LIST), given, follow=True).content.decode()


def test_a_merge_is_taken_back_once(client: Any, merge: ShopperMerge) -> None:
    user = make_user("view_shoppermerge", "undo_shoppermerge")
    client.force_login(user)
    assert "1 merge was taken back." in take_back(client, merge)
    merge.refresh_from_db()
    assert (merge.undone_by, merge.visitor.merged_into) == (user, None)
    assert LogEntry.objects.filter(user=user, object_id=str(merge.pk)).count() == 1
    assert "Some were taken back already." in take_back(client, merge)


def test_whoever_may_only_view_takes_nothing_back(client: Any, merge: ShopperMerge) -> None:
    client.force_login(make_user("view_shoppermerge"))
    assert client.get(reverse(LIST)).status_code == 200
    page = client.get(reverse("admin:personalization_shoppermerge_change", args=[merge.pk]))
    assert page.status_code == 200
    take_back(client, merge)
    assert Shopper.objects.get(pk=merge.visitor_id).merged_into == merge.account
    client.force_login(make_user())
    assert client.get(reverse(LIST)).status_code == 403
