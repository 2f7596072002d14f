"""Races for who reigns while something slow comes to its end: a training, a scoring, the deletion of old scores."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any
from unittest import mock
from uuid import uuid4

from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from personalization.learning import publish, registry, rollback
from personalization.models import ModelVersion, ScoreSet, Shopper, ShopperScores
from personalization.types import ModelTask
from tests.concurrency import arena
from tests.concurrency.races.rings import RingRace


def register(population: str, estimator: str, task: ModelTask = ModelTask.RESPONSE) -> ModelVersion:
    """Return a new candidate."""
    version = ModelVersion(
        task=task.value, population=population, estimator=estimator, cutoff_at=timezone.now(),
        path=f"versions/{estimator}", sha256="0" * 64, size_bytes=1,
    )  # fmt: skip
    return registry.register(version)


class TrainedWhileRolledBack(arena.Race):
    """A training ends at the moment at which staff roll back over the champion that it was judged against."""

    threads = 2

    def prepare(self) -> None:
        self.population = uuid4().hex[:20]
        self.former, self.reigning, self.trained = (register(self.population, name) for name in ("a", "b", "c"))
        registry.promote(self.former)
        registry.promote(self.reigning)

    def contenders(self) -> Sequence[Callable[[], object]]:
        return [
            partial(registry.succeed, self.trained, self.reigning),
            partial(rollback.roll_back, ModelTask.RESPONSE, self.population, to=self.former),
        ]

    def _champions(self) -> list[ModelVersion]:
        return list(ModelVersion.objects.filter(population=self.population, state=ModelVersion.State.CHAMPION))

    def overruns(self) -> list[str]:
        return ["the training took back what staff had decided"] if self._champions() == [self.trained] else []

    def faults(self) -> list[str]:
        reigning = self._champions()
        good = reigning == [self.former] and registry.held_until(reigning[0]) is not None
        return [] if good else [f"{reigning} reign"]

    @contextmanager
    def unguarded(self) -> Iterator[None]:
        with mock.patch.object(registry, "succeed", lambda version, _rival: registry.promote(version)):
            yield


class RolledBackWhileTidied(arena.Race):
    """Old scores are deleted at the moment at which a rollback over two champions puts them in service again."""

    threads = 3

    def prepare(self) -> None:
        self.population = uuid4().hex[:20]
        self.people = [Shopper.objects.create(consent_personalisation=True, population=self.population) for _ in "ab"]
        versions = [register(self.population, name) for name in "abc"]
        for version in versions:
            registry.promote(version)
            made = publish.begin(self.population, None, response=version, strategy=None, preference=None)
            publish.write_scores(made, [{"shopper_id": one.pk} for one in self.people])
            publish.publish(made, None, defaults={})
        self.first = versions[0]

    def contenders(self) -> Sequence[Callable[[], object]]:
        back = partial(rollback.roll_back, ModelTask.RESPONSE, self.population, to=self.first)
        return [back, *[partial(publish.tidy, self.population)] * 2]

    def overruns(self) -> list[str]:
        live = list(ScoreSet.objects.filter(population=self.population, state=ScoreSet.State.LIVE))
        if len(live) != 1:
            return [f"{len(live)} sets are live"]
        left = ShopperScores.objects.filter(score_set=live[0]).count()
        return [] if left == len(self.people) else [f"the live set has lost {len(self.people) - left} shoppers"]

    def faults(self) -> list[str]:
        reigning = registry.champion(ModelTask.RESPONSE, self.population)
        return [] if reigning == self.first else [f"{reigning} reigns"]

    @contextmanager
    def unguarded(self) -> Iterator[None]:
        with mock.patch.object(publish, "_still", arena.pausing(lambda _old: True)):
            yield


class FirstReadPublishedLast(arena.Race):
    """Two scorings of one population end at the same moment: the one that read its data later stays in service."""

    threads = 2

    def prepare(self) -> None:
        population = uuid4().hex[:20]
        self.early, self.late = (
            publish.begin(population, None, response=None, strategy=None, preference=None) for _ in "ab"
        )

    def contenders(self) -> Sequence[Callable[[], object]]:
        return [partial(publish.publish, each, None, defaults={}) for each in (self.late, self.early)]

    def _live(self) -> list[ScoreSet]:
        return list(ScoreSet.objects.filter(population=self.early.population, state=ScoreSet.State.LIVE))

    def overruns(self) -> list[str]:
        return ["pages show the older scores"] if self._live() == [self.early] else []

    def faults(self) -> list[str]:
        return [] if self._live() == [self.late] else [f"{self._live()} are live"]

    @contextmanager
    def unguarded(self) -> Iterator[None]:
        with mock.patch.object(publish, "refuse_superseded", return_value=None):
            yield


class BegunWhileTrained(RingRace):
    """Trainings promote in several tasks while scorings begin, which refer to versions of all of them: no ring."""

    tasks = (ModelTask.RESPONSE, ModelTask.PREFERENCE, ModelTask.STRATEGY, ModelTask.INTENT)

    def prepare(self) -> None:
        self.population = uuid4().hex[:20]
        super().prepare()
        for task in self.tasks:
            registry.promote(register(self.population, "old", task))
        ModelVersion.objects.filter(population=self.population).update(card={"intent_days": 7})
        self.reigning = registry.champions(self.population)

    def contenders(self) -> Sequence[Callable[[], object]]:
        half = self.threads // 2
        return [partial(self.attempt, act) for act in [*[self._train] * half, *[self._begin] * half]]

    def _train(self) -> None:
        with transaction.atomic():
            made = [register(self.population, "new", task) for task in self.tasks]
            for version in made:
                registry.succeed(version, self.reigning[ModelTask(version.task)])

    def _begin(self) -> None:
        for _ in range(5):
            response, preference, strategy, intent = (self.reigning[task] for task in self.tasks)
            publish.begin(
                self.population, None, response=response, preference=preference, strategy=strategy, intent=intent
            )

    def faults(self) -> list[str]:
        new = registry.champions(self.population)
        good = self.rings or [new[task].estimator for task in self.tasks] == ["new"] * len(self.tasks)
        return [] if good else [f"{new} reign"]

    @contextmanager
    def unguarded(self) -> Iterator[None]:
        locking = QuerySet.select_for_update

        def whole(rows: QuerySet[Any], **how: Any) -> QuerySet[Any]:
            return locking(rows, **{**how, "no_key": False})

        with mock.patch.object(QuerySet, "select_for_update", whole):
            yield
