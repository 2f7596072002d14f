"""What the search relies on: prepared offers give what fresh ones give, and no bound is below what a set adds."""

from __future__ import annotations

from itertools import combinations
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from personalization.exceptions import BasketNotEligible
from personalization.pure.benefits import Board, Prepared, discount_for, qualified
from personalization.pure.bounds import Bounds, part_of
from personalization.pure.stacking import application_order
from personalization.types import Basket, Discount, Terms
from tests.pure import stacks


def fresh(terms: Terms, basket: Basket, taken: tuple[int, ...]) -> Discount | None:
    try:
        return discount_for(terms, basket, taken)
    except BasketNotEligible:
        return None


def prepared_all(rng: Random, board: Board, count: int, shape: str) -> list[tuple[str, Prepared]]:
    """Return the offers that apply alone, in order of application, with their groups."""
    found = []
    for candidate in sorted(stacks.candidates(rng, count, shape), key=application_order):
        try:
            offer = qualified(candidate.terms, board)
            offer.discount(board.totals, board.basket.shipping_minor)
        except BasketNotEligible:
            continue
        found.append((candidate.exclusion_group, offer))
    return found


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 2**32), st.sampled_from(stacks.SHAPES))
def test_prepared_once_it_gives_what_a_fresh_computation_gives(seed: int, shape: str) -> None:
    rng = Random(seed)
    basket = stacks.basket(rng)
    board = Board.of(basket)
    offers = prepared_all(rng, board, 4, shape)
    for _ in range(5):
        taken = tuple(rng.choice([0, total, rng.randint(0, total)]) for total in board.totals)
        left = tuple(map(int.__sub__, board.totals, taken))
        for _, offer in offers:
            gain, expected = offer.effect(left, basket.shipping_minor), fresh(offer.terms, basket, taken)
            assert offer.worth(gain) == (expected.cost_minor if expected else -1)
            if expected:
                assert offer.discount(left, basket.shipping_minor) == expected


def adds(chosen: tuple[Prepared, ...], left: tuple[int, ...], shipping: int) -> int:
    """Return what offers cost the campaign, applied one after the other to what is left."""
    cost = 0
    for offer in chosen:
        gain = offer.effect(left, shipping)
        cost, shipping = cost + max(offer.worth(gain), 0), shipping - gain[2]
        left = left if gain[1] is None else tuple(map(int.__sub__, left, gain[1]))
    return cost


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 4), st.sampled_from(stacks.SHAPES))
def test_no_bound_is_below_what_a_set_adds(seed: int, slots: int, shape: str) -> None:
    rng = Random(seed)
    basket = stacks.basket(rng)
    board = Board.of(basket)
    offers = prepared_all(rng, board, 7, shape)
    names = sorted({group for group, _ in offers if group})
    bits = [1 << names.index(group) if group else 0 for group, _ in offers]
    parts = [part_of(offer, board, 0, bit) for (_, offer), bit in zip(offers, bits, strict=True)]
    bounds = Bounds(parts, slots, board)
    for _ in range(3):  # The first state chooses the tangent; it must hold for all others.
        near = [min(total, cost + rng.randint(0, 500)) for total, cost in zip(board.totals, board.costs, strict=True)]
        anyhow = [rng.choice([total, rng.randint(0, total)]) for total in board.totals]
        left = tuple(rng.choice([anyhow, near]))
        most = {at: minor for minor, _, at in bounds.options(0, 0, slots, left, 0)}
        for size in range(1, slots + 1):
            for places in combinations(range(len(offers)), size):
                groups = [bits[at] for at in places if bits[at]]
                if len(groups) == len(set(groups)):
                    worth = adds(tuple(offers[at][1] for at in places), left, basket.shipping_minor)
                    assert worth <= most[places[0]], (places, left)
