"""What all rankers share whose score is a dot product of a shopper's and an item's vector."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from personalization.features.frames import Ints
from worker.rankers.base import Interactions, Ranker, Scores, Vectors

if TYPE_CHECKING:
    from worker.artifacts import Arrays


def unit(vectors: NDArray[np.floating]) -> Scores:
    """Return the rows scaled to length 1; rows of zeros stay so."""
    length = np.linalg.norm(vectors, axis=1, keepdims=True)
    return np.asarray(np.where(length > 1e-6, vectors / np.maximum(length, 1e-6), 0.0), dtype=np.float32)


@dataclass(kw_only=True, eq=False)
class DotRanker(Ranker):
    """Holds vectors of shoppers and of the items it has ``known`` (positions, ascending); others score −inf.

    Shoppers without history are scored by popularity, which travels as one more coordinate.
    """

    known: Ints = field(init=False, repr=False)
    users: Scores = field(init=False, repr=False)
    """[shoppers, d]"""
    table: Scores = field(init=False, repr=False)
    """[known, d]"""
    cold: NDArray[np.bool_] = field(init=False, repr=False)

    def score(self, shoppers: Ints) -> Scores:
        found = np.full((len(shoppers), self.items), -np.inf, dtype=np.float32)
        found[:, self.known] = self.users[shoppers] @ self.table.T
        cold = np.flatnonzero(self.cold[shoppers])
        found[cold[:, None], self.known] = self.points[self.known]
        return found

    def vectors(self) -> Vectors | None:
        users = np.concatenate([self.users, self.cold[:, None]], axis=1, dtype=np.float32)
        users[self.cold, :-1] = 0.0
        items = np.zeros((self.items, users.shape[1]), dtype=np.float32)
        items[self.known, :-1] = self.table
        items[self.known, -1] = self.points[self.known]
        hidden = np.ones(self.items, dtype=bool)
        hidden[self.known] = False
        return Vectors(users, items, hidden)

    def _meet(self, past: Interactions) -> None:
        """Take down which items there are to learn about."""
        self.known = np.unique(past.item).astype(np.int64)

    def _codes(self) -> Ints:
        """Return each item's place among the known [items], −1 for the others."""
        found = np.full(self.items, -1, dtype=np.int64)
        found[self.known] = np.arange(len(self.known))
        return found

    def _who_is_cold(self, past: Interactions) -> None:
        """Take down who has turned to nothing that is known."""
        known = np.isin(past.item, self.known)
        self.cold = np.bincount(past.shopper[known], minlength=past.shoppers) == 0

    def _arrays(self) -> Arrays:
        return {"known": self.known, "users": self.users, "table": self.table, "cold": self.cold}

    def _load(self, arrays: Arrays) -> None:
        self.known, self.users, self.table = arrays["known"], arrays["users"], arrays["table"]
        self.cold = arrays["cold"]
