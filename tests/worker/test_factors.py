"""The source documents' arithmetic of collaborative filtering, recomputed; and least squares against closed forms."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from scipy import sparse

from worker.rankers import Interactions
from worker.rankers.factors import ALS, BiasedFactors, ExplicitALS, explicit_half_step, ridge_half_step
from worker.rankers.neighbours import UserKNN, nearest, neighbours_mean

NOW = 1_760_000_000_000
R = np.array([[1, 0, 1, 0], [0, 1, 0, 1], [1, 1, 1, 0], [0, 0, 1, 1]], dtype=float)
START = np.array([[0.1, 0.2], [0.3, 0.4], [0.5, 0.6], [0.7, 0.8]])
ARTICLES = (0.30535, 0.46080, 0.52154)
"""The mean squared errors that the article's "updates" pass through: upwards, so they are none."""


def mse(u: np.ndarray, v: np.ndarray) -> float:
    return float(((R - u @ v.T) ** 2).mean())


def clicks(matrix: np.ndarray) -> Interactions:
    """Return one interaction a cell above 0, of that weight."""
    shopper, item = np.nonzero(matrix)
    return Interactions(shopper, item, np.full(len(shopper), NOW), matrix[shopper, item], *matrix.shape[::-1])


def test_true_half_steps_of_als() -> None:
    u = v = START
    assert mse(u, v) == pytest.approx(ARTICLES[0], abs=5e-6)
    u = explicit_half_step(R, v)
    np.testing.assert_allclose(u, [[-10.0, 9.0], [0.0, 1.0], [-15.0, 13.5], [5.0, -3.0]], atol=1e-9)
    assert mse(u, v) == pytest.approx(0.13125, abs=1e-9)
    v = explicit_half_step(R.T, u)
    assert mse(u, v) == pytest.approx(0.10260, abs=5e-6)
    u = explicit_half_step(R, v)
    v = explicit_half_step(R.T, u)
    assert mse(u, v) == pytest.approx(0.08726, abs=5e-6)
    for _ in range(500):
        u = explicit_half_step(R, v)
        v = explicit_half_step(R.T, u)
    assert mse(u, v) == pytest.approx(0.0792813, abs=5e-8)
    left, values, right = np.linalg.svd(R)
    truncated = left[:, :2] * values[:2] @ right[:2]
    np.testing.assert_allclose(u @ v.T, truncated, atol=1e-5)


def test_no_half_step_raises_the_error_as_the_articles_do() -> None:
    u, v, errors = START, START, [mse(START, START)]
    for _ in range(10):
        u = explicit_half_step(R, v)
        errors.append(mse(u, v))
        v = explicit_half_step(R.T, u)
        errors.append(mse(u, v))
    assert all(after <= before + 1e-12 for before, after in pairwise(errors))
    assert max(errors) < min(ARTICLES[1:])


def test_the_explicit_ranker_ends_at_the_truncated_decomposition() -> None:
    """Weights of 1 are strengths of 1: the ranker factorises the very matrix of the article."""
    ranker = ExplicitALS(factors=2, sweeps=50, regularisation=0.0)
    ranker.fit(clicks(R), NOW)
    found = ranker.score(np.arange(4))
    assert ((R - found) ** 2).mean() == pytest.approx(0.0792813, abs=1e-4)


def test_fewer_independent_columns_than_factors_is_no_failure() -> None:
    other = np.array([[1.0, 1.0], [2.0, 2.0]])
    found = explicit_half_step(np.array([[1.0, 2.0]]), other)
    np.testing.assert_allclose(found @ other.T, [[1.0, 2.0]])


@pytest.mark.parametrize("rows", [1, 7, 300])
def test_a_blocked_half_step_is_the_ridge_regression_of_each_row(rows: int) -> None:
    rng = np.random.default_rng(rows)
    r = sparse.random(rows, 40, density=0.3, random_state=rows, format="csr")
    r.data += 0.1
    target, other, ridge = rng.normal(size=r.nnz), rng.normal(size=(40, 5)), rng.random(rows) + 0.1
    base = other.T @ other * 0.05
    found = ridge_half_step(r, target, torch.tensor(other).float(), ridge, torch.tensor(base).float()).numpy()
    for row in range(rows):
        span = slice(r.indptr[row], r.indptr[row + 1])
        y, w = other[r.indices[span]], r.data[span]
        expected = np.linalg.solve((y.T * w) @ y + base + ridge[row] * np.eye(5), y.T @ (w * target[span]))
        np.testing.assert_allclose(found[row], expected if len(w) else 0.0, rtol=2e-3, atol=2e-4)


