"""Every kind of offer on every sort of basket: exact, within its limits, and quick."""

from __future__ import annotations

import time
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from personalization.exceptions import BasketNotEligible
from personalization.pure.benefits import (
    allocate_within,
    covers,
    discount_for,
    rounded,
)
from personalization.pure.costs import expected_benefit, nominal, worst_case
from personalization.pure.returns import after_return
from personalization.pure.stacking import Candidate, resolve
from personalization.types import Basket, BasketLine, Discount, Gift, OfferKind, Step, Terms

ITEMS = ("a", "b", "c")
LATER = {OfferKind.CASH_BACK, OfferKind.GIFT_CARD, OfferKind.POINTS, OfferKind.GIFT, OfferKind.FREE_SHIPPING}
percents = st.integers(1, 10_000).map(lambda hundredths: Decimal(hundredths) / 100)


@st.composite
def baskets(draw: st.DrawFn) -> Basket:
    lines = []
    for _ in range(draw(st.integers(1, 6))):
        quantity, price = draw(st.integers(1, 9)), draw(st.integers(0, 5000))
        host = draw(st.one_of(st.just(0), st.integers(0, quantity * price + 10)))
        cost = draw(st.one_of(st.none(), st.integers(0, 5000)))
        line = BasketLine(draw(st.sampled_from(ITEMS)), quantity, price, draw(st.sampled_from(("", "tea"))), host, cost)
        lines.append(line)
    return Basket(tuple(lines), "EUR", shipping_minor=draw(st.sampled_from((0, 490))))


@st.composite
def terms(draw: st.DrawFn) -> Terms:
    kind = draw(st.sampled_from(list(OfferKind)))
    fields: dict[str, Any] = draw(
        st.one_of(
            st.fixed_dictionaries({"percent": percents}),
            st.fixed_dictionaries({"amount_minor": st.integers(1, 20_000)}),
            st.just({}),
        )
    )
    pay = draw(st.integers(1, 4))
    if kind == OfferKind.SPEND_THRESHOLD and draw(st.booleans()):
        fields = {"steps": (Step(1000, Decimal(5)), Step(4000, amount_minor=draw(st.integers(1, 4000))))}
    return Terms(
        kind, "EUR", **fields,
        threshold_minor=draw(st.sampled_from((0, 3000))),
        max_discount_minor=draw(st.one_of(st.none(), st.integers(1, 5000))),
        category=draw(st.sampled_from(("", "tea"))),
        item_ids=draw(st.frozensets(st.sampled_from(ITEMS))),
        buy_quantity=pay + draw(st.integers(1, 3)),
        pay_quantity=pay,
        gift=draw(st.one_of(st.none(), st.builds(Gift, st.just("g"), st.integers(0, 900)))),
        points=draw(st.integers(0, 500)),
        point_value_minor=draw(st.sampled_from((Decimal(0), Decimal("0.5"), Decimal(2)))),
        below_cost=draw(st.booleans()),
        list_price=draw(st.booleans()),
        rounding_minor=draw(st.sampled_from((1, 5))),
    )  # fmt: skip


def granted(rules: Terms, basket: Basket, taken: tuple[int, ...] = ()) -> Discount | None:
    try:
        return discount_for(rules, basket, taken)
    except BasketNotEligible:
        return None


@settings(max_examples=500, deadline=None)
@given(terms(), baskets(), st.data())
def test_whatever_the_kind_it_adds_up_and_keeps_its_limits(rules: Terms, basket: Basket, data: st.DataObject) -> None:
    taken = tuple(data.draw(st.integers(0, line.total_minor)) for line in basket.lines)
    found = granted(rules, basket, taken)
    if found is None:
        return
    assert found.amount_minor == sum(found.per_line_minor)
    assert min(found.amount_minor, found.later_minor, found.points_cost_minor) >= 0
    assert 0 <= found.shipping_minor <= basket.shipping_minor
    for line, off, before in zip(basket.lines, found.per_line_minor, taken, strict=True):
        floor = 0 if rules.below_cost else line.quantity * (line.unit_cost_minor or 0)
        assert off == 0 or (covers(rules, line) and line.total_minor - before - off >= floor)
        assert 0 <= off <= line.total_minor - before
    if rules.max_discount_minor is not None and rules.kind != OfferKind.GIFT_CARD:
        assert found.off_minor + found.later_minor <= rules.max_discount_minor
    bound = worst_case(rules)
    assert bound is None or found.cost_minor <= bound
    assert found.cost_minor > 0 or found.points or found.gifts


