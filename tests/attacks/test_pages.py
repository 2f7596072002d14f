"""Attempts through the browser: other sites' forms, hostile words on pages, staff who may only look, bad rows."""

from __future__ import annotations

from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.test import Client
from django.urls import reverse

from personalization import api
from personalization.models import Job, ModelVersion, Shopper
from tests.admin.builders import make_coupon, make_version
from tests.personalization.builders import AGENT, DAY, Browser, make_account, make_event, make_offer, make_user, running

pytestmark = pytest.mark.django_db
HOSTILE = "</title><script>alert(1)</script><img src=x onerror=alert(2)>{{ 7 }}'\""


@pytest.mark.parametrize("kind", ["application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "text/plain"])
@pytest.mark.parametrize("name", ["api-claim", "api-preview", "api-reserve", "api-release"])
def test_another_sites_form_is_not_taken(name: str, kind: str) -> None:
    """It comes without this browser's cookies: the session it would start would take the place of the shopper's."""
    answer = Client(headers={"user-agent": AGENT}).post(
        reverse(f"personalization:{name}"), f"offer_id={make_offer().pk}", content_type=kind
    )
    assert answer.status_code == 415
    assert not answer.cookies
    assert not Shopper.objects.exists()


def test_hostile_words_are_only_words() -> None:
    offer = make_offer(headline=HOSTILE[:120], body=HOSTILE, cta_label=HOSTILE[:40])
    browser = Browser()
    browser.answer("all")
    code = browser.call("api-claim", {"offer_id": offer.pk}).json()["code"]
    shopper = browser.shopper()
    event = make_event(shopper, "search_performed", properties={"query": HOSTILE}, item_id=HOSTILE[:90])
    browser.events({"id": HOSTILE, "type": HOSTILE[:40], HOSTILE: HOSTILE})
    staff = Client()
    staff.force_login(make_user(superuser=True))
    pages = [browser.get(reverse(f"shop:{name}")) for name in ("home", "basket", "privacy")]
    pages.append(browser.get(reverse("shop:search"), {"q": HOSTILE[:100]}))
    for row in (shopper, event, offer.campaign, shopper.coupons.get(), shopper.decisions.first()):
        if row is not None:
            address = f"admin:personalization_{row._meta.model_name}_"
            pages += [staff.get(reverse(f"{address}change", args=[row.pk])), staff.get(reverse(f"{address}changelist"))]
    for page in pages:
        assert page.status_code == 200
        assert b"<script>alert" not in page.content
        assert b"<img src=x" not in page.content
    assert all(code.encode() not in page.content for page in pages[4:])
