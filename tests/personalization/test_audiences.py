"""An audience rule means one thing, whether a query filters a million shoppers by it or a page asks about one."""

from __future__ import annotations

from datetime import timedelta
from math import inf, nan
from typing import Any

import pytest
from django.utils import timezone
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from personalization.exceptions import InvalidAudience
from personalization.features import audiences
from personalization.models import Shopper
from tests.personalization.builders import DAY, make_shopper, running

pytestmark = pytest.mark.django_db
NOW = timezone.now()
texts = st.sampled_from(["gold", "silver", "Berlin", "Köln", "", "30", "true", "O'Hara", '"', "%"])
numbers = st.one_of(st.integers(-5, 120), st.integers(0, 1200).map(lambda tenths: tenths / 10), st.just(10**9))
conditions = st.one_of(
    st.fixed_dictionaries(
        {
            "field": st.sampled_from(audiences.CHOICE_FIELDS),
            "op": st.just("in"),
            "value": st.lists(texts, min_size=1, max_size=3),
        }
    ),
    st.fixed_dictionaries(
        {"field": st.sampled_from(["age", "income"]), "op": st.sampled_from([">=", "<="]), "value": numbers}
    ),
    st.fixed_dictionaries(
        {"field": st.just("tenure_days"), "op": st.sampled_from([">=", "<="]), "value": st.integers(-3, 900)}
    ),
)
rules = st.lists(conditions, min_size=1, max_size=2).map(lambda found: {"all": found})
# Whatever a host's adapter or a data set's file may hold, nothing and nonsense included.
values = st.one_of(st.none(), st.booleans(), texts, numbers, st.lists(texts, max_size=2))
people = st.fixed_dictionaries(
    {
        "attributes": st.fixed_dictionaries(
            {}, optional=dict.fromkeys([*audiences.CHOICE_FIELDS, "age", "income"], values)
        ),
        "joined_at": st.none() | st.integers(-2, 900).map(lambda days: NOW - timedelta(days=days)),
    }
)


@hypothesis_settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rules, st.lists(people, min_size=4, max_size=12))
def test_filtering_and_matching_agree(db: None, rule: dict[str, Any], given_people: list[dict[str, Any]]) -> None:
    audience = audiences.parse(rule)
    made = Shopper.objects.bulk_create(Shopper(**fields) for fields in given_people)
    everyone = Shopper.objects.filter(pk__in=[shopper.pk for shopper in made])
    filtered = set(audience.filter(everyone, NOW).values_list("pk", flat=True))
    matched = {shopper.pk for shopper in everyone if audience.matches(shopper, NOW)}
    assert filtered == matched, [(shopper.attributes, shopper.joined_at) for shopper in made]


@pytest.mark.parametrize("missing", [{}, {"age": None}, {"age": "thirty"}, {"age": "30"}, {"age": [30]}, {"age": ""}])
@pytest.mark.parametrize("op", [">=", "<="])
def test_an_age_that_is_no_number_fulfils_nothing(missing: dict[str, Any], op: str) -> None:
    make_shopper(attributes=missing)
    audience = audiences.parse({"all": [{"field": "age", "op": op, "value": 30}]})
    assert not audience.filter(Shopper.objects.all(), NOW).exists()
    assert not audience.matches(Shopper.objects.get(), NOW)


