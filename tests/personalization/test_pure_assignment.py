"""Holdouts and exploration draw from a hash: the same for ever, uniform, and another with another salt."""

from __future__ import annotations

import hashlib
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from personalization.pure import assignment
from personalization.pure.assignment import in_holdout, unit

MANY = 20_000


@given(st.text(), st.lists(st.text(), max_size=4))
def test_a_draw_lies_in_the_unit_interval_and_repeats(salt: str, parts: list[str]) -> None:
    assert 0 <= unit(salt, *parts) < 1
    assert unit(salt, *parts) == unit(salt, *parts)


@pytest.mark.parametrize("digest", [b"\x00" * 8, b"\xff" * 8, b"\xff" * 7 + b"\x00"])
def test_no_digest_reaches_one(digest: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """2^64 − 1 divided by 2^64 is 1.0 in floating point: above every propensity, outside every holdout."""

    def blake2b(data: bytes, digest_size: int) -> Any:
        return SimpleNamespace(digest=lambda: digest[:digest_size])

    monkeypatch.setattr(assignment, "hashlib", SimpleNamespace(blake2b=blake2b))
    assert 0 <= unit("1", "x") < 1
    assert in_holdout("1", "x", 100.0)


def test_the_hash_of_version_one_stays_what_it_is() -> None:
    """Changing it would re-draw every holdout and make no logged decision reproducible: raise VERSION then."""
    assert assignment.VERSION == "v1"
    text = "v1\x1f1\x1fholdout\x1fabc"
    expected = int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") / 2**64
    assert unit("1", "holdout", "abc") == pytest.approx(expected, abs=1e-15)
    assert unit("1", "holdout", "abc") == pytest.approx(0.8667360819852785, abs=1e-15)
    assert unit("1", "6f9619ff-8b86-d011-b42d-00cf4fc964ff", 0) == pytest.approx(0.412360598973755, abs=1e-15)


def test_parts_are_told_apart() -> None:
    assert unit("1", "ab", "c") != unit("1", "a", "bc")
    assert unit("1", "a") != unit("1", "a", "")
    assert unit("1", 1) == unit("1", "1")


def test_draws_are_uniform() -> None:
    """Chi-squared over twenty bins: 43.8 is the 99.9th percentile at 19 degrees of freedom."""
    counts = [0] * 20
    for key in range(MANY):
        counts[int(unit("1", "uniform", key) * 20)] += 1
    expected = MANY / 20
    assert sum((count - expected) ** 2 / expected for count in counts) < 43.8


@pytest.mark.parametrize("percent", [0.5, 5.0, 37.5])
def test_the_holdout_has_its_share(percent: float) -> None:
    share = sum(in_holdout("1", key, percent) for key in range(MANY)) / MANY
    wanted = percent / 100
    assert share == pytest.approx(wanted, abs=4 * (wanted * (1 - wanted) / MANY) ** 0.5)


@given(st.uuids(), st.floats(0, 100), st.floats(0, 100))
def test_a_larger_holdout_keeps_the_smaller_one(key: object, one: float, other: float) -> None:
    small, large = sorted((one, other))
    assert not in_holdout("1", key, small) or in_holdout("1", key, large)
    assert not in_holdout("1", key, 0.0)
    assert in_holdout("1", key, 100.0)


def test_another_salt_draws_independently() -> None:
    both = sum(in_holdout("1", key, 30.0) and in_holdout("2", key, 30.0) for key in range(MANY)) / MANY
    assert both == pytest.approx(0.09, abs=0.01)


def test_the_holdout_says_nothing_about_the_exploration() -> None:
    held = [key for key in range(MANY) if in_holdout("1", key, 30.0)]
    mean = sum(unit("1", key, 0) for key in held) / len(held)
    assert mean == pytest.approx(0.5, abs=0.02)
