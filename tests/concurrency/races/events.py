"""Races for events: the same fact arrives many times at once and is stored once."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from uuid import uuid4

from django.db.models import Count, Sum

from personalization.features import summaries
from personalization.learning import frames
from personalization.models import Event, EventClaim, ShopperInterest, ShopperSummary
from personalization.ports.signals import order_placed
from personalization.tracking import identity
from personalization.tracking.ingest import store_events
from personalization.types import EventData, OrderData
from tests.concurrency import arena
from tests.support import build
from tests.support.scale import rounds

MOMENT = datetime(2025, 6, 1, 12, tzinfo=UTC)
KINDS = ("page_viewed", "product_viewed", "order_placed", "category_viewed", "basket_changed")


class _OnceRace(arena.Race):
    @contextmanager
    def unguarded(self) -> Iterator[None]:
        arena.drop_primary_key(EventClaim)
        yield


class OneOrderManySignals(_OnceRace):
    """An order is announced by many processes at once, for instance live and by the backfill."""

    def prepare(self) -> None:
        build.shopper()
        self.order = OrderData(
            order_id=uuid4().hex, placed_at=MOMENT, lines=(), total_minor=100, currency="EUR", guest_ref=uuid4().hex
        )

    def contenders(self) -> Sequence[Callable[[], object]]:
        return [partial(order_placed.send, sender=type(self), request=None, order=self.order)] * self.threads

    def _stored(self) -> int:
        return Event.objects.filter(type="order_placed", event_id__endswith=self.order.order_id).count()

    def overruns(self) -> list[str]:
        stored = self._stored()
        return [f"one order was stored {stored} times"] if stored > 1 else []

    def faults(self) -> list[str]:
        return [] if self._stored() else ["the order was not stored"]


class EverythingThriceAgain(_OnceRace):
    """All that is stored comes again three times, shuffled, from as many processes: no count or feature changes."""

    threads = 3
    people, each = 6, rounds(40, 2000)

    def prepare(self) -> None:
        self.population, source = uuid4().hex[:20], uuid4().hex
        shoppers = [build.shopper(population=self.population) for _ in range(self.people)]
        self.rows = [
            EventData(
                source, f"{shopper.pk}-{number}", KINDS[number % len(KINDS)], shopper.pk,
                MOMENT - timedelta(hours=7 * number), category=f"c{number % 3}", value_minor=100 * number,
                properties={"device": "mobile"},
            )
            for shopper in shoppers
            for number in range(self.each)
        ]  # fmt: skip
        store_events(random.sample(self.rows, len(self.rows)))
        self.before = self._figures()

    def contenders(self) -> Sequence[Callable[[], object]]:
        return [partial(self._send, random.sample(self.rows, len(self.rows))) for _ in range(self.threads)]

    def _send(self, shuffled: list[EventData]) -> None:
        for batch in identity.batches(shuffled, 50):
            store_events(batch)

    def _figures(self) -> dict[str, list[tuple[Any, ...]]]:
        """Return the counts by shopper and type, the shoppers' summaries and interests, and what training reads."""
        mine = {"shopper__population": self.population}
        by_type = (
            Event.objects.filter(**mine).values_list("shopper_id", "type").annotate(Count("pk"), Sum("value_minor"))
        )
        summaries.refresh(self.population, MOMENT + timedelta(days=1))
        stream = frames.load(self.population, MOMENT + timedelta(days=1)).events
        return {
            "counts": sorted(by_type.annotate(stored=Count("pk"), minor=Sum("value_minor"))),
            "summaries": list(ShopperSummary.objects.filter(**mine).order_by("pk").values_list()),
            "interests": sorted(ShopperInterest.objects.filter(**mine).values_list("shopper_id", "category", "share")),
            "training": sorted(zip(stream.shopper.tolist(), stream.time.tolist(), stream.type.tolist(), strict=True)),
        }

    def overruns(self) -> list[str]:
        now = self._figures()
        return [f"{name} changed" for name, rows in self.before.items() if rows != now[name]]

    def faults(self) -> list[str]:
        stored = sum(row[2] for row in self.before["counts"])
        wanted = self.people * self.each
        return [] if stored == wanted else [f"{stored} events were stored at first, of {wanted}"]


class SentThriceShuffled(_OnceRace):
    """Every event of a batch is sent three times, in a different order by each sender."""

    threads = 6
    size = 300

    def prepare(self) -> None:
        shopper = build.shopper()
        self.source = uuid4().hex
        rows = [
            EventData(self.source, f"event {number}", "page_viewed", shopper.pk, MOMENT) for number in range(self.size)
        ]
        self.batches = []
        for _ in range(3):
            shuffled = random.sample(rows, len(rows))
            self.batches += [shuffled[: self.size // 2], shuffled[self.size // 2 :]]
        self.new: list[int] = []

    def contenders(self) -> Sequence[Callable[[], object]]:
        return [partial(self._send, batch) for batch in self.batches]

    def _send(self, batch: list[EventData]) -> None:
        self.new.append(store_events(batch))

    def overruns(self) -> list[str]:
        stored = Event.objects.filter(source=self.source).count()
        return [f"{stored} rows for {self.size} events"] if stored > self.size else []

    def faults(self) -> list[str]:
        stored = Event.objects.filter(source=self.source).count()
        lost = [f"{stored} rows for {self.size} events"] if stored < self.size else []
        told = sum(self.new)
        return lost + ([] if told == self.size else [f"{told} events were called new, {self.size} are"])
