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
    return functional.binary_cross_entropy_with_logits(logits[known], y[known])


def strategy_loss(arm_logits: Tensor, arm: Tensor, weight: Tensor) -> Tensor:
    """Return −Σ w·log π(arm | x) / n, with w = reward / propensity.

    Its minimum over π is π(k | x) = E[reward | x, k] / Σ E[reward | x, k']: each arm's share of the value expected
    from this shopper, estimated without bias from a randomised log (inverse propensity weighting).
    """
    if not len(arm):
        return arm_logits.sum() * 0.0
    log_policy = functional.log_softmax(arm_logits, dim=-1)
    chosen = log_policy.gather(1, arm[:, None]).squeeze(1)
    return -(weight * chosen).mean()
