"""The contract of preference rankers: which products a shopper turns to next. No offers needed, only views and orders.

Each ranker scores products for a shopper from what they did up to a moment; they are judged on what the shopper bought
after it, over the whole catalogue. Nothing here, nor in any ranker, needs Django.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray
from scipy import sparse

from personalization.features.frames import Floats, Frames, Ints
from personalization.features.turned import PURCHASE_WEIGHT
from worker.rankers.catalogue import Catalogue
from worker.space import Space, check

if TYPE_CHECKING:
    from worker.artifacts import Arrays

DAY = 86_400_000
HALF_LIFE_DAYS = 14.0
Scores = NDArray[np.float32]
Progress = Callable[[float], None]


def silent(done: float) -> None:
    """Tell nobody how far it is."""


@dataclass(slots=True)
class Interactions:
    """Views and purchases as (shopper, item, time, weight), sorted by (shopper, time); a purchase weighs 3 views."""

    shopper: Ints
    item: Ints
    time: Ints
    weight: Floats
    items: int
    shoppers: int
    catalogue: Catalogue | None = None
    """What is known of the items, where anything is."""

    @property
    def described(self) -> Catalogue:
        """What is known of the items, blank where there is nothing; ValueError if it describes another number."""
        found = self.catalogue or Catalogue.blank(self.items)
        if len(found) != self.items:
            raise ValueError(f"The catalogue describes {len(found):,} items of {self.items:,}: give one row an item.")
        return found

    def before(self, moment: int) -> Interactions:
        """Return what happened strictly before a moment."""
        return self.take(self.time < moment)

    def take(self, kept: NDArray[np.bool_]) -> Interactions:
        """Return some of the rows, of as many shoppers and items as before."""
        shopper, item, time, weight = (getattr(self, name)[kept] for name in ("shopper", "item", "time", "weight"))
        return Interactions(shopper, item, time, weight, self.items, self.shoppers, self.catalogue)

    def matrix(self, weight: Floats | None = None) -> sparse.csr_matrix:
        """Return [shoppers, items] of summed weights; without any, of ones where there was an interaction."""
        values = np.ones(len(self.item)) if weight is None else weight
        found = sparse.csr_matrix(
            (values.astype(np.float32), (self.shopper, self.item)), shape=(self.shoppers, self.items)
        )
        found.sum_duplicates()
        if weight is None:
            found.data[:] = 1.0
        return found

    def decayed(self, now: int, half_life_days: float) -> Floats:
        """Return the weights, halved for every so many days that have passed by ``now``."""
        found: Floats = self.weight * np.power(0.5, (now - self.time) / DAY / half_life_days)
        return found


def interactions(frames: Frames) -> Interactions:
    """Collect product views, basket changes and order lines."""
    seen = frames.events.item >= 0
    lines = frames.lines
    shopper = np.concatenate([frames.events.shopper[seen], lines.shopper])
    item = np.concatenate([frames.events.item[seen], lines.item])
    time = np.concatenate([frames.events.time[seen], lines.time])
    weight = np.concatenate([np.ones(int(seen.sum())), np.full(len(lines.shopper), PURCHASE_WEIGHT)])
    order = np.lexsort((time, shopper))
    items = frames.items
    blank = Catalogue.blank(len(items.ids))
    image = items.image if items.image.size else None
    catalogue = Catalogue(items.category, items.price, items.brand or blank.brand, items.title or blank.text, image)
    return Interactions(
        shopper[order], item[order], time[order], weight[order], len(items.ids), len(frames.shoppers), catalogue
    )


@dataclass(frozen=True, slots=True)
class Needs:
    """What a ranker learns from and where it would rather run."""

    events: bool = True
    order: bool = False
    """Whether it reads in which order things happened."""
    attributes: bool = False
    """Whether it reads what is known of products: category, brand, price, words."""
    gpu: bool = False
    """Whether a GPU is much to be preferred; it runs without one."""


@dataclass(frozen=True, slots=True)
class Reason:
    """An item of the shopper's own history and its share, 0 to 1, of what pulled a product up."""

    item: int
    share: float


@dataclass(frozen=True, slots=True)
class Vectors:
    """A score as a dot product: users [shoppers, d] · items [items, d]ᵀ, but −inf where ``hidden`` [items].

    Meant for a blocked top-K that never holds the whole product.
    """

    users: Scores
    items: Scores
    hidden: NDArray[np.bool_]


