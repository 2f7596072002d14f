"""The gate: the simpler stays on a tie, the reigning champion too, and each check can refuse."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pytest
from django.utils import timezone

from personalization.features.frames import Frames, milliseconds
from personalization.learning import gate as kept
from personalization.learning import wordings
from personalization.learning.gate import Check, Evidence
from personalization.learning.sentences import Sentence
from personalization.models import ModelVersion
from personalization.ports.moments import moment
from personalization.types import HEADS
from tests.worker import planted, population
from tests.worker.population import Population
from worker import gate, preference, train
from worker.calibrate import Calibrator
from worker.data import Samples
from worker.estimators.offer_mean import OfferMean
from worker.gate import Reigning, judge
from worker.preference import Race, RankerResult
from worker.response import Fitted, backtest, pose

REDEEM = HEADS.index("redeem")


def candidate(name: str, p: np.ndarray) -> Fitted:
    return Fitted(name, OfferMean(np.zeros((9, len(HEADS)))), Calibrator(), np.repeat(p[:, None], len(HEADS), axis=1))


@pytest.fixture
def truth() -> tuple[Samples, np.ndarray]:
    """Return test samples and the probabilities with which their redemptions were drawn."""
    samples = planted.held_out(4000)
    p = np.random.default_rng(6).beta(2, 4, 4000)
    y = (np.random.default_rng(7).random(4000) < p).astype(np.float64)
    return planted.relabelled(samples, "redeem", y), p


def test_the_better_one_wins(truth: tuple[Samples, np.ndarray]) -> None:
    samples, p = truth
    verdict = judge([candidate("offer_mean", 0.5 * p + 0.17), candidate("logistic", p)], samples, seed=0)
    assert (verdict.champion, verdict.head) == ("logistic", "redeem")
    assert verdict.gains["logistic"][1] > 0
    assert set(verdict.board["logistic"]) >= {"log_loss", "auc", "average_precision", "ece", "auc_view"}
    assert len(verdict.reasons) == 1
    assert str(verdict.reasons[0]).startswith("logistic: Better than offer_mean on the same 4,000 rows: log-loss gain")


def test_a_tie_keeps_the_simpler_one(truth: tuple[Samples, np.ndarray]) -> None:
    samples, p = truth
    nearly = np.clip(p + np.random.default_rng(1).normal(0, 1e-4, 4000), 1e-3, 1)
    verdict = judge([candidate("offer_mean", p), candidate("boosting", nearly)], samples, seed=0)
    assert verdict.champion == "offer_mean"
    assert "Not shown to be better than offer_mean" in str(verdict.reasons[0])


def test_candidates_are_judged_from_the_simplest_whatever_their_order(truth: tuple[Samples, np.ndarray]) -> None:
    samples, p = truth
    verdict = judge([candidate("blend", p), candidate("offer_mean", p)], samples, seed=0)
    assert verdict.champion == "offer_mean"


def test_a_constant_prediction_is_refused(truth: tuple[Samples, np.ndarray]) -> None:
    """One article prints the same .90983535 for every shopper: that is no model, even where it beats a bad one."""
    samples, p = truth
    bad = np.clip(1 - p, 0.01, 0.99)
    same = np.full(4000, samples.y[:, REDEEM].mean())
    verdict = judge([candidate("offer_mean", bad), candidate("four_part", same)], samples, seed=0)
    assert verdict.gains["four_part"][1] > 0  # it would have won
    assert verdict.champion == "offer_mean"
    assert list(map(str, verdict.reasons)) == ["four_part: refused. It predicts the same for everybody."]


def test_what_ranks_well_but_lies_about_probabilities_is_refused(truth: tuple[Samples, np.ndarray]) -> None:
    samples, p = truth
    shifted = p**1.5
    floor = samples.y[:, REDEEM].mean() + np.random.default_rng(1).normal(0, 1e-3, 4000)
    verdict = judge([candidate("offer_mean", floor), candidate("boosting", shifted)], samples, seed=0)
    assert verdict.gains["boosting"][1] > 0  # it would have won
    assert verdict.champion == "offer_mean"
    assert str(verdict.reasons[0]).startswith("boosting: refused. Calibration error")


def of(checks: list[Check]) -> dict[str, Check]:
    return {check.name: check for check in checks}


def champion(p: np.ndarray, **card: Any) -> Reigning:
    version = ModelVersion(pk=7, estimator="boosting", cutoff_at=timezone.now(), card=card)
    return Reigning(version, np.repeat(p[:, None], len(HEADS), axis=1))


def test_without_a_champion_the_winner_is_promoted(truth: tuple[Samples, np.ndarray]) -> None:
    samples, p = truth
    verdict = judge([candidate("offer_mean", 0.5 * p + 0.17), candidate("logistic", p)], samples, seed=0)
    assert verdict.promoted
    found = of(verdict.checks["logistic"])
    assert (found["reigning"].passed, found["simpler"].passed) == (None, True)
    assert found["reigning"].sentence == "Nobody reigns yet."


def test_what_reigns_is_asked_for_the_same_rows_and_keeps_its_place_on_a_tie(truth: tuple[Samples, np.ndarray]) -> None:
    samples, p = truth
    race = [candidate("offer_mean", 0.5 * p + 0.17), candidate("logistic", p)]
    verdict = judge(race, samples, seed=0, reigning=champion(p))
    assert (verdict.champion, verdict.promoted) == ("logistic", False)
    check = of(verdict.checks["logistic"])["reigning"]
    assert (check.passed, check.figure, check.threshold) == (False, 0.0, 0.0)
    assert "Not shown to be better than boosting #7 on the same 4,000 rows" in check.sentence
    assert str(verdict.reasons[-1]).startswith("logistic: not promoted, boosting #7 stays. Not shown to be better than")


def test_a_worse_champion_goes(truth: tuple[Samples, np.ndarray]) -> None:
    samples, p = truth
    race = [candidate("offer_mean", 0.5 * p + 0.17), candidate("logistic", p)]
    verdict = judge(race, samples, seed=0, reigning=champion(0.5 * p + 0.17))
    check = of(verdict.checks["logistic"])["reigning"]
    assert verdict.promoted
    assert check.passed
    assert check.low is not None
    assert check.low > 0
    assert str(verdict.reasons[-1]).startswith("logistic: Better than boosting #7 on the same 4,000 rows")


def test_rows_that_the_champion_has_learnt_from_do_not_count(truth: tuple[Samples, np.ndarray]) -> None:
    """It knows the answers of half of the rows: on those alone nobody could beat it."""
    samples, p = truth
    reigning = champion(0.5 * p + 0.17)
    reigning.predicted[:2000] = np.nan
    check = of(judge([candidate("logistic", p)], samples, seed=0, reigning=reigning).checks["logistic"])["reigning"]
    assert (check.passed, check.params["rows"]) == (True, "2,000")
    reigning.predicted[150:] = np.nan
    verdict = judge([candidate("logistic", p)], samples, seed=0, reigning=reigning)
    assert not verdict.promoted
    assert "has learnt from these rows: only 0 of them are new" in str(verdict.reasons[-1])


def test_a_champion_that_cannot_be_asked_stands_in_nobodys_way(truth: tuple[Samples, np.ndarray]) -> None:
    samples, p = truth
    reigning = champion(p)
    reigning.problem = Sentence("The file is gone.")
    verdict = judge([candidate("logistic", p)], samples, seed=0, reigning=reigning)
    assert verdict.promoted
    assert (
        of(verdict.checks["logistic"])["reigning"].sentence == "boosting #7 cannot be asked any more: The file is gone."
    )


@pytest.mark.parametrize(
    ("setting", "value", "check"), [("GATE_SCORING_SECONDS", 1e-9, "latency"), ("GATE_ARTIFACT_MB", 0, "size")]
)
def test_what_is_slow_or_large_is_refused(
    setting: str, value: float, check: str, truth: tuple[Samples, np.ndarray], settings: Any
) -> None:
    samples, p = truth
    race = [candidate("offer_mean", 0.5 * p + 0.17), candidate("logistic", p)]
    assert judge(race, samples, seed=0).promoted
    settings.PERSONALIZATION = {**settings.PERSONALIZATION, setting: value}
    verdict = judge(race, samples, seed=0)
    assert not verdict.promoted
    assert of(verdict.checks["logistic"])[check].passed is False
    assert str(verdict.reasons[0]).startswith("logistic: refused. ")


def test_after_a_rollback_nothing_is_promoted_for_a_while(truth: tuple[Samples, np.ndarray]) -> None:
    samples, p = truth
    now = timezone.now()

    def verdict(until: datetime) -> gate.Verdict:
        card = {"promoted_at": now.isoformat(), "held_until": until.isoformat()}
        return judge([candidate("logistic", p)], samples, seed=0, reigning=champion(0.5 * p + 0.17, **card))

    assert verdict(now - timedelta(hours=1)).promoted
    held = verdict(now + timedelta(hours=1))
    assert not held.promoted
    assert f"Rolled back at {moment(now)}: nothing" in str(held.reasons[-1])


@pytest.fixture
def further(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept, "_FURTHER", {})


@pytest.mark.usefixtures("further")
def test_other_rooms_may_refuse(frames: Frames) -> None:
    """A check that is not there is shown as such; one that is there sees the rows, and one that breaks refuses."""
    fitted, test, _found = backtest(pose(frames), ["offer_mean", "logistic"], seed=0, stage=lambda what, done: None)
    unasked = judge(fitted, test, seed=0, frames=frames)
    assert unasked.promoted
    check = of(unasked.checks["logistic"])["fairness"]
    assert (check.passed, check.sentence) == (None, "Not judged: no fairness check is installed.")

    seen: list[Evidence] = []

    def unfair(evidence: Evidence) -> Check:
        seen.append(evidence)
        return Check("fairness", False, "Gold members get twice as much: ratio %(ratio).1f.", {"ratio": 2.0}, 2.0)

    kept.register("fairness", unfair)
    refused = judge(fitted, test, seed=0, frames=frames)
    assert not refused.promoted
    told = "logistic: not promoted, no model ships. Gold members get twice as much: ratio 2.0."
    assert str(refused.reasons[-1]) == told
    assert set(seen[0].shopper) <= set(frames.shoppers.ids)
    assert len(seen[0].probability) == len(seen[0].label) == len(test)

    def broken(evidence: Evidence) -> Check:
        raise ZeroDivisionError

    kept.register("fairness", broken)
    verdict = judge(fitted, test, seed=0, frames=frames)
    assert not verdict.promoted
    assert "The check itself failed (ZeroDivisionError)" in str(verdict.reasons[-1])


def test_checks_come_back_from_a_versions_metrics() -> None:
    check = Check("latency", True, wordings.SPEED, {"seconds": 0.25, "allowed": 5.0}, 0.25, threshold=5.0)
    assert kept.checks_of({"gate": kept.stored([check])}) == [check]
    assert check.sentence == "0.250 seconds per 1,000 rows; 5 are allowed."
    others: list[Any] = [{}, [], None, {"gate": {}}, {"gate": [1, {"name": "x"}]}]
    for other in others:
        assert kept.checks_of(other) == []


def train_quickly(until: datetime = population.END) -> train.Outcome:
    return train.run(None, population.QUICK, lambda what, done: None, until=until)


def test_the_champion_answers_from_its_file_what_it_has_not_learnt(shop: Population) -> None:
    """Trained until the fifth wave was over, it has not seen the sixth: its file predicts that wave.

    Trained until the end, it has: there its own backtest, kept in the file, speaks for it.
    """
    frames = gate_frames()
    _fitted, test, _found = backtest(pose(frames), ["offer_mean"], seed=0, stage=lambda what, done: None)
    outcome = train_quickly()
    own = next(one for one in outcome.promoted if one.task == "response")
    known = gate.summon(pose(frames), test)
    assert known is not None
    assert known.version == own
    kept_rows = gate.Loaded(own).backtest
    place = {int(pk): row for row, pk in enumerate(kept_rows["exposure"])}
    expected = kept_rows["probability"][[place[int(pk)] for pk in test.exposure]]
    np.testing.assert_array_equal(known.predicted, expected)

    ModelVersion.objects.filter(pk=own.pk).update(cutoff_at=population.wave(6))
    fresh = gate.summon(pose(frames), test)
    assert fresh is not None
    assert not np.isnan(fresh.predicted).any()
    assert np.abs(fresh.predicted - expected).max() > 1e-6  # the fit that ships knows more than the backtest's


def test_a_row_is_taught_once_its_window_had_passed() -> None:
    version = ModelVersion(cutoff_at=population.END, card={"data": {"outcome_window_ms": 1000}})
    end = milliseconds(population.END)
    assert gate.taught(version, np.array([end - 1000, end - 999]), 5).tolist() == [True, False]
    version.card = {}
    assert gate.taught(version, np.array([end - 1, end]), 5).tolist() == [True, False]


def test_a_champion_whose_file_is_gone_is_said_so(shop: Population, models: Any) -> None:
    outcome = train_quickly()
    for path in models.iterdir():
        for file in path.iterdir():
            file.unlink()
    again = train_quickly()
    new = next(one for one in again.promoted if one.task == "response")
    assert new.pk not in {one.pk for one in outcome.versions}
    assert "cannot be asked any more: The model file" in of(kept.checks_of(new.metrics))["reigning"].sentence


def gate_frames() -> Frames:
    from personalization.learning import frames as reading

    return reading.load("shop", population.END)


def result(name: str, values: list[float], seconds: float = 0.0) -> RankerResult:
    return RankerResult(name, {"ndcg@10": np.array(values)}, {"k": 5}, rank_seconds=seconds)


def test_a_ranker_that_reigns_stays_on_a_tie_and_is_renewed_by_itself() -> None:
    old, new = result("als", [0.4] * 50), result("gru", [0.4] * 50)
    reigning = ModelVersion(pk=3, task="preference", estimator="als", cutoff_at=timezone.now(), card={})
    race = Race([new], 50, reigning=old)
    assert not kept.holds(gate.judge_ranking(race, new, reigning, seed=0))
    better = result("gru", [0.4 + 0.01 * (n % 3) for n in range(50)])
    assert kept.holds(gate.judge_ranking(race, better, reigning, seed=0))
    assert kept.holds(gate.judge_ranking(Race([old], 50, reigning=old), old, reigning, seed=0))
    assert kept.holds(gate.judge_ranking(race, new, None, seed=0))
    slow = result("gru", [0.9] * 50, seconds=3600.0)
    assert not kept.holds(gate.judge_ranking(race, slow, None, seed=0))


def test_the_reigning_ranker_is_in_the_race_though_nobody_asked(frames: Frames) -> None:
    names = ["popularity", "frequency"]
    silent = lambda what, done: None  # noqa: E731
    alone = preference.backtest(frames, names, seed=0, stage=silent)
    assert alone.reigning is None
    own = alone.results[0]
    same = preference.backtest(frames, names, seed=0, stage=silent, reigning=(own.name, preference.plain(own)))
    assert same.reigning is same.results[0]
    other = preference.backtest(frames, names, seed=0, stage=silent, reigning=("transitions", {}))
    assert other.reigning is not None
    assert other.reigning.name == "transitions"
    assert [each.name for each in other.results] == names
    assert preference.backtest(frames, names, seed=0, stage=silent, reigning=("gone", {})).reigning is None
