"""Random baskets and offers for stacking: for its tests and its benchmark."""

from __future__ import annotations

from decimal import Decimal
from random import Random

from personalization.pure.stacking import Candidate
from personalization.types import Basket, BasketLine, Gift, OfferKind, Terms

CATEGORIES = ("tea", "coffee", "cups")
SHAPES = ("mixed", "groups", "plain", "percentages", "equal")


def basket(rng: Random, most: int = 8) -> Basket:
    """Return a basket of up to so many lines, some at or near their cost, with delivery to pay."""
    lines = tuple(
        BasketLine(
            f"p{place}",
            rng.randint(1, 4),
            price := rng.randint(100, 20_000),
            rng.choice(CATEGORIES),
            unit_cost_minor=rng.choice([None, price // 3, price - 50, price]) if rng.random() < 0.3 else None,
        )
        for place in range(rng.randint(1, most))
    )
    return Basket(lines, "EUR", shipping_minor=rng.choice([0, 490]))


def terms(rng: Random, shape: str = "mixed") -> Terms:
    """Return an offer's terms: money off in two cases of three, or something else."""
    category = rng.choice(["", "", "", *CATEGORIES])
    below, step = rng.random() < 0.2, rng.choice([1, 1, 1, 5])
    if shape == "equal":
        return Terms(OfferKind.COUPON, "EUR", percent=Decimal(10))
    percent = Decimal(rng.randint(2, 40))
    if shape == "percentages" or rng.random() < 0.4:
        most = rng.choice([None, None, 800])
        return Terms(
            OfferKind.COUPON, "EUR", percent, max_discount_minor=most, category=category, below_cost=below,
            rounding_minor=step, list_price=rng.random() < 0.2,
        )  # fmt: skip
    amount = rng.randint(1, 20) * 100
    return rng.choice(
        [
            Terms(OfferKind.COUPON, "EUR", amount_minor=amount, category=category, below_cost=below),
            Terms(OfferKind.SPEND_THRESHOLD, "EUR", amount_minor=amount, threshold_minor=5000),
            Terms(OfferKind.CASH_BACK, "EUR", percent / 4, category=category, rounding_minor=step),
            Terms(OfferKind.FREE_SHIPPING, "EUR", max_discount_minor=rng.choice([None, 300])),
            Terms(OfferKind.GIFT, "EUR", gift=Gift("g", rng.choice([0, amount]))),
            Terms(OfferKind.POINTS, "EUR", points=amount, point_value_minor=rng.choice([Decimal(0), Decimal(1)])),
            Terms(OfferKind.N_FOR_M, "EUR", buy_quantity=3, pay_quantity=2, category=category),
            Terms(OfferKind.BUNDLE, "EUR", percent, item_ids=frozenset({"p0", "p1"})),
        ]
    )


def candidates(rng: Random, count: int, shape: str = "mixed") -> list[Candidate]:
    """Return offers of a shape: mixed (two groups, some exclusive), groups (of four), plain, percentages, equal."""
    groups = {"mixed": ["", "", "a", "b"], "groups": [f"g{number}" for number in range(max(count // 4, 1))]}
    named = groups.get(shape, [""])
    return [
        Candidate(
            f"offer-{place:02}",
            terms(rng, shape),
            0 if shape == "equal" else rng.randint(-1, 3),
            named[place % len(named)],
            shape == "mixed" and rng.random() < 0.1,
        )
        for place in range(count)
    ]
