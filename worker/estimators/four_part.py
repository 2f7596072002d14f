"""The four-part torch network as a response estimator, and as the source of the strategy."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray

from personalization.features.compute import KINDS
from personalization.features.frames import STREAM_TYPES, Floats, Ints
from personalization.features.preparation import Preparation
from personalization.features.specification import FEATURES, INDEX
from personalization.types import HEADS, NO_OFFER
from worker import device as devices
from worker.artifacts import Arrays
from worker.data import Samples
from worker.estimators.attribution import SEQUENCE, TERM, Contributions, owners
from worker.estimators.base import EPSILON, Progress, learnable, prior
from worker.estimators.gradients import Part, attribute
from worker.estimators.training import Recipe, guessed_right, in_blocks, keep_back, learn
from worker.losses import masked_cross_entropy, strategy_loss
from worker.networks.four_part import FourPart, SequenceEncoder, Widths
from worker.space import Range, Space, check

ARMS = (*KINDS, NO_OFFER)
OF_OFFER = ("same_", "kind_", "category_share", "text_match")
BEHAVIOUR = [
    feature.name
    for feature in FEATURES
    if feature.group in {"behaviour", "history", "taste"} and not feature.name.startswith(OF_OFFER)
]
ATTRIBUTES = [f.name for f in FEATURES if f.group in {"profile", "context"}]
OFFER = [f.name for f in FEATURES if f.name not in {*BEHAVIOUR, *ATTRIBUTES}]
STRATEGY_WEIGHT = 0.2


@dataclass(kw_only=True, eq=False)
class FourPartEstimator:
    """Trains with AdamW, early stopping on 15 % of the shoppers; keeps the best epoch and the curves.

    ``width`` is that of behaviour, fusion and the events' LSTM, half that of the effect. What the strategy's loss
    counts beside the effects' is no setting: a search, which is judged by the effects, would take it away.
    """

    name: ClassVar[str] = "four_part"
    space: ClassVar[Space] = {
        "width": Range(4, 512, log=True, whole=True),
        "dropout": Range(0, 0.9),
        "batch": Range(16, 65_536, log=True, whole=True),
        "learning_rate": Range(1e-5, 1e-1, log=True),
        "weight_decay": Range(0, 1),
    }

    width: int = 32
    dropout: float = 0.1
    batch: int = 512
    learning_rate: float = 3e-3
    weight_decay: float = 1e-3

    network: FourPart | None = field(init=False, repr=False, default=None)
    sizes: dict[str, int] = field(init=False, repr=False, default_factory=dict)
    preparations: dict[str, Preparation] = field(init=False, repr=False, default_factory=dict)
    priors: list[float] = field(init=False, repr=False, default_factory=lambda: [0.0] * len(HEADS))
    learnt: list[bool] = field(init=False, repr=False, default_factory=lambda: [False] * len(HEADS))
    curves: list[dict[str, float]] = field(init=False, repr=False, default_factory=list)
    arms_seen: list[str] = field(init=False, repr=False, default_factory=list)
    weights: tuple[Ints, Floats] | None = field(init=False, repr=False, default=None)
    usual: list[list[float]] = field(init=False, repr=False, default_factory=list)

    def __post_init__(self) -> None:
        check(self.name, self.space, self.settings)

    @property
    def settings(self) -> dict[str, Any]:
        """The hyper-parameters in force."""
        return {each.name: getattr(self, each.name) for each in fields(self) if each.init}

    def with_strategy(self, arm: Ints, weight: Floats) -> Self:
        """Give every sample its arm (position in ARMS) and its reward / propensity, to train the strategy on."""
        self.weights = (arm, weight)
        return self

    def fit(self, samples: Samples, *, seed: int, progress: Progress) -> None:
        generator = devices.seed_all(seed)
        device = devices.pick()
        self.sizes = samples.vocabularies.sizes() | {"category": len(samples.vocabularies.categories) + 1}
        self.priors = [prior(samples.y[:, head]) for head in range(len(HEADS))]
        self.learnt = [learnable(samples.y[:, head]) for head in range(len(HEADS))]
        groups = {"behaviour": BEHAVIOUR, "attributes": ATTRIBUTES, "offer": OFFER}
        self.preparations = {name: Preparation.fit(samples.x, columns) for name, columns in groups.items()}
        self.network = self._build().to(device)
        inputs = self._inputs(samples)
        self.usual = [tensor.mean(dim=0).nan_to_num().tolist() for tensor in inputs[:-1]]  # no rows: no mean
        arm, weight = self.weights if self.weights is not None else (samples.kind, np.ones(len(samples)))
        self.arms_seen = [ARMS[code] for code in np.unique(arm)]
        scale = max(float(weight.sum()), EPSILON) / max(len(weight), 1)
        tensors = [*inputs, torch.tensor(samples.y, dtype=torch.float32), torch.tensor(arm),
                   torch.tensor(weight / scale, dtype=torch.float32)]  # fmt: skip
        taught, watched = keep_back(samples, seed)
        course = learn(
            self.network,
            self._loss,
            [tensor[taught].to(device) for tensor in tensors],
            [tensor[watched].to(device) for tensor in tensors],
            recipe=Recipe(learning_rate=self.learning_rate, weight_decay=self.weight_decay, batch=self.batch),
            generator=generator,
            progress=progress,
        )
        self.curves = course.curves
        self.network.to("cpu").eval()

    def _build(self) -> FourPart:
        encoder = SequenceEncoder(len(STREAM_TYPES) + 1, self.sizes["category"], len(KINDS) + 1, self.width)
        widths = Widths(
            self._width("behaviour"), self._width("attributes"), self._width("offer"), len(ARMS),
            behaviour=self.width, fusion=self.width, effect=2 * self.width,
        )  # fmt: skip
        return FourPart(widths, encoder, self.dropout)

    def _width(self, name: str) -> int:
        return self.preparations[name].width + sum(self.sizes[feature] for feature in _CODED[name])

    def _inputs(self, samples: Samples) -> list[torch.Tensor]:
        parts = []
        for name, coded in _CODED.items():
            columns = [self.preparations[name].transform(samples.x)]
            for feature in coded:
                size = self.sizes[feature]
                codes = np.clip(np.nan_to_num(samples.x[:, INDEX[feature]]).astype(np.int64), 0, size - 1)
                columns.append(np.eye(size)[codes])
            parts.append(torch.tensor(np.concatenate(columns, axis=1), dtype=torch.float32))
        return [*parts, torch.tensor(samples.sequence)]

    def _loss(self, batch: list[torch.Tensor]) -> tuple[torch.Tensor, float]:
        assert self.network is not None
        behaviour, attributes, offer, sequence, y, arm, weight = batch
        arms, effects = self.network(behaviour, attributes, offer, sequence)
        loss = masked_cross_entropy(effects, y) + STRATEGY_WEIGHT * strategy_loss(arms, arm, weight)
        return loss, guessed_right(effects, y)

    def _forward(self, samples: Samples) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        assert self.network is not None
        self.network.eval()
        arms: list[NDArray[np.float32]] = []
        effects: list[NDArray[np.float32]] = []
        with torch.no_grad():
            for block in in_blocks(samples):
                a, e = self.network(*self._inputs(block))
                arms.append(torch.softmax(a, dim=-1).numpy())
                effects.append(torch.sigmoid(e).numpy())
        if not arms:
            return np.zeros((0, len(ARMS)), np.float32), np.zeros((0, len(HEADS)), np.float32)
        return np.concatenate(arms), np.concatenate(effects)

    def score(self, samples: Samples) -> Floats:
        out = self._forward(samples)[1].astype(np.float64)
        for head, value in enumerate(self.priors):
            if not self.learnt[head]:
                out[:, head] = value
        return out

    def explain(self, samples: Samples, head: int) -> Contributions:
        """Return integrated gradients from the training rows' means; the sequence of events counts as one."""
        p = self.score(samples)[:, head]
        network = self.network
        assert network is not None
        if not self.learnt[head] or not len(samples):
            return Contributions.nothing(p)
        network.eval()
        inputs = self._inputs(samples)
        base, values = attribute(lambda given: network(*given)[1][:, head], inputs, self._parts(inputs))
        return Contributions.settled(base, values, p)

    def _parts(self, inputs: list[torch.Tensor]) -> list[Part]:
        parts = []
        for (name, coded), usual in zip(_CODED.items(), self.usual, strict=True):
            columns = self.preparations[name].names()
            for feature in coded:
                columns += [feature] * self.sizes[feature]
            parts.append(Part(owners(columns), torch.tensor(usual)))
        fields = inputs[-1].shape[-1]
        return [*parts, Part([TERM[SEQUENCE]] * fields, torch.zeros(fields), codes=True)]

    def strategy(self, samples: Samples) -> Floats:
        """Return [rows, arms] probabilities of each offer kind and of no offer; arms never seen get 0."""
        shares = self._forward(samples)[0].astype(np.float64)
        shares[:, [arm not in self.arms_seen for arm in ARMS]] = 0.0
        found: Floats = shares / shares.sum(axis=1, keepdims=True)
        return found

    def importances(self) -> dict[str, float]:
        """Return the share of the first layers' absolute weights per prepared column: a rough guide only."""
        network = self.network
        assert network is not None
        layers = {"behaviour": network.behaviour, "attributes": network.fusion, "offer": network.effect}
        found: dict[str, float] = {}
        for name, layer in layers.items():
            first = layer[0]
            assert isinstance(first, torch.nn.Linear)
            size = first.weight.detach().abs().sum(dim=0).numpy()
            names = self.preparations[name].names()
            offset = {"behaviour": 0, "attributes": self.width, "offer": len(ARMS) + self.width}[name]
            for column, value in zip(names, size[offset:], strict=False):
                found[column] = float(value)
        total = sum(found.values()) or 1.0
        return {name: value / total for name, value in found.items()}

    def dump(self) -> tuple[dict[str, Any], Arrays]:
        assert self.network is not None
        config = {
            "settings": self.settings,
            "preparations": {name: item.as_json() for name, item in self.preparations.items()},
            "sizes": self.sizes,
            "priors": self.priors,
            "learnt": self.learnt,
            "curves": self.curves,
            "arms_seen": self.arms_seen,
            "usual": self.usual,
        }
        return config, {key: value.numpy() for key, value in self.network.state_dict().items()}

    @classmethod
    def restore(cls, config: dict[str, Any], arrays: Arrays) -> Self:
        made = cls(**config.get("settings", {}))  # versions of before had the shipped ones
        made.preparations = {name: Preparation.from_json(item) for name, item in config["preparations"].items()}
        made.sizes, made.priors, made.curves = config["sizes"], config["priors"], config["curves"]
        made.learnt, made.arms_seen = config["learnt"], config["arms_seen"]
        # Versions of before kept no means: those of prepared numbers are 0 anyhow.
        made.usual = config.get("usual") or [[0.0] * made._width(name) for name in _CODED]
        made.network = made._build()
        made.network.load_state_dict({key: torch.tensor(value) for key, value in arrays.items()})
        made.network.eval()
        return made


_CODED: dict[str, list[str]] = {
    "behaviour": [],
    "attributes": ["gender", "city", "tier"],
    "offer": ["offer_kind", "offer"],
}

__all__ = ["ARMS", "FourPartEstimator"]
