"""Preparation of raw features: fitted once, kept as JSON, finite whatever comes in."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from personalization.features.preparation import Preparation
from personalization.features.specification import FEATURES, INDEX, NAMES


def raw(rows: int = 400) -> np.ndarray:
    """Return a matrix in which every numeric feature varies and ages are partly missing."""
    x = np.random.default_rng(5).gamma(2.0, 10.0, size=(rows, len(NAMES)))
    x[::4, INDEX["age"]] = np.nan
    return x


def column(prepared: np.ndarray, preparation: Preparation, name: str) -> np.ndarray:
    return prepared[:, preparation.names().index(name)]


def test_a_round_trip_through_json_changes_nothing() -> None:
    x = raw()
    fitted = Preparation.fit(x)
    again = Preparation.from_json(json.loads(json.dumps(fitted.as_json())))
    assert again == fitted
    assert again.names() == fitted.names()
    np.testing.assert_array_equal(again.transform(x), fitted.transform(x))


def test_columns_are_scaled() -> None:
    fitted = Preparation.fit(raw())
    prepared = fitted.transform(raw())
    values = prepared[:, : len(fitted.columns)]
    np.testing.assert_allclose(values.mean(axis=0), 0, atol=1e-9)
    np.testing.assert_allclose(values.std(axis=0), 1, atol=1e-9)
    assert prepared.shape == (400, fitted.width) == (400, len(fitted.names()))


def test_categorical_columns_are_not_scaled_as_numbers() -> None:
    names = Preparation.fit(raw()).names()
    assert not {"offer", "offer_kind", "gender", "city", "tier"} & set(names)


def test_a_constant_feature_is_left_out_with_its_flag() -> None:
    x = raw()
    x[:, INDEX["percent"]] = 20.0
    x[:, INDEX["income"]] = 1e5
    names = Preparation.fit(x).names()
    assert "age" in names
    assert not {"percent", "income", "income_missing"} & set(names)


def test_a_feature_that_is_never_known_is_left_out() -> None:
    x = raw()
    x[:, INDEX["age"]] = np.nan
    assert "age" not in Preparation.fit(x).names()


def test_a_missing_value_takes_the_median_and_is_flagged() -> None:
    x = raw()
    fitted = Preparation.fit(x)
    prepared = fitted.transform(x)
    missing = np.isnan(x[:, INDEX["age"]])
    age = next(item for item in fitted.columns if item.name == "age")
    assert age.fill == np.nanmedian(x[:, INDEX["age"]])
    np.testing.assert_allclose(column(prepared, fitted, "age")[missing], (age.fill - age.mean) / age.scale)
    np.testing.assert_array_equal(column(prepared, fitted, "age_missing"), missing)


def test_a_count_that_is_missing_counts_as_zero() -> None:
    x = raw()
    x[::3, INDEX["orders_7d"]] = np.nan
    fitted = Preparation.fit(x)
    at_zero = x.copy()
    at_zero[::3, INDEX["orders_7d"]] = 0.0
    orders = next(item for item in fitted.columns if item.name == "orders_7d")
    assert orders.fill == 0.0
    expected = (0.0 - orders.mean) / orders.scale
    np.testing.assert_allclose(column(fitted.transform(x), fitted, "orders_7d")[::3], expected)
    assert "orders_7d_missing" not in fitted.names()


def test_outliers_are_clipped_to_the_fitted_range() -> None:
    x = raw()
    fitted = Preparation.fit(x)
    wild = x[:3].copy()
    wild[0, INDEX["age"]], wild[1, INDEX["age"]], wild[2, INDEX["age"]] = 1e9, -1e9, 50.0
    ages = column(fitted.transform(wild), fitted, "age")
    age = next(item for item in fitted.columns if item.name == "age")
    assert ages[0] == pytest.approx((age.high - age.mean) / age.scale)
    assert ages[1] == pytest.approx((age.low - age.mean) / age.scale)


def test_what_comes_later_changes_no_fitted_number() -> None:
    """Transforming other rows, however wild, leaves the fitted preparation as it was."""
    fitted = Preparation.fit(raw())
    before = json.dumps(fitted.as_json())
    fitted.transform(raw() * 1e6)
    assert json.dumps(fitted.as_json()) == before


def test_only_the_named_features_are_prepared() -> None:
    assert Preparation.fit(raw(), ["age", "orders_7d"]).names() == ["age", "orders_7d", "age_missing"]


def test_no_rows_no_columns() -> None:
    fitted = Preparation.fit(raw()[:0])
    assert fitted.width == 0
    assert fitted.transform(raw()).shape == (400, 0)


@given(
    arrays.arrays(
        np.float64,
        st.tuples(st.integers(1, 12), st.just(len(NAMES))),
        elements=st.one_of(st.just(float("nan")), st.floats(-1e6, 1e6)),
        fill=st.just(1.0),
    )
)
def test_whatever_comes_in_finite_numbers_come_out(x: np.ndarray) -> None:
    fitted = Preparation.fit(raw())
    prepared = fitted.transform(x)
    assert np.isfinite(prepared).all()
    flags = prepared[:, len(fitted.columns) :]
    assert np.isin(flags, [0, 1]).all()


def test_every_feature_is_declared_once() -> None:
    assert len(set(NAMES)) == len(NAMES) == len(FEATURES)
    assert all(feature.purpose for feature in FEATURES)
