"""Back to the former champion: its version and the scores that it made, in one transaction.

Nothing is computed: two pointers move. A scoring is queued behind it, for shoppers who came since.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import IntegrityError, transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from personalization import conf
from personalization.exceptions import PersonalizationError
from personalization.learning import jobs, publish, registry
from personalization.learning.registry import KIND, PromotionRace
from personalization.models import Job, ModelVersion, ScoreSet
from personalization.ports.moments import moment
from personalization.tracking import audit
from personalization.types import JobKind, ModelTask


class NothingToRollBackTo(PersonalizationError):
    """No earlier champion is left to roll back to."""

    code = "nothing_to_roll_back_to"


class NotFormer(PersonalizationError):
    """This version was never champion. Promote it instead."""

    code = "not_former"


class AlreadyReigns(PersonalizationError):
    """This version reigns already: nothing was changed."""

    code = "already_reigns"


@dataclass(frozen=True, slots=True)
class Rollback:
    """What was done: who reigns again, who went, and what pages show now.

    ``score_set`` is live again (None: it is gone or too old, and the present one stays until the queued ``job`` has
    scored); ``dropped`` of its shoppers did not come back, because they withdrew, were merged or taken apart since.
    ``job`` is None for a task that scores no shopper. Until ``held_until`` the gate promotes nothing of this task by
    itself.
    """

    version: ModelVersion
    instead_of: ModelVersion | None
    score_set: ScoreSet | None
    dropped: int
    job: Job | None
    held_until: datetime

    def sentences(self) -> list[str]:
        """Return in the reader's language what returns, what goes, what becomes of the scores, and the way back."""
        told: dict[str, Any] = {
            "version": self.version,
            "gone": self.instead_of,
            "job": self.job,
            "dropped": f"{self.dropped:,}",
        }
        if self.score_set is not None:
            told |= {"scores": self.score_set, "at": _moment(self.score_set.published_at)}
        until = {"until": _moment(self.held_until)}
        words = [
            _("%(version)s reigns again; %(gone)s goes and is kept.") % told
            if self.instead_of is not None
            else _("%(version)s reigns again; nobody reigned before.") % told
        ]
        if self.job is None:
            words.append(_("It scores no shopper: the next forecast of a campaign uses it."))
        elif self.score_set is None:
            words.append(
                _(
                    "Scores: those that it made are gone or too old. Pages use the present ones until %(job)s has "
                    "scored; that needs a worker, or `manage.py score`."
                )
                % told
            )
        else:
            words.append(
                _("Scores: those of %(at)s (%(scores)s) are live again; %(job)s scores who came since.") % told
            )
        if self.score_set is not None and self.dropped:
            words.append(_("%(dropped)s shoppers who withdrew, were merged or taken apart since are left out.") % told)
        words.append(_("Until %(until)s nothing of this task is promoted by itself.") % until)
        if self.instead_of is not None:
            words.append(
                _(
                    "To undo this, roll back to %(gone)s on its page in the admin, or with "
                    "`manage.py rollback %(task)s --to %(pk)d`."
                )
                % {**told, "task": self.version.task, "pk": self.instead_of.pk}
            )
        return words


def _moment(at: datetime | None) -> str:
    return moment(at) if at is not None else ""


def roll_back(task: ModelTask, population: str, *, by: Any = None, to: ModelVersion | None = None) -> Rollback:
    """Let the former champion (or the retired version ``to``) reign again, with the scores that it made.

    ``by`` stands in the audit log, None for a command. For ROLLBACK_HOLD_HOURS the gate promotes nothing of this task
    by itself: it would promote the same again. Raises NothingToRollBackTo, NotFormer, AlreadyReigns or PromotionRace.
    """
    try:
        with transaction.atomic():
            registry.lock(task.value, population)
            version = _target(task, population, to)
            reigning = registry.champion(task, population)
            until = timezone.now() + timedelta(hours=conf.get().rollback_hold_hours)
            registry.crown(version, by=by or "rollback", rolled_back=True, held_until=until.isoformat())
            score_set, dropped, job = None, 0, None
            if task in registry.SCORED_TASKS:
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
    return Rollback(version, reigning, score_set, dropped, job, until)


def _target(task: ModelTask, population: str, to: ModelVersion | None) -> ModelVersion:
    """Return who is to reign, read under the lock."""
    if to is None:
        found = registry.former(task, population)
        if found is None:
            raise NothingToRollBackTo
        return found
    found = ModelVersion.objects.get(pk=to.pk)
    if (found.task, found.population) != (task.value, population) or found.state == ModelVersion.State.CANDIDATE:
        raise NotFormer
    if found.state == ModelVersion.State.CHAMPION:
        raise AlreadyReigns
    return found
