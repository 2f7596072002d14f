"""Topics: every feature has one, and only one; shares of importances add up."""

from __future__ import annotations

import pytest

from personalization.features.specification import FEATURES, NAMES
from personalization.features.topics import BY_CODE, REMAINDER, SEQUENCE, TOPICS, shares


def test_every_feature_has_exactly_one_topic() -> None:
    named = [name for topic in TOPICS for name in topic.features]
    assert sorted(named) == sorted([*NAMES, SEQUENCE, REMAINDER])
    assert len(BY_CODE) == len(TOPICS)


def test_what_a_topic_needs_is_what_its_features_need() -> None:
    personal = {name for topic in TOPICS if topic.personal for name in topic.features}
    assert {f.name for f in FEATURES if f.consent != "contract"} <= personal
    assert not BY_CODE["terms"].personal
    assert BY_CODE["age"].personal


def test_protected_attributes_stand_alone() -> None:
    """A page can then say of each of them whether it is used."""
    assert {topic.features for topic in TOPICS if topic.protected} == {("age",), ("gender",)}


def test_shares_gather_prepared_columns_and_leave_out_the_unknown() -> None:
    found = shares({"orders_7d": 0.3, "orders_28d": 0.1, "age_missing": 0.2, "nonsense": 0.4, "hour": 0})
    assert found == pytest.approx({"frequency": 2 / 3, "age": 1 / 3})
    assert shares({}) == {}
