"""When to train again, and why: by age, by what is new to learn from, by drift, by calibration that got worse.

The worker asks every minute. A training that waits or runs is never joined by a second one: the database refuses it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.core.cache import cache
from django.utils import timezone
from django.utils.translation import gettext_noop

from personalization import conf
from personalization.learning import jobs, registry
from personalization.learning.calibration import allowed
from personalization.learning.readiness import readiness
from personalization.learning.sentences import Sentence, read_all
from personalization.models import Exposure, Job
from personalization.types import JobKind, ModelTask

logger = logging.getLogger(__name__)
LOOK_SECONDS = 3600
"""How often the triggers that count rows are looked at."""

AGE = gettext_noop("The last training was asked for %(hours).0f hours ago; %(allowed)d are allowed.")
FIRST = gettext_noop("Nothing has been trained yet.")
EXPOSURES = gettext_noop("%(count)s exposures got a known outcome since the last training; %(needed)s are waited for.")
DRIFT = gettext_noop("Drift: %(finding)s")
CALIBRATION = gettext_noop(
    "The champion’s calibration error on %(rows)s exposures since it reigns is %(error).3f; chance explains %(null).3f."
)
DriftFindings = Callable[[str, datetime | None], Sequence[Sentence]]
"""Population and the moment of the last training (or None) → findings of drift since."""


@dataclass(frozen=True, slots=True)
class Reason:
    """Why to train again. The sentence is ``template`` with ``params``: an English msgid, translated when read."""

    code: str
    template: str
    params: dict[str, Any] = field(default_factory=dict)

    @property
    def sentence(self) -> str:
        """The reason in the reader's language."""
        return str(self.said)

    @property
    def said(self) -> Sentence:
        return Sentence(self.template, self.params)

    def stored(self) -> dict[str, Any]:
        """Return it as JSON, for a job's parameters."""
        return {"code": self.code, **self.said.stored()}


_DRIFT: dict[str, DriftFindings] = {}


def register_drift(name: str, findings: DriftFindings) -> None:
    """Let a room above tell of drift; a later registration of the same name replaces it. Call it in ``ready``."""
    _DRIFT[name] = findings


def queue_when_due(now: datetime | None = None) -> int:
    """Queue a training of the shop's own population, and a scoring after it, if there is a reason; returns how many."""
    population, now = conf.get().population, now or timezone.now()
    if conf.get().train_every_hours <= 0 or open_training(population):
        return 0
    why = reasons(population, now)
    if not why:
        return 0
    ready = readiness(population)
    if not (ready.ready_response or ready.ready_preference):
        return 0
    params = {"population": population, "score": True, "reasons": [reason.stored() for reason in why]}
    job = jobs.enqueue_alone(JobKind.TRAIN, alone_word(population), params)
    if job is None:
        return 0
    for reason in why:
        logger.info("job %s trains %s again: %s", job.pk, population, reason.sentence)
    return 1


def alone_word(population: str) -> str:
    """Return the word under which one training of a population is open at a time."""
    return f"train:{population}"


def ask(population: str, *, by: Any = None) -> tuple[Job, bool]:
    """Queue a training that somebody wants; return it, and True, or the one that is open already, and False."""
    while True:
        found = open_training(population)
        if found is not None:
            return found, False
        made = jobs.enqueue_alone(JobKind.TRAIN, alone_word(population), {"population": population}, by=by)
        if made is not None:
            return made, True


def open_training(population: str) -> Job | None:
    """Return the training of this population that waits or runs, whoever asked for it."""
    return jobs.still_open(JobKind.TRAIN).filter(params__population=population).first()


def reasons(population: str, now: datetime) -> list[Reason]:
    """Return why to train now; none within RETRAIN_PAUSE_HOURS of the last time."""
    last = jobs.last_asked(JobKind.TRAIN)
    settings = conf.get()
    if last is None:
        return [Reason("first", FIRST)]
    if now - last < timedelta(hours=min(settings.retrain_pause_hours, settings.train_every_hours)):
        return []
    hours = (now - last).total_seconds() / 3600
    if hours >= settings.train_every_hours:
        return [Reason("age", AGE, {"hours": hours, "allowed": settings.train_every_hours})]
    if not cache.add(f"personalization.retraining.{population}", 1, LOOK_SECONDS):
        return []
    return [*_new_exposures(population, last, now), *_drift(population, last), *_calibration(population, last)]


def _new_exposures(population: str, last: datetime, now: datetime) -> list[Reason]:
    needed = conf.get().retrain_exposures
    if needed <= 0:
        return []
    rows = Exposure.objects.filter(
        shopper__population=population,
        shopper__consent_personalisation=True,
        shopper__is_bot=False,
        offer__isnull=False,
        window_ends_at__gt=last,
        window_ends_at__lte=now,
    )
    count = rows.count()
    if count < needed:
        return []
    return [Reason("exposures", EXPOSURES, {"count": f"{count:,}", "needed": f"{needed:,}"})]


def _drift(population: str, last: datetime) -> list[Reason]:
    """Ask the rooms that watch for drift; one that fails is logged and stops nothing."""
    found: list[Reason] = []
    for name, findings in _DRIFT.items():
        try:
            found += [Reason("drift", DRIFT, {"finding": said}) for said in findings(population, last)]
        except Exception:
            logger.exception("drift could not be asked of %s", name)
    return found


def _calibration(population: str, last: datetime) -> list[Reason]:
    """Compare what the champion said since it reigns with what happened, as the last scoring in shadow found it."""
    champion = registry.champion(ModelTask.RESPONSE, population)
    live = champion.metrics.get("live") if champion is not None and isinstance(champion.metrics, dict) else None
    if not isinstance(live, dict) or live.get("ece") is None or datetime.fromisoformat(live["until"]) <= last:
        return []
    if live["ece"] <= allowed(live["ece_null"]):
        return []
    told = {"rows": f"{live['rows']:,}", "error": live["ece"], "null": live["ece_null"]}
    return [Reason("calibration", CALIBRATION, told)]


def sentences(params: Any) -> list[str]:
    """Return why a job trains, read from its parameters; nothing for one that a person asked for."""
    rows = params.get("reasons") if isinstance(params, dict) else None
    return [str(said) for said in read_all(rows)]
