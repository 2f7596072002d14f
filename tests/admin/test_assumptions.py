"""A forecast's assumptions: told in the reader's language, and of any shape."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from django.utils.translation import override

from personalization.admin.assumptions import NAMES, read
from personalization.admin.forecasts import is_simulated
from personalization.learning import wordings
from worker import forecast

STORED: dict[str, Any] = {
    "delivery": "on_page",
    "audience_at": "2026-11-23T08:30:00+00:00",
    "outcome_window_hours": 168,
    "budget_minor": 50_000_00,
    "data": wordings.SIMULATED,
    "offers_chosen": wordings.ANY_OFFER,
    "cost_factor": [1.25, 0.085],
    "model_bias_deviation": {"views": 0.02, "redemptions": 0.031},
    "interval": "90 %",
}


def test_they_are_words() -> None:
    assert dict(read(STORED, "EUR")) == {
        "Delivery": "shown on the shop's pages",
        "Audience as of": "Nov. 23, 2026, 8:30 a.m.",
        "Outcome window in hours": "168",
        "Budget": "€50,000.00",
        "Data": "simulated",
        "Which offer a shopper gets": "uniformly among the eligible",
        "What a redemption costs, per cost by its terms": "1.25 times, give or take 8.5 %",
        "How far off totals were in the past": "Shoppers who view it 2.0 %, Redemptions 3.1 %",
        "Interval": "90 %",
    }
    assert dict(read({"budget_minor": None}, "EUR")) == {"Budget": "no limit"}


def test_they_are_words_in_chinese() -> None:
    with override("zh-hans"):
        told = dict(read(STORED, "EUR"))
        assert told["顾客获得哪个优惠"] == "在符合条件的优惠中均匀选取"
        assert told["数据"] == "模拟数据"
        assert told["以往总量的误差"] == "浏览该优惠的顾客 2.0 %, 核销 3.1 %"
        left = [text for pair in told.items() for text in pair if text.isascii() and any(map(str.isalpha, text))]
    assert left == []


def test_what_the_worker_writes_has_a_name() -> None:
    """Whatever key it adds would be shown by its code."""
    assert set(STORED) == set(NAMES)
    source = Path(forecast.__file__).read_text(encoding="utf-8")
    assert all(f'"{name}"' in source for name in NAMES)


@pytest.mark.parametrize(
    "odd", [None, [], {}, "text", 3, ["a"], {"cost_factor": "x", "delivery": 5, "own_key": {"a": [1]}}]
)
def test_another_shape_is_shown_as_it_is(odd: Any) -> None:
    assert isinstance(read(odd, ""), list)
    if isinstance(odd, dict) and odd:
        assert dict(read(odd, ""))["Own key"].startswith("{")
        assert "x" in dict(read(odd, "")).values()


def test_simulated_data_is_still_noticed() -> None:
    assert is_simulated({"data": wordings.SIMULATED})
    assert not is_simulated({"delivery": "sent"})
