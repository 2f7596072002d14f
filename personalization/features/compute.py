"""The fast form of the features: all rows at once, from frames. ``reference.reduce`` is its specification.

A row is (shopper, offer, moment); the result is one column per declared feature, nan where a value is missing.
Categorical columns hold the frame's own codes: positions of offers, or codes into ``Vocabularies``.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from personalization.features import behaviour
from personalization.features.behaviour import Past
from personalization.features.frames import TYPE_CODE, Floats, Frames, Ints, Offers
from personalization.features.pace import Pace
from personalization.features.series import Series
from personalization.features.specification import INDEX, NAMES, RATE_PRIOR
from personalization.features.turned import Turned
from personalization.pure.numbers import number_or_nan
from personalization.types import OfferKind

HOUR = 3_600_000
DAY = 24 * HOUR
WEEK = 7 * DAY
MONTH = 28 * DAY
MOST_HOURS = 100 * 365 * 24
"""No offer is valid for longer, whatever an import noted: its end must be a moment."""
KINDS = tuple(kind.value for kind in OfferKind)
TEXT_ATTRIBUTES = ("gender", "city", "tier")
NUMBER_ATTRIBUTES = ("age", "income")


@dataclass(slots=True)
class Rows:
    """What to compute features for: positions of shoppers and offers (-1: none), and moments in milliseconds."""

    shopper: Ints
    offer: Ints
    time: Ints
    window_end: Ints

    def __len__(self) -> int:
        return len(self.time)


def effective_benefit(offers: Offers, spend: Floats, offer: Ints) -> Floats:
    """Return the benefit in major units on a spend (raised to the threshold), per row."""
    base = np.maximum(spend, offers.threshold[offer])
    benefit = np.where(offers.percent[offer] > 0, base * offers.percent[offer] / 100, offers.amount[offer])
    return np.minimum(np.minimum(benefit, offers.max_discount[offer]), np.maximum(base, offers.amount[offer]))


class FeatureBuilder:
    """Builds feature matrices from one set of frames; series are prepared once and shared by all calls."""

    def __init__(self, frames: Frames) -> None:
        self.frames = frames
        events = frames.events
        every = np.ones(len(events), dtype=bool)
        self._all = self._series(every)
        self._orders = self._series(events.type == TYPE_CODE["order_placed"], events.value)
        self._pace = Pace(frames)
        self._by_type = {
            name: self._series(events.type == TYPE_CODE[name])
            for name in ("product_viewed", "search_performed", "basket_changed")
        }
        self._offer_events = {
            name: self._offer_series(events.type == TYPE_CODE[name])
            for name in ("offer_shown", "offer_viewed", "offer_clicked", "coupon_redeemed")
        }
        shown = frames.exposures.offer >= 0
        self._closed = Series(frames.exposures.shopper[shown], _last_moments(frames)[shown])
        interested = (events.category >= 0) & np.isin(
            events.type,
            [TYPE_CODE["product_viewed"], TYPE_CODE["basket_changed"], TYPE_CODE["category_viewed"]],
        )
        self._interest_all = self._series(interested)
        width = max(len(frames.categories), 1)
        self._interest = Series(
            events.shopper[interested] * width + events.category[interested], events.time[interested]
        )
        self._numbers, self._texts = self._profile_columns()

    @cached_property
    def turned(self) -> Turned:
        """What everybody turned to, for the columns of the group ``taste``, which a worker fills in."""
        return Turned(self.frames)

    def _series(self, mask: NDArray[np.bool_], value: Floats | None = None) -> Series:
        events = self.frames.events
        return Series(events.shopper[mask], events.time[mask], None if value is None else value[mask])

    def _offer_series(self, mask: NDArray[np.bool_]) -> tuple[Series, Series, Series]:
        """Return the series by shopper, by (shopper, offer) and by (shopper, kind)."""
        events = self.frames.events
        shopper, time, offer = events.shopper[mask], events.time[mask], events.offer[mask]
        known = offer >= 0
        kinds = self._kind_codes()
        pair = shopper[known] * max(len(self.frames.offers), 1) + offer[known]
        kind = shopper[known] * len(KINDS) + kinds[offer[known]] if len(kinds) else pair
        return Series(shopper, time), Series(pair, time[known]), Series(kind, time[known])

    def _kind_codes(self) -> Ints:
        return np.array([KINDS.index(kind) for kind in self.frames.offers.kinds], dtype=np.int64)

    def _profile_columns(self) -> tuple[dict[str, Floats], dict[str, NDArray[np.object_]]]:
        shoppers = self.frames.shoppers
        rows = [*shoppers.attributes, *shoppers.earlier.attributes]
        numbers = {
            name: np.array([number_or_nan(row.get(name)) for row in rows], dtype=np.float64)
            for name in NUMBER_ATTRIBUTES
        }
        texts = {name: np.array([str(row.get(name) or "") for row in rows], dtype=object) for name in TEXT_ATTRIBUTES}
        return numbers, texts

    def text(self, name: str, rows: Rows) -> NDArray[np.object_]:
        """Return a textual profile attribute as it was at each row's moment (empty if missing)."""
        return self._texts[name][self.frames.shoppers.profile(rows.shopper, rows.time)]

    def past(self, rows: Rows) -> tuple[Ints, Ints]:
        """Return where each row's events, of whatever sort, begin and end in the frame: those before its moment."""
        return self._all.span(rows.shopper, rows.time)  # the frame is sorted as the series is

    def build(self, rows: Rows) -> Floats:
        """Return the matrix [rows, features]; columns of text (see ``text``) and taste (``turned``) are left nan."""
        out = self.build_shopper(rows)

        def put(name: str, values: Floats | Ints) -> None:
            out[:, INDEX[name]] = values

        self._put_history(put, rows)
        if len(self.frames.offers):
            self._put_offer(put, rows, out)
        local = rows.time % DAY
        put("hour", np.floor_divide(local, HOUR))
        put("weekday", (rows.time // DAY + 3) % 7)  # the epoch began on a Thursday
        return out

    def build_shopper(self, rows: Rows) -> Floats:
        """Return the matrix with what is the shopper's own, profile and behaviour; every other column is nan."""
        out = np.full((len(rows), len(NAMES)), np.nan)

        def put(name: str, values: Floats | Ints) -> None:
            out[:, INDEX[name]] = values

        self._put_profile(put, rows)
        self._put_behaviour(put, rows)
        return out

    def _put_profile(self, put, rows: Rows) -> None:  # type: ignore[no-untyped-def]
        profile = self.frames.shoppers.profile(rows.shopper, rows.time)
        for name in NUMBER_ATTRIBUTES:
            put(name, self._numbers[name][profile])
        joined = self.frames.shoppers.joined[rows.shopper]
        # Whoever joined after the moment, as visitors who buy do: that they would was not known then.
        put("tenure_days", np.where(joined > rows.time, np.nan, (rows.time - joined) / DAY))

    def _put_behaviour(self, put, rows: Rows) -> None:  # type: ignore[no-untyped-def]
        past = self._past(rows)
        days = self._observed_days(rows, past.first_order)
        for name, values in behaviour.features(past, rows.time, days).items():
            put(name, values)

    def _observed_days(self, rows: Rows, first_order: Ints) -> Floats:
        joined = self.frames.shoppers.joined[rows.shopper]
        return behaviour.observed_days(rows.time, joined, first_order, self.frames.start)

    def _past(self, rows: Rows) -> Past:
        shopper, time = rows.shopper, rows.time
        orders, views = self._orders, self._by_type["product_viewed"]
        count, total = orders.count(shopper, time), orders.total(shopper, time)
        return Past(
            orders=count,
            orders_28d=count - orders.count(shopper, time - MONTH),
            orders_7d=count - orders.count(shopper, time - WEEK),
            spent=total,
            spent_28d=total - orders.total(shopper, time - MONTH),
            spent_7d=total - orders.total(shopper, time - WEEK),
            largest=orders.maximum(shopper, time),
            product_views_28d=self._within(views, shopper, time, MONTH),
            product_views_7d=self._within(views, shopper, time, WEEK),
            searches_28d=self._within(self._by_type["search_performed"], shopper, time, MONTH),
            basket_changes_28d=self._within(self._by_type["basket_changed"], shopper, time, MONTH),
            first_order=orders.first(shopper, time),
            last_order=orders.last(shopper, time),
            last_event=self._all.last(shopper, time),
        )

    @staticmethod
    def _within(series: Series, shopper: Ints, time: Ints, window: int) -> Floats:
        """Return how many events lie in [time − window, time)."""
        return series.count(shopper, time) - series.count(shopper, time - window)

    def _put_history(self, put, rows: Rows) -> None:  # type: ignore[no-untyped-def]
        shopper, time, offer = rows.shopper, rows.time, rows.offer
        pair = shopper * max(len(self.frames.offers), 1) + offer
        kinds = self._kind_codes()
        kind = shopper * len(KINDS) + kinds[offer] if len(kinds) else pair
        shown, shown_same, shown_kind = self._offer_events["offer_shown"]
        viewed, viewed_same, _viewed_kind = self._offer_events["offer_viewed"]
        redeemed, redeemed_same, redeemed_kind = self._offer_events["coupon_redeemed"]
        received = shown.count(shopper, time)
        put("received_28d", received - shown.count(shopper, time - MONTH))
        put("received_7d", received - shown.count(shopper, time - WEEK))
        put("view_rate", _rate(viewed.count(shopper, time), received))
        put("click_rate", _rate(self._offer_events["offer_clicked"][0].count(shopper, time), received))
        put("redeem_rate", _rate(redeemed.count(shopper, time), received))
        same = shown_same.count(pair, time)
        put("same_received_28d", same - shown_same.count(pair, time - MONTH))
        put("same_view_rate", _rate(viewed_same.count(pair, time), same))
        put("same_redeem_rate", _rate(redeemed_same.count(pair, time), same))
        put("kind_redeem_rate", _rate(redeemed_kind.count(kind, time), shown_kind.count(kind, time)))
        put("offer_gap_hours", behaviour.gap_hours(time, shown.last(shopper, time)))
        # Shown before t and not over before t: no offer ends before it is shown.
        put("open_offers", np.maximum(received - self._closed.count(shopper, time), 0))

    def _put_offer(self, put, rows: Rows, out: Floats) -> None:  # type: ignore[no-untyped-def]
        offers, offer = self.frames.offers, rows.offer
        put("offer_kind", self._kind_codes()[offer])
        put("offer", offer)
        put("amount", offers.amount[offer])
        put("percent", offers.percent[offer])
        put("threshold", offers.threshold[offer])
        hours = np.fmin(offers.hours[offer], (rows.window_end - rows.time) / HOUR)
        put("window_hours", hours)
        for position, name in enumerate(("channel_web", "channel_mobile", "channel_social")):
            put(name, offers.channels[offer, position])
        put("members_only", offers.members_only[offer])
        basket = np.nan_to_num(out[:, INDEX["spend_mean"]])
        threshold = np.maximum(offers.threshold[offer], 1.0)
        benefit = effective_benefit(offers, basket, offer)
        put("depth", benefit / np.maximum(np.maximum(basket, offers.threshold[offer]), 1.0))
        put("basket_to_threshold", basket / threshold)
        self._put_pace(put, rows, hours)
        put("benefit_to_basket", np.where(basket > 0, benefit / np.maximum(basket, 1.0), 0.0))
        category = offers.category[offer]
        width = max(len(self.frames.categories), 1)
        within = self._interest.count(rows.shopper * width + np.maximum(category, 0), rows.time)
        total = self._interest_all.count(rows.shopper, rows.time)
        put("category_share", np.where((category >= 0) & (total > 0), within / np.maximum(total, 1), 0.0))

    def _put_pace(self, put, rows: Rows, hours: Floats) -> None:  # type: ignore[no-untyped-def]
        """Put what to expect of each shopper in the hours that they have, per the offer's threshold."""
        shopper, time, threshold = rows.shopper, rows.time, self.frames.offers.threshold[rows.offer]
        days = self._observed_days(rows, self._orders.first(shopper, time))
        spend = self._pace.expected_spend(self._orders.total(shopper, time), days, time)
        reaching = self._orders.at_least(shopper, time, threshold)
        put("reach", spend * hours / 24 / np.maximum(threshold, 1.0))
        put("threshold_rate", _rate(reaching, self._orders.count(shopper, time)))
        put("threshold_orders", self._pace.expected_orders(reaching, days, time, threshold) * hours / 24)


def _last_moments(frames: Frames) -> Ints:
    """Return until when what each exposure showed can be used: for its offer's hours; where it names none, until the
    outcome window ends. That window may be shorter than the offer is valid: it says what is counted, not what competes.
    """
    exposures, offers = frames.exposures, frames.offers
    if not len(offers):
        return exposures.window_end
    hours = np.clip(offers.hours[exposures.offer], 0, MOST_HOURS)
    own = exposures.time + np.nan_to_num(hours * HOUR).astype(np.int64)
    ends: Ints = np.where(np.isnan(hours), exposures.window_end, own)
    return ends


def _rate(part: Floats, whole: Floats) -> Floats:
    """Return part / whole, shrunk towards one half by RATE_PRIOR pseudo-exposures."""
    shrunk: Floats = (part + RATE_PRIOR / 2) / (whole + RATE_PRIOR)
    return shrunk
