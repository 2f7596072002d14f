"""Every feature, declared once: what it is, where it comes from, and how its raw value is prepared.

All features are *point in time*: for a row (shopper, offer, moment t) they use only events strictly before t. Counts
look back over a window and everything else is a rate, a mean or a gap: a count since the beginning grows with the
calendar, and a model trained in spring would be asked about values in summer that it has never seen.

The order here is the order of the columns everywhere. ``docs/reference/features.md`` is generated from this file.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from personalization.types import Purpose

Group = Literal["offer", "profile", "behaviour", "history", "cross", "context", "taste"]
Impute = Literal["median", "zero"]


@dataclass(frozen=True, slots=True)
class Feature:
    """One column.

    ``categorical`` columns hold a code into a vocabulary fitted before the cut-off (unknown values share code 0).
    Numeric ones are clipped to fitted quantiles, optionally log1p-transformed, imputed and scaled to mean 0 and
    deviation 1; ``flag`` adds a 0/1 column that says the value was missing. Trees read the raw values.
    """

    name: str
    group: Group
    purpose: str
    unit: str = ""
    categorical: bool = False
    impute: Impute = "median"
    flag: bool = False
    log: bool = False
    clip: tuple[float, float] = (0.001, 0.999)
    window_days: int | None = None

    @property
    def consent(self) -> Purpose:
        """Return what a shopper has to have agreed to: nothing for a column that is about the offer or the moment."""
        return Purpose.CONTRACT if self.group in {"offer", "context"} else Purpose.PERSONALISATION


def _offer(name: str, purpose: str, unit: str = "", **kwargs: bool) -> Feature:
    return Feature(name, "offer", purpose, unit, impute="zero", **kwargs)  # type: ignore[arg-type]


def _count(name: str, purpose: str, days: int | None = None) -> Feature:
    return Feature(name, "behaviour", purpose, "events", impute="zero", log=True, window_days=days)


def _history(
    name: str, purpose: str, unit: str = "exposures", *, flag: bool = False, days: int | None = None
) -> Feature:
    return Feature(name, "history", purpose, unit, impute="zero", flag=flag, log=unit == "exposures", window_days=days)


def _taste(name: str, purpose: str, unit: str = "share", *, flag: bool = False) -> Feature:
    return Feature(name, "taste", purpose, unit, impute="zero", flag=flag)


TEXT_TOPICS = 8
"""Columns for topics of the catalogue's words; a shop that asks for fewer leaves the last ones empty."""

IMAGE_DIRECTIONS = 4
"""Columns for the directions in which the shop's images differ most."""

