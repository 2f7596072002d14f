"""What people type: train, board, evaluate, score, forecast; each says clearly what is missing."""

from __future__ import annotations

import json
import re
from datetime import timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import polars
import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.utils import timezone

from personalization.learning import jobs
from personalization.models import (
    Campaign,
    Event,
    Exposure,
    Forecast,
    Job,
    ModelVersion,
    ScoreSet,
    Shopper,
    ShopperAlias,
)
from personalization.ports.money import money
from personalization.tracking import secrets
from personalization.types import HEADS, JobKind
from tests.admin.builders import make_version
from tests.support import build
from tests.worker import population
from tests.worker.population import DAY, Population
from worker import train as training
from worker.parts import preference

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("models", "in_one_transaction")]
QUICK = (
    *("--estimators", "offer_mean", "logistic", "--rankers", "popularity", "frequency", "transitions"),
    *("--parts", "response", "preference", "intent"),
)
COLUMNS = {
    "shopper": polars.String,
    "offer": polars.String,
    "decision_time": polars.Datetime("us", "UTC"),
    "label": polars.Int64,
    "probability": polars.Float64,
    "model": polars.String,
    "version": polars.Int64,
    "head": polars.String,
    "split": polars.String,
}


def typed(*arguments: str) -> str:
    """Run a command and return what it printed to its own stream."""
    out = StringIO()
    call_command(*arguments, stdout=out)
    return out.getvalue()


def train(*arguments: str) -> None:
    call_command("train", *QUICK, "--until", population.END.isoformat(), *arguments)


def test_readiness_tells_what_is_there_and_what_is_lopsided(shop: Population) -> None:
    offer = shop.offers[-1]
    Exposure.objects.exclude(offer=None).exclude(offer=offer).update(redeemed_at=None)
    before = training.run(None, population.QUICK, lambda what, done: None, until=population.END)
    printed = typed("readiness", "--until", population.END.isoformat())
    assert "exposures whose outcome is known (300 needed): enough" in printed
    assert f"! One offer, “{offer.name}”, gives 100 % of the outcomes" in printed
    told = json.loads(typed("readiness", "--until", population.END.isoformat(), "--json"))
    assert told["diversity"] == before.versions[0].card["data"]["diversity"]
    assert any(warning.startswith("One offer") for warning in told["warnings"])
    assert "Missing: age" not in printed
    assert "Not used: age: protected, and PROTECTED_USES does not allow it" in printed
    assert "Model, strategy: none in service yet" in printed
    assert told["models"] == [line for line in printed.splitlines() if line.startswith("Model, ")]
    assert len(told["models"]) == 5


def test_readiness_of_a_shop_without_offers_tells_of_the_shop_alone(shop: Population) -> None:
    Exposure.objects.all().delete()
    told = json.loads(typed("readiness", "--json"))
    assert "outcome" not in told["diversity"]
    assert told["diversity"]["counts"]["items"] == population.ITEMS
    assert "0 exposures whose outcome is known (300 needed): not enough yet" in told["readiness"]


def test_readiness_of_a_shop_where_nothing_happened_says_what_it_needs() -> None:
    assert typed("readiness").count("not enough yet") == 4


@pytest.fixture
def trained(shop: Population) -> Population:
    train()
    return shop


def test_training_prints_its_progress_the_board_and_the_reasons(
    shop: Population, capsys: pytest.CaptureFixture[str]
) -> None:
    train()
    printed = capsys.readouterr().out
    assert "Training (shop): training logistic" in printed
    assert "response · shop" in printed
    assert "preference · shop" in printed
    assert "champion" in printed
    assert "Response, judged on redeem: logistic ships." in printed
    assert "logistic: Better than offer_mean" in printed
    job = Job.objects.get()
    assert (job.state, job.cutoff_at) == ("succeeded", population.END)
    assert job.params == {"population": "shop", "seed": 0, **population.QUICK}


def test_a_date_without_a_time_will_do(shop: Population) -> None:
    call_command("train", *QUICK, "--until", "2026-02-20")
    assert Job.objects.get().cutoff_at == population.END.replace(hour=0)


@pytest.mark.parametrize("wrong", ["yesterday", "2026-13-01", "2026-02-30"])
def test_a_wrong_date_is_refused(wrong: str, shop: Population) -> None:
    with pytest.raises(CommandError, match=r"is not a date\. Write it like 2026-05-01"):
        call_command("train", "--until", wrong)
    assert not Job.objects.exists()


