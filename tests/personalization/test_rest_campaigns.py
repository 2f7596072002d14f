"""Campaigns over HTTP: what each permission opens and nothing else does, edits that meet, and input of every sort."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.backends import BaseBackend
from django.urls import reverse
from django.utils import timezone

from personalization.models import Campaign, CampaignRevision, CampaignTransition, Offer
from tests.admin.builders import make_campaign
from tests.personalization.builders import Browser, make_account, make_offer, make_shopper, make_user, running
from tests.personalization.conftest import Configure
from tests.personalization.test_rest_api import BODIES, problem

pytestmark = pytest.mark.django_db
OFFER = {"name": "Ten off", "kind": "coupon", "percent": "10.00", "slots": ["home_hero"]}


def draft_body(**more: Any) -> dict[str, Any]:
    now = timezone.now().replace(microsecond=0)
    dates = {"starts_at": now.isoformat(), "ends_at": (now + timedelta(days=9)).isoformat()}
    return {"name": "Autumn", **dates, "budget_minor": 50_000, "offers": [OFFER], **more}


def person(*permissions: str) -> Browser:
    browser = Browser()
    browser.force_login(make_user(*permissions))
    return browser


@pytest.fixture
def marketer() -> Browser:
    return person("view_campaign", "add_campaign", "change_campaign", "launch_campaign", "stop_campaign")


def call(browser: Browser, method: str, name: str, pk: int | None = None, body: Any = None) -> Any:
    address = reverse(f"personalization:api-{name}", args=[] if pk is None else [pk])
    if method == "get":
        return browser.get(address, body)
    text = body if isinstance(body, str | bytes) else json.dumps(body or {})
    headers = {"x-csrftoken": browser.csrf()}
    return getattr(browser, method)(address, text, content_type="application/json", headers=headers)


def edit(browser: Browser, campaign: Campaign, **body: Any) -> Any:
    return call(browser, "patch", "campaign", campaign.pk, {"revision": campaign.revision, **body})


def move(browser: Browser, campaign: Campaign, to: str, **body: Any) -> Any:
    return call(browser, "post", "campaign-transition", campaign.pk, {"to": to, **body})


# --- From draft to end ------------------------------------------------------------------------------------------------


def test_a_campaigns_way_over_http(marketer: Browser) -> None:
    made = call(marketer, "post", "campaigns", body=draft_body(note="first"))
    assert made.status_code == 201, made.content
    told = made.json()
    assert (told["status"], told["revision"], told["offers"][0]["percent"]) == ("draft", 1, "10.00")
    assert set(told["may_become"]) == {"review", "scheduled", "running", "archived"}
    pk, offer = told["id"], told["offers"][0]["id"]
    added = {"name": "Gift", "kind": "gift", "gift_item_id": "mug", "gift_value_minor": 90}
    body = {"revision": 1, "goal": "Tea", "offers": [{"id": offer, "percent": "15"}, added], "note": "more"}
    changed = call(marketer, "patch", "campaign", pk, body).json()
    assert (changed["revision"], changed["goal"], changed["name"]) == (2, "Tea", "Autumn")
    assert sorted((one["name"], one["percent"]) for one in changed["offers"]) == [
        ("Gift", "0.00"),
        ("Ten off", "15.00"),
    ]
    gone = {"revision": 2, "remove_offers": [one["id"] for one in changed["offers"] if one["name"] == "Gift"]}
    assert len(call(marketer, "patch", "campaign", pk, gone).json()["offers"]) == 1
    campaign = Campaign.objects.get()
    assert [row.number for row in campaign.revisions.order_by("number")] == [1, 2, 3]
    for to in ("running", "paused", "running", "ended", "archived"):
        answer = move(marketer, campaign, to, note="so")
        assert answer.json()["status"] == to, answer.content
    assert CampaignTransition.objects.filter(by__isnull=False).count() == 5
    assert call(marketer, "get", "campaign", pk).json()["may_become"] == []


def test_campaigns_come_in_pages(marketer: Browser) -> None:
    for number in range(3):
        make_campaign(name=f"C {number}")
    make_offer(running(name="Now"))
    page = call(marketer, "get", "campaigns", body={"page_size": 2}).json()
    assert (page["count"], len(page["results"]), page["previous"]) == (4, 2, None)
    second = marketer.get(page["next"]).json()
    assert len(second["results"]) == 2
    assert {one["id"] for one in page["results"]} | {one["id"] for one in second["results"]} == set(
        Campaign.objects.values_list("pk", flat=True)
    )
    (one,) = call(marketer, "get", "campaigns", body={"status": "running"}).json()["results"]
    assert (one["name"], len(one["offers"])) == ("Now", 1)


def test_a_list_costs_the_same_whatever_its_length(marketer: Browser, django_assert_max_num_queries: Any) -> None:
    for _ in range(5):
        make_offer(running())
    with django_assert_max_num_queries(12):
        call(marketer, "get", "campaigns")


# --- Who may ----------------------------------------------------------------------------------------------------------


def attempts(browser: Browser, campaign: Campaign) -> dict[str, int]:
    """Return what each call answers; none is made twice, and bodies are whole."""
    return {
        "list": call(browser, "get", "campaigns").status_code,
        "read": call(browser, "get", "campaign", campaign.pk).status_code,
        "add": call(browser, "post", "campaigns", body=draft_body()).status_code,
        "change": edit(browser, Campaign.objects.get(pk=campaign.pk), goal="G").status_code,
        "stop": move(browser, campaign, "paused").status_code,
        "launch": move(browser, make_offer(running(status="paused")).campaign, "running").status_code,
    }


@pytest.mark.parametrize(
    ("permissions", "opened"),
    [
        ((), set()),
        (("add_redemption", "view_offer", "change_offer"), set()),
        (("view_campaign",), {"list", "read"}),
        (("add_campaign",), {"add"}),
        (("change_campaign",), {"list", "read", "change"}),
        (("stop_campaign",), {"stop"}),
        (("launch_campaign", "stop_campaign"), {"stop", "launch"}),
        (("approve_campaign",), set()),
    ],
)
def test_each_permission_opens_its_own_door(permissions: tuple[str, ...], opened: set[str]) -> None:
    campaign = make_offer(running()).campaign
    answers = attempts(person(*permissions), campaign)
    assert {name for name, status in answers.items() if status in (200, 201)} == opened
    assert {status for name, status in answers.items() if name not in opened} <= {403}


def test_shoppers_and_visitors_see_no_campaign(visitor: Browser) -> None:
    campaign = make_offer(running()).campaign
    customer = Browser()
    customer.force_login(make_account())
    for caller in (visitor, customer, Browser()):
        assert set(attempts(caller, campaign).values()) == {403}
        missing = call(caller, "get", "campaign", 424242)
        assert missing.content == call(caller, "get", "campaign", campaign.pk).content
    problem(call(Browser(), "get", "campaigns"), 403, "not_authenticated")


class OneCampaign(BaseBackend):
    """A host's own permissions: everybody may see and change the campaign named Mine."""

    def has_perm(self, user_obj: Any, perm: str, obj: Any = None) -> bool:
        return obj is not None and obj.name == "Mine" and perm == "personalization.change_campaign"


