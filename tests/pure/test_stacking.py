"""The best set of offers: as good as trying all of them, always the same, and every refusal has its reason."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from decimal import Decimal
from itertools import combinations
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from personalization.exceptions import BasketNotEligible
from personalization.ports.messages import SENTENCES
from personalization.pure.benefits import Board, ceiling, discount_for, qualified
from personalization.pure.money import Amount
from personalization.pure.stacking import REASONS, Candidate, Stack, application_order, resolve
from personalization.types import Basket, BasketLine, Discount, Gift, OfferKind, Terms
from tests.pure import stacks

BASKET = Basket((BasketLine("p0", 2, 2000, "tea"), BasketLine("p1", 1, 6000, "coffee")), "EUR", shipping_minor=490)
UNBOUNDED = 10**9


def percent(value: int, **fields: object) -> Terms:
    return Terms(OfferKind.COUPON, "EUR", Decimal(value), **fields)  # type: ignore[arg-type]


def amount(value: int, **fields: object) -> Terms:
    return Terms(OfferKind.COUPON, "EUR", amount_minor=value, **fields)  # type: ignore[arg-type]


def applied(chosen: Sequence[Candidate], basket: Basket) -> list[Discount] | None:
    """Apply offers one after the other; None if one of them would give nothing."""
    taken, shipping, found = [0] * len(basket.lines), basket.shipping_minor, []
    for candidate in chosen:
        try:
            discount = discount_for(candidate.terms, replace(basket, shipping_minor=shipping), taken)
        except BasketNotEligible:
            return None
        taken = [had + more for had, more in zip(taken, discount.per_line_minor, strict=True)]
        shipping -= discount.shipping_minor
        found.append(discount)
    return found


def allowed(chosen: Sequence[Candidate]) -> bool:
    groups = [each.exclusion_group for each in chosen if each.exclusion_group]
    return len(groups) == len(set(groups)) and (len(chosen) < 2 or not any(each.exclusive for each in chosen))


def brute_force(candidates: Sequence[Candidate], basket: Basket, limit: int) -> list[tuple[str, Discount]]:
    """Try every set of the offers that apply alone, compared as the page of documentation says."""
    ordered = [each for each in sorted(candidates, key=application_order) if applied([each], basket)]
    keys = sorted(each.key for each in ordered)
    best: tuple[tuple[object, ...], list[tuple[str, Discount]]] = ((0, 0, 0, 0, 0, []), [])
    for size in range(1, min(limit, len(ordered)) + 1):
        for chosen in combinations(ordered, size):
            found = applied(chosen, basket) if allowed(chosen) else None
            if found is None:
                continue
            names = {each.key for each in chosen}
            score = (
                sum(each.cost_minor for each in found),
                sum(len(each.gifts) for each in found),
                sum(each.points for each in found),
                sum(each.priority for each in chosen),
                -size,
                [key in names for key in keys],
            )
            if score > best[0]:
                best = score, [(each.key, discount) for each, discount in zip(chosen, found, strict=True)]
    return best[1]


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 2**32), st.integers(0, 8), st.integers(0, 5), st.sampled_from(stacks.SHAPES))
def test_it_is_the_set_that_trying_all_finds(seed: int, count: int, limit: int, shape: str) -> None:
    rng = Random(seed)
    basket, candidates = stacks.basket(rng), stacks.candidates(rng, count, shape)
    found = resolve(candidates, basket, limit, UNBOUNDED)
    assert found.exact
    assert list(found.chosen) == brute_force(candidates, basket, limit)
    assert {key for key, _ in found.chosen} | set(found.refused) == {each.key for each in candidates}
    assert resolve(candidates[::-1], basket, limit, UNBOUNDED).chosen == found.chosen


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 2**32))
def test_no_offer_gives_more_than_its_ceiling_whatever_went_before(seed: int) -> None:
    rng = Random(seed)
    basket, terms = stacks.basket(rng), stacks.terms(rng)
    if not applied([Candidate("a", terms)], basket):
        return
    taken = [rng.randint(0, line.total_minor) for line in basket.lines]
    try:
        given_then = discount_for(terms, basket, taken)
    except BasketNotEligible:
        return
    board = Board.of(basket)
    assert given_then.cost_minor <= ceiling(qualified(terms, board), board)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.integers(0, 30), st.sampled_from(stacks.SHAPES))
def test_a_small_budget_is_kept_and_told(seed: int, budget: int, shape: str) -> None:
    rng = Random(seed)
    basket, candidates = stacks.basket(rng), stacks.candidates(rng, 12, shape)
    found = resolve(candidates, basket, 4, budget)
    chosen = [next(each for each in candidates if each.key == key) for key, _ in found.chosen]
    assert applied(chosen, basket) == [discount for _, discount in found.chosen]
    assert allowed(chosen)
    assert len(chosen) <= 4
    best = resolve(candidates, basket, 4, UNBOUNDED)
    worth = [sum(discount.cost_minor for _, discount in each.chosen) for each in (found, best)]
    assert worth[0] <= worth[1]
    if found.exact:
        assert found.chosen == best.chosen
    assert sum(discount.shipping_minor for _, discount in found.chosen) <= basket.shipping_minor


def test_a_search_that_ends_early_says_so() -> None:
    rng = Random(5)
    found = resolve(stacks.candidates(rng, 40, "percentages"), stacks.basket(rng), 8, 200)
    assert not found.exact
    assert found.chosen


def reasons(found: Stack) -> dict[str, tuple[str, str]]:
    return {key: (refusal.reason, refusal.other_key) for key, refusal in found.refused.items()}


def test_every_refusal_has_its_reason() -> None:
    offers = [
        Candidate("best", percent(30), exclusion_group="g"),
        Candidate("same", percent(20), exclusion_group="g"),
        Candidate("alone", percent(10), exclusive=True),
        Candidate("dollars", replace(amount(100), currency="USD")),
        Candidate("dear", amount(100, threshold_minor=20_000)),
        Candidate("books", amount(100, category="books")),
        Candidate("small", amount(100)),
    ]
    found = resolve(offers, BASKET, 1)
    assert [key for key, _ in found.chosen] == ["best"]
    assert reasons(found) == {
        "same": ("same_group", "best"),
        "alone": ("stands_alone", "best"),
        "dollars": ("currency", ""),
        "dear": ("below_threshold", ""),
        "books": ("no_product", ""),
        "small": ("limit", ""),
    }
    assert found.refused["dear"].params == {"missing": Amount(100_00, "EUR")}
    assert reasons(resolve([replace(offers[0], exclusive=True), offers[6]], BASKET, 3)) == {
        "small": ("exclusive", "best")
    }


def test_a_second_free_delivery_gives_nothing_more() -> None:
    twice = [Candidate(key, Terms(OfferKind.FREE_SHIPPING, "EUR")) for key in ("a", "b")]
    found = resolve(twice, BASKET, 2)
    assert [key for key, _ in found.chosen] == ["a"]
    assert reasons(found) == {"b": ("better_without", "")}


def test_cash_back_counts_on_what_is_really_paid() -> None:
    offers = [
        Candidate("back", Terms(OfferKind.CASH_BACK, "EUR", Decimal(10)), priority=9),
        Candidate("gift", Terms(OfferKind.GIFT, "EUR", gift=Gift("g", 100)), priority=5),
        Candidate("half", percent(50)),
    ]
    found = resolve(offers, BASKET, 3)
    worth = [(key, discount.cost_minor) for key, discount in found.chosen]
    assert worth == [("half", 5000), ("gift", 100), ("back", 500)]


def test_equal_offers_are_decided_by_priority_then_key() -> None:
    equal = [Candidate("b", amount(500)), Candidate("a", amount(500)), Candidate("c", amount(500), priority=1)]
    assert [key for key, _ in resolve(equal, BASKET, 1).chosen] == ["c"]
    assert [key for key, _ in resolve(equal, BASKET, 2).chosen] == ["c", "a"]


def test_points_that_cost_nothing_are_still_given() -> None:
    free = Candidate("points", Terms(OfferKind.POINTS, "EUR", points=10), priority=-3)
    assert [key for key, _ in resolve([free], BASKET, 2).chosen] == ["points"]


def test_two_offers_with_one_key_are_refused() -> None:
    with pytest.raises(ValueError, match="different keys"):
        resolve([Candidate("a", amount(1)), Candidate("a", amount(2))], BASKET, 2)


def test_every_reason_is_listed_for_translation() -> None:
    assert set(REASONS.values()) <= set(SENTENCES)
