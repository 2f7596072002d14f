"""Races for what is live: one champion a task, one set of scores a population."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from uuid import uuid4

from django.utils import timezone

from personalization.learning import publish, registry
from personalization.models import ModelVersion, ScoreSet
from personalization.types import ModelTask
from tests.concurrency import arena


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


class PublishedAtOnce(arena.Race):
    """Several scoring jobs of one population finish at the same moment: each goes live whole, the last one stays."""

    threads = 5

    def prepare(self) -> None:
        population = uuid4().hex[:20]
        self.sets = [
            publish.begin(population, None, response=None, strategy=None, preference=None) for _ in range(self.threads)
        ]

    def contenders(self) -> Sequence[Callable[[], object]]:
        return [partial(publish.publish, each, None, shoppers=1, defaults={}) for each in self.sets]

    def _states(self) -> list[str]:
        rows = ScoreSet.objects.filter(population=self.sets[0].population)
        return list(rows.values_list("state", flat=True))

    def overruns(self) -> list[str]:
        live = self._states().count(ScoreSet.State.LIVE)
        return [f"{live} sets are live"] if live > 1 else []

    def faults(self) -> list[str]:
        states = sorted(self._states())
        expected = [ScoreSet.State.LIVE, *[ScoreSet.State.RETIRED] * (self.threads - 1)]
        return [] if states == expected else [f"the sets are {states}"]

    @contextmanager
    def unguarded(self) -> Iterator[None]:
        arena.drop_unique(ScoreSet, "pz_one_live_scoreset")
        with arena.check_then_act(), arena.without_row_locks():
            yield
