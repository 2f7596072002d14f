"""The quick model in plain Python: its features at their edges, and how it moves a mean."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import pytest

from personalization.pure import quick
from personalization.pure.quick import DAY_MINUTES, LAST_EVENTS, NAMES, Known, Person, Recent
from personalization.types import HEADS

STORED: dict[str, Any] = {
    "features": list(NAMES),
    "heads": list(HEADS),
    "offers": {"7": [0.5, 0.2, 0.0, 1.0]},
    "kinds": {"coupon": [0.4, 0.1, 0.05, 0.2]},
    "bias": [0.0, -0.5, 1.0, 1.0],
    "scale": [0.01, 0.02, 1.0, 1.0],
    "weights": [
        [100 * (name == "present") for name in NAMES],
        [127 * (name == "same_category") for name in NAMES],
        [1] * len(NAMES),
        [1] * len(NAMES),
    ],
}


def model() -> quick.Model:
    found = quick.read(STORED)
    assert found is not None
    return found


def named(recent: list[Recent], category: str = "tea") -> dict[str, float]:
    return dict(zip(NAMES, quick.features(Known(recent), category), strict=True))


def test_of_nobody_known_everything_is_zero() -> None:
    assert quick.features(Known(), "tea") == [0.0] * len(NAMES)
    shown = Recent("offer_viewed", "tea", 0.0)  # what somebody was shown tells nothing of what they want
    assert quick.features(Known([shown]), "tea") == [0.0] * len(NAMES)


def test_each_feature_by_hand() -> None:
    recent = [
        Recent("product_viewed", "tea", DAY_MINUTES),
        Recent("product_viewed", "coffee", 2 * DAY_MINUTES),
        Recent("basket_changed", "", 2 * DAY_MINUTES),
        Recent("order_placed", "", 7 * DAY_MINUTES, 999.0),
    ]
    found = named(recent)
    assert found == pytest.approx(
        {
            "present": 1.0,
            "events": math.log(5) / math.log(21),
            "fresh": 0.5,
            "viewed": 0.5,
            "searched": 0.0,
            "basket": 0.25,
            "ordered": 0.5,
            "spent": 0.5,
            "same_category": 0.5,
            "income_known": 0.0,
            "income": 0.0,
            "tenure": 0.0,
        },
        abs=1e-4,
    )
    assert named(recent, "")["same_category"] == 0.0
    assert named(recent, "rice")["same_category"] == 0.0
    assert named(list(reversed(recent))) == found


def test_a_shopper_s_own_row_counts_without_any_event() -> None:
    found = dict(zip(NAMES, quick.features(Known(person=Person(income=999.0, tenure_days=365.0)), "tea"), strict=True))
    assert (found["present"], found["income_known"], found["tenure"]) == (0.0, 1.0, 0.5)
    assert found["income"] == pytest.approx(0.5, abs=1e-4)
    rich = Known(person=Person(income=1e12, tenure_days=-3.0))
    assert quick.features(rich, "")[-3:] == [1.0, 1.0, 1.0]


def test_features_lie_between_zero_and_one_and_the_last_twenty_count() -> None:
    many = [Recent("product_viewed", f"c{age}", float(age)) for age in range(50)]
    assert all(0.0 <= value <= 1.0 for value in quick.features(Known(many), "c1"))
    assert quick.features(Known(many), "c1") == quick.features(Known(many[:LAST_EVENTS]), "c1")
    assert named(many, f"c{LAST_EVENTS}")["same_category"] == 0.0


def test_a_mean_is_moved_by_its_logit() -> None:
    values = quick.features(Known([Recent("product_viewed", "tea", 0.0)]), "tea")
    found = quick.predict(model(), "7", "coupon", values)
    assert found is not None
    assert found[0] == pytest.approx(1 / (1 + math.exp(-1.0)))
    assert found[1] == pytest.approx(1 / (1 + math.exp(-(math.log(0.25) - 0.5 + 2.54))))
    assert found[2:] == [0.0, 1.0]  # what never or always happens stays so


def test_an_unknown_offer_borrows_its_kind_and_an_unknown_kind_gets_nothing() -> None:
    nothing = quick.features(Known(), "")
    assert quick.predict(model(), "8", "coupon", nothing) == pytest.approx(
        [0.4, 1 / (1 + 9 * math.exp(0.5)), 1 / (1 + 19 * math.exp(-1)), 1 / (1 + 4 * math.exp(-1))]
    )
    assert quick.predict(model(), "8", "bundle", nothing) is None


def test_an_age_of_ages_does_not_overflow() -> None:
    old = replace(Recent("order_placed", "tea", 0.0), minutes=1e12)
    assert named([old])["ordered"] == 0.0


@pytest.mark.parametrize(
    "change",
    [
        {"features": [*NAMES, "another"]},
        {"features": list(reversed(NAMES))},
        {"heads": ["view", "click"]},
        {"weights": [[1.0]] * 4},
        {"weights": [[1.0] * len(NAMES)] * 3},
        {"scale": ["x"] * 4},
        {"scale": [float("nan")] * 4},
        {"bias": [1e300] * 4},
        {"bias": [10**400] * 4},
        {"offers": None},
        {"offers": {"7": [0.5, 0.5]}},
        {"kinds": []},
    ],
    ids=str,
)
def test_a_student_of_another_shape_is_none(change: dict[str, Any]) -> None:
    assert quick.read({**STORED, **change}) is None
    assert quick.read({name: value for name, value in STORED.items() if name not in change}) is None


@pytest.mark.parametrize("stored", [None, [], "model", 3, {}])
def test_what_is_no_student_is_none(stored: Any) -> None:
    assert quick.read(stored) is None


def test_a_large_move_does_not_overflow() -> None:
    far = quick.read({**STORED, "bias": [1e6, -1e6, 0.0, 0.0]})
    assert far is not None
    found = quick.predict(far, "7", "coupon", quick.features(Known(), ""))
    assert found is not None
    assert found[:2] == pytest.approx([1.0, 0.0])
