"""How much a set of offers can be worth at most: what lets the search for the best one stop early.

Percentages bite on what the others have left: of a line that they cover, offers with shares s₁, s₂, … take no more
than 1 − (1−s₁)(1−s₂)…, which in y = −log(1−s) is 1 − exp(−Σy). That is concave, so any tangent lies above it, and a
tangent is a sum with one term an offer: the best terms that fit into the places left bound every set at once.
Whatever is not a plain percentage has what it is worth now as its term. And nothing takes off lines more than they
have above their cost, but for offers that may go below it. Nothing here may be too low; how close it is only decides
how long the search takes. ``docs/explanation/stacking.md`` tells why this holds to the cent.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import ceil, exp, log1p
from operator import mul

from personalization.pure.benefits import Board, Prepared, ceiling, free_pieces, limited, reached_step
from personalization.types import OfferKind

_NOT_OFF_LINES = frozenset(
    {OfferKind.FREE_SHIPPING, OfferKind.GIFT, OfferKind.GIFT_CARD, OfferKind.CASH_BACK, OfferKind.POINTS}
)
_OTHER_FAMILIES = _NOT_OFF_LINES | {OfferKind.BUNDLE, OfferKind.N_FOR_M}
_TIGHT = 0.1
"""A line that may lose less than this share of its price is a tight one: what it has left to give is added once."""
_STEEPEST = 0.99
"""Percentages above this share have no useful logarithm; they count with what they are worth now."""
_AtMost = Callable[[Sequence[int]], int]
Option = tuple[int, int, int]
"""The most that sets which begin with an offer can add, minor units and below a cent, and the offer's position."""
_Entry = tuple[int, float, int, int, float, float, float, float, list[int], list[int], _AtMost | None]
"""Position, ceiling, group, span, share, slack, log, shifted, rests and beyond by places left, at_most: see Part. A
plain tuple, because the loops take it apart at every node, and a named one takes three times as long."""
_NEIGHBOURS = 5
"""Positions in a row that share a tangent: to find one takes as long as to use it several times."""
_Tangent = tuple[list[float], list[float]]
_ABOVE, _CRUMB = 1 + 1e-12, 1e-6
"""What keeps errors of floating point on the safe side."""


@dataclass(frozen=True, slots=True)
class Part:
    """One offer as the bound sees it: its worth alone at most, what it adds below a cent, the bit of its group, the
    lines it can take something off, the share of them that it is worth (0: unknown), whether it takes that share off
    each of them, the most that rounding adds to its worth, and to what all offers together take; what bounds its worth
    where less is left, never more than where more is; and what it gives that is not off lines above their cost."""

    ceiling_minor: int
    rest: int
    group: int
    mask: tuple[int, ...]
    share: float = 0.0
    bites: bool = False
    slack: float = 0.5
    shifted: float = 0.5
    at_most: _AtMost | None = None
    beyond: int = 0


def part_of(prepared: Prepared, board: Board, rest: int, group: int) -> Part:
    """Return an offer as the bound sees it."""
    part = _taking(prepared, board, rest, group)
    return replace(part, beyond=_beyond(prepared, part, board))


def _beyond(prepared: Prepared, part: Part, board: Board) -> int:
    """Return the most that an offer gives, whatever was applied before, that is not off lines above their cost.

    Of what a line costs, a percentage takes its share at most: only offers that may go below cost touch it at all.
    """
    terms, cover = prepared.terms, prepared.cover
    if prepared.gifts or terms.kind in _NOT_OFF_LINES:
        return part.ceiling_minor
    if not terms.below_cost:
        return 0
    cost = sum(map(min, board.totals, map(mul, board.costs, cover.mask)))
    return min(part.ceiling_minor, cost, ceil(part.share * cost + part.shifted) if part.bites else cost)


