"""Preference rankers: planted habits are found, figures are right by hand, and the future stays unseen."""

from __future__ import annotations

import math

import numpy as np
import pytest
from sklearn.metrics import ndcg_score

from personalization.exceptions import NotEnoughData
from personalization.features.frames import Frames, Items, Lines
from tests.features import shops
from tests.features.shops import DAY, ORIGIN
from worker import preference
from worker.preference import RankerResult
from worker.rankers import LINE_UP, RANKERS, Interactions, Popularity, Ranker, Transitions, interactions, top_items

NOW = ORIGIN + 60 * DAY


def clicks(*rows: tuple[int, int, float], items: int = 6, shoppers: int = 0) -> Interactions:
    """Return interactions from (shopper, item, days before now)."""
    ordered = sorted(rows, key=lambda row: (row[0], -row[2]))
    shopper, item, age = (list(column) for column in zip(*ordered, strict=True)) if rows else ([], [], [])
    return Interactions(
        shops.ints(shopper), shops.ints(item), shops.ints(NOW - days * DAY for days in age), np.ones(len(rows)),
        items, shoppers or max(shopper, default=-1) + 1,
    )  # fmt: skip


def best(ranker: Ranker, shopper: int, count: int = 1) -> list[int]:
    found: list[int] = top_items(ranker.score(np.array([shopper])), count)[0].tolist()
    return found


def test_popularity_is_recent_and_the_same_for_everybody() -> None:
    """Five clicks of a month ago (two half-lives and more) weigh less than two of today."""
    data = clicks(*[(0, 1, 30.0)] * 5, (0, 2, 0.0), (1, 2, 0.0), (1, 3, 0.0))
    ranker = preference.fit("popularity", data, NOW)
    assert best(ranker, 0, 3) == best(ranker, 1, 3) == [2, 1, 3]
    np.testing.assert_allclose(ranker.points[[1, 2]], [5 * 0.5 ** (30 / 14), 2], rtol=1e-5)


def test_a_purchase_weighs_three_views() -> None:
    frames = shops.Shop([shops.Person()], [], [shops.Happening(0, ORIGIN, "product_viewed")]).frames()
    frames.events.item[:] = 1
    frames.lines = Lines(shops.ints([0]), shops.ints([ORIGIN + 1]), shops.ints([0]), np.ones(1))
    frames.items = Items(
        ["a", "b"], shops.ints([0, -1]), np.array([2.5, np.nan]), np.ones(2, bool), ["B", ""], ["A tea", "A cup"]
    )
    found = interactions(frames)
    assert (found.item.tolist(), found.weight.tolist(), found.items, found.shoppers) == ([1, 0], [1, 3], 2, 1)
    assert found.catalogue is not None
    assert (found.catalogue.brand, found.catalogue.text) == (["B", ""], ["A tea", "A cup"])


def test_what_comes_before_a_moment() -> None:
    data = clicks((0, 1, 3), (0, 2, 2), (1, 3, 1))
    assert data.before(NOW - 2 * DAY).item.tolist() == [1]
    assert (data.before(0).items, data.before(0).shoppers) == (6, 2)


def test_own_habits_come_before_fashion() -> None:
    data = clicks(*[(1, 5, 1.0)] * 50, (0, 2, 5), (0, 2, 4), (0, 3, 1))
    ranker = preference.fit("frequency", data, NOW)
    assert best(ranker, 0, 3) == [2, 3, 5]


def planted(shoppers: int = 84, items: int = 12) -> tuple[Interactions, dict[int, int]]:
    """Return walks in which i is followed by i + 1, and each shopper's next item. No two visits repeat an item."""
    rows, following = [], {}
    for shopper in range(shoppers):
        start = shopper % items
        rows += [(shopper, (start + step) % items, 20.0 - step) for step in range(4)]
        following[shopper] = (start + 4) % items
    return clicks(*rows, items=items), following


