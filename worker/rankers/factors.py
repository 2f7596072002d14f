"""Matrix factorisation by alternating least squares: implicit and weighted, explicit, and with the shopper's mean.

A half-step solves one small ridge regression a row, exactly: rows of like length are padded to one block, their normal
equations built by one batched product and solved by a batched Cholesky factorisation, on the CPU and on a GPU alike.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import torch
from scipy import linalg, sparse
from torch import Tensor

from personalization.features.frames import Floats, Ints
from worker import device as devices
from worker.rankers.base import Interactions, Needs, Progress, Reason, packed, strongest, unpacked
from worker.rankers.vectors import DotRanker
from worker.space import Range, Space

if TYPE_CHECKING:
    from worker.artifacts import Arrays

AT_ONCE = {"cpu": 2**22, "cuda": 2**27}
"""Floats of a block of padded rows."""
FACTORS: Space = {"factors": Range(2, 512, log=True, whole=True), "sweeps": Range(1, 50, whole=True)}


def explicit_half_step(r: sparse.spmatrix | Floats, other: Floats, regularisation: float = 0.0) -> Floats:
    """Return argmin over U of ‖R − U·Vᵀ‖² + λ‖U‖², every cell counting, for V = ``other`` [columns, d]: [rows, d]."""
    gram = other.T @ other + regularisation * np.eye(other.shape[1])
    right = np.asarray(r @ other).T
    try:
        solved: Floats = linalg.cho_solve(linalg.cho_factor(gram), right).T
    except linalg.LinAlgError:  # fewer independent columns than factors: the smallest of the solutions
        solved = np.linalg.lstsq(gram, right, rcond=None)[0].T
    return solved


def ridge_half_step(
    r: sparse.csr_matrix, target: Floats, other: Tensor, ridge: Floats, base: Tensor | None = None
) -> Tensor:
    """Return, for each row of weights ``r``, argmin over x of Σ w·(t − x·y)² + x·(base + ridge·I)·x: [rows, d].

    ``target`` stands beside ``r.data``; ``other`` [columns, d] are the y; ``ridge`` is a number a row. A row without
    entries gets zeros.
    """
    device, d = other.device, other.shape[1]
    solved = torch.zeros((r.shape[0], d), device=device)
    sizes = np.diff(r.indptr)
    order = np.argsort(sizes, kind="stable")
    order = order[sizes[order] > 0]
    eye = torch.eye(d, device=device)
    at = 0
    while at < len(order):
        fits = max(int(AT_ONCE.get(device.type, 2**22) // (sizes[order[at]] * d)), 1)
        longest = int(sizes[order[min(at + fits, len(order)) - 1]])
        count = max(int(AT_ONCE.get(device.type, 2**22) // (longest * d)), 1)
        rows = order[at : at + min(count, fits)]
        at += len(rows)
        width = int(sizes[rows[-1]])
        places = r.indptr[rows][:, None] + np.arange(width)
        real = np.arange(width) < sizes[rows][:, None]
        places = np.where(real, places, 0)
        weight = torch.tensor(np.where(real, r.data[places], 0.0), dtype=torch.float32, device=device)
        wanted = torch.tensor(np.where(real, target[places], 0.0), dtype=torch.float32, device=device)
        y = other[torch.from_numpy(r.indices[places].astype(np.int64)).to(device)]
        weighted = y * weight[:, :, None]
        left = weighted.transpose(1, 2) @ y
        left += torch.tensor(ridge[rows], dtype=torch.float32, device=device)[:, None, None] * eye
        if base is not None:
            left += base
        right = (weighted * wanted[:, :, None]).sum(dim=1)
        factor = torch.linalg.cholesky(left)
        solved[torch.from_numpy(rows).to(device)] = torch.cholesky_solve(right[:, :, None], factor)[:, :, 0]
    return solved


def strength(past: Interactions, known: Ints) -> sparse.csr_matrix:
    """Return [shoppers, known]: log2(1 + Σ weights), so that one view is 1 and a purchase 2."""
    found = past.matrix(past.weight)[:, known]
    found.data = np.log2(1.0 + found.data).astype(np.float32)
    return sparse.csr_matrix(found)


def _start(rng: np.random.Generator, rows: int, factors: int) -> Floats:
    drawn: Floats = rng.normal(0.0, 0.1 / np.sqrt(factors), (rows, factors))
    return drawn


@dataclass(kw_only=True, eq=False)
class ALS(DotRanker):
    """Implicit feedback: Σ over what happened c·(1 − x·y)² + α·Σ over all cells (x·y)², with ridges that grow with use.

    c is the strength of what happened, α the weight of what did not, and each row's ridge λ·(its entries + α·columns)^ν
    (Hu, Koren and Volinsky 2008, in the weighting of Rendle et al. 2021, arXiv 2110.14037).
    """

    name: ClassVar[str] = "als"
    needs: ClassVar[Needs] = Needs()
    space: ClassVar[Space] = {
        **FACTORS,
        "unobserved": Range(1e-4, 1.0, log=True),
        "regularisation": Range(1e-5, 1.0, log=True),
        "growth": Range(0.0, 1.0),
    }

    factors: int = 64
    sweeps: int = 8
    unobserved: float = 0.02
    regularisation: float = 0.01
    growth: float = 1.0
    taken: sparse.csr_matrix = field(init=False, repr=False)

    def _learn(self, past: Interactions, now: int, seed: int, progress: Progress) -> None:
        self._meet(past)
        r = strength(past, self.known)
        device = devices.pick()
        columns = r.T.tocsr()
        start = _start(np.random.default_rng(seed), len(self.known), self.factors)
        items = torch.tensor(start, dtype=torch.float32, device=device)
        for sweep in range(self.sweeps):
            users = self._half_step(r, items)
            progress((sweep + 0.5) / self.sweeps)
            items = self._half_step(columns, users)
            progress((sweep + 1) / self.sweeps)
        self.table = items.cpu().numpy()

    def _half_step(self, r: sparse.csr_matrix, other: Tensor) -> Tensor:
        base = self.unobserved * (other.T @ other)
        return ridge_half_step(r, np.ones(r.nnz), other, self._ridge(r), base)

    def _ridge(self, r: sparse.csr_matrix) -> Floats:
        mass = np.diff(r.indptr) + self.unobserved * r.shape[1]
        found: Floats = self.regularisation * np.power(mass, self.growth)
        return found

    def _observe(self, past: Interactions, now: int) -> None:
        self._who_is_cold(past)
        self.taken = strength(past, self.known)
        items = torch.from_numpy(self.table).to(devices.pick())
        self.users = self._half_step(self.taken, items).cpu().numpy()

    def explain(self, shopper: int, item: int, *, most: int = 3) -> list[Reason]:
        """Divide the score exactly: x·y = Σ over the history of c·y·(A⁻¹·y'), A the shopper's normal equations."""
        at = int(np.searchsorted(self.known, item))
        own = self.taken[shopper]
        if not own.nnz or at == len(self.known) or self.known[at] != item:
            return []
        table = self.table.astype(np.float64)
        history = table[own.indices]
        left = self.unobserved * (table.T @ table) + (history.T * own.data) @ history
        left += self._ridge(own)[0] * np.eye(table.shape[1])
        return strongest(self.known[own.indices], own.data * (history @ np.linalg.solve(left, table[at])), most)

    def _arrays(self) -> Arrays:
        return {**super()._arrays(), **packed("taken", self.taken)}

    def _load(self, arrays: Arrays) -> None:
        super()._load(arrays)
        self.taken = unpacked("taken", arrays, (self.shoppers, len(self.known)))


@dataclass(kw_only=True, eq=False)
class ExplicitALS(DotRanker):
    """Least squares over the whole matrix of strengths, zeros included: ‖R − U·Vᵀ‖² + λ(‖U‖² + ‖V‖²).

    The source article's ALS, with true half-steps: unregularised it ends at the truncated singular value decomposition.
    """

    name: ClassVar[str] = "explicit_als"
    space: ClassVar[Space] = {**FACTORS, "regularisation": Range(0.0, 1000.0)}

    factors: int = 64
    sweeps: int = 10
    regularisation: float = 5.0

    def _learn(self, past: Interactions, now: int, seed: int, progress: Progress) -> None:
        self._meet(past)
        r = strength(past, self.known).astype(np.float64)
        columns = r.T.tocsr()
        items = _start(np.random.default_rng(seed), len(self.known), self.factors)
        for sweep in range(self.sweeps):
            users = explicit_half_step(r, items, self.regularisation)
            items = explicit_half_step(columns, users, self.regularisation)
            progress((sweep + 1) / self.sweeps)
        self.table = items.astype(np.float32)

    def _observe(self, past: Interactions, now: int) -> None:
        self._who_is_cold(past)
        r = strength(past, self.known).astype(np.float64)
        self.users = explicit_half_step(r, self.table.astype(np.float64), self.regularisation).astype(np.float32)


@dataclass(kw_only=True, eq=False)
class BiasedFactors(DotRanker):
    """r(u, i) = μ_u + q_u·p_i, with μ_u the shopper's own mean and one coordinate of q held at 1: the item's bias.

    Ratings are the strengths of what happened; beside each stand ``unseen`` cells drawn at random, rated 0, without
    which a model of ratings says nothing about what people turn to at all.
    """

    name: ClassVar[str] = "biased_mf"
    space: ClassVar[Space] = {
        **FACTORS, "regularisation": Range(1e-4, 10.0, log=True), "unseen": Range(0, 20, whole=True),
    }  # fmt: skip

    factors: int = 32
    sweeps: int = 8
    regularisation: float = 0.05
    unseen: int = 4

    def _learn(self, past: Interactions, now: int, seed: int, progress: Progress) -> None:
        self._meet(past)
        rating, mean = self._ratings(past)
        weight = _like(rating, np.ones(rating.nnz))
        turned = sparse.csr_matrix((np.arange(rating.nnz) + 1, rating.indices, rating.indptr), shape=rating.shape)
        turned = turned.T.tocsr()
        place = turned.data - 1
        centred = rating.data - np.repeat(mean, np.diff(rating.indptr))
        device = devices.pick()
        start = _start(np.random.default_rng(seed), len(self.known), self.factors)
        items = torch.tensor(np.concatenate([start, np.zeros((len(start), 1))], axis=1), dtype=torch.float32)
        items = items.to(device)
        columns, ridge = _like(turned, np.ones(turned.nnz)), self.regularisation * np.diff(turned.indptr)
        for sweep in range(self.sweeps):
            users = self._users(weight, centred, items)
            items = ridge_half_step(columns, centred[place], users, ridge)
            progress((sweep + 1) / self.sweeps)
        one = torch.ones((len(items), 1), device=device)
        self.table = torch.cat([items, one], dim=1).cpu().numpy()

    def _users(self, weight: sparse.csr_matrix, centred: Floats, items: Tensor) -> Tensor:
        """Return [q, 1]: what the items' biases leave over, by the factors."""
        left = centred - items[:, -1].cpu().numpy()[weight.indices]
        ridge = self.regularisation * np.diff(weight.indptr)
        q = ridge_half_step(weight, left, items[:, :-1], ridge)
        return torch.cat([q, torch.ones((len(q), 1), device=q.device)], dim=1)

    def _ratings(self, past: Interactions) -> tuple[sparse.csr_matrix, Floats]:
        """Return the ratings with the drawn zeros among them, stored, and each shopper's mean of them."""
        known = strength(past, self.known)
        shopper = np.repeat(np.arange(past.shoppers), np.diff(known.indptr))
        drawn = np.repeat(shopper, self.unseen)
        item = np.random.default_rng(0).integers(0, max(len(self.known), 1), len(drawn))
        cells = np.concatenate([shopper * len(self.known) + known.indices, drawn * len(self.known) + item])
        cells, first = np.unique(cells, return_index=True)  # what happened stands before what was drawn
        value = np.concatenate([known.data, np.zeros(len(drawn))])[first]
        rows, columns = np.divmod(cells, max(len(self.known), 1))
        counts = np.bincount(rows, minlength=past.shoppers)
        indptr = np.concatenate([[0], np.cumsum(counts)])
        mean: Floats = np.bincount(rows, weights=value, minlength=past.shoppers) / np.maximum(counts, 1)
        return sparse.csr_matrix((value, columns, indptr), shape=known.shape), mean

    def _observe(self, past: Interactions, now: int) -> None:
        self._who_is_cold(past)
        rating, mean = self._ratings(past)
        centred = rating.data - np.repeat(mean, np.diff(rating.indptr))
        items = torch.from_numpy(self.table[:, :-1].copy()).to(devices.pick())
        q = self._users(_like(rating, np.ones(rating.nnz)), centred, items).cpu().numpy()
        self.users = np.concatenate([q, mean[:, None]], axis=1).astype(np.float32)


def _like(matrix: sparse.csr_matrix, data: Floats) -> sparse.csr_matrix:
    """Return the same cells with other values; zeros stay stored."""
    return sparse.csr_matrix((data, matrix.indices, matrix.indptr), shape=matrix.shape)
