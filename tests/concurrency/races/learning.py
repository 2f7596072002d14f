"""Races for what is live: one champion a task, one set of scores a population."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any
from unittest import mock
from uuid import uuid4

from django.db import OperationalError, connection
from django.db.models import QuerySet
from django.utils import timezone

from personalization.decisioning.decide import decide
from personalization.learning import jobs, publish, registry, rollback, shards, withdrawal
from personalization.models import Decision, Job, ModelVersion, ScoreSet, ScoreShard, Shopper, ShopperScores
from personalization.privacy import erasure
from personalization.tracking import consent
from personalization.types import JobKind, ModelTask
from tests.concurrency import arena
from tests.support import build


class PromotedAtOnce(arena.Race):
    """Many versions are promoted at the same moment, one of them reigns already."""

    def prepare(self) -> None:
        self.population = uuid4().hex[:20]
        self.versions = [self._register(number) for number in range(self.threads)]
        registry.promote(self.versions[0])
        self.promoted: list[ModelVersion] = []

    def _register(self, number: int) -> ModelVersion:
        version = ModelVersion(
            task=ModelTask.RESPONSE.value,
            population=self.population,
            estimator=f"net {number}",
            cutoff_at=timezone.now(),
            path=f"versions/{number}",
            sha256="0" * 64,
            size_bytes=1,
        )
        return registry.register(version)

    def contenders(self) -> Sequence[Callable[[], object]]:
        return [partial(self._promote, version) for version in self.versions]

    def _promote(self, version: ModelVersion) -> None:
        self.promoted.append(registry.promote(version))

    def _champions(self) -> set[int]:
        reigning = ModelVersion.objects.filter(population=self.population, state=ModelVersion.State.CHAMPION)
        return set(reigning.values_list("pk", flat=True))

    def overruns(self) -> list[str]:
        champions = self._champions()
        return [f"{len(champions)} champions of one task"] if len(champions) > 1 else []

    def faults(self) -> list[str]:
        told = {version.pk for version in self.promoted}
        return [] if self._champions() & told else ["the champion is none of those whose promotion succeeded"]

    @contextmanager
    def unguarded(self) -> Iterator[None]:
        arena.drop_unique(ModelVersion, "pz_one_champion")
        with arena.check_then_act(), arena.without_row_locks():
            yield


class TwentyPromotedAtOnce(PromotedAtOnce):
    """Twenty promotions at the same moment: as many as PostgreSQL's default leaves room for beside everything else."""

    threads = 20


class RolledBackAtOnce(PromotedAtOnce):
    """Staff roll back, the gate promotes and a scoring of the bad model ends at once: the bad scores stay away."""

    def prepare(self) -> None:
        super().prepare()
        for version in self.versions[1:4]:
            registry.promote(version)
        self.former, self.bad, self.new = self.versions[2], self.versions[3], self.versions[4]
        self.shown = {
            version.pk: publish.begin(self.population, None, response=version, strategy=None, preference=None)
            for version in (self.former, self.bad)
        }
        for score_set in self.shown.values():
            publish.publish(score_set, None, defaults={})
        self.under_way = publish.begin(self.population, None, response=self.bad, strategy=None, preference=None)

    def contenders(self) -> Sequence[Callable[[], object]]:
        back = partial(rollback.roll_back, ModelTask.RESPONSE, self.population, to=self.former)
        late = partial(publish.publish, self.under_way, None, defaults={})
        return [back, late, *[partial(registry.promote, self.new)] * 2]

    def overruns(self) -> list[str]:
        live = ScoreSet.objects.filter(population=self.population, state=ScoreSet.State.LIVE)
        shown = list(live.values_list("response_version", flat=True))
        found = [f"{len(shown)} sets are live"] if len(shown) != 1 else []
        if shown == [self.bad.pk]:
            found.append("pages show the scores of what was rolled back")
        return found + super().overruns()

    def faults(self) -> list[str]:
        reigning = self._champions()
        good = reigning in ({self.former.pk}, {self.new.pk})
        return [] if good else [f"{reigning} reign, neither the former nor the new one"]

    @contextmanager
    def unguarded(self) -> Iterator[None]:
        arena.drop_unique(ScoreSet, "pz_one_live_scoreset")
        with (
            arena.check_then_act(),
            arena.without_row_locks(),
            mock.patch.object(publish, "_refuse_rolled_back", return_value=None),
        ):
            yield


class TrainingQueuedAtOnce(arena.Race):
    """Several beats and a person ask for a training at the same moment: one is queued."""

    def prepare(self) -> None:
        self.word = uuid4().hex
        self.queued: list[Job] = []

    def contenders(self) -> Sequence[Callable[[], object]]:
        return [self._queue] * self.threads

    def _queue(self) -> None:
        job = jobs.enqueue_alone(JobKind.TRAIN, self.word)
        if job is not None:
            self.queued.append(job)

    def overruns(self) -> list[str]:
        open_now = Job.objects.filter(alone=self.word).count()
        return [f"{open_now} trainings are open"] if open_now > 1 else []

    def faults(self) -> list[str]:
        return [] if len(self.queued) == 1 else [f"{len(self.queued)} were told that theirs is queued"]

    @contextmanager
    def unguarded(self) -> Iterator[None]:
        arena.drop_unique(Job, "pz_job_alone")
        exists = QuerySet.exists
        with arena.without_transactions(), mock.patch.object(QuerySet, "exists", arena.pausing(exists)):
            yield


