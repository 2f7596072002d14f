"""What an offer gives on a basket: pure functions over integer minor units, one per family of offer kinds.

A percentage is rounded half up once, on the covered total, to the currency's smallest step; the total is then shared
among the covered lines by largest remainder, so that the lines add up to the last cent. No line is taken below its
cost unless the terms allow it: a percentage off lines is cut there; an amount, and what a bundle or a free piece
gives, a bundle's percentage included, moves on to the other lines that take part. ``taken`` says what other offers
have taken off each line already; thresholds count the basket before any offer.

A family is a function that prepares the terms for one basket and returns an :data:`Effect`: what they give, in plain
integers, for whatever is left of the lines. The search for the best set calls effects; everybody else gets a Discount.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from decimal import ROUND_HALF_UP, Decimal
from operator import mul

from personalization.exceptions import BasketNotEligible
from personalization.pure.money import Amount
from personalization.pure.shares import allocate as allocate
from personalization.pure.shares import allocate_within as allocate_within
from personalization.types import Basket, BasketLine, Discount, OfferKind, Step, Terms

Off = tuple[int, ...]
Gain = tuple[int, Sequence[int] | None, int, int]
"""Off the lines together, off each line (None: nothing), off delivery, granted later; minor units."""
Effect = Callable[[Sequence[int], int], Gain]
"""What is left of each line, and of delivery → what the terms give there."""


def covers(terms: Terms, line: BasketLine) -> bool:
    """Return whether the offer is about this line."""
    return (not terms.category or line.category == terms.category) and (
        not terms.item_ids or line.item_id in terms.item_ids
    )


@dataclass(frozen=True, slots=True)
class Board:
    """A basket as plain numbers, in the order of its lines."""

    basket: Basket
    totals: Off
    lists: Off
    costs: Off

    @classmethod
    def of(cls, basket: Basket) -> Board:
        """Return the numbers of a basket."""
        costs = tuple(line.quantity * (line.unit_cost_minor or 0) for line in basket.lines)
        lines = basket.lines
        return cls(basket, tuple(line.total_minor for line in lines), tuple(line.list_minor for line in lines), costs)


class Cover:
    """Which lines some terms are about, and down to what they may go."""

    __slots__ = ("floors", "mask", "spend")

    def __init__(self, terms: Terms, board: Board) -> None:
        if terms.category or terms.item_ids:
            self.mask = tuple(int(covers(terms, line)) for line in board.basket.lines)
        else:
            self.mask = (1,) * len(board.totals)
        self.spend = sum(map(mul, board.totals, self.mask))
        floored = not terms.below_cost and any(map(mul, board.costs, self.mask))
        self.floors: Off | None = board.costs if floored else None

    def weights(self, left: Sequence[int]) -> list[int]:
        """Return what is left of the covered lines, 0 for the others."""
        return list(map(mul, left, self.mask))

    def room(self, left: Sequence[int]) -> list[int]:
        """Return, per line, the most that may still come off: nothing of what is not covered."""
        if self.floors is None:
            return self.weights(left)
        return [
            max(most - floor, 0) if covered else 0
            for most, floor, covered in zip(left, self.floors, self.mask, strict=True)
        ]


class Prepared:
    """Terms that are ready to be computed on one basket, any number of times.

    Raises BasketNotEligible if they give nothing on this basket, whatever has been taken off its lines.
    """

    __slots__ = ("cover", "effect", "gifts", "points", "points_cost_minor", "present_minor", "terms")

    def __init__(self, terms: Terms, board: Board, cover: Cover | None = None) -> None:
        kind = terms.kind
        present = kind == OfferKind.GIFT or is_present(terms)
        self.terms = terms
        self.cover = cover or Cover(terms, board)
        self.gifts = (terms.gift,) if present and terms.gift else ()
        self.points = terms.points if kind == OfferKind.POINTS else 0
        self.points_cost_minor = rounded(terms.points * terms.point_value_minor) if self.points else 0
        self.present_minor = sum(gift.value_minor for gift in self.gifts) + self.points_cost_minor
        self.effect: Effect = _FAMILIES.get(kind, _off_lines)(terms, board, self.cover)

    def worth(self, gain: Gain) -> int:
        """Return what a gain costs the campaign's budget, gifts and points included; -1 if there is none at all."""
        cost = gain[0] + gain[2] + gain[3] + self.present_minor
        return cost if cost > 0 or self.points or self.gifts else -1

    def discount(self, left: Sequence[int], shipping: int) -> Discount:
        """Return the benefit on what is left. Raises BasketNotEligible if that gives nothing."""
        gain = self.effect(left, shipping)
        if self.worth(gain) < 0:
            raise BasketNotEligible(
                "This basket is too small for the discount to be worth a cent.", reason="nothing_off"
            )
        amount, shares, delivery, later = gain
        lines = (0,) * len(left) if shares is None else tuple(shares)
        return Discount(amount, lines, delivery, self.gifts, later, self.points, self.points_cost_minor)


