"""A coupon is found by its code, and the code is written nowhere."""

from __future__ import annotations

import pytest
from django.urls import reverse

from personalization.campaigns import codes
from tests.admin.builders import make_campaign, make_coupon, make_everything, make_offer, make_shopper, make_user

pytestmark = pytest.mark.django_db
FIND = "admin:personalization_coupon_find"
CODE = "ABCD-EFGH-JKLM-NPQR"


@pytest.fixture
def coupon():
    return make_coupon(make_offer(make_campaign(status="running")), make_shopper(), CODE)


def test_a_code_leads_to_its_coupon_however_it_is_typed(client, coupon):
    client.force_login(make_user("view_coupon"))
    url = reverse("admin:personalization_coupon_change", args=[coupon.pk])
    for typed in (CODE, CODE.lower(), f" {CODE.replace('-', ' ')} "):
        response = client.post(reverse(FIND), {"code": typed})
        assert (response.status_code, response["Location"]) == (302, url)


def test_an_unknown_code_is_not_repeated(client, coupon):
    client.force_login(make_user("view_coupon"))
    response = client.post(reverse(FIND), {"code": "ZZZZ-ZZZZ"})
    assert "No coupon has this code." in response.content.decode()
    assert "ZZZZ" not in response.content.decode()


def test_finding_needs_the_permission(client, coupon):
    client.force_login(make_user("view_campaign"))
    assert client.post(reverse(FIND), {"code": CODE}).status_code == 403


def test_no_page_shows_a_code_or_its_traces(client):
    rows = make_everything()
    client.force_login(make_user("view_coupon", "view_shopper", "view_reservation"))
    coupon = rows["coupon"]
    secrets = [codes.reveal(coupon.code_ciphertext), coupon.code_digest, coupon.code_ciphertext]
    for name in ("coupon", "shopper", "reservation"):
        for url in (
            reverse(f"admin:personalization_{name}_changelist"),
            reverse(f"admin:personalization_{name}_change", args=[rows[name].pk]),
        ):
            html = client.get(url).content.decode()
            assert not [secret for secret in secrets if secret in html], url
