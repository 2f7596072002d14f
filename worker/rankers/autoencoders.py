"""Variational autoencoders over the matrix of who turned to what: Mult-VAE and RecVAE.

An encoder reads a shopper's items, a part of them dropped, and says where in a latent space the shopper lies; a decoder
says from there how likely each item is. The encoder's first layer is a sum of item vectors (an embedding bag), so that
a batch costs by what happened in it; the decoder's last is the items' table, so that a score is a dot product.
Shapes: a batch of rows, its entries flat; μ and log σ² [rows, latent]; logits [rows, known items].
"""

from __future__ import annotations

import copy
import math
from abc import abstractmethod
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import torch
from scipy import sparse
from torch import Tensor, nn
from torch.nn import functional

from worker import device as devices
from worker.rankers.base import Progress
from worker.rankers.sets import Bags, Rows, SetRanker
from worker.rankers.training import within
from worker.space import Range, Space

WIDE = 10.0
"""Log variance of the widest component of RecVAE's prior."""
MIXTURE = (3 / 20, 3 / 4, 1 / 10)
"""Shares of RecVAE's prior: the standard normal, the posterior of the epoch before, the wide normal."""


class ItemSum(nn.Module):
    """The first layer: Σ over a row's items of weight · vector, plus a bias [width]."""

    def __init__(self, items: int, width: int) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.empty(items, width).normal_(std=math.sqrt(2 / (items + width))))
        self.bias = nn.Parameter(torch.zeros(width))

    def forward(self, bags: Bags, dropout: float) -> Tensor:
        summed: Tensor = functional.embedding_bag(
            bags.items, self.table, bags.offset, mode="sum", per_sample_weights=bags.weights(dropout)
        )
        return summed + self.bias


class Output(nn.Module):
    """The last layer: a vector and a bias an item."""

    def __init__(self, items: int, width: int) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.empty(items, width).normal_(std=math.sqrt(2 / (items + width))))
        self.bias = nn.Parameter(torch.zeros(items))

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.table.T + self.bias

    def rows(self) -> Tensor:
        """Return [items, width + 1]: the vectors, the biases as one more coordinate."""
        return torch.cat([self.table, self.bias[:, None]], dim=1)


class MultNetwork(nn.Module):
    """items → tanh [width] → μ, log σ² [latent] → tanh [width] → items."""

    def __init__(self, items: int, width: int, latent: int) -> None:
        super().__init__()
        self.first, self.posterior = ItemSum(items, width), nn.Linear(width, 2 * latent)
        self.decoder, self.output = nn.Linear(latent, width), Output(items, width)

    def encode(self, bags: Bags, dropout: float) -> tuple[Tensor, Tensor]:
        """Return μ and log σ²."""
        mean, log_variance = self.posterior(torch.tanh(self.first(bags, dropout))).float().chunk(2, dim=-1)
        return mean, log_variance

    def state(self, z: Tensor) -> Tensor:
        """Return what the last layer is multiplied with."""
        return torch.tanh(self.decoder(z))


class DenseEncoder(nn.Module):
    """RecVAE's encoder: five layers, each fed the sum of all before it, swish and layer norm after each."""

    def __init__(self, items: int, width: int, latent: int, layers: int = 5) -> None:
        super().__init__()
        self.first = ItemSum(items, width)
        self.layers = nn.ModuleList(nn.Linear(width, width) for _ in range(layers - 1))
        self.norms = nn.ModuleList(nn.LayerNorm(width, eps=0.1) for _ in range(layers))
        self.posterior = nn.Linear(width, 2 * latent)

    def forward(self, bags: Bags, dropout: float) -> tuple[Tensor, Tensor]:
        """Return μ and log σ²."""
        last = self.norms[0](functional.silu(self.first(bags, dropout)))
        before = torch.zeros_like(last)
        for layer, norm in zip(self.layers, list(self.norms)[1:], strict=True):
            before = before + last
            last = norm(functional.silu(layer(last) + before))
        mean, log_variance = self.posterior(last).float().chunk(2, dim=-1)
        return mean, log_variance


