"""Estimators that learn what the matrix adds to the mean of earlier launches.

Full-batch Adam on the beta-binomial likelihood of past launches. The network says how far a launch's expected rate lies
from its kind's mean; the same offer's own launches are drawn towards that, as the shrunk mean draws them towards the
kind's. In training a launch's kind and offer are known by their other launches only.

The precision that is told is not the one found in training, which knows its launches: it is chosen on launches that
were left out, a third at a time.
"""

from __future__ import annotations

from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor, nn

from personalization.features.frames import Floats
from personalization.features.launches import AT, COLUMNS, EARLIER_KIND, EARLIER_OFFER, TOPICS, Launches
from worker import device as devices
from worker.artifacts import Arrays
from worker.attractiveness.base import Explanation, Prediction, likeliest_precision
from worker.attractiveness.mean import CODES, ShrunkMean, Standing, drawn
from worker.attractiveness.networks import Cnn, Linear
from worker.estimators.base import logit

FOLDS = 3
EPOCHS = 40
STEPS_OF_PATH = 32


class Learnt:
    """A network on standardised columns; the subclass says which, and how wide its weights' normal prior is."""

    name: ClassVar[str]
    network_class: ClassVar[type[nn.Module]]
    learning_rate: ClassVar[float]
    width: ClassVar[float]

    def __init__(self) -> None:
        self.start, self.precision = ShrunkMean(), 2.0
        self.mean, self.scale = np.zeros(len(COLUMNS)), np.ones(len(COLUMNS))
        self.seen = np.zeros((2, len(COLUMNS)))
        self.network: nn.Module = self.network_class(len(COLUMNS))

    def fit(self, launches: Launches, *, seed: int) -> None:
        fold = np.random.default_rng(seed).permutation(len(launches)) % min(FOLDS, len(launches))
        told = np.zeros(len(launches))
        for left_out in range(fold.max() + 1):
            away = fold == left_out
            self._fit(launches.take(~away), seed=seed)
            told[away] = self._mean_of(launches.take(away))
        self.precision = likeliest_precision(launches, told)
        self._fit(launches, seed=seed)

    def _fit(self, launches: Launches, *, seed: int) -> None:
        devices.seed_all(seed)
        flat = launches.x.reshape(-1, len(COLUMNS))
        self.mean, spread = flat.mean(axis=0), flat.std(axis=0)
        self.seen = np.stack([flat.min(axis=0), flat.max(axis=0)])
        self.scale = np.where(spread > 1e-6, spread, np.inf)  # a constant column says nothing
        self.start, self.network = ShrunkMean(), self.network_class(len(COLUMNS))
        standing = self.start.fit_leaving_out(launches)
        log_precision = nn.Parameter(torch.tensor(4.0))
        weights = list(self.network.parameters())
        optimiser = torch.optim.Adam([*weights, log_precision], lr=self.learning_rate)
        x = self._standardised(launches)
        k, n = (torch.tensor(values, dtype=torch.float64) for values in (launches.responded, launches.shown))
        self.network.train()
        for _ in range(EPOCHS):
            optimiser.zero_grad()
            size = torch.stack([weight.square().sum() for weight in weights]).sum()
            loss = _surprise(_mean(standing, self.network(x)), log_precision, k, n)
            (loss + size / (2 * self.width**2 * len(launches))).backward()
            optimiser.step()
        self.network.eval()

    def _standardised(self, launches: Launches) -> Tensor:
        """Return columns near unit scale. Beyond what the training has seen a column says no more than at its edge."""
        x = (np.clip(launches.x, *self.seen) - self.mean) / self.scale
        return torch.tensor(x, dtype=torch.float32)

    def _mean_of(self, launches: Launches) -> Floats:
        with torch.no_grad():
            told = _mean(self.start.standing(launches), self.network(self._standardised(launches)))
        mean: Floats = told.numpy()
        return mean

    def predict(self, launches: Launches) -> Prediction:
        return Prediction(self._mean_of(launches), np.full(len(launches), self.precision))

    def explain(self, launches: Launches) -> Explanation:
        """Return integrated gradients along the way from the average launch, summed over steps, by topic.

        They explain the expected rate; from there the offer's own launches take another step. What the path's finite
        steps leave over is shared in proportion, so that the parts add up.
        """
        x, kind = self._standardised(launches), self.start.kinds[launches.kind]
        parts, shift = self._along_the_path(x)
        values = np.stack([parts[:, [AT[name] for name in topic.columns]].sum(axis=1) for topic in TOPICS], axis=1)
        with torch.no_grad():
            told = self.network(x).double().numpy()
        size = np.abs(values)
        total = size.sum(axis=1, keepdims=True)
        left = told - shift - values.sum(axis=1)
        values += left[:, None] * np.where(total > 0, size / np.maximum(total, 1e-12), 1 / len(TOPICS))
        overall = float(logit(np.array([self.start.overall]))[0])
        values[:, CODES.index(EARLIER_KIND)] += logit(kind) - overall
        values[:, CODES.index(EARLIER_OFFER)] += logit(self._mean_of(launches)) - logit(kind) - told
        return Explanation(np.full(len(launches), overall + shift), values)

    def _along_the_path(self, x: Tensor) -> tuple[Floats, float]:
        """Return [launches, columns] integrated gradients, and what the network says of the average launch."""
        gradients = torch.zeros_like(x)
        for share in (np.arange(STEPS_OF_PATH) + 0.5) / STEPS_OF_PATH:
            at = (x * float(share)).requires_grad_(True)
            (gradient,) = torch.autograd.grad(self.network(at).sum(), at)
            gradients += gradient / STEPS_OF_PATH
        shift = float(self.network(torch.zeros_like(x[:1])).detach())
        return (gradients * x).sum(dim=1).double().numpy(), shift

    def dump(self) -> tuple[dict[str, Any], Arrays]:
        weights = {f"network/{name}": value.numpy() for name, value in self.network.state_dict().items()}
        config, start = self.start.dump()
        arrays = {"mean": self.mean, "scale": self.scale, "seen": self.seen, **weights}
        arrays |= {f"start/{name}": value for name, value in start.items()}
        return {"start": config, "precision": self.precision}, arrays

    @classmethod
    def restore(cls, config: dict[str, Any], arrays: Arrays) -> Self:
        found = cls()
        found.start = ShrunkMean.restore(config["start"], _under("start/", arrays))
        found.precision = config["precision"]
        found.mean, found.scale, found.seen = arrays["mean"], arrays["scale"], arrays["seen"]
        weights = {key: torch.tensor(value) for key, value in _under("network/", arrays).items()}
        found.network.load_state_dict(weights)
        found.network.eval()
        return found