class PublishedAtOnce(arena.Race):
    """Several scoring jobs of one population finish at the same moment: none is live by half, the newest one stays."""

    threads = 5

    def prepare(self) -> None:
        population = uuid4().hex[:20]
        self.sets = [
            publish.begin(population, None, response=None, strategy=None, preference=None) for _ in range(self.threads)
        ]

    def contenders(self) -> Sequence[Callable[[], object]]:
        return [partial(publish.publish, each, None, defaults={}) for each in self.sets]

    def _live(self) -> list[ScoreSet]:
        return list(ScoreSet.objects.filter(population=self.sets[0].population, state=ScoreSet.State.LIVE))

    def overruns(self) -> list[str]:
        live = self._live()
        return [f"{len(live)} sets are live"] if len(live) > 1 else []

    def faults(self) -> list[str]:
        live = self._live()
        return [] if live == self.sets[-1:] else [f"{live} are live"]

    @contextmanager
    def unguarded(self) -> Iterator[None]:
        arena.drop_unique(ScoreSet, "pz_one_live_scoreset")
        with arena.check_then_act(), arena.without_row_locks():
            yield


class WithdrawnWhileScored(arena.Race):
    """Parts that were computed before are written while their shoppers withdraw or are erased: none comes back."""

    threads = 6

    def prepare(self) -> None:
        people = [Shopper.objects.create(consent_personalisation=True) for _ in range(8)]
        self.leaving, self.stays = people[:4], people[4:]
        self.score_set = publish.begin(uuid4().hex[:20], None, response=None, strategy=None, preference=None)
        shards.plan(self.score_set, [one.pk for one in people], 4)
        self.computed: list[tuple[ScoreShard, list[dict[str, object]]]] = []
        while (shard := shards.take(self.score_set, "worker", leads=True)) is not None:
            self.computed.append(
                (shard, [{"shopper_id": one.pk} for one in people if shard.first <= one.pk <= shard.last])
            )

    def contenders(self) -> Sequence[Callable[[], object]]:
        writing = [partial(shards.finish, shard, rows) for shard, rows in self.computed]
        withdrawn, erased = self.leaving[:3], self.leaving[3]
        return [
            *writing,
            *[partial(consent.record, one, [], source="test") for one in withdrawn],
            partial(erasure.erase, erased),
        ]

    def _scored(self) -> set[int]:
        return set(ShopperScores.objects.filter(score_set=self.score_set).values_list("shopper_id", flat=True))

    def overruns(self) -> list[str]:
        back = self._scored() & {one.pk for one in self.leaving}
        return [f"scores of {len(back)} who left are kept"] if back else []

    def faults(self) -> list[str]:
        if shards.left(self.score_set):
            return ["a part is not written"]
        publish.publish(self.score_set, None, defaults={})
        kept = {one.pk for one in self.stays}
        self.score_set.refresh_from_db()
        right = self._scored() == kept and self.score_set.shoppers == len(kept)
        return [] if right else ["what is published are not the scores of who stayed"]

    @contextmanager
    def unguarded(self) -> Iterator[None]:
        if connection.vendor == "sqlite":  # a transaction is alone there: the look is the guard
            with mock.patch.object(shards, "_leave_out", return_value=0):
                yield
            return
        with (
            mock.patch.object(withdrawal, "SHARED", ""),
            mock.patch.object(shards, "_leave_out", arena.pausing(shards._leave_out)),
        ):
            yield


class DecidedWhileScored(arena.Race):
    """A worker freezes at the worst moment of a part, when it holds the part's shoppers: their pages do not wait."""

    threads = 4
    frozen_seconds = 0.4
    patience = "100ms"

    def prepare(self) -> None:
        self.held = threading.Event()
        self.waited: list[str] = []
        self.people = [build.shopper() for _ in range(self.threads - 1)]
        self.score_set = publish.begin(uuid4().hex[:20], None, response=None, strategy=None, preference=None)
        shards.plan(self.score_set, [one.pk for one in self.people], len(self.people))

    def contenders(self) -> Sequence[Callable[[], object]]:
        return [self._write, *[partial(self._decide, one) for one in self.people]]

    def _write(self) -> None:
        shard = shards.take(self.score_set, "worker", leads=True)
        assert shard is not None
        with mock.patch.object(shards, "_leave_out", self._freeze(shards._leave_out)):
            shards.finish(shard, [{"shopper_id": one.pk} for one in self.people])

    def _freeze(self, holding: Callable[..., int]) -> Callable[..., int]:
        def held(*given: Any) -> int:
            left_out = holding(*given)
            self.held.set()
            time.sleep(self.frozen_seconds)
            return left_out

        return held

    def _decide(self, shopper: Shopper) -> None:
        self.held.wait(timeout=60)
        with connection.cursor() as cursor:
            cursor.execute(f"SET lock_timeout = '{self.patience}'")
        try:
            decide("home_hero", shopper=shopper)
        except OperationalError as error:
            self.waited.append(str(error)[:100])
        with connection.cursor() as cursor:
            cursor.execute("RESET lock_timeout")

    def overruns(self) -> list[str]:
        return self.waited

    def faults(self) -> list[str]:
        scored = ShopperScores.objects.filter(score_set=self.score_set).count()
        decided = Decision.objects.filter(shopper__in=self.people).count()
        wanted = len(self.people)
        return [] if (scored, decided) == (wanted, wanted) else [f"{scored} scored, {decided} decided of {wanted}"]

    @contextmanager
    def unguarded(self) -> Iterator[None]:
        with mock.patch.object(withdrawal, "SHARED", " FOR NO KEY UPDATE"):
            yield
