"""Hyper-parameter spaces as data: what a search may try, and within which bounds a value is taken at all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Range:
    """Numbers from ``low`` to ``high``, both included; ``log`` for those that are searched by magnitude."""

    low: float
    high: float
    log: bool = False
    whole: bool = False

    def __contains__(self, value: Any) -> bool:
        if isinstance(value, bool) or not isinstance(value, int | float) or (self.whole and value != int(value)):
            return False
        return self.low <= value <= self.high

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
