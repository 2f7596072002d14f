"""How response networks learn: AdamW on shuffled batches, shoppers kept back to stop by, curves epoch by epoch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from worker import device as devices
from worker.data import Samples
from worker.estimators.base import Progress, shopper_split

EPOCHS = 15
"""The most epochs; most trainings stop earlier."""
PATIENCE = 3
LEAST_GAIN = 1e-4
"""An epoch is better only if the watched loss falls by more than this."""
WATCHED_SHARE = 0.15
MOST_NORM = 1.0
SCORED_AT_ONCE = 8192

Batch = list[Tensor]
"""The network's inputs and targets, each with one row a sample."""
Loss = Callable[[Batch], tuple[Tensor, float]]
"""Returns the mean loss of a batch, to be minimised, and the share of known labels that are guessed right."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """The optimiser's settings; weight decay is AdamW's, apart from the gradient."""

    learning_rate: float = 3e-3
    weight_decay: float = 1e-3
    batch: int = 512


@dataclass(slots=True)
class Course:
    """How a training went: its curves, an entry an epoch, and how many epochs the weights kept have seen."""

    curves: list[dict[str, float]]
    epochs: int


def keep_back(samples: Samples, seed: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return masks of the rows to learn from and to stop by: 15 % of the shoppers are watched, not taught.

    Where there are too few shoppers to keep any of them back, both hold all rows.
    """
    watched = shopper_split(samples.rows.shopper, WATCHED_SHARE, seed)
    if not watched.any() or watched.all():
        watched = np.ones(len(samples), dtype=bool)
        return watched, watched
    return ~watched, watched


def learn(
    network: nn.Module,
    loss: Loss,
    taught: Batch,
    watched: Batch,
    *,
    recipe: Recipe,
    generator: torch.Generator,
    progress: Progress,
) -> Course:
    """Train until ``PATIENCE`` epochs have not lowered the watched loss; leave the best epoch's weights."""
    optimiser = _optimiser(network, recipe)
    kept, least, best = _copy(network), float("inf"), 0
    curves: list[dict[str, float]] = []
    for number in range(1, EPOCHS + 1):
        train_loss = _epoch(network, loss, taught, optimiser, recipe.batch, generator)
        network.eval()
        with torch.no_grad():
            found, accuracy = loss(watched)
        curves.append({"train_loss": train_loss, "watch_loss": found.item(), "watch_accuracy": accuracy})
        if found.item() < least - LEAST_GAIN:
            kept, least, best = _copy(network), found.item(), number
        elif number - best >= PATIENCE:
            break
        progress(number / EPOCHS)
    network.load_state_dict(kept)
    progress(1.0)
    return Course(curves, best)


def learn_again(
    network: nn.Module,
    loss: Loss,
    taught: Batch,
    epochs: int,
    *,
    recipe: Recipe,
    generator: torch.Generator,
    progress: Progress,
) -> None:
    """Train for as many epochs as an earlier training has found best, with nobody kept back."""
    optimiser = _optimiser(network, recipe)
    for number in range(1, epochs + 1):
        _epoch(network, loss, taught, optimiser, recipe.batch, generator)
        progress(number / epochs)
    progress(1.0)


def guessed_right(logits: Tensor, y: Tensor) -> float:
    """Return the share of known labels on whose side of one half the prediction lies; 0 where none is known."""
    known = ~torch.isnan(y)
    right = ((logits > 0) == (y > 0.5))[known]
    return float(right.float().mean()) if bool(known.any()) else 0.0


def in_blocks(samples: Samples) -> Iterator[Samples]:
    """Yield the rows a block at a time: what scoring holds in memory does not grow with them."""
    for start in range(0, len(samples), SCORED_AT_ONCE):
        yield samples.take(np.arange(start, min(start + SCORED_AT_ONCE, len(samples))))


def _optimiser(network: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    return torch.optim.AdamW(network.parameters(), lr=recipe.learning_rate, weight_decay=recipe.weight_decay)


def _epoch(
    network: nn.Module,
    loss: Loss,
    taught: Batch,
    optimiser: torch.optim.Optimizer,
    size: int,
    generator: torch.Generator,
) -> float:
    """Go through the rows once, in an order drawn anew; return their mean loss."""
    network.train()
    total, count = 0.0, len(taught[0])
    for chunk in torch.randperm(count, generator=generator).split(size):
        rows = [tensor[chunk.to(tensor.device)] for tensor in taught]
        with devices.autocast(rows[0].device):
            found = loss(rows)[0]
        optimiser.zero_grad()
        found.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), MOST_NORM)
        optimiser.step()
        total += found.item() * len(chunk)
    return total / max(count, 1)


def _copy(network: nn.Module) -> dict[str, Tensor]:
    return {name: value.detach().clone() for name, value in network.state_dict().items()}
