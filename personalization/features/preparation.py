"""How raw features become network inputs: clip, log, impute, flag, scale. Fitted on rows before the cut-off only.

What is fitted is JSON; applying it needs numpy alone, so training and serving share this code.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from personalization.features.frames import Floats
from personalization.features.specification import FEATURES, NAMES, Feature


@dataclass(frozen=True, slots=True)
class Column:
    """Fitted numbers of one numeric feature: clipping bounds, imputed value, mean and deviation (after log)."""

    name: str
    low: float
    high: float
    fill: float
    mean: float
    scale: float


@dataclass(frozen=True, slots=True)
class Preparation:
    """The fitted preparation. A feature that never varied is left out: it carries nothing."""

    columns: tuple[Column, ...]

    @classmethod
    def fit(cls, x: Floats, names: list[str] | None = None) -> Preparation:
        """Fit on raw values [rows, features]."""
        wanted = set(names or NAMES)
        numeric = [
            (index, feature)
            for index, feature in enumerate(FEATURES)
            if not feature.categorical and feature.name in wanted
        ]
        fitted = [_fit_column(feature, x[:, index]) for index, feature in numeric]
        return cls(tuple(column for column in fitted if column is not None))

    @property
    def width(self) -> int:
        """Return the number of prepared columns: values and missing flags."""
        return len(self.columns) + len(self._flagged())

    def _flagged(self) -> list[Column]:
        flagged = {feature.name for feature in FEATURES if feature.flag}
        return [column for column in self.columns if column.name in flagged]

    def names(self) -> list[str]:
        """Return the prepared columns' names."""
        return [column.name for column in self.columns] + [f"{column.name}_missing" for column in self._flagged()]

    def transform(self, x: Floats) -> Floats:
        """Return prepared columns [rows, width]: finite, of mean about 0 and deviation about 1; flags 0 or 1."""
        position = {name: index for index, name in enumerate(NAMES)}
        log = {feature.name: feature.log for feature in FEATURES}
        out = np.empty((len(x), self.width))
        for place, column in enumerate(self.columns):
            values = x[:, position[column.name]]
            values = np.where(np.isnan(values), column.fill, np.clip(values, column.low, column.high))
            if log[column.name]:
                values = np.log1p(np.maximum(values, 0))
            out[:, place] = (values - column.mean) / column.scale
        for place, column in enumerate(self._flagged(), start=len(self.columns)):
            out[:, place] = np.isnan(x[:, position[column.name]])
        return out

    def as_json(self) -> list[dict[str, Any]]:
        return [{key: getattr(column, key) for key in Column.__slots__} for column in self.columns]

    @classmethod
    def from_json(cls, data: list[dict[str, Any]]) -> Preparation:
        return cls(tuple(Column(**item) for item in data))


def _fit_column(feature: Feature, values: Floats) -> Column | None:
    known = values[~np.isnan(values)]
    if not len(known):
        return None
    low, high = (float(bound) for bound in np.quantile(known, feature.clip))
    fill = float(np.median(known)) if feature.impute == "median" else 0.0
    prepared = np.where(np.isnan(values), fill, np.clip(values, low, high))
    if feature.log:
        prepared = np.log1p(np.maximum(prepared, 0))
    scale = float(prepared.std())
    if scale < 1e-9:
        return None
    return Column(feature.name, low, high, fill, float(prepared.mean()), scale)