def test_a_permission_on_one_campaign_opens_that_one(settings: Any) -> None:
    settings.AUTHENTICATION_BACKENDS = [f"{__name__}.OneCampaign", "django.contrib.auth.backends.ModelBackend"]
    mine, other = make_campaign(name="Mine"), make_campaign(name="Other")
    browser = Browser()
    browser.force_login(make_user(), backend="django.contrib.auth.backends.ModelBackend")
    assert call(browser, "get", "campaign", mine.pk).status_code == 200
    assert edit(browser, mine, goal="G").status_code == 200
    problem(call(browser, "get", "campaign", other.pk), 403)
    problem(edit(browser, other, goal="G"), 403)
    problem(call(browser, "get", "campaigns"), 403)


def test_approval_is_for_the_revision_that_was_read(marketer: Browser, configure: Configure) -> None:
    configure(APPROVAL_REQUIRED=True)
    pk = call(marketer, "post", "campaigns", body=draft_body()).json()["id"]
    campaign = Campaign.objects.get(pk=pk)
    assert move(marketer, campaign, "review").status_code == 200
    problem(move(marketer, campaign, "running"), 400, "invalid_transition")
    problem(call(marketer, "post", "campaign-approve", pk, {"revision": 1}), 403)
    approver = person("view_campaign", "approve_campaign")
    problem(call(approver, "post", "campaign-approve", pk, {"revision": 0}), 409, "revision_outdated")
    assert call(approver, "post", "campaign-approve", pk, {"revision": 1}).json()["approved_revision"] == 1
    assert edit(marketer, campaign, goal="Another").status_code == 200
    problem(move(marketer, campaign, "running"), 400, "invalid_transition")
    assert call(approver, "post", "campaign-approve", pk, {"revision": 2}).status_code == 200
    assert move(marketer, campaign, "running").status_code == 200