FEATURES: tuple[Feature, ...] = (
    _offer("offer_kind", "attractiveness: the kind of benefit", categorical=True),
    _offer("offer", "attractiveness: what this very offer did before", categorical=True),
    _offer("amount", "attractiveness: amount off", "major units", log=True),
    _offer("percent", "attractiveness: share off", "percent"),
    _offer("threshold", "attractiveness: spend that unlocks it", "major units", log=True),
    _offer("depth", "attractiveness: benefit per money spent", "share"),
    _offer("window_hours", "attractiveness: time in which it can be used", "hours"),
    _offer("channel_web", "attractiveness: sent through this channel", "0/1"),
    _offer("channel_mobile", "attractiveness: sent through this channel", "0/1"),
    _offer("channel_social", "attractiveness: sent through this channel", "0/1"),
    _offer("members_only", "attractiveness: for loyalty tiers only", "0/1"),
    Feature("age", "profile", "who the shopper is", "years", flag=True),
    Feature("income", "profile", "who the shopper is", "a year", flag=True),
    Feature("gender", "profile", "who the shopper is", categorical=True),
    Feature("city", "profile", "who the shopper is", categorical=True),
    Feature("tier", "profile", "loyalty", categorical=True),
    Feature("tenure_days", "profile", "how long they have been known", "days", flag=True),
    _count("orders_28d", "preference: frequency", 28),
    _count("orders_7d", "preference: frequency of late", 7),
    Feature("spend_28d", "behaviour", "preference: amount", "major units", impute="zero", log=True, window_days=28),
    Feature(
        "spend_7d", "behaviour", "preference: amount of late", "major units", impute="zero", log=True, window_days=7
    ),
    Feature("spend_mean", "behaviour", "preference: basket size", "major units", flag=True, log=True),
    Feature("spend_max", "behaviour", "preference: basket size", "major units", impute="zero", log=True),
    Feature(
        "spend_per_day",
        "behaviour",
        "preference: amount over the time observed",
        "major units",
        impute="zero",
        log=True,
    ),
    Feature("orders_per_day", "behaviour", "preference: purchase cycle", "orders", impute="zero", log=True),
    Feature("order_gap_hours", "behaviour", "preference: recency", "hours", flag=True, log=True),
    _count("product_views_28d", "interest: how much they look", 28),
    _count("product_views_7d", "interest of late", 7),
    _count("searches_28d", "interest: how much they search", 28),
    _count("basket_changes_28d", "interest: how close to buying", 28),
    Feature("event_gap_hours", "behaviour", "interest: recency", "hours", flag=True, log=True),
    Feature("category_share", "behaviour", "interest in the offer's category", "share", impute="zero"),
    _history("received_28d", "fatigue: offers received", days=28),
    _history("received_7d", "fatigue of late", days=7),
    _history("view_rate", "attention: viewed per received (shrunk)", "share"),
    _history("click_rate", "attention: clicked per received (shrunk)", "share"),
    _history("redeem_rate", "response: redeemed per received (shrunk)", "share"),
    _history("offer_gap_hours", "fatigue: since the last offer", "hours", flag=True),
    _history("open_offers", "competition: offers that can still be used"),
    _history("same_received_28d", "fatigue: this offer received", days=28),
    _history("same_view_rate", "response: this offer viewed per received (shrunk)", "share"),
    _history("same_redeem_rate", "response: this offer redeemed per received (shrunk)", "share"),
    _history("kind_redeem_rate", "response: this kind redeemed per received (shrunk)", "share"),
    Feature("reach", "cross", "spend expected in the window, per threshold", "ratio", impute="zero", log=True),
    Feature("basket_to_threshold", "cross", "usual basket, per threshold", "ratio", impute="zero", log=True),
    Feature("threshold_rate", "cross", "share of baskets that reached the threshold (shrunk)", "share", impute="zero"),
    Feature(
        "threshold_orders",
        "cross",
        "baskets expected in the window that reach the threshold",
        "orders",
        impute="zero",
        log=True,
    ),
    Feature("benefit_to_basket", "cross", "benefit, per usual basket", "ratio", impute="zero", log=True),
    Feature("hour", "context", "time of day", "hours"),
    Feature("weekday", "context", "day of the week", "0–6"),
    *(
        _taste(f"text_topic_{number}", f"interest: what they turn to is about text topic {number}")
        for number in range(1, TEXT_TOPICS + 1)
    ),
    _taste("text_match", "interest: the offer's category is about what they turn to", "cosine"),
    *(
        _taste(f"image_{number}", f"interest: what they turn to looks like, direction {number}", "−1 to 1")
        for number in range(1, IMAGE_DIRECTIONS + 1)
    ),
    _taste("image_match", "interest: the offer's category looks like what they turn to", "cosine"),
    _taste("review_given", "sentiment: of the reviews that they wrote", "−1 to 1"),
    _taste("review_match", "sentiment: of the reviews that they wrote of the offer's category", "−1 to 1"),
    _taste("review_category", "sentiment: of everybody's reviews of the offer's category (shrunk)", "−1 to 1"),
)

NAMES = tuple(feature.name for feature in FEATURES)
INDEX = {name: position for position, name in enumerate(NAMES)}
CATEGORICAL = tuple(position for position, feature in enumerate(FEATURES) if feature.categorical)
PROFILE = tuple(position for position, feature in enumerate(FEATURES) if feature.group == "profile")
RATE_PRIOR = 2.0
"""Pseudo-exposures by which rates are shrunk towards one half."""
PACE_DAYS = 14.0
"""Days of the shop's pace that stand beside a shopper's own days in what is expected of them."""
PACE_BOUND = 100.0
"""How many times what orders usually come to one order may count for in the shop's pace."""
REVIEW_PRIOR = 5.0
"""Neutral pseudo-reviews by which a category's sentiment is shrunk."""
VERSION = "6"
