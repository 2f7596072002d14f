"""What rankers share that read a shopper as the set of items they turned to: autoencoders, graphs, adversaries.

All of them turn a row of the matrix into a vector, so that a shopper who came after the training is scored like
everybody else. The latest tenth of what happened finds the best epoch and is learnt from last.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, NamedTuple, Protocol

import numpy as np
import torch
from scipy import sparse
from torch import Tensor, nn

from personalization.features.frames import Ints
from worker import device as devices
from worker.rankers.base import Interactions, Needs, Progress, Reason, Scores, packed, strongest, unpacked
from worker.rankers.training import (
    late,
    load_weights,
    more_epochs,
    packed_weights,
    patient_epochs,
    until_no_better,
    within,
)
from worker.rankers.vectors import DotRanker
from worker.space import Range, Space

if TYPE_CHECKING:
    from worker.artifacts import Arrays

AT_ONCE = 1024
MOST_JUDGED = 4096
MOST_EXPLAINED = 20
"""Items of a shopper that an explanation leaves out, one after the other."""


class Bags(NamedTuple):
    """Some rows' columns, flat: ``items`` [entries], each entry's row in the batch ``owner``, each row's ``offset``."""

    items: Tensor
    owner: Tensor
    offset: Tensor
    size: Tensor

    def weights(self, dropout: float = 0.0) -> Tensor:
        """Return [entries]: 1/√size, so that every row has length 1, then a share dropped and the others scaled up."""
        weight = self.size.clamp(min=1).float().rsqrt()[self.owner]
        return nn.functional.dropout(weight, dropout) if dropout else weight


class Rows:
    """A matrix of ones [shoppers, items] on the device, read a batch of rows at a time; rows without items are left
    out of ``batches``."""

    def __init__(self, matrix: sparse.csr_matrix, device: torch.device) -> None:
        self.device = device
        self.items = torch.from_numpy(matrix.indices.astype(np.int64)).to(device)
        self.start = torch.from_numpy(matrix.indptr[:-1].astype(np.int64)).to(device)
        self.size = torch.from_numpy(np.diff(matrix.indptr).astype(np.int64)).to(device)
        self.filled: Ints = np.flatnonzero(np.diff(matrix.indptr)).astype(np.int64)

    def read(self, rows: Ints) -> Bags:
        """Return these rows' columns."""
        at = torch.from_numpy(rows).to(self.device)
        size = self.size[at]
        owner = torch.repeat_interleave(torch.arange(len(at), device=self.device), size)
        offset = torch.cumsum(size, 0) - size
        place = torch.arange(len(owner), device=self.device) - offset[owner] + self.start[at][owner]
        return Bags(self.items[place], owner, offset, size)

    def batches(self, batch: int, rng: np.random.Generator) -> Iterator[Bags]:
        """Yield all rows that have items, in random order."""
        order = rng.permutation(self.filled)
        for start in range(0, len(order), batch):
            yield self.read(order[start : start + batch])


class Learner(Protocol):
    """A network in training: ``read`` what to learn from, then go through it an ``epoch`` at a time."""

    def read(self, matrix: sparse.csr_matrix) -> None: ...

    def epoch(self, tell: Progress) -> float: ...


