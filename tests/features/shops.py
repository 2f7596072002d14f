"""Random small shops, told twice: as frames for the fast features, and one history a shopper for the reference.

Times lie on a coarse grid with a millisecond's jitter, so that ties and exact window edges are common.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from hypothesis import strategies as st

from personalization.features.compute import Rows
from personalization.features.frames import (
    NEVER,
    STREAM_TYPES,
    TYPE_CODE,
    EarlierProfiles,
    Events,
    Exposures,
    Frames,
    Items,
    Lines,
    Offers,
    Shoppers,
)
from personalization.features.reference import History, OfferTerms, PastEvent, ShopPace
from personalization.types import OfferKind

HOUR = 3_600_000
DAY = 24 * HOUR
ORIGIN = 1_700_000_000_000
OF_OFFERS = ("offer_viewed", "offer_clicked", "coupon_redeemed")
CATEGORIES = ("books", "shoes", "tea")
KINDS = tuple(kind.value for kind in OfferKind)


@dataclass(frozen=True)
class Person:
    """One shopper's profile; ``earlier`` is what it was before: (until when, attributes), by time."""

    attributes: Mapping[str, Any] = field(default_factory=dict)
    joined: int | None = None
    earlier: Sequence[tuple[int, Mapping[str, Any]]] = ()


@dataclass(frozen=True)
class Happening:
    """One event; ``category`` and ``offer`` are positions or -1."""

    shopper: int
    time: int
    type: str
    category: int = -1
    offer: int = -1
    value: float = 0.0


@dataclass(frozen=True)
class Shown:
    """One exposure; ``offer`` is -1 for control."""

    shopper: int
    time: int
    offer: int
    window_end: int


@dataclass(frozen=True)
class Shop:
    """Everything that features may read, in plain lists."""

    people: Sequence[Person]
    offers: Sequence[OfferTerms]
    happenings: Sequence[Happening] = ()
    shown: Sequence[Shown] = ()
    until: int = ORIGIN + 60 * DAY

    def with_more(self, happenings: Sequence[Happening], shown: Sequence[Shown]) -> Shop:
        """Return the shop with further events and exposures."""
        return replace(self, happenings=[*self.happenings, *happenings], shown=[*self.shown, *shown])

    def start(self) -> int:
        """Return the first event's time; ``until`` if there is none."""
        times = [event.time for event in self.happenings] + [row.time for row in self.shown if row.offer >= 0]
        return min(times, default=self.until)

    def history(self, shopper: int) -> History:
        """Return what the reference needs of one shopper."""
        own = [row for row in self.shown if row.shopper == shopper and row.offer >= 0]
        events = [
            PastEvent(
                event.type,
                event.time,
                CATEGORIES[event.category] if event.category >= 0 else "",
                event.offer,
                self.offers[event.offer].kind if event.offer >= 0 else "",
                event.value,
            )
            for event in self.happenings
            if event.shopper == shopper
        ]
        events += [PastEvent("offer_shown", row.time, "", row.offer, self.offers[row.offer].kind) for row in own]
        person = self.people[shopper]
        return History(person.attributes, person.joined, events, [self.last_moment(row) for row in own], person.earlier)

    def pace(self, time: int, threshold: float) -> ShopPace:
        """Return what all shoppers together did a day before ``time``: spent, and ordered for ``threshold`` or more."""
        placed = [row.value for row in self.happenings if row.type == "order_placed" and row.time < time]
        days = 0.0
        for place, person in enumerate(self.people):
            seen = [row.time for row in self.happenings if row.shopper == place]
            seen += [row.time for row in self.shown if row.shopper == place and row.offer >= 0]
            since = min(seen, default=time) if person.joined is None else person.joined
            days += max(time - max(since, self.start()), 0) / DAY
        days = max(days, 1.0)
        return ShopPace(sum(placed) / days, sum(value >= threshold for value in placed) / days)

    def last_moment(self, row: Shown) -> int:
        """Return until when an offer that was shown could be used."""
        hours = self.offers[row.offer].hours
        return row.window_end if hours is None else row.time + int(hours * HOUR)

    def frames(self) -> Frames:
        """Return the same as the columns that the fast form reads."""
        return Frames(
            population="shop",
            until=self.until,
            start=self.start(),
            shoppers=Shoppers(
                ids=np.arange(1, len(self.people) + 1),
                attributes=[dict(person.attributes) for person in self.people],
                joined=ints(int(NEVER) if person.joined is None else person.joined for person in self.people),
                earlier=self._earlier(),
            ),
            events=self._events(),
            lines=Lines(ints([]), ints([]), ints([]), np.zeros(0)),
            exposures=self._exposures(),
            offers=offers_frame(self.offers),
            items=Items([], ints([]), np.zeros(0), np.zeros(0, dtype=bool)),
            categories=list(CATEGORIES),
        )

    def _earlier(self) -> EarlierProfiles:
        rows = [(place, *version) for place, person in enumerate(self.people) for version in person.earlier]
        return EarlierProfiles(
            ints(row[0] for row in rows), ints(row[1] for row in rows), [dict(attributes) for *_key, attributes in rows]
        )

    def _events(self) -> Events:
        rows = [
            (event.shopper, event.time, TYPE_CODE[event.type], event.category, event.offer, event.value)
            for event in self.happenings
        ]
        shown = TYPE_CODE["offer_shown"]
        rows += [(row.shopper, row.time, shown, -1, row.offer, 0.0) for row in self.shown if row.offer >= 0]
        rows.sort(key=lambda row: row[:3])
        shopper, time, kind, category, offer, value = zip(*rows, strict=True) if rows else ((),) * 6
        return Events(
            ints(shopper), ints(time), ints(kind), ints([-1] * len(rows)), ints(category), ints(offer), floats(value)
        )

    def _exposures(self) -> Exposures:
        rows = sorted(self.shown, key=lambda row: row.time)
        never = np.full(len(rows), NEVER)
        nothing = np.zeros(len(rows))
        return Exposures(
            ints(range(1, len(rows) + 1)),
            ints(row.shopper for row in rows),
            ints(row.offer for row in rows),
            ints(row.time for row in rows),
            ints(row.window_end for row in rows),
            never, never, never, never, nothing, nothing, np.full(len(rows), np.nan),
        )  # fmt: skip


