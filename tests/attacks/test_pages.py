"""Attempts through the browser: other sites' forms, hostile words on pages, staff who may only look, bad rows."""

from __future__ import annotations

from typing import Any

import pytest
from django.contrib import admin
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.core.exceptions import ValidationError
from django.db import connection
from django.test import Client
from django.urls import URLPattern, reverse
from django.urls.converters import get_converters
from django.utils import timezone

from personalization import api
from personalization.models import Job, Shopper, Switch, TuningRun
from tests.admin.builders import make_version
from tests.personalization.builders import AGENT, DAY, Browser, make_event, make_offer, make_user, running
from tests.worker.searching import make_run

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


def make_superuser() -> Any:
    return get_user_model().objects.create_superuser("root", password="pw")


def test_hostile_words_are_only_words() -> None:
    offer = make_offer(headline=HOSTILE[:120], body=HOSTILE, cta_label=HOSTILE[:40])
    browser = Browser()
    browser.answer("all")
    code = browser.call("api-claim", {"offer_id": offer.pk}).json()["code"]
    shopper = browser.shopper()
    event = make_event(shopper, "search_performed", properties={"query": HOSTILE}, item_id=HOSTILE[:90])
    browser.events({"id": HOSTILE, "type": HOSTILE[:40], HOSTILE: HOSTILE})
    staff = Client()
    staff.force_login(make_superuser())
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


def test_staff_who_may_only_look_change_nothing() -> None:
    views = Permission.objects.filter(content_type__app_label="personalization", codename__startswith="view_")
    staff = make_user(*views.values_list("codename", flat=True))
    client = Client()
    client.force_login(staff)
    offer, version = make_offer(), make_version()
    campaign, job = offer.campaign, Job.objects.create(kind="train")
    failed = Job.objects.create(kind="score", state="failed")
    search = make_run()
    TuningRun.objects.filter(pk=search.pk).update(low=0.1, adopted_at=timezone.now())
    posts: list[tuple[str, list[Any]]] = [
        ("job_start", ["train"]),
        ("job_cancel", [job.pk]),
        ("job_retry", [failed.pk]),
        ("modelversion_promote", [version.pk]),
        ("modelversion_shadow", [version.pk]),
        ("tuningrun_start", []),
        ("tuningrun_withdraw", [search.pk]),
        ("campaign_state", [campaign.pk, "ended"]),
        ("campaign_forecast", [campaign.pk]),
        ("campaign_audience", []),
        ("campaign_change", [campaign.pk]),
        ("campaign_delete", [campaign.pk]),
        ("campaign_add", []),
    ]
    for name, args in posts:
        answer = client.post(reverse(f"admin:personalization_{name}", args=args), {"name": "Taken over", "post": "yes"})
        assert answer.status_code == 403, name
    client.post(
        reverse("admin:personalization_job_changelist"), {"action": "cancel_jobs", "_selected_action": [job.pk]}
    )
    for row, state in ((job, "queued"), (failed, "failed"), (version, "candidate")):
        row.refresh_from_db()
        assert row.state == state
    search.refresh_from_db()
    assert (search.in_force, version.shadow_since) == (True, None)
    campaign.refresh_from_db()
    assert (campaign.status, campaign.name) == ("running", "Autumn")
    assert Job.objects.count() == 2


def _addresses() -> dict[str, str]:
    """Return name → an address of every page of ours in the admin."""
    sample = {"path": "1", "int": 1, "slug": "train", "str": "1"}
    given = {type(converter): sample[name] for name, converter in get_converters().items() if name in sample}
    found = {}
    for page in (page for part in admin.site.urls[0] for page in getattr(part, "url_patterns", [part])):
        name = getattr(page, "name", None) or ""
        if isinstance(page, URLPattern) and name.startswith("personalization_"):
            keys = {key: given[type(of)] for key, of in page.pattern.converters.items()}
            found[name] = reverse(f"admin:{name}", kwargs=keys)
    return found


def test_no_page_of_staff_is_posted_to_from_another_site() -> None:
    """Every page of ours in the admin asks for the token, whoever added it; with it, none says that it lacks."""
    addresses = _addresses()
    assert {"personalization_tuningrun_withdraw", "personalization_modelversion_promote"} <= set(addresses)
    root, forged, own = make_superuser(), Client(enforce_csrf_checks=True), Client(raise_request_exception=False)
    forged.force_login(root)
    own.force_login(root)
    assert {name for name, address in addresses.items() if forged.post(address).status_code != 403} == set()
    assert {name for name, address in addresses.items() if b"CSRF" in own.post(address).content} == set()


