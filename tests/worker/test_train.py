"""A training run from end to end: it judges, promotes, uses nothing later than its cut-off, and is all or nothing."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from personalization.exceptions import ArtifactCorrupt, LeaseLost, NotEnoughData
from personalization.features.compute import KINDS, FeatureBuilder, Rows
from personalization.learning import frames as reading
from personalization.learning import jobs, registry
from personalization.learning import wordings as words
from personalization.learning.rollback import roll_back
from personalization.learning.sentences import Sentence, of_error
from personalization.models import Event, Exposure, Job, ModelVersion, Shopper
from personalization.types import JobKind, ModelTask
from tests.worker import population
from tests.worker.population import DAY, Population
from worker import artifacts, data, gate, rankers, response, train
from worker.attractiveness.race import REGISTRY as ATTRACTIVENESS
from worker.estimators.four_part import FourPartEstimator
from worker.estimators.nets import Net
from worker.parts import preference
from worker.response import LINE_UP
from worker.train import Outcome, population_of
from worker.versions import Loaded

QUICK = population.QUICK


def crown_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the gate pass the most complex estimator, whatever its figures."""
    real = gate.judge

    def generous(fitted: Any, test: Any, **given: Any) -> gate.Verdict:
        return replace(real(fitted, test, **given), champion=fitted[-1].name, promoted=True)

    monkeypatch.setattr(gate, "judge", generous)


def silent(what: object, done: float) -> None:
    """Say nothing."""


def run(params: dict[str, Any] | None = None, until: datetime = population.END, job: Job | None = None) -> Outcome:
    return train.run(job, QUICK if params is None else params, silent, until=until)


def leased(kind: JobKind = JobKind.TRAIN) -> Job:
    jobs.enqueue(kind)
    job = jobs.lease("one")
    assert job is not None
    return job


def boards(outcome: Outcome) -> dict[str, Any]:
    return {f"{version.task}/{version.estimator}": version.metrics["board"] for version in outcome.versions}


@pytest.mark.usefixtures("short_training")
def test_all_of_it(shop: Population, models: Path) -> None:
    """The line-up is on the board, one of each task reigns, and each comes back from its file."""
    told: list[tuple[str, float]] = []
    job = leased()
    outcome = train.run(job, {}, lambda what, done: told.append((str(what), done)), until=population.END)
    assert "Strategy: four_part ships, compared with nothing yet." in map(str, outcome.sentences)
    by_task: dict[str, list[str]] = {}
    for version in ModelVersion.objects.order_by("pk"):
        by_task.setdefault(version.task, []).append(version.estimator)
    assert by_task == {
        "response": list(LINE_UP), "strategy": ["four_part"], "preference": list(rankers.LINE_UP),
        "attractiveness": list(ATTRACTIVENESS),
    }  # fmt: skip
    champions = ModelVersion.objects.filter(state=ModelVersion.State.CHAMPION)
    assert sorted(champions.values_list("task", flat=True)) == ["attractiveness", "preference", "response", "strategy"]
    board = {v.estimator: v.metrics["board"] for v in outcome.versions if v.task == "response"}
    assert board["logistic"]["auc"][0] > 0.7 > board["offer_mean"]["auc"][0]
    assert board["boosting"]["auc"][0] > 0.7
    for figures in board.values():
        assert all(low <= high for _value, low, high in figures.values())
    row = Job.objects.get(pk=job.pk)
    assert row.state == "succeeded"
    assert row.result["versions"] == [version.pk for version in outcome.versions]
    assert set(row.result["champions"]) == {"attractiveness", "preference", "response", "strategy"}
    shares = [done for _what, done in told]
    assert shares == sorted(shares)
    assert {f"training {name}" for name in LINE_UP} <= {what for what, _done in told}
    for version in ModelVersion.objects.filter(task__in=["response", "strategy"]):
        loaded = Loaded(version)
        assert loaded.estimator.name == version.estimator
        assert sum(version.card["importances"].values()) <= 1.001
        assert version.size_bytes == sum(path.stat().st_size for path in (models / version.path).iterdir())
    strategy = ModelVersion.objects.get(task="strategy")
    assert {row["name"]: row["passed"] for row in strategy.metrics["gate"]} == {
        "simpler": None, "reigning": None, "latency": True, "size": True, "hold": True,
    }  # fmt: skip
    assert isinstance(Loaded(strategy).estimator, FourPartEstimator)
    assert set(strategy.card["unseen"]) == set(KINDS) - {"coupon", "spend_threshold", "flash_sale"}
    curves = ModelVersion.objects.get(task="response", estimator="four_part").metrics["curves"]
    assert len(curves) >= 2


