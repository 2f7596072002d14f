"""Attribution against closed forms: where the parts of a logit are known, they are found."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from personalization.types import HEADS
from tests.worker import planted
from worker.estimators import boosting
from worker.estimators.attribution import REMAINDER, TERM, TERMS, Contributions
from worker.estimators.base import logit, sigmoid
from worker.estimators.blend import Blend
from worker.estimators.boosting import Boosting
from worker.estimators.four_part import FourPartEstimator
from worker.estimators.gradients import Part, attribute

A, B, C, S = (TERM[name] for name in ("age", "income", "tenure_days", "sequence"))
ROWS = torch.tensor([[1.0, 2.0], [-3.0, 0.5], [0.0, 0.0]])


def test_a_linear_function_gives_weight_times_distance() -> None:
    weight, usual = torch.tensor([2.0, -1.0]), torch.tensor([0.5, 0.25])
    base, values = attribute(lambda given: given[0] @ weight + 3, [ROWS], [Part([A, B], usual)])
    np.testing.assert_allclose(base, 3 + 2 * 0.5 - 0.25)
    np.testing.assert_allclose(values[:, [A, B]], ((ROWS - usual) * weight).numpy(), atol=1e-6)


def test_a_product_is_shared_equally_and_a_square_is_its_own() -> None:
    """∫ over the straight way from 0: x·y gives xy/2 to each, x² gives x² to x."""
    _base, values = attribute(
        lambda given: given[0][:, 0] * given[0][:, 1] + given[0][:, 0] ** 2, [ROWS], [Part([A, B], torch.zeros(2))]
    )
    x, y = ROWS[:, 0].numpy(), ROWS[:, 1].numpy()
    np.testing.assert_allclose(values[:, A], x * y / 2 + x**2, atol=1e-5)
    np.testing.assert_allclose(values[:, B], x * y / 2, atol=1e-5)


def test_numbers_and_codes_share_what_they_do_together() -> None:
    """f = x·g(code): the Shapley value of two players gives each half of it; columns of one term are one player."""
    codes = torch.tensor([[3, 1], [1, 1], [0, 2]])
    parts = [Part([A, B], torch.zeros(2)), Part([S, C], torch.zeros(2), codes=True)]
    base, values = attribute(lambda given: given[0][:, 0] * given[1][:, 0] + given[1][:, 1], [ROWS, codes], parts)
    np.testing.assert_allclose(base, 0.0)
    np.testing.assert_allclose(values[:, A], ROWS[:, 0] * codes[:, 0] / 2, atol=1e-5)
    np.testing.assert_allclose(values[:, S], ROWS[:, 0] * codes[:, 0] / 2, atol=1e-5)
    np.testing.assert_allclose(values[:, C], codes[:, 1], atol=1e-5)
    np.testing.assert_allclose(values[:, B], 0.0, atol=1e-6)


def test_a_gradient_that_is_cut_off_leaves_a_remainder() -> None:
    """The negative control of completeness: half of what x does is hidden from the gradient."""
    _base, values = attribute(
        lambda given: given[0][:, 0] + given[0][:, 0].detach(), [ROWS], [Part([A, B], torch.zeros(2))]
    )
    np.testing.assert_allclose(values.sum(axis=1), ROWS[:, 0])  # and not 2x


def test_the_networks_integral_converges(monkeypatch: pytest.MonkeyPatch) -> None:
    """The convergence delta of the four-part network falls with the nodes, and is small with those in use."""
    network = FourPartEstimator()
    network.fit(planted.samples(800), seed=3, progress=planted.no_progress)
    test, deltas = planted.held_out(100), []
    for steps in (2, 64):
        monkeypatch.setattr("worker.estimators.gradients.STEPS", steps)
        deltas.append(np.abs(network.explain(test, 2).values[:, TERM[REMAINDER]]).max())
    assert deltas[1] < min(deltas[0], 0.02)


def test_it_agrees_with_captum() -> None:
    captum = pytest.importorskip("captum.attr", reason="captum is not installed: nothing to compare with")
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Linear(2, 16), torch.nn.Tanh(), torch.nn.Linear(16, 1)).eval()
    usual = torch.tensor([0.3, -0.2])
    theirs = captum.IntegratedGradients(lambda x: network(x)[:, 0])
    expected = theirs.attribute(ROWS, baselines=usual.expand_as(ROWS), n_steps=64, method="gausslegendre")
    _base, values = attribute(lambda given: network(given[0])[:, 0], [ROWS], [Part([A, B], usual)])
    np.testing.assert_allclose(values[:, [A, B]], expected.numpy(), atol=1e-5)


def test_the_bags_remainder_is_the_mean_of_probabilities_less_the_mean_of_logits() -> None:
    estimator = Boosting()
    estimator.rounds = [20] * len(HEADS)
    estimator.fit(planted.samples(800), seed=1, progress=planted.no_progress)
    test, head = planted.held_out(50), 2
    raw = np.array([booster.predict(test.x, raw_score=True) for booster in estimator.boosters[head]])
    expected = logit(sigmoid(raw).mean(axis=0)) - raw.mean(axis=0)
    told = estimator.explain(test, head)
    np.testing.assert_allclose(told.values[:, TERM[REMAINDER]], expected, atol=1e-9)
    assert np.abs(expected).max() > 0
    assert len(estimator.boosters[head]) == boosting.BAG


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_a_blend_explains_the_weighted_sum_of_its_members(weight: float) -> None:
    blend = Blend()
    blend.fit(planted.samples(600), seed=1, progress=planted.no_progress)
    blend.weights = [weight] * len(HEADS)
    test = planted.held_out(20)
    first, second = (member.explain(test, 2).values for member in blend.members)
    np.testing.assert_allclose(blend.explain(test, 2).values, weight * first + (1 - weight) * second, atol=1e-9)


def test_a_calibrator_scales_every_part() -> None:
    told = Contributions(np.array([1.0]), np.full((1, len(TERMS)), 0.1)).scaled(2.0, -1.0)
    assert told.base == pytest.approx(1.0)
    np.testing.assert_allclose(told.values, 0.2)
    assert told.logits() == pytest.approx(1.0 + 0.2 * len(TERMS))
