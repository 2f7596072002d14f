"""Scoring in shadow: nothing is served, nothing later is known, an interrupted run goes on, and outcomes decide."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from django.utils import timezone

from personalization.exceptions import LeaseLost, NotEnoughData
from personalization.learning import board, jobs, registry
from personalization.learning import shadow as kept
from personalization.models import Exposure, ExposurePrediction, Job, ModelVersion, ScoreSet, Shopper
from personalization.types import JobKind, ModelTask
from tests.admin.builders import make_version
from tests.worker import population
from tests.worker.population import Population
from worker import shadow, train

SINCE = population.wave(3) + population.WINDOW + timedelta(hours=1)
"""After the third wave is known: what both were trained on. Waves 4 to 6 are their traffic."""


def silent(what: object, done: float) -> None:
    """Say nothing."""


@pytest.fixture
def pair(shop: Population, monkeypatch: pytest.MonkeyPatch) -> tuple[ModelVersion, ModelVersion]:
    """A champion that knows each offer's mean only, and a challenger that knows the shoppers; both of wave 3."""
    from worker import data, response

    monkeypatch.setattr(response, "folds", lambda *a, **k: data.folds(*a, **{**k, "min_train": 200}))
    params = {**population.QUICK, "min_exposures": 300}
    outcome = train.run(None, params, silent, until=SINCE)
    mean, logistic = (one for one in outcome.versions if one.task == "response")
    registry.promote(mean)
    ModelVersion.objects.filter(pk=mean.pk).update(card={**mean.card, "promoted_at": SINCE.isoformat()})
    ModelVersion.objects.filter(pk=logistic.pk).update(state="candidate")
    for one in (mean, logistic):
        one.refresh_from_db()
    assert kept.begin(logistic, SINCE)
    logistic.refresh_from_db()
    return mean, logistic


def run(until: datetime = population.END, job: Job | None = None, stage: Any = silent) -> dict[str, Any]:
    return shadow.run(job, {"population": "shop"}, stage, until=until)


def leased() -> Job:
    jobs.enqueue(JobKind.SHADOW)
    job = jobs.lease("one")
    assert job is not None
    return job


def test_the_better_one_shows_in_shadow_and_serves_nobody(pair: tuple[ModelVersion, ModelVersion]) -> None:
    champion, challenger = pair
    job = leased()
    result = run(job=job)
    shown = Exposure.objects.filter(exposed_at__gt=SINCE, offer__isnull=False).count()
    assert result["predicted"] == {str(champion): shown, str(challenger): shown}
    challenger.refresh_from_db()
    found = challenger.metrics["shadow"]
    assert (found["rows"], found["rival"], found["head"]) == (shown, str(champion), "redeem")
    assert found["gain"][1] > 0
    champion.refresh_from_db()
    assert champion.metrics["live"]["rows"] == shown
    assert "shadow" not in champion.metrics
    assert "board" in champion.metrics  # what was there stays
    assert Job.objects.get(pk=job.pk).state == "succeeded"
    assert registry.champion(ModelTask.RESPONSE, "shop") == champion
    assert not ScoreSet.objects.exists()
    row = next(row for row in board.board("shop") if row.version_id == challenger.pk)
    assert row.shadow is not None
    assert row.shadow.gain == tuple(found["gain"])


def test_nothing_that_came_later_changes_a_prediction(pair: tuple[ModelVersion, ModelVersion]) -> None:
    """Predicted the day after wave 4, and predicted again when everything has happened: the same."""
    _champion, challenger = pair
    run(until=population.wave(4) + timedelta(days=1))
    early = kept.read(challenger)
    assert len(early.exposure) > 100
    ExposurePrediction.objects.all().delete()
    run()
    late = kept.read(challenger)
    place = {int(pk): row for row, pk in enumerate(late.exposure)}
    rows = [place[int(pk)] for pk in early.exposure]
    np.testing.assert_array_equal(late.heads[rows], early.heads)


def test_what_has_not_matured_is_not_judged(pair: tuple[ModelVersion, ModelVersion]) -> None:
    _champion, challenger = pair
    run(until=population.wave(4) + timedelta(days=1))
    challenger.refresh_from_db()
    assert challenger.metrics["shadow"]["rows"] == 0
    assert challenger.metrics["shadow"]["gain"] is None
    assert ExposurePrediction.objects.filter(version=challenger).exists()


