"""The race against the peers: honest splits, one metric for all, and nothing fitted twice."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from personalization.features.frames import Frames, Ints, Lines
from tests.benchmarks import rankers
from tests.benchmarks.peers import board, contestants, of_implicit, of_recbole, pooled, race, splits
from tests.benchmarks.peers.contestants import CONTESTANTS, Contestant, Fitted
from tests.benchmarks.peers.splits import Part, Split, Unseen
from tests.features.shops import DAY, ORIGIN, Person, Shop, ints
from worker import preference
from worker.rankers import RANKERS, Interactions
from worker.rankers.base import Scores
from worker.rankers.linear import EASE

SEQUENCES = [[0, 1, 2, 3], [3, 2, 1], [1, 0, 3, 2, 4]]


@dataclass(frozen=True)
class Fixed:
    """Scores that were written down: [shoppers, items]."""

    table: Any

    def score(self, shoppers: Ints) -> Scores:
        return np.asarray(self.table, dtype=np.float32)[shoppers]


def happened(*rows: tuple[int, int, int], items: int = 5, shoppers: int = 3) -> Interactions:
    """Interactions of (shopper, item, time), a purchase each."""
    shopper, item, time = (np.array(column, dtype=np.int64) for column in zip(*sorted(rows), strict=True))
    return Interactions(shopper, item, time, np.ones(len(rows)), items, shoppers)


def planted(*, shoppers: int = 120, items: int = 40, seed: int = 0) -> list[list[int]]:
    """Sequences from two halves of the catalogue: who starts in one stays there."""
    rng = np.random.default_rng(seed)
    half = items // 2
    return [(rng.permutation(half)[:6] + half * (shopper % 2)).tolist() for shopper in range(shoppers)]


class TestSplits:
    def test_the_last_item_is_the_test_and_the_one_before_it_the_validation(self) -> None:
        split = splits.of_sequences(SEQUENCES, 5)
        assert split.test.truth == {0: {3}, 1: {1}, 2: {4}}
        assert split.validation.truth == {0: {2}, 1: {2}, 2: {2}}
        assert split.test.past.item.tolist() == [0, 1, 2, 3, 2, 1, 0, 3, 2]
        assert split.validation.past.item.tolist() == [0, 1, 3, 1, 0, 3]
        for part in (split.validation, split.test):
            assert part.past.time.max() < part.now, "nothing happened after the moment at which it is learnt"

    def test_a_sequence_without_three_items_is_refused(self) -> None:
        with pytest.raises(ValueError, match="three items"):
            splits.of_sequences([[0, 1]], 5)

    def test_what_was_saved_is_the_same_split_and_another_is_not(self, tmp_path: Path) -> None:
        split = splits.of_sequences(SEQUENCES, 5)
        split.save(tmp_path / "split.npz")
        again = Split.load(tmp_path / "split.npz")
        assert (again.digest, again.test.truth, again.repeats) == (split.digest, split.test.truth, False)
        assert again.who.tolist() == [0, 1, 2]
        assert splits.of_sequences([[0, 1, 2, 4], *SEQUENCES[1:]], 5).digest != split.digest

    def test_draws_tell_who_is_the_same_person(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        every = [[0, 1], *planted(shoppers=40)]  # the first is too short to be drawn
        (tmp_path / rankers.DATA).mkdir()
        pl.DataFrame({"items_chrono": every}).write_parquet(tmp_path / rankers.DATA / "sequences.parquet")
        monkeypatch.setenv("SHARED_DATA", str(tmp_path))
        draws = [splits.games(users=30, seed=seed) for seed in (0, 1)]
        for draw in draws:
            assert draw.test.truth == {at: {every[person][-1]} for at, person in enumerate(draw.who)}
        one, other = (set(draw.who.tolist()) for draw in draws)
        assert one != other
        assert one & other

    def test_frames_are_cut_by_time_as_a_training_run_cuts_them(self) -> None:
        frames = bought_daily()
        data = happened(*zip(frames.lines.shopper, frames.lines.item, frames.lines.time, strict=True))
        split = splits.of_frames("made up", frames, data)
        origin = preference.test_origin(frames)
        assert split.test.now == origin
        assert split.test.past.time.max() < origin
        assert split.test.truth == {0: {3}, 1: {4}}
        assert split.validation.truth == {0: {2}, 1: {2}}, "the block of the same length just before the test"
        assert split.validation.past.time.max() < split.validation.now == origin - (frames.until - origin)

    def test_a_sample_is_drawn_once_for_everybody(self) -> None:
        truth = {shopper: {0} for shopper in range(100)}
        assert list(splits.sampled(truth, 10, 0)) == sorted(splits.sampled(truth, 10, 0))
        assert list(splits.sampled(truth, 10, 0)) != list(splits.sampled(truth, 10, 1))


def bought_daily() -> Frames:
    """Three shoppers of whom two buy in the two last tenths of a hundred days, the third only before."""
    rows = sorted(
        (shopper, ORIGIN + day * DAY, item)
        for shopper, day, item in [(0, 0, 0), (0, 85, 2), (0, 95, 3), (1, 10, 1), (1, 81, 2), (1, 99, 4), (2, 5, 1)]
    )
    shopper, time, item = zip(*rows, strict=True)
    shop = Shop([Person()] * 3, [], until=ORIGIN + 100 * DAY)
    lines = Lines(ints(shopper), ints(time), ints(item), np.ones(len(rows)))
    return replace(shop.frames(), start=ORIGIN, lines=lines)


class TestJudge:
    PART = Part(happened((0, 0, 1), (1, 1, 1), (1, 2, 2)), 3, {0: {1}, 1: {1, 3}})
    SCORES = [[9, 1, 5, 0, 0], [0, 9, 8, 4, 6], [0, 0, 0, 0, 0]]

    def test_a_case_by_hand(self) -> None:
        figures = splits.judge(Fixed(self.SCORES), self.PART, repeats=False)
        # 0 has item 0: the list is 2, 1, … and the answer second. 1 has 1 and 2: 4, 3, …, of two right answers one.
        second = 1 / np.log2(3)
        assert figures["ndcg@10"] == pytest.approx([second, second / (1 + second)])
        assert figures["recall@10"].tolist() == [1.0, 0.5], "what is hidden is no hit, though the list has room for it"

    def test_what_may_come_again_is_judged_with_it_and_apart(self) -> None:
        figures = splits.judge(Fixed(self.SCORES), self.PART, repeats=True)
        second, third, fourth = (1 / np.log2(place + 1) for place in (2, 3, 4))
        assert figures["ndcg@10"] == pytest.approx([third, (1 + fourth) / (1 + second)])
        assert figures["new ndcg@10"] == pytest.approx([second, second]), "1 is nothing new to shopper 1"

    def test_who_turned_to_nothing_new_is_left_out_there(self) -> None:
        part = replace(self.PART, truth={0: {0}, 1: {3}})
        assert splits.news(part) == {1: {3}}

    def test_what_is_hidden_is_what_each_one_has(self) -> None:
        scores = Unseen(Fixed(self.SCORES), self.PART.past).score(np.array([1, 2, 0]))
        assert np.argwhere(np.isneginf(scores)).tolist() == [[0, 1], [0, 2], [2, 0]]

    def test_a_peer_with_our_scores_has_our_figures(self, monkeypatch: pytest.MonkeyPatch) -> None:
        split = splits.of_sequences(planted(), 40)
        ours = CONTESTANTS["ours/item_knn"]

        def borrowed(data: Interactions, now: int, settings: Any, *, seed: int, judge: Any) -> Fitted:
            ranker = RANKERS["item_knn"](**settings)
            ranker.fit(data, now, seed=seed)
            return Fitted(Fixed(ranker.score(np.arange(data.shoppers))))

        peer = Contestant("peer/ours", borrowed, modules=("numpy",), ours=ours.name)
        monkeypatch.setitem(CONTESTANTS, peer.name, peer)
        rows = [row_of(each, split) for each in (ours, peer)]
        assert rows[0]["figures"] == rows[1]["figures"]
        assert rows[0]["per_shopper"] == rows[1]["per_shopper"]
        assert rows[0]["figures"]["ndcg@10"][0] > 0.05, "there is something to find"
        assert board.gain(rows[0], rows[1]) == (0.0, 0.0, 0.0)
        worse = row_of(CONTESTANTS["ours/popularity"], split)
        value, low, _high = board.gain(rows[0], worse)
        assert value > low > 0, "and a gain where there is one"
        table = board.markdown([*rows, worse], split.digest, 0).splitlines()
        assert "+0.0000 [+0.0000, +0.0000] for ours/item_knn" in next(line for line in table if "| **peer/ours" in line)
        assert table[-1].startswith("| ours/popularity |"), "the worst stands last"
        assert "| -0." in table[-1]


def row_of(contestant: Contestant, split: Split) -> dict[str, Any]:
    """The row of a contestant's test."""
    settings = contestant.grid[0]
    common = {"contestant": contestant.name, "part": "test", "split": split.digest, "seed": 0, "settings": settings}
    return common | race.judged(contestant, split, "test", settings, 0)