def ints(values: Any) -> Any:
    return np.array(list(values), dtype=np.int64)


def floats(values: Any) -> Any:
    return np.array(list(values), dtype=np.float64)


def offers_frame(offers: Sequence[OfferTerms]) -> Offers:
    """Return offers as columns."""
    return Offers(
        ids=ints(range(101, 101 + len(offers))),
        campaign=ints([1] * len(offers)),
        names=[f"offer {terms.offer}" for terms in offers],
        kinds=[terms.kind for terms in offers],
        amount=floats(terms.amount for terms in offers),
        percent=floats(terms.percent for terms in offers),
        threshold=floats(terms.threshold for terms in offers),
        max_discount=floats(np.inf if terms.max_discount is None else terms.max_discount for terms in offers),
        hours=floats(np.nan if terms.hours is None else terms.hours for terms in offers),
        category=ints(CATEGORIES.index(terms.category) if terms.category else -1 for terms in offers),
        channels=floats(terms.channels for terms in offers).reshape(len(offers), 3),
        members_only=floats(terms.members_only for terms in offers),
        external=["" for _ in offers],
        attribution_hours=ints([168] * len(offers)),
    )


def rows_of(pairs: Sequence[tuple[int, int, int, int]]) -> Rows:
    """Return rows from (shopper, offer, time, window end)."""
    shopper, offer, time, window_end = zip(*pairs, strict=True)
    return Rows(ints(shopper), ints(offer), ints(time), ints(window_end))


times = st.builds(
    lambda step, jitter: ORIGIN + step * (DAY // 2) + jitter, st.integers(0, 60), st.sampled_from([0, 0, 0, -1, 1])
)
money = st.integers(0, 50_000).map(lambda cents: cents / 100)
shares = st.sampled_from([0.0, 1.0])
attributes = st.fixed_dictionaries(
    {},
    optional={
        "age": st.one_of(st.none(), st.integers(18, 99), st.just("unknown"), st.booleans()),
        "income": st.one_of(st.none(), st.floats(0, 200_000)),
        "tier": st.sampled_from(["gold", ""]),
    },
)
earlier = st.lists(st.tuples(times, attributes), max_size=3, unique_by=lambda version: version[0]).map(
    lambda versions: sorted(versions, key=lambda version: version[0])
)


def terms(position: int) -> st.SearchStrategy[OfferTerms]:
    """Return one offer's terms: an amount or a share off, open-ended or not."""
    benefit = st.one_of(
        st.builds(lambda amount: {"amount": amount}, money),
        st.builds(lambda percent: {"percent": float(percent)}, st.integers(1, 100)),
    )
    return st.builds(
        lambda given, **others: OfferTerms(offer=position, **given, **others),
        benefit,
        kind=st.sampled_from(KINDS),
        threshold=money,
        max_discount=st.none() | money,
        hours=st.none() | st.integers(1, 400).map(float),
        category=st.sampled_from(["", *CATEGORIES]),
        channels=st.tuples(shares, shares, shares),
        members_only=st.booleans(),
    )


def happenings(people: int, offers: int, at: st.SearchStrategy[int]) -> st.SearchStrategy[list[Happening]]:
    """Return events of these people; those about offers may name one that is not known (-1)."""

    def one(shopper: int, time: int, kind: str, category: int, offer: int, value: float) -> Happening:
        return Happening(shopper, time, kind, category, offer if kind in OF_OFFERS else -1, value)

    kinds = st.sampled_from([name for name in STREAM_TYPES if name != "offer_shown"])
    event = st.builds(
        one, st.integers(0, people - 1), at, kinds, st.integers(-1, len(CATEGORIES) - 1),
        st.integers(-1, offers - 1), money,
    )  # fmt: skip
    return st.lists(event, max_size=25)


def exposures(people: int, offers: int, at: st.SearchStrategy[int]) -> st.SearchStrategy[list[Shown]]:
    """Return exposures of these people, control rows among them."""
    row = st.builds(
        lambda shopper, time, offer, days: Shown(shopper, time, offer, time + days * DAY // 2),
        st.integers(0, people - 1), at, st.integers(-1, offers - 1), st.integers(1, 20),
    )  # fmt: skip
    return st.lists(row, max_size=10)


@st.composite
def shops(draw: st.DrawFn) -> Shop:
    """Draw a shop of one to four people and up to three offers; it may have no event at all."""
    people = draw(st.lists(st.builds(Person, attributes, st.none() | times, earlier), min_size=1, max_size=4))
    offers = [draw(terms(position)) for position in range(draw(st.integers(0, 3)))]
    return Shop(
        people,
        offers,
        draw(happenings(len(people), len(offers), times)),
        draw(exposures(len(people), len(offers), times)),
    )


def questions(shop: Shop) -> st.SearchStrategy[list[tuple[int, int, int, int]]]:
    """Return rows to ask for: every shopper may be asked about at several moments."""
    row = st.builds(
        lambda shopper, offer, time, days: (shopper, offer, time, time + days * DAY // 2),
        st.integers(0, len(shop.people) - 1),
        st.integers(0, max(len(shop.offers) - 1, 0)),
        times,
        st.integers(1, 20),
    )
    return st.lists(row, min_size=1, max_size=8)