def test_nobody_approves_their_own_edit() -> None:
    both = person("add_campaign", "change_campaign", "approve_campaign")
    pk = call(both, "post", "campaigns", body=draft_body()).json()["id"]
    assert move(both, Campaign.objects.get(pk=pk), "review").status_code == 200
    problem(call(both, "post", "campaign-approve", pk, {"revision": 1}), 403, "approval_refused")


# --- Edits that meet --------------------------------------------------------------------------------------------------


def test_an_edit_of_an_older_revision_is_refused_and_nothing_is_lost(marketer: Browser) -> None:
    campaign = make_offer(make_campaign()).campaign
    assert edit(marketer, campaign, goal="First").json()["revision"] == campaign.revision + 1
    problem(edit(marketer, campaign, goal="Second", name="Lost"), 409, "revision_outdated")
    problem(move(marketer, campaign, "running", revision=campaign.revision), 409, "revision_outdated")
    campaign.refresh_from_db()
    assert (campaign.goal, campaign.name, campaign.status) == ("First", "Autumn", "draft")


def test_an_edit_names_its_revision(marketer: Browser) -> None:
    campaign = make_campaign()
    assert "revision" in problem(call(marketer, "patch", "campaign", campaign.pk, {"goal": "G"}), 400, "invalid")


def test_an_edit_that_changes_nothing_counts_no_revision(marketer: Browser) -> None:
    campaign = make_campaign()
    assert edit(marketer, campaign, goal=campaign.goal).json()["revision"] == campaign.revision


def test_what_the_state_has_fixed_stays(marketer: Browser) -> None:
    offer = make_offer(running())
    campaign = offer.campaign
    for body in ({"currency": "USD"}, {"offers": [{"id": offer.pk, "percent": "90"}]}, {"offers": [OFFER]}):
        problem(edit(marketer, campaign, **body), 409, "frozen_field")
    problem(edit(marketer, campaign, remove_offers=[offer.pk]), 409, "frozen_field")
    assert edit(marketer, campaign, offers=[{"id": offer.pk, "headline": "New"}]).status_code == 200
    offer.refresh_from_db()
    assert (offer.percent, offer.headline) == (10, "New")
    Campaign.objects.filter(pk=campaign.pk).update(status="ended")
    campaign.refresh_from_db()
    problem(edit(marketer, campaign, goal="Later"), 409, "frozen_field")


def test_an_edit_moves_no_counter_and_no_state(marketer: Browser) -> None:
    offer = make_offer(running())
    campaign = offer.campaign
    sent = {"status": "archived", "spent_minor": 0, "reserved_minor": 0, "population": "other", "approved_revision": 9}
    Campaign.objects.filter(pk=campaign.pk).update(spent_minor=700)
    answer = edit(marketer, campaign, goal="G", offers=[{"id": offer.pk, "issued_count": 99, "body": "B"}], **sent)
    assert answer.status_code == 200
    told = answer.json()
    assert (told["status"], told["spent_minor"], told["population"]) == ("running", 700, "shop")
    assert (told["approved_revision"], told["offers"][0]["issued_count"]) == (None, 0)


