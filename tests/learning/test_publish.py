"""A ScoreSet goes live whole or not at all, under its job's token, and is taken up again where it was left."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.db import IntegrityError, transaction
from django.utils import timezone

from personalization.exceptions import LeaseLost
from personalization.learning import jobs, publish
from personalization.models import Forecast, ItemNeighbours, Job, ModelVersion, ScoreSet, Shopper, ShopperScores
from personalization.types import JobKind
from tests.support import build

pytestmark = pytest.mark.django_db
NO_VERSIONS: dict[str, Any] = {"response": None, "strategy": None, "preference": None}


def leased() -> Job:
    jobs.enqueue(JobKind.SCORE)
    job = jobs.lease("one")
    assert job is not None
    return job


def version(name: str = "logistic") -> ModelVersion:
    return ModelVersion.objects.create(
        task="response", estimator=name, cutoff_at=timezone.now(), path=name, sha256="0" * 64, size_bytes=1
    )


def scores(shoppers: list[Shopper], mark: str = "") -> list[dict[str, Any]]:
    return [{"shopper_id": shopper.pk, "items": [mark]} for shopper in shoppers]


def begin(job: Job | None = None, population: str = "shop", **versions: Any) -> ScoreSet:
    return publish.begin(population, job, **NO_VERSIONS | versions)


def go_live(score_set: ScoreSet, job: Job | None = None) -> None:
    publish.publish(score_set, job, defaults={"items": ["7"]})


def live(population: str = "shop") -> list[ScoreSet]:
    return list(ScoreSet.objects.filter(population=population, state=ScoreSet.State.LIVE))


@pytest.fixture
def people() -> list[Shopper]:
    return [build.shopper() for _ in range(4)]


def test_the_pointer_switches_once_and_whole(people: list[Shopper]) -> None:
    old = begin()
    publish.write_scores(old, scores(people, "old"))
    go_live(old)
    job = leased()
    new = begin(job)
    publish.write_scores(new, scores(people[:2], "new"))
    assert live() == [old]  # half-written rows are there, and nobody reads them
    go_live(new, job)
    assert live() == [new]
    new.refresh_from_db()
    old.refresh_from_db()
    assert (old.state, new.shoppers, new.defaults) == ("retired", 2, {"items": ["7"]})
    assert new.published_at is not None
    row = Job.objects.get(pk=job.pk)
    assert (row.state, row.result) == ("succeeded", {"score_set": new.pk, "shoppers": 2})


def test_populations_do_not_disturb_each_other() -> None:
    shop, games = begin(), begin(population="games")
    go_live(shop)
    go_live(games)
    assert (live(), live("games")) == ([shop], [games])


def test_who_lost_the_lease_publishes_nothing() -> None:
    old = begin()
    go_live(old)
    job = leased()
    new = begin(job)
    jobs.cancel(job)
    with pytest.raises(LeaseLost):
        go_live(new, job)
    new.refresh_from_db()
    assert (live(), new.state, new.published_at) == ([old], "building", None)
    assert Job.objects.get(pk=job.pk).state == "cancelled"


def test_without_the_token_a_cancelled_job_would_publish(monkeypatch: pytest.MonkeyPatch) -> None:
    """The negative control."""
    job = leased()
    new = begin(job)
    jobs.cancel(job)
    monkeypatch.setattr(jobs, "_ours", lambda job: Job.objects.filter(pk=job.pk))
    go_live(new, job)
    assert live() == [new]


def test_a_crash_in_the_switch_leaves_the_old_set_live(monkeypatch: pytest.MonkeyPatch) -> None:
    old = begin()
    go_live(old)
    job = leased()
    new = begin(job)
    real = ScoreSet.objects.filter

    def breaking(*args: Any, **kwargs: Any) -> Any:
        if kwargs == {"pk": new.pk}:  # after the old set was retired, before the new one is live
            raise RuntimeError("the power went")
        return real(*args, **kwargs)

    monkeypatch.setattr(ScoreSet.objects, "filter", breaking)
    with pytest.raises(RuntimeError):
        go_live(new, job)
    monkeypatch.undo()
    assert live() == [old]
    assert Job.objects.get(pk=job.pk).state == "running"


def test_two_live_sets_cannot_be_stored() -> None:
    go_live(begin())
    with pytest.raises(IntegrityError), transaction.atomic():
        ScoreSet.objects.create(population="shop", state=ScoreSet.State.LIVE)


def test_a_half_written_set_is_taken_up_again(people: list[Shopper]) -> None:
    job = leased()
    begun = begin(job)
    publish.write_scores(begun, scores(people[:2]))
    jobs.sweep(timezone.now() + 2 * jobs.LEASE)
    heir = jobs.lease("heir")
    assert begin(heir) == begun
    publish.write_scores(begun, scores(people[2:]))
    go_live(begun, heir)
    assert ShopperScores.objects.filter(score_set__in=live()).count() == len(people)


def test_after_a_new_champion_the_set_begins_anew() -> None:
    job = leased()
    begun = begin(job)
    other = begin(job, response=version())
    assert other != begun
    begun.refresh_from_db()
    assert begun.state == "retired"  # nobody may go on with it


def test_what_was_begun_long_ago_is_begun_anew() -> None:
    job = leased()
    begun = begin(job)
    ScoreSet.objects.filter(pk=begun.pk).update(created_at=timezone.now() - publish.RESUME_WITHIN)
    assert begin(job) != begun


def test_without_a_job_or_for_another_nothing_is_taken_up() -> None:
    assert begin() != begin()
    assert begin(leased()) != begin(leased())


def test_a_block_is_written_whole(people: list[Shopper]) -> None:
    begun = begin()
    with pytest.raises(IntegrityError):
        publish.write_scores(begun, scores([*people, people[0]]))
    assert ShopperScores.objects.count() == 0


def test_neighbours_are_replaced() -> None:
    begun = begin()
    publish.write_neighbours(begun, [("1", [["2", 0.5]]), ("2", [])])
    publish.write_neighbours(begun, [("1", [["3", 0.7]])])
    assert dict(ItemNeighbours.objects.values_list("item_id", "neighbours")) == {"1": [["3", 0.7]]}


def test_the_last_retired_set_is_kept_and_older_ones_go(people: list[Shopper]) -> None:
    sets = []
    for number in range(4):
        made = begin()
        publish.write_scores(made, scores(people))
        publish.write_neighbours(made, [("1", [])])
        go_live(made)
        ScoreSet.objects.filter(pk=made.pk).update(published_at=timezone.now() + timedelta(hours=number))
        sets.append(made)
    publish.tidy("shop")
    assert list(ScoreSet.objects.order_by("pk")) == sets[2:]
    assert ShopperScores.objects.count() == 2 * len(people)
    assert ItemNeighbours.objects.count() == 2


def test_sets_that_nobody_will_finish_go(people: list[Shopper]) -> None:
    """A cancelled job's half-written set is litter; a running or waiting one's is work in progress."""
    cancelled, elsewhere, waiting = leased(), leased(), leased()
    litter, kept, by_hand, foreign = begin(cancelled), begin(waiting), begin(), begin(elsewhere, "games")
    publish.write_scores(litter, scores(people))
    assert jobs.cancel(cancelled)
    assert jobs.cancel(elsewhere)
    jobs.sweep(timezone.now() + 2 * jobs.LEASE)
    publish.tidy("shop")
    assert set(ScoreSet.objects.all()) == {kept, by_hand, foreign}
    assert ShopperScores.objects.count() == 0


def test_a_forecast_and_its_job_are_stored_together() -> None:
    campaign = build.campaign()
    jobs.enqueue(JobKind.FORECAST)
    job = jobs.lease("one")
    made = publish.store_forecast(
        campaign.pk, job, version=version(), figures={"views": [2.0, 1.0, 3.0]}, assumptions={"interval": "90 %"}
    )
    assert job is not None
    assert Job.objects.get(pk=job.pk).result == {"forecast": made.pk, "views": [2.0, 1.0, 3.0]}


def test_a_cancelled_forecast_is_not_stored() -> None:
    campaign = build.campaign()
    jobs.enqueue(JobKind.FORECAST)
    job = jobs.lease("one")
    assert job is not None
    jobs.cancel(job)
    with pytest.raises(LeaseLost):
        publish.store_forecast(campaign.pk, job, version=version(), figures={}, assumptions={})
    assert not Forecast.objects.exists()


def test_of_two_scorings_the_one_that_read_later_stays(people: list[Shopper]) -> None:
    job = leased()
    early, late = begin(job), begin()
    publish.write_scores(early, scores(people, "early"))
    go_live(late)
    with pytest.raises(publish.Superseded):
        go_live(early, job)
    early.refresh_from_db()
    assert (live(), early.state, early.published_at) == ([late], "building", None)
    jobs.fail(job, "superseded")
    publish.tidy("shop")
    assert not ScoreSet.objects.filter(pk=early.pk).exists()


def test_a_clock_that_was_ahead_does_not_stop_the_scores_of_now() -> None:
    ahead = begin(read_at=timezone.now() + timedelta(days=365))
    go_live(ahead)
    now = begin()
    go_live(now)
    assert live() == [now]
