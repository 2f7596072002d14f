"""Losses as pure functions."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def masked_cross_entropy(logits: Tensor, y: Tensor) -> Tensor:
    """Return the mean binary cross-entropy −[y·log σ(x) + (1 − y)·log(1 − σ(x))] over the labels that are known.

    ``y`` holds nan where a label is not defined; each head is a cross-entropy of its own.
    """
    known = ~torch.isnan(y)
    if not bool(known.any()):
        return logits.sum() * 0.0
    return functional.binary_cross_entropy_with_logits(logits[known].float(), y[known])


def strategy_loss(arm_logits: Tensor, arm: Tensor, weight: Tensor) -> Tensor:
    """Return −Σ w·log π(arm | x) / n, with w = reward / propensity.

    Its minimum over π is π(k | x) = E[reward | x, k] / Σ E[reward | x, k']: each arm's share of the value expected
    from this shopper, estimated without bias from a randomised log (inverse propensity weighting).
    """
    if not len(arm):
        return arm_logits.sum() * 0.0
    log_policy = functional.log_softmax(arm_logits.float(), dim=-1)
    chosen = log_policy.gather(1, arm[:, None]).squeeze(1)
    return -(weight * chosen).mean()


def sampled_softmax(positive: Tensor, negative: Tensor, log_expected: Tensor, clash: Tensor) -> Tensor:
    """Return −log(e^s⁺ / (e^s⁺ + Σ e^(s⁻ − log E[count]))) per row, an estimate of the full softmax's loss.

    ``positive`` [rows], ``negative`` [rows, k] are scores of k items drawn once for all rows; ``log_expected`` [k] the
    logarithm of how often each was expected among the draws (log k·q), which makes the sum an unbiased estimate of the
    sum over the catalogue; ``clash`` [rows, k] marks draws that are the row's own positive. The positive is there with
    certainty, so its own score is not corrected (Bengio and Senécal 2008).
    """
    others = (negative - log_expected).masked_fill(clash, float("-inf"))
    return torch.logsumexp(torch.cat([positive[:, None], others], dim=1), dim=1) - positive


def pairwise(positive: Tensor, negative: Tensor, clash: Tensor) -> Tensor:
    """Return the mean of −log σ(s⁺ − s⁻) over a row's draws: BPR (Rendle et al. 2009, arXiv 1205.2618).

    Shapes as in :func:`sampled_softmax`; a row whose draws all clash loses nothing.
    """
    losses = functional.softplus(negative - positive[:, None]).masked_fill(clash, 0.0)
    return losses.sum(dim=1) / (~clash).sum(dim=1).clamp(min=1)


def calibrated_cross_entropy(
    positive: Tensor, negative: Tensor, clash: Tensor, *, rate: float, calibration: float
) -> Tensor:
    """Return −β·log σ(s⁺) − Σ log(1 − σ(s⁻)) per row: gBCE, which undoes the overconfidence of sampled negatives.

    β is :func:`positive_weight` of the sampling rate α = k / (items − 1) and of the calibration t (Petrov and Macdonald
    2023, arXiv 2308.07192).
    """
    beta = positive_weight(rate, calibration)
    others = functional.softplus(negative).masked_fill(clash, 0.0).sum(dim=1)
    return beta * functional.softplus(-positive) + others


def positive_weight(rate: float, calibration: float) -> float:
    """Return gBCE's β = α·(t·(1 − 1/α) + 1/α): 1, plain cross-entropy, at t = 0, and α at t = 1."""
    return rate * (calibration * (1 - 1 / rate) + 1 / rate)
