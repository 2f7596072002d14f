"""Every page of the admin opens for those who may see it and for nobody else, and a list costs the same at any size."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.contrib.auth import get_user_model
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.urls import reverse

from personalization.models import Campaign, Decision, Forecast, Job, ModelVersion, ScoreSet, Shopper, ShopperScores
from tests.admin.builders import make_campaign, make_everything, make_offer, make_shopper, make_user, make_version

MODELS = [
    "campaign",
    "catalogitem",
    "consentrecord",
    "coupon",
    "decision",
    "event",
    "eventimport",
    "exposure",
    "job",
    "ledgerentry",
    "modelversion",
    "monitoringreport",
    "quarantinedevent",
    "redemption",
    "reservation",
    "scoreset",
    "shopper",
]
READ_ONLY = [name for name in MODELS if name != "campaign"]
ODD_VALUES: list[Any] = [
    None,
    [],
    {},
    "text",
    7,
    [1, "a", None, {"offer": "x"}],
    {"offer": [1], "a": {"b": [{}]}},
    [[[]]],
    True,
]

pytestmark = pytest.mark.django_db


def list_url(name: str) -> str:
    return reverse(f"admin:personalization_{name}_changelist")


def change_url(name: str, pk: object) -> str:
    return reverse(f"admin:personalization_{name}_change", args=[pk])


@pytest.fixture
def superuser(client):
    user = get_user_model().objects.create_superuser("root", "root@example.org", "pw")
    client.force_login(user)
    return user


@pytest.mark.parametrize("name", MODELS)
def test_a_superuser_opens_list_and_page(client, superuser, name):
    row = make_everything()[name]
    assert client.get(list_url(name)).status_code == 200
    assert client.get(change_url(name, row.pk)).status_code == 200


@pytest.mark.parametrize("name", MODELS)
def test_whoever_lacks_the_permission_sees_nothing(client, name):
    row = make_everything()[name]
    client.force_login(make_user())
    assert client.get(list_url(name)).status_code == 403
    assert client.get(change_url(name, row.pk)).status_code == 403
    assert list_url(name) not in client.get(reverse("admin:index")).content.decode()


@pytest.mark.parametrize("name", MODELS)
def test_whoever_may_only_view_cannot_write(client, name):
    row = make_everything()[name]
    client.force_login(make_user(f"view_{name}"))
    assert client.get(list_url(name)).status_code == 200
    assert client.get(change_url(name, row.pk)).status_code == 200
    assert client.post(change_url(name, row.pk), {}).status_code == 403
    assert client.get(reverse(f"admin:personalization_{name}_add")).status_code == 403


@pytest.mark.parametrize("name", READ_ONLY)
def test_facts_are_read_only_even_for_a_superuser(client, superuser, name):
    row = make_everything()[name]
    assert client.get(reverse(f"admin:personalization_{name}_add")).status_code == 403
    assert client.post(change_url(name, row.pk), {}).status_code == 403
    assert (
        client.post(reverse(f"admin:personalization_{name}_delete", args=[row.pk]), {"post": "yes"}).status_code == 403
    )


@pytest.mark.parametrize("name", MODELS)
def test_a_list_asks_no_more_for_more_rows(client, superuser, name):
    make_everything(1)
    client.get(list_url(name))  # the first request also fills the session and caches of content types
    with CaptureQueriesContext(
        connection,
    ) as few:
        client.get(list_url(name))
    for number in range(2, 6):
        make_everything(number)
    with CaptureQueriesContext(connection) as many:
        client.get(list_url(name))
    # Another population of the board or of a filter is not another row.
    grown = [query["sql"] for query in many.captured_queries[len(few) :]]
    assert len(many) <= len(few), grown


@pytest.mark.parametrize("name", ["campaign", "decision", "job"])
def test_a_list_is_built_as_the_script_and_its_test_expect(client, superuser, name):
    """tests/acceptance/test_scrolling.py looks at what becomes of it."""
    make_everything()
    html = client.get(list_url(name)).content.decode()
    assert re.search(r'id="content".*<h1>.*id="changelist".*<div class="results">\s*<table', html, re.S)
    assert "personalization/admin.js" in html


@pytest.mark.parametrize("name", MODELS)
def test_pages_bring_no_inline_script_or_style(client, superuser, name):
    row = make_everything()[name]
    for url in (list_url(name), change_url(name, row.pk)):
        html = client.get(url).content.decode()
        assert not re.search(r"<script(?![^>]*\bsrc=)", html), url
        assert not re.search(r"<[^>]+\s(style|on[a-z]+)=", html), url
        assert not re.search(r"""(src|href)=["'](https?:)?//""", html), url


