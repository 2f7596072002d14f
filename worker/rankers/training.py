"""What rankers that learn by gradients share: a late slice that finds the best epoch, and weights as named arrays."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from personalization.features.frames import Ints
from worker.rankers.base import Progress, silent

if TYPE_CHECKING:
    from worker.artifacts import Arrays

LATE_SHARE = 0.1
FEW_LATE = 20
Epoch = Callable[[Progress], float]
"""Goes through the data once, tells how far it is, returns the mean loss."""


def late(time: Ints, eligible: NDArray[np.bool_]) -> NDArray[np.bool_] | None:
    """Return which of the eligible are the latest tenth by time; None where they are too few.

    Chance, the same each time, decides among those of the moment at which the tenth begins: where times are coarse
    (days, or places in a sequence) that moment may hold a good part of everything.
    """
    candidates = np.random.default_rng(0).permutation(np.flatnonzero(eligible))
    many = round(len(candidates) * LATE_SHARE)
    if many < FEW_LATE:
        return None
    found = np.zeros(len(time), dtype=bool)
    found[candidates[np.argsort(time[candidates], kind="stable")[-many:]]] = True
    return found


def more_epochs(best: int) -> int:
    """Return how often to go through everything after the best epoch on what is early: a tenth as often, or once."""
    return max(1, round(best * LATE_SHARE))


def patient_epochs(patience: int, patient_steps: int, steps: int) -> int:
    """Return how many epochs of so many steps may bring nothing better: ``patience``, but ``patient_steps`` at least.

    Where there is little data an epoch is a few steps, and a few of those tell nothing.
    """
    return max(patience, -(-patient_steps // max(steps, 1)))


def until_no_better(
    network: nn.Module,
    epoch: Epoch,
    judge: Callable[[], float],
    curves: list[dict[str, float]],
    *,
    epochs: int,
    patience: int,
    progress: Progress = silent,
) -> int:
    """Train until ``patience`` epochs have brought no better late rank; leave the best weights, return their epoch.

    ``judge`` returns the mean reciprocal rank on the late slice; ``curves`` gains a row an epoch.
    """
    best, best_rank, kept = 0, -1.0, _copy(network)
    for number in range(epochs):
        loss = epoch(within(progress, number / epochs, 1 / epochs))
        rank = judge()
        curves.append({"loss": loss, "late_mrr": rank})
        if rank > best_rank:
            best, best_rank, kept = number + 1, rank, _copy(network)
        elif number + 1 - best >= patience:
            break
    network.load_state_dict(kept)
    return best


def within(progress: Progress, low: float, share: float) -> Progress:
    """Return a progress that fills one share of another's way, from ``low`` on."""
    return lambda done: progress(low + share * done)


def _copy(network: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in network.state_dict().items()}


def packed_weights(network: nn.Module) -> Arrays:
    """Return a network's weights as named arrays."""
    return {f"network/{name}": value.cpu().numpy() for name, value in network.state_dict().items()}


def load_weights(network: nn.Module, arrays: Arrays) -> None:
    """Take back the weights that were packed; the network scores from here on."""
    own = {key.removeprefix("network/"): value for key, value in arrays.items() if key.startswith("network/")}
    network.load_state_dict({key: torch.tensor(value) for key, value in own.items()})
    network.eval()
