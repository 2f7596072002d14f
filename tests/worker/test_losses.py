"""Losses against their closed forms."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional

from worker.losses import calibrated_cross_entropy, masked_cross_entropy, sampled_softmax, strategy_loss


def test_the_derivative_of_the_cross_entropy() -> None:
    """At y = 1 and ŷ = .8 it is −1/.8 = −1.25, as the textbooks print it."""
    p = torch.tensor([0.8], dtype=torch.float64, requires_grad=True)
    logits = torch.log(p) - torch.log1p(-p)
    masked_cross_entropy(logits, torch.ones(1, dtype=torch.float64)).backward()
    assert p.grad is not None
    assert p.grad.item() == pytest.approx(-1.25)


def test_the_cross_entropy_is_the_mean_over_what_is_known() -> None:
    p = torch.tensor([[0.8, 0.3], [0.4, 0.9]], dtype=torch.float64)
    y = torch.tensor([[1.0, 0.0], [float("nan"), 1.0]], dtype=torch.float64)
    expected = -(math.log(0.8) + math.log(0.7) + math.log(0.9)) / 3
    assert masked_cross_entropy(torch.logit(p), y).item() == pytest.approx(expected)


def test_unknown_outcomes_teach_nothing() -> None:
    logits = torch.tensor([[0.5, -1.0]], requires_grad=True)
    loss = masked_cross_entropy(logits, torch.full((1, 2), float("nan")))
    loss.backward()
    assert loss.item() == 0
    assert logits.grad is not None
    assert logits.grad.tolist() == [[0.0, 0.0]]


def test_each_head_is_a_cross_entropy_of_its_own() -> None:
    """Two heads: those who did not buy pull the second head down, they do not maximise it (as one article has it)."""
    logits = torch.zeros(1, 2, requires_grad=True)
    masked_cross_entropy(logits, torch.tensor([[1.0, 0.0]])).backward()
    assert logits.grad is not None
    assert logits.grad[0, 0] < 0 < logits.grad[0, 1]


def minimiser(arm: torch.Tensor, weight: torch.Tensor, arms: int) -> list[float]:
    """Return the policy, the same for everybody, at which descent ends."""
    logits = torch.zeros(arms, dtype=torch.float64, requires_grad=True)
    optimiser = torch.optim.LBFGS([logits], max_iter=200, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimiser.zero_grad()
        loss = strategy_loss(logits.expand(len(arm), arms), arm, weight)
        loss.backward()
        return loss

    optimiser.step(closure)
    return torch.softmax(logits, dim=0).tolist()


def test_the_best_strategy_gives_each_arm_its_share_of_the_value() -> None:
    arm = torch.tensor([0, 1, 2, 2])
    weight = torch.tensor([3.0, 5.0, 1.0, 1.0], dtype=torch.float64)
    assert minimiser(arm, weight, 3) == pytest.approx([0.3, 0.5, 0.2], abs=1e-4)


def test_without_rows_there_is_no_loss() -> None:
    loss = strategy_loss(torch.zeros(0, 3), torch.zeros(0, dtype=torch.int64), torch.zeros(0))
    assert loss.item() == 0


def test_how_often_an_arm_was_shown_does_not_matter() -> None:
    """Shown three times of four and worth 2, against once and worth 6: weights of reward / propensity mend the log."""
    arm = torch.tensor([0, 0, 0, 1])
    weight = torch.tensor([2 / 0.75] * 3 + [6 / 0.25], dtype=torch.float64)
    assert minimiser(arm, weight, 2) == pytest.approx([2 / 8, 6 / 8], abs=1e-4)


def test_without_propensities_the_log_would_mislead() -> None:
    """The negative control: raw rewards favour what was shown most."""
    arm = torch.tensor([0, 0, 0, 1])
    assert minimiser(arm, torch.tensor([2.0, 2.0, 2.0, 6.0], dtype=torch.float64), 2) == pytest.approx([0.5, 0.5])


def test_sampled_softmax_over_the_whole_catalogue_is_the_softmax() -> None:
    """Every item drawn once: with the positive's own draw left out, it is the cross-entropy of all scores."""
    torch.manual_seed(0)
    scores = torch.randn(6, 9, dtype=torch.float64)
    target = torch.tensor([0, 3, 8, 2, 2, 5])
    positive = scores.gather(1, target[:, None]).squeeze(1)
    clash = torch.arange(9) == target[:, None]
    found = sampled_softmax(positive, scores, torch.zeros(9, dtype=torch.float64), clash)
    torch.testing.assert_close(found, functional.cross_entropy(scores, target, reduction="none"))


def test_corrected_draws_estimate_the_sum_over_the_catalogue_without_bias() -> None:
    """Drawn by any frequency, Σ exp(s − log k·q) has the mean Σ exp(s); uncorrected it has not."""
    generator = torch.Generator().manual_seed(0)
    scores = torch.randn(50, generator=generator, dtype=torch.float64)
    share = torch.rand(50, generator=generator, dtype=torch.float64) ** 3
    share /= share.sum()
    drawn = torch.multinomial(share, 20 * 4000, replacement=True, generator=generator).view(4000, 20)
    log_expected = (share * 20).log()[drawn]
    positive = torch.full((4000,), -1e9, dtype=torch.float64)
    found = sampled_softmax(positive, scores[drawn], log_expected, torch.zeros_like(drawn, dtype=torch.bool))
    assert float((found + positive).exp().mean()) == pytest.approx(float(scores.exp().sum()), rel=0.1)


@pytest.mark.parametrize(("calibration", "beta"), [(0.0, 1.0), (1.0, 0.25), (0.5, 0.625)])
def test_calibrated_cross_entropy_by_hand(calibration: float, beta: float) -> None:
    """β = α·(t·(1 − 1/α) + 1/α), at α = 1/4: 1 for t = 0, α for t = 1, and half-way between."""
    positive, negative = torch.tensor([0.3]), torch.tensor([[-0.2, 1.0, 9.0]])
    clash = torch.tensor([[False, False, True]])
    found = calibrated_cross_entropy(positive, negative, clash, rate=0.25, calibration=calibration)
    sigma = torch.sigmoid
    expected = -beta * sigma(positive).log() - (1 - sigma(negative[0, :2])).log().sum()
    torch.testing.assert_close(found, expected)
