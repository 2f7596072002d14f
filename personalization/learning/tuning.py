"""Searches for settings: who may search, what has been tried, what was found and is in force.

A trial is a row, committed as soon as it is done: whoever goes on later reads the rows and needs no file. One search of
an estimator is open at a time (the job's word), and a trial is written under the job's fencing token only.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db import IntegrityError, transaction
from django.db.models import F, QuerySet, Sum
from django.utils import timezone
from django.utils.translation import gettext as _

from personalization.exceptions import LeaseLost, PersonalizationError
from personalization.learning import jobs
from personalization.learning.figures import listed, mapping, number
from personalization.models import Job, TuningRun, TuningTrial
from personalization.pure.redaction import redact
from personalization.types import JobKind, ModelTask

SEARCHABLE: Mapping[ModelTask, tuple[str, ...]] = {
    ModelTask.RESPONSE: ("logistic", "boosting", "dnn", "deepfm", "dcnv2", "mmoe", "four_part"),
    ModelTask.PREFERENCE: (
        *("popularity", "frequency", "content", "text", "transitions", "item_knn", "user_knn", "ease", "explicit_als"),
        *("als", "biased_mf", "mult_vae", "rec_vae", "cfgan", "light_gcn", "gat"),
        *("gru", "lstm", "cnn", "cnn_lstm", "transformer", "hstu", "stack"),
    ),
}
"""The estimators whose settings can be searched for, by task, the simplest first. They are the worker's; the web tier,
which offers them, has none of its code."""
FIRST_LEVEL = 0.95
RISING = frozenset({"ndcg@10"})
"""Metrics of which more is better."""
MINUTES, MOST_MINUTES = 10, 300
"""How long a search takes when nobody says, and at most: a job that runs longer than six hours is killed."""
MOST_SEED = 2**31 - 1
"""The largest seed that a run's row holds; the least is 0."""


class NothingInForce(PersonalizationError):
    """These settings are not in force (any more): there is nothing to withdraw."""

    code = "nothing_in_force"


@dataclass(frozen=True, slots=True)
class Adopted:
    """Settings in force, and the search that found them."""

    settings: dict[str, Any]
    run: int
    trial: int
    gain: tuple[float, float, float]

    def as_json(self) -> dict[str, Any]:
        """Return where the settings came from, for a version's card."""
        return {"run": self.run, "trial": self.trial, "gain": [round(value, 6) for value in self.gain]}


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the unseen fold says of the best trial's settings: their gain over the start, mean and interval.

    ``against``: the search whose settings were in force when the start was read, None where the shipped ones were.
    """

    trial: int
    settings: dict[str, Any]
    gain: tuple[float, float, float]
    level: float
    rows: int
    against: int | None

    @property
    def better(self) -> bool:
        """Whether they are better beyond chance."""
        return self.gain[1] > 0


def alone_word(population: str, estimator: str) -> str:
    """Return the word under which one search of an estimator is open at a time."""
    return f"tune:{population}:{estimator}"[:60]


def ask(params: dict[str, Any], *, by: Any = None, cutoff_at: datetime | None = None) -> Job | None:
    """Queue a search for ``params["estimator"]`` of ``params["population"]``; None while one is open."""
    word = alone_word(params["population"], params["estimator"])
    return jobs.enqueue_alone(JobKind.TUNE, word, params, by=by, cutoff_at=cutoff_at)


def open_search(population: str, estimator: str) -> Job | None:
    """Return the search of this estimator that waits or runs."""
    return jobs.still_open(JobKind.TUNE).filter(alone=alone_word(population, estimator)).first()


def unfinished(population: str, task: ModelTask, estimator: str, seed: int) -> TuningRun | None:
    """Return the newest search of this estimator and seed that nobody has judged yet."""
    runs = TuningRun.objects.filter(population=population, task=task.value, estimator=estimator, seed=seed)
    return runs.filter(state=TuningRun.State.SEARCHING).order_by("-created_at", "-pk").first()


def began_from(run: TuningRun, start: Mapping[str, Any]) -> bool:
    """Return whether a search holds what it tries against these settings."""
    return bool(run.start == json.loads(json.dumps(start)))


def end_outdated(population: str, task: ModelTask, estimator: str, start: Mapping[str, Any]) -> int:
    """End the unjudged searches of this estimator that began from other settings than ``start``; return how many."""
    runs = TuningRun.objects.filter(population=population, task=task.value, estimator=estimator)
    waiting = runs.filter(state=TuningRun.State.SEARCHING)
    outdated = [run.pk for run in waiting if not began_from(run, start)]
    return waiting.filter(pk__in=outdated).update(state=TuningRun.State.OUTDATED)


def run_of(job: Job) -> TuningRun | None:
    """Return the search that this job has begun, before whoever held it died."""
    return TuningRun.objects.filter(job=job).order_by("-created_at", "-pk").first()


def begin(job: Job | None, key: Mapping[str, Any], facts: Mapping[str, Any]) -> TuningRun:
    """Return the search under this key, made if there is none yet; one that was outdated is not any more."""
    found, _made = TuningRun.objects.get_or_create(**key, defaults={**facts, "job": job})
    changes: dict[str, Any] = {}
    if job is not None and found.job_id != job.pk:
        changes["job"] = job
    if found.state == TuningRun.State.OUTDATED:
        changes["state"] = TuningRun.State.SEARCHING
    if changes:
        TuningRun.objects.filter(pk=found.pk).update(**changes)
    return found


def trials(run: TuningRun) -> list[TuningTrial]:
    """Return what has been tried, in order."""
    return list(run.trials.order_by("number"))


def mean(trial: TuningTrial) -> float:
    """Return a trial's metric over the folds that it went through; nan of one that failed."""
    return sum(trial.figures) / len(trial.figures) if trial.figures else float("nan")


