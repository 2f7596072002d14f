"""What an offer costs where no basket is known yet: at most, as a rule, and as models see it."""

from __future__ import annotations

from decimal import Decimal

from personalization.pure.benefits import benefit_of, is_present, limited, reached_step, rounded
from personalization.types import OfferKind, Terms


def benefit_on(terms: Terms, covered_minor: int) -> int:
    """Return the benefit on a covered spend, threshold ignored: never negative, never above the spend."""
    amount = limited(terms, benefit_of(reached_step(terms, covered_minor), terms.rounding_minor)(covered_minor))
    return max(0, min(amount, covered_minor))


def worst_case(terms: Terms) -> int | None:
    """Return the most that one redemption can cost the budget; None if the terms set no bound."""
    if terms.kind == OfferKind.ANNOUNCEMENT:
        return 0
    if terms.kind == OfferKind.POINTS:
        return rounded(terms.points * terms.point_value_minor)
    if terms.kind == OfferKind.GIFT or is_present(terms):
        return terms.gift.value_minor if terms.gift is not None else 0
    if terms.kind == OfferKind.GIFT_CARD:
        return terms.amount_minor
    if terms.max_discount_minor is not None:
        return terms.max_discount_minor
    unbounded = terms.kind in {OfferKind.FREE_SHIPPING, OfferKind.N_FOR_M, OfferKind.BUNDLE}
    if unbounded or terms.percent or any(step.percent for step in terms.steps):
        return None
    return max([terms.amount_minor, *(step.amount_minor for step in terms.steps)])


def expected_benefit(terms: Terms, basket_minor: float) -> float:
    """Return what a redemption is expected to cost, for a shopper whose basket is usually this large.

    Whoever redeems reaches the threshold, so the basket counts as at least that. Kinds that give something else than
    money off cost their worst case; where they have none (free pieces, delivery) a fifth of the basket is assumed.
    """
    first = min((step.threshold_minor for step in terms.steps), default=0)
    spend = round(max(basket_minor, terms.threshold_minor, first, 1))
    if terms.kind in {OfferKind.GIFT, OfferKind.GIFT_CARD, OfferKind.POINTS}:
        return float(worst_case(terms) or 0)
    if terms.kind in {OfferKind.N_FOR_M, OfferKind.FREE_SHIPPING}:
        bound = terms.max_discount_minor
        assumed = _free_share(terms) * spend
        return float(assumed if bound is None else min(assumed, bound))
    return float(benefit_on(terms, spend))


def nominal(terms: Terms) -> tuple[Decimal, int]:
    """Return the percentage of a basket, else the amount in minor units, that stands for what the terms cost.

    For models, which know baskets only by their sum: as in :func:`expected_benefit`, free pieces and delivery are a
    share, gifts, gift cards and points what they cost, and steps begin with the first.
    """
    if terms.kind in {OfferKind.GIFT, OfferKind.GIFT_CARD, OfferKind.POINTS}:
        return Decimal(0), worst_case(terms) or 0
    if terms.kind in {OfferKind.N_FOR_M, OfferKind.FREE_SHIPPING}:
        return Decimal(str(round(100 * _free_share(terms), 2))), 0
    step = min(terms.steps, key=lambda step: step.threshold_minor, default=None)
    return (terms.percent, terms.amount_minor) if step is None else (step.percent, step.amount_minor)


def _free_share(terms: Terms) -> float:
    if terms.kind == OfferKind.N_FOR_M and terms.buy_quantity:
        return (terms.buy_quantity - terms.pay_quantity) / terms.buy_quantity
    return 0.2