def test_a_cancelled_run_goes_on_where_it_stopped(
    pair: tuple[ModelVersion, ModelVersion], monkeypatch: pytest.MonkeyPatch
) -> None:
    champion, challenger = pair
    monkeypatch.setattr(shadow, "BLOCK", 100)
    job = leased()
    blocks: list[str] = []

    def cancelling(what: object, done: float) -> None:
        if str(what).startswith("predicting"):
            blocks.append(str(what))
        if len(blocks) == 3:
            raise LeaseLost

    with pytest.raises(LeaseLost):
        run(job=job, stage=cancelling)
    written = ExposurePrediction.objects.count()
    assert written == 300
    result = run(job=job)
    assert sum(result["predicted"].values()) == ExposurePrediction.objects.count() - written
    assert ExposurePrediction.objects.filter(version=champion).count() == (
        ExposurePrediction.objects.filter(version=challenger).count()
    )
    assert sum(run(job=leased())["predicted"].values()) == 0


def test_who_withdrew_is_neither_predicted_nor_judged(pair: tuple[ModelVersion, ModelVersion]) -> None:
    champion, _challenger = pair
    shown = run()["predicted"][str(champion)]
    gone = Exposure.objects.filter(exposed_at__gt=SINCE, offer__isnull=False).values_list("shopper", flat=True)[0]
    mine = ExposurePrediction.objects.filter(version=champion, exposure__shopper=gone).count()
    Shopper.objects.filter(pk=gone).update(consent_personalisation=False)
    run()
    champion.refresh_from_db()
    assert champion.metrics["live"]["rows"] == shown - mine


def test_predictions_go_with_their_exposure_and_with_their_version(pair: tuple[ModelVersion, ModelVersion]) -> None:
    champion, challenger = pair
    run()
    kept.end(challenger)
    challenger.refresh_from_db()
    assert not challenger.in_shadow
    assert "shadow" in challenger.metrics
    assert not ExposurePrediction.objects.filter(version=challenger).exists()
    run(until=population.END + kept.KEPT)
    assert not ExposurePrediction.objects.exclude(exposure__exposed_at__gte=population.END).exists()
    registry.promote(challenger)
    run()
    assert not ExposurePrediction.objects.filter(version=champion).exists()
    Exposure.objects.all().delete()
    assert not ExposurePrediction.objects.exists()


def test_a_refused_challenger_goes_on_in_shadow_one_at_a_time(shop: Population) -> None:
    train.run(None, population.QUICK, silent, until=population.END)
    again = train.run(None, population.QUICK, silent, until=population.END)
    assert again.refused is not None
    assert [one.pk for one in kept.in_shadow("shop")] == [again.refused.pk]
    third = train.run(None, population.QUICK, silent, until=population.END)
    assert third.refused is not None
    assert [one.pk for one in kept.in_shadow("shop")] == [again.refused.pk]
    long_ago = timezone.now() - kept.LONGEST - timedelta(days=1)
    ModelVersion.objects.filter(pk=again.refused.pk).update(shadow_since=long_ago)
    fourth = train.run(None, population.QUICK, silent, until=population.END)
    assert fourth.refused is not None
    assert [one.pk for one in kept.in_shadow("shop")] == [fourth.refused.pk]


def test_only_a_response_candidate_can_be_in_shadow(pair: tuple[ModelVersion, ModelVersion]) -> None:
    champion, challenger = pair
    assert not kept.can_begin(champion)
    assert not kept.begin(champion)
    assert not kept.begin(challenger)  # it is there
    assert not kept.begin(ModelVersion.objects.filter(task="preference").first())  # type: ignore[arg-type]


def test_without_a_champion_it_says_so(shop: Population) -> None:
    with pytest.raises(NotEnoughData, match="Nobody reigns and nobody is in shadow"):
        run()
    make_version(task="response")
    with pytest.raises(NotEnoughData, match="no response model has passed the gate, and none is in shadow"):
        run()


@pytest.mark.usefixtures("in_one_transaction")
def test_the_command(pair: tuple[ModelVersion, ModelVersion], capsys: pytest.CaptureFixture[str]) -> None:
    _champion, challenger = pair
    with pytest.raises(
        CommandError, match=rf"Not done for version {challenger.pk} of 'shop'. It has to be a candidate"
    ):
        call_command("shadow", "--begin", str(challenger.pk))
    call_command("shadow", "--end", str(challenger.pk), "--until", population.END.isoformat())
    assert str(challenger) not in capsys.readouterr().out
    call_command("shadow", "--begin", str(challenger.pk), "--until", population.END.isoformat())
    printed = capsys.readouterr().out
    assert "gain over champion" in printed
    assert str(challenger) in printed
