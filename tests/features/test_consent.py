"""No feature is made of what its shopper did not agree to."""

from __future__ import annotations

from personalization.features.frames import STREAM_TYPES
from personalization.features.specification import FEATURES
from personalization.tracking import schema
from personalization.types import Purpose


def test_a_column_about_the_shopper_needs_their_consent() -> None:
    free = {feature.name for feature in FEATURES if feature.consent == Purpose.CONTRACT}
    personal = {feature.name for feature in FEATURES if feature.consent == Purpose.PERSONALISATION}
    assert free | personal == {feature.name for feature in FEATURES}
    assert {"amount", "percent", "offer_kind"} <= free
    assert "age" in personal
    assert {feature.group for feature in FEATURES if feature.name in free} == {"offer", "context"}


def test_features_read_only_events_that_the_same_consent_allows() -> None:
    """An event type for another purpose must not become a feature by being listed."""
    read = {name: schema.get(name) for name in STREAM_TYPES if name != "offer_shown"}
    undeclared = [name for name, declared in read.items() if declared is None]
    assert undeclared == []
    purposes = {declared.purpose for declared in read.values() if declared is not None}
    assert purposes <= {Purpose.PERSONALISATION, Purpose.CONTRACT}
