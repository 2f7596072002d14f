"""A ScoreSet is written row by row while it is invisible, then goes live whole by one pointer switch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.db.models import F
from django.utils import timezone

from personalization import conf
from personalization.exceptions import PersonalizationError
from personalization.features import intent as intents
from personalization.learning import jobs, registry, score_rows, shards
from personalization.models import (
    ConsentRecord,
    Forecast,
    ItemNeighbours,
    Job,
    ModelVersion,
    ScoreSet,
    ScoreShard,
    Shopper,
    ShopperMerge,
    ShopperScores,
)
from personalization.types import ModelTask, Purpose

BATCH = 500
KEEP_RETIRED = 1
RESUME_WITHIN = timedelta(hours=12)
"""An unfinished set that is older is begun anew: what it says would be of yesterday."""


class RolledBack(PersonalizationError):
    """The model of these scores was rolled back while they were computed. Score again."""

    code = "rolled_back"


class Superseded(PersonalizationError):
    """Newer scores went live while these were computed: these are dropped, and nothing needs to be done."""

    code = "superseded"


def begin(
    population: str,
    job: Job | None,
    *,
    response: ModelVersion | None,
    strategy: ModelVersion | None,
    preference: ModelVersion | None,
    intent: ModelVersion | None = None,
    read_at: datetime | None = None,
    until: datetime | None = None,
    offers: Sequence[int] = (),
) -> ScoreSet:
    """Return the ScoreSet that this job builds; one that an earlier attempt left unfinished is taken up again.

    What all workers at it must agree upon is fixed here: the versions, the moment that it is computed for (``until``)
    and the offers. ``read_at``: when the reading of what it is computed from began. Whoever withdraws after that is
    not in it.
    """
    now = timezone.now()
    versions = {
        "response_version": response,
        "strategy_version": strategy,
        "preference_version": preference,
        "intent_version": intent,
    }
    with transaction.atomic():
        if job is not None:
            jobs.heartbeat(job)  # whoever lost it must not retire what its heir has begun
            begun = ScoreSet.objects.filter(job=job, state=ScoreSet.State.BUILDING)
            same = begun.filter(**versions, created_at__gte=now - RESUME_WITHIN).first()
            others = begun if same is None else begun.exclude(pk=same.pk)
            others.update(state=ScoreSet.State.RETIRED, retired_at=now)
            if same is not None:
                return same
        return ScoreSet.objects.create(
            population=population,
            job=job,
            created_at=read_at or now,
            cutoff_at=until,
            offer_ids=list(offers),
            intent_days=intent.card["intent_days"] if intent is not None else None,
            **versions,
        )


def write_scores(score_set: ScoreSet, rows: Sequence[dict[str, Any]]) -> None:
    """Write rows of a set that has no parts, in one transaction."""
    with transaction.atomic():
        score_rows.insert(score_set.pk, rows)


def write_neighbours(score_set: ScoreSet, rows: Iterable[tuple[str, list[Any]]], job: Job | None = None) -> None:
    """Replace the item neighbours of a ScoreSet; raises LeaseLost, and writes nothing, if its job is not ours any more.
    RolledBack where the set is gone.

    A worker that was frozen while another took its job over writes into the same set when it wakes up: into the other's
    way, or into what is live by then.
    """
    with transaction.atomic():
        if job is not None:
            jobs.heartbeat(job)  # and so its row is held until these are written
        ours = ScoreSet.objects.filter(pk=score_set.pk).select_for_update(no_key=True)
        if not list(ours.values_list("pk")):
            raise RolledBack  # and tidied away
        ItemNeighbours.objects.filter(score_set=score_set).delete()
        ItemNeighbours.objects.bulk_create(
            [ItemNeighbours(score_set=score_set, item_id=key, neighbours=value) for key, value in rows],
            batch_size=BATCH,
        )


def publish(
    score_set: ScoreSet,
    job: Job | None,
    *,
    defaults: dict[str, Any],
    profile: dict[str, Any] | None = None,
) -> None:
    """Switch the pointer: readers see the new set whole from this commit on. ``profile``: what was scored, as counts.

    The job finishes in the same transaction, under its fencing token: a worker that lost its lease publishes nothing.
    Raises Unfinished while a part is not done, RolledBack or Superseded where others decided meanwhile.
    """
    with transaction.atomic():
        shards.refuse_unfinished(score_set)
        _drop_withdrawn(score_set)
        _drop_changed(score_set)
        left = ShopperScores.objects.filter(score_set=score_set).count()
        if job is not None:
            jobs.finish(job, {"score_set": score_set.pk, "shoppers": left})
        lock(score_set.population)
        _refuse_rolled_back(score_set)
        refuse_superseded(score_set)
        retire_live(score_set.population)
        ScoreSet.objects.filter(pk=score_set.pk).update(
            state=ScoreSet.State.LIVE,
            shoppers=left,
            defaults=defaults,
            profile=profile or {},
            published_at=timezone.now(),
            **intents.edges(ShopperScores.objects.filter(score_set=score_set)),
        )


def lock(population: str) -> None:
    """Hold all of a population's sets, in one order: those published at the same moment go live one after the other."""
    sets = ScoreSet.objects.filter(population=population)
    list(sets.select_for_update(no_key=True).order_by("pk").values_list("pk"))  # parts may refer to them meanwhile


