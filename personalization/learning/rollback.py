"""Back to the former champion: its version and the scores that it made, in one transaction.

Nothing is computed: two pointers move. A scoring is queued behind it, for shoppers who came since.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.db import IntegrityError, transaction
from django.utils import timezone

from personalization import conf
from personalization.exceptions import PersonalizationError
from personalization.learning import jobs, publish, registry
from personalization.learning.registry import KIND, PromotionRace
from personalization.models import Job, ModelVersion, ScoreSet
from personalization.tracking import audit
from personalization.types import SCORED_TASKS, JobKind, ModelTask


class NothingToRollBackTo(PersonalizationError):
    """No earlier champion is left to roll back to."""

    code = "nothing_to_roll_back_to"


class NotFormer(PersonalizationError):
    """This version was never champion. Promote it instead."""

    code = "not_former"


@dataclass(frozen=True, slots=True)
class Rollback:
    """What was done: who reigns again, who went, and what pages show now.

    ``score_set`` is live again (None: it is gone or too old, and the present one stays until the queued ``job`` has
    scored); ``dropped`` of its shoppers did not come back, because they withdrew, were merged or taken apart since.
    ``job`` is None for a task that scores no shopper.
    """

    version: ModelVersion
    instead_of: ModelVersion | None
    score_set: ScoreSet | None
    dropped: int
    job: Job | None


def roll_back(task: ModelTask, population: str, *, by: Any = None, to: ModelVersion | None = None) -> Rollback:
    """Let the former champion (or the retired version ``to``) reign again, with the scores that it made.

    ``by`` stands in the audit log, None for a command. For ROLLBACK_HOLD_HOURS the gate promotes nothing of this task
    by itself: it would promote the same again. Raises NothingToRollBackTo, NotFormer or PromotionRace.
    """
    try:
        with transaction.atomic():
            registry.lock(task.value, population)
            version = _target(task, population, to)
            reigning = registry.champion(task, population)
            until = timezone.now() + timedelta(hours=conf.get().rollback_hold_hours)
            registry.crown(version, by=by or "rollback", rolled_back=True, held_until=until.isoformat())
            score_set, dropped, job = None, 0, None
            if task in SCORED_TASKS:
                publish.lock(population)
                publish.void_unfinished(population)
                score_set = publish.restorable(task, version)
                dropped = publish.restore(score_set) if score_set is not None else 0
                job = jobs.enqueue(JobKind.SCORE, {"population": population}, by=by)
            audit.note(
                audit.Action.ROLLED_BACK,
                by=by,
                kind=KIND,
                subject=str(version.pk),
                task=task.value,
                instead_of=reigning.pk if reigning is not None else None,
                score_set=score_set.pk if score_set is not None else None,
                dropped=dropped,
            )
    except IntegrityError:
        raise PromotionRace from None
    version.refresh_from_db()
    return Rollback(version, reigning, score_set, dropped, job)


def _target(task: ModelTask, population: str, to: ModelVersion | None) -> ModelVersion:
    """Return who is to reign, read under the lock."""
    if to is None:
        found = registry.former(task, population)
        if found is None:
            raise NothingToRollBackTo
        return found
    found = ModelVersion.objects.get(pk=to.pk)
    if found.state != ModelVersion.State.RETIRED or (found.task, found.population) != (task.value, population):
        raise NotFormer
    return found