@pytest.mark.parametrize("odd", ODD_VALUES, ids=repr)
def test_a_decision_of_any_shape_is_shown(client, superuser, odd):
    decision = Decision.objects.create(
        slot="gone", policy="?", eligible=odd or [], excluded=odd or {}, chosen=odd or [], features=odd or {}
    )
    assert client.get(change_url("decision", decision.pk)).status_code == 200
    assert client.get(list_url("decision")).status_code == 200


@pytest.mark.parametrize("status", ["draft", "running", "ended", "archived"])
@pytest.mark.parametrize(
    "odd", [*ODD_VALUES, {"audience": [1, 2], "cost": "many"}, {"views": [None, "a", 3]}], ids=repr
)
def test_a_forecast_of_any_shape_is_shown(client, superuser, odd, status):
    campaign = make_campaign(status=status)
    Forecast.objects.create(campaign=campaign, figures=odd or {}, assumptions=odd or {})
    assert client.get(change_url("campaign", campaign.pk)).status_code == 200


@pytest.mark.parametrize("odd", ODD_VALUES, ids=repr)
def test_an_audience_of_any_shape_is_shown_and_kept(client, superuser, odd):
    campaign = make_campaign(audience=odd or {})
    assert client.get(change_url("campaign", campaign.pk)).status_code == 200
    assert client.get(list_url("campaign")).status_code == 200
    assert Campaign.objects.get().audience == (odd or {})


@pytest.mark.parametrize("odd", ODD_VALUES, ids=repr)
def test_offers_jobs_versions_and_scores_of_any_shape_are_shown(client, superuser, odd):
    campaign, shopper = make_campaign(), make_shopper(attributes=odd or {})
    make_offer(campaign, slots=odd or [], tiers=odd or [])
    version = make_version(metrics=odd or {}, card=odd or {})
    job = Job.objects.create(kind="train", state="succeeded", result=odd or {}, params=odd or {})
    score_set = ScoreSet.objects.create(state="live", defaults=odd or {})
    ShopperScores.objects.create(
        score_set=score_set, shopper=shopper, offers=odd or {}, kinds=odd or {}, items=odd or [], values=odd or {}
    )
    pages = {"campaign": campaign, "modelversion": version, "job": job, "scoreset": score_set, "shopper": shopper}
    for name, row in pages.items():
        assert client.get(change_url(name, row.pk)).status_code == 200, name
        assert client.get(list_url(name)).status_code == 200, name


def test_a_shopper_page_hides_what_identifies(client, superuser):
    rows = make_everything()
    html = client.get(change_url("shopper", rows["shopper"].pk)).content.decode()
    assert "customer-1-secret" not in html
    assert "cust…" in html
    assert "Interest by category" in html


def test_attributes_need_the_permission_to_view_shoppers(client):
    shopper = make_shopper(attributes={"tier": "platinum-tier"})
    client.force_login(make_user("change_shopper"))
    assert "platinum-tier" not in client.get(change_url("shopper", shopper.pk)).content.decode()
    client.force_login(make_user("view_shopper"))
    assert "platinum-tier" in client.get(change_url("shopper", shopper.pk)).content.decode()


def test_a_shopper_is_found_by_exact_identities_only(client, superuser):
    rows = make_everything()
    shopper = rows["shopper"]
    other = Shopper.objects.get(user=superuser)  # logging in made one
    for term, expected in [
        (str(shopper.key), shopper),
        (shopper.key.hex, shopper),
        ("customer-1-secret", shopper),
        ("root", other),
        ("customer", None),
        ("%", None),
    ]:
        found = client.get(list_url("shopper"), {"q": term}).context["cl"].queryset
        assert list(found) == ([expected] if expected else []), term


