"""The offers that the simulated shop sends and shows, as plain data.

History is made of weekly waves of eight offers in all five kinds; depth, threshold and category change from wave
to wave, so that what an offer does can be told from what it is. ``storefront`` are the campaigns that run when the
demo opens.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from personalization.types import OfferKind
from shop.simulation.words import CATEGORIES

KINDS = (
    OfferKind.COUPON,
    OfferKind.SPEND_THRESHOLD,
    OfferKind.FLASH_SALE,
    OfferKind.MEMBER_EXCLUSIVE,
    OfferKind.ANNOUNCEMENT,
)
"""The kinds that the simulated shoppers respond to."""
WINDOW_HOURS = 156
"""Outcome window of a wave: it closes before the next wave goes out."""


@dataclass(frozen=True)
class OfferSpec:
    """One offer. ``category`` is a category's number (-1: the whole shop), ``flash_hours`` a flash sale's length."""

    name: str
    kind: OfferKind
    headline: str
    body: str
    percent: int = 0
    amount_minor: int = 0
    threshold_minor: int = 0
    max_discount_minor: int | None = None
    category: int = -1
    tiers: tuple[str, ...] = ()
    flash_hours: int = 0

    def fields(self, category_names: tuple[str, ...]) -> dict[str, Any]:
        """Return the fields of an ``Offer`` that need no dates."""
        return {
            "name": self.name,
            "kind": self.kind.value,
            "percent": self.percent,
            "amount_minor": self.amount_minor,
            "threshold_minor": self.threshold_minor,
            "max_discount_minor": self.max_discount_minor,
            "category": category_names[self.category] if self.category >= 0 else "",
            "tiers": list(self.tiers),
            "headline": self.headline,
            "body": self.body,
        }


@dataclass(frozen=True)
class StorefrontCampaign:
    """A campaign shown on the shop's pages, in the slots named."""

    name: str
    goal: str
    slots: tuple[str, ...]
    offers: tuple[OfferSpec, ...]
    budget_minor: int


def euros(minor: int) -> str:
    """Write an amount as the shop's offers do."""
    return f"€{minor // 100}" if minor % 100 == 0 else f"€{minor / 100:.2f}"


def coupon_percent(percent: int, category: int = -1, cap: int | None = None) -> OfferSpec:
    """Return a coupon for a share of the price, in one category or in the whole shop."""
    where = CATEGORIES[category].name if category >= 0 else "your whole basket"
    most = f" (up to {euros(cap)} off)" if cap else ""
    return OfferSpec(
        f"{percent}% coupon {'' if category < 0 else CATEGORIES[category].name}".strip(),
        OfferKind.COUPON,
        f"{percent}% off {where}",
        f"Claim your coupon and take {percent}% off {where}{most}.",
        percent=percent,
        category=category,
        max_discount_minor=cap,
    )


def coupon_amount(amount: int, threshold: int) -> OfferSpec:
    """Return a coupon for a fixed amount, from a small minimum spend on."""
    return OfferSpec(
        f"{euros(amount)} coupon from {euros(threshold)}",
        OfferKind.COUPON,
        f"{euros(amount)} for your next order",
        f"Valid on orders of {euros(threshold)} or more.",
        amount_minor=amount,
        threshold_minor=threshold,
    )


def spend_amount(amount: int, threshold: int) -> OfferSpec:
    """Return a reward for spending at least ``threshold``."""
    return OfferSpec(
        f"Spend {euros(threshold)}, save {euros(amount)}",
        OfferKind.SPEND_THRESHOLD,
        f"Spend {euros(threshold)}, save {euros(amount)}",
        f"Fill your basket to {euros(threshold)} and we take {euros(amount)} off.",
        amount_minor=amount,
        threshold_minor=threshold,
    )


def spend_percent(percent: int, threshold: int) -> OfferSpec:
    """Return a share of the price for spending at least ``threshold``."""
    return OfferSpec(
        f"{percent}% off from {euros(threshold)}",
        OfferKind.SPEND_THRESHOLD,
        f"{percent}% off when you spend {euros(threshold)}",
        f"Reach {euros(threshold)} and your whole basket costs {percent}% less.",
        percent=percent,
        threshold_minor=threshold,
        max_discount_minor=6_000,
    )