class RecNetwork(nn.Module):
    """The dense encoder, its copy of the epoch before, and a decoder that is nothing but the items' table."""

    def __init__(self, items: int, width: int, latent: int) -> None:
        super().__init__()
        self.encoder, self.output = DenseEncoder(items, width, latent), Output(items, latent)
        self.before = copy.deepcopy(self.encoder).requires_grad_(False)

    def encode(self, bags: Bags, dropout: float) -> tuple[Tensor, Tensor]:
        """Return μ and log σ²."""
        found: tuple[Tensor, Tensor] = self.encoder(bags, dropout)
        return found

    def state(self, z: Tensor) -> Tensor:
        """Return what the last layer is multiplied with: z itself."""
        return z

    def remember(self) -> None:
        """Make the encoder as it is the prior's posterior of before."""
        self.before.load_state_dict(self.encoder.state_dict())

    def log_prior(self, z: Tensor, bags: Bags) -> Tensor:
        """Return log of the composite prior's density, coordinate by coordinate [rows, latent]."""
        with torch.no_grad():
            mean, log_variance = self.before(bags, 0.0)
        zero = torch.zeros_like(z)
        parts = (log_normal(z, zero, zero), log_normal(z, mean, log_variance), log_normal(z, zero, zero + WIDE))
        weighted = [part + math.log(share) for part, share in zip(parts, MIXTURE, strict=True)]
        return torch.logsumexp(torch.stack(weighted), dim=0)


def log_normal(z: Tensor, mean: Tensor, log_variance: Tensor) -> Tensor:
    """Return log N(z; μ, σ²), coordinate by coordinate."""
    return -0.5 * (log_variance + math.log(2 * math.pi) + (z - mean).square() * torch.exp(-log_variance))


