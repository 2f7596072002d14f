"""Which of several offers a basket gets: the set that is best for the shopper, found by branch and bound.

Best means: the most that comes off, gifts, later benefits and points included, at what they cost the campaign; then
more gifts and points, then the higher sum of priorities, then fewer offers, then keys in order. Scores of two sets
are never equal, so the answer is always the same one. ``docs/explanation/stacking.md`` tells the method in prose.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from personalization.exceptions import BasketNotEligible
from personalization.pure.benefits import Board, Prepared, qualified
from personalization.pure.bounds import Bounds, part_of
from personalization.types import Basket, Discount, OfferKind, Terms

NODE_BUDGET = 2000
"""Offers computed in one search; what is not proven by then is returned as ``exact=False``."""

REASONS: Mapping[str, str] = {
    "same_group": "Another offer of the same group is applied instead.",
    "exclusive": "The offer that is applied cannot be combined with others.",
    "stands_alone": "This offer cannot be combined with the offers that are applied.",
    "limit": "No more offers fit into one order.",
    "better_without": "You save more without this offer, or it would take nothing more off.",
}
"""Reason → sentence, in English; ``ports.messages`` lists them for translation."""

_AFTERWARDS = frozenset({OfferKind.FREE_SHIPPING, OfferKind.GIFT, OfferKind.GIFT_CARD, OfferKind.POINTS})


@dataclass(frozen=True, slots=True)
class Candidate:
    """One offer that could apply. ``key`` is the caller's name for it; an empty ``exclusion_group`` is none."""

    key: str
    terms: Terms
    priority: int = 0
    exclusion_group: str = ""
    exclusive: bool = False


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why an offer does not apply. ``template % params`` is the English sentence; ``other_key`` took its place."""

    reason: str
    template: str
    other_key: str = ""
    params: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Stack:
    """What a basket gets, in order of application. ``exact`` is False if the search ended before its proof."""

    chosen: tuple[tuple[str, Discount], ...]
    refused: Mapping[str, Refusal]
    exact: bool
    nodes: int


def application_order(candidate: Candidate) -> tuple[int, int, str]:
    """Return what offers are sorted by: money off the lines, then delivery and presents, then what counts on the
    sum really paid; within each the higher priority first, then the key."""
    phase = 2 if candidate.terms.kind == OfferKind.CASH_BACK else int(candidate.terms.kind in _AFTERWARDS)
    return phase, -candidate.priority, candidate.key


def resolve(candidates: Sequence[Candidate], basket: Basket, limit: int, node_budget: int = NODE_BUDGET) -> Stack:
    """Return the best set of at most ``limit`` offers, and a reason for each that is not in it.

    Raises ValueError if two candidates have the same key.
    """
    if len({candidate.key for candidate in candidates}) != len(candidates):
        raise ValueError("Candidates need different keys.")
    refused: dict[str, Refusal] = {}
    able: list[Candidate] = []
    ready: list[Prepared] = []
    board = Board.of(basket)
    for candidate in sorted(candidates, key=application_order):
        try:
            prepared = qualified(candidate.terms, board)
            prepared.discount(board.totals, basket.shipping_minor)
        except BasketNotEligible as error:
            refused[candidate.key] = Refusal(error.reason, error.template, params=error.params)
        else:
            able.append(candidate)
            ready.append(prepared)
    search = _Search(able, ready, board, limit, node_budget)
    chosen = search.run()
    taken = [able[index] for index in chosen]
    for candidate in able:
        if candidate not in taken:
            refused[candidate.key] = _refusal(candidate, taken, limit)
    found = tuple((able[index].key, discount) for index, discount in chosen.items())
    return Stack(found, refused, not search.exhausted, search.nodes)


def _refusal(candidate: Candidate, taken: Sequence[Candidate], limit: int) -> Refusal:
    other = next((each.key for each in taken if each.exclusive), "")
    if other:
        return Refusal("exclusive", REASONS["exclusive"], other)
    group = candidate.exclusion_group
    other = next((each.key for each in taken if group and each.exclusion_group == group), "")
    if other:
        return Refusal("same_group", REASONS["same_group"], other)
    if candidate.exclusive and taken:
        return Refusal("stands_alone", REASONS["stands_alone"], taken[0].key)
    reason = "limit" if len(taken) >= limit else "better_without"
    return Refusal(reason, REASONS[reason])


class _Search:
    """Depth first over the offers in order of application: which comes next, while the bound beats the best."""

    def __init__(
        self, able: Sequence[Candidate], ready: Sequence[Prepared], board: Board, limit: int, budget: int
    ) -> None:
        self._ready, self._board, self._limit, self._budget = ready, board, limit, budget
        self._rest = _below_a_cent(able, ready)
        names = sorted({each.exclusion_group for each in able if each.exclusion_group})
        self._bit = [1 << names.index(each.exclusion_group) if each.exclusion_group else 0 for each in able]
        self._alone = [index for index, each in enumerate(able) if each.exclusive]
        self._free = [index for index, each in enumerate(able) if not each.exclusive]
        self._twin = [
            at > 0 and self._bit[index] == self._bit[before] and able[index].terms == able[before].terms
            for at, (before, index) in enumerate(zip([-1, *self._free], self._free, strict=False))
        ]
        self._best: tuple[int, int, tuple[int, ...]] = (0, 0, ())
        self.nodes, self.exhausted = 0, False

    def run(self) -> dict[int, Discount]:
        """Return index of candidate → its discount, in order of application."""
        board, shipping = self._board, self._board.basket.shipping_minor
        if self._limit > 0:
            for index in self._alone:
                self.nodes += 1
                cost = self._ready[index].worth(self._ready[index].effect(board.totals, shipping))
                self._offer((cost, self._rest[index], (index,)))
            parts = [part_of(self._ready[index], board, self._rest[index], self._bit[index]) for index in self._free]
            self._bounds = Bounds(parts, self._limit, board)
            self._visit((0, 0, ()), board.totals, shipping, 0, 0)
        found, left = {}, board.totals
        for index in self._best[2]:
            discount = found[index] = self._ready[index].discount(left, shipping)
            left = tuple(map(int.__sub__, left, discount.per_line_minor))
            shipping -= discount.shipping_minor
        return found

    def _offer(self, state: tuple[int, int, tuple[int, ...]]) -> None:
        if state[:2] > self._best[:2]:
            self._best = state

    def _visit(
        self, state: tuple[int, int, tuple[int, ...]], left: Sequence[int], shipping: int, groups: int, position: int
    ) -> None:
        """Try every offer from ``position`` on as the next one, the most promising first.

        ``state``: what has been applied: minor units, what counts below a cent, indices. ``left`` of each line. An
        offer like the one before it never comes without that: the earlier one would do the same and stands higher.
        """
        cost, rest, chosen = state
        slots = self._limit - len(chosen)
        for minor, below, at in self._bounds.options(position, groups, slots, left, self._best[0] - cost):
            if (cost + minor, rest + below) <= self._best[:2]:
                return
            if at > position and self._twin[at]:
                continue
            if self.nodes >= self._budget:
                self.exhausted = True
                return
            self.nodes += 1
            index = self._free[at]
            gain = self._ready[index].effect(left, shipping)
            worth = self._ready[index].worth(gain)
            if worth < 0:
                continue
            further = (cost + worth, rest + self._rest[index], (*chosen, index))
            self._offer(further)
            if slots > 1:
                lines = left if gain[1] is None else tuple(map(int.__sub__, left, gain[1]))
                self._visit(further, lines, shipping - gain[2], groups | self._bit[index], at + 1)


def _below_a_cent(able: Sequence[Candidate], ready: Sequence[Prepared]) -> list[int]:
    """Return what each offer adds to a set's score below a cent: gifts, points, priority, fewer offers and keys, packed
    into one integer that can be added up, each criterion above all later ones."""
    by_key = sorted(range(len(able)), key=lambda index: able[index].key)
    rank = {index: len(able) - 1 - place for place, index in enumerate(by_key)}
    fewer = 1 << len(able)
    priority = fewer * (len(able) + 1) * 2
    points = priority * (sum(abs(each.priority) for each in able) + 1) * 2
    gifts = points * (sum(each.terms.points for each in able) + 1) * 2
    return [
        each.priority * priority - fewer + (1 << rank[index]) + presents.points * points + len(presents.gifts) * gifts
        for index, (each, presents) in enumerate(zip(able, ready, strict=True))
    ]