def what_is_kept(basket: Basket, data: st.DataObject) -> Basket:
    """Return the basket after some pieces of some lines went back."""
    return replace(
        basket,
        lines=tuple(
            replace(line, quantity=left, host_discount_minor=line.host_discount_minor * left // line.quantity)
            for line in basket.lines
            for left in [data.draw(st.integers(0, line.quantity))]
        ),
    )


@settings(max_examples=300, deadline=None)
@given(st.lists(terms(), min_size=2, max_size=4), baskets(), st.data())
def test_offers_that_applied_together_are_computed_together_after_a_return(
    several: list[Terms], basket: Basket, data: st.DataObject
) -> None:
    stack = resolve([Candidate(str(n), rules) for n, rules in enumerate(several)], basket, limit=4)
    given_before = [(several[int(key)], discount) for key, discount in stack.chosen]
    kept = what_is_kept(basket, data)
    after = after_return(given_before, kept)
    assert all(found.cost_minor <= before.cost_minor for found, (_, before) in zip(after, given_before, strict=True))
    for index, line in enumerate(kept.lines):
        assert sum(found.per_line_minor[index] for found in after) <= line.total_minor
    assert sum(found.shipping_minor for found in after) <= kept.shipping_minor
    if kept == basket:
        assert after == [before for _, before in given_before]


@settings(max_examples=300, deadline=None)
@given(terms(), baskets(), st.data())
def test_a_return_never_gives_more_than_was_granted(rules: Terms, basket: Basket, data: st.DataObject) -> None:
    before = granted(rules, basket)
    if before is None:
        return
    kept = what_is_kept(basket, data)
    [after] = after_return([(rules, before)], kept)
    assert after.cost_minor <= before.cost_minor
    assert after.points <= before.points
    assert len(after.per_line_minor) == len(kept.lines)
    assert all(off <= line.total_minor for off, line in zip(after.per_line_minor, kept.lines, strict=True))


@settings(max_examples=300, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 6), st.integers(1, 500)), min_size=1, max_size=5),
    st.integers(1, 4),
    st.integers(1, 3),
)
def test_free_pieces_are_those_that_counting_piece_by_piece_finds(
    runs: list[tuple[int, int]], pay: int, free: int
) -> None:
    basket = Basket(tuple(BasketLine(f"p{i}", many, price) for i, (many, price) in enumerate(runs)), "EUR")
    pieces = sorted((price for many, price in runs for _ in range(many)), reverse=True)
    group = pay + free
    expected = sum(
        sum(pieces[start + pay : start + group]) for start in range(0, len(pieces) - len(pieces) % group, group)
    )
    found = granted(Terms(OfferKind.N_FOR_M, "EUR", buy_quantity=group, pay_quantity=pay), basket)
    assert (found.amount_minor if found else 0) == expected


@given(st.lists(st.tuples(st.integers(0, 500), st.integers(0, 500)), max_size=8), st.integers(0, 4000))
def test_an_amount_fills_all_room_that_there_is(pairs: list[tuple[int, int]], amount: int) -> None:
    weights, rooms = [weight for weight, _ in pairs], [room for _, room in pairs]
    shares = allocate_within(amount, weights, rooms)
    assert sum(shares) == min(amount, sum(room for weight, room in pairs if weight))
    assert all(0 <= share <= (room if weight else 0) for share, (weight, room) in zip(shares, pairs, strict=True))


