"""What an offer takes off a basket: pure functions over integer minor units.

A percentage is rounded half up once, on the total; the total is then shared among the discounted lines by largest
remainder, so that the lines add up to the last cent.
"""

from __future__ import annotations

from collections.abc import Sequence
from decimal import ROUND_HALF_UP, Decimal

from personalization.exceptions import BasketNotEligible
from personalization.pure.money import format_minor
from personalization.types import Basket, Discount, OfferKind, Terms


def allocate(amount_minor: int, weights: Sequence[int]) -> tuple[int, ...]:
    """Share ``amount_minor`` in proportion to ``weights`` (non-negative) by largest remainder.

    The shares sum exactly to the amount, and none exceeds its weight if the amount does not exceed their sum.
    """
    total = sum(weights)
    if total <= 0:
        return tuple(0 for _ in weights)
    shares = [amount_minor * weight // total for weight in weights]
    remainders = sorted(range(len(weights)), key=lambda i: (-(amount_minor * weights[i] % total), i))
    for index in remainders[: amount_minor - sum(shares)]:
        shares[index] += 1
    return tuple(shares)


def eligible_weights(terms: Terms, basket: Basket) -> list[int]:
    """Return each line's total if the offer covers it, else 0."""
    return [line.total_minor if not terms.category or line.category == terms.category else 0 for line in basket.lines]


def discount_for(terms: Terms, basket: Basket) -> Discount:
    """Return the discount of these terms on this basket.

    Raises BasketNotEligible, with what is missing, if the basket does not qualify. The discount never exceeds the
    covered lines, nor ``max_discount_minor``.
    """
    if basket.currency != terms.currency:
        raise BasketNotEligible("This offer is in another currency.", reason="currency")
    if terms.kind == OfferKind.ANNOUNCEMENT:
        raise BasketNotEligible("This offer carries no discount.", reason="no_benefit")
    weights = eligible_weights(terms, basket)
    covered = sum(weights)
    if covered <= 0:
        raise BasketNotEligible("No product in the basket belongs to this offer.", reason="no_product")
    if covered < terms.threshold_minor:
        missing = format_minor(terms.threshold_minor - covered, terms.currency)
        raise BasketNotEligible(
            "Spend %(missing)s more to use this offer.", reason="below_threshold", params={"missing": missing}
        )
    amount = benefit_on(terms, covered)
    if amount <= 0:
        raise BasketNotEligible("This basket is too small for the discount to be worth a cent.", reason="nothing_off")
    return Discount(amount, allocate(amount, weights))


def benefit_on(terms: Terms, covered_minor: int) -> int:
    """Return the benefit on a covered spend, threshold ignored: never negative, never above the spend."""
    if terms.percent:
        exact = Decimal(covered_minor) * terms.percent / 100
        amount = int(exact.quantize(Decimal(1), rounding=ROUND_HALF_UP))
    else:
        amount = terms.amount_minor
    if terms.max_discount_minor is not None:
        amount = min(amount, terms.max_discount_minor)
    return max(0, min(amount, covered_minor))


def expected_benefit(terms: Terms, basket_minor: float) -> float:
    """Return what a redemption is expected to cost, for a shopper whose basket is usually this large.

    Whoever redeems reaches the threshold, so the basket counts as at least that.
    """
    return float(benefit_on(terms, round(max(basket_minor, terms.threshold_minor, 1))))