def hit_rate(name: str, data: Interactions, following: dict[int, int], k: int) -> float:
    ranker = preference.fit(name, data, NOW)
    found = top_items(ranker.score(np.arange(data.shoppers)), data.items)
    seen = [set(data.item[data.shopper == shopper].tolist()) for shopper in range(data.shoppers)]
    new = [[item for item in row.tolist() if item not in seen[shopper]][:k] for shopper, row in enumerate(found)]
    return float(np.mean([following[shopper] in row for shopper, row in enumerate(new)]))


def test_planted_transitions_are_found() -> None:
    """The next of twelve items, among those not yet seen: transitions know it, popularity cannot."""
    data, following = planted()
    assert hit_rate("transitions", data, following, 1) == 1.0
    assert hit_rate("popularity", data, following, 1) < 0.6


def test_the_order_is_what_transitions_learn_from() -> None:
    """The negative control: with every walk turned round, the successor is no longer found."""
    data, following = planted()
    data.item[:] = data.item.reshape(-1, 4)[:, ::-1].ravel()
    assert hit_rate("transitions", data, following, 1) < 0.4


def test_neighbours_are_the_strongest_successors() -> None:
    data, _following = planted(items=6)
    ranker = preference.fit("transitions", data, NOW)
    assert isinstance(ranker, Transitions)
    found = dict(ranker.neighbours(width=2))
    assert [item for item, _weight in found[0]] == [1, 2]
    assert found[0][0][1] > found[0][1][1] > 0
    assert all(len(row) <= 2 for row in found.values())


def test_a_step_does_not_lead_from_one_shopper_to_the_next() -> None:
    ranker = Transitions()
    ranker.fit(clicks((0, 1, 2), (1, 2, 1)), NOW)
    assert ranker.matrix.nnz == 0
    assert ranker.neighbours() == []


def test_the_best_come_first_and_ties_by_column() -> None:
    scores = np.array([[1, 3, 3, 0, 2], [0, 0, 0, 0, 0]], dtype=np.float32)
    assert top_items(scores, 3).tolist()[0] == [1, 2, 4]
    assert top_items(scores, 5).tolist()[1] == [0, 1, 2, 3, 4]
    assert top_items(scores, 99).shape == (2, 5)
    assert top_items(np.zeros((2, 0), dtype=np.float32), 3).shape == (2, 0)


class Fixed(Popularity):
    """A ranker that says the same order for everybody."""

    def __init__(self, order: list[int]) -> None:
        super().__init__()
        self.points = np.zeros(len(order), dtype=np.float32)
        self.points[order] = np.arange(len(order), 0, -1)


def test_figures_by_hand() -> None:
    """Bought items at ranks 1 and 3 of 25, of three wanted: DCG = 1 + 1/2, ideal = 1 + 1/log2 3 + 1/2."""
    order = list(range(25))
    found = preference.judge(Fixed(order), np.array([0]), {0: {0, 2, 15}})
    ideal = 1 + 1 / math.log2(3) + 1 / 2
    assert found["ndcg@10"].tolist() == pytest.approx([(1 + 1 / 2) / ideal])
    assert found["recall@10"].tolist() == pytest.approx([2 / 3])
    assert found["recall@20"].tolist() == pytest.approx([1])


def test_ndcg_is_the_usual_one() -> None:
    rng = np.random.default_rng(3)
    order = rng.permutation(40).tolist()
    ranker = Fixed(order)
    truth = {shopper: set(rng.choice(40, rng.integers(1, 15), replace=False).tolist()) for shopper in range(30)}
    found = preference.judge(ranker, np.arange(30), truth)["ndcg@10"]
    relevant = np.array([[float(item in truth[shopper]) for item in range(40)] for shopper in range(30)])
    expected = [ndcg_score([row], [ranker.points], k=10) for row in relevant]
    np.testing.assert_allclose(found, expected)


def result(name: str, values: np.ndarray) -> RankerResult:
    return RankerResult(name, {"ndcg@10": values, "recall@10": values, "recall@20": values})


