"""Interest, effect and price as the source articles write them, with their errors refused.

I(u, p) = σ(Wi·[u, p] + bi) is interest; E(u, p) = σ(We·[I, p] + be) the promotion's effect; the personal price is
P = P0 + k(1 − I/Imax). With P0 the list price, k must not be positive: a personal price is never above list.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import exp


def sigmoid(x: float) -> float:
    """Return 1 / (1 + e^-x) without overflow."""
    if x >= 0:
        return 1 / (1 + exp(-x))
    return exp(x) / (1 + exp(x))


def _affine(weights: Sequence[float], values: Sequence[float], bias: float) -> float:
    if len(weights) != len(values):
        raise ValueError(f"{len(weights)} weights for {len(values)} values.")
    return sum(w * v for w, v in zip(weights, values, strict=True)) + bias


def interest(
    shopper: Sequence[float],
    product: Sequence[float],
    weights: Sequence[float] | None = None,
    bias: float = 0.0,
) -> float:
    """Return σ(W·(u ∘ p) + b): with unit weights, σ of the inner product of shopper and product."""
    matched = [u * p for u, p in zip(shopper, product, strict=True)]
    return sigmoid(_affine(weights or [1.0] * len(matched), matched, bias))


def promotion_effect(
    interest_value: float,
    product: Sequence[float],
    weights: Sequence[float] | None = None,
    bias: float = 0.0,
) -> float:
    """Return σ(W·[I, p] + b)."""
    values = [interest_value, *product]
    return sigmoid(_affine(weights or [1.0] * len(values), values, bias))


def personal_price(list_price: float, interest_value: float, k: float, max_interest: float = 1.0) -> float:
    """Return P0 + k(1 − I/Imax) in the unit of ``list_price``; a k that leads above it or below 0 is refused."""
    if not k <= 0:
        raise ValueError("k must not be positive: a personal price is never above the list price.")
    if k < -list_price:
        raise ValueError("k must not be larger than the list price: a personal price is never below 0.")
    if not 0 <= interest_value <= max_interest or not max_interest:
        raise ValueError("interest must lie between 0 and its maximum.")
    return list_price + k * (1 - interest_value / max_interest)
