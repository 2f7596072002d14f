"""A small tree that imitates a model: rules that people can read, and how faithful they are.

Fitted to the model's predictions, not to what happened; its R² on shoppers that it was not fitted on says how much of
the model's ups and downs the rules tell.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from sklearn.tree import DecisionTreeRegressor

from personalization.features.compute import KINDS
from personalization.features.frames import Floats
from personalization.features.specification import FEATURES
from worker.data import Samples
from worker.estimators.base import shopper_split

DEPTH = 3
SMALLEST_LEAF = 0.02
MIN_ROWS = 200
MOST_VALUES = 12
"""Values of a categorical feature that may become a rule of their own: the first codes are the most frequent."""
Column = tuple[str, str | None]
"""A feature, and the value that the column asks for; None: the number itself."""


def imitate(samples: Samples, predicted: Floats, *, seed: int = 0) -> dict[str, Any] | None:
    """Return the tree as JSON with its fidelity; None where there is too little to imitate.

    ``predicted`` [rows] are the model's probabilities of one effect. A node is ``feature``, ``at`` (a number) or ``is``
    (a value), ``no`` (up to it, or another value) and ``yes``; a leaf ``p`` and its ``share`` of the rows.
    """
    if len(samples) < MIN_ROWS or np.ptp(predicted) < 1e-9:
        return None
    design, columns = _design(samples)
    held = shopper_split(samples.rows.shopper, 0.5, seed)
    if held.all() or not held.any() or np.ptp(predicted[held]) < 1e-9:
        return None
    tree = DecisionTreeRegressor(max_depth=DEPTH, min_samples_leaf=SMALLEST_LEAF, random_state=seed)
    tree.fit(design[~held], predicted[~held])
    return {
        "r2": round(float(tree.score(design[held], predicted[held])), 4),
        "rows": int((~held).sum()),
        "held_out": int(held.sum()),
        "tree": _node(tree.tree_, columns, 0),
    }


def _design(samples: Samples) -> tuple[Floats, list[Column]]:
    """Return [rows, columns] without gaps: numbers (a missing one reads −1, below all others) and yes/no values."""
    parts: list[Floats] = []
    columns: list[Column] = []
    for place, feature in enumerate(FEATURES):
        values = samples.x[:, place]
        if not feature.categorical:
            parts.append(np.nan_to_num(values, nan=-1.0))
            columns.append((feature.name, None))
            continue
        for name, code in _values(samples, feature.name):
            parts.append((values == code).astype(np.float64))
            columns.append((feature.name, name))
    return np.stack(parts, axis=1), columns


def _values(samples: Samples, feature: str) -> list[tuple[str, int]]:
    if feature == "offer_kind":
        return [(kind, code) for code, kind in enumerate(KINDS)]
    vocabularies = samples.vocabularies
    known = vocabularies.offers if feature == "offer" else vocabularies.text[feature]
    return list(known.items())[:MOST_VALUES]


def _node(tree: Any, columns: list[Column], at: int) -> dict[str, Any]:
    low, high = int(tree.children_left[at]), int(tree.children_right[at])
    if low == high:  # both −1: a leaf
        share = float(tree.weighted_n_node_samples[at] / tree.weighted_n_node_samples[0])
        return {"p": round(float(tree.value[at][0][0]), 4), "share": round(share, 4)}
    feature, value = columns[int(tree.feature[at])]
    asked = {"at": round(float(tree.threshold[at]), 3)} if value is None else {"is": value}
    return {"feature": feature, **asked, "no": _node(tree, columns, low), "yes": _node(tree, columns, high)}
