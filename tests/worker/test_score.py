"""Batch scoring: every consenting shopper, in blocks, whole at the end, and on from where it was left."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import numpy as np
import pytest
from django.utils import timezone

from personalization.exceptions import LeaseLost, NotEnoughData
from personalization.features.frames import milliseconds
from personalization.learning import frames as reading
from personalization.learning import jobs, publish, registry, shards
from personalization.models import (
    CatalogItem,
    Exposure,
    ItemNeighbours,
    Job,
    ModelVersion,
    Offer,
    ScoreSet,
    ScoreShard,
    Shopper,
    ShopperScores,
)
from personalization.types import HEADS, JobKind, ModelTask
from tests.support import build
from tests.worker import population
from tests.worker.population import Population
from worker import preference, pulse, runner, score, sharding, train
from worker.estimators.four_part import ARMS
from worker.rankers import interactions


def silent(what: object, done: float) -> None:
    """Say nothing."""


def run(job: Job | None = None, stage: Any = silent) -> ScoreSet:
    return score.run(job, {"population": "shop"}, stage, until=population.END)


def leased() -> Job:
    jobs.enqueue(JobKind.SCORE, {"population": "shop"})
    job = jobs.lease("one")
    assert job is not None
    return job


def rows(score_set: ScoreSet) -> dict[int, tuple[Any, ...]]:
    found = ShopperScores.objects.filter(score_set=score_set)
    return {pk: rest for pk, *rest in found.values_list("shopper_id", "offers", "kinds", "items", "values")}  # type: ignore[misc]


@pytest.fixture
def trained(shop: Population) -> Population:
    """A shop whose champions are the logistic regression and a ranker."""
    train.run(None, population.QUICK, silent, until=population.END)
    return shop


def test_everybody_is_scored(trained: Population) -> None:
    job = leased()
    score_set = run(job)
    found = rows(score_set)
    assert set(found) == {person.pk for person in trained.shoppers}
    assert score_set.pk == ScoreSet.objects.get(state=ScoreSet.State.LIVE).pk
    row = Job.objects.get(pk=job.pk)
    assert (row.state, row.result) == ("succeeded", {"score_set": score_set.pk, "shoppers": len(found)})
    hidden = CatalogItem.objects.get(visible=False).item_id
    for offers, kinds, items, values in found.values():
        assert set(offers) == {str(offer.pk) for offer in trained.offers}
        assert all(len(heads) == len(HEADS) and all(0 <= p <= 1 for p in heads) for heads in offers.values())
        assert kinds == {}  # no strategy has been trained
        assert len(items) == len(set(items)) == population.ITEMS - 1
        assert hidden not in items
        assert 0 < values["visit_rate"] < 2
        assert sum(values["interest"].values()) <= 1.001
        assert values["basket_minor"] is None or values["basket_minor"] > 0


def test_the_scores_say_who_responds(trained: Population) -> None:
    """Gold members redeem more, and the last offer is the most attractive: so say the scores."""
    found = rows(run())
    redeem = HEADS.index("redeem")
    first, _second, last = (str(offer.pk) for offer in trained.offers)
    by_tier: dict[str, list[float]] = {"gold": [], "basic": []}
    for person in trained.shoppers:
        by_tier[person.attributes["tier"]].append(found[person.pk][0][last][redeem])
    assert np.mean(by_tier["gold"]) > np.mean(by_tier["basic"]) + 0.2
    means = [np.mean([offers[pk][redeem] for offers, *_rest in found.values()]) for pk in (first, last)]
    assert means[1] > means[0] + 0.1


def test_who_may_not_be_scored_is_not(trained: Population) -> None:
    silent_ones = trained.shoppers[:3]
    reasons: list[dict[str, Any]] = [
        {"consent_personalisation": False},
        {"is_bot": True},
        {"merged_into": trained.shoppers[5]},
    ]
    for person, fields in zip(silent_ones, reasons, strict=True):
        Shopper.objects.filter(pk=person.pk).update(**fields)
    score_set = run()
    assert len(rows(score_set)) == len(trained.shoppers) - 3
    assert not set(rows(score_set)) & {person.pk for person in silent_ones}


def test_the_strategy_is_a_distribution_for_everybody(shop: Population, short_training: None) -> None:
    train.run(None, {**population.QUICK, "estimators": ["four_part"]}, silent, until=population.END)
    score_set = run()
    for _offers, kinds, _items, _values in rows(score_set).values():
        assert list(kinds) == list(ARMS)
        assert sum(kinds.values()) == pytest.approx(1, abs=1e-3)
        assert kinds["member_exclusive"] == 0  # never logged
    assert sum(score_set_defaults(score_set)["strategy"].values()) == pytest.approx(1, abs=1e-3)


def score_set_defaults(score_set: ScoreSet) -> dict[str, Any]:
    score_set.refresh_from_db()
    defaults: dict[str, Any] = score_set.defaults
    return defaults


def test_strangers_get_the_averages(trained: Population) -> None:
    score_set = run()
    defaults = score_set_defaults(score_set)
    offer = str(trained.offers[0].pk)
    expected = np.mean([offers[offer] for offers, *_rest in rows(score_set).values()], axis=0)
    np.testing.assert_allclose(defaults["offers"][offer], expected, atol=1e-4)
    np.testing.assert_allclose(defaults["kinds"]["coupon"], defaults["offers"][offer], atol=1e-4)
    assert defaults["basket_minor"] > 1000
    assert CatalogItem.objects.get(visible=False).item_id not in defaults["items"]
    assert len(defaults["items"]) == population.ITEMS - 1


def test_what_follows_what_is_published(trained: Population) -> None:
    score_set = run()
    found = dict(ItemNeighbours.objects.filter(score_set=score_set).values_list("item_id", "neighbours"))
    assert found["shop-03"][0][0] == "shop-04"
    weights = [weight for _item, weight in found["shop-03"]]
    assert weights == sorted(weights, reverse=True)


def test_blocks_change_nothing(trained: Population, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = rows(run())
    monkeypatch.setattr(score, "BLOCK", 37)
    assert rows(run()) == whole


def test_an_interrupted_job_goes_on_where_it_was(trained: Population, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed after the third part: nothing is live; the next attempt writes the rest and publishes the whole."""
    whole = rows(run())
    live = ScoreSet.objects.get(state=ScoreSet.State.LIVE)
    monkeypatch.setattr(score, "BLOCK", 50)
    job = leased()
    written: list[float] = []

    def killed(what: object, done: float) -> None:
        if what == "scoring":
            written.append(done)
            if len(written) == 4:
                raise SystemExit

    with pytest.raises(SystemExit):
        run(job, killed)
    half = ScoreSet.objects.get(state=ScoreSet.State.BUILDING)
    assert len(rows(half)) == 150
    assert ScoreSet.objects.get(state=ScoreSet.State.LIVE) == live
    before = set(ShopperScores.objects.filter(score_set=half).values_list("pk", flat=True))
    jobs.sweep(timezone.now() + 2 * jobs.LEASE)
    heir = jobs.lease("heir")
    finished = run(heir)
    assert finished == half
    assert rows(finished) == whole
    assert before <= set(ShopperScores.objects.filter(score_set=finished).values_list("pk", flat=True))
    assert ScoreSet.objects.get(state=ScoreSet.State.LIVE) == finished


