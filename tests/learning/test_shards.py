"""A set of scores in parts: taken by one worker at a time, written and marked done at once, published when all are."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db import IntegrityError, transaction
from django.utils import timezone

from personalization.exceptions import LeaseLost
from personalization.learning import jobs, publish, score_rows, shards
from personalization.models import Job, ScoreSet, ScoreShard, Shopper, ShopperScores
from personalization.types import JobKind
from tests.support import build

pytestmark = pytest.mark.django_db


@pytest.fixture
def people() -> list[Shopper]:
    return [build.shopper() for _ in range(7)]


@pytest.fixture
def job() -> Job:
    jobs.enqueue(JobKind.SCORE)
    found = jobs.lease("leader")
    assert found is not None
    return found


@pytest.fixture
def score_set(job: Job, people: list[Shopper]) -> ScoreSet:
    """A set of three parts: three shoppers, three, and one."""
    made = publish.begin("shop", job, response=None, strategy=None, preference=None)
    shards.plan(made, [person.pk for person in people], 3)
    made.refresh_from_db()
    return made


def rows(shard: ScoreShard, people: list[Shopper]) -> list[dict[str, Any]]:
    return [{"shopper_id": one.pk, "items": ["1"]} for one in people if shard.first <= one.pk <= shard.last]


def taken(score_set: ScoreSet, owner: str = "one", *, leads: bool = True) -> ScoreShard:
    shard = shards.take(score_set, owner, leads=leads)
    assert shard is not None
    return shard


def done(score_set: ScoreSet, people: list[Shopper], owner: str = "one") -> None:
    while (shard := shards.take(score_set, owner, leads=True)) is not None:
        assert shards.finish(shard, rows(shard, people))


def go_live(score_set: ScoreSet, job: Job) -> None:
    publish.publish(score_set, job, defaults={})


def late() -> None:
    """Let every lease run out."""
    ScoreShard.objects.filter(state="taken").update(lease_expires_at=timezone.now() - timedelta(seconds=1))


def test_the_parts_follow_each_other_without_a_gap(score_set: ScoreSet, people: list[Shopper]) -> None:
    bounds = list(ScoreShard.objects.order_by("first").values_list("first", "last"))
    assert bounds[0][0] == 0
    assert [last for _first, last in bounds] == [people[2].pk, people[5].pk, people[6].pk]
    assert [first for first, _last in bounds[1:]] == [last + 1 for _first, last in bounds[:-1]]
    assert score_set.shard_count == 3


def test_a_second_plan_changes_nothing(score_set: ScoreSet, people: list[Shopper]) -> None:
    before = list(ScoreShard.objects.values_list("pk", "first", "last"))
    shards.plan(score_set, [person.pk for person in people], 1)
    assert list(ScoreShard.objects.values_list("pk", "first", "last")) == before


def test_a_part_is_there_once(score_set: ScoreSet) -> None:
    with pytest.raises(IntegrityError), transaction.atomic():
        ScoreShard.objects.create(score_set=score_set, first=0, last=9)


def test_nobody_takes_what_another_holds(score_set: ScoreSet) -> None:
    found = [taken(score_set, owner).first for owner in ("one", "two", "one")]
    assert len(set(found)) == 3
    assert shards.take(score_set, "two", leads=True) is None


def test_what_a_dead_worker_held_is_taken_again_and_its_token_is_void(
    score_set: ScoreSet, people: list[Shopper]
) -> None:
    dead = taken(score_set, "dead")
    late()
    heir = taken(score_set, "heir")
    assert (heir.pk, heir.fence) == (dead.pk, dead.fence + 1)
    assert not shards.finish(dead, rows(dead, people))
    assert not ShopperScores.objects.exists()
    assert shards.finish(heir, rows(heir, people))
    assert not shards.finish(heir, rows(heir, people))  # once
    assert ShopperScores.objects.count() == 3


def test_a_beat_keeps_the_part(score_set: ScoreSet) -> None:
    taken(score_set, "one")
    late()
    shards.heartbeat(score_set, "two")
    shards.heartbeat(score_set, "one")
    assert {taken(score_set, "two").first, taken(score_set, "two").first}.isdisjoint({0})


def test_what_is_put_back_is_taken_at_once(score_set: ScoreSet) -> None:
    shard = taken(score_set, "one")
    assert shards.release("one") == 1
    assert taken(score_set, "two").pk == shard.pk


def test_rows_and_mark_come_together(
    score_set: ScoreSet, people: list[Shopper], monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks(*args: Any) -> None:
        raise OSError("the disk is full")

    shard = taken(score_set)
    monkeypatch.setattr(score_rows, "insert", breaks)
    with pytest.raises(OSError, match="full"), transaction.atomic():
        shards.finish(shard, rows(shard, people))
    shard.refresh_from_db()
    assert (shard.state, shards.left(score_set)) == ("taken", 3)


def test_who_went_while_their_part_was_computed_is_not_in_it(score_set: ScoreSet, people: list[Shopper]) -> None:
    shard = taken(score_set)
    computed = rows(shard, people)
    Shopper.objects.filter(pk=people[0].pk).update(consent_personalisation=False)
    people[1].delete()
    assert shards.finish(shard, computed)
    assert list(ShopperScores.objects.values_list("shopper_id", flat=True)) == [people[2].pk]
    shard.refresh_from_db()
    assert shard.shoppers == 1


def test_nothing_is_published_before_all_parts_are_done(score_set: ScoreSet, job: Job, people: list[Shopper]) -> None:
    for _ in range(2):
        shard = taken(score_set)
        shards.finish(shard, rows(shard, people))
    open_part = taken(score_set)
    with pytest.raises(shards.Unfinished):
        go_live(score_set, job)
    assert not ScoreSet.objects.filter(state=ScoreSet.State.LIVE).exists()
    shards.finish(open_part, rows(open_part, people))
    go_live(score_set, job)
    score_set.refresh_from_db()
    assert (score_set.state, score_set.shoppers, ShopperScores.objects.count()) == ("live", 7, 7)
    assert Job.objects.get(pk=job.pk).result["shoppers"] == 7


def test_without_the_look_at_the_parts_half_a_set_would_go_live(
    score_set: ScoreSet, job: Job, people: list[Shopper], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The negative control."""
    shard = taken(score_set)
    shards.finish(shard, rows(shard, people))
    monkeypatch.setattr(shards, "refuse_unfinished", lambda score_set: None)
    go_live(score_set, job)
    score_set.refresh_from_db()
    assert (score_set.state, score_set.shoppers) == ("live", 3)


