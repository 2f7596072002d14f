"""How much a set of offers can be worth at most: what lets the search for the best one stop early.

Percentages bite on what the others have left: of a line that they cover, offers with shares s₁, s₂, … take no more
than 1 − (1−s₁)(1−s₂)…, which in y = −log(1−s) is 1 − exp(−Σy). That is concave, so any tangent lies above it, and a
tangent is a sum with one term an offer: the best terms that fit into the places left bound every set at once.
Whatever is not a plain percentage has what it is worth now as its term. Nothing here may be too low; how close it is
only decides how long the search takes. ``docs/explanation/stacking.md`` tells why this holds to the cent.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, log1p
from operator import mul

from personalization.pure.benefits import Board, Effect, Prepared, ceiling, reached_step
from personalization.types import OfferKind

_OTHER_FAMILIES = frozenset(
    {
        OfferKind.BUNDLE,
        OfferKind.N_FOR_M,
        OfferKind.FREE_SHIPPING,
        OfferKind.GIFT,
        OfferKind.GIFT_CARD,
        OfferKind.CASH_BACK,
        OfferKind.POINTS,
    }
)
_STEEPEST = 0.99
"""Percentages above this share have no useful logarithm; they count with what they are worth now."""
Option = tuple[int, int, int]
"""The most that sets which begin with an offer can add, minor units and below a cent, and the offer's position."""
_Tangent = tuple[list[float], list[float]]
_ABOVE, _CRUMB = 1 + 1e-12, 1e-6
"""What keeps errors of floating point on the safe side."""


@dataclass(frozen=True, slots=True)
class Part:
    """One offer as the bound sees it: its worth alone at most, what it adds below a cent, the bit of its group, the
    lines it can take something off, the share of them that it is worth (0: unknown), whether it takes that share off
    each of them, the most that rounding adds to its worth, and to what all offers together take; and its effect, if
    that is never more when less is left."""

    ceiling_minor: int
    rest: int
    group: int
    mask: tuple[int, ...]
    share: float = 0.0
    bites: bool = False
    slack: float = 0.5
    shifted: float = 0.5
    effect: Effect | None = None


def part_of(prepared: Prepared, board: Board, rest: int, group: int) -> Part:
    """Return an offer as the bound sees it."""
    terms, cover, most = prepared.terms, prepared.cover, ceiling(prepared, board)
    mask, slack = cover.mask, terms.rounding_minor / 2
    # Shares are whole units: of n lines, some get at most n/4 in all above their exact part.
    shifted = slack + sum(mask) / 4
    if terms.kind == OfferKind.CASH_BACK or (terms.kind == OfferKind.BUNDLE and not terms.category):
        return Part(most, rest, group, mask, float(terms.percent) / 100, False, slack)
    if terms.kind == OfferKind.N_FOR_M:
        # The free pieces are the cheapest of each group, so they are worth their part of it at most.
        return Part(most, rest, group, mask, 1 - terms.pay_quantity / terms.buy_quantity, False, slack)
    percent = reached_step(terms, cover.spend).percent
    if terms.kind in _OTHER_FAMILIES or prepared.gifts:
        return Part(most, rest, group, mask)
    if not percent:
        return Part(most, rest, group, mask, 1.0, False, 0)
    if terms.list_price:
        return Part(most, rest, group, mask, effect=None if most == terms.max_discount_minor else prepared.effect)
    if cover.floors is not None:
        # What stands at its cost loses nothing; what it would have lost is not moved to other lines.
        mask = tuple(int(room > 0) for room in cover.room(board.totals))
        slack = shifted if mask != cover.mask else slack
    share = float(percent) / 100
    return Part(most, rest, group, mask, share, share < _STEEPEST, slack, shifted)


