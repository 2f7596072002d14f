"""What shoppers teach about vectors of products: which go together, by a ridge regression in closed form."""

from __future__ import annotations

import numpy as np
from scipy import linalg, sparse

from personalization.features.frames import Floats
from worker.rankers.base import Scores

YOUNG = 100_000
"""With so many turns to a product, of shoppers who turned to several, the prior weighs twice as much as with ever so
many more."""


def learnt(
    turned: sparse.csr_matrix, read: Scores | Floats, regularisation: float, prior: Floats | None = None
) -> Floats:
    """Return M [d, d], which turns what a shopper has read like into what they turn to: M = c·P + Δ.

    X [shoppers, items] is who turned to what, V [items, d] the vectors. With A = Vᵀ·XᵀX·V and B = VᵀV, Δ minimises
    ‖X − X·V·M·Vᵀ‖² + λ‖Δ‖², where an item is not to be explained by itself: it is left out of the right-hand side
    C = Vᵀ·(XᵀX − diag)·V. The normal equations A·Δ·B + λΔ = C − c·A·P·B are solved exactly in the eigenvectors of A and
    B. P is the ``prior``, the identity if there is none: what holds before anybody turned to anything. c = ⟨P, C⟩ /
    ⟨P, A·P·B⟩ is how much of it fits best. λ is ``regularisation`` times the mean product of eigenvalues, times
    1 + YOUNG / n for n turns of shoppers who turned to several products: a few of them know less than P does.
    """
    v = read.astype(np.float64)
    seen = np.asarray(turned @ v)
    count = np.asarray(turned.sum(axis=0)).ravel()
    a, b = seen.T @ seen, v.T @ v
    c = a - v.T @ (v * count[:, None])
    start = np.eye(v.shape[1]) if prior is None else prior
    expected = a @ start @ b
    together = float(np.sum(start * expected))
    if together <= 0:
        return start
    scale = max(float(np.sum(start * c)) / together, 1e-6)
    value_a, vector_a = linalg.eigh(a)
    value_b, vector_b = linalg.eigh(b)
    products = np.outer(np.maximum(value_a, 0), np.maximum(value_b, 0))
    right = vector_a.T @ (c - scale * expected) @ vector_b
    turns = np.diff(turned.tocsr().indptr)
    ridge = regularisation * products.mean() * (1 + YOUNG / max(int(turns[turns > 1].sum()), 1))
    delta: Floats = vector_a @ (right / (products + ridge)) @ vector_b.T
    return scale * start + delta