@dataclass(kw_only=True, eq=False)
class Ranker(ABC):
    """Learns from interactions, then scores products.

    ``fit`` looks at nothing after ``now``; identical seeds give identical scores on a CPU. ``observe`` takes over what
    shoppers have done since and learns nothing. ``score`` returns [shoppers, items], −inf for what must not be shown:
    a model that never saw an item says nothing about it. Who has no history gets what is popular. Settings are the
    keyword arguments; ``space`` bounds them. ``dump`` and ``restore`` carry everything as JSON and arrays.
    """

    name: ClassVar[str]
    needs: ClassVar[Needs] = Needs()
    space: ClassVar[Space] = {}

    points: Scores = field(init=False, repr=False)
    """Recent popularity [items]."""
    shoppers: int = field(init=False, repr=False)
    items: int = field(init=False, repr=False)

    def __post_init__(self) -> None:
        check(self.name, self.space, self.settings)

    @property
    def settings(self) -> dict[str, Any]:
        """The hyper-parameters in force."""
        return {each.name: getattr(self, each.name) for each in fields(self) if each.init}

    def fit(self, data: Interactions, now: int, *, seed: int = 0, progress: Progress = silent) -> None:
        """Learn from what happened up to ``now`` (milliseconds)."""
        past = data.before(now + 1)
        self.items = data.items
        self._take(past, now)
        self._learn(past, now, seed, progress)
        self._observe(past, now)
        progress(1.0)

    def observe(self, data: Interactions, now: int) -> None:
        """Score from these histories, up to ``now``, from here on; ValueError if the catalogue is another one."""
        if data.items != self.items:
            raise ValueError(f"{self.name} was fitted on {self.items:,} items, not {data.items:,}: fit it again.")
        past = data.before(now + 1)
        self._take(past, now)
        self._observe(past, now)

    def _take(self, past: Interactions, now: int) -> None:
        self.shoppers = past.shoppers
        weight = past.decayed(now, self._fashion_days())
        self.points = np.bincount(past.item, weights=weight, minlength=past.items).astype(np.float32)

    def _fashion_days(self) -> float:
        """Return after how many days an interaction counts half for ``points``."""
        return HALF_LIFE_DAYS

    @abstractmethod
    def _learn(self, past: Interactions, now: int, seed: int, progress: Progress) -> None:
        """Learn what holds for all shoppers."""

    @abstractmethod
    def _observe(self, past: Interactions, now: int) -> None:
        """Take down what is known of each shopper."""

    @abstractmethod
    def score(self, shoppers: Ints) -> Scores:
        """Return [shoppers, items]."""

    def vectors(self) -> Vectors | None:
        """Return the score as a dot product, where it is one."""
        return None

    def explain(self, shopper: int, item: int, *, most: int = 3) -> list[Reason]:
        """Return the items of the shopper's history that pulled this one up, strongest first; often there are none."""
        return []

    def dump(self) -> tuple[dict[str, Any], Arrays]:
        """Return everything as JSON and arrays."""
        config = {"ranker": self.name, "settings": self.settings, "shoppers": self.shoppers, "items": self.items}
        return config, {"points": self.points, **self._arrays()}

    @classmethod
    def restore(cls, config: dict[str, Any], arrays: Arrays) -> Self:
        """Return the ranker that was dumped."""
        made = cls(**config["settings"])
        made.shoppers, made.items, made.points = config["shoppers"], config["items"], arrays["points"]
        made._load(arrays)
        return made

    @abstractmethod
    def _arrays(self) -> Arrays:
        """Return what was learnt and observed."""

    @abstractmethod
    def _load(self, arrays: Arrays) -> None:
        """Take it back; the settings, counts and points are there already."""


def packed(name: str, matrix: sparse.csr_matrix) -> Arrays:
    """Return a sparse matrix as named arrays."""
    return {f"{name}/{part}": getattr(matrix, part) for part in ("data", "indices", "indptr")}


def unpacked(name: str, arrays: Arrays, shape: tuple[int, int]) -> sparse.csr_matrix:
    """Return the matrix that was packed under this name."""
    parts = tuple(arrays[f"{name}/{part}"] for part in ("data", "indices", "indptr"))
    return sparse.csr_matrix(parts, shape=shape)


def strongest(items: Ints, pull: Floats, most: int) -> list[Reason]:
    """Return the items that pulled hardest, with their shares of all that pulled upwards."""
    upwards = np.maximum(pull, 0.0)
    total = float(upwards.sum())
    if not total > 0:
        return []
    best = np.argsort(-upwards, kind="stable")[:most]
    shares = ((int(items[at]), round(float(upwards[at]) / total, 4)) for at in best)
    return [Reason(item, share) for item, share in shares if share > 0]


def top_items(scores: NDArray[np.float32], k: int) -> Ints:
    """Return each row's k best columns, best first (ties among them by column)."""
    k = min(k, scores.shape[1])
    if not k:
        return np.zeros((len(scores), 0), dtype=np.int64)
    best = np.sort(np.argpartition(-scores, k - 1, axis=1)[:, :k], axis=1)
    order = np.argsort(-np.take_along_axis(scores, best, axis=1), axis=1, kind="stable")
    found: Ints = np.take_along_axis(best, order, axis=1)
    return found


def ndcg(hits: NDArray[Any], wanted: int, k: int) -> float:
    """Return NDCG@k of one ranked list: ``hits`` [items of the list] says which of them are among the ``wanted``."""
    discount = 1 / np.log2(np.arange(2, k + 2))
    first = hits[:k]
    return float((first * discount[: len(first)]).sum() / discount[: min(wanted, k)].sum())