@pytest.mark.parametrize("command", ["train", "tune", "readiness", "teach", "shadow"])
def test_the_future_is_refused(command: str, shop: Population, tmp_path: Path) -> None:
    more = {"tune": ["transitions"], "teach": [str(tmp_path / "lesson")]}.get(command, [])
    with pytest.raises(CommandError, match=r"2090-01-01 lies in the future\. Leave --until out"):
        call_command(command, *more, "--until", "2090-01-01")
    assert not Job.objects.exists()


def test_without_data_it_says_so() -> None:
    with pytest.raises(CommandError, match=r"no shoppers in the population shop\. Known: –\."):
        call_command("train")
    build.shopper()
    with pytest.raises(CommandError, match="There are no events in the population shop"):
        call_command("train")
    assert set(Job.objects.values_list("state", flat=True)) == {"failed"}


def test_an_unknown_population_is_named() -> None:
    build.shopper()
    for command in ("train", "board", "score", "evaluate"):
        with pytest.raises(CommandError, match=r"no shoppers in the population x\. Known: shop\."):
            call_command(command, "--population", "x")


@pytest.mark.parametrize(
    ("outcomes", "sentence"),
    [
        ("none", "No response models: No exposure has any recorded outcome yet."),
        ("all", "No response models: The outcome redeem needs both classes: 1,2"),
    ],
)
def test_one_class_only_is_explained(outcomes: str, sentence: str) -> None:
    population.build(outcomes=outcomes, alike=True)
    build_one_event()
    with pytest.raises(CommandError) as caught:
        train()
    assert sentence in str(caught.value)
    assert "No preference rankers: 0 of 200 order lines with known products." in str(caught.value)
    assert "Traceback" not in str(caught.value)
    assert not ModelVersion.objects.exists()


def build_one_event() -> None:
    person = Shopper.objects.first()
    assert person is not None
    Event.objects.create(source="t", event_id="1", type="page_viewed", shopper=person, occurred_at=population.END)


def test_few_exposures_are_counted(shop: Population, settings: Any) -> None:
    settings.PERSONALIZATION = {**settings.PERSONALIZATION, "MIN_EXPOSURES": 5000}
    Event.objects.all().delete()
    build_one_event()
    with pytest.raises(CommandError, match=r"1,\d\d\d of 5,000 exposures whose outcome is known"):
        train()


def test_fewer_exposures_may_be_allowed(shop: Population, settings: Any) -> None:
    settings.PERSONALIZATION = {**settings.PERSONALIZATION, "MIN_EXPOSURES": 5000}
    train("--min-exposures", "1000")
    assert ModelVersion.objects.filter(task="response", state="champion").count() == 1


def test_the_number_of_exposures_is_taken_as_typed(shop: Population) -> None:
    """What a model cannot do without, both outcomes, is asked for in its own words."""
    Exposure.objects.exclude(pk__in=Exposure.objects.order_by("pk").values("pk")[:150]).delete()
    with pytest.raises(CommandError, match=r"needs both classes: .* at least 100 of each"):
        call_command("train", "--parts", "response", "--min-exposures", "5", "--until", population.END.isoformat())
    assert Job.objects.get().params["min_exposures"] == 5
    for command in (("train",), ("tune", "logistic")):
        with pytest.raises(CommandError, match="'0' is not a whole number from 1 on"):
            call_command(*command, "--min-exposures", "0")


def test_the_constant_feature_is_no_obstacle(models: Path) -> None:
    """Everybody is forty and basic, nobody has a past: there is an answer, and a reason for it."""
    population.build(alike=True)
    build_one_event()
    train()
    assert ModelVersion.objects.get(state="champion").estimator == "offer_mean"


def test_the_board_needs_a_training() -> None:
    build.shopper()
    with pytest.raises(CommandError, match="Nothing has been trained for 'shop' yet"):
        call_command("board")


def test_the_board_as_json(trained: Population) -> None:
    rows = json.loads(typed("board", "--json"))
    assert [(row["task"], row["estimator"], row["champion"]) for row in rows if row["champion"]] == [
        ("response", "logistic", True),
        ("preference", rows[2]["estimator"], True),
    ]
    figures = next(row["metrics"] for row in rows if row["estimator"] == "logistic")
    value, low, high = figures["auc"]
    assert 0.5 < low < value < high < 1


