"""The stack: weights that a late slice shows to be right, terms by hand, members that may be named."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from scipy import sparse

from tests.worker.shopping import clusters, fit, walks
from worker.rankers.stack import Stack, logistic_weights


def stack(**changes: Any) -> Stack:
    found = fit("stack", walks(), **changes)
    assert isinstance(found, Stack)
    return found


def test_who_knows_what_comes_next_is_kept_and_weighs_most() -> None:
    """In walks the order is all there is to know: popularity knows nothing of it."""
    found = fit("stack", walks(items=60), members=("popularity", "frequency", "transitions"), keep=2)
    assert isinstance(found, Stack)
    names = [ranker.name for ranker in found.fitted]
    assert "transitions" in names
    assert found.weights[names.index("transitions")] == found.weights.max()
    assert found.weights.mean() == pytest.approx(1.0)


def test_equal_weights_where_they_are_asked_for() -> None:
    assert stack(keep=2, blend="average").weights.tolist() == [1.0, 1.0]


def test_a_past_too_short_for_a_slice_keeps_the_first() -> None:
    data = clusters()
    few = data.take(np.arange(len(data.time)) < 40)
    found = fit("stack", few, keep=2)
    assert isinstance(found, Stack)
    assert [ranker.name for ranker in found.fitted] == ["transitions", "item_knn"]


def test_the_slice_that_weighs_is_not_what_comes_after_now() -> None:
    """Whatever the future holds, members and weights are the same."""
    data = walks()
    later = replace(data, time=data.time.copy())
    later.time[data.shopper == 95] += 10**11
    without = data.take(data.shopper != 95)
    first, second = fit("stack", later), fit("stack", without)
    assert isinstance(first, Stack)
    assert isinstance(second, Stack)
    assert [each.name for each in first.fitted] == [each.name for each in second.fitted]
    np.testing.assert_array_equal(first.weights, second.weights)


def test_a_score_is_the_sum_of_weighted_terms() -> None:
    found = stack(keep=2, softness=10.0, depth=10)
    expected = np.zeros(12)
    for weight, ranker in zip(found.weights, found.fitted, strict=True):
        order = np.argsort(-ranker.score(np.array([3]))[0], kind="stable")
        expected[order[:10]] += weight * 10 / (10 + np.arange(10))
    np.testing.assert_allclose(found.score(np.array([3]))[0], expected, atol=2e-4)


def test_weights_follow_what_was_wanted() -> None:
    """The first member's lists hold what was wanted, the second's hold noise; nothing wanted: equal weights."""
    rng = np.random.default_rng(0)
    wanted = sparse.csr_matrix((rng.random((40, 30)) < 0.1).astype(np.float32))
    right = sparse.csr_matrix(wanted + 0.1 * sparse.random(40, 30, 0.2, random_state=1))
    noise = sparse.random(40, 30, 0.3, random_state=2, format="csr")
    good, bad = logistic_weights([right, noise], wanted)
    assert good > 5 * max(bad, 0.05)
    nothing = sparse.csr_matrix((40, 30), dtype=np.float32)
    assert logistic_weights([right, noise], nothing).tolist() == [1.0, 1.0]


def test_a_member_that_cannot_be_stacked_is_refused() -> None:
    with pytest.raises(ValueError, match=r"members may be popularity, .*; not light_gcn"):
        Stack(members=("light_gcn",))
    with pytest.raises(ValueError, match="not nobody"):
        Stack(members=())
