"""Top-k: on both ways what sorting the whole score matrix gives, whatever the shapes, ties and what is left out."""

from __future__ import annotations

import subprocess
import sys
import threading
import tracemalloc
from collections.abc import Iterable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy import sparse

from worker.topk import Block, cpu, gpu, top_k

Answer = tuple[NDArray[np.int32], NDArray[np.float32]]


def whole_numbers(seed: int, rows: int, d: int, most: int = 3) -> NDArray[np.float16]:
    """Vectors whose products are exact in any order of adding, and full of ties."""
    return np.random.default_rng(seed).integers(-most, most + 1, (rows, d)).astype(np.float16)


def by_sorting(
    users: NDArray[Any],
    items: NDArray[Any],
    k: int,
    exclude: sparse.csr_matrix | None = None,
    hidden: NDArray[np.bool_] | None = None,
) -> Answer:
    """The reference: a stable sort of every row of the whole matrix."""
    scores = users.astype(np.float32) @ items.astype(np.float32).T
    if exclude is not None:
        scores[exclude.nonzero()] = -np.inf
    if hidden is not None:
        scores[:, hidden] = -np.inf
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    values = np.take_along_axis(scores, order, axis=1)
    missing = ((0, 0), (0, k - order.shape[1]))
    ids = np.pad(np.where(values > -np.inf, order, -1), missing, constant_values=-1)
    return ids.astype(np.int32), np.pad(values, missing, constant_values=-np.inf)


def joined(blocks: Iterable[Block | tuple[int, Any, Any]], k: int) -> Answer:
    """Put blocks together, holding them to be in order and without gaps."""
    ids, scores = [np.zeros((0, k), np.int32)], [np.zeros((0, k), np.float32)]
    following = None
    for start, some, values in blocks:
        assert following in (None, start)
        following = start + len(some)
        assert some.dtype == np.int32
        assert values.dtype == np.float32
        ids.append(some)
        scores.append(values)
    return np.concatenate(ids), np.concatenate(scores)


def both_ways(users: Any, items: Any, k: int, exclude: Any = None, hidden: Any = None) -> list[Answer]:
    names = np.flatnonzero(~hidden) if hidden is not None else np.arange(len(items))
    on_torch = gpu.from_arrays(users, items, names, k, exclude, start=0, device="cpu")
    return [joined(top_k(users, items, k, exclude=exclude, hidden=hidden), k), joined(on_torch, k)]


def check(users: Any, items: Any, k: int, exclude: Any = None, hidden: Any = None) -> None:
    expected = by_sorting(users, items, k, exclude, hidden)
    for ids, scores in both_ways(users, items, k, exclude, hidden):
        np.testing.assert_array_equal(ids, expected[0])
        np.testing.assert_array_equal(scores, expected[1])


@settings(max_examples=40, deadline=None)
@given(
    n=st.integers(0, 300),
    m=st.integers(0, 400),
    d=st.integers(1, 9),
    k=st.integers(1, 30),
    owned=st.floats(0, 1),
    hidden=st.floats(0, 1),
    seed=st.integers(0, 2**31),
)
@example(n=130, m=333, d=4, k=20, owned=0.02, hidden=0.1, seed=1)
@example(n=5, m=7, d=2, k=20, owned=0.0, hidden=0.0, seed=2)
@example(n=5, m=300, d=2, k=3, owned=0.0, hidden=1.0, seed=3)
@example(n=5, m=300, d=2, k=3, owned=1.0, hidden=0.0, seed=4)
def test_it_is_what_sorting_gives(n: int, m: int, d: int, k: int, owned: float, hidden: float, seed: int) -> None:
    draw = np.random.default_rng(seed)
    exclude = sparse.csr_matrix(draw.random((n, m)) < owned)
    check(whole_numbers(seed, n, d), whole_numbers(seed + 1, m, d), k, exclude, draw.random(m) < hidden)


@pytest.mark.parametrize(
    ("users", "items"),
    [
        (whole_numbers(1, 150, 4), np.ones((500, 4), np.float16)),
        (np.zeros((150, 4), np.float16), whole_numbers(2, 500, 4)),
        (np.abs(whole_numbers(3, 150, 4)) + 1, -np.abs(whole_numbers(4, 500, 4)) - 1),
        (np.full((2, 1), 1, np.float32), np.array([[-0.0], [0.0], [-0.0], [0.0]], np.float32)),
    ],
    ids=["equal scores", "users of zeros", "negative scores", "signed zeros"],
)
def test_ties_go_to_the_first_item(users: Any, items: Any) -> None:
    check(users, items, 3)


def test_a_catalogue_of_many_tiles_and_many_blocks_of_users(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu, "TILE", 1000)
    monkeypatch.setattr(cpu, "BLOCK", 200)
    users, items = whole_numbers(1, 777, 6), whole_numbers(2, 3_333, 6)
    exclude = sparse.random(777, 3_333, 0.01, format="csr", rng=np.random.default_rng(0))
    check(users, items, 20, exclude, np.arange(3_333) % 5 == 0)


@pytest.mark.parametrize("precision", [np.float16, np.float32])
def test_real_numbers_are_exact_within_float32(precision: type) -> None:
    draw = np.random.default_rng(0)
    users: NDArray[Any] = draw.standard_normal((300, 64)).astype(precision)
    items: NDArray[Any] = draw.standard_normal((5_000, 64)).astype(precision)
    exact = users.astype(np.float64) @ items.astype(np.float64).T
    best = -np.sort(-exact, axis=1)[:, :20]
    for ids, scores in both_ways(users, items, 20):
        np.testing.assert_allclose(np.take_along_axis(exact, ids, axis=1), best, rtol=2e-6)
        np.testing.assert_allclose(scores, best, rtol=2e-6)