def test_what_was_judged_is_kept_with_the_version(shop: Population) -> None:
    """The test block's predictions travel in the file: on the last wave alone."""
    outcome = run()
    last = set(Exposure.objects.filter(exposed_at=population.wave(6), offer__isnull=False).values_list("pk", flat=True))
    for version in outcome.versions:
        if version.task == ModelTask.RESPONSE:
            kept = Loaded(version).backtest
            assert set(kept["exposure"].tolist()) == last
            assert kept["probability"].shape == kept["label"].shape == (len(last), 4)
    card = outcome.versions[0].card
    assert card["data"]["test_from"] == population.wave(6).isoformat()
    assert card["data"]["outcome_window_hours"] == 72


def test_every_card_tells_how_diverse_the_data_was(shop: Population) -> None:
    cards = {version.task: version.card["data"] for version in run().versions}
    shown = Exposure.objects.filter(offer__isnull=False)
    outcome = cards["response"]["diversity"]["outcome"]
    redeemed = shown.filter(redeemed_at__isnull=False).count()
    assert (outcome["head"], outcome["rows"], outcome["positives"]) == ("redeem", shown.count(), redeemed)
    assert {name for name, _rows, _positives in outcome["offers"]} == {offer.name for offer in shop.offers}
    assert "outcome" not in cards["preference"]["diversity"]
    assert cards["preference"]["diversity"]["counts"]["items_turned_to"] == population.ITEMS
    assert cards["preference"]["from"] == cards["response"]["from"]


def test_only_what_ships_is_fitted_up_to_the_cut_off(shop: Population) -> None:
    cutoffs = {version.estimator: version.cutoff_at for version in run().versions if version.task == "response"}
    champion = ModelVersion.objects.get(task="response", state=ModelVersion.State.CHAMPION).estimator
    assert champion == "logistic"
    assert cutoffs == {"logistic": population.END, "offer_mean": population.wave(6)}


def meddle(after: datetime) -> None:
    """Change everything that happened after a moment, and add to it."""
    late = Exposure.objects.filter(exposed_at__gt=after)
    late.update(redeemed_at=None, viewed_at=after + 20 * DAY, revenue_minor=10**7, cost_minor=1)
    early = Exposure.objects.filter(exposed_at__lte=after)
    early.filter(redeemed_at__gt=after).update(redeemed_at=None, cost_minor=0)
    early.filter(purchased_at__gt=after).update(purchased_at=None, revenue_minor=0)
    early.filter(purchased_at=None).update(purchased_at=after + DAY / 24, revenue_minor=777_00)
    early.filter(viewed_at=None).update(viewed_at=after + DAY / 24)
    Event.objects.filter(occurred_at__gt=after).update(type="search_performed", value_minor=None)
    people = list(Shopper.objects.all())
    Event.objects.bulk_create(
        Event(
            source="later", event_id=str(n), type="order_placed", shopper=people[n % len(people)],
            occurred_at=after + DAY / 24, value_minor=99_999_00,
            properties={"lines": [{"item_id": "shop-03", "quantity": 9}]},
        )
        for n in range(600)
    )  # fmt: skip
    Shopper.objects.create(consent_personalisation=True, attributes={"tier": "gold", "city": "Elsewhere"})


def test_nothing_after_the_cut_off_changes_anything(shop: Population, monkeypatch: pytest.MonkeyPatch) -> None:
    """Until two days after the fifth wave, while its windows are open: what came later changes no figure, no weight."""
    until = population.wave(5) + 2 * DAY
    params = {**QUICK, "min_exposures": 300}
    # Half of the waves are gone: folds have to be content with 300 training rows.
    monkeypatch.setattr(response, "folds", lambda *a, **k: data.folds(*a, **{**k, "min_train": 300}))
    before = run(params, until)
    meddle(until)
    after = run(params, until)
    assert boards(before) == boards(after)
    assert [version.sha256 for version in before.versions] == [version.sha256 for version in after.versions]
    assert len(boards(before)) == 5


def test_the_cut_off_test_can_fail(shop: Population) -> None:
    """The negative control: trained until the end, the same changes do show."""
    before = run()
    meddle(population.wave(5) + 2 * DAY)
    assert boards(before) != boards(run())


def test_the_same_seed_gives_the_same_files(shop: Population) -> None:
    first, second = run(), run()
    assert [version.sha256 for version in first.versions] == [version.sha256 for version in second.versions]
    other = run({**QUICK, "seed": 5})
    assert boards(other)["response/logistic"] != boards(first)["response/logistic"]


@pytest.mark.usefixtures("short_training")
def test_a_blend_brings_its_members(shop: Population) -> None:
    versions = [version for version in run({"estimators": ["blend"]}).versions if version.task == "response"]
    assert [version.estimator for version in versions] == ["boosting", "four_part", "blend"]


