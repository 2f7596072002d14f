"""A stack: several rankers' lists fused into one, by weights that a late slice of the past has shown to be right.

The slice is the latest tenth of what happened before ``now``: members are fitted without it, judged and weighed on it,
and fitted again on everything. So the stack enters a race like any other and has seen none of the test block.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from scipy import sparse
from sklearn.linear_model import LogisticRegression

from personalization.features.frames import Floats, Ints
from worker.rankers.base import Interactions, Needs, Progress, Ranker, Reason, Scores, ndcg, top_items
from worker.rankers.content import Content
from worker.rankers.factors import ALS
from worker.rankers.linear import EASE
from worker.rankers.neighbours import ItemKNN, Transitions, UserKNN, fashion
from worker.rankers.popularity import Frequency, Popularity
from worker.rankers.sequence.rankers import GRU, Transformer
from worker.rankers.text import Text
from worker.rankers.training import late, within
from worker.space import Choice, Range, Space

if TYPE_CHECKING:
    from worker.artifacts import Arrays

MEMBERS: dict[str, type[Ranker]] = {
    kind.name: kind
    for kind in (Popularity, Frequency, Content, Text, Transitions, ItemKNN, UserKNN, EASE, ALS, GRU, Transformer)
}  # fmt: skip
"""Who can be stacked. By default what fits in seconds, since each is fitted twice; networks where they are named."""
MOST_JUDGED = 2000
BLOCK = 512


@dataclass(kw_only=True, eq=False)
class Stack(Ranker):
    """score = Σ over the best ``keep`` members of weight · softness / (softness + rank), ranks from 0 up to ``depth``.

    ``blend="average"`` weighs them equally: reciprocal rank fusion (Cormack, Clarke and Büttcher 2009). ``"logistic"``
    takes the coefficients of a logistic regression of "turned to it late" on the members' terms, none below zero, over
    the products that any of them lists. Where the past is too short for a slice, the first ``keep`` count equally.
    Time and memory: twice, and once, those of the members.
    """

    name: ClassVar[str] = "stack"
    needs: ClassVar[Needs] = Needs(order=True)
    space: ClassVar[Space] = {
        "keep": Range(1, len(MEMBERS), whole=True),
        "blend": Choice(("average", "logistic")),
        "softness": Range(1, 200, log=True),
        "depth": Range(10, 2000, log=True, whole=True),
    }

    members: tuple[str, ...] = ("transitions", "item_knn", "ease", "als", "text")
    keep: int = 3
    blend: str = "logistic"
    softness: float = 10.0
    depth: int = 200
    fitted: list[Ranker] = field(init=False, repr=False)
    weights: Floats = field(init=False, repr=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        strange = [name for name in self.members if name not in MEMBERS]
        if strange or not self.members:
            raise ValueError(f"stack: members may be {', '.join(MEMBERS)}; not {', '.join(strange) or 'nobody'}.")

    def _learn(self, past: Interactions, now: int, seed: int, progress: Progress) -> None:
        chosen = late(past.time, np.ones(len(past.time), dtype=bool))
        names, self.weights, done = list(self.members[: self.keep]), np.ones(min(self.keep, len(self.members))), 0.0
        if chosen is not None:
            names, self.weights = self._judged(past, chosen, seed, within(progress, 0.0, 0.5))
            done = 0.5
        self.fitted = self._fit(names, past, now, seed, within(progress, done, 1 - done))

    def _fit(self, names: list[str], past: Interactions, now: int, seed: int, progress: Progress) -> list[Ranker]:
        found = []
        for place, name in enumerate(names):
            ranker = MEMBERS[name]()
            ranker.fit(past, now, seed=seed, progress=within(progress, place / len(names), 1 / len(names)))
            found.append(ranker)
        return found

    def _judged(
        self, past: Interactions, chosen: np.ndarray[Any, np.dtype[np.bool_]], seed: int, progress: Progress
    ) -> tuple[list[str], Floats]:
        """Return the best members on the late slice, in their order, and their weights."""
        early, after = past.take(~chosen), past.take(chosen)
        fitted = self._fit(list(self.members), early, int(early.time.max()), seed, progress)
        wanted = after.matrix()
        rows = np.flatnonzero((np.diff(wanted.indptr) > 0) & (np.bincount(early.shopper, minlength=past.shoppers) > 0))
        rows = rows[:: -(-len(rows) // MOST_JUDGED)] if len(rows) else rows
        wanted = wanted[rows]
        terms = [self._terms(ranker, rows) for ranker in fitted]
        gains = [float(np.mean(_ndcg(each, wanted))) if len(rows) else 0.0 for each in terms]
        best = np.sort(np.argsort([-gain for gain in gains], kind="stable")[: self.keep])
        weights = np.ones(len(best))
        if self.blend == "logistic":
            weights = logistic_weights([terms[at] for at in best], wanted)
        return [self.members[at] for at in best], weights

    def _terms(self, ranker: Ranker, shoppers: Ints) -> sparse.csr_matrix:
        """Return softness / (softness + rank) of each shopper's first ``depth`` products [shoppers, items], sparse."""
        found = [sparse.csr_matrix((0, self.items), dtype=np.float32)]
        for start in range(0, len(shoppers), BLOCK):
            found.append(self._ranked(ranker.score(shoppers[start : start + BLOCK])))
        return sparse.csr_matrix(sparse.vstack(found, format="csr"))

    def _ranked(self, scores: Scores) -> sparse.csr_matrix:
        best = top_items(scores, self.depth)
        said = np.isfinite(np.take_along_axis(scores, best, axis=1))
        value = np.broadcast_to(self.softness / (self.softness + np.arange(best.shape[1])), best.shape)
        row = np.broadcast_to(np.arange(len(best))[:, None], best.shape)
        return sparse.csr_matrix((value[said].astype(np.float32), (row[said], best[said])), shape=scores.shape)

    def _observe(self, past: Interactions, now: int) -> None:
        for ranker in self.fitted:
            ranker.observe(past, now)

    def score(self, shoppers: Ints) -> Scores:
        found: Scores = np.tile(fashion(self.points), (len(shoppers), 1))
        said = np.zeros(found.shape, dtype=bool)
        for weight, ranker in zip(self.weights, self.fitted, strict=True):
            scores = ranker.score(shoppers)
            said |= np.isfinite(scores)
            found += np.float32(weight) * self._ranked(scores).toarray()
        found[~said] = -np.inf
        return found

    def explain(self, shopper: int, item: int, *, most: int = 3) -> list[Reason]:
        """Mix the members' reasons by their terms of this score."""
        shares: dict[int, float] = {}
        total = 0.0
        for weight, ranker in zip(self.weights, self.fitted, strict=True):
            term = float(weight) * float(self._ranked(ranker.score(np.array([shopper])))[0, item])
            reasons = ranker.explain(shopper, item, most=most) if term > 0 else []
            total += term if reasons else 0.0
            for reason in reasons:
                shares[reason.item] = shares.get(reason.item, 0.0) + term * reason.share
        best = sorted(shares.items(), key=lambda pair: (-pair[1], pair[0]))[:most]
        return [Reason(own, round(share / total, 4)) for own, share in best if round(share / total, 4) > 0]

    def dump(self) -> tuple[dict[str, Any], Arrays]:
        config, arrays = super().dump()
        members = [ranker.dump() for ranker in self.fitted]
        config["fitted"] = [each for each, _arrays in members]
        for place, (_config, own) in enumerate(members):
            arrays |= {f"member{place}/{key}": value for key, value in own.items()}
        return config, arrays

    @classmethod
    def restore(cls, config: dict[str, Any], arrays: Arrays) -> Self:
        made = super().restore(config, arrays)
        made.fitted = []
        for place, each in enumerate(config["fitted"]):
            start = f"member{place}/"
            own = {key.removeprefix(start): value for key, value in arrays.items() if key.startswith(start)}
            made.fitted.append(MEMBERS[each["ranker"]].restore(each, own))
        return made

    def _arrays(self) -> Arrays:
        return {"weights": self.weights}

    def _load(self, arrays: Arrays) -> None:
        self.weights = arrays["weights"]


