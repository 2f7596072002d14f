"""The rule builder: JSON without script, words for people, errors with their place, and segments with their sizes."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from django.core.exceptions import ValidationError
from django.urls import reverse
from django.utils import timezone

from personalization.admin import audience
from personalization.admin.audience_builder import RuleField, part_in_words, vocabulary
from personalization.features import audience_fields, summaries
from personalization.models import Campaign, ScoreSet, ShopperScores
from tests.admin.builders import make_campaign, make_shopper, make_user, make_version
from tests.personalization.builders import make_event

TEA = {"interest": "tea", "op": ">=", "value": 0.3}
BUYS = {"field": "orders", "op": ">=", "value": 2}
MORE = {"any": [TEA, {"not": BUYS}]}


def test_a_rule_is_typed_as_json():
    field = RuleField()
    assert field.clean(json.dumps(MORE)) == MORE
    assert field.clean("") == {}
    assert field.clean('{"all": []}') == {}
    assert not field.has_changed(MORE, field.prepare_value(MORE))
    assert not field.has_changed(None, "")
    assert field.has_changed(MORE, json.dumps(TEA))


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("{", "not valid JSON"),
        ("[" * 20_000, "not valid JSON"),
        ('{"all": [{"field": "faith", "op": "in", "value": ["x"]}]}', r"all\[0\]"),
        ('"gold"', "rule: give"),
        ("x" * 60_000, "at most 50000"),
    ],
    ids=["brace", "deep", "field", "text", "long"],
)
def test_what_cannot_be_read_says_where(text, complaint):
    with pytest.raises(ValidationError, match=complaint):
        RuleField().clean(text)


def test_a_rule_in_words():
    assert part_in_words(MORE) == "any of (Interest in tea: at least 0.3; not (Orders: at least 2))"
    viewed = {"event": "product_viewed", "category": "tea", "days": 9, "op": ">=", "value": 3}
    assert part_in_words(viewed) == "product viewed in tea within 9 days: at least 3"


def test_the_builder_offers_every_declared_field():
    assert [field["name"] for field in vocabulary()["fields"]] == list(audience_fields.FIELDS)


def change_url(campaign):
    return reverse("admin:personalization_campaign_change", args=[campaign.pk])


@pytest.fixture
def marketer(client, db):
    user = make_user("view_campaign", "change_campaign", "add_campaign", "view_shopper", "view_shoppersummary")
    client.force_login(user)
    return user


def test_the_page_has_the_builder_and_no_inline_script(client, marketer):
    campaign = make_campaign(audience={"all": [{"field": "tier", "op": "in", "value": ["gold"]}, MORE]})
    html = client.get(change_url(campaign)).content.decode()
    assert "data-pz-rules" in html
    assert "personalization/audience.js" in html
    form = client.get(change_url(campaign)).context["adminform"].form
    assert form.initial[audience.MORE] == {"all": [MORE]}


def test_questions_and_builder_make_one_rule(db):
    campaign = Campaign(audience={"all": [TEA]})
    form = audience.AudienceForm({"audience_tier": "gold", "audience_more": json.dumps(MORE)})
    assert form.is_valid(), form.errors
    gold = {"field": "tier", "op": "in", "value": ["gold"]}
    assert form.rule(audience.split(campaign.audience)[1]) == {"all": [gold, MORE]}
    form = audience.AudienceForm({"audience_tier": "gold", "audience_more": json.dumps({"all": [TEA, BUYS]})})
    assert form.is_valid()
    assert form.rule([]) == {"all": [gold, TEA, BUYS]}
    without = audience.AudienceForm({"audience_tier": "gold"})
    assert without.is_valid()
    assert without.rule([TEA]) == {"all": [gold, TEA]}
    emptied = audience.AudienceForm({"audience_tier": "gold", "audience_more": ""})
    assert emptied.is_valid()
    assert emptied.rule([TEA]) == {"all": [gold]}


def test_an_unsaved_rule_is_counted(client, marketer):
    fan, _other = make_shopper(), make_shopper()
    make_event(fan, "product_viewed", category="tea", occurred_at=timezone.now() - timedelta(days=1))
    summaries.refresh("shop", timezone.now())
    url = reverse("admin:personalization_campaign_audience")
    html = client.post(url, {"audience_more": json.dumps({"all": [TEA]})}).json()["html"]
    assert "1 shopper now" in html
    assert "A few of them" in html
    wrong = client.post(url, {"audience_more": json.dumps({"any": [TEA, {"field": "x"}]})}).json()["html"]
    assert "any[1]" in wrong
    assert not Campaign.objects.exists()


def test_likely_buyers_are_asked_for_and_a_missing_model_is_said(client, marketer):
    url = reverse("admin:personalization_campaign_audience")
    html = client.post(url, {"audience_intent_min": "20"}).json()["html"]
    assert "0 shoppers now" in html
    assert "There is no score of purchase intent yet" in html
    assert "no score of purchase intent" not in client.post(url, {}).json()["html"]
    version = make_version(task="intent", card={"intent_days": 7})
    score_set = ScoreSet.objects.create(
        state="live",
        published_at=timezone.now(),
        intent_version=version,
        intent_days=7,
        intent_low=0.1,
        intent_high=0.4,
    )
    likely, unlikely = make_shopper(), make_shopper()
    ShopperScores.objects.create(score_set=score_set, shopper=likely, intent=0.42)
    ShopperScores.objects.create(score_set=score_set, shopper=unlikely, intent=0.05)
    html = client.post(url, {"audience_intent_min": "20"}).json()["html"]
    assert "1 shopper now" in html
    assert "purchase intent" not in html
    page = client.get(reverse("admin:personalization_shopper_change", args=[likely.pk])).content.decode()
    assert "Likely to buy within 7 days: 42.0 % (high)" in page
    page = client.get(reverse("admin:personalization_shopper_change", args=[unlikely.pk])).content.decode()
    assert "Likely to buy within 7 days: 5.0 % (low)" in page


def test_the_question_about_intent_makes_a_rule_and_words(settings, client, marketer):
    rule = {"all": [{"field": "intent_percent", "op": ">=", "value": 20}]}
    assert audience.split(rule) == ({"audience_intent_min": 20}, [])
    assert audience.in_words(rule) == ["Likely to buy within 7 days (percent): at least 20"]
    settings.PERSONALIZATION = {**settings.PERSONALIZATION, "INTENT_DAYS": 14}
    assert audience.in_words(rule) == ["Likely to buy within 14 days (percent): at least 20"]
    page = client.get(change_url(make_campaign(audience=rule)))
    assert page.context["adminform"].form.initial["audience_intent_min"] == 20
    assert "probability of buying anything within 14 days" in page.content.decode()
    form = audience.AudienceForm({"audience_intent_min": "101"})
    assert "audience_intent_min" in form.errors


def test_counting_needs_permission(client, db):
    client.force_login(make_user("view_campaign"))
    assert client.post(reverse("admin:personalization_campaign_audience"), {}).status_code == 403


def test_segments_are_listed_with_their_sizes(client, marketer):
    buyer = make_shopper()
    make_event(buyer, "order_placed", value_minor=5000, occurred_at=timezone.now() - timedelta(days=1))
    make_shopper()
    summaries.refresh("shop", timezone.now())
    page = client.get(reverse("admin:personalization_shoppersummary_changelist"))
    html = page.content.decode()
    assert page.status_code == 200
    assert "Champions" in html
    assert "Look around and have not bought." in html
    assert "100.0 %" in html
    only = client.get(reverse("admin:personalization_shoppersummary_changelist") + "?segment=prospect")
    assert only.context["cl"].result_count == 1


def test_segments_need_their_permission(client, db):
    client.force_login(make_user("view_campaign"))
    assert client.get(reverse("admin:personalization_shoppersummary_changelist")).status_code == 403


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({"audience_city": "x" * 101}, "audience_city"),
        ({"audience_tier": ",".join(f"tier-{number}" for number in range(201))}, "audience_tier"),
        ({"audience_age_min": "50", "audience_age_max": "20"}, "audience_age_max"),
        ({"audience_more": json.dumps({"all": [BUYS] * 50}), "audience_tier": "gold"}, audience.MORE),
        ({"audience_more": '{"field": "faith", "op": "in", "value": ["x"]}'}, audience.MORE),
    ],
)
def test_an_error_stands_at_the_field_that_caused_it(client, marketer, values, field):
    form = audience.AudienceForm({"audience_more": "", "audience_gender": "f", **values})
    if form.is_valid():
        form.rule([])
    assert set(form.errors) == {field}
    assert form.errors[field]
