"""Races for jobs: two workers, one row; and the worker that comes back from the dead."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any
from unittest import mock
from uuid import uuid4

from django.db import IntegrityError, transaction
from django.db.models import QuerySet
from django.utils import timezone

from personalization.learning import jobs, publish
from personalization.models import ItemNeighbours, Job, ScoreSet
from personalization.types import JobKind
from tests.concurrency import arena


class AskedAtOnce(arena.Race):
    """A button is pressed by many, and what has changed asks for the same: one job waits."""

    def prepare(self) -> None:
        Job.objects.all().delete()
        self.params = {"round": uuid4().hex}
        self.new: list[Job] = []

    def contenders(self) -> Sequence[Callable[[], object]]:
        changed = partial(jobs.enqueue, JobKind.SCORE, self.params)
        return [*[self._press] * (self.threads - 1), changed]

    def _press(self) -> None:
        job, new = jobs.ask(JobKind.SCORE, self.params)
        if new:
            self.new.append(job)

    def overruns(self) -> list[str]:
        found = Job.objects.count()
        return [f"{found} jobs do the same"] if found > 1 else []

    def faults(self) -> list[str]:
        return [] if len(self.new) <= 1 else [f"{len(self.new)} were told that theirs is queued"]

    @contextmanager
    def unguarded(self) -> Iterator[None]:
        with (
            arena.without_transactions(),
            mock.patch.object(jobs._Same, "hold", return_value=None),
            mock.patch.object(QuerySet, "first", arena.pausing(QuerySet.first)),
        ):
            yield


class OneJobManyWorkers(arena.Race):
    """Many workers poll the queue when one job is in it."""

    def prepare(self) -> None:
        Job.objects.all().delete()
        self.job = jobs.enqueue(JobKind.TRAIN, {"round": uuid4().hex})
        self.taken: list[Job] = []

    def contenders(self) -> Sequence[Callable[[], object]]:
        return [partial(self._take, f"worker {number}") for number in range(self.threads)]

    def _take(self, owner: str) -> None:
        job = jobs.lease(owner)
        if job is not None:
            self.taken.append(job)

    def overruns(self) -> list[str]:
        return [f"{len(self.taken)} workers took one job"] if len(self.taken) > 1 else []

    def faults(self) -> list[str]:
        attempts = Job.objects.get(pk=self.job.pk).attempts
        return [] if (len(self.taken), attempts) == (1, 1) else [f"{len(self.taken)} took it, {attempts} attempts"]

    @contextmanager
    def unguarded(self) -> Iterator[None]:
        with arena.check_then_act():
            yield


class BackFromTheDead(arena.Race):
    """A worker's lease ran out and the job went to another; both publish: only the second one's work counts."""

    threads = 2

    def prepare(self) -> None:
        Job.objects.all().delete()
        jobs.enqueue(JobKind.SCORE, {"round": uuid4().hex})
        self.zombie = self._lease("zombie")
        jobs.sweep(timezone.now() + 2 * jobs.LEASE)
        self.heir = self._lease("heir")
        self.score_set = ScoreSet.objects.create(population=uuid4().hex)

    def _lease(self, owner: str) -> Job:
        job = jobs.lease(owner)
        assert job is not None
        return job

    def contenders(self) -> Sequence[Callable[[], object]]:
        return [partial(self._publish, self.zombie), partial(self._publish, self.heir)]

    def _publish(self, job: Job) -> None:
        """Write an effect and finish the job in one transaction, as the worker does."""
        with transaction.atomic():
            ItemNeighbours.objects.create(score_set=self.score_set, item_id=job.lease_owner)
            jobs.finish(job, {"by": job.lease_owner})

    def _publishers(self) -> set[str]:
        rows = ItemNeighbours.objects.filter(score_set=self.score_set)
        return set(rows.values_list("item_id", flat=True))

    def overruns(self) -> list[str]:
        publishers = self._publishers()
        return ["the zombie's work was published"] if "zombie" in publishers else []

    def faults(self) -> list[str]:
        ended = Job.objects.get(pk=self.heir.pk)
        good = self._publishers() == {"heir"} and ended.result == {"by": "heir"} and ended.attempts == 2
        return [] if good else [f"published by {self._publishers()}, result {ended.result}"]

    @contextmanager
    def unguarded(self) -> Iterator[None]:
        def any_fence(job: Job) -> Any:
            return Job.objects.filter(pk=job.pk)

        with mock.patch.object(jobs, "_ours", any_fence):
            yield


class CancelledWhileFinishing(BackFromTheDead):
    """A job is cancelled at the moment at which its worker publishes: either both agree or nothing is published."""

    def prepare(self) -> None:
        super().prepare()
        self.cancelled: list[bool] = []

    def contenders(self) -> Sequence[Callable[[], object]]:
        return [partial(self._publish, self.heir), self._cancel]

    def _cancel(self) -> None:
        self.cancelled.append(jobs.cancel(self.heir))

    def overruns(self) -> list[str]:
        published = bool(self._publishers())
        return ["a cancelled job published"] if published and self.cancelled == [True] else []

    def faults(self) -> list[str]:
        ended = Job.objects.get(pk=self.heir.pk)
        agreed = ended.state == ("cancelled" if self.cancelled == [True] else "succeeded")
        return [] if agreed else [f"the job is {ended.state}, cancel() said {self.cancelled}"]


class FrozenWhileTakenOver(BackFromTheDead):
    """A scoring's worker was frozen (a paused machine) and wakes up while its heir works at the same set."""

    def prepare(self) -> None:
        super().prepare()
        self.score_set = publish.begin(uuid4().hex[:20], self.heir, response=None, strategy=None, preference=None)
        self.disturbed: list[str] = []

    def contenders(self) -> Sequence[Callable[[], object]]:
        return [partial(self._write, self.zombie), self._go_live]

    def _write(self, job: Job) -> None:
        publish.write_neighbours(self.score_set, [(str(item), [[job.lease_owner, 1.0]]) for item in range(50)], job)

    def _go_live(self) -> None:
        try:
            self._write(self.heir)
        except IntegrityError as error:
            self.disturbed.append(f"the heir failed: {error}"[:100])
        publish.publish(self.score_set, self.heir, defaults={})

    def overruns(self) -> list[str]:
        rows = ItemNeighbours.objects.filter(score_set=self.score_set).values_list("neighbours", flat=True)
        writers = {row[0][0] for row in rows}
        return self.disturbed + (["the zombie's work is live"] if "zombie" in writers else [])

    def faults(self) -> list[str]:
        self.score_set.refresh_from_db()
        return [] if self.score_set.state == ScoreSet.State.LIVE else [f"the heir's set is {self.score_set.state}"]

    @contextmanager
    def unguarded(self) -> Iterator[None]:
        with mock.patch.object(jobs, "heartbeat"):
            yield


