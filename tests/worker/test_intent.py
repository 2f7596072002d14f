"""Purchase intent: a planted signal is found, nothing is invented, the future stays out, and poor data is said."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import numpy as np
import pytest
from django.core.management import call_command

from personalization.exceptions import LeaseLost, NotEnoughData
from personalization.features.compute import DAY as DAY_MS
from personalization.features.frames import Frames, milliseconds
from personalization.features.intent import band
from personalization.features.specification import FEATURES, INDEX
from personalization.learning import frames as reading
from personalization.learning import jobs
from personalization.learning.board import board
from personalization.models import Event, Job, ModelVersion, ScoreSet, Shopper, ShopperScores
from personalization.types import JobKind, ModelTask
from tests.worker import buyers
from tests.worker.population import DAY
from worker import gate, intent, score, train
from worker.data import Vocabularies
from worker.gate import Verdict
from worker.intent import PURCHASE, Problem
from worker.train import Outcome
from worker.versions import Loaded

pytestmark = pytest.mark.usefixtures("db", "models", "short_training")
PARAMS = {"parts": ["intent"], "population": "shop"}
DAYS = 7


def silent(what: object, done: float) -> None:
    """Say nothing."""


def frames(until: datetime = buyers.END) -> Frames:
    return reading.load("shop", until)


def pose(until: datetime = buyers.END) -> Problem:
    return intent.pose(frames(until), DAYS)


def run(until: datetime = buyers.END, job: Job | None = None, **params: Any) -> Outcome:
    return train.run(job, PARAMS | params, silent, until=until)


def judged(problem: Problem) -> Verdict:
    fitted, test = intent.backtest(problem, seed=0, stage=silent)
    return gate.judge_intent(fitted, test, tuple(intent.REGISTRY), None, seed=0)


def scored(until: datetime = buyers.END, job: Job | None = None) -> ScoreSet:
    found = score.run(job, {"population": "shop"}, silent, until=until)
    found.refresh_from_db()
    return found


def intents(score_set: ScoreSet) -> dict[int, Any]:
    rows = ShopperScores.objects.filter(score_set=score_set)
    return dict(rows.values_list("shopper_id", "intent"))


def test_regulars_are_told_from_the_others() -> None:
    people = buyers.build()
    outcome = run()
    (champion,) = outcome.promoted
    assert champion.estimator != "base_rate"
    assert (champion.task, champion.card["intent_days"], champion.cutoff_at) == (ModelTask.INTENT, DAYS, buyers.END)
    figures = {version.estimator: version.metrics["board"] for version in outcome.versions}
    assert list(figures) == list(intent.REGISTRY)
    assert figures["base_rate"]["auc"] == [0.5, 0.5, 0.5]
    for name in ("recency_frequency", "logistic", "boosting"):
        value, low, _high = figures[name]["auc"]
        assert value > low > 0.65, name
        assert figures[name]["log_loss"][2] < figures["base_rate"]["log_loss"][0], name
    found = intents(scored())
    regular, rare = (np.mean([found[one.pk] for one in half]) for half in (people[:100], people[100:]))
    # 7 days of a Poisson process: 1 - exp(-7 / 6) = .69 and 1 - exp(-7 / 45) = .14
    assert regular == pytest.approx(0.69, abs=0.1)
    assert rare == pytest.approx(0.14, abs=0.1)


def test_shuffled_labels_give_no_model(monkeypatch: pytest.MonkeyPatch) -> None:
    buyers.build()
    plain = intent.pairs

    def shuffled(*args: Any, seed: int) -> Any:
        rows, bought = plain(*args, seed=seed)
        return rows, np.random.default_rng(seed + 9).permutation(bought)

    monkeypatch.setattr(intent, "pairs", shuffled)
    verdict = judged(pose())
    assert verdict.champion is None
    assert all(0.35 < figures["auc"][0] < 0.65 for figures in verdict.board.values())
    assert str(verdict.reasons[-1]).startswith("base_rate: refused too. It predicts the same for everybody.")


def test_every_label_was_known_when_the_test_began() -> None:
    buyers.build()
    problem = pose()
    test, *earlier = problem.moments
    assert test + problem.span == milliseconds(buyers.END) + 1  # the last thing that happened still counts
    assert all(moment + problem.span <= test for moment in earlier)
    assert min(earlier) >= milliseconds(buyers.START) + 28 * DAY_MS
    assert len(earlier) == 4


def test_a_label_is_an_order_within_the_days_after() -> None:
    buyers.build()
    problem = pose()
    moment = problem.moments[1]
    rows, bought = intent.pairs(problem, [moment], seed=0)
    start, end = (datetime.fromtimestamp(at / 1000, tz=buyers.END.tzinfo) for at in (moment, moment + problem.span))
    buying = set(Event.objects.filter(occurred_at__gte=start, occurred_at__lt=end).values_list("shopper_id", flat=True))
    ids = problem.builder.frames.shoppers.ids[rows.shopper]
    assert [pk in buying for pk in ids.tolist()] == (bought == 1).tolist()
    assert 0 < bought.mean() < 1


def test_who_came_later_is_not_asked_about() -> None:
    """They are in the log because they bought: with them every newcomer would be a buyer, known from the future."""
    people = buyers.build()
    newcomer = Shopper.objects.create(consent_personalisation=True, joined_at=buyers.END - DAY)
    buyers.order(newcomer, buyers.END - DAY / 2, "new").save()
    silent_one = Shopper.objects.create(consent_personalisation=True, joined_at=buyers.START)
    problem = pose()
    at_the_test = problem.builder.frames.shoppers.ids[intent.known_by(problem, problem.moments[0])].tolist()
    assert newcomer.pk not in at_the_test
    assert {silent_one.pk, *(person.pk for person in people)} == set(at_the_test)


def test_only_the_shoppers_own_columns_are_seen() -> None:
    buyers.build()
    problem = pose()
    rows, bought = intent.pairs(problem, problem.moments, seed=0)
    samples = intent.assemble(problem.builder, rows, bought, Vocabularies.fit(problem.builder, rows))
    seen = {feature.group for feature in FEATURES if not np.isnan(samples.x[:, INDEX[feature.name]]).all()}
    assert seen == {"profile", "behaviour"}
    assert np.isnan(samples.x[:, INDEX["category_share"]]).all()  # of an offer's category
    assert np.isnan(np.delete(samples.y, PURCHASE, axis=1)).all()


def meddle(after: datetime) -> None:
    """Change everything that happened after a moment, and add to it."""
    Event.objects.filter(occurred_at__gt=after).update(type="product_viewed", value_minor=None)
    people = Shopper.objects.order_by("pk")[::2]
    Event.objects.bulk_create(buyers.order(one, after + DAY / 24, f"later-{one.pk}", 9_999_00) for one in people)
    Shopper.objects.create(consent_personalisation=True, joined_at=after + DAY)


def test_nothing_after_the_cut_off_changes_anything() -> None:
    buyers.build()
    until = buyers.END - 3 * DAY
    before, told = run(until), intents(scored(until))
    meddle(until)
    after, again = run(until), intents(scored(until))
    assert [version.sha256 for version in before.versions] == [version.sha256 for version in after.versions]
    assert {pk: again[pk] for pk in told} == told


def test_the_cut_off_test_can_fail() -> None:
    """The negative control: until the end, the same changes do show."""
    buyers.build()
    before, told = run(), intents(scored())
    meddle(buyers.END - 3 * DAY)
    assert [version.sha256 for version in before.versions] != [version.sha256 for version in run().versions]
    assert {pk: score for pk, score in intents(scored()).items() if pk in told} != told


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"days": 40}, r"The log spans 40 of 49 days: 28 of history, then 3 times the 7 days"),
        ({"people": 12}, r"20 of 48 samples to learn from have a purchase: at least 100 with one and 100 without"),
    ],
)
def test_too_little_is_said(given: dict[str, int], sentence: str) -> None:
    buyers.build(**given)
    with pytest.raises(NotEnoughData, match=rf"^No purchase intent: {sentence}"):
        run(buyers.START + given.get("days", buyers.DAYS) * DAY)
    assert not ModelVersion.objects.exists()


def test_a_quiet_week_cannot_be_tested_on() -> None:
    buyers.build()
    Event.objects.filter(occurred_at__gt=buyers.END - 7 * DAY, occurred_at__lt=buyers.END).delete()
    with pytest.raises(NotEnoughData, match=r"1 of 200 samples to test on have a purchase: at least 30"):
        run()


def test_who_may_not_be_learnt_from_is_not() -> None:
    people = buyers.build()
    Shopper.objects.filter(pk=people[0].pk).update(consent_personalisation=False)
    Shopper.objects.filter(pk=people[1].pk).update(is_bot=True)
    Shopper.objects.filter(pk=people[2].pk).update(merged_into=people[3])
    problem = pose()
    rows, _bought = intent.pairs(problem, problem.moments, seed=0)
    learnt_from = set(problem.builder.frames.shoppers.ids[rows.shopper].tolist())
    assert learnt_from == {person.pk for person in people[3:]}


def test_many_shoppers_are_thinned_out_evenly(monkeypatch: pytest.MonkeyPatch) -> None:
    buyers.build()
    monkeypatch.setattr(intent, "MOST_ROWS", 240)
    problem = pose()
    rows, _bought = intent.pairs(problem, problem.moments[1:], seed=0)
    assert np.unique(rows.time, return_counts=True)[1].tolist() == [60] * 4


def test_the_same_seed_gives_the_same_files() -> None:
    buyers.build()
    first, second = run(), run()
    assert [version.sha256 for version in first.versions] == [version.sha256 for version in second.versions]


@pytest.mark.parametrize("name", list(intent.REGISTRY))
def test_an_estimator_comes_back_from_its_file(name: str) -> None:
    buyers.build()
    version = next(one for one in run().versions if one.estimator == name)
    loaded = Loaded(version)
    found = frames()
    problem = intent.pose(found, DAYS)
    if version.cutoff_at == buyers.END:  # the champion was fitted again, on the test too
        everybody = np.arange(len(found.shoppers))
        assert np.ptp(intent.likelihood(loaded, problem.builder, everybody, found.until)) > 0.2
        return
    shopper = intent.known_by(problem, problem.moments[0])
    again = intent.likelihood(loaded, problem.builder, shopper, problem.moments[0] - 1)
    np.testing.assert_allclose(again, loaded.backtest["probability"][:, PURCHASE], atol=1e-6)


def test_recency_and_frequency_see_two_columns() -> None:
    buyers.build()
    problem = pose()
    rows, bought = intent.pairs(problem, problem.moments, seed=0)
    samples = intent.assemble(problem.builder, rows, bought, Vocabularies.fit(problem.builder, rows))
    estimator = intent.RecencyFrequency()
    estimator.fit(samples, seed=0, progress=lambda done: None)
    before = estimator.score(samples)
    samples.x[:, INDEX["spend_28d"]] += 100
    np.testing.assert_array_equal(before, estimator.score(samples))
    samples.x[:, INDEX["orders_per_day"]] += 1
    assert (before != estimator.score(samples)).any()


def test_it_is_one_of_the_parts_of_a_training(capsys: pytest.CaptureFixture[str], in_one_transaction: None) -> None:
    buyers.build()
    call_command("train", "--parts", "intent", "--until", buyers.END.isoformat())
    printed = capsys.readouterr().out
    assert "intent · shop" in printed
    assert "Purchase intent within 7 days, 200 shoppers tested:" in printed
    assert {row.task for row in board("shop")} == {"intent"}


def test_a_cancelled_training_promotes_nothing() -> None:
    buyers.build()
    jobs.enqueue(JobKind.TRAIN, PARAMS)
    job = jobs.lease("one")
    assert job is not None

    def cancel(what: object, done: float) -> None:
        if what == "publishing":
            assert jobs.cancel(job)

    with pytest.raises(LeaseLost):
        train.run(job, PARAMS, cancel, until=buyers.END)
    assert not ModelVersion.objects.exists()


def test_the_span_is_a_setting(settings: Any) -> None:
    settings.PERSONALIZATION = {**settings.PERSONALIZATION, "INTENT_DAYS": 5}
    buyers.build()
    run()
    assert scored().intent_days == 5


def test_a_score_set_knows_its_bands() -> None:
    buyers.build()
    run()
    score_set = scored()
    assert score_set.intent_version == ModelVersion.objects.get(task="intent", state="champion")
    names = [band(value, score_set) for value in intents(score_set).values()]
    shares = [names.count(name) / len(names) for name in ("low", "middle", "high")]
    assert shares == pytest.approx([0.5, 0.3, 0.2], abs=0.06)


def test_without_a_model_there_is_no_intent() -> None:
    buyers.build()
    run()
    version = ModelVersion.objects.get(task="intent", state="champion")
    ModelVersion.objects.filter(pk=version.pk).update(task="preference", estimator="popularity")
    score_set = scored()
    assert set(intents(score_set).values()) == {None}
    assert (score_set.intent_version, score_set.intent_days, score_set.intent_low) == (None, None, None)


def test_a_half_done_scoring_is_not_gone_on_with_by_another_model() -> None:
    """Scores of two models in one set would not be comparable."""
    buyers.build()
    run()
    jobs.enqueue(JobKind.SCORE, {"population": "shop"})
    job = jobs.lease("one")

    def killed(what: object, done: float) -> None:
        if what == "scoring":
            raise SystemExit

    with pytest.raises(SystemExit):
        score.run(job, {"population": "shop"}, killed, until=buyers.END)
    half = ScoreSet.objects.get()
    run()
    assert scored(job=job) != half


def test_who_withdrew_meanwhile_has_no_score() -> None:
    people = buyers.build()
    run()

    def withdraws(what: object, done: float) -> None:
        Shopper.objects.filter(pk=people[0].pk).update(consent_personalisation=False)

    score_set = score.run(None, {"population": "shop"}, withdraws, until=buyers.END)
    assert set(intents(score_set)) == {person.pk for person in people[1:]}
