"""Content-based: products like those a shopper turned to, by what is known of them; nobody needs to have bought one."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from scipy import sparse

from personalization.features.frames import Floats, Ints
from worker.looks import reduced
from worker.rankers.base import Interactions, Needs, Progress, Ranker, Reason, Scores, packed, unpacked
from worker.rankers.catalogue import tf_idf
from worker.rankers.neighbours import fashion, pulls, recent
from worker.space import Range, Space

if TYPE_CHECKING:
    from worker.artifacts import Arrays


@dataclass(kw_only=True, eq=False)
class Content(Ranker):
    """Item vectors from category, brand, price band, words and looks; a shopper is the recency-weighted sum of theirs.

    Each attribute is a block of length 1 (a rare category tells more than a common one: idf), weighed by the setting of
    its name; an item's vector [attributes], sparse, has length 1 again, and a score is Σ over the last fifty items of
    recency · cosine (Lops, de Gemmis and Semeraro 2011). Attributes are those of the latest synchronisation: a shop
    that renames products lets the past see it. Memory and time: items · attributes of one item.
    """

    name: ClassVar[str] = "content"
    needs: ClassVar[Needs] = Needs(attributes=True)
    space: ClassVar[Space] = {
        "category": Range(0.0, 5.0),
        "brand": Range(0.0, 5.0),
        "price": Range(0.0, 5.0),
        "text": Range(0.0, 5.0),
        "image": Range(0.0, 5.0),
        "bands": Range(2, 50, whole=True),
        "recency_decay": Range(0.5, 1.0),
    }

    category: float = 1.0
    brand: float = 0.7
    price: float = 0.4
    text: float = 1.0
    image: float = 1.0
    bands: int = 8
    recency_decay: float = 0.9
    matrix: sparse.csr_matrix = field(init=False, repr=False)
    """Item vectors [items, attributes]."""
    profile: sparse.csr_matrix = field(init=False, repr=False)

    def _learn(self, past: Interactions, now: int, seed: int, progress: Progress) -> None:
        catalogue = past.described
        brands = np.unique(np.array(catalogue.brand, dtype=object).astype(str), return_inverse=True)
        no_brand = np.array([not name for name in catalogue.brand], dtype=bool)
        brand = np.where(no_brand, -1, brands[1])
        image = reduced(catalogue.image)
        looks = np.zeros((len(catalogue), 0)) if image is None else image
        blocks = (
            (self.category, one_hot(catalogue.category)),
            (self.brand, one_hot(brand)),
            (self.price, one_hot(price_bands(catalogue.price, self.bands))),
            (self.text, tf_idf(catalogue.text)),
            (self.image, unit_rows(sparse.csr_matrix(looks))),
        )
        self.matrix = unit_rows(sparse.hstack([block * weight for weight, block in blocks], format="csr"))

    def _observe(self, past: Interactions, now: int) -> None:
        self.profile = recent(past, self.recency_decay)

    def score(self, shoppers: Ints) -> Scores:
        found: Scores = np.asarray(((self.profile[shoppers] @ self.matrix) @ self.matrix.T).todense(), np.float32)
        return found + fashion(self.points)

    def explain(self, shopper: int, item: int, *, most: int = 3) -> list[Reason]:
        return pulls(self.profile, self.matrix @ self.matrix[[item]].T, shopper, 0, most)

    def _arrays(self) -> Arrays:
        width = np.array([self.matrix.shape[1]], dtype=np.int64)
        return {**packed("matrix", self.matrix), **packed("profile", self.profile), "width": width}

    def _load(self, arrays: Arrays) -> None:
        self.matrix = unpacked("matrix", arrays, (self.items, int(arrays["width"][0])))
        self.profile = unpacked("profile", arrays, (self.shoppers, self.items))


def one_hot(codes: Ints) -> sparse.csr_matrix:
    """Return [items, codes]: idf where the item has the code, log((1 + items)/(1 + those)) + 1, scaled to at most 1."""
    rows = np.flatnonzero(codes >= 0)
    width = int(codes.max(initial=-1)) + 1
    count = np.bincount(codes[rows], minlength=width)
    idf = np.log((1 + len(codes)) / (1 + count)) + 1
    idf /= max(float(idf.max(initial=0.0)), 1e-9)
    value = idf[codes[rows]].astype(np.float32)
    return sparse.csr_matrix((value, (rows, codes[rows])), shape=(len(codes), width))


def price_bands(price: Floats, bands: int) -> Ints:
    """Return each price's band, 0 … bands − 1, equally many products in each; −1 where there is no price."""
    known = np.isfinite(price)
    found = np.full(len(price), -1, dtype=np.int64)
    if known.any():
        edges = np.quantile(price[known], np.arange(1, bands) / bands)
        found[known] = np.searchsorted(edges, price[known], side="right")
    return found


def unit_rows(matrix: sparse.csr_matrix) -> sparse.csr_matrix:
    """Return the rows scaled to length 1; empty ones stay empty."""
    length = np.sqrt(np.asarray(matrix.multiply(matrix).sum(axis=1)).ravel())
    return sparse.csr_matrix(sparse.diags(1 / np.maximum(length, 1e-9)) @ matrix).astype(np.float32)
