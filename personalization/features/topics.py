"""What the features are about, in words that people know: the reasons that staff and shoppers are given.

Every feature belongs to one topic. A topic is named twice: for staff, who read about a shopper, and for the shopper.
"""

from __future__ import annotations

from dataclasses import dataclass

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from personalization.features.specification import FEATURES, IMAGE_DIRECTIONS, TEXT_TOPICS
from personalization.types import Purpose

SEQUENCE, REMAINDER = "sequence", "remainder"
"""Terms of an explanation that are no feature: the latest events in their order, and what nothing accounts for."""


@dataclass(frozen=True, slots=True)
class Topic:
    """A group of features. ``sentence`` speaks to the shopper; ``protected``: an attribute that law protects."""

    code: str
    name: str | Promise
    sentence: str | Promise
    features: tuple[str, ...]
    protected: bool = False

    @property
    def personal(self) -> bool:
        """Whether any of its features is about the shopper, and so needs their consent."""
        known = {feature.name: feature.consent for feature in FEATURES}
        return any(known.get(name) != Purpose.CONTRACT for name in self.features)


TOPICS: tuple[Topic, ...] = (
    Topic(
        "terms",
        _("What the offer gives and asks"),
        _("What the offer gives and what it asks of you"),
        ("offer_kind", "amount", "percent", "threshold", "depth", "window_hours", "members_only"),
    ),
    Topic("offer", _("How this offer does with everybody"), _("How the offer does with everybody"), ("offer",)),
    Topic(
        "channel",
        _("How the offer is sent"),
        _("How the offer reaches you"),
        ("channel_web", "channel_mobile", "channel_social"),
    ),
    Topic("age", _("Age"), _("Your age, if you told us"), ("age",), protected=True),
    Topic("gender", _("Gender"), _("Your gender, if you told us"), ("gender",), protected=True),
    Topic("income", _("Income"), _("Your income, if you told us"), ("income",)),
    Topic("city", _("Town"), _("The town you live in, if you told us"), ("city",)),
    Topic(
        "loyalty",
        _("Loyalty level, and time as a customer"),
        _("Your loyalty level, and how long you have been a customer"),
        ("tier", "tenure_days"),
    ),
    Topic(
        "frequency",
        _("How often the shopper buys"),
        _("How often you buy"),
        ("orders_28d", "orders_7d", "orders_per_day"),
    ),
    Topic("recency", _("How long ago the last order was"), _("How long ago you last bought"), ("order_gap_hours",)),
    Topic(
        "spending",
        _("How much the shopper spends"),
        _("How much you usually spend"),
        ("spend_28d", "spend_7d", "spend_mean", "spend_max", "spend_per_day"),
    ),
    Topic(
        "looking",
        _("How much the shopper looks around"),
        _("How much you look at, search for and put into the basket"),
        ("product_views_28d", "product_views_7d", "searches_28d", "basket_changes_28d"),
    ),
    Topic("visit", _("How long ago the last visit was"), _("How long ago you were last here"), ("event_gap_hours",)),
    Topic(
        "category",
        _("Interest in the offer’s category"),
        _("How much of what you look at is of the offer’s category"),
        ("category_share",),
    ),
    Topic(
        "words",
        _("What the products looked at are about"),
        _("What the products that you look at and buy are about"),
        (*(f"text_topic_{number}" for number in range(1, TEXT_TOPICS + 1)), "text_match"),
    ),
    Topic(
        "looks",
        _("What the products looked at look like"),
        _("What the products that you look at and buy look like"),
        (*(f"image_{number}" for number in range(1, IMAGE_DIRECTIONS + 1)), "image_match"),
    ),
    Topic(
        "reviews",
        _("What reviews say"),
        _("What you and others say in reviews"),
        ("review_given", "review_match", "review_category"),
    ),
    Topic(
        "fatigue",
        _("How many offers the shopper got lately"),
        _("How many offers you were shown lately"),
        ("received_28d", "received_7d", "offer_gap_hours", "open_offers", "same_received_28d"),
    ),
    Topic(
        "response",
        _("How the shopper answered offers before"),
        _("Which offers you opened and used before"),
        ("view_rate", "click_rate", "redeem_rate", "same_view_rate", "same_redeem_rate", "kind_redeem_rate"),
    ),
    Topic(
        "fit",
        _("How the offer fits the usual basket"),
        _("How well the offer fits your usual basket"),
        ("reach", "basket_to_threshold", "threshold_rate", "threshold_orders", "benefit_to_basket"),
    ),
    Topic(
        "moment",
        _("Time of day and day of the week"),
        _("The time of day and the day of the week"),
        ("hour", "weekday"),
    ),
    Topic(
        SEQUENCE,
        _("What the shopper did last, in order"),
        _("What you did last in the shop, in order"),
        (SEQUENCE,),
    ),
    Topic(REMAINDER, _("What no single cause accounts for"), _("What no single cause accounts for"), (REMAINDER,)),
)
BY_CODE = {topic.code: topic for topic in TOPICS}
OF_FEATURE = {name: topic.code for topic in TOPICS for name in topic.features}


def shares(importances: dict[str, float]) -> dict[str, float]:
    """Return topic → its share of the importances, largest first; prepared columns count for their feature."""
    found: dict[str, float] = {}
    for column, share in importances.items():
        code = OF_FEATURE.get(column) or OF_FEATURE.get(column.removesuffix("_missing"))
        if code is not None and isinstance(share, int | float) and share > 0:
            found[code] = found.get(code, 0.0) + float(share)
    total = sum(found.values())
    return {code: found[code] / total for code in sorted(found, key=lambda each: -found[each])} if total else {}
