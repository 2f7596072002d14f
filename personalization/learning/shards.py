"""A set of scores is built in parts: any number of workers take them, and each is written and marked done at once.

A part is taken under a lease and a fencing token, as a job is. What a dead worker held is taken again when its lease
runs out; what it had finished stays. :mod:`personalization.learning.publish` lets the set go live when all are done.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from django.db import connection, transaction
from django.db.models import Count, F, Q, QuerySet, Sum
from django.utils import timezone

from personalization.exceptions import LeaseLost, PersonalizationError
from personalization.learning import jobs, score_rows, withdrawal
from personalization.models import Job, ScoreSet, ScoreShard, Shopper, ShopperScores
from personalization.types import JobState

State = ScoreShard.State
LEASE = timedelta(seconds=60)
MAX_ATTEMPTS = 3
WORTH_JOINING = 4
"""Parts that must wait for another worker to help: reading the data comes first, and takes as long as a few parts."""


class Unfinished(PersonalizationError):
    """Parts of these scores are not written. They are published when all are: start the scoring again."""

    code = "unfinished_scores"


def plan(score_set: ScoreSet, shoppers: Sequence[int], size: int) -> None:
    """Cut a set into parts of ``size`` of these shoppers (ascending keys), once: a set that has parts keeps them."""
    lasts = [shoppers[min(at + size, len(shoppers)) - 1] for at in range(0, len(shoppers), size)]
    firsts = [0, *(last + 1 for last in lasts[:-1])][: len(lasts)]
    with transaction.atomic():
        if ScoreSet.objects.filter(pk=score_set.pk, shard_count=None).update(shard_count=len(lasts)):
            parts = [
                ScoreShard(score_set=score_set, first=first, last=last)
                for first, last in zip(firsts, lasts, strict=True)
            ]
            ScoreShard.objects.bulk_create(parts, batch_size=score_rows.BATCH)


def take(score_set: ScoreSet, owner: str, *, leads: bool) -> ScoreShard | None:
    """Take the first part that nobody works at; None if there is none.

    One that several workers died at is left to the worker that ``leads``, under whose job attempts are counted.
    """
    while True:
        now = timezone.now()
        free = ScoreShard.objects.filter(Q(state=State.WAITING) | Q(state=State.TAKEN, lease_expires_at__lt=now))
        free = free.filter(score_set=score_set)
        if not leads:
            free = free.filter(fence__lt=MAX_ATTEMPTS)
        with transaction.atomic():
            if connection.features.has_select_for_update_skip_locked:
                found = free.select_for_update(skip_locked=True).order_by("first").first()
            else:
                found = free.order_by("first").first()
            if found is None:
                return None
            changes = {"state": State.TAKEN, "lease_owner": owner, "lease_expires_at": now + LEASE}
            if free.filter(pk=found.pk).update(fence=F("fence") + 1, **changes):
                return ScoreShard.objects.get(pk=found.pk)


def heartbeat(score_set: ScoreSet, owner: str) -> None:
    """Extend the lease of what a worker holds; raises LeaseLost if nobody wants the set any more."""
    if not wanted(score_set):
        raise LeaseLost
    held = ScoreShard.objects.filter(score_set=score_set, state=State.TAKEN, lease_owner=owner)
    held.update(lease_expires_at=timezone.now() + LEASE)


def finish(shard: ScoreShard, rows: Sequence[Mapping[str, Any]]) -> bool:
    """Write a part's rows and mark it done, in one transaction; False, and nothing written, if it is no longer ours.

    Whoever withdrew, was merged or was erased since the data was read is left out.
    """
    mine = ScoreShard.objects.filter(pk=shard.pk)
    with transaction.atomic():
        done = mine.filter(fence=shard.fence, state=State.TAKEN, score_set__in=_wanted()).update(
            state=State.DONE, lease_expires_at=None, finished_at=timezone.now(), shoppers=len(rows)
        )
        if done:
            score_rows.insert(shard.score_set_id, rows)
            if left_out := _leave_out(shard, rows):
                mine.update(shoppers=len(rows) - left_out)
        return bool(done)


def _leave_out(shard: ScoreShard, rows: Sequence[Mapping[str, Any]]) -> int:
    """Take back the rows of shoppers who do not agree any more; returns how many."""
    agreeing = Shopper.objects.filter(
        pk__range=(shard.first, shard.last), consent_personalisation=True, merged_into=None
    )
    stay = withdrawal.staying(agreeing)
    gone = [row["shopper_id"] for row in rows if row["shopper_id"] not in stay]
    mine = ShopperScores.objects.filter(score_set=shard.score_set_id, shopper__in=gone)
    return int(mine._raw_delete("default")) if gone else 0


def release(owner: str) -> int:
    """Put back what a worker holds: it has ended, or leaves."""
    held = ScoreShard.objects.filter(state=State.TAKEN, lease_owner=owner)
    return held.update(state=State.WAITING, lease_owner="", lease_expires_at=None)


def _wanted() -> QuerySet[ScoreSet]:
    """Return the sets that are being built, by nobody's job or by one that goes on."""
    going_on = Q(job=None) | Q(job__state__in=jobs.OPEN)
    return ScoreSet.objects.filter(going_on, state=ScoreSet.State.BUILDING)


