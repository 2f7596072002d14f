"""The edge for marketers and operators: plain Django admin over campaigns, learning and the facts behind them."""

from personalization.admin import campaigns, coupons, decisions, events, jobs, shoppers, versions

__all__ = ["campaigns", "coupons", "decisions", "events", "jobs", "shoppers", "versions"]
