"""The sequence encoder as rankers, one a cell: interactions in, vectors of shoppers and items out."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import torch

from worker import device as devices
from worker import parallel
from worker.rankers.base import Interactions, Needs, Progress, Reason, strongest
from worker.rankers.sequence.apart import train_apart
from worker.rankers.sequence.fit import Training, encode, train
from worker.rankers.sequence.histories import Histories
from worker.rankers.sequence.network import Cell, SequenceEncoder, Shape
from worker.rankers.training import load_weights, packed_weights
from worker.rankers.vectors import DotRanker
from worker.space import Choice, Range, Space

if TYPE_CHECKING:
    from worker.artifacts import Arrays

MOST_EXPLAINED = 20
"""Items of a history that an explanation blanks out, one after the other: the newest."""


@dataclass(kw_only=True, eq=False)
class SequenceRanker(DotRanker):
    """Reads a shopper's items in order, the same item in a row once, and predicts the next one.

    The vectors carry one more coordinate for the items' biases. ``times`` lets it see how long ago the item before was;
    ``augment`` and ``pretraining`` (contrastive, with its ``temperature``) work on views that change ``view_share``;
    ``compile`` and ``graph`` speed up training on a GPU and change no setting of the model.
    """

    cell: ClassVar[Cell]
    needs: ClassVar[Needs] = Needs(order=True, gpu=True)
    space: ClassVar[Space] = {
        "width": Range(4, 512, log=True, whole=True, multiple=2),
        "blocks": Range(1, 6, whole=True),
        "length": Range(5, 500, log=True, whole=True),
        "dropout": Range(0.0, 0.7),
        "epochs": Range(1, 200, log=True, whole=True),
        "batch": Range(8, 4096, log=True, whole=True),
        "learning_rate": Range(1e-5, 1e-1, log=True),
        "weight_decay": Range(0.0, 0.1),
        "negatives": Range(1, 8192, log=True, whole=True),
        "popularity": Range(0.0, 1.0),
        "loss": Choice(("sampled_softmax", "gsasrec")),
        "times": Choice((False, True)),
        "augment": Choice(("none", "crop", "mask")),
        "view_share": Range(0.1, 0.8),
        "pretraining": Range(0, 50, whole=True),
        "temperature": Range(0.02, 2.0, log=True),
    }

    width: int = 64
    blocks: int = 1
    heads: int = 2
    length: int = 50
    dropout: float = 0.2
    epochs: int = 100
    most_steps: int | None = None
    batch: int = 128
    learning_rate: float = 1e-3
    weight_decay: float = 1e-4
    negatives: int = 256
    popularity: float = 0.5
    loss: str = "sampled_softmax"
    patience: int = 2
    patient_steps: int = 100
    times: bool = False
    augment: str = "none"
    view_share: float = 0.3
    pretraining: int = 0
    temperature: float = 0.2
    compile: bool = False
    graph: bool = False
    network: SequenceEncoder = field(init=False, repr=False)
    histories: Histories = field(init=False, repr=False)
    curves: list[dict[str, float]] = field(init=False, repr=False)

    def __init_subclass__(cls, *, cell: Cell) -> None:
        """Declare a ranker: its name is its cell's."""
        super().__init_subclass__()
        cls.cell = cls.name = cell

    def _learn(self, past: Interactions, now: int, seed: int, progress: Progress) -> None:
        self._meet(past)
        devices.seed_all(seed)
        histories = self._histories(past)
        frequency = np.bincount(histories.items, minlength=len(self.known) + 1)[1:].astype(np.float64)
        self.network = SequenceEncoder(self._shape(), self._training().start(frequency))
        processes = parallel.wanted()
        if processes > 1:
            self.curves = train_apart(self.network, histories, self._training(), processes, seed, progress)
        else:
            self.curves = train(
                self.network, histories, self._training(), device=devices.pick(), seed=seed, progress=progress
            )
        bias, vectors = self.network.bias.detach().cpu(), self.network.table.detach().cpu()
        self.table = torch.cat([vectors, bias[:, None]], dim=1).numpy()

    def _shape(self) -> Shape:
        return Shape(
            items=len(self.known), cell=self.cell, width=self.width, blocks=self.blocks, heads=self.heads,
            length=self.length, dropout=self.dropout, times=self.times,
        )  # fmt: skip

    def _training(self) -> Training:
        names = Training.__dataclass_fields__.keys() & self.settings.keys()
        return Training(**{name: self.settings[name] for name in names})

    def _histories(self, past: Interactions) -> Histories:
        """Return what was turned to among the known items, without repeats in a row."""
        codes = self._codes()[past.item] + 1
        real = codes > 0
        shopper, item, time = past.shopper[real], codes[real], past.time[real]
        again = np.zeros(len(item), dtype=bool)
        again[1:] = (item[1:] == item[:-1]) & (shopper[1:] == shopper[:-1])
        return Histories.of(shopper[~again], item[~again].astype(np.int32), time[~again], past.shoppers)

    def _observe(self, past: Interactions, now: int) -> None:
        self._who_is_cold(past)
        self.histories = self._histories(past)
        self.users = self._encode(self.histories)
        self.network.cpu()

    def _encode(self, histories: Histories) -> np.ndarray[Any, np.dtype[np.float32]]:
        everybody = np.arange(histories.shoppers, dtype=np.int64)
        states = encode(self.network, histories, everybody, device=devices.pick())
        return np.concatenate([states, np.ones((len(states), 1), dtype=np.float32)], axis=1)

    def explain(self, shopper: int, item: int, *, most: int = 3) -> list[Reason]:
        """Blank each item of the history out and see by how much the score falls."""
        at = int(np.searchsorted(self.known, item))
        first, end = self.histories.offset[shopper : shopper + 2]
        items, time = self.histories.items[first:end], self.histories.time[first:end]
        if not len(items) or at == len(self.known) or self.known[at] != item:
            return []
        candidates = np.unique(items[-self.length :][-MOST_EXPLAINED:])
        blanked = np.where(items == candidates[:, None], 0, items)
        rows = np.repeat(np.arange(len(candidates)), len(items))
        without = Histories.of(rows, blanked.ravel(), np.tile(time, len(candidates)), len(candidates))
        scores = self._encode(without) @ self.table[at]
        self.network.cpu()
        pull = float(self.users[shopper] @ self.table[at]) - scores.astype(np.float64)
        return strongest(self.known[candidates - 1], pull, most)

    def _arrays(self) -> Arrays:
        columns = {f"history/{name}": getattr(self.histories, name) for name in ("items", "time", "offset")}
        return {**super()._arrays(), **packed_weights(self.network), **columns}

    def _load(self, arrays: Arrays) -> None:
        super()._load(arrays)
        self.histories = Histories(*(arrays[f"history/{name}"] for name in ("items", "time", "offset")))
        self.network = SequenceEncoder(self._shape())
        load_weights(self.network, arrays)
        self.curves = []


class GRU(SequenceRanker, cell="gru"):
    """Gated recurrent units, after GRU4Rec (Hidasi et al. 2016), trained at all positions with sampled softmax."""


class LSTM(SequenceRanker, cell="lstm"):
    """Long short-term memory."""


class CNNLSTM(SequenceRanker, cell="cnn_lstm"):
    """The source articles' hybrid: convolution, pool, LSTM."""


@dataclass(kw_only=True, eq=False)
class CNN(SequenceRanker, cell="cnn"):
    """Dilated causal convolutions, after NextItNet (Yuan et al. 2019)."""

    blocks: int = 2


@dataclass(kw_only=True, eq=False)
class Transformer(SequenceRanker, cell="transformer"):
    """SASRec's task (Kang and McAuley 2018) with gated residuals and sampled softmax."""

    blocks: int = 2


@dataclass(kw_only=True, eq=False)
class HSTU(SequenceRanker, cell="hstu"):
    """Hierarchical sequential transduction units."""

    blocks: int = 2