class Bounds:
    """Bounds for every rest of the offers. Lines that the same offers cover are summed up: a cell."""

    def __init__(self, parts: Sequence[Part], slots: int) -> None:
        self._parts = parts
        columns = list(zip(*(part.mask for part in parts), strict=True))
        kinds = sorted(set(columns))
        self._cells = [[at for at, column in enumerate(columns) if column == kind] for kind in kinds]
        spans = sorted({tuple(int(part.mask[cell[0]]) for cell in self._cells) for part in parts})
        self._spans = [[at for at, inside in enumerate(span) if inside] for span in spans]
        self._entries = []
        for part in parts:
            span = spans.index(tuple(int(part.mask[cell[0]]) for cell in self._cells))
            log = -log1p(-part.share) if part.bites else 0.0
            shifted = part.shifted if len(self._spans[span]) > 1 else part.slack
            self._entries.append((float(part.ceiling_minor), part.group, span, part.share, part.slack, log, shifted))
        self._rests = [
            [part.rest + most for most in [0, *_largest([other.rest for other in parts[at + 1 :]], slots - 1)]]
            for at, part in enumerate(parts)
        ]
        self._listed = {at: part.effect for at, part in enumerate(parts) if part.effect is not None}
        self._tangents: dict[tuple[int, int], _Tangent] = {}

    def options(self, position: int, groups: int, slots: int, left: Sequence[int], least: int) -> list[Option]:
        """Return, for each offer from ``position`` on, how much sets that begin with it can add, the largest first.

        ``groups``: bits of the groups that are taken. ``left``: what is left of each line, minor units.
        Those that add less than ``least`` minor units are left out.
        """
        cells = [sum([left[at] for at in cell]) for cell in self._cells]
        now = [sum([cells[at] for at in span]) for span in self._spans]
        found = self._last(position, groups, now, left, least) if slots == 1 else []
        if slots > 1:
            caps: dict[int, float] = {at: effect(left, 0)[0] for at, effect in self._listed.items() if at >= position}
            key = (position, slots)
            if key not in self._tangents:
                self._tangents[key] = self._tangent(position, groups, slots, cells)
            decay, offset = self._tangents[key]
            base = sum(map(mul, offset, cells))
            faded = list(map(mul, cells, decay))
            later = [sum([faded[at] for at in span]) for span in self._spans]
            tops: list[float] = []
            of_group: dict[int, float] = {}
            for at in range(len(self._entries) - 1, position - 1, -1):
                worth, group, span, share, slack, log, shifted = self._entries[at]
                if group:
                    if group & groups:
                        continue
                    if group in of_group:
                        tops.remove(of_group[group])
                if not share:
                    worth = caps.get(at, worth)
                else:
                    worth = min(worth, share * now[span] + slack)
                    if log:
                        worth = min(worth, log * later[span] + shifted)
                minor = int((base + worth + sum(tops[1 - slots :])) * _ABOVE + _CRUMB)
                if minor >= least:
                    found.append((minor, self._rests[at][slots], at))
                if group:
                    of_group[group] = worth = max(worth, of_group.get(group, worth))
                insort(tops, worth)
        found.sort(reverse=True)
        return found

    def _last(self, position: int, groups: int, now: Sequence[int], left: Sequence[int], least: int) -> list[Option]:
        """Return the same for the last place: what each offer is worth now, ``now`` being what is left of each span."""
        found = []
        for at in range(position, len(self._entries)):
            worth, group, span, share, slack, _, _ = self._entries[at]
            if share:
                worth = min(worth, share * now[span] + slack)
            elif worth >= least and at in self._listed:
                worth = self._listed[at](left, 0)[0]
            if worth * _ABOVE + _CRUMB >= least and not group & groups:
                found.append((int(worth * _ABOVE + _CRUMB), self._parts[at].rest, at))
        return found

    def _tangent(self, position: int, groups: int, slots: int, cells: Sequence[int]) -> _Tangent:
        """Return where to touch the curve: at the set that taking the largest again and again would choose.

        Any point is sound; a good one is near the set that turns out to be the best.
        """
        left = [float(cell) for cell in cells]
        logs = [0.0] * len(cells)
        open_ = [entry for entry in self._entries[position:] if not entry[1] & groups]
        for _ in range(slots):
            sums = [sum([left[at] for at in span]) for span in self._spans]
            best, chosen = 0.0, None
            for entry in open_:
                worth = min(entry[0], entry[3] * sums[entry[2]]) if entry[3] else entry[0]
                if worth > best:
                    best, chosen = worth, entry
            if chosen is None:
                break
            open_ = [each for each in open_ if each is not chosen and not (each[1] & chosen[1])]
            if chosen[5] and best < chosen[0] + 1:
                for at in self._spans[chosen[2]]:
                    left[at] *= 1 - chosen[3]
                    logs[at] += chosen[5]
        decay = [exp(-log) for log in logs]
        return decay, [1 - rate * (1 + log) for rate, log in zip(decay, logs, strict=True)]


def _largest(values: Sequence[int], slots: int) -> list[int]:
    """Return the largest sum of at most 0, 1, … ``slots`` values."""
    sums = [0]
    for value in sorted(values, reverse=True)[:slots]:
        sums.append(sums[-1] + max(value, 0))
    return sums + [sums[-1]] * (slots + 1 - len(sums))
