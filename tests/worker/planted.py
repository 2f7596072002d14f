"""Samples with a signal planted in them: what an estimator has to find, and the same with shuffled labels."""

from __future__ import annotations

import numpy as np

from personalization.features.compute import Rows
from personalization.features.specification import INDEX, NAMES
from personalization.types import HEADS
from worker.data import SEQUENCE_FIELDS, SEQUENCE_LENGTH, Samples, Vocabularies
from worker.estimators.base import sigmoid

OFFERS = 4
SHOPPERS = 500
VOCABULARIES = Vocabularies(
    text={"gender": {"f": 1, "m": 2}, "city": {"Oslo": 1}, "tier": {"gold": 1}},
    offers={str(100 + code): code for code in range(1, OFFERS + 1)},
    categories={"books": 1, "tea": 2},
)


def samples(rows: int = 2000, seed: int = 0, *, first_shopper: int = 0) -> Samples:
    """Return rows whose outcomes depend on the offer, on the age and on the orders so far; tiers are noise.

    Features that are not named keep one value throughout: every set has constant columns. Ages are partly missing.
    """
    rng = np.random.default_rng(seed)
    x = np.zeros((rows, len(NAMES)))
    offer = rng.integers(1, OFFERS + 1, rows)
    age = rng.uniform(18, 70, rows)
    orders = rng.poisson(3.0, rows).astype(np.float64)
    x[:, INDEX["offer"]] = offer
    x[:, INDEX["offer_kind"]] = (offer - 1) // 2
    x[:, INDEX["amount"]] = 5.0 * offer
    x[:, INDEX["orders_7d"]] = orders
    x[:, INDEX["spend_mean"]] = np.where(orders > 0, rng.gamma(2.0, 20.0, rows), np.nan)
    x[:, INDEX["tier"]] = rng.integers(0, 2, rows)
    p = sigmoid(1.4 * (offer - 2.5) + 0.06 * (age - 44) + 0.4 * (orders - 3) - 0.5)
    y = (rng.random((rows, len(HEADS))) < p[:, None]).astype(np.float64)
    x[:, INDEX["age"]] = np.where(rng.random(rows) < 0.1, np.nan, age)
    length = np.minimum(orders.astype(np.int64), SEQUENCE_LENGTH)
    sequence = np.zeros((rows, SEQUENCE_LENGTH, len(SEQUENCE_FIELDS)), dtype=np.float32)
    real = np.arange(SEQUENCE_LENGTH) >= SEQUENCE_LENGTH - length[:, None]
    sequence[real, 0], sequence[real, 3], sequence[real, 4] = 5, 2.0, 3.0
    time = np.full(rows, 1_700_000_000_000)
    shopper = first_shopper + rng.integers(0, SHOPPERS, rows)
    return Samples(
        Rows(shopper, offer - 1, time, time + 1), x, sequence, length, y, x[:, INDEX["offer_kind"]].astype(np.int64),
        np.arange(1, rows + 1), VOCABULARIES,
    )  # fmt: skip


def held_out(rows: int = 1500, seed: int = 1) -> Samples:
    """Return rows of other shoppers."""
    return samples(rows, seed, first_shopper=SHOPPERS)


def shuffled(given: Samples, seed: int = 2) -> Samples:
    """Return the rows with outcomes that belong to others."""
    mixed = given.take(np.arange(len(given)))
    mixed.y = np.random.default_rng(seed).permutation(given.y)
    return mixed


def relabelled(given: Samples, head: str, values: float | np.ndarray) -> Samples:
    """Return the rows with another outcome for one head."""
    changed = given.take(np.arange(len(given)))
    changed.y = given.y.copy()
    changed.y[:, HEADS.index(head)] = values
    return changed


def no_progress(done: float) -> None:
    """Say nothing."""
