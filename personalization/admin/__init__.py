"""The edge for marketers and operators: plain Django admin over campaigns, learning and the facts behind them."""

from personalization.admin import (
    alerts,
    allowances,
    campaigns,
    coupons,
    decisions,
    events,
    giftcards,
    jobs,
    merges,
    quarantine,
    risk,
    segments,
    shoppers,
    support,
    triggers,
    versions,
)

__all__ = [
    "alerts",
    "allowances",
    "campaigns",
    "coupons",
    "decisions",
    "events",
    "giftcards",
    "jobs",
    "merges",
    "quarantine",
    "risk",
    "segments",
    "shoppers",
    "support",
    "triggers",
    "versions",
]
