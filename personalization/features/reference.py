"""The features in plain Python, one row at a time: what every faster form must equal.

Slow and obvious on purpose. ``History`` is everything about one shopper; events at or after the moment are ignored
here too, so that the caller cannot leak the future by handing in too much.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import nan
from typing import Any

from personalization.features.specification import PACE_DAYS, RATE_PRIOR
from personalization.pure.numbers import number_or_nan

HOUR = 3_600_000
DAY = 24 * HOUR
WEEK = 7 * DAY
MONTH = 28 * DAY
INTEREST = ("product_viewed", "basket_changed", "category_viewed")


@dataclass(frozen=True, slots=True)
class PastEvent:
    """One event: type, milliseconds, and what it was about."""

    type: str
    time: int
    category: str = ""
    offer: int = -1
    kind: str = ""
    value: float = 0.0


@dataclass(frozen=True, slots=True)
class OfferTerms:
    """An offer as the features see it; money in major units, ``hours`` None if open-ended."""

    offer: int
    kind: str
    amount: float = 0.0
    percent: float = 0.0
    threshold: float = 0.0
    max_discount: float | None = None
    hours: float | None = None
    category: str = ""
    channels: tuple[float, float, float] = (0.0, 0.0, 0.0)
    members_only: bool = False


@dataclass(slots=True)
class History:
    """One shopper: profile, events (offers shown among them) and the last moments at which those could be used.

    ``earlier`` is what the profile was before: (until when, attributes), in any order.
    """

    attributes: Mapping[str, Any] = field(default_factory=dict)
    joined: int | None = None
    events: Sequence[PastEvent] = ()
    last_moments: Sequence[int] = ()
    earlier: Sequence[tuple[int, Mapping[str, Any]]] = ()


@dataclass(frozen=True, slots=True)
class ShopPace:
    """What the shop's shoppers do a day, all together: money spent, and orders that reach the offer's threshold."""

    spend: float = 0.0
    reaching: float = 0.0


def reduce(
    history: History, offer: OfferTerms, time: int, window_end: int, start: int, pace: ShopPace
) -> dict[str, float]:
    """Return every numeric feature of (shopper, offer, time); nan = missing. ``start`` is the shop's first event."""
    past = [event for event in history.events if event.time < time]
    features = {**_profile(history, time), **_behaviour(past, history, time, start)}
    features.update(_responses(past, history, offer, time))
    features.update(_terms(features, past, offer, time, window_end))
    features.update(_expected(past, offer, features["window_hours"], _observed_days(past, history, time, start), pace))
    features["hour"] = float(time % DAY // HOUR)
    features["weekday"] = float((time // DAY + 3) % 7)
    return features


def profile_at(history: History, time: int) -> Mapping[str, Any]:
    """Return the attributes as they were at a moment: a change counts from after its own moment on."""
    held = [(until, attributes) for until, attributes in history.earlier if until >= time]
    return min(held, key=lambda version: version[0])[1] if held else history.attributes


def _profile(history: History, time: int) -> dict[str, float]:
    attributes = profile_at(history, time)
    tenure = nan if history.joined is None or history.joined > time else (time - history.joined) / DAY
    numbers = {name: number_or_nan(attributes.get(name)) for name in ("age", "income")}
    return {**numbers, "tenure_days": tenure}


def _behaviour(past: list[PastEvent], history: History, time: int, start: int) -> dict[str, float]:
    orders = [event for event in past if event.type == "order_placed"]
    spend = sum(event.value for event in orders)
    days = _observed_days(past, history, time, start)

    def count(kind: str, window: int) -> int:
        return sum(event.type == kind and event.time >= time - window for event in past)

    def spent(window: int) -> float:
        return sum(event.value for event in orders if event.time >= time - window)

    return {
        "orders_28d": count("order_placed", MONTH),
        "orders_7d": count("order_placed", WEEK),
        "spend_28d": spent(MONTH),
        "spend_7d": spent(WEEK),
        "spend_mean": spend / len(orders) if orders else nan,
        "spend_max": max((event.value for event in orders), default=0.0),
        "spend_per_day": spend / days,
        "orders_per_day": len(orders) / days,
        "order_gap_hours": _gap(orders, time),
        "product_views_28d": count("product_viewed", MONTH),
        "product_views_7d": count("product_viewed", WEEK),
        "searches_28d": count("search_performed", MONTH),
        "basket_changes_28d": count("basket_changed", MONTH),
        "event_gap_hours": _gap(past, time),
    }


def _responses(past: list[PastEvent], history: History, offer: OfferTerms, time: int) -> dict[str, float]:
    def of(kind: str) -> list[PastEvent]:
        return [event for event in past if event.type == kind]

    def rate(part: Sequence[PastEvent], whole: Sequence[PastEvent]) -> float:
        return (len(part) + RATE_PRIOR / 2) / (len(whole) + RATE_PRIOR)

    def same(events: list[PastEvent]) -> list[PastEvent]:
        return [event for event in events if event.offer == offer.offer]

    def alike(events: list[PastEvent]) -> list[PastEvent]:
        return [event for event in events if event.kind == offer.kind]

    shown, viewed, redeemed = of("offer_shown"), of("offer_viewed"), of("coupon_redeemed")
    closed = sum(end < time for end in history.last_moments)
    return {
        "received_28d": sum(event.time >= time - MONTH for event in shown),
        "received_7d": sum(event.time >= time - WEEK for event in shown),
        "view_rate": rate(viewed, shown),
        "click_rate": rate(of("offer_clicked"), shown),
        "redeem_rate": rate(redeemed, shown),
        "offer_gap_hours": _gap(shown, time),
        "open_offers": max(len(shown) - closed, 0),
        "same_received_28d": sum(event.time >= time - MONTH for event in same(shown)),
        "same_view_rate": rate(same(viewed), same(shown)),
        "same_redeem_rate": rate(same(redeemed), same(shown)),
        "kind_redeem_rate": rate(alike(redeemed), alike(shown)),
    }


def _terms(
    features: Mapping[str, float], past: list[PastEvent], offer: OfferTerms, time: int, window_end: int
) -> dict[str, float]:
    hours = (window_end - time) / HOUR
    if offer.hours is not None:
        hours = min(offer.hours, hours)
    mean = features["spend_mean"]
    basket = mean if mean == mean else 0.0
    floor = max(offer.threshold, 1.0)
    spend = max(basket, offer.threshold)
    benefit = spend * offer.percent / 100 if offer.percent > 0 else offer.amount
    benefit = min(benefit, max(spend, offer.amount))
    if offer.max_discount is not None:
        benefit = min(benefit, offer.max_discount)
    looked = [event for event in past if event.type in INTEREST and event.category]
    within = sum(event.category == offer.category for event in looked)
    return {
        "amount": offer.amount,
        "percent": offer.percent,
        "threshold": offer.threshold,
        "depth": benefit / max(spend, 1.0),
        "window_hours": hours,
        "channel_web": offer.channels[0],
        "channel_mobile": offer.channels[1],
        "channel_social": offer.channels[2],
        "members_only": float(offer.members_only),
        "basket_to_threshold": basket / floor,
        "benefit_to_basket": benefit / max(basket, 1.0) if basket > 0 else 0.0,
        "category_share": within / len(looked) if offer.category and looked else 0.0,
    }


def _expected(past: list[PastEvent], offer: OfferTerms, hours: float, days: float, pace: ShopPace) -> dict[str, float]:
    spent = [event.value for event in past if event.type == "order_placed"]
    reaching = sum(value >= offer.threshold for value in spent)
    spend_a_day = (sum(spent) + PACE_DAYS * pace.spend) / (days + PACE_DAYS)
    reaching_a_day = (reaching + PACE_DAYS * pace.reaching) / (days + PACE_DAYS)
    return {
        "reach": spend_a_day * hours / 24 / max(offer.threshold, 1.0),
        "threshold_rate": (reaching + RATE_PRIOR / 2) / (len(spent) + RATE_PRIOR),
        "threshold_orders": reaching_a_day * hours / 24,
    }


def _observed_days(past: list[PastEvent], history: History, time: int, start: int) -> float:
    if history.joined is None:
        since = start
    else:
        since = min([history.joined, *(event.time for event in past if event.type == "order_placed")])
    return max((time - max(since, start)) / DAY, 1.0)


def _gap(events: list[PastEvent], time: int) -> float:
    return (time - max(event.time for event in events)) / HOUR if events else nan