def test_a_champion_of_before_is_told_as_such(trained: Population, capsys: pytest.CaptureFixture[str]) -> None:
    mark = "(judged in an earlier training)"
    call_command("board")
    assert mark not in capsys.readouterr().out
    reigning = ModelVersion.objects.get(task="response", state="champion")
    given = {"task": "response", "estimator": "newcomer", "path": "p", "sha256": "0", "size_bytes": 1}
    ModelVersion.objects.create(**given, job=Job.objects.create(kind="train"), cutoff_at=reigning.cutoff_at)
    call_command("board")
    lines = [line for line in capsys.readouterr().out.splitlines() if mark in line]
    assert len(lines) == 1
    assert f"{reigning.estimator} #{reigning.pk} {mark}" in lines[0]


def test_evaluation_as_json(trained: Population) -> None:
    printed = json.loads(typed("evaluate", "--json"), parse_constant=pytest.fail)
    assert printed["population"] == "shop"
    models = {model["model"]: model for model in printed["models"]}
    assert set(models) == {"offer_mean", "logistic"}
    champion = models["logistic"]
    assert champion["champion"]
    assert champion["head"] == "redeem"
    assert set(champion["metrics"]) == {"log_loss", "auc", "average_precision", "ece", "mse", "mae"}
    assert set(champion["metrics"]["auc"]) == {"value", "low", "high"}
    report = champion["report"]
    assert report["1"]["support"] + report["0"]["support"] == champion["rows"]
    weighed = sum(report[name]["recall"] * report[name]["support"] for name in ("0", "1")) / champion["rows"]
    assert report["accuracy"] == pytest.approx(weighed)


def test_evaluation_says_what_training_said(trained: Population) -> None:
    """Nothing has happened since: what shipped is judged by its backtest, and the figures are the board's."""
    models = {model["model"]: model for model in json.loads(typed("evaluate", "--json"))["models"]}
    assert models["logistic"]["split"] == "backtest"
    board = ModelVersion.objects.get(estimator="logistic").metrics["board"]
    for name in ("auc", "log_loss", "ece"):
        assert models["logistic"]["metrics"][name]["value"] == pytest.approx(board[name][0], abs=1e-4)


def test_what_has_matured_since_is_the_test(shop: Population) -> None:
    """Trained until after the fifth wave, judged on the sixth: nothing of the training is in the test."""
    until = population.wave(6) - DAY / 24
    call_command("train", *QUICK, "--until", until.isoformat(), "--min-exposures", "1000")
    assert not ModelVersion.objects.filter(task="response").exists()  # four waves before the test are too few
    train()
    ModelVersion.objects.filter(task="response").update(cutoff_at=until)
    build_one_event()
    models = json.loads(typed("evaluate", "--json"))["models"]
    sixth = Exposure.objects.filter(exposed_at=population.wave(6), offer__isnull=False)
    assert {(model["split"], model["rows"]) for model in models} == {("after_cutoff", sixth.count())}


def test_evaluation_as_a_table(trained: Population, capsys: pytest.CaptureFixture[str]) -> None:
    call_command("evaluate")
    printed = capsys.readouterr().out
    assert "evaluation · shop" in printed
    assert "redeem: test block of its training" in printed
    assert "calibration error" in printed
    assert "…" not in printed  # no column is cut off


def test_evaluation_needs_a_training(shop: Population) -> None:
    with pytest.raises(CommandError, match="No response model has been trained yet"):
        call_command("evaluate")


def test_predictions_are_written(trained: Population, tmp_path: Path) -> None:
    person = trained.shoppers[0]
    ShopperAlias.objects.create(shopper=person, kind=ShopperAlias.Kind.EXTERNAL, value="shop:customer-7")
    path = tmp_path / "predictions.parquet"
    typed("evaluate", "--predictions", str(path))
    frame = polars.read_parquet(path)
    assert dict(frame.schema) == COLUMNS
    last = Exposure.objects.filter(exposed_at=population.wave(6), offer__isnull=False)
    assert len(frame) == 2 * last.count()
    assert set(frame["model"]) == {"offer_mean", "logistic"}
    assert set(frame["offer"]) == {offer.attributes["external_id"] for offer in trained.offers}
    assert frame["probability"].is_between(0, 1).all()
    assert set(frame["label"]) == {0, 1}
    assert set(frame["head"]) == {"redeem"} <= set(HEADS)
    assert set(frame["decision_time"]) == {population.wave(6)}
    # The shop's own people leave it under pseudonyms, imported ids or not.
    assert set(frame["shopper"]) <= {secrets.pseudonym(shopper.key.hex) for shopper in trained.shoppers}
    assert not list(tmp_path.glob(".*.part"))
    once = frame.filter(model="logistic").group_by("shopper", "offer", "decision_time").len()
    assert once["len"].max() == 1