def wanted(score_set: ScoreSet) -> bool:
    """Return whether the set is still being built: not published, given up or cancelled."""
    return _wanted().filter(pk=score_set.pk).exists()


def left(score_set: ScoreSet) -> int:
    """Return how many parts are not done."""
    return ScoreShard.objects.filter(score_set=score_set).exclude(state=State.DONE).count()


def refuse_unfinished(score_set: ScoreSet) -> None:
    """Raise Unfinished unless every part that was planned is done. Call it in the transaction that publishes."""
    planned = ScoreSet.objects.values_list("shard_count", flat=True).filter(pk=score_set.pk).first()
    done = ScoreShard.objects.filter(score_set=score_set, state=State.DONE).count()
    if planned is not None and done != planned:
        raise Unfinished


def joinable(but: Collection[int] = ()) -> ScoreSet | None:
    """Return a set whose job runs and where many parts wait: another worker may help. None if there is none."""
    waits = Count("shards", filter=Q(shards__state=State.WAITING, shards__fence__lt=MAX_ATTEMPTS))
    building = ScoreSet.objects.filter(state=ScoreSet.State.BUILDING, job__state=JobState.RUNNING.value)
    counted = building.exclude(pk__in=but).annotate(waits=waits).filter(waits__gte=WORTH_JOINING)
    return counted.order_by("created_at", "pk").first()


def building(pk: int) -> ScoreSet | None:
    """Return a set that is still being built, by its number."""
    return _wanted().filter(pk=pk).first()


@dataclass(frozen=True, slots=True)
class Share:
    """What one worker did of a set and does now: parts done, their shoppers, parts in hand."""

    worker: str
    done: int
    shoppers: int
    in_hand: int


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a job's set is: parts done of all, and by whom."""

    done: int
    planned: int
    shares: list[Share]


def progress(job: Job) -> Progress | None:
    """Return how far the scores of a job are; None where none are being built, or were."""
    score_set = ScoreSet.objects.filter(job=job, shard_count__isnull=False).order_by("-pk").first()
    if score_set is None:
        return None
    rows = (
        ScoreShard.objects.filter(score_set=score_set)
        .exclude(lease_owner="")
        .values("lease_owner")
        .annotate(
            done=Count("pk", filter=Q(state=State.DONE)),
            people=Sum("shoppers"),
            in_hand=Count("pk", filter=Q(state=State.TAKEN)),
        )
        .order_by("lease_owner")
    )
    shares = [Share(row["lease_owner"], row["done"], row["people"], row["in_hand"]) for row in rows]
    return Progress(sum(share.done for share in shares), score_set.shard_count or 0, shares)
