"""Races for events: the same fact arrives many times at once and is stored once."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from functools import partial
from unittest import mock
from uuid import uuid4

from personalization.models import Event
from personalization.ports.signals import order_placed
from personalization.tracking import storage
from personalization.tracking.ingest import store_events
from personalization.types import EventData, OrderData
from tests.concurrency import arena
from tests.support import build

MOMENT = datetime(2025, 6, 1, 12, tzinfo=UTC)


class _OnceRace(arena.Race):
    @contextmanager
    def unguarded(self) -> Iterator[None]:
        arena.drop_unique(Event, "pz_event_once")
        with ExitStack() as stack:
            for name in ("_SQLITE", "_POSTGRES"):
                statement, _, _ = getattr(storage, name).partition("ON CONFLICT")
                stack.enter_context(mock.patch.object(storage, name, statement))
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