def test_a_wrong_folder_is_named(trained: Population, tmp_path: Path) -> None:
    with pytest.raises(CommandError, match=r"folder .*missing does not exist"):
        call_command("evaluate", "--predictions", str(tmp_path / "missing" / "p.parquet"))


def test_a_damaged_model_is_explained(trained: Population, models: Path) -> None:
    version = ModelVersion.objects.get(task="response", state="champion")
    for path in (models / version.path).iterdir():
        path.write_bytes(b"")
    for command in ("evaluate", "score"):
        with pytest.raises(CommandError, match="does not match the checksum"):
            call_command(command)


def test_scoring(trained: Population) -> None:
    scored = typed("score")
    assert "Scores of 240 shoppers are live." in scored
    assert "1 of 1 parts, 240 shoppers" in scored
    assert ScoreSet.objects.get().state == "live"


def test_scoring_needs_a_training(shop: Population) -> None:
    with pytest.raises(CommandError, match="Nothing has been trained yet"):
        call_command("score")


def test_a_forecast(trained: Population, capsys: pytest.CaptureFixture[str]) -> None:
    campaign = build.campaign(name="Spring", delivery=Campaign.Delivery.SENT)
    build.offer(campaign)
    call_command("forecast", str(campaign.pk))
    printed = capsys.readouterr().out
    assert "Forecast · Spring" in printed
    assert "redemptions" in printed
    assert "minor units" not in printed
    made = Forecast.objects.get()
    assert made.campaign == campaign
    (cost,) = (line for line in printed.splitlines() if "cost" in line)
    assert re.findall(r"€[\d,.]+", cost) == [money(round(figure), "EUR") for figure in made.figures["cost"]]


def test_a_forecast_needs_its_campaign_and_a_model(shop: Population) -> None:
    told = f"There is no campaign 999999. The newest: {shop.campaign.pk} ({shop.campaign.name})"
    with pytest.raises(CommandError, match=re.escape(told)):
        call_command("forecast", "999999")
    Campaign.objects.update(ends_at=timezone.now() + timedelta(days=1))
    with pytest.raises(CommandError, match="No response model has been trained yet"):
        call_command("forecast", str(shop.campaign.pk))
    assert not Job.objects.exists(), "refused before it is queued"
    make_version(task="response")
    with pytest.raises(CommandError, match=r"no response model has passed the gate: the board says why"):
        call_command("forecast", str(shop.campaign.pk))
    with pytest.raises(CommandError, match=r"no model has passed the gate: the board says why"):
        call_command("score")


@pytest.mark.parametrize(
    "over", [{"status": Campaign.Status.ENDED}, {"ends_at": timezone.now() - timedelta(minutes=1)}]
)
def test_nothing_is_forecast_of_a_campaign_that_is_over(trained: Population, over: dict[str, Any]) -> None:
    campaign = build.campaign(delivery=Campaign.Delivery.SENT, **over)
    build.offer(campaign)
    with pytest.raises(CommandError, match="This campaign is over: there is nothing left to forecast"):
        call_command("forecast", str(campaign.pk))
    assert not Forecast.objects.exists()
    assert not Job.objects.filter(kind=JobKind.FORECAST.value).exists(), "refused before it is queued"


def test_a_job_that_is_cancelled_meanwhile_is_said(shop: Population, monkeypatch: pytest.MonkeyPatch) -> None:
    real = preference.train

    def cancelled(*args: Any) -> None:
        real(*args)
        jobs.cancel(Job.objects.get(kind=JobKind.TRAIN.value))

    monkeypatch.setattr(preference, "train", cancelled)
    with pytest.raises(CommandError, match="ended as cancelled"):
        train()
    assert not ModelVersion.objects.exists()
