"""Scoring in shadow: a challenger predicts what was shown, is never served, and is held against the outcomes.

The worker predicts (``worker.shadow``): yesterday's exposures, each from what was known at its moment. Here is who is
in shadow, what is stored, and what has matured.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import numpy as np
from django.db import transaction
from django.utils import timezone
from numpy.typing import NDArray

from personalization import conf
from personalization.learning import jobs, registry, withdrawal
from personalization.models import Exposure, ExposurePrediction, Job, ModelVersion, Shopper
from personalization.types import HEADS, JobKind, ModelTask

EVERY = timedelta(hours=24)
KEPT = timedelta(days=60)
"""How long predictions are kept: longer than any outcome window that is worth judging."""
LONGEST = timedelta(days=28)
"""After this time a challenger makes room for the next that the gate keeps out."""
BATCH = 500
State = ModelVersion.State


def can_begin(version: ModelVersion) -> bool:
    """Return whether a version may predict in shadow: a response candidate that does not do so yet."""
    return (
        version.task == ModelTask.RESPONSE.value and version.state == State.CANDIDATE and version.shadow_since is None
    )


def begin(version: ModelVersion, now: datetime | None = None) -> bool:
    """Let a candidate predict from now on; returns whether it could."""
    rows = ModelVersion.objects.filter(
        pk=version.pk, task=ModelTask.RESPONSE.value, state=State.CANDIDATE, shadow_since=None
    )
    return bool(rows.update(shadow_since=now or timezone.now()))


def end(version: ModelVersion) -> bool:
    """Let a candidate predict no more; what came of it stays in its metrics, its predictions go."""
    with transaction.atomic():
        ended = ModelVersion.objects.filter(pk=version.pk).exclude(shadow_since=None).update(shadow_since=None)
        ExposurePrediction.objects.filter(version=version).delete()
    return bool(ended)


def begin_after_refusal(version: ModelVersion) -> bool:
    """Put a challenger that the gate kept out in shadow, unless another of its task is there: one at a time by itself.

    Call it in the transaction that registers the version.
    """
    for each in in_shadow(version.population):
        if each.shadow_since is not None and each.shadow_since < timezone.now() - LONGEST:
            end(each)
    return not in_shadow(version.population) and begin(version)


def in_shadow(population: str) -> list[ModelVersion]:
    """Return the candidates that predict beside the champion, the oldest first."""
    rows = ModelVersion.objects.filter(
        population=population, task=ModelTask.RESPONSE.value, state=State.CANDIDATE, shadow_since__isnull=False
    )
    return list(rows.order_by("shadow_since", "pk"))


def watched(population: str) -> list[ModelVersion]:
    """Return whose predictions are written: the reigning champion first, then who is in shadow."""
    champion = registry.champion(ModelTask.RESPONSE, population)
    return [*([champion] if champion is not None else []), *in_shadow(population)]


def since(version: ModelVersion) -> datetime:
    """Return from when on a version's predictions are written: nothing that it could have learnt from."""
    start = version.shadow_since
    if start is None:
        promoted = version.card.get("promoted_at") if isinstance(version.card, dict) else None
        start = datetime.fromisoformat(promoted) if promoted else version.created_at
    return max(start, version.cutoff_at)


def predicted(version: ModelVersion) -> set[int]:
    """Return the exposures that a version has predicted already."""
    return set(ExposurePrediction.objects.filter(version=version).values_list("exposure_id", flat=True))


def write(version: ModelVersion, exposures: Sequence[int], heads: NDArray[Any]) -> None:
    """Store predictions [rows, heads] for exposures; what is stored already stays as it was.

    Those of who has withdrawn or was erased since the exposures were read are left out.
    """
    for start in range(0, len(exposures), BATCH):
        chosen = exposures[start : start + BATCH]
        with transaction.atomic():
            ExposurePrediction.objects.bulk_create(
                [
                    ExposurePrediction(version=version, exposure_id=pk, heads=[round(float(p), 5) for p in row])
                    for pk, row in zip(chosen, heads[start : start + BATCH], strict=True)
                ],
                ignore_conflicts=True,
            )
            gone = set(chosen) - _of_who_stays(chosen)
            ExposurePrediction.objects.filter(version=version, exposure__in=gone)._raw_delete("default")


def _of_who_stays(exposures: Sequence[int]) -> set[int]:
    """Return which of the exposures are those of shoppers who agree still, and hold these shoppers."""
    of_them = Exposure.objects.filter(pk__in=exposures)
    stay = withdrawal.staying(Shopper.objects.filter(pk__in=of_them.values("shopper"), consent_personalisation=True))
    return set(of_them.filter(shopper__in=stay).values_list("pk", flat=True))


@dataclass(frozen=True, slots=True)
class Predictions:
    """One version's stored predictions: exposure keys, ascending, and probabilities [rows, heads]."""

    exposure: NDArray[np.int64]
    heads: NDArray[np.float64]


def read(version: ModelVersion) -> Predictions:
    """Return what a version has predicted."""
    rows = list(
        ExposurePrediction.objects.filter(version=version).order_by("exposure_id").values_list("exposure_id", "heads")
    )
    return Predictions(
        np.array([pk for pk, _heads in rows], dtype=np.int64),
        np.array([heads for _pk, heads in rows], dtype=np.float64).reshape(len(rows), len(HEADS)),
    )


def conclude(job: Job | None, found: Mapping[int, Mapping[str, Any]], result: dict[str, Any]) -> None:
    """Write what came of it into the versions' metrics (version → entries) and finish the job, in one transaction."""
    with transaction.atomic():
        for version in ModelVersion.objects.select_for_update(no_key=True).filter(pk__in=list(found)).order_by("pk"):
            ModelVersion.objects.filter(pk=version.pk).update(metrics={**version.metrics, **found[version.pk]})
        if job is not None:
            jobs.finish(job, result)


def forget(population: str, keep: Iterable[ModelVersion], now: datetime) -> int:
    """Delete predictions of versions that nobody watches any more, and those that are old by now; returns how many."""
    rows = ExposurePrediction.objects.filter(version__population=population)
    gone = rows.exclude(version__in=list(keep)).delete()[0]
    return gone + rows.filter(exposure__exposed_at__lt=now - KEPT).delete()[0]


def queue_daily(now: datetime | None = None) -> int:
    """Queue the day's predictions for the shop's own population, if anybody reigns; returns how many were queued."""
    population = conf.get().population
    if jobs.asked_since(JobKind.SHADOW, (now or timezone.now()) - EVERY) or not watched(population):
        return 0
    return int(jobs.ask(JobKind.SHADOW, {"population": population})[1])
