"""CSV files: what the list shows, no formula in it, and only for whoever may see the list."""

from __future__ import annotations

import csv
import io

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from personalization.admin.csv import cell
from personalization.models import Campaign, Exposure, GiftCard
from tests.admin.builders import make_campaign, make_everything, make_shopper, make_user

pytestmark = pytest.mark.django_db
MODELS = ["campaign", "coupon", "redemption", "ledgerentry", "giftcard", "grant"]


def read(response) -> list[dict[str, str]]:
    text = b"".join(response.streaming_content).decode("utf-8-sig")
    return list(csv.DictReader(io.StringIO(text)))


def export_url(model: str) -> str:
    return reverse(f"admin:personalization_{model}_export")


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ("=1+1", "'=1+1"),
        ("+49", "'+49"),
        ("-x", "'-x"),
        ("@SUM", "'@SUM"),
        ("\tx", "'\tx"),
        ("  =1", "'  =1"),
        ("＝1", "'＝1"),
        ("plain", "plain"),
        (-5, -5),
        (None, ""),
        ("a;=1+1", "a;'=1+1"),
        ('a; "@x";-2;b', "a; \"'@x\";'-2;b"),
        ("a\n=1+1\t＋2", "a\n'=1+1\t'＋2"),
        ("a; b=1", "a; b=1"),
    ],
)
def test_no_cell_is_a_formula(value, written):
    assert cell(value) == written


def test_campaigns_come_with_money_and_uptake(client):
    rows = make_everything()
    make_campaign(name="=cmd()", budget_minor=None)
    client.force_login(make_user("view_campaign"))
    lines = {line["name"]: line for line in read(client.get(export_url("campaign")))}
    line = lines[rows["campaign"].name]
    assert (line["budget"], line["spent"], line["reserved"]) == ("1000.00", "250.00", "50.00")
    assert (line["reached"], line["issued"], line["redeemed"]) == ("1", "3", "1")
    assert lines["'=cmd()"]["budget"] == ""


def test_a_campaign_whose_coupons_were_issued_elsewhere_tells_what_became_of_them(client):
    campaign = make_campaign(name="Wave of old")
    for redeemed in (True, False, False, False):
        now = timezone.now()
        Exposure.objects.create(
            campaign=campaign, shopper=make_shopper(), arm="treatment", exposed_at=now, window_ends_at=now,
            redeemed_at=now if redeemed else None,
        )  # fmt: skip
    client.force_login(make_user("view_campaign"))
    (line,) = read(client.get(export_url("campaign")))
    assert (line["reached"], line["issued"], line["redeemed"]) == ("4", "0", "1")
    page = client.get(reverse("admin:personalization_campaign_changelist")).content.decode()
    assert "4 reached<br>1 redeemed (25 %)" in page.replace("\xa0", " ")
    assert "issued" not in page


def test_a_file_follows_the_filters_of_its_list(client):
    make_campaign(name="One", status="ended")
    make_campaign(name="Two")
    client.force_login(make_user("view_campaign"))
    assert [line["name"] for line in read(client.get(export_url("campaign"), {"status__exact": "ended"}))] == ["One"]
    assert client.get(export_url("campaign"), {"nonsense__exact": "1"}).status_code == 302


def test_the_number_of_queries_does_not_grow(client):
    client.force_login(make_user("view_campaign"))
    counts = []
    for number in (1, 30):
        for row in range(number):
            make_campaign(name=f"C {number} {row}")
        with CaptureQueriesContext(connection) as queries:
            read(client.get(export_url("campaign")))
        counts.append(len(queries))
    assert counts[0] == counts[1]


@pytest.mark.parametrize("model", MODELS)
def test_each_file_needs_its_own_permission(client, model):
    make_everything()
    client.force_login(make_user(f"view_{model}"))
    response = client.get(export_url(model))
    assert response.status_code == 200
    assert response["Content-Type"].startswith("text/csv")
    read(response)
    for other in set(MODELS) - {model}:
        assert client.get(export_url(other)).status_code == 403
    # A file with personal columns can be asked for in clear, by whoever may see personal data.
    assert client.post(export_url(model)).status_code == (403 if model in {"redemption", "grant"} else 405)


def test_no_file_holds_a_code(client):
    rows = make_everything()
    client.force_login(make_user("view_coupon"))
    text = b"".join(client.get(export_url("coupon")).streaming_content).decode()
    assert str(rows["coupon"].pk) in text
    assert rows["coupon"].code_digest not in text
    assert rows["coupon"].code_ciphertext not in text


def test_a_gift_card_is_blocked_and_opened_by_who_may(client):
    card = GiftCard.objects.create(currency="EUR", balance_minor=5000, code_digest="d" * 64, code_ciphertext="x")
    url = reverse("admin:personalization_giftcard_block", args=[card.pk])
    client.force_login(make_user("view_giftcard"))
    assert client.post(url, {"to": "blocked"}).status_code == 403
    page = reverse("admin:personalization_giftcard_change", args=[card.pk])
    assert "Block the card" not in client.get(page).content.decode()
    client.force_login(make_user("view_giftcard", "change_giftcard"))
    assert "Block the card" in client.get(page).content.decode()
    assert client.get(url).status_code == 405
    for to, blocked in [("blocked", True), ("blocked", True), ("open", False)]:
        assert client.post(url, {"to": to}).status_code == 302
        card.refresh_from_db()
        assert (card.blocked_at is not None) == blocked


# -- several campaigns at once

STOP = ("view_campaign", "change_campaign", "stop_campaign")


def run_action(client, name: str, *campaigns: Campaign, **more: str):
    data = {"action": name, "_selected_action": [campaign.pk for campaign in campaigns], **more}
    return client.post(reverse("admin:personalization_campaign_changelist"), data)


def test_several_campaigns_are_paused_after_a_question(client):
    client.force_login(make_user(*STOP))
    running, draft = make_campaign(status="running"), make_campaign(name="Draft")
    asked = run_action(client, "pause_selected", running, draft)
    assert asked.status_code == 200
    assert "they stay as they are" in asked.content.decode()
    running.refresh_from_db()
    assert running.status == "running"
    assert run_action(client, "pause_selected", running, draft, confirmed="yes").status_code == 302
    assert set(Campaign.objects.values_list("status", flat=True)) == {"paused", "draft"}
    assert running.transitions.count() == 1


@pytest.mark.parametrize("action", ["pause_selected", "end_selected"])
def test_stopping_several_needs_the_permission(client, action):
    client.force_login(make_user("view_campaign", "change_campaign"))
    campaign = make_campaign(status="running")
    run_action(client, action, campaign, confirmed="yes")
    campaign.refresh_from_db()
    assert campaign.status == "running"


def test_the_list_takes_the_same_queries_for_many_rows(client, django_assert_num_queries):
    client.force_login(make_user("view_campaign"))
    url = reverse("admin:personalization_campaign_changelist")
    make_campaign()
    client.get(url)
    with CaptureQueriesContext(connection) as one:
        client.get(url)
    for number in range(20):
        make_campaign(name=f"C {number}")
    with django_assert_num_queries(len(one)):
        client.get(url)