class TakenOverWhileBeating(arena.Race):
    """A lease has run out; its owner's heart beats again while others sweep and take the job: it has one worker."""

    threads = 4

    def prepare(self) -> None:
        Job.objects.all().delete()
        jobs.enqueue_alone(JobKind.TRAIN, uuid4().hex)
        held = jobs.lease("owner")
        assert held is not None
        self.held = held
        jobs.abandon(held)
        self.working: list[str] = []

    def contenders(self) -> Sequence[Callable[[], object]]:
        return [self._beat, *[partial(self._take, f"worker {number}") for number in range(self.threads - 1)]]

    def _beat(self) -> None:
        jobs.heartbeat(self.held)
        self.working.append("owner")

    def _take(self, owner: str) -> None:
        jobs.sweep()
        if jobs.lease(owner) is not None:
            self.working.append(owner)

    def overruns(self) -> list[str]:
        return [f"{self.working} work at one job"] if len(self.working) > 1 else []

    def faults(self) -> list[str]:
        row = Job.objects.get(pk=self.held.pk)
        right = self.working == [row.lease_owner] and row.attempts == 1 + (row.lease_owner != "owner")
        return [] if right else [f"{self.working} work, the row says {row.lease_owner}, attempt {row.attempts}"]

    @contextmanager
    def unguarded(self) -> Iterator[None]:
        with arena.check_then_act():
            yield


class RetriedWhileAsked(arena.Race):
    """One that failed is retried while beats queue the next under the same word: one of them is open."""

    def prepare(self) -> None:
        Job.objects.all().delete()
        self.word = uuid4().hex
        jobs.enqueue_alone(JobKind.TRAIN, self.word)
        failed = jobs.lease("owner")
        assert failed is not None
        jobs.fail(failed, "no luck")
        self.failed = failed

    def contenders(self) -> Sequence[Callable[[], object]]:
        asked = partial(jobs.enqueue_alone, JobKind.TRAIN, self.word)
        return [*[partial(jobs.retry, self.failed)] * (self.threads // 2), *[asked] * (self.threads // 2)]

    def overruns(self) -> list[str]:
        open_now = Job.objects.filter(alone=self.word, state__in=jobs.OPEN).count()
        return [f"{open_now} are open"] if open_now > 1 else []

    def faults(self) -> list[str]:
        return [] if Job.objects.filter(alone=self.word, state__in=jobs.OPEN).count() else ["none is open"]

    @contextmanager
    def unguarded(self) -> Iterator[None]:
        arena.drop_unique(Job, "pz_job_alone")
        with arena.without_transactions(), mock.patch.object(QuerySet, "exists", arena.pausing(QuerySet.exists)):
            yield
