"""Races for tries and for batches of codes: the last try of an hour, and one batch made by two processes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from unittest import mock

from django.conf import settings

from personalization.campaigns import batches
from personalization.campaigns.coupons import claim
from personalization.learning import jobs
from personalization.models import Campaign, CodeBatch, Coupon, Job, Offer, RateCount
from personalization.tracking import limits
from tests.concurrency import arena
from tests.support import build

MOST = 3


class TriesAtTheLimit(arena.Race):
    """One shopper tries codes in many tabs at once; ``MOST`` tries a day are allowed."""

    def prepare(self) -> None:
        settings.PERSONALIZATION = {**settings.PERSONALIZATION, "RATE_LIMITS": {"code": [f"account {MOST}/d"]}}
        limits.conf.get.cache_clear()
        self.shopper = build.shopper()
        self.passed: list[int] = []

    def contenders(self) -> Sequence[Callable[[], object]]:
        return [self._try] * self.threads

    def _try(self) -> None:
        limits.attempt("code", shopper=self.shopper)
        self.passed.append(1)

    def overruns(self) -> list[str]:
        return [f"{len(self.passed)} tries passed, {MOST} allowed"] if len(self.passed) > MOST else []

    def faults(self) -> list[str]:
        return [f"only {len(self.passed)} tries passed"] if len(self.passed) < MOST else []

    @contextmanager
    def unguarded(self) -> Iterator[None]:
        def read_then_write(scope: str, rows: Sequence[tuple[str, datetime]], *_how: object) -> dict[str, int]:
            counts = {}
            for digest, window in rows:
                row, _made = RateCount.objects.get_or_create(scope=scope, digest=digest, window=window)
                time.sleep(arena.PAUSE_SECONDS)
                row.count += 1
                row.save()
                counts[digest] = row.count
            return counts

        with mock.patch.object(limits, "_count", read_then_write):
            yield


class OneBatchTwice(arena.Race):
    """A job whose lease was taken over still runs beside its successor, and shoppers claim: nothing is made twice."""

    size = 40
    claims = 4

    def prepare(self) -> None:
        batches.CHUNK = self.size // 2  # this process plays nothing else
        # Without a limit on what is issued: it would stop a second round of codes by itself.
        self.offer = build.offer()
        self.batch = batches.create_batch(self.offer, self.size)
        assert self.batch.job_id is not None
        leased = jobs.lease("race", self.batch.job_id)
        assert leased is not None
        self.job = leased

    def contenders(self) -> Sequence[Callable[[], object]]:
        claims = [partial(claim, self.offer.pk, shopper=build.shopper()) for _ in range(self.claims)]
        return [self._generate] * (self.threads - self.claims) + claims

    def _generate(self) -> None:
        batches.run(Job.objects.get(pk=self.job.pk), {"batch": self.batch.pk}, lambda what, done: None)

    def _counts(self) -> tuple[int, int, int, int, int]:
        batch = CodeBatch.objects.get(pk=self.batch.pk)
        offer = Offer.objects.get(pk=self.offer.pk)
        rows = Coupon.objects.filter(offer=offer)
        liability = Campaign.objects.get(pk=offer.campaign_id).liability_minor
        return rows.filter(batch=batch).count(), batch.generated_count, rows.count(), offer.issued_count, liability

    def overruns(self) -> list[str]:
        codes, *_others = self._counts()
        return [f"{codes} codes made, {self.size} wanted"] if codes > self.size else []

    def faults(self) -> list[str]:
        codes, generated, every, issued, liability = self._counts()
        good = codes == generated == self.size and every == issued == self.size + self.claims
        good = good and liability == 500 * every
        return [] if good else [f"{codes} codes, {generated} counted, {every} coupons, {issued} issued, {liability}"]

    @contextmanager
    def unguarded(self) -> Iterator[None]:
        arena.drop_checks()
        with arena.check_then_act():
            yield