def test_the_simplest_that_none_is_shown_to_beat_wins() -> None:
    rng = np.random.default_rng(0)
    base = rng.random(400)
    better, nearly = base + 0.05 + rng.normal(0, 0.1, 400), base + rng.normal(0.001, 0.1, 400)
    name, reasons = preference.winner([result("popularity", base), result("frequency", better)], seed=0)
    assert name == "frequency"
    assert str(reasons[0]).startswith("frequency: Better than popularity for the same 400 shoppers")
    name, reasons = preference.winner([result("popularity", base), result("frequency", nearly)], seed=0)
    assert name == "popularity"
    assert "Not shown to be better than popularity" in str(reasons[0])


def test_a_summary_has_its_interval() -> None:
    values = np.random.default_rng(0).random(500)
    mean, low, high = preference.summarise(result("x", values), seed=0)["ndcg@10"]
    assert mean == pytest.approx(values.mean(), abs=1e-5)
    assert low < mean < high
    assert (high - low) / 2 == pytest.approx(1.96 * values.std() / math.sqrt(500), rel=0.25)


def silent(what: object, done: float) -> None:
    """Say nothing."""


QUICK = ["popularity", "frequency", "transitions", "als"]


def test_rankers_are_tested_on_what_was_bought_after_their_data(frames: Frames) -> None:
    race = preference.backtest(frames, QUICK, seed=0, stage=silent)
    assert [one.name for one in race.results] == QUICK
    assert race.tested == len(race.results[0].figures["ndcg@10"]) > 50
    assert all(one.fit_seconds >= 0 and one.rank_seconds >= 0 for one in race.results)
    origin = preference.test_origin(frames)
    assert frames.until - origin == pytest.approx((frames.until - frames.start) / 10)
    late = frames.events.time >= origin
    frames.events.item[late] = 0  # what they looked at since then must not help anybody
    again = preference.backtest(frames, QUICK, seed=0, stage=silent)
    for before, after in zip(race.results, again.results, strict=True):
        for name, values in before.figures.items():
            np.testing.assert_array_equal(after.figures[name], values)


def test_who_races() -> None:
    """The simplest first, whatever the order of asking; everybody if everybody is asked for."""
    assert preference.line_up(None) == list(LINE_UP)
    assert preference.line_up(["gru", "ease", "popularity"]) == ["popularity", "ease", "gru"]
    assert preference.line_up(["all"]) == list(RANKERS)


def test_the_usual_line_up_has_its_time_and_no_more(frames: Frames, monkeypatch: pytest.MonkeyPatch) -> None:
    """With no time at all the simplest still runs, and everybody else is left out, in words; asked for, they run."""
    monkeypatch.setattr(preference, "BUDGET_SECONDS", 0.0)
    race = preference.backtest(frames, seed=0, stage=silent)
    assert [one.name for one in race.results] == ["popularity"]
    assert [str(said).split(":")[0] for said in race.left_out] == list(LINE_UP[1:])
    assert "train --rankers gru popularity" in str(race.left_out[-1])
    asked = preference.backtest(frames, ["popularity", "item_knn"], seed=0, stage=silent)
    assert [one.name for one in asked.results] == ["popularity", "item_knn"]
    assert asked.left_out == []


def test_a_fit_is_ended_from_within(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[float] = []
    report = preference._until(100.0, told.append)
    monkeypatch.setattr(preference.time, "monotonic", lambda: 99.0)
    report(0.5)
    monkeypatch.setattr(preference.time, "monotonic", lambda: 101.0)
    with pytest.raises(preference.OutOfTime):
        report(0.6)
    assert told == [0.5]


def test_too_little_is_said(frames: Frames) -> None:
    few = slice(0, 50)
    lines = frames.lines
    frames.lines = Lines(lines.shopper[few], lines.time[few], lines.item[few], lines.quantity[few])
    with pytest.raises(NotEnoughData, match="50 of 200 order lines with known products"):
        preference.backtest(frames, seed=0, stage=silent)
    frames.lines = Lines(lines.shopper, np.minimum(lines.time, frames.start + DAY), lines.item, lines.quantity)
    with pytest.raises(NotEnoughData, match="bought anything lately"):
        preference.backtest(frames, seed=0, stage=silent)
