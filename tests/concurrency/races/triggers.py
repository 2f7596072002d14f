"""Races for occasions and messages: evaluated and sent by many at once, each comes once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from functools import partial
from unittest import mock

from django.conf import settings
from django.contrib.auth import get_user_model
from django.db import connection
from django.db.models import Q
from django.test import override_settings
from django.utils import timezone

from personalization.campaigns import outbox, triggers, triggers_sql
from personalization.models import Occurrence, OutboxMessage, Shopper, Trigger
from tests.concurrency import arena
from tests.personalization import reach
from tests.support import build


class EvaluatedByMany(arena.Race):
    """Four evaluations of one trigger over the same shoppers."""

    threads = 4
    size = 300
    kind = "welcome"

    def prepare(self) -> None:
        campaign = build.campaign()
        joined = timezone.now() - timedelta(hours=1)
        Shopper.objects.update(joined_at=None)
        Shopper.objects.bulk_create(
            Shopper(consent_personalisation=True, consent_marketing=True, joined_at=joined) for _ in range(self.size)
        )
        self.trigger = Trigger.objects.create(campaign=campaign, kind=self.kind, channels=["pigeon"])

    def contenders(self) -> Sequence[Callable[[], object]]:
        return [partial(self._evaluate)] * self.threads

    def _evaluate(self) -> None:
        triggers.evaluate(Trigger.objects.select_related("campaign").get(pk=self.trigger.pk), size=70)

    def overruns(self) -> list[str]:
        rows = Occurrence.objects.filter(trigger=self.trigger).count()
        return [f"{rows} occurrences for {self.size} shoppers"] if rows > self.size else []

    def faults(self) -> list[str]:
        rows = Occurrence.objects.filter(trigger=self.trigger).count()
        messages = OutboxMessage.objects.filter(campaign=self.trigger.campaign_id).count()
        lost = [] if rows >= self.size else [f"{rows} occurrences for {self.size} shoppers"]
        return lost + ([] if messages == rows else [f"{messages} messages for {rows} occurrences"])

    @contextmanager
    def unguarded(self) -> Iterator[None]:
        arena.drop_unique(Occurrence, "pz_occurrence_once")
        arena.drop_unique(OutboxMessage, "pz_message_once")
        with ExitStack() as stack:
            stack.enter_context(mock.patch.object(triggers_sql, "_ONCE", ""))
            messages = triggers_sql._MESSAGES.replace("ON CONFLICT (dedupe_key) DO NOTHING", "")
            stack.enter_context(mock.patch.object(triggers_sql, "_MESSAGES", messages))
            yield


class LaunchedByMany(EvaluatedByMany):
    """Four evaluations of one launch: nobody is written to twice, and nobody is forgotten."""

    kind = "launch"

    def prepare(self) -> None:
        Shopper.objects.update(consent_personalisation=False)  # whoever is left of the rounds before
        super().prepare()

    @contextmanager
    def unguarded(self) -> Iterator[None]:
        # A launch that is over keeps the later ones out as well.
        with mock.patch.object(triggers, "DONE", Q(pk__in=[])), super().unguarded():
            yield


class _Sending(arena.Race):
    threads = 4

    def prepare(self) -> None:
        reach.loft.sent.clear()
        OutboxMessage.objects.update(state="failed")
        self.user = get_user_model().objects.create(username=timezone.now().isoformat())
        self.shopper = build.shopper(user=self.user)
        self._write()

    def _write(self) -> None:
        raise AssertionError("each race writes its own messages")

    def message(self) -> OutboxMessage:
        offer = build.offer()
        key = f"{self.shopper.pk}:{offer.pk}"
        return OutboxMessage.objects.create(
            campaign=offer.campaign, shopper=self.shopper, channel="pigeon", dedupe_key=key
        )

    def contenders(self) -> Sequence[Callable[[], object]]:
        return [self._send] * self.threads

    def _send(self) -> None:
        with mock.patch.object(outbox, "BATCH", 1):
            outbox.send_due(limit=4)


class SentByMany(_Sending):
    """One message, several senders."""

    def _write(self) -> None:
        self.row = self.message()

    def _handed_over(self) -> int:
        return sum(given.message_id == str(self.row.pk) for given in reach.loft.sent)

    def overruns(self) -> list[str]:
        return [f"handed over {self._handed_over()} times"] if self._handed_over() > 1 else []

    def faults(self) -> list[str]:
        return [] if self._handed_over() else ["it did not go out"]

    @contextmanager
    def unguarded(self) -> Iterator[None]:
        with arena.check_then_act():
            yield


class WeeklyLimit(_Sending):
    """Six messages of six campaigns to one shopper who gets two a week."""

    def _write(self) -> None:
        for _ in range(6):
            self.message()

    def overruns(self) -> list[str]:
        sent = OutboxMessage.objects.filter(shopper=self.shopper, state="sent").count()
        return [f"{sent} messages in a week"] if sent > 2 else []

    def faults(self) -> list[str]:
        sent = OutboxMessage.objects.filter(shopper=self.shopper, state="sent").count()
        return [] if sent >= 2 else [f"only {sent} went out"]

    @contextmanager
    def unguarded(self) -> Iterator[None]:
        with ExitStack() as stack:
            stack.enter_context(arena.without_row_locks())
            if connection.vendor == "sqlite":
                stack.enter_context(arena.without_transactions())
            stack.enter_context(mock.patch.object(outbox, "_ours", arena.pausing(outbox._ours)))
            yield


# For the whole process: a race is played in one of its own.
override_settings(PERSONALIZATION={**settings.PERSONALIZATION, **reach.PATHS, "PUSH_PER_WEEK": 2}).enable()
