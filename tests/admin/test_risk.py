"""Reviews, rules, alerts and the support desk in the admin, and the groups that work there."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from django.apps import apps
from django.contrib.auth.models import Group
from django.urls import reverse
from django.utils import timezone

from personalization.campaigns import codes, groups, risk, support
from personalization.models import (
    Alert,
    Allowance,
    Coupon,
    GiftCard,
    Reservation,
    RiskReview,
    RiskRule,
    Shopper,
    SupportAction,
)
from tests.admin.builders import DAY, make_campaign, make_coupon, make_offer, make_shopper, make_user

pytestmark = pytest.mark.django_db
CODE = "ABCD-EFGH-JKLM-NPQR"


def url(name: str, *args: Any) -> str:
    return reverse(f"admin:personalization_{name}", args=args)


@pytest.fixture
def coupon() -> Coupon:
    campaign = make_campaign(status="running", starts_at=timezone.now() - DAY)
    made = make_coupon(
        make_offer(campaign, issued_count=1), make_shopper(user=make_user(username="ada", staff=False)), CODE
    )
    return Coupon.objects.select_related("offer__campaign", "shopper").get(pk=made.pk)


@pytest.fixture
def review(coupon: Coupon) -> RiskReview:
    Coupon.objects.filter(pk=coupon.pk).update(reserved_count=1)
    coupon.offer.reserved_count = 1
    coupon.offer.save()
    coupon.offer.campaign.reserved_minor = 500
    coupon.offer.campaign.save()
    held = Reservation.objects.create(
        coupon=coupon, offer=coupon.offer, campaign=coupon.offer.campaign, shopper=coupon.shopper,
        idempotency_key="k", amount_minor=500, state="review", expires_at=timezone.now() + DAY,
    )  # fmt: skip
    hits = [{"rule": "device", "figure": 4, "threshold": 3, "points": 100}, {"rule": "gone"}, 7]
    return RiskReview.objects.create(reservation=held, score=100, hits=hits)


# --- Reviews ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("verdict", ["approve", "reject"])
def test_a_review_is_decided_with_a_post(client, review, verdict):
    client.force_login(make_user("view_riskreview", "decide_riskreview"))
    page = client.get(url("riskreview_change", review.pk)).content.decode()
    assert "shoppers on one device: 4" in page
    assert url("riskreview_decide", review.pk) in page
    assert client.get(url("riskreview_decide", review.pk)).status_code == 405
    client.post(url("riskreview_decide", review.pk), {"verdict": "nonsense"})
    assert RiskReview.objects.get().state == "pending"
    answer = client.post(url("riskreview_decide", review.pk), {"verdict": verdict, "note": "called them"}, follow=True)
    assert "Decided:" in answer.content.decode()
    decided = RiskReview.objects.select_related("reservation").get()
    assert (decided.state, decided.reservation.state) == (
        ("approved", "held") if verdict == "approve" else ("rejected", "released")
    )
    assert decided.note == "called them"
    again = client.post(url("riskreview_decide", review.pk), {"verdict": "reject"}, follow=True)
    assert "decided already" in again.content.decode()
    assert url("riskreview_decide", review.pk) not in client.get(url("riskreview_change", review.pk)).content.decode()


def test_who_may_only_look_does_not_decide(client, review):
    client.force_login(make_user("view_riskreview"))
    assert client.get(url("riskreview_changelist")).status_code == 200
    assert url("riskreview_decide", review.pk) not in client.get(url("riskreview_change", review.pk)).content.decode()
    assert client.post(url("riskreview_decide", review.pk), {"verdict": "approve"}).status_code == 403
    assert RiskReview.objects.get().state == "pending"


# --- Rules ------------------------------------------------------------------------------------------------------------


def test_rules_show_how_often_they_were_right_and_points_are_a_persons_word(client):
    risk.ensure_defaults()
    RiskRule.objects.filter(kind="device").update(confirmed_count=1, dismissed_count=9)
    client.force_login(make_user("view_riskrule", "change_riskrule"))
    page = client.get(url("riskrule_changelist")).content.decode()
    assert "10 % of 10" in page
    assert "Dismissed 9 of 10: raise its threshold. 15 points would fit." in page
    rule = RiskRule.objects.get(kind="device")
    assert (rule.points, rule.threshold) == risk.DEFAULTS[RiskRule.Kind.DEVICE][::-1]
    client.post(url("riskrule_changelist"), {"action": "apply_points", "_selected_action": [rule.pk]})
    rule.refresh_from_db()
    assert rule.points == 15
    changed = {"threshold": 9, "points": 20, "active": ""}
    assert client.post(url("riskrule_change", rule.pk), changed).status_code == 302
    rule.refresh_from_db()
    assert (rule.threshold, rule.points, rule.active, rule.kind) == (9, 20, False, "device")
    assert client.get(url("riskrule_add")).status_code == 403
    assert client.post(url("riskrule_delete", rule.pk), {"post": "yes"}).status_code == 403


# --- Alerts -----------------------------------------------------------------------------------------------------------


def test_alerts_are_shown_until_they_are_seen(client):
    campaign = make_campaign()
    figures = {"used": 90000, "budget": 100000, "currency": "EUR"}
    alert = Alert.objects.create(campaign=campaign, kind="budget", key="b", figures=figures)
    client.force_login(make_user("view_alert", "change_alert", "view_campaign"))
    text = "€900.00 of the budget of €1,000.00 are used."
    pages = [url("campaign_changelist"), reverse("admin:app_list", args=["personalization"])]
    for page in [*pages, url("alert_changelist"), url("alert_change", alert.pk)]:
        assert text in client.get(page).content.decode(), page
    client.post(url("alert_changelist"), {"action": "mark_seen", "_selected_action": [alert.pk]})
    assert Alert.objects.get().seen_by is not None
    for page in pages:
        assert text not in client.get(page).content.decode(), page


def test_alerts_are_not_shown_to_everybody(client):
    Alert.objects.create(campaign=make_campaign(), kind="silent", key="s")
    client.force_login(make_user("view_campaign"))
    assert "nobody has been shown" not in client.get(url("campaign_changelist")).content.decode()
    client.force_login(make_user("view_alert"))
    client.post(url("alert_changelist"), {"action": "mark_seen", "_selected_action": [Alert.objects.get().pk]})
    assert Alert.objects.get().seen_at is None


# --- The support desk -------------------------------------------------------------------------------------------------


@pytest.fixture
def desk(client) -> Any:
    client.force_login(make_user("grant_coupon", "view_supportaction"))
    return client


def test_a_code_leads_to_its_shopper_and_is_written_nowhere(desk, coupon):
    assert url("support_desk") in desk.get(url("supportaction_changelist")).content.decode()
    answer = desk.post(url("support_desk"), {"text": CODE})
    assert answer["Location"] == url("support_shopper", coupon.shopper_id)
    page = desk.get(answer["Location"]).content.decode()
    assert CODE not in page
    assert "…NPQR" in page
    unknown = desk.post(url("support_desk"), {"text": "ZZZZ-ZZZZ"}).content.decode()
    assert "Nothing was found." in unknown
    assert "ZZZZ" not in unknown


def test_a_code_of_nobody_is_told_of(desk, coupon):
    Coupon.objects.update(shopper=None)
    assert "belongs to no shopper" in desk.post(url("support_desk"), {"text": CODE}).content.decode()


def test_several_shoppers_are_listed(desk, coupon):
    make_coupon(coupon.offer, make_shopper(), "QQQQ-QQQQ-QQQQ-QQQQ")
    row = {"order_label": "shop.order", "order_id": "7", "campaign": coupon.offer.campaign, "offer": coupon.offer}
    for each in Coupon.objects.all():
        held = Reservation.objects.create(
            coupon=each, offer=each.offer, campaign=each.offer.campaign, idempotency_key=str(each.pk),
            amount_minor=1, expires_at=timezone.now(),
        )  # fmt: skip
        each.redemptions.create(reservation=held, amount_minor=1, shopper=each.shopper, **row)
    page = desk.post(url("support_desk"), {"text": "7"}).content.decode()
    for shopper in Shopper.objects.filter(coupons__isnull=False):
        assert url("support_shopper", shopper.pk) in page


def test_showing_a_code_asks_why_and_leaves_a_line(desk, coupon):
    target = url("support_reveal", coupon.shopper_id)
    given = {"coupon": str(coupon.pk), "key": str(uuid.uuid4())}
    assert desk.get(target).status_code == 405
    assert "Give the reason" in desk.post(target, given, follow=True).content.decode()
    assert not SupportAction.objects.exists()
    answer = desk.post(target, given | {"reason": "on the phone"})
    assert CODE in answer.content.decode()
    assert "no-store" in answer["Cache-Control"]
    deed = SupportAction.objects.get()
    assert (deed.kind, deed.coupon, deed.reason) == ("reveal", coupon, "on the phone")
    page = desk.get(url("supportaction_changelist")).content.decode()
    assert "on the phone" in page
    assert CODE not in page + desk.get(url("supportaction_change", deed.pk)).content.decode()


def test_a_strangers_coupon_is_out_of_reach(desk, coupon):
    given = {"coupon": str(coupon.pk), "key": str(uuid.uuid4()), "reason": "why not"}
    for name in ("reveal", "reissue"):
        desk.post(url(f"support_{name}", make_shopper().pk), given)
    assert not SupportAction.objects.exists()
    assert Coupon.objects.get().voided_at is None


def test_a_coupon_is_re_issued(desk, coupon):
    given = {"coupon": str(coupon.pk), "key": str(uuid.uuid4()), "reason": "lost"}
    page = desk.post(url("support_reissue", coupon.shopper_id), given, follow=True).content.decode()
    assert "the new one is in the list" in page
    new = Coupon.objects.get(replaces=coupon)
    code = codes.reveal(new.code_ciphertext)
    assert f"…{code[-4:]}" in page
    assert code not in page
    coupon.offer.campaign.status = "ended"
    coupon.offer.campaign.save()
    given["coupon"] = str(new.pk)
    page = desk.post(url("support_reissue", coupon.shopper_id), given, follow=True).content.decode()
    assert "does not run any more" in page


def test_goodwill_is_given_once_a_form_and_within_the_limit(desk, coupon, settings):
    settings.PERSONALIZATION = {**settings.PERSONALIZATION, "GOODWILL_LIMIT_MINOR": 1000}
    target = url("support_goodwill", coupon.shopper_id)
    given = {"key": str(uuid.uuid4()), "amount": "7.50", "currency": "EUR", "reason": "late parcel"}
    for _ in range(2):
        assert "€7.50 given." in desk.post(target, given, follow=True).content.decode()
    assert GiftCard.objects.get().balance_minor == 750
    page = desk.post(target, given | {"key": str(uuid.uuid4()), "amount": "2.51"}, follow=True).content.decode()
    assert "more goodwill than you may still give" in page
    assert "still give €2.50" in page
    for wrong in ({"amount": ""}, {"amount": "-1"}, {"reason": ""}, {"currency": "EURO"}, {"key": "1"}):
        assert desk.post(target, given | {"key": str(uuid.uuid4())} | wrong).status_code == 200
    assert Allowance.objects.get().granted_minor == 750


def test_without_the_permission_the_desk_is_closed(client, coupon):
    client.force_login(make_user("view_supportaction", "view_coupon"))
    assert url("support_desk") not in client.get(url("supportaction_changelist")).content.decode()
    assert client.get(url("support_desk")).status_code == 403
    assert client.post(url("support_desk"), {"text": "ada"}).status_code == 403
    assert client.get(url("support_shopper", coupon.shopper_id)).status_code == 403
    for name in ("reissue", "goodwill", "reveal"):
        assert client.post(url(f"support_{name}", coupon.shopper_id), {}).status_code == 403


# --- Groups -----------------------------------------------------------------------------------------------------------


def member(name: str) -> Any:
    user = make_user()
    user.groups.add(Group.objects.get(name=groups.PREFIX + name))
    return user


def test_the_groups_are_there_and_what_an_owner_adds_stays():
    assert set(Group.objects.values_list("name", flat=True)) >= {groups.PREFIX + name for name in groups.GROUPS}
    analyst = Group.objects.get(name=groups.PREFIX + "analyst")
    extra = groups.permissions(("view_shopper",)).get()
    analyst.permissions.add(extra)
    analyst.permissions.remove(*groups.permissions(("view_campaign",)))
    groups.after_migrate(app_config=apps.get_app_config("personalization"))
    named = set(analyst.permissions.values_list("codename", flat=True))
    assert named == {*groups.GROUPS["analyst"], "view_shopper"}


def test_every_permission_of_a_group_exists():
    for codenames in groups.GROUPS.values():
        found = set(groups.permissions(codenames).values_list("codename", flat=True))
        assert set(codenames) - found == set()


def test_tables_that_are_gone_are_left_alone():
    from django.db.migrations.state import ProjectState

    Group.objects.all().delete()
    groups.after_migrate(app_config=apps.get_app_config("personalization"), apps=ProjectState().apps)
    assert not Group.objects.exists()


WORK = {
    "marketer": ["campaign_changelist", "campaign_add", "coupon_changelist", "alert_changelist"],
    "approver": ["campaign_changelist", "alert_changelist"],
    "support": ["support_desk", "supportaction_changelist", "riskreview_changelist", "redemption_changelist"],
    "analyst": ["campaign_changelist", "event_changelist", "ledgerentry_changelist", "exposure_changelist"],
}
CLOSED = {
    "marketer": ["support_desk", "riskreview_changelist", "riskrule_changelist", "shopper_changelist"],
    "approver": ["campaign_add", "support_desk", "coupon_changelist", "shopper_changelist"],
    "support": ["campaign_changelist", "riskrule_changelist", "event_changelist", "shopper_changelist"],
    "analyst": ["campaign_add", "support_desk", "coupon_changelist", "riskreview_changelist", "shopper_changelist"],
}


@pytest.mark.parametrize("name", groups.GROUPS)
def test_each_group_does_its_work_and_nothing_else(client, name):
    client.force_login(member(name))
    assert client.get(reverse("admin:index")).status_code == 200
    for page in WORK[name]:
        assert client.get(url(page)).status_code == 200, page
    for page in CLOSED[name]:
        assert client.get(url(page)).status_code == 403, page


def test_support_decides_and_gives_and_an_approver_approves_without_editing(client, coupon, review):
    client.force_login(member("support"))
    client.post(url("riskreview_decide", review.pk), {"verdict": "approve"})
    assert RiskReview.objects.get().state == "approved"
    assert support.find("ada").shoppers == [coupon.shopper]
    assert client.get(url("support_shopper", coupon.shopper_id)).status_code == 200
    approver = member("approver")
    client.force_login(approver)
    campaign = coupon.offer.campaign
    assert client.get(url("campaign_change", campaign.pk)).status_code == 200
    assert client.post(url("campaign_change", campaign.pk), {"name": "x"}).status_code == 403
    assert approver.has_perm("personalization.approve_campaign")
    assert not member("marketer").has_perm("personalization.approve_campaign")
