"""Models of the library ``implicit``, fitted by it and scored as its ``recommend`` scores, whole rows at a time."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy import sparse

from personalization.features.frames import Ints
from worker.rankers import Interactions
from worker.rankers.base import Scores

MODULES = ("implicit", "implicit.nearest_neighbours", "implicit.cpu.als", "implicit.cpu.bpr")
KINDS = {
    "cosine": ("nearest_neighbours", "CosineRecommender"),
    "tfidf": ("nearest_neighbours", "TFIDFRecommender"),
    "bm25": ("nearest_neighbours", "BM25Recommender"),
    "als": ("cpu.als", "AlternatingLeastSquares"),
    "bpr": ("cpu.bpr", "BayesianPersonalizedRanking"),
}


@dataclass(frozen=True)
class Fitted:
    """A fitted model and the counts [shoppers, items] it was fitted on."""

    model: Any
    counts: sparse.csr_matrix

    def score(self, shoppers: Ints) -> Scores:
        if hasattr(self.model, "similarity"):
            return np.asarray((self.counts[shoppers] @ self.model.similarity).todense(), dtype=np.float32)
        found: Scores = self.model.user_factors[shoppers] @ self.model.item_factors.T
        return found


def fit(kind: str, data: Interactions, settings: dict[str, Any], seed: int) -> Fitted:
    """Fit one of ``KINDS`` on how often each shopper turned to each item."""
    module, name = KINDS[kind]
    made = getattr(importlib.import_module(f"implicit.{module}"), name)
    settings = {**settings, "num_threads": torch.get_num_threads()}
    if not module.startswith("nearest"):
        settings["random_state"] = seed
    model = made(**settings)
    counts = data.matrix(np.ones(len(data.item)))
    model.fit(counts, show_progress=False)
    return Fitted(model, counts)
