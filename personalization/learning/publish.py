"""A ScoreSet is written row by row while it is invisible, then goes live whole by one pointer switch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from django.db import transaction
from django.utils import timezone

from personalization.learning import jobs
from personalization.models import Forecast, ItemNeighbours, Job, ModelVersion, ScoreSet, Shopper, ShopperScores
from personalization.types import JobState

BATCH = 500
KEEP_RETIRED = 1


def begin(
    population: str,
    job: Job | None,
    *,
    response: ModelVersion | None,
    strategy: ModelVersion | None,
    preference: ModelVersion | None,
) -> ScoreSet:
    """Return the ScoreSet that this job builds; one that an earlier attempt left unfinished is taken up again."""
    unfinished = ScoreSet.objects.filter(job=job, state=ScoreSet.State.BUILDING).first() if job else None
    if unfinished is not None and (
        unfinished.response_version == response
        and unfinished.strategy_version == strategy
        and unfinished.preference_version == preference
    ):
        return unfinished
    return ScoreSet.objects.create(
        population=population,
        job=job,
        response_version=response,
        strategy_version=strategy,
        preference_version=preference,
    )


def scored_until(score_set: ScoreSet) -> int:
    """Return the last shopper id already written (0 if none): where an interrupted job goes on."""
    last = ShopperScores.objects.filter(score_set=score_set).order_by("-shopper_id").values_list("shopper_id").first()
    return int(last[0]) if last else 0


def write_scores(score_set: ScoreSet, rows: Sequence[dict[str, Any]]) -> None:
    """Write one block of shoppers (ascending ids), in one transaction."""
    with transaction.atomic():
        ShopperScores.objects.bulk_create([ShopperScores(score_set=score_set, **row) for row in rows], batch_size=BATCH)


def write_neighbours(score_set: ScoreSet, rows: Iterable[tuple[str, list[Any]]]) -> None:
    """Replace the item neighbours of a ScoreSet."""
    with transaction.atomic():
        ItemNeighbours.objects.filter(score_set=score_set).delete()
        ItemNeighbours.objects.bulk_create(
            [ItemNeighbours(score_set=score_set, item_id=key, neighbours=value) for key, value in rows],
            batch_size=BATCH,
        )


def publish(
    score_set: ScoreSet,
    job: Job | None,
    *,
    shoppers: int,
    defaults: dict[str, Any],
    profile: dict[str, Any] | None = None,
) -> None:
    """Switch the pointer: readers see the new set whole from this commit on. ``profile``: what was scored, as counts.

    The job finishes in the same transaction, under its fencing token: a worker that lost its lease publishes nothing.
    """
    with transaction.atomic():
        gone = _drop_withdrawn(score_set)
        if job is not None:
            jobs.finish(job, {"score_set": score_set.pk, "shoppers": shoppers - gone})
        rivals = ScoreSet.objects.filter(population=score_set.population)
        # All of them, in one order: sets that are published at the same moment go live one after the other.
        list(rivals.select_for_update().order_by("pk").values_list("pk"))
        rivals.filter(state=ScoreSet.State.LIVE).exclude(pk=score_set.pk).update(state=ScoreSet.State.RETIRED)
        ScoreSet.objects.filter(pk=score_set.pk).update(
            state=ScoreSet.State.LIVE,
            shoppers=shoppers - gone,
            defaults=defaults,
            profile=profile or {},
            published_at=timezone.now(),
        )


def live(population: str) -> ScoreSet | None:
    """Return the set that pages read now."""
    rows = ScoreSet.objects.filter(population=population, state=ScoreSet.State.LIVE)
    return rows.select_related("response_version").first()


def stored_scores(score_set: ScoreSet, most: int) -> dict[int, dict[str, list[float]]]:
    """Return shopper → offer → probabilities of a part of a set: of shoppers spread over all keys, ``most`` at most."""
    rows = ShopperScores.objects.filter(score_set=score_set).order_by("shopper_id")
    keys = list(rows.values_list("shopper_id", flat=True))
    chosen = keys[:: max(1, -(-len(keys) // most))]
    found: dict[int, dict[str, list[float]]] = {}
    for at in range(0, len(chosen), BATCH):
        found.update(rows.filter(shopper__in=chosen[at : at + BATCH]).values_list("shopper_id", "offers"))
    return found


def _drop_withdrawn(score_set: ScoreSet) -> int:
    """Delete the scores of shoppers who withdrew, or were merged, while the job ran; returns how many."""
    withdrawn = Shopper.objects.exclude(consent_personalisation=True, merged_into=None)
    rows = ShopperScores.objects.filter(score_set=score_set, shopper__in=withdrawn)
    return int(rows._raw_delete("default"))


def tidy(population: str) -> None:
    """Delete sets retired for good and sets that no job will finish; the last retired one stays for rolling back."""
    sets = ScoreSet.objects.filter(population=population)
    retired = sets.filter(state=ScoreSet.State.RETIRED).order_by("-published_at")
    going_on = [JobState.QUEUED.value, JobState.RUNNING.value]
    abandoned = sets.filter(state=ScoreSet.State.BUILDING, job__isnull=False).exclude(job__state__in=going_on)
    for old in [*retired[KEEP_RETIRED:], *abandoned]:
        ShopperScores.objects.filter(score_set=old)._raw_delete("default")
        ItemNeighbours.objects.filter(score_set=old)._raw_delete("default")
        old.delete()


def store_forecast(
    campaign_id: int,
    job: Job | None,
    *,
    version: ModelVersion,
    figures: dict[str, list[float]],
    assumptions: dict[str, Any],
) -> Forecast:
    """Store a forecast and finish its job in one transaction. A frozen forecast stays: this one stands beside it."""
    with transaction.atomic():
        forecast = Forecast.objects.create(
            campaign_id=campaign_id, model_version=version, figures=figures, assumptions=assumptions
        )
        if job is not None:
            jobs.finish(job, {"forecast": forecast.pk, **figures})
    return forecast
