"""Posing the problem, judging the candidates, and what the backtest may know."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from personalization.exceptions import NotEnoughData
from personalization.features.frames import NEVER, Frames, milliseconds
from personalization.features.specification import INDEX
from personalization.learning import frames as reading
from personalization.types import HEADS
from tests.worker import planted, population
from worker import response
from worker.estimators.four_part import ARMS
from worker.response import LINE_UP, REGISTRY, Fitted, backtest, line_up, pose, primary_head, refit

VIEW, CLICK, REDEEM, PURCHASE = range(len(HEADS))
pytestmark = pytest.mark.usefixtures("short_training")


def silent(what: object, done: float) -> None:
    """Say nothing."""


def load() -> Frames:
    return reading.load("shop", population.END)


def test_all_estimators_run_from_the_simplest() -> None:
    nets = ["dnn", "deepfm", "dcnv2", "mmoe"]
    assert list(REGISTRY) == ["offer_mean", "logistic", "boosting", *nets, "four_part", "blend"]


def test_the_line_up_is_the_usual_one_or_who_is_asked_for() -> None:
    assert line_up(None) == list(LINE_UP) == [name for name in REGISTRY if name in LINE_UP]
    assert line_up(["dcnv2", "logistic"]) == ["logistic", "dcnv2"]
    assert line_up(["blend"]) == ["boosting", "four_part", "blend"]
    assert line_up(["all"]) == list(REGISTRY)


def test_the_problem_holds_what_has_matured(frames: Frames) -> None:
    problem = pose(frames)
    assert len(problem.shown) == (frames.exposures.offer >= 0).sum()
    assert len(problem.every) == len(frames.exposures)
    open_still = replace(frames, until=milliseconds(population.wave(6) + population.DAY))
    assert pose(open_still).shown.time.max() == milliseconds(population.wave(5))


@pytest.mark.parametrize("outcomes", ["none", "all"])
def test_one_class_only_is_said(outcomes: str, db: None, models: Any) -> None:
    population.build(outcomes=outcomes)
    with pytest.raises(NotEnoughData, match=r"needs both classes|any recorded outcome"):
        pose(load())


def test_too_few_exposures_are_counted(frames: Frames, settings: Any) -> None:
    settings.PERSONALIZATION = {**settings.PERSONALIZATION, "MIN_EXPOSURES": 5000}
    with pytest.raises(NotEnoughData, match=r"^1,\d\d\d of 5,000 exposures whose outcome is known\.$"):
        pose(frames)


def test_without_an_earlier_date_there_is_no_test_in_time(frames: Frames) -> None:
    frames.exposures.time[:] = milliseconds(population.wave(6))
    frames.exposures.window_end[:] = milliseconds(population.wave(6) + population.WINDOW)
    with pytest.raises(NotEnoughData, match="reach back far enough"):
        backtest(pose(frames), ["offer_mean"], seed=0, stage=silent)


def test_redemption_decides_where_it_is_known() -> None:
    y = np.zeros((4, len(HEADS)))
    with pytest.raises(NotEnoughData, match="any recorded outcome"):
        primary_head(y)
    for head in (VIEW, CLICK, PURCHASE, REDEEM):
        y[0, head] = 1
        assert primary_head(y) == head
    y[:, REDEEM] = np.nan
    assert primary_head(y) == PURCHASE


def targets(frames: Frames, propensity: float | None, chosen: np.ndarray, revenue: np.ndarray) -> dict[str, float]:
    """Return each arm's share of the weight: what the strategy learns for a shopper like everybody."""
    rows = frames.exposures.take(np.arange(len(chosen)))
    rows.offer, rows.revenue, rows.cost = chosen, revenue, np.zeros(len(chosen))
    rows.propensity = np.full(len(chosen), np.nan if propensity is None else propensity)
    arm, weight = response.strategy_targets(frames, rows)
    total = np.bincount(arm, weights=weight, minlength=len(ARMS))
    return {name: float(value) for name, value in zip(ARMS, total / total.sum(), strict=True) if value}


def test_the_strategy_is_weighed_by_value_not_by_how_often_it_was_shown(frames: Frames) -> None:
    """Offer 0 (coupon) shown nine times as often as offer 1 (flash sale) and worth half of it."""
    chosen = np.repeat([0, 1], [900, 100])
    revenue = np.where(chosen == 0, 10.0, 20.0)
    assert targets(frames, None, chosen, revenue) == pytest.approx({"coupon": 1 / 3, "flash_sale": 2 / 3})


def test_two_offers_of_a_kind_share_its_weight(frames: Frames) -> None:
    """Each of three offers is drawn with 1/3; two of them are coupons of the same value as the flash sale."""
    frames.offers.kinds[2] = "coupon"
    chosen = np.repeat([0, 2, 1], 100)
    found = targets(frames, 1 / 3, chosen, np.full(300, 10.0))
    assert found == pytest.approx({"coupon": 0.5, "flash_sale": 0.5})
    assert targets(frames, None, chosen, np.full(300, 10.0)) == pytest.approx(found)


