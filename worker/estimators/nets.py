"""Torch networks over all columns as response estimators: one family, named by how columns interact.

Trained on the outcomes that are known, all heads at once. The fit that keeps shoppers back to stop by also measures
what each column is worth to it; a fit that reuses those epochs learns from everybody.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from personalization.features.compute import KINDS
from personalization.features.frames import STREAM_TYPES, Floats
from personalization.features.preparation import Preparation
from personalization.features.specification import CATEGORICAL, NAMES
from personalization.types import HEADS
from worker import device as devices
from worker.artifacts import Arrays
from worker.data import SEQUENCE_LENGTH, Samples
from worker.estimators.attribution import SEQUENCE, TERM, Contributions, owners
from worker.estimators.base import Progress, learnable, logit, prior, sigmoid
from worker.estimators.gradients import Part, attribute
from worker.estimators.training import Batch, Recipe, guessed_right, in_blocks, keep_back, learn, learn_again
from worker.losses import masked_cross_entropy
from worker.networks.four_part import SequenceEncoder
from worker.networks.interactions import Interaction, InteractionNetwork, Shape, Sharing
from worker.space import Choice, Range, Space, check

MOST_PERMUTED = 2000


@dataclass(kw_only=True, eq=False)
class Net:
    """A multilayer perceptron and, by ``interaction``, a factorisation machine or cross layers beside it.

    ``sharing`` says how the heads share it: one deep part, or experts that each head mixes by a gate of its own.
    ``sequence`` lets an LSTM read the last events as well.
    """

    name: ClassVar[str]
    space: ClassVar[Space] = {
        "interaction": Choice(("dnn", "deepfm", "dcnv2")),
        "sharing": Choice(("shared", "mmoe")),
        "sequence": Choice((False, True)),
        "width": Range(4, 1024, log=True, whole=True),
        "layers": Range(1, 6, whole=True),
        "crosses": Range(1, 6, whole=True),
        "rank": Range(1, 512, log=True, whole=True),
        "embedding": Range(1, 128, log=True, whole=True),
        "experts": Range(1, 32, whole=True),
        "dropout": Range(0, 0.9),
        "batch": Range(16, 65_536, log=True, whole=True),
        "learning_rate": Range(1e-5, 1e-1, log=True),
        "weight_decay": Range(0, 1),
    }

    identity: ClassVar[frozenset[str]] = frozenset({"interaction", "sharing"})

    interaction: Interaction = "dnn"
    sharing: Sharing = "shared"
    sequence: bool = False
    width: int = 64
    layers: int = 2
    crosses: int = 2
    rank: int = 32
    embedding: int = 8
    experts: int = 4
    dropout: float = 0.1
    batch: int = 512
    learning_rate: float = 3e-3
    weight_decay: float = 1e-3

    network: InteractionNetwork = field(init=False, repr=False)
    preparation: Preparation = field(init=False, repr=False, default=Preparation(()))
    sizes: list[int] = field(init=False, repr=False, default_factory=list)
    categories: int = field(init=False, repr=False, default=0)
    priors: list[float] = field(init=False, repr=False, default_factory=lambda: [0.0] * len(HEADS))
    learnt: list[bool] = field(init=False, repr=False, default_factory=lambda: [False] * len(HEADS))
    epochs: int = field(init=False, repr=False, default=0)
    curves: list[dict[str, float]] = field(init=False, repr=False, default_factory=list)
    shares: dict[str, float] = field(init=False, repr=False, default_factory=dict)

    def __post_init__(self) -> None:
        check(self.name, self.space, self.settings)

    @property
    def settings(self) -> dict[str, Any]:
        """The hyper-parameters in force."""
        return {each.name: getattr(self, each.name) for each in fields(self) if each.init}

    def reuse(self, other: Net) -> None:
        """Take over the epochs that another fit has found best on nearly the same rows, with its curves and shares."""
        self.epochs, self.curves, self.shares = other.epochs, list(other.curves), dict(other.shares)

    def fit(self, samples: Samples, *, seed: int, progress: Progress) -> None:
        generator = devices.seed_all(seed)
        device = devices.pick()
        sizes = samples.vocabularies.sizes()
        self.sizes = [sizes[NAMES[position]] for position in CATEGORICAL]
        self.categories = len(samples.vocabularies.categories) + 1
        self.preparation = Preparation.fit(samples.x)
        self.priors = [prior(samples.y[:, head]) for head in range(len(HEADS))]
        self.learnt = [learnable(samples.y[:, head]) for head in range(len(HEADS))]
        self.network = self._build()
        self.network.start_from(logit(np.array(self.priors)).tolist())
        self.network.to(device)
        y = np.where(self.learnt, samples.y, np.nan)
        rows = [tensor.to(device) for tensor in (*self._inputs(samples), torch.tensor(y, dtype=torch.float32))]
        recipe = Recipe(learning_rate=self.learning_rate, weight_decay=self.weight_decay, batch=self.batch)
        if self.epochs:
            learn_again(
                self.network, self._loss, rows, self.epochs, recipe=recipe, generator=generator, progress=progress
            )
        else:
            taught, watched = ([tensor[mask] for tensor in rows] for mask in keep_back(samples, seed))
            course = learn(
                self.network, self._loss, taught, watched, recipe=recipe, generator=generator, progress=progress
            )
            self.epochs, self.curves = course.epochs, course.curves
            self.shares = self._permuted(watched, generator)
        self.network.complete(rows[1])
        self.network.to("cpu").eval()

    def _build(self) -> InteractionNetwork:
        shape = Shape(
            numeric=self.preparation.width, codes=tuple(self.sizes), heads=len(HEADS), embedding=self.embedding,
            width=self.width, layers=self.layers, crosses=self.crosses, rank=self.rank, experts=self.experts,
            dropout=self.dropout,
        )  # fmt: skip
        encoder = SequenceEncoder(len(STREAM_TYPES) + 1, self.categories, len(KINDS) + 1) if self.sequence else None
        return InteractionNetwork(shape, self.interaction, self.sharing, encoder)

    def _inputs(self, samples: Samples) -> Batch:
        codes = np.nan_to_num(samples.x[:, CATEGORICAL]).astype(np.int64)
        return [
            torch.tensor(self.preparation.transform(samples.x), dtype=torch.float32),
            torch.tensor(np.clip(codes, 0, np.array(self.sizes) - 1)),
            torch.tensor(samples.sequence if self.sequence else samples.sequence[:, :0]),
        ]

    def _loss(self, batch: Batch) -> tuple[Tensor, float]:
        *inputs, y = batch
        logits = self.network(*inputs)
        return masked_cross_entropy(logits, y), guessed_right(logits, y)

    @torch.no_grad()
    def _permuted(self, watched: Batch, generator: torch.Generator) -> dict[str, float]:
        """Return by how much the watched loss rises as one column's values change places among the rows, as shares.

        A column's flag moves with it. What does not help counts nothing; columns that say the same share their worth.
        """
        self.network.eval()
        order = torch.randperm(len(watched[0]), generator=generator)[:MOST_PERMUTED].to(watched[0].device)
        rows = [tensor[order] for tensor in watched]
        base = float(self._loss(rows)[0])
        rises: dict[str, float] = {}
        for name, (part, columns) in self._places().items():
            moved = rows[part].clone()
            moved[:, columns] = moved.roll(1, 0)[:, columns]  # the rows stand in an order drawn by chance
            rises[name] = max(float(self._loss([*rows[:part], moved, *rows[part + 1 :]])[0]) - base, 0.0)
        total = sum(rises.values()) or 1.0
        return {name: rise / total for name, rise in rises.items()}

    def _places(self) -> dict[str, tuple[int, list[int]]]:
        """Return where each column enters: which of the inputs, at which positions."""
        found: dict[str, tuple[int, list[int]]] = {}
        for place, name in enumerate(self.preparation.names()):
            found.setdefault(name.removesuffix("_missing"), (0, []))[1].append(place)
        found |= {NAMES[position]: (1, [place]) for place, position in enumerate(CATEGORICAL)}
        if self.sequence:
            found[SEQUENCE] = (2, list(range(SEQUENCE_LENGTH)))
        return found

    @torch.no_grad()
    def score(self, samples: Samples) -> Floats:
        logits: list[NDArray[np.float32]] = [self.network(*self._inputs(block)).numpy() for block in in_blocks(samples)]
        if not logits:
            return np.zeros((0, len(HEADS)))
        return np.where(self.learnt, sigmoid(np.concatenate(logits).astype(np.float64)), self.priors)

    def explain(self, samples: Samples, head: int) -> Contributions:
        """Return integrated gradients from the mean of the prepared numbers, codes unknown and no events."""
        p = self.score(samples)[:, head]
        if not self.learnt[head] or not len(samples):
            return Contributions.nothing(p)
        numbers = self.preparation.names()
        inputs = self._inputs(samples)
        parts = [
            Part(owners(numbers), torch.zeros(len(numbers))),
            Part(list(CATEGORICAL), torch.zeros(len(CATEGORICAL)), codes=True),
        ]
        fields = inputs[-1].shape[-1]
        parts.append(Part([TERM[SEQUENCE]] * fields, torch.zeros(fields), codes=True))
        base, values = attribute(lambda given: self.network(*given)[:, head], inputs, parts)
        return Contributions.settled(base, values, p)

    def importances(self) -> dict[str, float]:
        """Return permutation importances on the watched shoppers; see ``_permuted``."""
        return self.shares

    def dump(self) -> tuple[dict[str, Any], Arrays]:
        config = {
            "settings": self.settings,
            "preparation": self.preparation.as_json(),
            "sizes": self.sizes,
            "categories": self.categories,
            "priors": self.priors,
            "learnt": self.learnt,
            "epochs": self.epochs,
            "curves": self.curves,
            "shares": self.shares,
        }
        return config, {key: value.numpy() for key, value in self.network.state_dict().items()}

    @classmethod
    def restore(cls, config: dict[str, Any], arrays: Arrays) -> Self:
        made = cls(**config["settings"])
        made.preparation = Preparation.from_json(config["preparation"])
        made.sizes, made.categories, made.epochs = config["sizes"], config["categories"], config["epochs"]
        made.priors, made.learnt = config["priors"], config["learnt"]
        made.curves, made.shares = config["curves"], config["shares"]
        made.network = made._build()
        made.network.load_state_dict({key: torch.tensor(value) for key, value in arrays.items()})
        made.network.eval()
        return made


@dataclass(kw_only=True, eq=False)
class DNN(Net):
    name: ClassVar[str] = "dnn"


@dataclass(kw_only=True, eq=False)
class DeepFM(Net):
    name: ClassVar[str] = "deepfm"
    interaction: Interaction = "deepfm"


@dataclass(kw_only=True, eq=False)
class DCNv2(Net):
    name: ClassVar[str] = "dcnv2"
    interaction: Interaction = "dcnv2"


@dataclass(kw_only=True, eq=False)
class MMoE(Net):
    name: ClassVar[str] = "mmoe"
    interaction: Interaction = "dcnv2"
    sharing: Sharing = "mmoe"


NETS: tuple[type[Net], ...] = (DNN, DeepFM, DCNv2, MMoE)