def test_the_order_is_the_scores_and_no_item_comes_twice() -> None:
    draw = np.random.default_rng(5)
    users, items = draw.standard_normal((500, 16), np.float32), draw.standard_normal((2_000, 16), np.float32)
    ids, scores = joined(top_k(users, items, 25), 25)
    assert (np.diff(scores, axis=1) <= 0).all()
    assert all(len(set(row)) == 25 for row in ids.tolist())


@pytest.mark.parametrize("start", [0, 1, 127, 128, 4_000, 4_096, 5_000])
def test_a_resumed_run_gives_the_same_bits(start: int) -> None:
    draw = np.random.default_rng(0)
    users, items = (draw.standard_normal((rows, 16), np.float32) for rows in (5_000, 700))
    whole = joined(top_k(users, items, 5), 5)
    rest = list(top_k(users, items, 5, start=start, threads=1))
    assert [block.start for block in rest[:1]] == ([start] if start < 5_000 else [])
    for ours, expected in zip(joined(rest, 5), whole, strict=True):
        np.testing.assert_array_equal(ours, expected[start:])


@pytest.mark.parametrize("threads", [1, 2, 3, 5])
def test_any_number_of_threads_gives_the_same(monkeypatch: pytest.MonkeyPatch, threads: int) -> None:
    monkeypatch.setattr(cpu, "BLOCK", 128)
    users, items = whole_numbers(1, 3_000, 6), whole_numbers(2, 1_500, 6)
    found = joined(top_k(users, items, 20, threads=threads), 20)
    for ours, expected in zip(found, by_sorting(users, items, 20), strict=True):
        np.testing.assert_array_equal(ours, expected)


def test_the_score_matrix_is_never_there() -> None:
    n, m = 50_000, 2_000
    users, items = whole_numbers(1, n, 4), whole_numbers(2, m, 4)
    next(top_k(users[:10], items, 20))  # imports
    tracemalloc.start()
    try:
        rows = sum(len(block.ids) for block in top_k(users, items, 20, threads=2))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert rows == n
    held = 2 * (cpu.STEP * m * 4) + 4 * cpu.BLOCK * 20 * 8  # the threads' scores, and the blocks under way
    assert peak < 6 * held < n * m * 4 / 10


def test_a_reader_that_stops_leaves_no_thread_behind() -> None:
    blocks = top_k(whole_numbers(1, 60_000, 4), whole_numbers(2, 500, 4), 5)
    next(blocks)
    assert [thread for thread in threading.enumerate() if thread.name.startswith("top-k")]
    blocks.close()
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("top-k")]


@pytest.mark.parametrize("broken", [np.nan, np.inf, -np.inf])
def test_a_user_without_numbers_is_refused(broken: float) -> None:
    users, items = whole_numbers(1, 400, 3).astype(np.float32), whole_numbers(2, 50, 3)
    users[300, 1] = broken
    with pytest.raises(ValueError, match="1 users, the first is 300, hold NaN, infinity"):
        list(top_k(users, items, 3))
    with pytest.raises(ValueError, match="hold NaN, infinity"):
        list(gpu.from_arrays(users, items, np.arange(50), 3, None, start=0, device="cpu"))


def test_scores_that_overflow_are_refused() -> None:
    with pytest.raises(ValueError, match="overflows"):
        list(top_k(np.full((2, 4), 1e30, np.float32), np.full((3, 4), 1e30, np.float32), 1))


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"users": np.zeros((4, 5), np.float32)}, "users have 5 dimensions and items 3"),
        ({"users": np.zeros((4, 3))}, "float16 or float32, not float64"),
        ({"items": np.zeros(3, np.float32)}, r"items must be a matrix .*\(3,\)"),
        ({"items": np.array([[0, 0, 0], [0, np.nan, 0]], np.float32)}, "1 items hold NaN or infinity, the first is 1"),
        ({"k": 0}, "k must be at least 1, not 0"),
        ({"start": 5}, "start must be between 0 and 4"),
        ({"hidden": np.zeros(5, np.bool_)}, "hidden must be 6 booleans"),
        ({"hidden": np.zeros(6)}, "hidden must be 6 booleans, one an item, not float64"),
        ({"exclude": sparse.csr_matrix((3, 6))}, "a row for each of 4 users, not 3"),
        ({"exclude": sparse.csr_matrix(np.eye(4, 9))[:, ::-1]}, "items outside 0 … 5"),
    ],
)
def test_what_cannot_be_ranked_is_refused_at_once(changed: dict[str, Any], words: str) -> None:
    asked: dict[str, Any] = {"users": whole_numbers(1, 4, 3), "items": whole_numbers(2, 6, 3), "k": 2} | changed
    users, items, k = asked.pop("users"), asked.pop("items"), asked.pop("k")
    with pytest.raises(ValueError, match=words):
        top_k(users, items, k, **asked)


def test_the_fused_kernels_are_used_only_where_they_can_serve() -> None:
    half = gpu.Catalogue(torch.zeros(10_000, 64, dtype=torch.float16), torch.arange(10_000), 10_000)
    assert not half.fused(20, gpu.Kernel()), "no GPU, no kernel"
    assert gpu.Kernel.fitting(20, owned=False).width == 32
    assert gpu.Kernel.fitting(20, owned=True).width == 64
    assert gpu.Kernel.fitting(64, owned=False).width == 128


def test_it_needs_no_django() -> None:
    code = "import sys, worker.topk.gpu; sys.exit('django' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