def test_no_offer_is_an_arm_with_its_own_value(frames: Frames) -> None:
    chosen = np.repeat([0, -1], [200, 100])
    revenue = np.where(chosen == 0, 10.0, 30.0)
    assert targets(frames, None, chosen, revenue) == pytest.approx({"coupon": 0.25, "none": 0.75})


def test_a_discount_that_eats_its_margin_is_worth_nothing_and_never_less(frames: Frames) -> None:
    rows = frames.exposures.take(np.arange(2))
    rows.offer, rows.revenue, rows.cost = np.array([0, 1]), np.array([10.0, 10.0]), np.array([9.0, 0.0])
    _arm, weight = response.strategy_targets(frames, rows)
    assert weight[0] == 0
    assert weight[1] > 0


def after(frames: Frames, moment: int) -> Frames:
    """Return frames in which everything from a moment on has turned out differently."""
    rng = np.random.default_rng(1)
    exposures, events = frames.exposures, frames.events
    late = exposures.time >= moment
    changed = exposures.take(np.ones(len(exposures), dtype=bool))
    changed.revenue = np.where(late, rng.uniform(0, 1e5, len(late)), exposures.revenue)
    changed.offer = np.where(late, 0, exposures.offer)
    changed.redeemed = np.where(late, np.where(exposures.redeemed == NEVER, exposures.time, NEVER), exposures.redeemed)
    value = np.where(events.time >= moment, events.value * 50 + 7, events.value)
    kind = np.where(events.time >= moment, 0, events.type)
    return replace(frames, exposures=changed, events=replace(events, value=value, type=kind))


def dumps(fitted: list[Fitted]) -> Iterator[tuple[str, Any, Any]]:
    for item in fitted:
        config, arrays = item.estimator.dump()
        yield item.name, (config, item.calibrator.as_json()), arrays


def test_nothing_from_the_test_block_on_teaches_any_estimator(frames: Frames) -> None:
    """Vocabularies, preparations, rounds, weights, calibrators: all the same, whatever happens after the origin."""
    names = list(REGISTRY)
    frames.exposures.propensity[::2] = np.nan  # how often an arm was shown stands in: before the test, that is
    frames.exposures.revenue *= np.random.default_rng(0).uniform(0.5, 9.0, len(frames.exposures))
    first, test, found = backtest(pose(frames), names, seed=0, stage=silent)
    changed = after(frames, found[0].origin)
    second, other, _found = backtest(pose(changed), names, seed=0, stage=silent)
    assert len(other) > len(test)  # control rows of the last wave are offers now
    assert (other.x[:, INDEX["offer"]] == 1).all()
    for (name, config, arrays), (_name, config_after, arrays_after) in zip(dumps(first), dumps(second), strict=True):
        assert config == config_after, name
        for key, values in arrays.items():
            np.testing.assert_array_equal(values, arrays_after[key], err_msg=f"{name} {key}")
    assert test.vocabularies == other.vocabularies


def test_an_offer_that_only_the_test_block_shows_is_unknown_there(frames: Frames) -> None:
    """Codes are the training's: the new offer shares the code of the unknown, the others keep theirs."""
    exposures = frames.exposures
    early = exposures.time < milliseconds(population.wave(6))
    exposures.offer = np.where(early & (exposures.offer == 0), 1, exposures.offer)
    _fitted, test, _found = backtest(pose(frames), ["offer_mean"], seed=0, stage=silent)
    codes = {offer: set(test.x[test.rows.offer == offer, INDEX["offer"]].tolist()) for offer in range(3)}
    assert codes == {0: {0}, 1: {1}, 2: {2}}


def test_the_leakage_test_can_fail(frames: Frames) -> None:
    """The negative control: what changes before the origin does teach."""
    first, _test, found = backtest(pose(frames), ["logistic"], seed=0, stage=silent)
    changed = after(frames, found[0].origin - 1 - 7 * 24 * 3_600_000)
    second, _test, _found = backtest(pose(changed), ["logistic"], seed=0, stage=silent)
    before, now = (fit[0].estimator.dump()[1]["coefficients"] for fit in (first, second))
    assert not np.array_equal(before, now)


def test_what_ships_is_fitted_on_everything(frames: Frames) -> None:
    problem = pose(frames)
    judged, test, _found = backtest(problem, ["offer_mean", "logistic"], seed=0, stage=silent)
    shipped, vocabularies = refit(problem, judged, seed=0, stage=silent)
    assert [item.name for item in shipped] == ["offer_mean", "logistic"]
    for before, now in zip(judged, shipped, strict=True):
        assert now.calibrator is before.calibrator
        key = next(iter(now.estimator.dump()[1]))
        assert not np.array_equal(now.estimator.dump()[1][key], before.estimator.dump()[1][key])
    assert vocabularies.offers == test.vocabularies.offers


def test_figures_of_an_outcome_that_is_always_the_same_are_left_out() -> None:
    samples = planted.held_out(4000)
    p = np.random.default_rng(6).beta(2, 4, 4000)
    found = response.figures(np.repeat(p[:, None], 4, axis=1), planted.relabelled(samples, "view", 1.0), seed=0)
    assert "auc_view" not in found
    assert all(np.isfinite(values).all() for values in found.values())