def _taking(prepared: Prepared, board: Board, rest: int, group: int) -> Part:
    """Return an offer as the bound sees it, without what it gives beyond."""
    terms, cover, most = prepared.terms, prepared.cover, ceiling(prepared, board)
    mask, slack = cover.mask, terms.rounding_minor / 2
    # Shares are whole units: of n lines, some get at most n/4 in all above their exact part.
    shifted = slack + sum(mask) / 4
    if terms.kind == OfferKind.CASH_BACK or (terms.kind == OfferKind.BUNDLE and not terms.category):
        return Part(most, rest, group, mask, float(terms.percent) / 100, False, slack)
    if terms.kind == OfferKind.N_FOR_M:
        # The free pieces are the cheapest of each group, so they are worth their part of it at most.
        share, freed = 1 - terms.pay_quantity / terms.buy_quantity, free_pieces(terms, board, cover)
        return Part(most, rest, group, mask, share, slack=slack, at_most=lambda left: limited(terms, sum(freed(left))))
    percent = reached_step(terms, cover.spend).percent
    if terms.kind in _OTHER_FAMILIES or prepared.gifts:
        return Part(most, rest, group, mask)
    if not percent:
        return Part(most, rest, group, mask, 1.0, False, 0)
    if terms.list_price:
        listed = None if most == terms.max_discount_minor else lambda left: prepared.effect(left, 0)[0]
        return Part(most, rest, group, mask, at_most=listed)
    if cover.floors is not None:
        # What stands at its cost loses nothing; what it would have lost is not moved to other lines.
        tight = tight_lines(board)
        mask = tuple(int(room > 0 and at not in tight) for at, room in enumerate(cover.room(board.totals)))
        slack = shifted if mask != cover.mask else slack
    share = float(percent) / 100
    return Part(most, rest, group, mask, share, share < _STEEPEST, slack, shifted)


def tight_lines(board: Board) -> dict[int, int]:
    """Return index → cost of the lines that can hardly lose anything before they stand at their cost."""
    lines = enumerate(zip(board.totals, board.costs, strict=True))
    return {at: cost for at, (total, cost) in lines if total * (1 - _TIGHT) < cost < total}


