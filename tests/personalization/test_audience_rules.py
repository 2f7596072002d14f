"""Nested rules over summaries, interests and events: the query and the single answer agree, whatever is nested."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from personalization.exceptions import InvalidAudience
from personalization.features import audience_fields, audiences
from personalization.models import (
    CatalogItem,
    Event,
    ScoreSet,
    Shopper,
    ShopperInterest,
    ShopperScores,
    ShopperSummary,
)
from tests.personalization.builders import DAY, make_event, make_offer, make_shopper, running

pytestmark = pytest.mark.django_db
NOW = timezone.now()
KINDS = ["product_viewed", "order_placed"]
CATEGORIES = ["tea", "pots", ""]
NUMBERS = ["orders", "spent_minor", "views_30d", "recency_score", "churn_risk", "cycle_days"]
DAYS = ["recency_days", "last_seen_days"]
ops = st.sampled_from([">=", "<="])


def leaf(**fields: Any) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries(
        {name: value if isinstance(value, st.SearchStrategy) else st.just(value) for name, value in fields.items()}
    )


texts = st.lists(st.sampled_from(["gold", "tea", "x", "30"]), min_size=1, max_size=2)
leaves = st.one_of(
    leaf(field=st.sampled_from(["tier", "attributes.club", "top_category", "device", "cluster"]), op="in", value=texts),
    leaf(field="attributes.club", op=ops, value=st.integers(-2, 40)),
    leaf(field="age", op=ops, value=st.integers(0, 60)),
    leaf(field=st.sampled_from(NUMBERS[:3]), op=ops, value=st.integers(0, 6)),
    leaf(field="churn_risk", op=ops, value=st.sampled_from([0, 0.25, 0.5, 1])),
    leaf(field=st.sampled_from([*DAYS, "tenure_days"]), op=ops, value=st.integers(0, 60)),
    leaf(field="stage", op="in", value=st.lists(st.sampled_from(["visitor", "loyal"]), min_size=1)),
    leaf(field="has_coupon", op="is", value=st.booleans()),
    leaf(field="intent_percent", op=ops, value=st.sampled_from([0, 10, 12.5, 50, 100])),
    leaf(field="intent_band", op="in", value=st.lists(st.sampled_from(["low", "middle", "high"]), min_size=1)),
    leaf(interest=st.sampled_from(CATEGORIES[:2]), op=ops, value=st.sampled_from([0, 0.1, 0.3, 1])),
    leaf(
        event=st.sampled_from(KINDS),
        category=st.sampled_from(CATEGORIES),
        days=st.integers(1, 40),
        op=ops,
        value=st.integers(1, 3),
    ),
)
rules = st.recursive(
    leaves,
    lambda inner: st.one_of(
        leaf(all=st.lists(inner, min_size=1, max_size=3)),
        leaf(any=st.lists(inner, min_size=1, max_size=3)),
        leaf(**{"not": inner}),
    ),
    max_leaves=6,
).map(lambda rule: {"all": [rule]})
moments = st.none() | st.integers(-2, 60).map(lambda days: NOW - timedelta(days=days))
values = st.one_of(st.none(), st.booleans(), st.integers(-2, 60), st.sampled_from(["gold", "x", "30"]))
people = st.fixed_dictionaries(
    {
        "agreed": st.booleans() | st.just(True),
        "attributes": st.fixed_dictionaries({}, optional=dict.fromkeys(["tier", "club", "age"], values)),
        "joined_at": moments,
        "coupon": st.booleans(),
        "summary": st.none()
        | st.fixed_dictionaries(
            {
                "as_of": st.integers(-1, 3).map(lambda days: NOW - timedelta(days=days)),
                "orders": st.integers(0, 6),
                "spent_minor": st.integers(0, 6),
                "last_order_at": moments,
                "last_seen_at": moments,
                "churn_risk": st.none() | st.sampled_from([0.0, 0.25, 0.5]),
                "stage": st.sampled_from(["visitor", "loyal", "lost"]),
                "top_category": st.sampled_from(["tea", "x", ""]),
                "device": st.sampled_from(["", "x"]),
            }
        ),
        "intent": st.none() | st.sampled_from([0.0, 0.1, 0.125, 0.5, 1.0]),
        "interests": st.dictionaries(st.sampled_from(CATEGORIES[:2]), st.sampled_from([0.1, 0.3, 1.0])),
        "events": st.lists(
            st.tuples(
                st.sampled_from(KINDS),
                st.sampled_from(CATEGORIES),
                st.sampled_from(["", "pot-1"]),
                st.integers(-1, 41),
                st.booleans(),
            ),
            max_size=4,
        ),
    }
)


def make(person: dict[str, Any], offer: Any, score_set: ScoreSet) -> Shopper:
    shopper = make_shopper(
        attributes=person["attributes"], joined_at=person["joined_at"], consent_personalisation=person["agreed"]
    )
    if person["summary"] is not None:
        ShopperSummary.objects.create(shopper=shopper, **person["summary"])
    ShopperInterest.objects.bulk_create(
        ShopperInterest(shopper=shopper, category=name, share=share) for name, share in person["interests"].items()
    )
    Event.objects.bulk_create(
        Event(
            source="t", event_id=uuid.uuid4().hex, type=kind, shopper=shopper, category=category, item_id=item,
            occurred_at=NOW - timedelta(days=days), is_bot=is_bot,
        )
        for kind, category, item, days, is_bot in person["events"]
    )  # fmt: skip
    if person["intent"] is not None:
        ShopperScores.objects.create(score_set=score_set, shopper=shopper, intent=person["intent"])
    if person["coupon"]:
        offer.coupons.create(shopper=shopper, code_digest=uuid.uuid4().hex, code_ciphertext="", issued_at=NOW - DAY)
    return shopper


@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(rules, min_size=1, max_size=4), st.lists(people, min_size=2, max_size=6))
def test_a_query_and_a_single_answer_agree(
    db: None, given_rules: list[dict[str, Any]], given_people: list[dict[str, Any]]
) -> None:
    CatalogItem.objects.get_or_create(item_id="pot-1", defaults={"label": "x", "title": "Pot", "category": "pots"})
    offer = make_offer()
    ScoreSet.objects.filter(state="live").update(state="retired")
    score_set = ScoreSet.objects.create(
        state="live", published_at=NOW - DAY, intent_days=7, intent_low=0.1, intent_high=0.5
    )  # fmt: skip
    made = [make(person, offer, score_set).pk for person in given_people]
    everyone = Shopper.objects.filter(pk__in=made)
    for rule in given_rules:
        audience = audiences.parse(rule)
        filtered = sorted(audience.filter(everyone, NOW).values_list("pk", flat=True))
        matched = sorted(shopper.pk for shopper in everyone if audience.matches(shopper, NOW))
        assert filtered == matched, rule


def one(rule: dict[str, Any]) -> bool:
    """Return whether the only shopper belongs; both forms say the same."""
    audience = audiences.parse(rule)
    answer = audience.matches(Shopper.objects.get(), NOW)
    assert audience.filter(Shopper.objects.all(), NOW).exists() is answer
    return answer


OLD = {"field": "age", "op": ">=", "value": 60}


def test_not_is_the_complement_and_admits_the_unknown() -> None:
    make_shopper(attributes={})
    assert not one({"all": [OLD]})
    assert one({"not": OLD})
    assert not one({"not": {"not": OLD}})
    assert one({"not": {"any": [OLD, {"field": "age", "op": "<=", "value": 59}]}})
    assert one({"not": {"field": "churn_risk", "op": ">=", "value": 0}})


def test_any_of_several_is_enough() -> None:
    make_shopper(attributes={"tier": "gold"})
    gold = {"field": "tier", "op": "in", "value": ["gold"]}
    assert one({"any": [OLD, gold]})
    assert not one({"all": [OLD, gold]})


def test_a_summary_of_a_later_moment_is_not_known_yet() -> None:
    ShopperSummary.objects.create(shopper=make_shopper(), as_of=NOW + DAY, orders=5)
    assert not one({"all": [{"field": "orders", "op": ">=", "value": 0}]})


def test_events_count_within_their_days_and_never_of_robots() -> None:
    mara = make_shopper()
    CatalogItem.objects.create(item_id="pot-1", label="x", title="Pot", category="tea")
    make_event(mara, occurred_at=NOW - DAY, category="tea")
    make_event(mara, occurred_at=NOW - 2 * DAY, item_id="pot-1")
    make_event(mara, occurred_at=NOW - 40 * DAY, category="tea")
    make_event(mara, occurred_at=NOW + DAY, category="tea")
    make_event(mara, occurred_at=NOW - DAY, category="tea", is_bot=True)
    viewed = {"event": "product_viewed", "category": "tea", "days": 30, "op": ">="}
    assert one({"all": [{**viewed, "value": 2}]})
    assert not one({"all": [{**viewed, "value": 3}]})
    assert one({"all": [{**viewed, "days": 60, "value": 3}]})
    assert one({"all": [{**viewed, "op": "<=", "value": 2}]})


def test_nothing_behavioural_is_asked_about_whoever_refused() -> None:
    mara = make_shopper(consent_personalisation=False)
    ShopperSummary.objects.create(shopper=mara, as_of=NOW - DAY, orders=5)
    make_event(mara, occurred_at=NOW - DAY)
    assert not one({"all": [{"field": "orders", "op": ">=", "value": 1}]})
    assert not one({"all": [{"event": "product_viewed", "op": ">=", "value": 1}]})
    assert not one({"all": [{"event": "product_viewed", "op": "<=", "value": 9}]})
    campaign = running(audience={"not": {"field": "orders", "op": ">=", "value": 1}})
    assert not audiences.reachable(campaign).exists()


def test_a_page_asks_little_about_one_shopper() -> None:
    mara = make_shopper()
    ShopperSummary.objects.create(shopper=mara, as_of=NOW - DAY, orders=5)
    profile = audiences.parse({"any": [OLD, {"not": {"field": "tier", "op": "in", "value": ["gold"]}}]})
    lasting = audiences.parse(
        {
            "all": [
                {"field": "orders", "op": ">=", "value": 1},
                {"field": "churn_risk", "op": "<=", "value": 1},
                {"not": {"interest": "tea", "op": ">=", "value": 0.5}},
            ]
        }
    )
    with CaptureQueriesContext(connection) as captured:
        for _campaign in range(20):
            profile.matches(mara, NOW)
    assert len(captured) == 0
    with CaptureQueriesContext(connection) as captured:
        for _campaign in range(20):
            lasting.matches(mara, NOW)
            audiences.parse({"not": {"interest": "tea", "op": ">=", "value": 0.5}}).matches(mara, NOW)
    assert len(captured) == 2


def test_any_rule_is_one_query() -> None:
    every = [
        {"field": "orders", "op": ">=", "value": 1},
        {"interest": "tea", "op": ">=", "value": 0.5},
        {"event": "product_viewed", "category": "tea", "op": ">=", "value": 1},
        {"field": "has_coupon", "op": "is", "value": True},
        {"not": {"any": [OLD, {"field": "segment", "op": "in", "value": ["champions"]}]}},
    ]
    with CaptureQueriesContext(connection) as captured:
        audiences.parse({"any": every}).filter(Shopper.objects.all(), NOW).count()
    assert len(captured) == 1


def nested(depth: int) -> dict[str, Any]:
    return OLD if depth == 0 else {"not": nested(depth - 1)}


def test_five_deep_is_deep_enough() -> None:
    audiences.parse(nested(5))
    with pytest.raises(InvalidAudience, match=r"not\.not\.not\.not\.not"):
        audiences.parse(nested(6))


@pytest.mark.parametrize(
    ("rule", "path"),
    [
        ({"all": [OLD, {"any": [OLD, {**OLD, "field": "religion"}]}]}, r"all\[1\]\.any\[1\]: "),
        ({"all": [{"any": []}]}, r"all\[0\]\.any: "),
        ({"not": []}, "not: "),
        ({"all": [OLD], "any": [OLD]}, "rule: "),
        ({"all": [{**OLD, "more": 1}]}, "more"),
        ({"all": [{"field": "stage", "op": "in", "value": ["gone"]}]}, "stage is never “gone”"),
        ({"all": [{"field": "attributes.a__b", "op": "in", "value": ["x"]}]}, r"all\[0\]: "),
        ({"all": [{"field": "attributes.", "op": ">=", "value": 1}]}, r"all\[0\]: "),
        ({"all": [{"field": "has_coupon", "op": "is", "value": 1}]}, "true or false"),
        ({"all": [{"field": "churn_risk", "op": ">=", "value": 1.5}]}, r"all\[0\]: "),
        ({"all": [{"interest": "", "op": ">=", "value": 0.5}]}, r"all\[0\]: "),
        ({"all": [{"interest": "tea", "op": "in", "value": 0.5}]}, r"all\[0\]: "),
        ({"all": [{"interest": "tea", "op": ">=", "value": -0.5}]}, r"all\[0\]: "),
        ({"all": [{"event": "product_viewed", "op": ">=", "value": 0}]}, r"all\[0\]: "),
        ({"all": [{"event": "product_viewed", "op": ">=", "value": 1, "days": 9999}]}, r"all\[0\]: "),
        ({"all": [{"event": "a\0b", "op": ">=", "value": 1}]}, r"all\[0\]: "),
    ],
    ids=repr,
)
def test_an_error_says_where_it_is(rule: Any, path: str) -> None:
    with pytest.raises(InvalidAudience, match=path):
        audiences.parse(rule)


def test_every_declared_field_can_be_asked() -> None:
    make_shopper()
    samples = {"in": ["x"], ">=": 1, "<=": 1, "is": True}
    for field in audience_fields.FIELDS.values():
        for op in field.ops:
            value: Any = samples[op]
            if field.choices and op == "in":
                value = list(field.choices())[:1]
            one({"all": [{"field": field.name, "op": op, "value": value}]})
