"""A training run, top to bottom: read → backtest → judge → refit the winner → register → promote, all or nothing.

Versions become visible, and the champion changes, in one transaction under the job's fencing token.
"""

from __future__ import annotations

import logging
from datetime import datetime
from functools import partial
from typing import Any

from django.db import Error as DatabaseError
from django.db import transaction

from personalization import conf
from personalization.exceptions import NotEnoughData
from personalization.features.frames import Frames
from personalization.learning import frames as reading
from personalization.learning import jobs, registry, shadow
from personalization.learning import wordings as words
from personalization.learning.handlers import Stage
from personalization.learning.jobs import Job
from personalization.learning.registry import ModelVersion
from personalization.learning.sentences import Sentence, of_error, store_all
from personalization.types import JobKind, ModelTask
from worker import artifacts
from worker.parts import intent, launches, preference, response
from worker.parts.base import Outcome, within

logger = logging.getLogger(__name__)
PARTS = (ModelTask.RESPONSE, ModelTask.PREFERENCE, ModelTask.INTENT, ModelTask.ATTRACTIVENESS)
"""What a run trains, unless it is asked for less; strategy comes with response."""


def population_of(wanted: str | None) -> str:
    """Return the population to learn from: the one asked for, else the only one there is, else the shop's."""
    known = registry.populations()
    if wanted:
        if wanted not in known:
            told = {"population": wanted, "known": ", ".join(known) or "–"}
            raise NotEnoughData(words.NO_POPULATION, params=told)
        return wanted
    if len(known) == 1:
        return known[0]
    return conf.get().population


def run(job: Job | None, params: dict[str, Any], stage: Stage, *, until: datetime | None = None) -> Outcome:
    """Train every part on what happened until ``until`` and promote the winners."""
    population = population_of(params.get("population"))
    asked = until is not None
    until = reading.learnt_until(population, until)
    if until is None:
        raise NotEnoughData(words.NO_EVENTS, params={"population": population})
    scored_at = until if asked else reading.moment_to_score(population)
    stage(words.READING, 0.02)
    frames = reading.load(population, until, lambda what: stage(what, 0.05))
    outcome = Outcome()
    try:
        _train_parts(frames, job, params, stage, outcome, scored_at)
        stage(words.PUBLISHING, 0.98)
        with transaction.atomic():
            for version in outcome.versions:
                registry.register(version)
            _crown(outcome)
            if job is not None:
                jobs.finish(job, _result(population, until, frames.simulated, outcome))
            if outcome.refused is not None:
                shadow.begin_after_refusal(outcome.refused)
            if params.get("score"):
                jobs.enqueue(JobKind.SCORE, {"population": population})
    except BaseException:
        _discard(outcome.versions)
        raise
    return outcome


def _crown(outcome: Outcome) -> None:
    """Promote the winners; whoever was overtaken by a rollback, or by another promotion, stays a candidate."""
    for version in list(outcome.promoted):
        if registry.succeed(version, outcome.rivals[version.task]):
            continue
        outcome.promoted.remove(version)
        reigning = registry.champion(ModelTask(version.task), version.population)
        outcome.sentences.append(Sentence(words.OVERTAKEN, {"estimator": version.estimator, "rival": str(reigning)}))
        if version.task == ModelTask.RESPONSE.value:
            outcome.refused = version


def _discard(versions: list[ModelVersion]) -> None:
    """Take back what an unfinished run has written: nothing of it is kept.

    What failed may have been the answer to a commit that came through, or Ctrl-C just after it: the files of versions
    that are registered stay, and all of them where the database cannot be asked. A folder too many does no harm.
    """
    try:
        kept = registry.stored_at([version.path for version in versions])
    except DatabaseError:
        logger.warning("the files of an unfinished training are kept: the database cannot be asked", exc_info=True)
        return
    for version in versions:
        if version.path not in kept:
            artifacts.delete(version.path)


def _train_parts(
    frames: Frames, job: Job | None, params: dict[str, Any], stage: Stage, outcome: Outcome, scored_at: datetime
) -> None:
    """Train what the data allows, to score from ``scored_at`` on; NotEnoughData only if that is nothing."""
    refused: list[Sentence] = []
    wanted = params.get("parts", PARTS)
    for part, without, train, share in (
        (ModelTask.RESPONSE, words.NO_RESPONSE, partial(response.train, scored_at=scored_at), (0.1, 0.7)),
        (ModelTask.PREFERENCE, words.NO_PREFERENCE, preference.train, (0.7, 0.87)),
        (ModelTask.INTENT, words.NO_INTENT, intent.train, (0.87, 0.95)),
        (ModelTask.ATTRACTIVENESS, words.NO_ATTRACTIVENESS, launches.train, (0.95, 0.97)),
    ):
        if part not in wanted:
            continue
        try:
            train(frames, job, params, within(stage, *share), outcome)
        except NotEnoughData as error:
            refused.append(Sentence(without, {"said": of_error(error)}))
    if not outcome.versions:
        several = {f"part_{place}": said for place, said in enumerate(refused)}
        raise NotEnoughData(" ".join(f"%({name})s" for name in several), params=several)
    outcome.sentences += refused


def _result(population: str, until: datetime, simulated: bool, outcome: Outcome) -> dict[str, Any]:
    return {
        "population": population,
        "simulated": simulated,
        "until": until.isoformat(),
        "versions": [version.pk for version in outcome.versions],
        "champions": {version.task: version.estimator for version in outcome.promoted},
        "sentences": store_all(outcome.sentences),
        "in_shadow": None if outcome.refused is None else outcome.refused.pk,
    }