class Bounds:
    """Bounds for every rest of the offers. Lines that the same offers cover are summed up: a cell."""

    def __init__(self, parts: Sequence[Part], slots: int, board: Board) -> None:
        self._costs, self._tight = board.costs, list(tight_lines(board).items())
        columns = list(zip(*(part.mask for part in parts), strict=True))
        kinds = sorted(set(columns))
        self._cells = [[at for at, column in enumerate(columns) if column == kind] for kind in kinds]
        spans = sorted({tuple(int(part.mask[cell[0]]) for cell in self._cells) for part in parts})
        self._spans = [[at for at, inside in enumerate(span) if inside] for span in spans]
        entries = []
        for at, part in enumerate(parts):
            span = spans.index(tuple(int(part.mask[cell[0]]) for cell in self._cells))
            log = -log1p(-part.share) if part.bites else 0.0
            shifted = part.shifted if len(self._spans[span]) > 1 else part.slack
            later = parts[at + 1 :]
            rests = [part.rest + rest for rest in [0, *_largest([other.rest for other in later], slots - 1)]]
            beyond = [part.beyond + more for more in [0, *_largest([other.beyond for other in later], slots - 1)]]
            most, sums = float(part.ceiling_minor), (rests, beyond)
            entries.append((at, most, part.group, span, part.share, part.slack, log, shifted, *sums, part.at_most))
        self._backwards: list[_Entry] = entries[::-1]
        self._tangents: dict[tuple[int, int], _Tangent] = {}

    def options(self, position: int, groups: int, slots: int, left: Sequence[int], least: int) -> list[Option]:
        """Return, for each offer from ``position`` on, how much sets that begin with it can add, the largest first.

        ``groups``: bits of the groups that are taken. ``left``: what is left of each line, minor units.
        Those that add less than ``least`` minor units are left out.
        """
        cells = [sum([left[at] for at in cell]) for cell in self._cells]
        now = [sum([cells[at] for at in span]) for span in self._spans]
        spare = sum([max(left[at] - cost, 0) for at, cost in self._tight])
        entries = self._backwards[: len(self._backwards) - position]
        if slots == 1:
            found = _last(entries, groups, now, left, least, spare)
        else:
            decay, offset = self._touch(entries, groups, slots, cells)
            base = spare + sum(map(mul, offset, cells))
            faded = list(map(mul, cells, decay))
            later = [sum([faded[at] for at in span]) for span in self._spans]
            room = sum([most - cost for most, cost in zip(left, self._costs, strict=True) if most > cost])
            found = _first(entries, groups, slots, (now, later), left, (base, room, least))
        found.sort(reverse=True)
        return found

    def _touch(self, entries: Sequence[_Entry], groups: int, slots: int, cells: Sequence[int]) -> _Tangent:
        """Return a tangent for these offers; any is sound, so one serves a few neighbours as well."""
        key = (len(entries) // _NEIGHBOURS, slots)
        if key not in self._tangents:
            self._tangents[key] = self._tangent(entries, groups, slots, cells)
        return self._tangents[key]

    def _tangent(self, entries: Sequence[_Entry], groups: int, slots: int, cells: Sequence[int]) -> _Tangent:
        """Return where to touch the curve: at the set that taking the largest again and again would choose.

        Any point is sound; a good one is near the set that turns out to be the best.
        """
        left = [float(cell) for cell in cells]
        logs = [0.0] * len(cells)
        open_ = [
            (most, group, span, share, log) for _, most, group, span, share, _, log, *_ in entries if not group & groups
        ]
        for _ in range(slots):
            sums = [sum([left[at] for at in span]) for span in self._spans]
            worths = [min(most, share * sums[span]) if share else most for most, _, span, share, _ in open_]
            best = max(worths, default=0.0)
            if best <= 0:
                break
            most, group, span, share, log = open_.pop(worths.index(best))
            open_ = [other for other in open_ if not other[1] & group]
            if log and best < most + 1:
                for at in self._spans[span]:
                    left[at] *= 1 - share
                    logs[at] += log
        decay = [exp(-log) for log in logs]
        return decay, [1 - rate * (1 + log) for rate, log in zip(decay, logs, strict=True)]


def _first(
    entries: Sequence[_Entry],
    groups: int,
    slots: int,
    sums: tuple[Sequence[int], Sequence[float]],
    left: Sequence[int],
    money: tuple[float, int, int],
) -> list[Option]:
    """Return the options while more than one place is left. ``entries``: the last offer first. ``sums``: what is left
    of each span, and what the tangent makes of it; ``money``: the tangent's constant, what lines have above their
    cost, and the least that counts."""
    (now, later), (base, room, least) = sums, money
    keep = 1 - slots
    found: list[Option] = []
    tops: list[float] = []
    of_group: dict[int, float] = {}
    for at, worth, group, span, share, slack, log, shifted, rests, beyond, at_most in entries:
        if group:
            if group & groups:
                continue
            if group in of_group:
                tops.remove(of_group[group])
        if share:
            limit = share * now[span] + slack
            if limit < worth:
                worth = limit
            if log:
                limit = log * later[span] + shifted
                if limit < worth:
                    worth = limit
        if at_most is not None:
            limit = at_most(left)
            if limit < worth:
                worth = limit
        total, most = base + worth + sum(tops[keep:]), room + beyond[slots]
        minor = int((total if total < most else most) * _ABOVE + _CRUMB)
        if minor >= least:
            found.append((minor, rests[slots], at))
        if group:
            of_group[group] = worth = max(worth, of_group.get(group, worth))
        insort(tops, worth)
    return found


def _last(
    entries: Sequence[_Entry], groups: int, now: Sequence[int], left: Sequence[int], least: int, spare: int
) -> list[Option]:
    """Return the options for the last place: what each offer is worth now, ``now`` being what is left of each span."""
    found = []
    for at, worth, group, span, share, slack, _, _, rests, _, at_most in entries:
        if worth < least - 1 or group & groups:
            continue
        if share:
            limit = share * now[span] + slack + spare
            if limit < worth:
                worth = limit
        if at_most is not None and worth >= least - 1:
            worth = min(worth, at_most(left))
        minor = int(worth * _ABOVE + _CRUMB)
        if minor >= least:
            found.append((minor, rests[0], at))
    return found


def _largest(values: Sequence[int], slots: int) -> list[int]:
    """Return the largest sum of at most 0, 1, … ``slots`` values."""
    sums = [0]
    for value in sorted(values, reverse=True)[:slots]:
        sums.append(sums[-1] + max(value, 0))
    return sums + [sums[-1]] * (slots + 1 - len(sums))