class TestPooled:
    def test_a_person_of_several_draws_counts_as_one(self) -> None:
        values, who = np.random.default_rng(0).normal(0.1, 1.0, 400), np.arange(400)
        once = pooled.over_persons([values], [who])
        assert once[0] == pytest.approx(values.mean())
        assert once[2] - once[1] == pytest.approx(2 * 1.96 / 20, rel=0.1), "as wide as the mean of 400 should be"
        assert pooled.over_persons([values, values], [who, who]) == pytest.approx(once), "told twice is not more"
        others = pooled.over_persons([values, values], [who, who + 400])
        assert others[2] - others[1] == pytest.approx((once[2] - once[1]) / np.sqrt(2), rel=0.1), "other persons are"

    def test_draws_by_hand(self) -> None:
        told = pooled.over_draws([np.array([0.0, 2.0]), np.array([3.0]), np.array([5.0, 5.0])])
        half = 4.303 * 2 / np.sqrt(3)  # Student's t of two degrees of freedom; the means 1, 3, 5 deviate by 2
        assert told == pytest.approx((3.0, 3.0 - half, 3.0 + half), abs=1e-2)

    def test_the_table_pools_who_was_tested_in_every_draw(self, monkeypatch: pytest.MonkeyPatch) -> None:
        raced = {seed: splits.of_sequences(planted(seed=seed), 40) for seed in (0, 1)}
        peer = Contestant("peer/popular", CONTESTANTS["ours/popularity"].fit, ({},), ("numpy",), "ours/ease")
        monkeypatch.setitem(CONTESTANTS, peer.name, peer)
        ours = CONTESTANTS["ours/item_knn"]
        rows = [row_of(each, split) | {"seed": seed} for seed, split in raced.items() for each in (peer, ours)]
        once = row_of(CONTESTANTS["ours/transitions"], raced[0])
        found = pooled.tests_of([*rows, once], raced)
        assert set(found) == {peer.name, ours.name}, "who missed a draw is left out"
        gain = [float(each.mean()) for each in pooled.gains(found[ours.name], found[peer.name])]
        table = pooled.markdown([*rows, once], raced).splitlines()
        assert table[0] == "2 draws, 240 tests of 120 shoppers"
        assert table[4].startswith("| ours/item_knn | ")
        assert f"| {np.mean(gain):+.4f} [" in table[4]
        assert table[4].endswith(f"| {gain[0]:+.4f} {gain[1]:+.4f} |")
        assert table[5].endswith("|  |  |  |"), "our ranker of the peer's model was not tested"
        assert pooled.markdown([once], raced) == "Nobody has been tested in every draw."


