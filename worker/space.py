"""Hyper-parameter spaces as data: what a search may try, and within which bounds a value is taken at all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True, slots=True)
class Range:
    """Numbers from ``low`` to ``high``, both included; ``log`` for those that are searched by magnitude.

    A search keeps to multiples of ``multiple``, where whole numbers have to be shared by something.
    """

    low: float
    high: float
    log: bool = False
    whole: bool = False
    multiple: int = 1

    def __contains__(self, value: Any) -> bool:
        if isinstance(value, bool) or not isinstance(value, int | float):
            return False
        # The bounds first: neither infinity nor nan lies within them, and neither has a whole part.
        return self.low <= value <= self.high and not (self.whole and value != int(value))

    def even(self, value: float) -> float:
        """Return the multiple nearest to a value that a search came to, one that is still below ``high``."""
        if self.multiple == 1:
            return value
        return max(min(round(value / self.multiple), int(self.high) // self.multiple), 1) * self.multiple

    def __str__(self) -> str:
        return f"{'a whole number' if self.whole else 'a number'} from {self.low:g} to {self.high:g}"


@dataclass(frozen=True, slots=True)
class Choice:
    """One of a few values."""

    values: tuple[Any, ...]

    def __contains__(self, value: Any) -> bool:
        return value in self.values

    def __str__(self) -> str:
        return f"one of {', '.join(map(str, self.values))}"


Space = Mapping[str, Range | Choice]


def check(owner: str, space: Space, settings: Mapping[str, Any]) -> None:
    """Raise ValueError, naming the setting and what it may be, unless every declared setting lies in its space."""
    for name, dimension in space.items():
        if settings[name] not in dimension:
            raise ValueError(f"{owner}: {name} is {settings[name]!r} and must be {dimension}.")


FARTHEST = 8.0
"""A search goes up to so many times what is in force, and down to the same part of it."""


def around(space: Space, start: Mapping[str, Any]) -> Space:
    """Return the part of a space that a search tries: numbers up to eightfold either way of where they stand.

    The bounds say what is possible at all, up to networks that no CPU trains in an hour; what has been found and
    adopted is where the next search starts from. Zero has no eightfold: around it, the whole range is tried.
    """
    return {name: _around(dimension, start[name]) for name, dimension in space.items()}


def _around(dimension: Range | Choice, value: Any) -> Range | Choice:
    if isinstance(dimension, Choice) or not value:
        return dimension
    low, high = max(dimension.low, value / FARTHEST), min(dimension.high, value * FARTHEST)
    if dimension.whole:
        low, high = max(dimension.low, int(low)), min(dimension.high, int(high))
    return replace(dimension, low=low, high=high)