def test_implicit_als_lowers_its_own_objective() -> None:
    """Σ c·(1 − x·y)² over what happened, α·(x·y)² over all, ridges by use: each further sweep is no worse."""
    rng = np.random.default_rng(0)
    data = clicks((rng.random((30, 20)) < 0.2) * rng.integers(1, 4, (30, 20)))

    def objective(sweeps: int) -> float:
        ranker = ALS(factors=4, sweeps=sweeps)
        ranker.fit(data, NOW, seed=1)
        c = ranker.taken.toarray()
        product = ranker.users @ ranker.table.T
        mass = (c > 0).sum(axis=1) + ranker.unobserved * c.shape[1], (c > 0).sum(axis=0) + ranker.unobserved * len(c)
        ridges = [
            ranker.regularisation * (m * (side**2).sum(axis=1)).sum()
            for m, side in zip(mass, (ranker.users, ranker.table), strict=True)
        ]
        return float((c * (1 - product) ** 2).sum() + ranker.unobserved * (product**2).sum() + sum(ridges))

    values = [objective(sweeps) for sweeps in (1, 2, 4, 8)]
    assert all(after <= before * (1 + 1e-4) for before, after in pairwise(values))
    assert values[-1] < values[0]


def test_reasons_of_implicit_als_add_up_to_the_score() -> None:
    rng = np.random.default_rng(2)
    ranker = ALS(factors=4)
    ranker.fit(clicks((rng.random((30, 20)) < 0.3).astype(float)), NOW)
    table = ranker.table.astype(float)
    own = ranker.taken[0]
    left = ranker.unobserved * table.T @ table + (table[own.indices].T * own.data) @ table[own.indices]
    left += ranker._ridge(own)[0] * np.eye(4)
    pulls = own.data * (table[own.indices] @ np.linalg.solve(left, table[3]))
    assert pulls.sum() == pytest.approx(float(ranker.score(np.array([0]))[0, ranker.known[3]]), abs=1e-4)


def test_the_user_based_example() -> None:
    """The article divides by the number of neighbours; the other normalisation gives another number."""
    similarity, rating = np.array([0.9, 0.5, 0.4]), np.array([5.0, 3.0, 4.0])
    assert neighbours_mean(similarity, rating) == pytest.approx(2.5333, abs=5e-5)
    assert neighbours_mean(similarity, rating, divide_by="similarity") == pytest.approx(4.2222, abs=5e-5)
    assert neighbours_mean(np.zeros(0), np.zeros(0)) == 0.0


@pytest.mark.parametrize("divide_by", ["count", "similarity"])
def test_user_knn_predicts_as_the_formula_says(divide_by: str) -> None:
    data = clicks((np.random.default_rng(3).random((12, 9)) < 0.5).astype(float))
    ranker = UserKNN(neighbours=5, shrink=1.0, divide_by=divide_by)
    ranker.fit(data, NOW)
    turned = data.matrix()
    similarity = nearest(turned, 5, 1.0)
    scores = ranker.score(np.arange(12))
    for shopper in range(12):
        near = similarity[shopper]
        for item in range(9):
            rating = np.asarray(turned[near.indices, item].todense()).ravel()
            expected = neighbours_mean(near.data, rating, divide_by=divide_by)
            assert scores[shopper, item] == pytest.approx(expected, abs=2e-4)


def test_nearest_is_the_shrunk_cosine() -> None:
    rows = np.array([[1, 1, 0], [1, 0, 0], [0, 0, 1], [1, 1, 1]], dtype=np.float32)
    found = nearest(sparse.csr_matrix(rows), 2, 0.5).toarray()
    dot, norm = rows @ rows.T, np.sqrt((rows**2).sum(axis=1))
    cosine = dot / (norm[:, None] * norm[None, :] + 0.5)
    np.fill_diagonal(cosine, 0.0)
    assert (np.count_nonzero(found, axis=1) <= 2).all()
    np.testing.assert_allclose(found[found > 0], cosine[found > 0], rtol=1e-6)
    np.testing.assert_allclose(found.max(axis=1), cosine.max(axis=1), rtol=1e-6)


def test_biased_factors_are_the_shoppers_mean_and_a_product() -> None:
    """r = μ_u + q_u·p_i, one coordinate of q at 1; with ratings of that form it finds them again."""
    rng = np.random.default_rng(0)
    rating = (
        rng.uniform(2, 3, (25, 1))
        + rng.uniform(-0.5, 0.5, (1, 12))
        + 0.6 * np.outer(rng.normal(size=25), rng.normal(size=12)) / 2
    )
    ranker = BiasedFactors(factors=2, sweeps=30, regularisation=1e-3, unseen=0)
    ranker.fit(clicks(2**rating - 1), NOW)
    found = ranker.score(np.arange(25))
    assert np.abs(found - rating).mean() < 0.02
    own = ranker.users[:, -1]
    np.testing.assert_allclose(own, rating.mean(axis=1), rtol=1e-5)
    np.testing.assert_array_equal(ranker.users[:, -2], 1.0)
    np.testing.assert_allclose(
        found, own[:, None] + ranker.users[:, :-1] @ ranker.table[:, :-1].T, rtol=1e-4, atol=1e-5
    )