class TestRace:
    @pytest.fixture
    def fits(self, monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
        """What was fitted: half_life_days of 730 is better on the validation."""
        found: list[tuple[Any, ...]] = []

        def told(name: str, path: str, part: str, settings: dict[str, Any], seed: int) -> dict[str, Any]:
            found.append((name, part, settings, seed))
            return {"figures": {"ndcg@10": [settings["half_life_days"], 0, 0]}, "found": {}, "per_shopper": {}}

        monkeypatch.setattr(race, "apart", told)
        return found

    @pytest.fixture
    def split(self) -> Split:
        return replace(splits.of_sequences(SEQUENCES, 5), data="made up")

    def go(self, split: Split, path: Path, seed: int = 0) -> list[dict[str, Any]]:
        results = race.Results(path / "rows.jsonl")
        return list(race.run(split, path / "split.npz", ["ours/popularity"], results, seed=seed))

    def test_settings_are_chosen_on_the_validation_and_tested_once(
        self, split: Split, tmp_path: Path, fits: list[tuple[Any, ...]]
    ) -> None:
        self.go(split, tmp_path)
        assert [(part, settings["half_life_days"]) for _name, part, settings, _seed in fits] == [
            ("validation", 30.0), ("validation", 730.0), ("test", 730.0),
        ]  # fmt: skip

    def test_the_board_shows_what_the_validation_chose(self) -> None:
        def row(part: str, days: float, value: float) -> dict[str, Any]:
            fitted = {"contestant": "ours/popularity", "split": "s", "seed": 0, "part": part}
            return fitted | {"settings": {"half_life_days": days}, "figures": {"ndcg@10": [value]}, "found": {}}

        rows = [row("validation", 30, 0.2), row("test", 30, 0.1), row("validation", 730, 0.1), row("test", 730, 0.9)]
        found = board.tests_of(rows, "s", 0)["ours/popularity"]
        assert (found["settings"], found["tried"]) == ({"half_life_days": 30}, 2)
        assert board.tests_of(rows, "another", 0) == {}

    def test_what_was_fitted_is_not_fitted_again(
        self, split: Split, tmp_path: Path, fits: list[tuple[Any, ...]]
    ) -> None:
        self.go(split, tmp_path)
        assert self.go(split, tmp_path) == []
        assert len(fits) == 3
        self.go(split, tmp_path, seed=1)
        other = splits.of_sequences([*SEQUENCES, [0, 1, 2]], 5)
        self.go(replace(other, data="made up"), tmp_path)
        assert len(fits) == 9, "another seed and another split are other fits"

    def test_a_kill_costs_the_row_it_cut_off(self, split: Split, tmp_path: Path, fits: list[tuple[Any, ...]]) -> None:
        self.go(split, tmp_path)
        file = tmp_path / "rows.jsonl"
        file.write_bytes(file.read_bytes()[:-20])
        assert [row["part"] for row in self.go(split, tmp_path)] == ["test"]
        assert len(race.Results(file).rows()) == 3

    def test_a_fit_that_fails_says_why_and_is_tried_again(
        self, split: Split, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def broken(*arguments: Any) -> dict[str, Any]:
            raise MemoryError("no room")

        monkeypatch.setattr(race, "apart", broken)
        assert [row["failed"] for row in self.go(split, tmp_path)] == ["MemoryError: no room"] * 2
        assert len(self.go(split, tmp_path)) == 2

    def test_who_is_not_installed_is_told_and_the_others_race(
        self, split: Split, tmp_path: Path, fits: list[tuple[Any, ...]], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        missing = Contestant("peer/nowhere", CONTESTANTS["ours/ease"].fit, modules=("no_such_package_here",))
        monkeypatch.setitem(CONTESTANTS, missing.name, missing)
        results = race.Results(tmp_path / "rows.jsonl")
        rows = list(race.run(split, tmp_path / "split.npz", [missing.name, "ours/popularity"], results))
        assert rows[0]["missing"] == "not installed: no_such_package_here"
        assert len(fits) == len(rows) - 1 == 3

    def test_a_fit_in_a_process_of_its_own(self, tmp_path: Path) -> None:
        split = splits.of_sequences(planted(), 40)
        split.save(tmp_path / "split.npz")
        row = race.apart("ours/popularity", str(tmp_path / "split.npz"), "test", {}, 0)
        assert row["tested"] == 120
        values = race.unpacked(row["per_shopper"]["ndcg@10"])
        assert row["figures"]["ndcg@10"][0] == pytest.approx(values.mean(), abs=1e-5)

    def test_our_grids_name_settings_that_our_rankers_have(self) -> None:
        ours = [(each.fit.name, each.grid) for each in CONTESTANTS.values() if isinstance(each.fit, contestants.Own)]
        assert {name for name, _grid in ours} == set(RANKERS)
        for ranker, settings in ((ranker, settings) for ranker, grid in ours for settings in grid):
            made = RANKERS[ranker](**settings).settings
            assert {name: made[name] for name in settings} == settings

    def test_days_that_are_made_up_are_not_searched(self) -> None:
        popularity = CONTESTANTS["ours/popularity"]
        assert contestants.settings_for(rankers.DATA, popularity) == ({"half_life_days": 730.0},)
        assert len(contestants.settings_for("online_retail_ii", popularity)) == 2


class TestPeers:
    """Where the peers are installed (see ``tests.benchmarks.peers``), their numbers are theirs."""

    @pytest.mark.parametrize("kind", ["cosine", "bm25", "als"])
    def test_rows_are_scored_as_implicit_recommends(self, kind: str) -> None:
        pytest.importorskip("implicit", reason="the peer implicit is not installed")
        part = splits.of_sequences(planted(), 40).test
        settings = {"factors": 8} if kind == "als" else {"K": 10}
        fitted = of_implicit.fit(kind, part.past, settings, 0)
        shoppers = np.arange(20)
        _items, told = fitted.model.recommend(shoppers, fitted.counts[shoppers], N=3, filter_already_liked_items=True)
        own = -np.sort(-Unseen(fitted, part.past).score(shoppers), axis=1)[:, :3]
        assert own == pytest.approx(told, rel=1e-4)

    def test_recbole_has_our_closed_form(self) -> None:
        pytest.importorskip("recbole", reason="the peer RecBole is not installed")
        part = splits.of_sequences(planted(), 40).test
        theirs, epochs = of_recbole.fit("EASE", part.past, {"reg_weight": 100.0}, 0, None)
        ranker = EASE(regularisation=100.0)
        ranker.fit(part.past, part.now)
        shoppers = np.arange(part.past.shoppers)
        assert epochs == 0
        assert theirs.score(shoppers) == pytest.approx(ranker.turned @ ranker.matrix, abs=1e-4)

    @pytest.mark.parametrize("name", ["SASRec", "MultiVAE", "LightGCN"])
    def test_recbole_learns_from_our_rows_and_stops_by_our_figure(self, name: str) -> None:
        pytest.importorskip("recbole", reason="the peer RecBole is not installed")
        part = splits.of_sequences(planted(), 40).validation

        def figure(scorer: preference.Scoring) -> float:
            return float(splits.judge(scorer, part, repeats=False)["ndcg@10"].mean())

        settings = {"epochs": 8, "learning_rate": 0.01, "train_batch_size": 64}
        fitted, best = of_recbole.fit(name, part.past, settings, 0, figure)
        chance = figure(Fixed(np.random.default_rng(0).random((120, 40))))
        assert 1 <= best <= 8
        assert figure(fitted) > 1.3 * chance, "it has seen which half each one belongs to"
        again, epochs = of_recbole.fit(name, part.past, settings | {"epochs": best}, 0, None)
        assert epochs == best
        assert figure(again) == pytest.approx(figure(fitted), abs=1e-6), "as many epochs without looking are the same"