@pytest.mark.parametrize(
    ("spend", "expected"), [(4999, None), (5000, 500), (9999, 500), (10_000, 1500), (20_000, 4000)]
)
def test_more_for_more(spend: int, expected: int | None) -> None:
    steps = (Step(5000, amount_minor=500), Step(10_000, amount_minor=1500), Step(20_000, Decimal(20)))
    found = granted(Terms(OfferKind.SPEND_THRESHOLD, "EUR", steps=steps), Basket((BasketLine("a", 1, spend),), "EUR"))
    assert (found.amount_minor if found else None) == expected


def test_a_percentage_of_the_list_price_stops_at_what_the_shop_left() -> None:
    basket = Basket((BasketLine("a", 1, 1000, host_discount_minor=300),), "EUR")
    rules = Terms(OfferKind.COUPON, "EUR", Decimal(20))
    assert discount_for(rules, basket).amount_minor == 140
    assert discount_for(replace(rules, list_price=True), basket).amount_minor == 200
    assert discount_for(replace(rules, list_price=True, percent=Decimal(90)), basket).amount_minor == 700


def test_a_line_at_its_cost_does_not_use_up_the_largest_discount() -> None:
    basket = Basket((BasketLine("a", 1, 1000, unit_cost_minor=1000), BasketLine("b", 1, 1000)), "EUR")
    capped = Terms(OfferKind.COUPON, "EUR", Decimal(50), max_discount_minor=300)
    assert discount_for(capped, basket).per_line_minor == (0, 300)


def test_a_bundle_counts_its_complete_sets() -> None:
    basket = Basket((BasketLine("a", 3, 1000), BasketLine("b", 2, 500), BasketLine("c", 1, 9)), "EUR")
    rules = Terms(OfferKind.BUNDLE, "EUR", Decimal(10), item_ids=frozenset("ab"))
    assert discount_for(rules, basket).per_line_minor == (200, 100, 0)
    assert discount_for(replace(rules, percent=Decimal(0), amount_minor=150), basket).amount_minor == 300
    with pytest.raises(BasketNotEligible) as refusal:
        discount_for(replace(rules, item_ids=frozenset("ad")), basket)
    assert refusal.value.reason == "incomplete_bundle"


@pytest.mark.parametrize(("exact", "expected"), [("12.4", 10), ("12.5", 15), ("17.4", 15), ("2.4", 0)])
def test_rounding_to_the_smallest_coin(exact: str, expected: int) -> None:
    assert rounded(Decimal(exact), 5) == expected


@pytest.mark.parametrize("kind", [OfferKind.COUPON, OfferKind.N_FOR_M, OfferKind.BUNDLE, OfferKind.CASH_BACK])
def test_a_huge_basket_is_quick(kind: OfferKind) -> None:
    lines = tuple(BasketLine(f"p{i}", 100_000, 100 + i, unit_cost_minor=100 + i - i % 50) for i in range(1000))
    benefit = {} if kind == OfferKind.N_FOR_M else {"percent": Decimal(30)}
    named = frozenset({"p0", "p999"}) if kind == OfferKind.BUNDLE else frozenset()
    rules = Terms(kind, "EUR", item_ids=named, buy_quantity=3, pay_quantity=2, **benefit)  # type: ignore[arg-type]
    for each in (rules, replace(rules, max_discount_minor=10**9)):
        began = time.process_time()
        assert discount_for(each, Basket(lines, "EUR")).cost_minor > 0
        assert time.process_time() - began < 0.5


def test_filling_up_line_after_line_is_quick() -> None:
    rooms = [1 + i * i for i in range(1000)]
    began = time.process_time()
    assert sum(allocate_within(sum(rooms) - 1, [10**6] * 1000, rooms)) == sum(rooms) - 1
    assert time.process_time() - began < 0.5


@settings(max_examples=300, deadline=None)
@given(terms())
def test_plain_numbers_stand_for_terms_of_every_kind(rules: Terms) -> None:
    """A forecast by plain numbers costs something wherever the terms do."""
    percent, amount = nominal(rules)
    assert 0 <= percent <= 100
    assert amount >= 0
    if rules.kind != OfferKind.ANNOUNCEMENT and expected_benefit(rules, 5000) >= 1:
        assert percent or amount
