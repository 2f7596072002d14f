"""What people type and what is stored: money, percentages, lists, audiences, and figures with intervals."""

from __future__ import annotations

from decimal import Decimal

import pytest
from django.core.exceptions import ValidationError
from hypothesis import given
from hypothesis import strategies as st

from personalization.admin import audience
from personalization.admin.display import number, percent, short_figures
from personalization.admin.fields import MoneyField, PercentField, SlotsField, WordsField
from personalization.admin.intervals import Figure, draw, read_figures, read_interval

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)


def money_field(currency: str, empty: int | None = None) -> MoneyField:
    field = MoneyField(empty=empty)
    field.currency = currency
    return field


@pytest.mark.parametrize(
    ("currency", "typed", "minor", "shown"),
    [
        ("EUR", "12.50", 1250, "12.50"),
        ("EUR", "12", 1200, "12.00"),
        ("JPY", "1250", 1250, "1250"),
        ("KWD", "1.25", 1250, "1.250"),
    ],
)
def test_money_is_typed_in_major_units(currency, typed, minor, shown):
    field = money_field(currency)
    assert field.clean(typed) == minor
    assert str(field.prepare_value(minor)) == shown
    assert not field.has_changed(minor, shown)
    assert field.has_changed(minor, "1")


@pytest.mark.parametrize(("currency", "typed"), [("EUR", "1.999"), ("JPY", "0.5"), ("EUR", "-1"), ("EUR", "many")])
def test_money_that_its_currency_cannot_hold_is_refused(currency, typed):
    with pytest.raises(ValidationError):
        money_field(currency).clean(typed)


def test_blank_money_is_nothing_or_zero():
    assert money_field("EUR").clean("") is None
    assert money_field("EUR", empty=0).clean("") == 0
    assert money_field("EUR", empty=0).prepare_value(0) is None
    assert not money_field("EUR", empty=0).has_changed(0, "")


def test_a_blank_percentage_is_zero():
    field = PercentField()
    assert field.clean("") == 0
    assert field.prepare_value(Decimal("0.00")) is None
    assert not field.has_changed(Decimal(0), "")
    with pytest.raises(ValidationError):
        field.clean("101")


def test_words_are_split_at_commas_and_lines():
    field = WordsField()
    assert field.clean(" gold, silver\ngold\r\n, ") == ["gold", "silver"]
    assert field.prepare_value(["gold", "silver"]) == "gold, silver"
    assert not field.has_changed(["gold"], "gold")


def test_a_slot_that_is_not_declared_any_more_can_be_kept():
    field = SlotsField()
    field.keep(["home_hero", "attic"])
    assert field.clean(["attic"]) == ["attic"]
    with pytest.raises(ValidationError):
        field.clean(["cellar"])


def test_an_audience_survives_the_form_unchanged():
    rule = {
        "all": [
            {"field": "tier", "op": "in", "value": ["gold"]},
            {"field": "age", "op": ">=", "value": 18},
            {"field": "income", "op": ">=", "value": 1000},
        ]
    }
    values, others = audience.split(rule)
    assert values == {"audience_tier": ["gold"], "audience_age_min": 18}
    assert audience.join(values, others) == rule


@given(JSON)
def test_an_audience_of_any_shape_can_be_split_and_told(rule):
    audience.split(rule)
    assert all(isinstance(line, str) for line in audience.in_words(rule))


@given(JSON)
def test_what_the_form_does_not_know_is_handed_back(rule):
    if rule and audience.is_editable(rule):
        values, others = audience.split(rule)
        assert len(values) + len(others) == len(rule["all"])


def test_no_condition_is_everybody():
    assert audience.join({}, []) == {}
    assert audience.in_words({}) == ["Everybody."]


@given(JSON)
def test_figures_of_any_shape_can_be_read_and_drawn(raw):
    figures = read_figures(raw, "EUR")
    for figure in figures:
        assert figure.mean_text
        assert figure.interval_text
    draw(figures)
    read_interval(raw)
    short_figures(raw)
    number(raw)
    percent(raw)


def test_a_chart_says_in_words_what_it_draws():
    chart = draw([Figure("orders", "Orders", 130.0, 98.0, 165.0, actual=180.0, inside=False)])
    assert chart is not None
    assert chart.words == "Orders: 130, 90 % interval 98 to 165. Actual 180, outside the interval."
    row = chart.rows[0]
    assert row.actual_x is not None
    assert row.low_x < row.mean_x < row.low_x + row.width < row.actual_x


def test_money_figures_are_shown_as_money():
    (figure,) = read_figures({"cost": [84000, 61000, 110000]}, "EUR")
    assert figure.mean_text == "€840.00"
    assert figure.interval_text == "€610.00 to €1,100.00"


def test_numbers_are_rounded_and_not_cut_off() -> None:
    assert number(368.6, 0) == "369"
    assert number(-3.4519, 3) == "-3.452"
    assert number(0.00067, 4) == "0.0007"