class LaunchLinear(Learnt):
    """Beta-binomial regression on the columns' means over the steps."""

    name: ClassVar[str] = "linear"
    network_class: ClassVar[type[nn.Module]] = Linear
    learning_rate: ClassVar[float] = 0.04
    width: ClassVar[float] = 0.15


class LaunchCnn(Learnt):
    """A small 1-D CNN along the steps of the launch."""

    name: ClassVar[str] = "cnn"
    network_class: ClassVar[type[nn.Module]] = Cnn
    learning_rate: ClassVar[float] = 0.02
    width: ClassVar[float] = 0.2


def _under(prefix: str, arrays: Arrays) -> Arrays:
    return {key.removeprefix(prefix): value for key, value in arrays.items() if key.startswith(prefix)}


def _mean(standing: Standing, away: Tensor) -> Tensor:
    """Return launches' rates, ``away`` from their kinds' by so much log-odds; never 0 or 1: nothing is certain."""
    kind, hits, weight = (torch.tensor(each) for each in (logit(standing.kind), standing.hits, standing.weight))
    told = drawn(hits, weight, torch.sigmoid(kind + away.double()), standing.to_kind)
    return told.clamp(1e-5, 1 - 1e-5)


def _surprise(p: Tensor, log_precision: Tensor, k: Tensor, n: Tensor) -> Tensor:
    """Return the mean negative log-likelihood; the binomial coefficient is left out, as it teaches nothing."""
    precision = log_precision.clamp(0.0, 10.0).exp()
    a, b = p * precision, (1 - p) * precision
    told = _betaln(k + a, n - k + b) - _betaln(a, b)
    return -told.mean()


def _betaln(a: Tensor, b: Tensor) -> Tensor:
    return torch.lgamma(a) + torch.lgamma(b) - torch.lgamma(a + b)
