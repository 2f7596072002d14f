"""The exploring policy: what is logged as an offer's probability is the probability with which it was drawn."""

from __future__ import annotations

from collections import Counter
from itertools import permutations
from math import prod, sqrt
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from personalization.pure.policy import draw, propensities
from tests.support.scale import rounds

epsilons = st.floats(0, 1)
uniforms = st.floats(0, 1, exclude_max=True)


@given(st.integers(1, 50), epsilons)
def test_propensities_sum_to_one_and_fall(remaining: int, epsilon: float) -> None:
    found = propensities(remaining, epsilon)
    assert len(found) == remaining
    assert sum(found) == pytest.approx(1.0, abs=1e-12)
    assert all(0 <= value <= 1 for value in found)  # the database refuses what is above 1
    assert all(found[0] >= value for value in found)


@given(st.integers(0, 12), st.integers(-1, 15), epsilons, st.lists(uniforms, min_size=15, max_size=15))
def test_each_offer_is_drawn_at_most_once_with_a_probability(
    count: int, limit: int, epsilon: float, chances: list[float]
) -> None:
    drawn = draw(range(count), limit, epsilon, chances)
    indices = [item.index for item in drawn]
    assert len(indices) == len(set(indices)) == max(0, min(limit, count))
    assert all(0 <= index < count for index in indices)
    assert all(0 < item.propensity <= 1 for item in drawn)
    left = list(range(count))
    for item in drawn:  # the logged figure is that of the draw from those still left
        assert item.propensity == propensities(len(left), epsilon)[left.index(item.index)]
        left.remove(item.index)


@given(st.integers(1, 12), st.lists(uniforms, min_size=12, max_size=12))
def test_without_exploration_the_order_is_the_ranking(count: int, chances: list[float]) -> None:
    drawn = draw(range(count), count, 0.0, chances)
    assert [item.index for item in drawn] == list(range(count))
    assert {item.propensity for item in drawn} == {1.0}


def test_the_same_numbers_draw_the_same_offers() -> None:
    chances = [0.999, 0.5, 0.95]
    assert draw("abcd", 3, 0.3, chances) == draw("wxyz", 3, 0.3, chances)


@pytest.mark.parametrize("chance", [0.0, 0.9, 1 - 2**-53, 1.0])
def test_an_extreme_number_still_draws(chance: float) -> None:
    (item,) = draw("abc", 1, 0.1, [chance])
    assert item.index in range(3)


@pytest.mark.parametrize("epsilon", [0.0, 0.1, 0.5, 1.0])
def test_frequencies_equal_the_logged_propensities(epsilon: float) -> None:
    """Every ordered pair out of three, counted over many draws, against the product of what was logged."""
    chance = Random(20240501)
    many = rounds(40_000, 400_000)
    counted: Counter[tuple[int, ...]] = Counter()
    logged: dict[tuple[int, ...], float] = {}
    for _ in range(many):
        drawn = draw("abc", 2, epsilon, [chance.random(), chance.random()])
        pair = tuple(item.index for item in drawn)
        counted[pair] += 1
        logged[pair] = prod(item.propensity for item in drawn)
    for pair in permutations(range(3), 2):
        expected = logged.get(pair, 0.0)
        deviation = sqrt(expected * (1 - expected) / many)
        assert counted[pair] / many == pytest.approx(expected, abs=4.5 * deviation + 1e-12), pair
    assert sum(logged.values()) == pytest.approx(1.0)  # nothing that can happen went unseen


def test_weighting_by_the_inverse_of_the_propensity_is_unbiased() -> None:
    """What off-policy evaluation rests on: each offer's weighted share of the first place is one."""
    chance = Random(7)
    many = rounds(60_000, 600_000)
    weighted = [0.0] * 4
    for _ in range(many):
        (item,) = draw("abcd", 1, 0.4, [chance.random()])
        weighted[item.index] += 1 / item.propensity / many
    for index, share in enumerate(weighted):
        propensity = propensities(4, 0.4)[index]
        assert share == pytest.approx(1.0, abs=4.5 * sqrt((1 / propensity - 1) / many))
