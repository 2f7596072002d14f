"""Series against brute force: counts, sums, maxima and last times strictly before a moment."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from personalization.features.frames import NEVER
from personalization.features.series import Series

groups = st.integers(0, 5)
moments = st.integers(-20, 20)
events = st.lists(st.tuples(groups, moments, st.integers(-300, 300)), max_size=40)


@given(events, st.lists(st.tuples(st.integers(0, 7), st.integers(-25, 25)), min_size=1, max_size=20))
def test_every_question_equals_brute_force(rows: list[tuple[int, int, int]], asked: list[tuple[int, int]]) -> None:
    group, time, value = np.array(rows, dtype=np.int64).reshape(-1, 3).T
    series = Series(group, time, value / 4)
    about, at = np.array(asked, dtype=np.int64).T
    before = [[row for row in rows if row[0] == who and row[1] < when] for who, when in asked]
    assert series.count(about, at).tolist() == [len(found) for found in before]
    assert series.total(about, at).tolist() == [sum(row[2] for row in found) / 4 for found in before]
    assert series.maximum(about, at).tolist() == [max((row[2] for row in found), default=0) / 4 for found in before]
    assert series.first(about, at).tolist() == [min((row[1] for row in found), default=int(NEVER)) for found in before]
    assert series.last(about, at).tolist() == [max((row[1] for row in found), default=int(NEVER)) for found in before]


def test_without_events_there_is_nothing() -> None:
    nothing = np.zeros(0, dtype=np.int64)
    series = Series(nothing, nothing)
    group, time = np.array([0, 3]), np.array([5, 7])
    assert series.count(group, time).tolist() == [0, 0]
    assert series.total(group, time).tolist() == [0, 0]
    assert series.maximum(group, time).tolist() == [0, 0]
    assert series.first(group, time).tolist() == [NEVER, NEVER]
    assert series.last(group, time).tolist() == [NEVER, NEVER]


def test_no_question_no_answer() -> None:
    nothing = np.zeros(0, dtype=np.int64)
    assert len(Series(np.array([1]), np.array([1])).count(nothing, nothing)) == 0


def test_millions_of_groups_are_kept_apart() -> None:
    """(shopper, offer) pairs of a large shop: more groups than 2^63 milliseconds of 139 years would hold."""
    count = 2_200_000
    group = np.arange(count, dtype=np.int64)
    series = Series(group, np.full(count, 1_700_000_000_000), np.ones(count))
    asked = np.array([0, count // 2, count - 1])
    assert series.count(asked, np.full(3, 1_700_000_000_001)).tolist() == [1, 1, 1]
    assert series.count(asked, np.full(3, 1_700_000_000_000)).tolist() == [0, 0, 0]


def test_a_window_without_an_end_disturbs_nobody() -> None:
    """The year 9999 stands for "no end" in some data sets."""
    far = 253_402_300_799_000
    series = Series(np.array([1, 1, 2]), np.array([10, far, 20]), np.array([1.0, 2.0, 3.0]))
    group = np.array([1, 1, 2, 2])
    time = np.array([11, far + 1, 20, 21])
    assert series.count(group, time).tolist() == [1, 2, 0, 1]
    assert series.last(group, time).tolist() == [10, far, NEVER, 20]
