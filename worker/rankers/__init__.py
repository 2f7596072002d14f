"""Preference rankers, one file a family, all on the contract in ``base``. Needs numpy, scipy and torch; no Django.

A new family (autoencoders, graphs, text) is one file beside these and one line in ``RANKERS``.
"""

from typing import Any

from worker.rankers.adversaries import CFGAN
from worker.rankers.autoencoders import MultVAE, RecVAE
from worker.rankers.base import (
    DAY,
    Interactions,
    Needs,
    Ranker,
    Reason,
    Vectors,
    interactions,
    top_items,
)
from worker.rankers.catalogue import Catalogue
from worker.rankers.content import Content
from worker.rankers.factors import ALS, BiasedFactors, ExplicitALS
from worker.rankers.graphs import GAT, LightGCN
from worker.rankers.linear import EASE
from worker.rankers.neighbours import ItemKNN, Transitions, UserKNN
from worker.rankers.popularity import Frequency, Popularity
from worker.rankers.sequence.rankers import CNN, CNNLSTM, GRU, HSTU, LSTM, Transformer
from worker.rankers.stack import Stack
from worker.rankers.text import Text

RANKERS: dict[str, type[Ranker]] = {
    kind.name: kind
    for kind in (
        Popularity, Frequency, Content, Text, Transitions, ItemKNN, UserKNN, EASE, ExplicitALS, ALS, BiasedFactors,
        MultVAE, RecVAE, CFGAN, LightGCN, GAT,
        GRU, LSTM, CNN, CNNLSTM, Transformer, HSTU, Stack,
    )
}  # fmt: skip
"""All rankers, the simplest first."""

LINE_UP = ("popularity", "frequency", "transitions", "item_knn", "ease", "als", "gru")
"""Who races when nobody says otherwise: what fits in seconds on a CPU."""

LIGHT: dict[str, dict[str, Any]] = {
    "als": {"factors": 32, "sweeps": 6},
    "gru": {"width": 32, "length": 30, "batch": 256, "learning_rate": 1e-2, "most_steps": 60, "patience": 1},
}
"""How the line-up's more expensive members are set where there is no GPU."""

__all__ = [
    "DAY", "LIGHT", "LINE_UP", "RANKERS", "Catalogue", "Frequency", "Interactions", "Needs", "Popularity", "Ranker",
    "Reason", "Transitions", "Vectors", "interactions", "top_items",
]  # fmt: skip
