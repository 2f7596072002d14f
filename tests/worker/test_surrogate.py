"""The tree that imitates a model finds rules where there are some, and says so where there are none."""

from __future__ import annotations

import numpy as np
import pytest

from personalization.features.specification import INDEX
from tests.worker import planted
from worker.cards import reliability
from worker.surrogate import DEPTH, imitate


def leaves(node: dict, depth: int = 0) -> list[tuple[int, float, float]]:
    if "p" in node:
        return [(depth, node["p"], node["share"])]
    return leaves(node["no"], depth + 1) + leaves(node["yes"], depth + 1)


def test_rules_are_found_and_faithful() -> None:
    given = planted.samples(3000)
    offer, orders = given.x[:, INDEX["offer"]], given.x[:, INDEX["orders_7d"]]
    predicted = np.where(offer == 3, 0.6, np.where(orders > 3, 0.3, 0.1))
    found = imitate(given, predicted)
    assert found is not None
    assert found["r2"] > 0.99
    assert found["rows"] + found["held_out"] == 3000
    tree = found["tree"]
    assert (tree["feature"], tree["is"]) == ("offer", "103")  # the offer's key, not its code
    assert (tree["no"]["feature"], tree["no"]["at"]) == ("orders_7d", 3.5)
    assert tree["yes"]["p"] == pytest.approx(0.6)
    assert sum(share for _depth, _p, share in leaves(tree)) == pytest.approx(1.0, abs=0.001)
    assert max(depth for depth, _p, _share in leaves(tree)) <= DEPTH


def test_noise_is_not_told_by_rules() -> None:
    """The negative control: on the shoppers held out the rules tell nothing, and the fidelity says so."""
    found = imitate(planted.samples(3000), np.random.default_rng(0).random(3000))
    assert found is None or found["r2"] < 0.05


def test_a_missing_number_reads_below_all_others() -> None:
    given = planted.samples(3000)
    found = imitate(given, np.where(np.isnan(given.x[:, INDEX["age"]]), 0.1, 0.5))
    assert found is not None
    assert found["tree"]["feature"] == "age"
    assert -1 < found["tree"]["at"] < 18
    assert found["tree"]["no"]["p"] == pytest.approx(0.1)


def test_too_little_to_imitate_gives_nothing() -> None:
    assert imitate(planted.samples(100), np.linspace(0, 1, 100)) is None
    assert imitate(planted.samples(500), np.full(500, 0.3)) is None


def test_reliability_compares_tenths() -> None:
    p = np.linspace(0, 1, 1000)
    bins = reliability(p, (p > 0.5).astype(float))
    assert [rows for _p, _y, rows in bins] == [100] * 10
    assert bins[0][:2] == [pytest.approx(0.05, abs=0.01), 0.0]
    assert bins[-1][1] == 1.0
    assert reliability(np.zeros(0), np.zeros(0)) == []