@pytest.mark.parametrize("field", ["tiers", "slots"])
@pytest.mark.parametrize("value", ["gold", 5, {"gold": 1}, [["gold"]], [None], True])
def test_an_offer_whose_lists_are_none_is_refused(field: str, value: Any) -> None:
    """One such row would break the decision for every shopper of every page."""
    now = timezone.now()
    terms = {"name": "A tenth off", "kind": "coupon", "percent": 10, "slots": ["home_hero"], field: value}
    with pytest.raises(ValidationError):
        api.create_campaign(name="Autumn", starts_at=now, ends_at=now + DAY, offers=[terms])


def test_refused_requests_fill_no_table() -> None:
    """Whoever sends nonsense without a cookie, a million times, leaves no shopper and no session behind."""
    closed = make_offer(running(status="paused"))
    basket = {"currency": "EUR", "lines": [{"item_id": "1", "quantity": 1, "unit_price_minor": 1000}]}
    for name, body in (
        ("api-claim", {"offer_id": 10**9}),
        ("api-claim", {"offer_id": closed.pk}),
        ("api-reserve", {"code": "ABCD-EFGH-JKLM-NPQR", "basket": basket, "idempotency_key": "k"}),
    ):
        assert Browser().call(name, body).status_code in {400, 404}
    for offer in ("x", str(10**9), str(closed.pk)):
        visitor = Browser()
        visitor.post(reverse("personalization:claim"), {"offer": offer, "csrfmiddlewaretoken": visitor.csrf()})
    assert not Shopper.objects.exists()


def test_an_offer_of_another_population_is_unknown() -> None:
    offer = make_offer(running(population="imported"))
    assert Browser().call("api-claim", {"offer_id": offer.pk}).status_code == 404


@pytest.mark.parametrize("name", ["modelversion", "tuningrun", "scoreset", "job", "monitoringreport"])
def test_a_nul_in_a_lists_address_is_left_out(name: str) -> None:
    """PostgreSQL compares no text with one, and the admin's own filters pass it on."""
    staff = Client()
    staff.force_login(make_superuser())
    address = reverse(f"admin:personalization_{name}_changelist")
    for query in ("?state=%00", "?population=a%00b", "?population=shop&q=%00"):
        assert staff.get(f"{address}{query}").headers["Location"] == address
    assert staff.get(address).status_code == 200


def test_a_nul_in_a_files_address_is_left_out() -> None:
    staff = Client()
    staff.force_login(make_superuser())
    address = reverse("admin:personalization_campaign_export")
    assert staff.get(f"{address}?currency=%00").headers["Location"] == address
    assert staff.get(address).status_code == 200


def test_a_nul_in_what_staff_send_reaches_no_table() -> None:
    """PostgreSQL takes none: the page would end in an error in place of a word beside the field."""
    make_superuser()
    staff, campaign = Client(), make_offer(running(status="draft")).campaign
    staff.force_login(get_user_model().objects.get())
    change = reverse("admin:personalization_campaign_change", args=[campaign.pk])
    form = staff.get(change).context["inline_admin_formsets"][0].formset
    sent = {f"{form.prefix}-{name}": value for name, value in form.management_form.initial.items()}
    odd = {f"{form.prefix}-0-{name}": "a\x00b" for name in ("tiers", "item_ids", "gift_item_id", "name")}

    def as_postgresql(execute: Any, sql: str, params: Any, *more: Any) -> Any:
        assert "\\x00" not in repr(params)
        return execute(sql, params, *more)

    with connection.execute_wrapper(as_postgresql):
        page = staff.post(change, {**sent, f"{form.prefix}-0-id": campaign.offers.get().pk, **odd})
        preview = reverse("admin:personalization_campaign_preview", args=[campaign.pk])
        assert staff.post(preview, {"shopper": "a\x00b"}).status_code == 200
        staff.post(reverse("admin:personalization_campaign_stop"), {"to": "stop", "reason": "wrong\x00 price"})
    assert page.status_code == 200
    assert "Null characters are not allowed." in page.content.decode()
    assert Switch.objects.get().reason == "wrong price"
