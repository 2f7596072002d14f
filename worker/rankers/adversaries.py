"""Two networks against each other over the matrix of who turned to what: CFGAN.

A generator reads a shopper's items and says how likely each item is theirs; a discriminator, told the same items, has
to tell such a vector from the shopper's real one. By itself that game leaves alone what the shopper did not turn to:
the trivial answer, everything is theirs, would win it. So for every batch a share of the other items is drawn whose
likelihood is pulled to zero, and another that the discriminator gets to see (zero-reconstruction and partial masking,
the paper's CFGAN-ZP). Shapes: a batch of rows, its entries flat; likelihoods and masks [rows, known items].
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import torch
from scipy import sparse
from torch import Tensor, nn
from torch.nn import functional

from worker import device as devices
from worker.rankers.autoencoders import ItemSum, Output
from worker.rankers.base import Interactions, Progress
from worker.rankers.sets import Bags, Rows, SetRanker
from worker.space import Range, Space

RARE = 1e-4
"""Share of the shoppers below which the likelihood of no item starts."""


class Generator(nn.Module):
    """items → tanh [width], ``layers`` times → logits of the items.

    ``opponent`` is there during training only, so that whoever keeps the best epoch keeps both players of it.
    """

    def __init__(self, items: int, width: int, layers: int) -> None:
        super().__init__()
        self.first, self.output = ItemSum(items, width), Output(items, width)
        self.deeper = nn.ModuleList(nn.Linear(width, width) for _ in range(layers - 1))
        self.opponent: Discriminator | None
        self.register_module("opponent", None)

    def state(self, bags: Bags, dropout: float = 0.0) -> Tensor:
        """Return what the last layer is multiplied with [rows, width]."""
        found = torch.tanh(self.first(bags, dropout))
        for layer in self.deeper:
            found = torch.tanh(layer(found))
        return found

    def start_from(self, share: Tensor) -> None:
        """Let the untrained generator say how many of the shoppers turned to each item: ``share`` [items]."""
        with torch.no_grad():
            self.output.bias.copy_(torch.logit(share.clamp(RARE, 1 - RARE)))


class Discriminator(nn.Module):
    """(likelihoods, the shopper's items) → leaky ReLU [width], twice → logit of "these are the real ones".

    Likelihoods are scaled by 1/√(the shopper's items), as the items themselves are: who did much and who did little
    are judged on one scale.
    """

    def __init__(self, items: int, width: int) -> None:
        super().__init__()
        self.condition = ItemSum(items, width)
        self.claim = nn.Parameter(torch.empty(items, width).normal_(std=math.sqrt(2 / (items + width))))
        self.hidden, self.out = nn.Linear(width, width), nn.Linear(width, 1)

    def forward(self, claimed: Tensor, bags: Bags) -> Tensor:
        """Return [rows] of the likelihoods ``claimed`` [rows, items]."""
        scale = bags.size.clamp(min=1).float().rsqrt()[:, None]
        seen = functional.leaky_relu(claimed @ self.claim * scale + self.condition(bags, 0.0), 0.2)
        found: Tensor = self.out(functional.leaky_relu(self.hidden(seen), 0.2))[:, 0]
        return found


class AdversarialLearner:
    """A batch is a step of the discriminator, then one of the generator, each against the other as it is.

    The generator learns from −log D in the place of log(1 − D): the same fixed point, and a gradient where it loses.
    It starts from how many shoppers turned to each item, so that the game is about persons from the first step. Every
    ``read`` starts with fresh optimisers, since the weights may have gone back to those of an earlier epoch.
    """

    def __init__(self, network: Generator, ranker: CFGAN, device: torch.device, rng: np.random.Generator) -> None:
        items = len(network.output.bias)
        network.opponent = Discriminator(items, ranker.width).to(device)
        self.generator, self.opponent, self.ranker = network, network.opponent, ranker
        self.device, self.rng, self.begun = device, rng, False

    def read(self, matrix: sparse.csr_matrix) -> None:
        self.rows = Rows(matrix, self.device)
        if not self.begun:
            share = np.bincount(matrix.indices, minlength=matrix.shape[1]) / max(len(self.rows.filled), 1)
            self.generator.start_from(torch.tensor(share, dtype=torch.float32, device=self.device))
            self.begun = True
        own = [weight for name, weight in self.generator.named_parameters() if not name.startswith("opponent.")]
        rate = self.ranker.learning_rate
        self.by_generator = torch.optim.Adam(own, lr=rate)
        self.by_opponent = torch.optim.Adam(self.opponent.parameters(), lr=rate * self.ranker.opponent_pace)

    def epoch(self, tell: Progress) -> float:
        total, batches = torch.zeros((), device=self.device), -(-len(self.rows.filled) // self.ranker.batch)
        for number, bags in enumerate(self.rows.batches(self.ranker.batch, self.rng)):
            real = torch.zeros(len(bags.size), len(self.generator.output.bias), device=self.device)
            real[bags.owner, bags.items] = 1.0
            self._step_of_opponent(real, bags)
            total += self._step_of_generator(real, bags)
            tell((number + 1) / batches)
        return float(total) / max(batches, 1)

    def _step_of_opponent(self, real: Tensor, bags: Bags) -> None:
        with torch.no_grad():
            made = self._likely(bags) * self._mask(real)
        with devices.autocast(self.device):
            truth, claim = self.opponent(real, bags).float(), self.opponent(made, bags).float()
        loss = (functional.softplus(-truth) + functional.softplus(claim)).mean()
        self.by_opponent.zero_grad()
        loss.backward()
        self.by_opponent.step()

    def _step_of_generator(self, real: Tensor, bags: Bags) -> Tensor:
        likely = self._likely(bags)
        with devices.autocast(self.device):
            believed = self.opponent(likely * self._mask(real), bags).float()
        absent = (1 - real) * (torch.rand_like(real) < self.ranker.zero_share)
        zeros = (likely.square() * absent).sum(dim=-1)
        loss = (functional.softplus(-believed) + self.ranker.zero_weight * zeros).mean()
        self.by_generator.zero_grad()
        loss.backward()
        self.by_generator.step()
        return loss.detach()

    def _likely(self, bags: Bags) -> Tensor:
        """Return the generator's likelihoods [rows, items], of rows that have lost a share of their items."""
        with devices.autocast(self.device):
            logits = self.generator.output(self.generator.state(bags, self.ranker.dropout))
        return torch.sigmoid(logits.float())

    def _mask(self, real: Tensor) -> Tensor:
        """Return what the opponent gets to see [rows, items]: the shopper's own items and a share of the others."""
        return torch.maximum(real, (torch.rand_like(real) < self.ranker.mask_share).float())


@dataclass(kw_only=True, eq=False)
class CFGAN(SetRanker):
    """A generator that a discriminator cannot tell from a shopper's real vector, given the same shopper.

    Chae et al. 2018 (CIKM), the variant with zero-reconstruction (``zero_share`` of the other items, weighed by
    ``zero_weight``) and partial masking (``mask_share``). A discriminator that learns as fast as the generator wins and
    teaches nothing more, so it learns at ``opponent_pace`` of the rate. For the first few epochs the late rank falls
    while the game finds its balance: patience is longer than the autoencoders'. Memory: several times batch · items
    floats, and training holds four tables of items · width; time: three times shoppers · items · width an epoch.
    """

    name: ClassVar[str] = "cfgan"
    space: ClassVar[Space] = {
        **SetRanker.space,
        "width": Range(4, 2048, log=True, whole=True),
        "layers": Range(1, 4, whole=True),
        "dropout": Range(0.0, 0.9),
        "zero_share": Range(0.0, 1.0),
        "mask_share": Range(0.0, 1.0),
        "zero_weight": Range(0.0, 10.0),
        "opponent_pace": Range(0.01, 1.0, log=True),
    }

    patience: int = 8
    batch: int = 64
    width: int = 128
    layers: int = 1
    dropout: float = 0.0
    zero_share: float = 0.5
    mask_share: float = 0.1
    zero_weight: float = 0.1
    opponent_pace: float = 0.1
    network: Generator = field(init=False, repr=False)

    def _build(self, items: int) -> Generator:
        return Generator(items, self.width, self.layers)

    def _learner(self, network: nn.Module, device: torch.device, rng: np.random.Generator) -> AdversarialLearner:
        assert isinstance(network, Generator)
        return AdversarialLearner(network, self, device, rng)

    def _learn(self, past: Interactions, now: int, seed: int, progress: Progress) -> None:
        super()._learn(past, now, seed, progress)
        self.network.opponent = None  # it has done its work: no file carries it

    def _vectors(self, rows: Bags) -> Tensor:
        state = self.network.state(rows)
        return torch.cat([state, torch.ones((len(state), 1), device=state.device)], dim=1)

    def _item_table(self) -> Tensor:
        return self.network.output.rows()