def test_a_decision_is_explained_in_words(client, superuser):
    rows = make_everything()
    Decision.objects.filter(pk=rows["decision"].pk).update(fallback="stale_scores", arm="holdout")
    html = client.get(change_url("decision", rows["decision"].pk)).content.decode()
    assert "the shopper is not in the audience" in html
    assert "the scores were too old" in html
    assert "every offer was withheld" in html
    assert "95.0 %" in html
    assert "€1.23" in html


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({}, "served by the shopper’s predictions"),
        ({"model_version": None}, "served without a model"),
        ({"fallback": "no_consent"}, "served, not personal: the shopper has not agreed to personalisation"),
        ({"arm": "holdout", "chosen": []}, "held back: the shopper is in the holdout"),
        ({"arm": "control", "chosen": []}, "held back: the shopper is in the control group"),
        ({"fallback": "switched_off", "chosen": []}, "nothing served: everything was stopped"),
        (
            {"chosen": [], "excluded": {"1": "budget_used_up", "2": "not_in_audience", "3": "not_in_audience"}},
            "nothing served; left out: the shopper is not in the audience (2), the campaign’s budget was used up",
        ),
        ({"chosen": [], "excluded": {}}, "nothing served: no running offer names this slot"),
    ],
)
def test_every_decision_says_why_in_words(client, superuser, changes, told):
    rows = make_everything()
    Decision.objects.filter(pk=rows["decision"].pk).update(**changes)
    for address in (list_url("decision"), change_url("decision", rows["decision"].pk)):
        assert told in client.get(address).content.decode(), address


def test_each_offer_of_a_decision_says_what_became_of_it(client, superuser):
    rows = make_everything()
    best = rows["campaign"].offers.get()
    tried = make_offer(rows["campaign"], name="Tried out")
    row = {"value_minor": 10, "heads": [], "reasons": ["by_priority"]}
    Decision.objects.filter(pk=rows["decision"].pk).update(
        eligible=[{"offer": best.pk, **row}, {"offer": tried.pk, **row}],
        chosen=[{"offer": tried.pk, "position": 1, "propensity": 0.05}],
    )
    page = client.get(change_url("decision", rows["decision"].pk)).content.decode()
    assert "by chance, to learn how it does; placed by the campaign’s priority" in page
    assert "served: by chance, to learn how it does" in page
    assert "not served: the places were taken" in page
    Decision.objects.filter(pk=rows["decision"].pk).update(arm="holdout", chosen=[])
    page = client.get(change_url("decision", rows["decision"].pk)).content.decode()
    assert page.count("<td>held back: the shopper is in the holdout</td>") == 2


def test_an_offer_that_the_shopper_cannot_get_says_so_and_is_not_explained(client, superuser):
    rows = make_everything()
    offer, scores = rows["campaign"].offers.get(), ShopperScores.objects.get()
    scores.reasons = {"head": "redeem", "offers": {str(offer.pk): {"base": -2.0, "loyalty": 0.5}}}
    scores.save()
    page = client.get(change_url("shopper", rows["shopper"].pk)).content.decode()
    assert f"Why “{offer.name}”" in page  # the control: they can get it
    assert "<td>yes</td>" in page
    offer.tiers = ["platinum"]
    offer.save()
    page = client.get(change_url("shopper", rows["shopper"].pk)).content.decode()
    assert f"Why “{offer.name}”" not in page
    assert "<td>no: for other loyalty tiers</td>" in page


def test_offers_of_one_name_are_told_apart(client, superuser):
    rows = make_everything()
    campaign = rows["campaign"]
    first = campaign.offers.get()
    twin, elsewhere = make_offer(campaign, name=first.name), make_offer(make_campaign(name="Other"), name=first.name)
    alone = make_offer(campaign, name="Alone")
    ShopperScores.objects.update(offers={str(offer.pk): [0.1] * 4 for offer in (first, twin, elsewhere, alone)})
    page = client.get(change_url("shopper", rows["shopper"].pk)).content.decode()
    for name in (
        f"{first.name} · {campaign.name} · #{first.pk}",
        f"{first.name} · {campaign.name} · #{twin.pk}",
        f"{first.name} · Other",
        "Alone",
    ):
        assert f">{name}</a>" in page, name


def test_feature_values_need_the_permission_to_view_shoppers(client):
    rows = make_everything()
    client.force_login(make_user("view_decision"))
    assert "Values it used" not in client.get(change_url("decision", rows["decision"].pk)).content.decode()
    client.force_login(make_user("view_decision", "view_shopper"))
    assert "Values it used" in client.get(change_url("decision", rows["decision"].pk)).content.decode()


def test_a_long_list_says_that_it_is_cut(client, superuser, monkeypatch):
    monkeypatch.setattr("personalization.admin.base.NEWEST", 2)
    for number in range(1, 4):
        make_everything(number)
    html = client.get(list_url("event")).content.decode()
    assert "newest 2 rows" in html


def test_the_board_marks_the_champion(client, superuser):
    job = Job.objects.create(kind="train", state="succeeded")
    make_version(estimator="net", state=ModelVersion.State.CHAMPION, job=job)
    make_version(estimator="baseline", job=job)
    html = client.get(list_url("modelversion")).content.decode()
    assert html.count('class="pz-champion"') == 1
    assert "0.6900 – 0.7300" in html