def ranked(run: TuningRun, done: list[TuningTrial]) -> list[TuningTrial]:
    """Return the trials that went through all folds, the best first, the earlier one of equals."""
    whole = [trial for trial in done if trial.state == TuningTrial.State.FINISHED]
    sign = -1 if run.metric in RISING else 1
    return sorted(whole, key=lambda trial: (sign * mean(trial), trial.number))


def seconds_spent(run: TuningRun, job: Job | None) -> float:
    """Return how long the trials took that this job has added to the search."""
    mine = run.trials.all() if job is None else run.trials.filter(created_at__gte=job.created_at)
    return float(mine.aggregate(total=Sum("seconds"))["total"] or 0.0)


def record(job: Job | None, trial: TuningTrial) -> None:
    """Store a trial under the job's fencing token; LeaseLost if the job, or the trial's number, is somebody else's."""
    trial.error = redact(trial.error)
    try:
        with transaction.atomic():
            if job is not None:
                jobs.heartbeat(job)
            trial.save(force_insert=True)
    except IntegrityError:
        raise LeaseLost from None


def looks(run: TuningRun) -> int:
    """Return how often settings of this estimator have been judged on an unseen fold that shares time with this run's.

    Not on the same fold alone: where it begins moves with every event, and what it holds is nearly the same.
    """
    ours = TuningRun.objects.filter(population=run.population, task=run.task, estimator=run.estimator)
    shared = ours.filter(held_from__lt=run.cutoff_at, cutoff_at__gt=run.held_from)
    return int(shared.aggregate(total=Sum("looks"))["total"] or 0)


def next_level(run: TuningRun) -> float:
    """Return the level of the next interval: 95 %, and half as much chance left with every further look at a time.

    So however often a time is asked, settings that are no better are adopted in at most one of twenty cases.
    """
    return float(1 - (1 - FIRST_LEVEL) / 2 ** looks(run))


def judge(job: Job | None, run: TuningRun, verdict: Verdict | None, result: Mapping[str, Any]) -> TuningRun:
    """End a search: store the verdict, adopt what is better beyond chance, finish the job, all in one transaction.

    ``verdict`` is None where the unseen fold was not asked: no trial did better than the start, or the one that does
    best has been judged before. What is in force is replaced by something better only: where it is not what the trial
    was compared with (adopted or withdrawn meanwhile), the verdict is kept and nothing is adopted.
    """
    now = timezone.now()
    with transaction.atomic():
        held = _locked(run)
        reigning = next((each.pk for each in held.values() if each.in_force), None)
        adopts = verdict is not None and verdict.better and verdict.against == reigning
        if job is not None:
            jobs.finish(job, {**result, "adopted": adopts})
        if adopts and reigning is not None:
            TuningRun.objects.filter(pk=reigning).update(withdrawn_at=now)
        changes: dict[str, Any] = {"state": TuningRun.State.JUDGED, "judged_at": now}
        if verdict is not None:
            changes["looks"] = F("looks") + 1
            if adopts or not held[run.pk].in_force:
                changes |= _told(verdict, now if adopts else None)
        TuningRun.objects.filter(pk=run.pk).update(**changes)
    run.refresh_from_db()
    return run


def _locked(run: TuningRun) -> dict[int, TuningRun]:
    """Return the searches of a run's estimator by number, locked, and so one judge at a time. Needs a transaction.

    All of them: where none is in force, there is no other row that two judges would meet at.
    """
    ours = TuningRun.objects.filter(population=run.population, task=run.task, estimator=run.estimator)
    return {each.pk: each for each in ours.select_for_update().order_by("pk")}


def _told(verdict: Verdict, adopted_at: datetime | None) -> dict[str, Any]:
    """Return what a run's row keeps of a verdict."""
    gain, low, high = verdict.gain
    return {
        "best": verdict.trial, "settings": verdict.settings, "gain": gain, "low": low, "high": high,
        "level": verdict.level, "judged_on": verdict.rows, "adopted_at": adopted_at,
        "withdrawn_at": None, "withdrawn_by": None,
    }  # fmt: skip


