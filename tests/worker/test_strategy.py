"""A strategy's judge: planted value is found, noise is not, and rows that it has learnt from tell nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from personalization.features.frames import Frames
from personalization.learning import gate as checks
from personalization.learning import wordings
from personalization.learning.registry import ModelVersion
from personalization.learning.sentences import read_all
from personalization.models import ModelVersion as Version
from personalization.types import ModelTask
from tests.worker import population
from tests.worker.population import Population
from worker import response, strategy, train
from worker.data import folds
from worker.estimators.four_part import ARMS
from worker.parts import response as parts


@pytest.fixture
def bench(frames: Frames) -> strategy.Bench:
    """The last block of a small shop, where everything shown had the same value."""
    problem = response.pose(frames)
    found = strategy.Bench.of(problem, folds(problem.shown.time, problem.span, most=1)[0], seed=0)
    found.weight = np.ones(len(found.rows))
    return found


def knowing(bench: strategy.Bench, certainty: float) -> np.ndarray:
    """Return shares that give the right arm so much more than the usual ones give it."""
    shares = bench.constant() * (1 - certainty)
    shares[np.arange(len(bench.arm)), bench.arm] += certainty
    return shares


def verdicts(found: list[checks.Check]) -> dict[str, bool | None]:
    return {check.name: check.passed for check in found}


def test_the_usual_shares_are_those_of_value_before_the_block(bench: strategy.Bench) -> None:
    problem = bench.problem
    before = problem.every.take(problem.every.time + problem.span <= bench.rows.time.min())
    arm, weight = response.strategy_targets(problem.frames, before)
    for place in range(len(ARMS)):
        assert bench.usual[place] == pytest.approx(weight[arm == place].sum() / weight.sum(), abs=1e-6)
    assert bench.rows.time.min() > before.time.max()
    assert (bench.arm == ARMS.index("none")).any() or len(np.unique(bench.arm)) > 1


def test_who_knows_better_than_the_same_shares_passes(bench: strategy.Bench) -> None:
    found = strategy.judge(bench, knowing(bench, 0.5), None)
    assert verdicts(found) == {"simpler": True, "reigning": None}
    assert found[0].low is not None
    assert found[0].figure is not None
    assert 0 < found[0].low < found[0].figure


def test_the_board_has_the_gain_over_each_rival_that_was_compared(bench: strategy.Bench) -> None:
    found = strategy.judge(bench, knowing(bench, 0.5), None)
    assert strategy.figures(found) == {
        "gain_simpler": [pytest.approx(getattr(found[0], name), abs=1e-5) for name in ("figure", "low", "high")]
    }, "nobody reigns, so nothing is told of that"


def test_noise_does_not_pass(bench: strategy.Bench) -> None:
    """The control: as sure of itself, but of the wrong kinds."""
    shuffled = np.random.default_rng(0).permutation(knowing(bench, 0.5))
    assert verdicts(strategy.judge(bench, shuffled, None))["simpler"] is False
    assert verdicts(strategy.judge(bench, bench.constant().copy(), None))["simpler"] is False, "a tie is no gain"


def test_a_kind_ruled_out_that_then_brings_value_costs_a_bounded_amount(bench: strategy.Bench) -> None:
    wrong = np.zeros((len(bench.arm), len(ARMS)))
    wrong[np.arange(len(wrong)), (bench.arm + 1) % len(ARMS)] = 1.0
    (check, _rest) = strategy.judge(bench, wrong, None)
    assert check.passed is False
    assert check.figure is not None
    assert np.isfinite(check.figure)


def test_only_rows_with_value_count(bench: strategy.Bench) -> None:
    shares = knowing(bench, 0.5)
    wrong = np.arange(len(bench.rows)) % 6 == 0
    shares[wrong] = 1.0 / len(ARMS)
    shares[wrong, bench.arm[wrong]] = 0.0
    assert verdicts(strategy.judge(bench, shares, None))["simpler"] is False
    bench.weight[wrong] = 0.0
    assert verdicts(strategy.judge(bench, shares, None))["simpler"] is True
    bench.weight[100:] = 0.0
    assert verdicts(strategy.judge(bench, shares, None))["simpler"] is None, "too little value to judge by"


@pytest.fixture
def trained(shop: Population) -> ModelVersion:
    """A strategy that reigns, with what it said to its own test block in its file."""
    params = {"estimators": ["offer_mean", "four_part"], "parts": ["response"]}
    outcome = train.run(None, params, lambda what, done: None, until=population.END)
    return next(version for version in outcome.promoted if version.task == ModelTask.STRATEGY)


@pytest.mark.usefixtures("short_training")
class TestReigning:
    def test_it_is_asked_with_what_it_said_before_it_learnt(self, trained: ModelVersion, bench: strategy.Bench) -> None:
        same, known = strategy._remembered(bench, trained)
        assert known.all(), "the whole block is its own test block"
        assert verdicts(strategy.judge(bench, same, trained))["reigning"] is False, "no better than itself"
        better = same * 0.5
        better[np.arange(len(bench.arm)), bench.arm] += 0.5
        assert verdicts(strategy.judge(bench, better, trained))["reigning"] is True

    def test_rows_that_it_has_learnt_from_tell_nothing(self, trained: ModelVersion, bench: strategy.Bench) -> None:
        bench.exposure = bench.exposure + 10**6  # the control: nothing is remembered of these
        _shares, known = strategy._remembered(bench, trained)
        assert not known.any()
        assert verdicts(strategy.judge(bench, knowing(bench, 0.5), trained))["reigning"] is None

    def test_a_lost_file_stands_in_nobody_s_way(
        self, trained: ModelVersion, bench: strategy.Bench, models: Path
    ) -> None:
        Version.objects.filter(pk=trained.pk).update(sha256="0" * 64)
        trained.refresh_from_db()
        (_simpler, check) = strategy.judge(bench, knowing(bench, 0.5), trained)
        assert check.passed is None
        assert str(trained) in check.sentence


def test_nobody_is_kept_out_for_want_of_a_rival(bench: strategy.Bench) -> None:
    found: list[Any] = strategy.judge(bench, knowing(bench, 0.5), None)
    assert checks.holds(found)


def test_a_strategy_that_fails_is_told_with_what_it_failed_at(
    shop: Population, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = checks.Check("simpler", False, wordings.NOT_BETTER_SHARES, {
        "rival": "x", "rows": "9", "gain": 0.0, "low": -1.0, "high": 1.0,
    })  # fmt: skip
    monkeypatch.setattr(strategy, "judge", lambda *given: [refused])
    params = {"estimators": ["offer_mean", "four_part"], "parts": ["response"]}
    outcome = train.run(None, params, lambda what, done: None, until=population.END)
    said = [str(sentence) for sentence in outcome.sentences]
    assert said[said.index("Strategy: no model ships.") + 1] == refused.sentence
    (kept,) = [version for version in outcome.versions if version.task == ModelTask.STRATEGY]
    assert kept.card["judged_on"] == wordings.VALUE
    assert [str(reason) for reason in read_all(kept.card["reasons"])] == [refused.sentence]
    assert kept.card["test"]["rows"] > 0
    assert not [version for version in outcome.promoted if version.task == ModelTask.STRATEGY]


def test_a_strategy_that_nothing_was_compared_with_says_so() -> None:
    few = checks.Check("simpler", None, wordings.FEW_WORTH, {"rival": "x", "rows": "57", "needed": 200})
    first = checks.Check("reigning", None, wordings.NOBODY)
    fast = checks.Check("latency", True, wordings.SPEED, {"seconds": 0.1, "allowed": 1.0})
    told = [str(sentence) for sentence in parts._told([few, first, fast], None)]
    assert told == ["Strategy: four_part ships, compared with nothing yet.", few.sentence]
    beaten = checks.Check("simpler", True, wordings.SIMPLEST)
    told = [str(sentence) for sentence in parts._told([beaten, first, fast], None)]
    assert told == ["Strategy: four_part ships."], "compared with one rival"