def normal_divergence(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Return KL(N(μ, σ²) ‖ N(0, I)) a row: −½ Σ (1 + log σ² − μ² − σ²)."""
    return -0.5 * (1 + log_variance - mean.square() - log_variance.exp()).sum(dim=-1)


def multinomial_loss(logits: Tensor, bags: Bags) -> Tensor:
    """Return −Σ log softmax over each row's own items [rows]: the multinomial likelihood."""
    own = functional.log_softmax(logits.float(), dim=-1)[bags.owner, bags.items]
    return torch.zeros(len(logits), device=logits.device).index_add(0, bags.owner, -own)


class MultLearner:
    """Steps on −log likelihood + β·KL; β grows evenly to its height over the first ``anneal`` steps."""

    def __init__(self, network: MultNetwork, ranker: MultVAE, device: torch.device, rng: np.random.Generator) -> None:
        self.network, self.ranker, self.device, self.rng, self.steps = network, ranker, device, rng, 0
        self.optimiser = torch.optim.Adam(network.parameters(), lr=ranker.learning_rate)

    def read(self, matrix: sparse.csr_matrix) -> None:
        self.rows = Rows(matrix, self.device)

    def epoch(self, tell: Progress) -> float:
        total, batches = torch.zeros((), device=self.device), -(-len(self.rows.filled) // self.ranker.batch)
        for number, bags in enumerate(self.rows.batches(self.ranker.batch, self.rng)):
            with devices.autocast(self.device):
                loss = self._loss(bags)
            self.optimiser.zero_grad()
            loss.backward()
            self.optimiser.step()
            total += loss.detach()
            self.steps += 1
            tell((number + 1) / batches)
        return float(total) / max(batches, 1)

    def _loss(self, bags: Bags) -> Tensor:
        mean, log_variance = self.network.encode(bags, self.ranker.dropout)
        logits = self.network.output(self.network.state(drawn(mean, log_variance)))
        beta = self.ranker.beta * min(1.0, self.steps / self.ranker.anneal)
        return (multinomial_loss(logits, bags) + beta * normal_divergence(mean, log_variance)).mean()


class RecLearner:
    """An epoch: the encoder learns three times from noisy rows, becomes the prior's memory, then the decoder learns."""

    def __init__(self, network: RecNetwork, ranker: RecVAE, device: torch.device, rng: np.random.Generator) -> None:
        self.network, self.ranker, self.device, self.rng = network, ranker, device, rng
        rate = ranker.learning_rate
        self.encoder = torch.optim.Adam(network.encoder.parameters(), lr=rate)
        self.decoder = torch.optim.Adam(network.output.parameters(), lr=rate)

    def read(self, matrix: sparse.csr_matrix) -> None:
        self.rows = Rows(matrix, self.device)

    def epoch(self, tell: Progress) -> float:
        rounds = self.ranker.encoder_rounds
        share = 1 / (rounds + 1)
        for number in range(rounds):
            self._round(self.encoder, self.ranker.dropout, within(tell, number * share, share))
        self.network.remember()
        return self._round(self.decoder, 0.0, within(tell, rounds * share, share))

    def _round(self, optimiser: torch.optim.Optimizer, dropout: float, tell: Progress) -> float:
        total, batches = torch.zeros((), device=self.device), -(-len(self.rows.filled) // self.ranker.batch)
        for number, bags in enumerate(self.rows.batches(self.ranker.batch, self.rng)):
            with devices.autocast(self.device):
                loss = self._loss(bags, dropout)
            self.network.zero_grad()
            loss.backward()
            optimiser.step()
            total += loss.detach()
            tell((number + 1) / batches)
        return float(total) / max(batches, 1)

    def _loss(self, bags: Bags, dropout: float) -> Tensor:
        mean, log_variance = self.network.encode(bags, dropout)
        z = drawn(mean, log_variance)
        divergence = (log_normal(z, mean, log_variance) - self.network.log_prior(z, bags)).sum(dim=-1)
        return (multinomial_loss(self.network.output(z), bags) + self.ranker.gamma * bags.size * divergence).mean()


def drawn(mean: Tensor, log_variance: Tensor) -> Tensor:
    """Return z = μ + σ·ε, ε standard normal, through which gradients reach μ and σ."""
    return mean + torch.exp(0.5 * log_variance) * torch.randn_like(mean)


@dataclass(kw_only=True, eq=False)
class Autoencoder(SetRanker):
    """What both have in common: sizes, and that a shopper's vector is the decoder's state at μ."""

    space: ClassVar[Space] = {
        **SetRanker.space,
        "width": Range(4, 2048, log=True, whole=True),
        "latent": Range(2, 1024, log=True, whole=True),
        "dropout": Range(0.0, 0.9),
    }

    width: int = 128
    latent: int = 64
    dropout: float = 0.5
    network: MultNetwork | RecNetwork = field(init=False, repr=False)

    @abstractmethod
    def _build(self, items: int) -> MultNetwork | RecNetwork: ...

    def _vectors(self, rows: Bags) -> Tensor:
        state = self.network.state(self.network.encode(rows, 0.0)[0])
        return torch.cat([state, torch.ones((len(state), 1), device=state.device)], dim=1)

    def _item_table(self) -> Tensor:
        return self.network.output.rows()


@dataclass(kw_only=True, eq=False)
class MultVAE(Autoencoder):
    """Multinomial likelihood, KL weighed by β, which grows slowly: at β = 1 the latent space says little.

    Liang et al. 2018, arXiv 1802.05814. Memory: batch · items floats; time: interactions · width + shoppers · items ·
    width an epoch.
    """

    name: ClassVar[str] = "mult_vae"
    space: ClassVar[Space] = {
        **Autoencoder.space, "beta": Range(0.0, 1.0), "anneal": Range(1, 1_000_000, log=True, whole=True),
    }  # fmt: skip

    beta: float = 0.2
    anneal: int = 2000

    def _build(self, items: int) -> MultNetwork:
        return MultNetwork(items, self.width, self.latent)

    def _learner(self, network: nn.Module, device: torch.device, rng: np.random.Generator) -> MultLearner:
        assert isinstance(network, MultNetwork)
        return MultLearner(network, self, device, rng)


@dataclass(kw_only=True, eq=False)
class RecVAE(Autoencoder):
    """Mult-VAE with a deep encoder, a linear decoder, a composite prior that remembers, and alternating updates.

    KL is weighed by γ · a row's items, so that who did much may be told apart more. Shenbin et al. 2020,
    arXiv 1912.11160. An epoch costs about five of Mult-VAE's.
    """

    name: ClassVar[str] = "rec_vae"
    space: ClassVar[Space] = {
        **Autoencoder.space, "gamma": Range(0.0, 0.1), "encoder_rounds": Range(1, 10, whole=True),
    }  # fmt: skip

    gamma: float = 0.005
    encoder_rounds: int = 3

    def _build(self, items: int) -> RecNetwork:
        return RecNetwork(items, self.width, self.latent)

    def _learner(self, network: nn.Module, device: torch.device, rng: np.random.Generator) -> RecLearner:
        assert isinstance(network, RecNetwork)
        return RecLearner(network, self, device, rng)