def discount_for(terms: Terms, basket: Basket, taken: Sequence[int] = ()) -> Discount:
    """Return the benefit of these terms on this basket, after what other offers have ``taken`` off its lines.

    Raises BasketNotEligible, with what is missing, if the basket does not qualify. What comes off never exceeds the
    covered lines, nor ``max_discount_minor``.
    """
    board = Board.of(basket)
    left = tuple(map(int.__sub__, board.totals, taken)) if taken else board.totals
    return qualified(terms, board).discount(left, basket.shipping_minor)


def qualified(terms: Terms, board: Board) -> Prepared:
    """Return terms prepared for a basket. Raises BasketNotEligible if the basket does not qualify for them."""
    if board.basket.currency != terms.currency:
        raise BasketNotEligible("This offer is in another currency.", reason="currency")
    if terms.kind == OfferKind.ANNOUNCEMENT:
        raise BasketNotEligible("This offer carries no discount.", reason="no_benefit")
    cover = Cover(terms, board)
    if cover.spend <= 0:
        raise BasketNotEligible("No product in the basket belongs to this offer.", reason="no_product")
    _require_threshold(terms, cover.spend)
    return Prepared(terms, board, cover)


def _require_threshold(terms: Terms, spend: int) -> None:
    first = min((step.threshold_minor for step in terms.steps), default=0)
    missing = max(terms.threshold_minor, first) - spend
    if missing > 0:
        amount = Amount(missing, terms.currency)
        raise BasketNotEligible(
            "Spend %(missing)s more to use this offer.", reason="below_threshold", params={"missing": amount}
        )


def _off_lines(terms: Terms, board: Board, cover: Cover) -> Effect:
    """A percentage or an amount off the covered lines; a gift where the terms name one."""
    if is_present(terms):
        return _nothing_off
    step = reached_step(terms, cover.spend)
    listed = cover.weights(board.lists) if terms.list_price else None
    if step.percent:
        return _percent_off(terms, step, cover, listed)
    amount = limited(terms, step.amount_minor)

    def effect(left: Sequence[int], shipping: int) -> Gain:
        shares = allocate_within(amount, listed or cover.weights(left), cover.room(left))
        return sum(shares), shares, 0, 0

    return effect


def _nothing_off(left: Sequence[int], shipping: int) -> Gain:
    return 0, None, 0, 0


def is_present(terms: Terms) -> bool:
    """Return whether terms that could take something off lines give their gift instead."""
    money = terms.percent or terms.amount_minor or terms.steps
    return terms.kind not in _FAMILIES and terms.gift is not None and not money


def _percent_off(terms: Terms, step: Step, cover: Cover, listed: list[int] | None) -> Effect:
    benefit = benefit_of(step, terms.rounding_minor)
    most, floored = terms.max_discount_minor, cover.floors is not None or listed is not None

    def effect(left: Sequence[int], shipping: int) -> Gain:
        weights = listed or cover.weights(left)
        total = sum(weights)
        amount = benefit(total)
        shares: Sequence[int] = allocate(amount, weights)
        # Cut at cost first and capped after: a line that may lose nothing must not use up the largest discount.
        if floored or amount > total:
            shares = tuple(map(min, shares, cover.room(left)))
        amount = sum(shares)
        if most is not None and amount > most:
            shares = allocate(most, shares)
            amount = sum(shares)
        return amount, shares, 0, 0

    return effect


def reached_step(terms: Terms, spend: int) -> Step:
    """Return the highest step that the spend reaches; without steps the terms themselves are the only one."""
    reached = [step for step in terms.steps if spend >= step.threshold_minor]
    if reached:
        return max(reached, key=lambda step: step.threshold_minor)
    return Step(terms.threshold_minor, terms.percent, terms.amount_minor)


def benefit_of(step: Step, rounding_minor: int) -> Callable[[int], int]:
    """Return what computes the benefit on a covered sum; percentages are rounded half up, as in :func:`rounded`."""
    if not step.percent:
        return lambda covered_minor: step.amount_minor
    above, below = step.percent.as_integer_ratio()
    below *= 100 * rounding_minor
    return lambda covered_minor: (2 * covered_minor * above + below) // (2 * below) * rounding_minor


def limited(terms: Terms, amount: int) -> int:
    return amount if terms.max_discount_minor is None else min(amount, terms.max_discount_minor)


def rounded(exact: Decimal, rounding_minor: int = 1) -> int:
    """Round half up to whole steps of ``rounding_minor`` minor units."""
    return int((exact / rounding_minor).quantize(Decimal(1), rounding=ROUND_HALF_UP)) * rounding_minor