def test_a_cancelled_jobs_parts_are_not_written(score_set: ScoreSet, job: Job, people: list[Shopper]) -> None:
    shard = taken(score_set)
    jobs.cancel(job)
    assert not shards.wanted(score_set)
    with pytest.raises(LeaseLost):
        shards.heartbeat(score_set, "one")
    assert not shards.finish(shard, rows(shard, people))
    assert not ShopperScores.objects.exists()


def test_the_parts_outlive_the_worker_that_led(score_set: ScoreSet, job: Job, people: list[Shopper]) -> None:
    """Its job waits for another one meanwhile: whoever helps goes on."""
    shard = taken(score_set, "helper", leads=False)
    jobs.sweep(timezone.now() + 2 * jobs.LEASE)
    assert shards.finish(shard, rows(shard, people))
    heir = jobs.lease("heir")
    assert heir is not None
    assert publish.begin("shop", heir, response=None, strategy=None, preference=None) == score_set
    done(score_set, people)
    go_live(score_set, heir)
    assert ShopperScores.objects.count() == 7


def test_a_part_at_which_workers_die_is_left_to_the_one_that_leads(score_set: ScoreSet) -> None:
    for _ in range(shards.MAX_ATTEMPTS):
        assert taken(score_set, "helper", leads=False).first == 0
        late()
    assert taken(score_set, "helper", leads=False).first != 0
    assert taken(score_set, "leader", leads=True).first == 0


def test_another_worker_joins_where_enough_waits(
    score_set: ScoreSet, job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert shards.joinable() is None  # three parts are soon done
    monkeypatch.setattr(shards, "WORTH_JOINING", 3)
    assert shards.joinable() == score_set
    assert shards.joinable({score_set.pk}) is None
    taken(score_set)
    assert shards.joinable() is None
    shards.release("one")
    jobs.cancel(job)
    assert shards.joinable() is None
    assert shards.building(score_set.pk) is None


def test_who_did_what_is_told(score_set: ScoreSet, job: Job, people: list[Shopper]) -> None:
    first = taken(score_set, "one")
    shards.finish(first, rows(first, people))
    taken(score_set, "two")
    told = shards.progress(job)
    assert told == shards.Progress(1, 3, [shards.Share("one", 1, 3, 0), shards.Share("two", 0, 0, 1)])
    jobs.enqueue(JobKind.TRAIN)
    other = jobs.lease("one")
    assert other is not None
    assert shards.progress(other) is None


def test_a_set_of_nobody_is_published(job: Job) -> None:
    nobody = publish.begin("shop", job, response=None, strategy=None, preference=None)
    shards.plan(nobody, [], 3)
    assert shards.take(nobody, "one", leads=True) is None
    go_live(nobody, job)
    nobody.refresh_from_db()
    assert (nobody.state, nobody.shoppers) == ("live", 0)


def test_any_text_survives_the_way_into_the_table(score_set: ScoreSet, people: list[Shopper]) -> None:
    odd = 'tab\t back\\slash "quote" line\nend \\N ü €'
    row = {
        "shopper_id": people[0].pk,
        "offers": {odd: [0.1, 1e-5]},
        "items": [odd, ""],
        "values": {"basket_minor": None, "interest": {odd: 0.5}},
        "intent": None,
    }
    score_rows.insert(score_set.pk, [row, {"shopper_id": people[1].pk, "intent": 0.25}])
    first, second = ShopperScores.objects.order_by("shopper_id")
    assert (first.offers, first.items, first.values, first.intent) == tuple(
        row[name] for name in ("offers", "items", "values", "intent")
    )
    assert (first.kinds, first.reasons) == ({}, {})
    assert (second.offers, second.items, second.intent) == ({}, [], 0.25)
