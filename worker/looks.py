"""What products look like, from the image vectors that the host supplies: the directions in which they differ most."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.utils.extmath import randomized_svd

from personalization.features.frames import Floats

DIRECTIONS = 32
"""At most; a cosine is taken over all of them."""
LEAST_IMAGES = 50
DECIMALS = 6


@dataclass(eq=False)
class Looks:
    """``mean`` [d] of the unit vectors, and the principal ``directions`` [d, k] of what is left."""

    mean: Floats
    directions: Floats
    _last: tuple[NDArray[np.float32], Floats] | None = field(default=None, repr=False)

    @classmethod
    def fit(cls, image: NDArray[np.float32], *, seed: int = 0) -> Self | None:
        """Return the directions of these vectors [items, d]; None if too few products have one."""
        real = np.any(image != 0, axis=1) if image.shape[1] else np.zeros(len(image), dtype=bool)
        if real.sum() < LEAST_IMAGES:
            return None
        rows = _unit(image[real])
        mean = rows.mean(axis=0)
        _left, _size, right = randomized_svd(rows - mean, min(DIRECTIONS, image.shape[1]), random_state=seed)
        return cls(np.round(mean, DECIMALS), np.round(right.T, DECIMALS))

    def of(self, image: NDArray[np.float32]) -> Floats:
        """Return [items, k] along the directions; of zeros without a vector, or with one of another width."""
        if self._last is None or self._last[0] is not image:
            found = np.zeros((len(image), self.directions.shape[1]))
            if image.shape[1] == len(self.mean):
                real = np.any(image != 0, axis=1)
                found[real] = (_unit(image[real]) - self.mean) @ self.directions
            self._last = image, found
        return self._last[1]

    def as_json(self) -> dict[str, Any]:
        return {"mean": self.mean.tolist(), "directions": self.directions.tolist()}

    @classmethod
    def from_json(cls, data: dict[str, Any] | None) -> Self | None:
        """Return what :meth:`as_json` told; None of nothing."""
        return None if data is None else cls(np.array(data["mean"]), np.array(data["directions"]))


def reduced(image: NDArray[np.float32] | None) -> Floats | None:
    """Return vectors along their own directions [items, k]; None where there are too few to tell any."""
    looks = None if image is None else Looks.fit(image)
    return None if looks is None or image is None else looks.of(image)


def _unit(rows: NDArray[np.float32]) -> Floats:
    wide = rows.astype(np.float64)
    found: Floats = wide / np.maximum(np.linalg.norm(wide, axis=1, keepdims=True), 1e-9)
    return found