def _bundle(terms: Terms, board: Board, cover: Cover) -> Effect:
    """The benefit for each complete set of the named products; a line counts with the pieces that are in sets."""
    lines, pieces = board.basket.lines, dict.fromkeys(terms.item_ids, 0)
    for line in lines:
        if line.item_id in pieces:
            pieces[line.item_id] += line.quantity
    sets = min(pieces.values(), default=0)
    if sets <= 0:
        raise BasketNotEligible("The basket does not hold all products of this bundle.", reason="incomplete_bundle")
    used, free = [], dict.fromkeys(terms.item_ids, sets)
    for line in lines:
        used.append(min(free.get(line.item_id, 0), line.quantity))
        free[line.item_id] = free.get(line.item_id, 0) - used[-1]
    parts = [(many, line.quantity or 1) for many, line in zip(used, lines, strict=True)]
    benefit = benefit_of(Step(0, terms.percent, terms.amount_minor * sets), terms.rounding_minor)

    def effect(left: Sequence[int], shipping: int) -> Gain:
        weights = [most * many // whole for most, (many, whole) in zip(left, parts, strict=True)]
        amount = limited(terms, benefit(sum(weights)))
        shares = allocate_within(amount, weights, list(map(min, cover.room(left), weights)))
        return sum(shares), shares, 0, 0

    return effect


def _n_for_m(terms: Terms, board: Board, cover: Cover) -> Effect:
    freed = free_pieces(terms, board, cover)

    def effect(left: Sequence[int], shipping: int) -> Gain:
        off = freed(left)
        shares = allocate_within(limited(terms, sum(off)), off, list(map(min, off, cover.room(left))))
        return sum(shares), shares, 0, 0

    return effect


def free_pieces(terms: Terms, board: Board, cover: Cover) -> Callable[[Sequence[int]], list[int]]:
    """Return what computes, from what is left of each line, the price of its free pieces.

    Of every ``buy_quantity`` covered pieces, dearest first, ``pay_quantity`` are paid: the cheapest are free.
    """
    lines, buy, pay = board.basket.lines, terms.buy_quantity, terms.pay_quantity
    runs = [(at, lines[at].quantity) for at, covered in enumerate(cover.mask) if covered and lines[at].quantity > 0]
    pieces = sum(many for _, many in runs)
    whole = pieces - pieces % buy if buy > 0 else 0
    if whole <= 0 or pay >= buy:
        raise BasketNotEligible(
            "Put %(count)s pieces of this offer into the basket.", reason="too_few_pieces", params={"count": buy}
        )

    def freed(left: Sequence[int]) -> list[int]:
        off, place, free = [0] * len(left), 0, 0
        for price, at, many in sorted([(-(left[at] // many), at, many) for at, many in runs]):
            place = min(place + many, whole)
            groups, rest = divmod(place, buy)
            so_far = groups * (buy - pay) + max(0, rest - pay)
            off[at], free = price * (free - so_far), so_far
        return off

    return freed


def _free_shipping(terms: Terms, board: Board, cover: Cover) -> Effect:
    if board.basket.shipping_minor <= 0:
        raise BasketNotEligible("This basket is delivered for nothing already.", reason="no_shipping")
    return lambda left, shipping: (0, None, limited(terms, shipping), 0)


def _present(terms: Terms, board: Board, cover: Cover) -> Effect:
    """A gift or points: they are the same whatever is left of the lines."""
    return _nothing_off


def _later(terms: Terms, board: Board, cover: Cover) -> Effect:
    """Cash-back on what is really paid for the covered lines, or a gift card of a fixed value."""
    if terms.kind == OfferKind.GIFT_CARD:
        return lambda left, shipping: (0, None, 0, terms.amount_minor)
    benefit = benefit_of(Step(0, terms.percent, terms.amount_minor), terms.rounding_minor)

    def effect(left: Sequence[int], shipping: int) -> Gain:
        paid = sum(cover.weights(left))
        return 0, None, 0, limited(terms, min(benefit(paid), paid))

    return effect


_FAMILIES: dict[OfferKind, Callable[[Terms, Board, Cover], Effect]] = {
    OfferKind.BUNDLE: _bundle,
    OfferKind.N_FOR_M: _n_for_m,
    OfferKind.FREE_SHIPPING: _free_shipping,
    OfferKind.GIFT: _present,
    OfferKind.GIFT_CARD: _later,
    OfferKind.CASH_BACK: _later,
    OfferKind.POINTS: _present,
}


def ceiling(prepared: Prepared, board: Board) -> int:
    """Return a bound on what the terms cost on a qualifying basket, whatever has been taken off its lines before.

    Alone an offer may give less than after others: what they take off can move a free piece, or a share of rounding,
    from a line at its cost to one that has room. So the bound is the whole benefit, or all room if that is less. A
    percentage off lines is cut at cost on each, so only whole units can move: at most two a line, and a step.
    """
    free, shipping = prepared, board.basket.shipping_minor
    if prepared.cover.floors is not None:
        free = Prepared(replace(prepared.terms, below_cost=True), board)
    gain = free.effect(board.totals, shipping)
    if not gain[0]:
        return free.worth(gain)
    most = min(gain[0], sum(prepared.cover.room(board.totals)))
    if prepared.terms.kind not in _FAMILIES and reached_step(prepared.terms, prepared.cover.spend).percent:
        alone = prepared.effect(board.totals, shipping)[0]
        return min(most, alone + 2 * len(board.totals) + prepared.terms.rounding_minor)
    return most
