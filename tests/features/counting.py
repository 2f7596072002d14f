"""A small shop on the database that lives through anything, and what plain Python reads off its log.

``Life`` does one step at a time: events arrive in any order, are judged again, removed, erased, moved by a merge and
back; shoppers agree and withdraw; the counting goes on now and then, by the batch. ``check`` compares what the forms of
reading the past say at a moment with what a few lines say that look at every event.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Any
from unittest import mock

import numpy as np
import polars as pl
from hypothesis import strategies as st

from personalization.features import behaviour, counted, exported, reference, rollup_sql, rollups, summaries
from personalization.features.frames import NEVER, milliseconds
from personalization.features.reference import History, OfferTerms, PastEvent, ShopPace
from personalization.models import CatalogItem, Event, Shopper, ShopperInterest, ShopperSummary
from personalization.ports.signals import events_rewritten
from personalization.privacy import erasure
from personalization.tracking import merging
from tests.support import build

ORIGIN = datetime(2026, 3, 1, tzinfo=UTC)
DAY = timedelta(days=1)
PEOPLE, DAYS = 3, 100
TYPES = ("order_placed", "order_placed", "product_viewed", "product_viewed", "category_viewed", "basket_changed",
         "search_performed", "page_viewed", "wish_made")  # fmt: skip
CATEGORIES = ("tea", "pots", "unheard-of", "")
VIEWS = ("page_viewed", "product_viewed", "category_viewed")
INTERESTS = (*reference.INTEREST, "order_placed")

Step = tuple[Any, ...]
people = st.integers(0, PEOPLE - 1)
# A coarse grid with a millisecond's jitter: ties, midnights and exact window edges are common.
moments = st.builds(
    lambda half, jitter: ORIGIN + half * DAY / 2 + timedelta(milliseconds=jitter),
    st.integers(0, 2 * DAYS),
    st.sampled_from([0, 0, -1, 1, 40_000_000]),
)
events = st.tuples(
    st.just("arrive"), people, moments, st.sampled_from(TYPES), st.sampled_from(CATEGORIES),
    st.sampled_from(["", "pot-1", "pot-2", "unknown"]), st.none() | st.integers(-500, 5000),
    st.sampled_from([False] * 5 + [True]), st.sampled_from([None, "", 7, "phone", "desktop"]),
)  # fmt: skip
stretches = st.tuples(st.integers(0, DAYS), st.integers(0, DAYS)).map(sorted)
steps: st.SearchStrategy[Step] = st.one_of(
    events, events, events, events,
    st.tuples(st.just("count"), st.integers(1, 3)),
    st.tuples(st.just("count"), st.integers(1, 3)),
    st.tuples(st.just("judge"), people, stretches),
    st.tuples(st.just("remove"), people, stretches),
    st.tuples(st.just("erase"), people),
    st.tuples(st.just("merge"), people, people),
    st.tuples(st.just("part")),
    st.tuples(st.just("answer"), people, st.booleans()),
    st.tuples(st.just("move_item"), st.sampled_from(["tea", "pots", ""])),
    st.tuples(st.just("tidy")),
    st.tuples(st.just("ask"), moments),
)  # fmt: skip


class Life:
    """The shop; steps are methods by name."""

    def __init__(self) -> None:
        self.people = [build.shopper(joined_at=ORIGIN + place * 10 * DAY) for place in range(PEOPLE)]
        self.merged: list[tuple[Shopper, Shopper, list[int]]] = []
        self.number = 0
        for item, category in (("pot-1", "pots"), ("pot-2", "tea"), ("mug", "mugs")):
            CatalogItem.objects.create(item_id=item, label="x", title=item, category=category)

    def live(self, taken: Sequence[Step]) -> None:
        for name, *values in taken:
            getattr(self, name)(*values)

    def arrive(
        self, who: int, at: datetime, kind: str, category: str, item: str, value: int | None, bot: bool, device: Any
    ) -> None:
        self.number += 1
        Event.objects.create(
            source="t", event_id=str(self.number), type=kind, shopper=self.people[who], occurred_at=at,
            category=category, item_id=item, value_minor=value, is_bot=bot,
            properties={} if device is None else {"device": device},
        )  # fmt: skip

    def count(self, batches: int) -> None:
        """Go on counting, perhaps not to the end: some batches of two events, then one round of marks."""
        rollups.RollupState.objects.get_or_create(pk=1)
        with mock.patch.object(rollups, "BATCH", 2):
            for _batch in range(batches):
                rollups._add(rollups.settled())
        rollups._recount()

    def tidy(self) -> None:
        rollups.tidy()

    def judge(self, who: int, stretch: Sequence[int]) -> None:
        for event in self._between(who, stretch):
            Event.objects.filter(pk=event.pk).update(is_bot=not event.is_bot)
        self._rewritten([self.people[who]], stretch)

    def remove(self, who: int, stretch: Sequence[int]) -> None:
        Event.objects.filter(pk__in=[event.pk for event in self._between(who, stretch)]).delete()
        self._rewritten([self.people[who]], stretch)

    def erase(self, who: int) -> None:
        erasure.erase(self.people[who])
        self.people[who] = build.shopper()
        self.merged = [row for row in self.merged if Shopper.objects.filter(pk=row[0].pk).exists()]

    def merge(self, visitor: int, account: int) -> None:
        if visitor == account:
            return
        mine, other = self.people[visitor], self.people[account]
        moved = list(Event.objects.filter(shopper=mine).values_list("pk", flat=True))
        merging.merge(Shopper.objects.get(pk=mine.pk), Shopper.objects.get(pk=other.pk))
        self.merged.append((mine, other, moved))
        self.people[visitor] = build.shopper()

    def part(self) -> None:
        """Take the last merge back: the events that came along return, and the visitor agrees again."""
        if not self.merged:
            return
        visitor, account, moved = self.merged.pop()
        Event.objects.filter(pk__in=moved, shopper=account).update(shopper=visitor)
        Shopper.objects.filter(pk=visitor.pk).update(merged_into=None, consent_personalisation=True)
        self._rewritten([visitor, account], (0, DAYS))

    def answer(self, who: int, agrees: bool) -> None:
        Shopper.objects.filter(pk=self.people[who].pk).update(consent_personalisation=agrees)

    def move_item(self, category: str) -> None:
        CatalogItem.objects.filter(item_id="pot-1").update(category=category)

    def ask(self, at: datetime) -> None:
        check(at)

    def _between(self, who: int, stretch: Sequence[int]) -> list[Event]:
        first, last = _days(stretch)
        mine = Event.objects.filter(shopper=self.people[who])
        return [event for event in mine if first <= event.occurred_at.date() <= last]

    def _rewritten(self, shoppers: Sequence[Shopper], stretch: Sequence[int]) -> None:
        first, last = _days(stretch)
        keys = [shopper.pk for shopper in shoppers]
        events_rewritten.send(sender=Event, shopper_ids=keys, first_day=first, last_day=last)


def _days(stretch: Sequence[int]) -> tuple[date, date]:
    first, last = stretch
    return (ORIGIN + first * DAY).date() - DAY, (ORIGIN + last * DAY).date()


def check(at: datetime) -> None:
    """Compare every form with the log, for everybody who may be looked at; the counts are left as they stand."""
    agreed = Shopper.objects.filter(merged_into=None, consent_personalisation=True).order_by("pk")
    shoppers = list(agreed)
    log = {shopper.pk: list(Event.objects.filter(shopper=shopper, is_bot=False)) for shopper in shoppers}
    category_of = dict(CatalogItem.objects.values_list("item_id", "category"))
    _check_features(at, shoppers, log, category_of)
    _check_summaries(at, shoppers, log, category_of)


def _category(event: Event, category_of: dict[str, str]) -> str:
    return event.category or category_of.get(event.item_id, "")


def _check_features(
    at: datetime, shoppers: list[Shopper], log: dict[int, list[Event]], category_of: dict[str, str]
) -> None:
    if not shoppers:
        return
    known = sorted({name for name in category_of.values() if name})
    time, start = milliseconds(at), milliseconds(ORIGIN)
    streams = [
        [
            PastEvent(
                event.type, milliseconds(event.occurred_at),
                _category(event, category_of) if _category(event, category_of) in known else "",
                value=(event.value_minor or 0) / 100,
            )
            for event in log[shopper.pk] if event.type in rollup_sql.STORED
        ]
        for shopper in shoppers
    ]  # fmt: skip
    joined = [NEVER if each.joined_at is None else milliseconds(each.joined_at) for each in shoppers]
    keys, times = np.array([each.pk for each in shoppers]), np.full(len(shoppers), time)
    forms: dict[str, Callable[[], behaviour.Past]] = {
        "sql": lambda: counted.past(keys, at),
        "polars": lambda: exported.past(_exported(streams), pl.LazyFrame({"shopper": range(len(keys)), "time": times})),
    }
    looks = counted.interest(keys, at, "shop", known)
    for place, stream in enumerate(streams):
        history = History({}, None if joined[place] == NEVER else int(joined[place]), stream)
        for code, name in enumerate(known):
            wanted = reference.reduce(history, OfferTerms(0, "coupon", category=name), time, time, start, ShopPace())
            share = looks[place, code] / max(looks[place].sum(), 1)
            assert abs(share - wanted["category_share"]) < 1e-9, (at, name, shoppers[place].pk)
    for form, read in forms.items():
        past = read()
        days = behaviour.observed_days(times, np.array(joined), past.first_order, start)
        found = behaviour.features(past, times, days)
        for place, stream in enumerate(streams):
            history = History({}, None if joined[place] == NEVER else int(joined[place]), stream)
            wanted = reference.reduce(history, OfferTerms(0, "coupon"), time, time, start, ShopPace())
            for name, values in found.items():
                np.testing.assert_allclose(
                    values[place], wanted[name], rtol=1e-9, atol=1e-6, err_msg=f"{form} {name} {at}"
                )


def _exported(streams: list[list[PastEvent]]) -> pl.LazyFrame:
    rows = [(who, event.time, event.type, event.value) for who, stream in enumerate(streams) for event in stream]
    schema = {"shopper": pl.Int64, "time": pl.Int64, "type": pl.String, "value": pl.Float64}
    return pl.LazyFrame(rows, schema=schema, orient="row")


def _check_summaries(
    at: datetime, shoppers: list[Shopper], log: dict[int, list[Event]], category_of: dict[str, str]
) -> None:
    ShopperSummary.objects.all().delete()
    with mock.patch.object(rollups, "catch_up"), mock.patch.object(rollups, "tidy"):
        summaries.refresh("shop", at)
    rows = {row.pk: row for row in ShopperSummary.objects.all()}
    assert set(rows) == set(log)
    for shopper in shoppers:
        past = [event for event in log[shopper.pk] if event.occurred_at < at]
        row = rows[shopper.pk]
        orders = [event for event in past if event.type == "order_placed"]
        found = (row.orders, row.spent_minor, row.first_order_at, row.last_order_at, row.last_seen_at, row.views_30d,
                 row.device)  # fmt: skip
        views = [event for event in past if event.type == "product_viewed" and event.occurred_at >= at - 30 * DAY]
        seen_on = [
            (event.occurred_at, event.properties["device"]) for event in past
            if event.type in VIEWS and isinstance(event.properties.get("device"), str) and event.properties["device"]
        ]  # fmt: skip
        assert found == (
            len(orders),
            sum(event.value_minor or 0 for event in orders),
            min((event.occurred_at for event in orders), default=None),
            max((event.occurred_at for event in orders), default=None),
            max((event.occurred_at for event in past), default=None),
            len(views),
            max(seen_on)[1] if seen_on else "",
        ), (at, shopper.pk)
        assert _interests(shopper) == _wanted_interests(past, at, category_of), (at, shopper.pk)


def _interests(shopper: Shopper) -> dict[str, float]:
    mine = ShopperInterest.objects.filter(shopper=shopper)
    return {category: round(share, 9) for category, share in mine.values_list("category", "share")}


def _wanted_interests(past: list[Event], at: datetime, category_of: dict[str, str]) -> dict[str, float]:
    looked = [
        _category(event, category_of) for event in past
        if event.type in INTERESTS and event.occurred_at >= at - summaries.INTEREST_DAYS * DAY
    ]  # fmt: skip
    named = [name for name in looked if name]
    shares = {name: named.count(name) / len(named) for name in set(named)}
    return {name: round(share, 9) for name, share in shares.items() if share >= summaries.LEAST_SHARE}
