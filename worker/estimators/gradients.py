"""Integrated gradients for networks whose inputs are partly numbers, partly codes.

The usual formula, (x − b) · ∫₀¹ ∂f(b + t(x − b))/∂x dt (Sundararajan, Taly and Yan 2017), divides what the numbers do
among their columns. A code has no way between itself and its baseline: each group of codes is switched as a whole.
Numbers and groups enter one after another, in an order and in its reverse, and each is credited with the mean of what
it changed: with one group beside the numbers this is the exact Shapley value of both. Whatever the order, the parts add
up to f(x) − f(b) but for the error of the integral (``STEPS`` nodes of Gauss and Legendre).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from personalization.features.frames import Floats
from worker.estimators.attribution import TERMS

STEPS = 64
BLOCK = 1024
Logit = Callable[[list[torch.Tensor]], torch.Tensor]
"""A network's inputs, each [rows, …, columns] → the logit of one head [rows]."""


@dataclass(frozen=True, slots=True)
class Part:
    """One of a network's inputs: the term that each column belongs to, and the value that stands for "as usual".

    ``baseline`` [columns]. ``codes`` marks an input of integers, whose columns are switched term by term.
    """

    terms: list[int]
    baseline: torch.Tensor
    codes: bool = False


def attribute(logit: Logit, inputs: list[torch.Tensor], parts: list[Part]) -> tuple[Floats, Floats]:
    """Return the logit at the baseline [rows] and what each term adds to it [rows, TERMS].

    The network must be in evaluation mode, and cut off no gradient on the way.
    """
    rows = len(inputs[0])
    base, values = np.zeros(rows), np.zeros((rows, len(TERMS)))
    for start in range(0, rows, BLOCK):
        at = slice(start, min(start + BLOCK, rows))
        base[at], values[at] = _block(logit, [tensor[at] for tensor in inputs], parts)
    return base, values


_Player = tuple[int, int] | None
"""Codes of one input that belong to one term; None: all numbers together."""


def _block(logit: Logit, inputs: list[torch.Tensor], parts: list[Part]) -> tuple[Floats, Floats]:
    usual = [part.baseline.to(tensor).expand_as(tensor) for part, tensor in zip(parts, inputs, strict=True)]
    players: list[_Player] = [None] if any(not part.codes for part in parts) else []
    players += [(place, term) for place, part in enumerate(parts) if part.codes for term in dict.fromkeys(part.terms)]
    values = np.zeros((len(inputs[0]), len(TERMS)))
    for order in (players, players[::-1]):
        state = list(usual)
        for player in order:
            values += _enter(logit, state, inputs, parts, player) / 2
    with torch.no_grad():
        base = logit(usual).double().numpy()
    return base, values


def _enter(
    logit: Logit, state: list[torch.Tensor], inputs: list[torch.Tensor], parts: list[Part], player: _Player
) -> Floats:
    """Move one player of ``state`` from its baseline to the row's own values; return what that changed."""
    found = np.zeros((len(inputs[0]), len(TERMS)))
    if player is None:
        for place, gradient in _integrated(logit, state, inputs, parts).items():
            own = ((inputs[place] - state[place]) * gradient).double().numpy()
            for column, term in enumerate(parts[place].terms):
                found[:, term] += own[:, column]
            state[place] = inputs[place]
        return found
    place, term = player
    with torch.no_grad():
        before = logit(state)
        chosen = torch.tensor([each == term for each in parts[place].terms])
        state[place] = torch.where(chosen, inputs[place], state[place])
        found[:, term] = (logit(state) - before).double().numpy()
    return found


def _integrated(
    logit: Logit, state: list[torch.Tensor], inputs: list[torch.Tensor], parts: list[Part]
) -> dict[int, torch.Tensor]:
    """Return the mean gradient of each input of numbers along the straight way from ``state`` to ``inputs``."""
    numbers = [place for place, part in enumerate(parts) if not part.codes]
    nodes, weights = np.polynomial.legendre.leggauss(STEPS)
    total = {place: torch.zeros_like(inputs[place]) for place in numbers}
    for node, weight in zip((nodes + 1) / 2, weights / 2, strict=True):
        at = list(state)
        for place in numbers:
            at[place] = torch.lerp(state[place], inputs[place], float(node)).requires_grad_(True)
        gradients = torch.autograd.grad(logit(at).sum(), [at[place] for place in numbers])
        for place, gradient in zip(numbers, gradients, strict=True):
            total[place] += gradient * float(weight)
    return total
