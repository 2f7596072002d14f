"""The exploring policy: mostly the best offer, sometimes any, always with its probability.

At each position the next offer is drawn from those left: with probability ``1 - ε`` the best, with ``ε`` any of
them uniformly. An offer's logged propensity is the probability of that draw given the earlier positions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

T = TypeVar("T")
NAME = "epsilon-greedy"


@dataclass(frozen=True, slots=True)
class Draw:
    """One position: the index drawn, and the probability with which it was."""

    index: int
    propensity: float


def propensities(remaining: int, epsilon: float) -> list[float]:
    """Return each remaining candidate's probability of being drawn next, best first; they sum to 1."""
    uniform = epsilon / remaining
    return [1 - epsilon + uniform, *([uniform] * (remaining - 1))]


def draw(ranked: Sequence[object], limit: int, epsilon: float, uniforms: Sequence[float]) -> list[Draw]:
    """Draw up to ``limit`` of the ranked candidates; ``uniforms`` supplies one number in [0, 1) a position."""
    left = list(range(len(ranked)))
    drawn: list[Draw] = []
    for position in range(min(limit, len(ranked))):
        weights = propensities(len(left), epsilon)
        at = _pick(weights, uniforms[position])
        drawn.append(Draw(left.pop(at), weights[at]))
    return drawn


def _pick(weights: Sequence[float], uniform: float) -> int:
    total = 0.0
    for index, weight in enumerate(weights):
        total += weight
        if uniform < total:
            return index
    return len(weights) - 1