@pytest.mark.parametrize(
    ("rule", "belongs"),
    [
        ({}, True),
        (None, True),
        ({"all": []}, True),
        ({"all": [{"field": "tier", "op": "in", "value": ["silver", "gold"]}]}, True),
        ({"all": [{"field": "tier", "op": "in", "value": ["silver"]}]}, False),
        ({"all": [{"field": "age", "op": ">=", "value": 34}]}, True),
        ({"all": [{"field": "age", "op": ">=", "value": 34.5}]}, False),
        ({"all": [{"field": "age", "op": "<=", "value": 34}]}, True),
        ({"all": [{"field": "tenure_days", "op": ">=", "value": 200}]}, True),
        ({"all": [{"field": "tenure_days", "op": ">=", "value": 201}]}, False),
        ({"all": [{"field": "tenure_days", "op": "<=", "value": 199.5}]}, False),
        ({"all": [{"field": "income", "op": "<=", "value": 10**9}]}, False),
        (
            {"all": [{"field": "city", "op": "in", "value": ["Berlin"]}, {"field": "age", "op": ">=", "value": 90}]},
            False,
        ),
    ],
)
def test_a_gold_member_of_34_from_berlin(rule: Any, belongs: bool) -> None:
    shopper = make_shopper()
    now = timezone.now()
    audience = audiences.parse(rule)
    assert audience.matches(shopper, now) is belongs
    assert audience.filter(Shopper.objects.all(), now).exists() is belongs
    assert audience.matches(None, now) is (not audience.conditions)


def condition(**changes: Any) -> dict[str, Any]:
    return {"all": [{"field": "age", "op": ">=", "value": 30} | changes]}


@pytest.mark.parametrize(
    "rule",
    [
        "everybody",
        7,
        ["all"],
        {"any": []},
        {"all": [], "any": []},
        {"all": {}},
        {"all": "x"},
        {"all": [None]},
        {"all": ["age"]},
        {"all": [[]]},
        {"all": [{}]},
        condition(field="religion"),
        condition(field=None),
        condition(field=["age"]),
        condition(op="=="),
        condition(op="in", value=[30]),
        condition(value=None),
        condition(value="30"),
        condition(value=True),
        condition(value=nan),
        condition(value=inf),
        condition(value=-inf),
        condition(value=10**10),
        condition(field="tenure_days", value=10**6),
        condition(field="tenure_days", value=-(10**6)),
        condition(field="tier"),
        condition(field="tier", op="in", value=[]),
        condition(field="tier", op="in", value="gold"),
        condition(field="tier", op="in", value=[1]),
        condition(field="tier", op="in", value=["gold", None]),
        {"all": [{"field": "age", "op": ">=", "value": 1}] * 51},
    ],
    ids=repr,
)
def test_a_rule_that_cannot_be_read_is_refused(rule: Any) -> None:
    with pytest.raises(InvalidAudience):
        audiences.parse(rule)


def test_whatever_can_be_read_can_be_asked() -> None:
    make_shopper()
    edges = [0, -1, 10**9, -(10**9), 0.5, 36_500]
    rules_read = []
    for field in audiences.NUMBER_FIELDS:
        for op in (">=", "<="):
            for value in edges:
                try:
                    rules_read.append(audiences.parse(condition(field=field, op=op, value=value)))
                except InvalidAudience:
                    continue
    assert len(rules_read) > 20
    for audience in rules_read:
        assert audience.filter(Shopper.objects.all(), NOW).count() == int(audience.matches(Shopper.objects.get(), NOW))


def test_a_campaign_reaches_people_who_agreed_and_exist() -> None:
    campaign = running(audience=condition())
    reached = make_shopper()
    make_shopper(attributes={"age": 20})
    make_shopper(is_bot=True)
    make_shopper(population="set")
    make_shopper(consent_personalisation=False)
    make_shopper(merged_into=reached)
    quiet = make_shopper(consent_marketing=False)
    assert set(audiences.reachable(campaign)) == {reached, quiet}
    assert audiences.count(campaign) == 2
    campaign.delivery = "sent"
    assert set(audiences.reachable(campaign)) == {reached}


def test_a_sample_is_the_same_each_time() -> None:
    campaign = running(starts_at=NOW - DAY)
    made = [make_shopper() for _ in range(6)]
    sample = audiences.sample(campaign, 4)
    assert sample == audiences.sample(campaign, 4) == sorted(made, key=lambda shopper: shopper.key.hex)[:4]
