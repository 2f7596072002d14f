"""The columns of the group ``taste``: what the products that a shopper turned to of late are about.

Computed from a version's own vocabularies, so that training and serving divide titles alike; every column is nan where
nothing is known, and all of them where the shop does not ask for them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from scipy import sparse

from personalization import conf
from personalization.features.compute import FeatureBuilder, Rows
from personalization.features.frames import Floats, Frames
from personalization.features.specification import INDEX
from personalization.features.turned import Pairs
from worker.text_topics import TextTopics


@dataclass(slots=True)
class Tastes:
    """What was fitted on the catalogue, before anything is known of a shopper."""

    topics: TextTopics | None = None

    @classmethod
    def fit(cls, frames: Frames) -> Self:
        """Fit what the settings ask for."""
        return cls(TextTopics.fit(frames.items.title, conf.get().text_topics))

    def as_json(self) -> dict[str, Any]:
        return {"topics": None if self.topics is None else self.topics.as_json()}

    @classmethod
    def from_json(cls, data: dict[str, Any] | None) -> Self:
        """Return what :meth:`as_json` told; of an artefact that tells nothing, nothing."""
        return cls(TextTopics.from_json((data or {}).get("topics")))

    def fill(self, builder: FeatureBuilder, rows: Rows, x: Floats) -> None:
        """Fill the columns of ``x`` [rows, features], in place, from what happened strictly before each moment."""
        if self.topics is None or not len(builder.frames.items.ids):
            return
        pairs = builder.turned.before(rows.shopper, rows.time)
        shares = self.topics.shares(builder.frames.items.title)
        mixed = weighted_mean(pairs, shares, len(rows))
        for topic in range(shares.shape[1]):
            x[:, INDEX[f"text_topic_{topic + 1}"]] = mixed[:, topic]
        offered = of_categories(builder.frames, shares)[offered_category(builder.frames, rows)]
        x[:, INDEX["text_match"]] = cosine(mixed, offered)


def weighted_mean(pairs: Pairs, values: Floats, rows: int) -> Floats:
    """Return [rows, d]: the mean of the items' ``values`` [items, d] that are not all zero; nan without any."""
    weight = np.where(np.any(values != 0, axis=1)[pairs.item], pairs.weight, 0.0)
    matrix = sparse.csr_matrix((weight, (pairs.row, pairs.item)), shape=(rows, len(values)))
    total = np.bincount(pairs.row, weights=weight, minlength=rows)[:, None]
    with np.errstate(invalid="ignore"):
        found: Floats = np.asarray(matrix @ values) / np.where(total > 0, total, np.nan)
    return found


def of_categories(frames: Frames, values: Floats) -> Floats:
    """Return [categories + 1, d]: each one's mean of its items' ``values``; the last row, for no category, is nan."""
    known = (frames.items.category >= 0) & np.any(values != 0, axis=1)
    category = frames.items.category[known]
    count = np.bincount(category, minlength=len(frames.categories)).astype(np.float64)
    sums = np.zeros((len(frames.categories) + 1, values.shape[1]))
    np.add.at(sums, category, values[known])
    return sums / np.append(np.where(count > 0, count, np.nan), np.nan)[:, None]


def offered_category(frames: Frames, rows: Rows) -> Any:
    """Return the category's position of each row's offer, -1 without one."""
    return np.append(frames.offers.category, -1)[rows.offer]


def cosine(one: Floats, other: Floats) -> Floats:
    """Return the cosine of each two rows; nan where one of them is nan or zero."""
    length = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    found: Floats = (one * other).sum(axis=1) / np.where(length > 0, length, np.nan)
    return found