def _in_force(population: str, task: ModelTask) -> QuerySet[TuningRun]:
    adopted = TuningRun.objects.filter(adopted_at__isnull=False, withdrawn_at=None)
    return adopted.filter(population=population, task=task.value)


def reigning(population: str, task: ModelTask, estimator: str) -> int | None:
    """Return the number of the search whose settings of an estimator are in force, whether or not it takes them."""
    found = _in_force(population, task).filter(estimator=estimator).values_list("pk", flat=True).first()
    return None if found is None else int(found)


def in_force(population: str, task: ModelTask) -> dict[str, Adopted]:
    """Return estimator → the settings that the next training takes instead of the shipped ones."""
    found: dict[str, Adopted] = {}
    for run in _in_force(population, task).order_by("estimator"):
        gain = (run.gain or 0.0, run.low or 0.0, run.high or 0.0)
        found[run.estimator] = Adopted(dict(mapping(run.settings)), run.pk, run.best or 0, gain)
    return found


def withdraw(run: TuningRun, by: Any = None) -> TuningRun:
    """Take settings out of force: the next training uses the shipped ones again; models in service stay as they are."""
    mine = TuningRun.objects.filter(pk=run.pk, adopted_at__isnull=False, withdrawn_at=None)
    done = mine.update(withdrawn_at=timezone.now(), withdrawn_by=by)
    if not done:
        raise NothingInForce
    run.refresh_from_db()
    return run


def task_of(estimator: str) -> ModelTask | None:
    """Return what an estimator of this name is for, if its settings can be searched for at all."""
    return next((task for task, names in SEARCHABLE.items() if estimator in names), None)


def searchable() -> list[str]:
    """Return the estimators whose settings can be searched for, of all tasks."""
    return [name for names in SEARCHABLE.values() for name in names]


def differences(run: TuningRun) -> list[tuple[str, Any, Any]]:
    """Return setting, before, after, of those that the found settings change."""
    before, after = mapping(run.start), mapping(run.settings)
    return [(str(name), before.get(name), value) for name, value in after.items() if before.get(name) != value]


def plain(value: Any) -> str:
    """Return a setting's value as people write it."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def sentence(run: TuningRun) -> str:
    """Return in a sentence what came of a search."""
    if run.state == TuningRun.State.SEARCHING:
        return _("Not judged yet: the search has not come to its end.")
    if run.state == TuningRun.State.OUTDATED:
        return _("Ended without a verdict: the settings that it started from are no longer in force.")
    if not run.best or run.gain is None:
        if run.trials.filter(number__gt=0).exists():
            return _("No trial did better than the settings in force: they stay.")
        return _(
            "The time was over before any other settings had been tried: those in force stay, and nothing is known of "
            "others. Give the search more time."
        )
    told = {
        "trial": run.best, "metric": run.metric, "gain": number(run.gain, 5), "low": number(run.low, 5),
        "high": number(run.high, 5), "rows": number(run.judged_on),
        "level": number(100 * (run.level or FIRST_LEVEL), 1),
    }  # fmt: skip
    found = _("%(metric)s gain %(gain)s, %(level)s %% interval %(low)s to %(high)s, %(rows)s rows.") % told
    if run.adopted_at is None and (run.low or 0.0) > 0:
        verdict = _(
            "Trial %(trial)s is better than the settings that the search started from, but those are no longer in "
            "force: nothing changes. A new search compares with what is."
        )
    elif run.adopted_at is None:
        verdict = _("Trial %(trial)s is not better beyond chance on the unseen fold: the settings in force stay.")
    else:
        verdict = _("Trial %(trial)s is better on the unseen fold: the next training uses its settings.")
    return f"{verdict % told} {found}"


def numbered(pk: int) -> TuningRun | None:
    """Return the search of this number."""
    return TuningRun.objects.filter(pk=pk).first()


def withdrawable() -> list[TuningRun]:
    """Return the searches whose settings are in force, of any population, in the order of their numbers."""
    return list(TuningRun.objects.filter(adopted_at__isnull=False, withdrawn_at=None).order_by("pk"))


def standing(run: TuningRun) -> str:
    """Return whether the found settings are in force, in a word or two."""
    if run.adopted_at is None:
        return ""
    if run.withdrawn_at is None:
        return _("in force")
    return _("withdrawn") if run.withdrawn_by_id is not None else _("replaced")


def origin(card: Any) -> str:
    """Return where a version's settings came from, in a sentence; empty where its card does not tell."""
    stored = mapping(card)
    found = mapping(stored.get("settings_from"))
    if found and len(listed(found.get("gain"))) == 3:
        gain, low, high = (number(value, 5) for value in listed(found["gain"]))
        told = {"run": found.get("run"), "trial": found.get("trial"), "gain": gain, "low": low, "high": high}
        return _("found by search %(run)s, trial %(trial)s: gain %(gain)s, interval %(low)s to %(high)s") % told
    return _("as shipped") if mapping(stored.get("settings")) else ""