def test_a_budget_below_what_is_spent_is_refused(marketer: Browser) -> None:
    campaign = make_offer(running()).campaign
    Campaign.objects.filter(pk=campaign.pk).update(spent_minor=700)
    problem(edit(marketer, campaign, budget_minor=699), 400, "invalid")
    assert edit(marketer, campaign, budget_minor=700).status_code == 200


def test_an_offer_of_another_campaign_is_not_touched(marketer: Browser) -> None:
    mine, other = make_campaign(), make_offer(make_campaign())
    problem(edit(marketer, mine, offers=[{"id": other.pk, "name": "Stolen"}]), 400, "invalid")
    problem(edit(marketer, mine, remove_offers=[other.pk]), 400, "invalid")
    assert Offer.objects.get().name == "Ten off"


def test_an_offer_with_coupons_is_not_taken_away(marketer: Browser, visitor: Browser) -> None:
    offer = make_offer(running())
    assert visitor.call("api-claim", {"offer_id": offer.pk}).status_code == 200
    Campaign.objects.filter(pk=offer.campaign_id).update(status="draft")
    problem(edit(marketer, offer.campaign, remove_offers=[offer.pk]), 409, "frozen_field")


def test_markup_is_cleaned(marketer: Browser) -> None:
    offer = OFFER | {"body_html": "<b>x</b><script>alert(1)</script>"}
    told = call(marketer, "post", "campaigns", body=draft_body(offers=[offer])).json()["offers"][0]
    assert "script" not in told["body_html"]
    campaign = Campaign.objects.get()
    told = edit(marketer, campaign, offers=[{"id": told["id"], "body_html": "<img src=x onerror=alert(1)>"}]).json()
    assert "onerror" not in told["offers"][0]["body_html"]


# --- Bad input --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("body", BODIES, ids=lambda body: repr(body[:20]))
def test_a_body_that_cannot_be_read_is_refused(marketer: Browser, body: bytes) -> None:
    campaign = make_campaign()
    problem(call(marketer, "post", "campaigns", body=body), 400)
    problem(call(marketer, "patch", "campaign", campaign.pk, body), 400)
    problem(call(marketer, "post", "campaign-transition", campaign.pk, body), 400)


DEEP: Any = {}
for _ in range(30):
    DEEP = {"all": [DEEP]}
BAD: list[dict[str, Any]] = [
    {"name": ""},
    {"name": "x" * 121},
    {"name": "a\x00"},
    {"name": "\ud800"},
    {"starts_at": "yesterday"},
    {"starts_at": "0001-01-01T00:00:00"},
    {"ends_at": "9999-12-31T23:59:59-14:00"},
    {"ends_at": "2001-01-01T00:00:00Z"},
    {"time_zone": "../etc/passwd"},
    {"sites": "shop.example"},
    {"sites": ["https://shop.example"]},
    {"sites": [{"a": 1}]},
    {"audience": "everybody"},
    {"audience": {"field": "nothing"}},
    {"audience": {"all": [{"field": "tier", "is": "a\x00"}]}},
    {"audience": DEEP},
    {"audience": [1, None]},
    {"budget_minor": -1},
    {"budget_minor": 10**30},
    {"priority": 10**6},
    {"attribution_hours": -1},
    {"attribution_hours": 2**40},
    {"currency": "EUROS"},
    {"delivery": "pigeon"},
    {"note": "x" * 301},
    {"offers": "x"},
    {"offers": [{}]},
    {"offers": [None]},
    {"offers": [OFFER | {"kind": "magic"}]},
    {"offers": [OFFER | {"percent": "NaN"}]},
    {"offers": [OFFER | {"percent": "1e400"}]},
    {"offers": [OFFER | {"percent": 101}]},
    {"offers": [OFFER | {"amount_minor": 500}]},
    {"offers": [OFFER | {"amount_minor": 10**30}]},
    {"offers": [OFFER | {"slots": ["cellar"]}]},
    {"offers": [OFFER | {"slots": [["x"]]}]},
    {"offers": [OFFER | {"tiers": "gold"}]},
    {"offers": [OFFER | {"item_ids": ["a\x00"]}]},
    {"offers": [OFFER | {"kind": "spend_threshold", "percent": 0, "steps": [{"threshold_minor": 10**400}]}]},
    {"offers": [OFFER | {"kind": "spend_threshold", "percent": 0, "steps": {"a": 1}}]},
    {"offers": [OFFER | {"cta_url": "javascript:alert(1)"}]},
    {"offers": [OFFER | {"per_shopper": 0}]},
    {"offers": [OFFER | {"max_issued": 2**40}]},
    {"offers": [OFFER | {"valid_hours": 10**20}]},
    {"offers": [OFFER | {"starts_at": "2030-01-02T00:00:00Z", "ends_at": "2030-01-01T00:00:00Z"}]},
    {"offers": [OFFER] * 101},
    {"offers": [OFFER | {"id": 1}]},
]