@pytest.mark.usefixtures("short_training")
@pytest.mark.parametrize("name", ["deepfm", "mmoe"])
def test_a_net_that_is_asked_for_is_judged_and_can_ship(
    name: str, shop: Population, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On the board beside the others; were it the best, its file would hold what everything has taught it."""
    crown_the_last(monkeypatch)
    outcome = run({**QUICK, "estimators": ["offer_mean", name]})
    version = ModelVersion.objects.get(task="response", state=ModelVersion.State.CHAMPION)
    assert version.estimator == name
    assert version.metrics["board"]["auc"][0] > boards(outcome)["response/offer_mean"]["auc"][0]
    assert len(version.metrics["curves"]) >= 2
    assert version.card["importances"]
    loaded = Loaded(version).estimator
    assert isinstance(loaded, Net)
    assert 1 <= loaded.epochs <= len(loaded.curves)


def test_training_again_on_the_same_data_keeps_the_champion(shop: Population) -> None:
    """A tie keeps what reigns; a ranker is fitted anew for every scoring, so that its newer figures take over."""
    first, second = run(), run()
    states = {(one.task, one.pk): one.state for one in ModelVersion.objects.exclude(state="candidate")}
    before = {one.task: one.pk for one in first.promoted}
    assert states["response", before["response"]] == "champion"
    assert states["preference", before["preference"]] == "retired"
    assert [one.task for one in second.promoted] == ["preference"]
    assert any("logistic: not promoted, logistic #" in str(sentence) for sentence in second.sentences)


def test_a_champion_that_others_beat_is_retired(shop: Population) -> None:
    first = run({**QUICK, "estimators": ["offer_mean"]})
    second = run()
    states = dict(ModelVersion.objects.values_list("pk", "state"))
    assert {states[version.pk] for version in first.promoted} == {"retired"}
    assert {states[version.pk] for version in second.promoted} == {"champion"}
    winner = next(version for version in second.versions if version.metrics.get("challenger"))
    assert {"reigning", "simpler", "calibration", "latency", "size", "fairness", "hold", "distinct"} == {
        check["name"] for check in winner.metrics["gate"]
    }


@pytest.mark.parametrize("decided", [True, False], ids=["and staff roll back meanwhile", "undisturbed"])
def test_staff_who_roll_back_while_a_training_runs_have_the_last_word(decided: bool, shop: Population) -> None:
    """It was judged against one that reigns no more; without the rollback (the control) the same training promotes."""
    first, second = run({**QUICK, "estimators": ["offer_mean"]}), run({**QUICK, "estimators": ["offer_mean"]})
    former, reigning = (each.versions[0] for each in (first, second))
    registry.promote(reigning)

    def at_the_end(what: object, done: float) -> None:
        if what == "publishing" and decided:
            roll_back(ModelTask.RESPONSE, former.population)

    job = leased()
    outcome = train.run(job, QUICK, at_the_end, until=population.END)
    champion = registry.champion(ModelTask.RESPONSE, former.population)
    assert champion is not None
    assert (champion == former) is decided
    said = [str(sentence) for sentence in outcome.sentences if "promoted after all" in str(sentence)]
    result = Job.objects.get(pk=job.pk).result
    if not decided:
        assert (champion.estimator, said, result["in_shadow"]) == ("logistic", [], None)
        return
    assert said == [str(Sentence(words.OVERTAKEN, {"estimator": "logistic", "rival": str(former)}))]
    assert "response" not in result["champions"]
    assert ModelVersion.objects.get(pk=result["in_shadow"]).estimator == "logistic"


def test_nothing_shows_before_the_run_is_done(shop: Population) -> None:
    seen: list[int] = []
    train.run(None, QUICK, lambda what, done: seen.append(ModelVersion.objects.count()), until=population.END)
    assert set(seen) == {0}
    assert ModelVersion.objects.count() == 5


def test_a_cancelled_job_publishes_nothing(shop: Population, models: Path) -> None:
    """Cancelled at the very end, after every model is written: no row, no file, no champion."""
    run()
    before = set(ModelVersion.objects.values_list("pk", "state"))
    files = sorted(path.name for path in models.iterdir())
    job = leased()

    def cancel_at_the_end(what: object, done: float) -> None:
        if what == "publishing":
            assert jobs.cancel(job)

    with pytest.raises(LeaseLost):
        train.run(job, QUICK, cancel_at_the_end, until=population.END)
    assert set(ModelVersion.objects.values_list("pk", "state")) == before
    assert sorted(path.name for path in models.iterdir()) == files
    assert Job.objects.get(pk=job.pk).state == "cancelled"


def test_without_the_fence_a_cancelled_job_would_publish(shop: Population, monkeypatch: pytest.MonkeyPatch) -> None:
    """The negative control."""
    job = leased()
    monkeypatch.setattr(jobs, "_ours", lambda job: Job.objects.filter(pk=job.pk))

    def cancel(what: object, done: float) -> None:
        jobs.cancel(job)

    train.run(job, QUICK, cancel, until=population.END)
    assert ModelVersion.objects.filter(state=ModelVersion.State.CHAMPION).count() == 2


def test_a_crash_halfway_leaves_nothing(shop: Population, models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*args: Any, **kwargs: Any) -> None:
        raise MemoryError

    monkeypatch.setattr(preference, "train", broken)
    with pytest.raises(MemoryError):
        run()
    assert not ModelVersion.objects.exists()
    assert list(models.iterdir()) == []


def test_scores_are_asked_for_with_the_new_champions(shop: Population) -> None:
    run({**QUICK, "score": True}, job=leased())
    (job,) = Job.objects.filter(kind="score")
    assert job.params == {"population": "shop"}


def test_what_is_missing_for_one_part_does_not_stop_the_other(shop: Population, settings: Any) -> None:
    settings.PERSONALIZATION = {**settings.PERSONALIZATION, "MIN_EXPOSURES": 50_000}
    outcome = run()
    assert {version.task for version in outcome.versions} == {"preference"}
    assert any(str(sentence).startswith("No response models: 1,") for sentence in outcome.sentences)


def test_people_who_are_all_alike_train_too(models: Path, db: None) -> None:
    """Constant profiles, no past: every feature but the offer's is constant, and the offer mean is all there is."""
    population.build(alike=True)
    outcome = run()
    assert [version.estimator for version in outcome.promoted] == ["offer_mean"]
    assert any("No preference rankers" in str(sentence) for sentence in outcome.sentences)


@pytest.mark.parametrize(
    ("outcomes", "sentence"),
    [("none", "No exposure has any recorded outcome yet."), ("all", "The outcome redeem needs both classes")],
)
def test_one_class_only_is_said(outcomes: str, sentence: str, models: Path, db: None) -> None:
    population.build(outcomes=outcomes, alike=True)
    with pytest.raises(NotEnoughData) as refused:
        run()
    assert sentence in str(of_error(refused.value))


def test_no_data_is_said(models: Path, db: None) -> None:
    with pytest.raises(NotEnoughData, match="There are no events in the population shop"):
        train.run(None, {}, silent)


def test_a_populations_name_is_looked_up(db: None, settings: Any) -> None:
    assert population_of(None) == "shop"
    Shopper.objects.create(population="games")
    assert population_of(None) == "games"
    Shopper.objects.create(population="shop")
    assert population_of(None) == "shop"
    assert population_of("games") == "games"
    settings.PERSONALIZATION = {**settings.PERSONALIZATION, "POPULATION": "games"}
    assert population_of(None) == "games"
    with pytest.raises(NotEnoughData, match=r"no shoppers in the population x\. Known: games, shop"):
        population_of("x")


def test_a_version_of_other_features_is_refused(shop: Population, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its columns would mean something else: a clear refusal instead of silent nonsense."""
    version = run().versions[0]
    monkeypatch.setattr("worker.versions.FEATURES_VERSION", "another")
    with pytest.raises(ArtifactCorrupt, match=r"earlier set of features. Train again\."):
        Loaded(version)


def test_a_damaged_file_is_refused(shop: Population, models: Path) -> None:
    version = run().versions[0]
    path = models / version.path / artifacts.WEIGHTS
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ArtifactCorrupt):
        Loaded(version)


def test_predictions_come_back_from_the_file(shop: Population) -> None:
    """What was judged is what the version predicts: the backtest's fit, read back, on its own test rows."""
    version = next(one for one in run().versions if one.estimator == "offer_mean")
    loaded = Loaded(version)
    frames = reading.load("shop", population.END)
    place = {int(pk): row for row, pk in enumerate(frames.exposures.id)}
    chosen = np.array([place[int(pk)] for pk in loaded.backtest["exposure"]])
    rows = frames.exposures.take(chosen)
    samples = data.assemble(
        FeatureBuilder(frames), Rows(rows.shopper, rows.offer, rows.time, rows.window_end), data.labels(frames)[chosen],
        rows.id, loaded.vocabularies,
    )  # fmt: skip
    again = loaded.calibrator.apply(loaded.estimator.score(samples))
    np.testing.assert_allclose(again, loaded.backtest["probability"], atol=1e-6)