@dataclass(kw_only=True, eq=False)
class SetRanker(DotRanker):
    """Turns the set of a shopper's items into a vector; repeats and order do not count.

    An explanation leaves out one item after the other and sees by how much the score falls.
    """

    needs: ClassVar[Needs] = Needs(gpu=True)
    space: ClassVar[Space] = {
        "epochs": Range(1, 500, log=True, whole=True),
        "batch": Range(8, 65_536, log=True, whole=True),
        "learning_rate": Range(1e-5, 1e-1, log=True),
    }

    epochs: int = 150
    patience: int = 4
    patient_steps: int = 150
    batch: int = 256
    learning_rate: float = 2e-3
    network: nn.Module = field(init=False, repr=False)
    taken: sparse.csr_matrix = field(init=False, repr=False)
    curves: list[dict[str, float]] = field(init=False, repr=False)

    @abstractmethod
    def _build(self, items: int) -> nn.Module:
        """Return the untrained network for so many known items."""

    @abstractmethod
    def _learner(self, network: nn.Module, device: torch.device, rng: np.random.Generator) -> Learner:
        """Return what trains it."""

    @abstractmethod
    def _vectors(self, rows: Bags) -> Tensor:
        """Return these shoppers' vectors [rows, d], by the network as it is."""

    @abstractmethod
    def _item_table(self) -> Tensor:
        """Return the known items' vectors [known, d], by the network as it is."""

    def _learn(self, past: Interactions, now: int, seed: int, progress: Progress) -> None:
        self._meet(past)
        devices.seed_all(seed)
        device = devices.pick()
        self.network = self._build(len(self.known)).to(device)
        self.curves = []
        whole = past.matrix()[:, self.known]
        if whole.nnz:
            learner = self._learner(self.network, device, np.random.default_rng(seed))
            self._train(learner, past, whole, progress)
        self.network.eval()
        with torch.no_grad():
            self.table = self._item_table().float().cpu().numpy()

    def _train(self, learner: Learner, past: Interactions, whole: sparse.csr_matrix, progress: Progress) -> None:
        more, done = self.epochs, 0.0
        chosen = late(past.time, np.ones(len(past.time), dtype=bool))
        if chosen is not None:
            early = past.take(~chosen).matrix()[:, self.known]
            wanted = _new(early, past.take(chosen).matrix()[:, self.known])
            if wanted.nnz:
                learner.read(early)
                best = until_no_better(
                    self.network, learner.epoch, lambda: self._late_rank(early, wanted), self.curves,
                    epochs=self.epochs, progress=within(progress, 0.0, 0.9),
                    patience=patient_epochs(self.patience, self.patient_steps, self._steps(early)),
                )  # fmt: skip
                more, done = more_epochs(best), 0.9
        learner.read(whole)
        for number in range(more):
            self.network.train()
            step = (1 - done) / more
            self.curves.append({"loss": learner.epoch(within(progress, done + step * number, step))})

    def _steps(self, matrix: sparse.csr_matrix) -> int:
        """Return how many steps an epoch over this matrix takes."""
        return -(-int(np.count_nonzero(np.diff(matrix.indptr))) // self.batch)

    @torch.no_grad()
    def _late_rank(self, early: sparse.csr_matrix, wanted: sparse.csr_matrix) -> float:
        """Return the mean reciprocal rank, among what a shopper had not turned to, of what they turned to late."""
        self.network.eval()
        rows = np.flatnonzero(np.diff(wanted.indptr))
        rows = rows[:: -(-len(rows) // MOST_JUDGED)]
        device = next(self.network.parameters()).device
        held, table = Rows(early, device), self._item_table()
        found = []
        for start in range(0, len(rows), AT_ONCE):
            some = rows[start : start + AT_ONCE]
            scores = self._vectors(held.read(some)) @ table.T
            seen, right = (matrix[some].tocoo() for matrix in (early, wanted))
            scores[torch.from_numpy(seen.row).to(device), torch.from_numpy(seen.col).to(device)] = -torch.inf
            row, column = (torch.from_numpy(each).long().to(device) for each in (right.row, right.col))
            for part in range(0, len(row), AT_ONCE):
                at = row[part : part + AT_ONCE]
                own = scores[at, column[part : part + AT_ONCE]][:, None]
                found.append(1.0 / ((scores[at] > own).sum(dim=1) + 1))
        self.network.train()
        return float(torch.cat(found).mean())

    def _observe(self, past: Interactions, now: int) -> None:
        self._who_is_cold(past)
        self.taken = past.matrix()[:, self.known]
        self.users = self._encode(self.taken)

    @torch.no_grad()
    def _encode(self, matrix: sparse.csr_matrix) -> Scores:
        """Return every row's vector [rows, d]; zeros for rows without items."""
        device = devices.pick()
        self.network.to(device).eval()
        rows = Rows(matrix, device)
        found: Scores = np.zeros((matrix.shape[0], self.table.shape[1]), dtype=np.float32)
        for start in range(0, len(rows.filled), AT_ONCE):
            some = rows.filled[start : start + AT_ONCE]
            found[some] = self._vectors(rows.read(some)).float().cpu().numpy()
        self.network.cpu()
        return found

    def explain(self, shopper: int, item: int, *, most: int = 3) -> list[Reason]:
        at = int(np.searchsorted(self.known, item))
        own = self.taken[shopper].indices
        if not len(own) or at == len(self.known) or self.known[at] != item:
            return []
        candidates = own[:MOST_EXPLAINED]
        kept = np.broadcast_to(own, (len(candidates), len(own))) != candidates[:, None]
        columns = np.broadcast_to(own, kept.shape)[kept]
        size = np.concatenate([[0], np.cumsum(kept.sum(axis=1))])
        without = sparse.csr_matrix(
            (np.ones(len(columns), np.float32), columns, size), shape=(len(candidates), len(self.known))
        )
        pull = (self.users[shopper] - self._encode(without)).astype(np.float64) @ self.table[at]
        return strongest(self.known[candidates], pull, most)

    def _arrays(self) -> Arrays:
        return {**super()._arrays(), **packed_weights(self.network), **packed("taken", self.taken)}

    def _load(self, arrays: Arrays) -> None:
        super()._load(arrays)
        self.taken = unpacked("taken", arrays, (self.shoppers, len(self.known)))
        self.network = self._build(len(self.known))
        load_weights(self.network, arrays)
        self.curves = []


def _new(early: sparse.csr_matrix, later: sparse.csr_matrix) -> sparse.csr_matrix:
    """Return what rows with something early gained later."""
    later = sparse.csr_matrix(later - later.multiply(early))
    later.eliminate_zeros()
    had = sparse.diags((np.diff(early.indptr) > 0).astype(np.float32))
    found = sparse.csr_matrix(had @ later)
    found.eliminate_zeros()
    return found
