"""The columns of the group ``taste``: what the products that a shopper turned to of late are about and look like, and
what reviews say.

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
from personalization.features.specification import IMAGE_DIRECTIONS, INDEX
from personalization.features.turned import Pairs
from worker import opinions
from worker.looks import Looks
from worker.sentiment import Sentiment
from worker.text_topics import TextTopics


@dataclass(slots=True)
class Tastes:
    """What was fitted on the catalogue, before anything is known of a shopper, and on the words of earlier reviews."""

    topics: TextTopics | None = None
    sentiment: Sentiment | None = None
    looks: Looks | None = None

    @classmethod
    def fit(cls, frames: Frames, until: int | None = None) -> Self:
        """Fit what the settings ask for; on reviews from before ``until`` (milliseconds), by default on all."""
        moment = frames.until + 1 if until is None else until
        return cls(
            TextTopics.fit(frames.items.title, conf.get().text_topics),
            Sentiment.fit(frames.reviews, moment) if conf.get().review_sentiment else None,
            Looks.fit(frames.items.image),
        )

    def as_json(self) -> dict[str, Any]:
        return {
            "topics": None if self.topics is None else self.topics.as_json(),
            "sentiment": None if self.sentiment is None else self.sentiment.as_json(),
            "looks": None if self.looks is None else self.looks.as_json(),
        }

    @classmethod
    def from_json(cls, data: dict[str, Any] | None) -> Self:
        """Return what :meth:`as_json` told; of an artefact that tells nothing, nothing."""
        told = data or {}
        return cls(
            TextTopics.from_json(told.get("topics")),
            Sentiment.from_json(told.get("sentiment")),
            Looks.from_json(told.get("looks")),
        )

    def fill(self, builder: FeatureBuilder, rows: Rows, x: Floats) -> None:
        """Fill the columns of ``x`` [rows, features], in place, from what happened strictly before each moment."""
        if self.sentiment is not None:
            opinions.fill(self.sentiment, builder, rows, x)
        if not len(builder.frames.items.ids) or (self.topics is None and self.looks is None):
            return
        pairs = builder.turned.before(rows.shopper, rows.time)
        offered = offered_category(builder.frames, rows)
        if self.topics is not None:
            shares = self.topics.shares(builder.frames.items.title)
            columns = [INDEX[f"text_topic_{topic + 1}"] for topic in range(shares.shape[1])]
            _fill(x, columns, INDEX["text_match"], shares, builder.frames, pairs, offered)
        if self.looks is not None and len(builder.frames.items.image):
            along = self.looks.of(builder.frames.items.image)
            columns = [INDEX[f"image_{at + 1}"] for at in range(min(IMAGE_DIRECTIONS, along.shape[1]))]
            _fill(x, columns, INDEX["image_match"], along, builder.frames, pairs, offered)


def _fill(
    x: Floats, columns: list[int], match: int, values: Floats, frames: Frames, pairs: Pairs, offered: Any
) -> None:
    """Fill the mean of what each row turned to, ``values`` [items, d], its first into the columns, and its match."""
    mixed = weighted_mean(pairs, values, len(x))
    x[:, columns] = mixed[:, : len(columns)]
    x[:, match] = cosine(mixed, of_categories(frames, values)[offered])


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