@pytest.mark.parametrize("change", BAD, ids=[f"{next(iter(row))}-{n}" for n, row in enumerate(BAD)])
def test_bad_input_is_refused_and_nothing_is_stored(marketer: Browser, change: dict[str, Any]) -> None:
    problem(call(marketer, "post", "campaigns", body=draft_body(**change)), 400)
    assert not Campaign.objects.exists()
    campaign = make_campaign()
    problem(edit(marketer, campaign, **change), 400)
    assert not CampaignRevision.objects.exists()


@pytest.mark.parametrize("body", [{"to": "x"}, {"to": "draft"}, {"to": ""}, {"to": None}, {"to": "ended"}, {}])
def test_a_state_that_cannot_follow_is_refused(marketer: Browser, body: dict[str, Any]) -> None:
    campaign = make_offer(make_campaign()).campaign
    problem(call(marketer, "post", "campaign-transition", campaign.pk, body), 400)


@pytest.mark.parametrize("query", [{"page": "0"}, {"page": "x"}, {"page": "9" * 5000}, {"page": str(10**30)}])
def test_a_page_that_is_not_there_is_not_found(marketer: Browser, query: dict[str, str]) -> None:
    problem(call(marketer, "get", "campaigns", body=query), 404)


@pytest.mark.parametrize("query", [{"page_size": "x"}, {"page_size": "-1"}, {"page_size": "9" * 5000}])
def test_a_size_that_makes_no_sense_is_the_usual_one(marketer: Browser, query: dict[str, str]) -> None:
    assert call(marketer, "get", "campaigns", body=query).status_code == 200


def test_a_campaign_that_is_not_there_is_not_found(marketer: Browser) -> None:
    for pk in (424242, 10**30):
        problem(call(marketer, "get", "campaign", pk), 404)
        problem(call(marketer, "patch", "campaign", pk, {"revision": 0}), 404)
        problem(call(marketer, "post", "campaign-transition", pk, {"to": "ended"}), 404)
    problem(call(marketer, "get", "campaigns", body={"status": "lost"}), 400, "invalid")


def test_an_account_needs_its_csrf_token(marketer: Browser) -> None:
    assert make_shopper()
    address = reverse("personalization:api-campaigns")
    problem(marketer.post(address, json.dumps(draft_body()), content_type="application/json"), 403)
    assert not Campaign.objects.exists()


def test_a_refusal_that_quotes_half_a_character_can_be_read(marketer: Browser) -> None:
    refused = call(
        marketer, "post", "campaigns", body=draft_body(pacing="\ud800", offers=[{**OFFER, "kind": "\udfff"}])
    )
    assert refused.status_code == 400
    assert set(refused.json()["errors"]) == {"pacing", "offers"}
