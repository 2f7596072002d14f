"""Trained versions and who is champion: one a task and population, switched in one transaction."""

from __future__ import annotations

from typing import Any

from django.db import IntegrityError, transaction
from django.utils import timezone

from personalization.exceptions import PersonalizationError
from personalization.models import Job, ModelVersion, Shopper
from personalization.types import ModelTask

State = ModelVersion.State


class PromotionRace(PersonalizationError):
    """Another version became champion at the same moment. Reload and decide again."""

    code = "promotion_race"


def champion(task: ModelTask, population: str) -> ModelVersion | None:
    """Return the version in force, or None."""
    return ModelVersion.objects.filter(task=task.value, population=population, state=State.CHAMPION).first()


def version(pk: int) -> ModelVersion | None:
    """Return a version by its number, or None."""
    return ModelVersion.objects.filter(pk=pk).first()


def newest(task: ModelTask, population: str) -> list[ModelVersion]:
    """Return a task's versions, the newest first."""
    return list(ModelVersion.objects.filter(population=population, task=task.value).order_by("-created_at", "-pk"))


def register(version: ModelVersion) -> ModelVersion:
    """Record a trained artefact as a candidate. Call it in the transaction that finishes its job."""
    version.save(force_insert=True)
    return version


def promote(version: ModelVersion, by: Any = None) -> ModelVersion:
    """Make this version champion; the one before retires. Exactly one is champion at any moment.

    Rolling back is promoting the former champion again. The partial unique index decides races.
    """
    try:
        with transaction.atomic():
            rivals = ModelVersion.objects.filter(task=version.task, population=version.population)
            # All of them, in one order: promotions of the same moment wait for each other, never in a circle.
            list(rivals.select_for_update().order_by("pk").values_list("pk"))
            for other in rivals.filter(state=State.CHAMPION).exclude(pk=version.pk):
                card = {**other.card, "retired_at": timezone.now().isoformat()}
                ModelVersion.objects.filter(pk=other.pk).update(state=State.RETIRED, card=card)
            card = {
                **version.card,
                "promoted_at": timezone.now().isoformat(),
                "promoted_by": str(by or "gate"),
            }
            ModelVersion.objects.filter(pk=version.pk).update(state=State.CHAMPION, card=card)
    except IntegrityError:
        raise PromotionRace from None
    version.refresh_from_db()
    return version


def versions_of(job: Job) -> list[ModelVersion]:
    """Return what a training job produced."""
    return list(ModelVersion.objects.filter(job=job).order_by("task", "estimator"))


def populations() -> list[str]:
    """Return the populations that have shoppers."""
    return list(Shopper.objects.order_by("population").values_list("population", flat=True).distinct())