def _ndcg(terms: sparse.csr_matrix, wanted: sparse.csr_matrix, k: int = 10) -> Floats:
    """Return each row's NDCG@k, the order being that of the terms."""
    found = np.zeros(terms.shape[0])
    for row in range(terms.shape[0]):
        ranked, right = terms[row], wanted[row].indices
        first = ranked.indices[np.argsort(-ranked.data, kind="stable")[:k]]
        found[row] = ndcg(np.isin(first, right), len(right), k)
    return found


def logistic_weights(terms: list[sparse.csr_matrix], wanted: sparse.csr_matrix) -> Floats:
    """Return a weight a member, 0 or more, their mean 1: the coefficients of "wanted" on the members' terms.

    A row each product that any member lists. Equal weights where nothing listed was wanted, or no coefficient is above
    zero.
    """
    either = sparse.csr_matrix(sum(terms[1:], terms[0].copy()))
    row, column = either.nonzero()
    label = np.asarray(wanted[row, column]).ravel() > 0
    equal: Floats = np.ones(len(terms))
    if not len(label) or label.all() or not label.any():
        return equal
    x = np.stack([np.asarray(each[row, column]).ravel() for each in terms], axis=1)
    weights: Floats = np.maximum(LogisticRegression(max_iter=200).fit(x, label).coef_[0], 0.0)
    return weights / weights.mean() if weights.any() else equal