def retire_live(population: str) -> None:
    """Take the live set out of service."""
    live = ScoreSet.objects.filter(population=population, state=ScoreSet.State.LIVE)
    live.update(state=ScoreSet.State.RETIRED, retired_at=timezone.now())


def _refuse_rolled_back(score_set: ScoreSet) -> None:
    """Raise RolledBack if somebody rolled back while these scores were computed, or took one of their models away.

    A set that was retired by that may have been tidied away already.
    """
    if not ScoreSet.objects.filter(pk=score_set.pk, state=ScoreSet.State.BUILDING).exists():
        raise RolledBack
    if _uses_rolled_back(score_set):
        raise RolledBack


def refuse_superseded(score_set: ScoreSet) -> None:
    """Raise Superseded if what is live was read later: of two scorings at once, the one that began first may end last.

    Asked in the transaction that publishes, under :func:`lock`, and before each part: what will be dropped need not be
    computed. Its champions may have been replaced since. A reading in the future (a clock that was off) outranks
    nobody.
    """
    live = ScoreSet.objects.filter(population=score_set.population, state=ScoreSet.State.LIVE)
    if live.filter(created_at__gt=score_set.created_at, created_at__lte=timezone.now()).exists():
        raise Superseded


def _uses_rolled_back(score_set: ScoreSet) -> bool:
    """Return whether one of the models that made these scores was rolled back since."""
    used = [getattr(score_set, f"{task.value}_version_id") for task in registry.SCORED_TASKS]
    cards = ModelVersion.objects.filter(pk__in=[pk for pk in used if pk]).values_list("card", flat=True)
    return any(isinstance(card, dict) and bool(card.get("rolled_back_at")) for card in cards)


def void_unfinished(population: str) -> None:
    """Let no set that is being built go live: it was begun with champions of before. Call it under :func:`lock`."""
    building = ScoreSet.objects.filter(population=population, state=ScoreSet.State.BUILDING)
    building.update(state=ScoreSet.State.RETIRED, retired_at=timezone.now())


def restorable(task: ModelTask, version: ModelVersion) -> ScoreSet | None:
    """Return the newest set that a version made, retired or live still, that is young enough to be served."""
    if task not in registry.SCORED_TASKS:
        return None
    oldest = timezone.now() - timedelta(hours=conf.get().score_max_age_hours)
    shown = [ScoreSet.State.RETIRED, ScoreSet.State.LIVE]
    made = ScoreSet.objects.filter(**{f"{task.value}_version": version}, state__in=shown)
    young = made.filter(published_at__gte=oldest).order_by("-published_at", "-pk")
    return next((found for found in young if not _uses_rolled_back(found)), None)


