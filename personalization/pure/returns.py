"""What an order's offers would have given on the part of it that is kept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from personalization.exceptions import BasketNotEligible
from personalization.pure.benefits import discount_for
from personalization.pure.shares import allocate
from personalization.types import Basket, Discount, Terms


def after_return(granted: Sequence[tuple[Terms, Discount]], kept: Basket) -> list[Discount]:
    """Return what each of these terms, in order of application, would have given on what is kept of a basket.

    Each sees what the earlier ones leave of the lines and of delivery, and gives never more than was granted. Terms
    for which the basket no longer qualifies keep nothing. The difference in ``cost_minor`` is what a return takes back.
    """
    taken, shipping, earned = (0,) * len(kept.lines), kept.shipping_minor, []
    for terms, given in granted:
        try:
            found = discount_for(terms, replace(kept, shipping_minor=shipping), taken)
        except BasketNotEligible:
            found = Discount(0, (0,) * len(kept.lines))
        if found.points == given.points:  # what a point costs may be another sum by now
            found = replace(found, points_cost_minor=given.points_cost_minor)
        if found.cost_minor > given.cost_minor:
            lines = allocate(min(given.amount_minor, found.amount_minor), found.per_line_minor)
            found = replace(given, amount_minor=sum(lines), per_line_minor=lines)
        earned.append(found)
        taken = tuple(map(int.__add__, taken, found.per_line_minor))
        shipping = max(shipping - found.shipping_minor, 0)
    return earned