@pytest.fixture
def no_beat(monkeypatch: pytest.MonkeyPatch) -> None:
    """However slow the machine, no heart beats: its thread does not see what a test's transaction wrote."""
    monkeypatch.setattr(pulse, "BEAT_SECONDS", 3600.0)


def overtaken(job: Job, parts: int) -> ScoreSet:
    """Let another scoring go live when so many parts of this one are done; return the set that is left behind."""

    def overtake(what: object, done: float) -> None:
        mine = ScoreSet.objects.filter(job=job, shard_count__isnull=False).first()
        if mine is not None and (mine.shard_count or 0) - shards.left(mine) == parts:
            run()

    with pytest.raises(publish.Superseded):
        run(job, overtake)
    return ScoreSet.objects.get(job=job)


def test_a_scoring_that_is_overtaken_stops_at_its_next_part(
    trained: Population, no_beat: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(score, "BLOCK", 20)
    left = overtaken(leased(), 3)
    assert (left.state, shards.left(left)) == ("building", (left.shard_count or 0) - 4)
    assert ScoreSet.objects.get(state=ScoreSet.State.LIVE) != left


@pytest.mark.parametrize("helps", [False, True])
def test_a_scoring_that_was_left_lying_until_it_was_overtaken_reads_nothing(
    trained: Population, in_one_transaction: None, no_beat: None, monkeypatch: pytest.MonkeyPatch, helps: bool
) -> None:
    monkeypatch.setattr(score, "BLOCK", 20)
    job = leased()
    left = overtaken(job, 3)
    monkeypatch.setattr(reading, "load", lambda *args: pytest.fail("It read the data all the same."))
    if helps:
        assert runner.help_out(left.pk) == 0
    else:
        jobs.sweep(timezone.now() + 2 * jobs.LEASE)
        heir = jobs.lease("heir")
        assert heir is not None
        runner.work(heir)
        heir.refresh_from_db()
        assert (heir.state, publish.Superseded().message) == ("failed", jobs.error_of(heir))


def test_a_second_worker_scores_as_the_first_would(trained: Population, monkeypatch: pytest.MonkeyPatch) -> None:
    """It joins after the second part, with a champion that was crowned meanwhile, and does all but what is in hand."""
    whole = rows(run())
    pinned = dict(registry.champions("shop"))
    monkeypatch.setattr(score, "BLOCK", 20)
    job = leased()
    helped: list[int] = []

    def help_out(what: object, done: float) -> None:
        building = ScoreSet.objects.filter(state=ScoreSet.State.BUILDING, shard_count__isnull=False).first()
        if building is not None and shards.left(building) == (building.shard_count or 0) - 2:
            train.run(None, population.QUICK, silent, until=population.END)
            registry.promote(ModelVersion.objects.filter(task="response").latest("pk"))
            offers.update(name="renamed meanwhile")
            with monkeypatch.context() as patch:
                patch.setattr(jobs, "owner", lambda process=None: "helper")
                helped.append(score.join(building))

    offers = Offer.objects.filter(campaign=trained.campaign)
    finished = run(job, help_out)
    assert helped == [-(-len(whole) // 20) - 2]
    assert rows(finished) == whole
    assert finished.response_version == pinned[ModelTask.RESPONSE]
    assert registry.champions("shop")[ModelTask.RESPONSE] != finished.response_version
    told = shards.progress(job)
    assert told is not None
    assert {share.worker: share.done for share in told.shares} == {"helper": helped[0], jobs.owner(): 2}


def test_who_leads_waits_for_the_others_and_does_what_they_died_at(
    trained: Population, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = rows(run())
    monkeypatch.setattr(score, "BLOCK", 50)
    monkeypatch.setattr(sharding, "WAIT_SECONDS", 0.0)
    waited: list[float] = []

    def dies(what: object, done: float) -> None:
        held = ScoreShard.objects.filter(state="taken", lease_owner="dead")
        building = ScoreSet.objects.filter(state=ScoreSet.State.BUILDING, shard_count__isnull=False).first()
        if what != "scoring" or building is None:
            return
        if not waited:
            assert shards.take(building, "dead", leads=False) is not None
        elif len(waited) == 10:
            held.update(lease_expires_at=timezone.now() - timedelta(seconds=1))
        waited.append(done)

    finished = run(leased(), dies)
    assert len(waited) > 10
    assert rows(finished) == whole


def test_a_cancelled_job_publishes_nothing(trained: Population) -> None:
    live = run()
    job = leased()

    def cancel(what: object, done: float) -> None:
        if what == "publishing":
            jobs.cancel(job)

    with pytest.raises(LeaseLost):
        run(job, cancel)
    assert ScoreSet.objects.get(state=ScoreSet.State.LIVE) == live
    run()
    assert not ScoreSet.objects.filter(state=ScoreSet.State.BUILDING).exists()  # its litter is gone


def test_what_happened_later_is_not_used(trained: Population) -> None:
    until = population.wave(3)
    before = rows(score.run(None, {"population": "shop"}, silent, until=until))
    Exposure.objects.filter(exposed_at__gt=until).delete()
    Exposure.objects.filter(viewed_at__gt=until).update(viewed_at=None)
    after = rows(score.run(None, {"population": "shop"}, silent, until=until))
    assert before == after


def test_without_a_model_it_is_said(shop: Population) -> None:
    with pytest.raises(NotEnoughData, match="Nothing has been trained yet"):
        run()
    assert not ScoreSet.objects.exists()


def test_a_ranker_alone_scores_products(trained: Population) -> None:
    ModelVersion.objects.filter(task="response").update(state=ModelVersion.State.RETIRED)
    score_set = run()
    found = rows(score_set)
    assert all(offers == {} and items for offers, _kinds, items, _values in found.values())
    assert {values["basket_minor"] for *_rest, values in found.values()} == {None}
    defaults = score_set_defaults(score_set)
    assert (defaults["offers"], defaults["kinds"]) == ({}, {})
    assert defaults["basket_minor"] > 1000  # the mean of all orders
    assert defaults["items"]


def test_an_offer_that_nobody_has_seen_is_scored(trained: Population) -> None:
    new = build.offer(trained.campaign, kind="member_exclusive", amount_minor=700, tiers=["gold"])
    found = rows(run())
    heads = np.array([offers[str(new.pk)] for offers, *_rest in found.values()])
    assert np.isfinite(heads).all()
    assert np.ptp(heads[:, HEADS.index("redeem")]) > 0.05


def test_a_catalogue_smaller_than_the_list_holds_no_hidden_product(trained: Population) -> None:
    CatalogItem.objects.exclude(item_id__in=["shop-02", "shop-05"]).update(visible=False)
    score_set = run()
    assert {tuple(sorted(items)) for _o, _k, items, _v in rows(score_set).values()} == {("shop-02", "shop-05")}
    assert sorted(score_set_defaults(score_set)["items"]) == ["shop-02", "shop-05"]


@pytest.mark.parametrize("name", ["als", "biased_mf", "gru"])
def test_products_by_vectors_are_those_by_scores(trained: Population, name: str) -> None:
    """A ranker whose score is a product of vectors needs no matrix of all scores, and recommends the same."""
    frames = reading.load("shop", population.END)
    scorer = score.Scorer(frames, milliseconds(population.END), [])
    scorer.ranker = preference.fit(name, interactions(frames), scorer.moment + 1)
    everybody = np.arange(len(frames.shoppers))
    scorer._vectors = scorer.ranker.vectors()
    assert scorer._vectors is not None
    by_vectors = scorer.items(everybody)
    scorer._vectors = None
    assert by_vectors == scorer.items(everybody)
    assert any(by_vectors)