def restore(score_set: ScoreSet) -> int:
    """Put a retired set in the live one's place; returns how many of its shoppers did not come back.

    Call it in the transaction of the rollback, under :func:`lock`. When it was published stays: scores do not grow
    younger by being put back. Who withdrew or was merged since, or is not who they were, does not come back.
    """
    _drop_withdrawn(score_set)
    _drop_changed(score_set)
    left = ShopperScores.objects.filter(score_set=score_set).count()
    retire_live(score_set.population)
    ScoreSet.objects.filter(pk=score_set.pk).update(state=ScoreSet.State.LIVE, retired_at=None, shoppers=left)
    return score_set.shoppers - left


def _drop_changed(score_set: ScoreSet) -> int:
    """Delete the scores of who withdrew and agreed again, or whose merge was taken back, since the set's data was read.

    What was computed before a withdrawal does not come back with a new consent; what was computed of two people
    together is not one's own.
    """
    since = score_set.created_at
    withdrew = ConsentRecord.objects.filter(purpose=Purpose.PERSONALISATION.value, granted=False, at__gte=since)
    parted = ShopperMerge.objects.filter(undone_at__gte=since)
    changed = [withdrew.values("shopper"), parted.values("account"), parted.values("visitor")]
    rows = ShopperScores.objects.filter(score_set=score_set)
    return sum(int(rows.filter(shopper__in=people)._raw_delete("default")) for people in changed)


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
    """Delete sets retired for good and sets that no job will finish.

    The last retired one stays, and of each former champion the last one, as long as it could be served: rolling back
    puts it in the live one's place.
    """
    sets = ScoreSet.objects.filter(population=population)
    former = [registry.former(task, population) for task in registry.SCORED_TASKS]
    kept = {found.pk for version in former if version and (found := restorable(ModelTask(version.task), version))}
    retired = sets.filter(state=ScoreSet.State.RETIRED, published_at__isnull=False).order_by(
        F("retired_at").desc(nulls_last=True), "-published_at", "-pk"
    )
    abandoned = sets.filter(state=ScoreSet.State.BUILDING, job__isnull=False).exclude(job__state__in=jobs.OPEN)
    void = sets.filter(state=ScoreSet.State.RETIRED, published_at=None)
    for old in [*(each for each in retired[KEEP_RETIRED:] if each.pk not in kept), *void, *abandoned]:
        with transaction.atomic():
            if not _still(old):
                continue
            ScoreShard.objects.filter(score_set=old).delete()  # first: a part that is just being written is waited for
            ShopperScores.objects.filter(score_set=old)._raw_delete("default")
            ItemNeighbours.objects.filter(score_set=old)._raw_delete("default")
            old.delete()


def _still(old: ScoreSet) -> bool:
    """Lock a set and return whether it is what it was when it was read: a rollback may have put it in service since.

    The lock keeps a rollback out, and lets a part that is being written refer to the set.
    """
    same = ScoreSet.objects.filter(pk=old.pk, state=old.state, published_at=old.published_at)
    return bool(list(same.select_for_update(no_key=True).values_list("pk")))


def store_forecast(
    campaign_id: int,
    job: Job | None,
    *,
    version: ModelVersion | None,
    figures: dict[str, list[float]],
    assumptions: dict[str, Any],
    attractiveness: dict[str, Any] | None = None,
    made_for: str = "",
) -> Forecast:
    """Store a forecast and finish its job in one transaction. A frozen forecast stays: this one stands beside it.

    ``version`` is the response model's; without one there are no figures. ``attractiveness`` is what
    :mod:`personalization.learning.attractiveness` reads. ``made_for`` is the digest of what was forecast: without it no
    launch freezes the forecast.
    """
    with transaction.atomic():
        forecast = Forecast.objects.create(
            campaign_id=campaign_id,
            model_version=version,
            figures=figures,
            assumptions=assumptions,
            attractiveness=attractiveness or {},
            made_for=made_for,
        )
        if job is not None:
            jobs.finish(job, {"forecast": forecast.pk, **figures})
    return forecast
