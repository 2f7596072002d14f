"""Trained versions and who is champion: one a task and population, switched in one transaction."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from django.db import IntegrityError, transaction
from django.utils import timezone

from personalization.exceptions import PersonalizationError
from personalization.learning.figures import mapping
from personalization.models import Job, ModelVersion, Shopper
from personalization.tracking import audit
from personalization.types import ModelTask

State = ModelVersion.State
SCORED_TASKS = (ModelTask.RESPONSE, ModelTask.STRATEGY, ModelTask.PREFERENCE, ModelTask.INTENT)
"""Whose versions a score set is made with; the others predict no shopper."""
KIND = "modelversion"
"""Of what a line of the audit log is."""


class PromotionRace(PersonalizationError):
    """Another version became champion at the same moment. Reload and decide again."""

    code = "promotion_race"


def champion(task: ModelTask, population: str) -> ModelVersion | None:
    """Return the version in force, or None."""
    return ModelVersion.objects.filter(task=task.value, population=population, state=State.CHAMPION).first()


def champions(population: str) -> dict[ModelTask, ModelVersion]:
    """Return the versions in force, by task."""
    reigning = ModelVersion.objects.filter(population=population, state=State.CHAMPION)
    return {ModelTask(found.task): found for found in reigning}


def version(pk: int) -> ModelVersion | None:
    """Return a version by its number, or None."""
    return ModelVersion.objects.filter(pk=pk).first()


def stored_at(paths: Sequence[str]) -> set[str]:
    """Return which of these folders belong to a registered version."""
    return set(ModelVersion.objects.filter(path__in=paths).values_list("path", flat=True))


def newest(task: ModelTask, population: str) -> list[ModelVersion]:
    """Return a task's versions, the newest first."""
    return list(ModelVersion.objects.filter(population=population, task=task.value).order_by("-created_at", "-pk"))


def trained_tasks(population: str) -> set[ModelTask]:
    """Return the tasks of which trainings have brought forth a version, in service or not."""
    found = ModelVersion.objects.filter(population=population).order_by("task").values_list("task", flat=True)
    return set(map(ModelTask, found.distinct()))


def register(version: ModelVersion) -> ModelVersion:
    """Record a trained artefact as a candidate. Call it in the transaction that finishes its job."""
    version.save(force_insert=True)
    return version


def promote(version: ModelVersion, by: Any = None) -> ModelVersion:
    """Make this version champion; the one before retires. Exactly one is champion at any moment.

    The partial unique index decides races. What a person promotes stands in the audit log. Who reigns already stays as
    it is: asked twice (a double click), a hold after a rollback is not lifted.
    """
    try:
        with transaction.atomic():
            lock(version.task, version.population)
            version.refresh_from_db()  # what somebody did to it meanwhile is not undone
            if version.state != State.CHAMPION:
                crown(version, by=by or "gate")
                if by is not None:
                    audit.note(audit.Action.PROMOTED, by=by, kind=KIND, subject=str(version.pk), task=version.task)
    except IntegrityError:
        raise PromotionRace from None
    version.refresh_from_db()
    return version


def succeed(version: ModelVersion, rival: ModelVersion | None) -> bool:
    """Promote what the gate let through, unless somebody else decided meanwhile; returns whether it reigns now.

    ``rival`` is the version that reigned when it was judged, None if nobody did. Where another reigns by now, the
    verdict is about nobody in service; where somebody has rolled back, nothing is promoted by itself.
    """
    with transaction.atomic():
        lock(version.task, version.population)
        reigning = champion(ModelTask(version.task), version.population)
        if reigning != rival or (reigning is not None and held_until(reigning) is not None):
            return False
        try:
            promote(version)
        except PromotionRace:  # another training's first champion, which no lock could see
            return False
        return True


def held_until(reigning: ModelVersion) -> datetime | None:
    """Return until when nothing may be promoted by itself because somebody rolled back to this version; else None."""
    stored = mapping(reigning.card).get("held_until")
    until = datetime.fromisoformat(stored) if isinstance(stored, str) else None
    return until if until is not None and until > timezone.now() else None


def lock(task: str, population: str) -> None:
    """Hold all versions of a task, in one order: who changes the champion waits for others, never in a circle.

    Their keys stay free: a scoring that begins refers to versions of several tasks at once, in an order of its own, and
    would else wait in a ring with a training that promotes in several.
    """
    rivals = ModelVersion.objects.filter(task=task, population=population)
    list(rivals.select_for_update(no_key=True).order_by("pk").values_list("pk"))


def crown(version: ModelVersion, *, by: Any, rolled_back: bool = False, **noted: str) -> None:
    """Retire whoever reigns and let this version reign, under :func:`lock`; ``noted`` goes into its card.

    ``rolled_back``: whoever reigned after this version's last reign counts as rolled back, not only the last of them.
    """
    now = timezone.now().isoformat()
    rivals = ModelVersion.objects.filter(task=version.task, population=version.population).exclude(pk=version.pk)
    if rolled_back and (ended := _retired_at(version)):
        for other in rivals.filter(state=State.RETIRED):
            if _retired_at(other) > ended and "rolled_back_at" not in mapping(other.card):
                ModelVersion.objects.filter(pk=other.pk).update(card={**mapping(other.card), "rolled_back_at": now})
    for other in rivals.filter(state=State.CHAMPION):
        card = {**mapping(other.card), "retired_at": now} | ({"rolled_back_at": now} if rolled_back else {})
        ModelVersion.objects.filter(pk=other.pk).update(state=State.RETIRED, card=card)
    card = {
        name: value for name, value in mapping(version.card).items() if name not in {"rolled_back_at", "held_until"}
    }
    card |= {"promoted_at": now, "promoted_by": str(by), **noted}
    ModelVersion.objects.filter(pk=version.pk).update(state=State.CHAMPION, card=card)


def former(task: ModelTask, population: str) -> ModelVersion | None:
    """Return the champion before this one, or None: the last that retired without having been rolled back.

    So a second rollback goes one further back, not forth again.
    """
    known = [version for version in retired(task, population) if "rolled_back_at" not in mapping(version.card)]
    return max(known, key=lambda version: (_retired_at(version), version.pk), default=None)


def retired(task: ModelTask, population: str) -> list[ModelVersion]:
    """Return the former champions, the newest version first: each of them can be rolled back to by its number."""
    return [version for version in newest(task, population) if version.state == State.RETIRED]


def _retired_at(version: ModelVersion) -> str:
    """Return when a version's last reign ended, as stored; empty if it never reigned."""
    return str(mapping(version.card).get("retired_at", ""))


def versions_of(job: Job) -> list[ModelVersion]:
    """Return what a training job produced."""
    return list(ModelVersion.objects.filter(job=job).order_by("task", "estimator"))


def populations() -> list[str]:
    """Return the populations that have shoppers."""
    return list(Shopper.objects.order_by("population").values_list("population", flat=True).distinct())