def flash_sale(percent: int, hours: int, category: int = -1) -> OfferSpec:
    """Return a sale that closes after some hours."""
    where = CATEGORIES[category].name if category >= 0 else "everything"
    return OfferSpec(
        f"{hours}-hour flash sale {percent}%",
        OfferKind.FLASH_SALE,
        f"{hours} hours only: {percent}% off {where}",
        "When the clock runs out, so does the price.",
        percent=percent,
        category=category,
        max_discount_minor=5_000,
        flash_hours=hours,
    )


def member_exclusive(percent: int, tiers: tuple[str, ...]) -> OfferSpec:
    """Return a share of the price for some loyalty tiers."""
    return OfferSpec(
        f"Members' {percent}% ({', '.join(tiers)})",
        OfferKind.MEMBER_EXCLUSIVE,
        f"{percent}% off, for members only",
        f"A thank-you to our {' and '.join(tiers)} members.",
        percent=percent,
        tiers=tiers,
        max_discount_minor=5_000,
    )


def announcement(category: int) -> OfferSpec:
    """Return news about a category, without a benefit."""
    name = CATEGORIES[category].name
    return OfferSpec(
        f"New in {name}",
        OfferKind.ANNOUNCEMENT,
        f"New arrivals in {name}",
        "Fresh on the shelf this week. Come and have a look.",
        category=category,
    )


def wave_offers(rng: np.random.Generator) -> tuple[OfferSpec, ...]:
    """Draw one wave's eight offers: every kind, with depth, threshold and category of its own."""
    first, second, third = (int(pick) for pick in rng.choice(len(CATEGORIES), 3, replace=False))
    spend = int(rng.choice([5_000, 6_000, 8_000, 10_000]))
    return (
        coupon_percent(int(rng.choice([5, 10, 15]))),
        coupon_percent(int(rng.choice([15, 20, 25, 30])), first, 4_000),
        coupon_amount(int(rng.choice([500, 800, 1_000])), int(rng.choice([2_500, 3_500]))),
        spend_amount(int(spend * rng.choice([0.1, 0.15, 0.2])), spend),
        spend_percent(int(rng.choice([10, 15, 20])), int(rng.choice([9_000, 12_000, 15_000]))),
        flash_sale(
            int(rng.choice([10, 15, 20, 25])),
            int(rng.choice([36, 48, 72])),
            second if rng.random() < 0.5 else -1,
        ),
        member_exclusive(int(rng.choice([10, 15, 20])), ("silver", "gold") if rng.random() < 0.7 else ("gold",)),
        announcement(third),
    )


def storefront() -> tuple[StorefrontCampaign, ...]:
    """Return the campaigns that run when the demo opens: several kinds in every slot."""
    number = {words.slug: place for place, words in enumerate(CATEGORIES)}
    return (
        StorefrontCampaign(
            "Welcome to the season",
            "More orders from the home page",
            ("home_hero",),
            (
                coupon_percent(10),
                spend_amount(1_200, 8_000),
                flash_sale(20, 72, number["fashion"]),
                member_exclusive(15, ("silver", "gold")),
                announcement(number["garden"]),
                coupon_percent(20, number["coffee-tea"], 4_000),
            ),
            1_500_000,
        ),
        StorefrontCampaign(
            "Beside the product",
            "Help undecided shoppers",
            ("product_page",),
            (
                coupon_amount(500, 2_500),
                coupon_percent(15, number["electronics"], 4_000),
                flash_sale(15, 48),
                announcement(number["outdoor"]),
            ),
            800_000,
        ),
        StorefrontCampaign(
            "A fuller basket",
            "Larger orders",
            ("basket",),
            (
                spend_amount(1_000, 6_000),
                spend_percent(15, 12_000),
                member_exclusive(10, ("gold",)),
                coupon_percent(5),
            ),
            800_000,
        ),
    )
