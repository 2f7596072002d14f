"""The look at the models in service: what is measured, what is told of, once, and to whom."""

from __future__ import annotations

import itertools
import json
import random
from datetime import datetime, timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.urls import reverse
from django.utils import timezone, translation
from pytest_django import Settings

from personalization import api
from personalization.campaigns import alerts
from personalization.insight import calibration, monitoring, service
from personalization.insight.doctor import examine
from personalization.insight.findings import BAD, GOOD, HINT, Finding
from personalization.insight.observations import Observation, said, sentence
from personalization.learning import handlers, jobs, sentences
from personalization.models import (
    Alert,
    Decision,
    Exposure,
    ModelVersion,
    MonitoringReport,
    Offer,
    ScoreSet,
    Shopper,
)
from personalization.types import HEADS, JobKind
from tests.personalization.builders import DAY, make_offer, make_scores, make_shopper, make_user, score

pytestmark = pytest.mark.django_db
METRICS = "/personalization/metrics/"
TOKEN = "a-token-of-the-test-run-that-guards-nothing"


def version(**fields: Any) -> ModelVersion:
    found: ModelVersion = make_scores().response_version  # type: ignore[assignment]
    ModelVersion.objects.filter(pk=found.pk).update(**fields)
    found.refresh_from_db()
    return found


def decided(model: ModelVersion, offer: Offer, shopper: Shopper, p: float, happened: bool, at: datetime) -> None:
    """Log a decision that predicted p of a redemption, and what came of it."""
    heads = [0.0] * len(HEADS)
    heads[HEADS.index("redeem")] = p
    decision = Decision.objects.create(
        shopper=shopper, slot="home_hero", at=at, policy="p", model_version=model, excluded={}, chosen=[],
        eligible=[{"offer": offer.pk, "heads": heads, "reasons": ["predicted_for_shopper"]}],
    )  # fmt: skip
    Exposure.objects.create(
        decision=decision, shopper=shopper, campaign=offer.campaign, offer=offer, propensity=0.9, exposed_at=at,
        window_ends_at=at + DAY, redeemed_at=at if happened else None,
    )  # fmt: skip


def week_of_decisions(model: ModelVersion, rows: int, *, told: float, real: float, ago: int = 10) -> None:
    offer, chance = make_offer(), random.Random(0)
    people = Shopper.objects.bulk_create(Shopper(consent_personalisation=True) for _ in range(rows))
    at = timezone.now() - ago * DAY
    for person in people:
        p = told * chance.uniform(0.5, 1.5)
        decided(model, offer, person, p, chance.random() < p * real / told, at)


# --- Calibration over time --------------------------------------------------------------------------------------------


def test_predictions_that_mean_what_they_say_are_good() -> None:
    week_of_decisions(version(), 300, told=0.3, real=0.3)
    (week,) = calibration.weeks("shop", timezone.now(), tolerance=0.02)
    assert (week.rows, week.head, week.level) == (300, "redeem", GOOD)
    assert week.share.low < week.expected / week.rows < week.share.high
    assert week.ece < week.null
    assert week.start.weekday() == 0


def test_predictions_that_promise_twice_as_much_are_bad() -> None:
    week_of_decisions(version(), 300, told=0.4, real=0.2)
    (week,) = calibration.weeks("shop", timezone.now(), tolerance=0.02)
    assert week.level == BAD
    assert week.happened < week.expected * 0.7
    assert week.deviation < -3.29
    assert week.ece > week.null


def test_every_version_and_week_is_judged_by_itself_and_small_ones_not_at_all() -> None:
    first = version()
    ScoreSet.objects.all().delete()
    ModelVersion.objects.update(state="retired")
    second = version()
    week_of_decisions(first, 120, told=0.3, real=0.3, ago=20)
    week_of_decisions(second, 120, told=0.3, real=0.3, ago=10)
    week_of_decisions(second, 99, told=0.3, real=0.3, ago=30)
    found = calibration.weeks("shop", timezone.now(), tolerance=0.02)
    assert [(week.version_id, week.rows) for week in found] == [(second.pk, 120), (first.pk, 120)]


def test_averages_open_windows_and_reloaded_pages_do_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration, "LEAST_ROWS", 1)
    model, offer, shopper = version(), make_offer(), make_shopper()
    at = timezone.now() - 10 * DAY
    for minutes in range(5):
        decided(model, offer, shopper, 0.5, True, at + timedelta(minutes=minutes))
    decided(model, offer, make_shopper(), 0.5, True, timezone.now() - DAY / 2)  # its window is open
    decided(model, offer, make_shopper(), 0.5, True, at)
    average = Decision.objects.order_by("-pk").get(shopper=Shopper.objects.latest("pk"))
    average.eligible = [{**average.eligible[0], "reasons": ["average_of_kind"]}]
    average.save()
    (week,) = calibration.weeks("shop", timezone.now(), tolerance=0.02)
    assert week.rows == 1


# --- Coverage, age, skew ----------------------------------------------------------------------------------------------


def test_coverage_counts_who_got_their_own_scores() -> None:
    now = timezone.now()
    for fallback, shopper, at in (
        ("", make_shopper(), now - DAY), ("", make_shopper(), now - DAY), ("not_scored", make_shopper(), now - DAY),
        ("unknown_shopper", None, now - DAY), ("", make_shopper(), now - 9 * DAY),
    ):  # fmt: skip
        Decision.objects.create(
            slot="home_hero", shopper=shopper, at=at, fallback=fallback, eligible=[], excluded={}, chosen=[], policy="p"
        )
    found = service.coverage("shop", now)
    assert (found.decisions, found.known, found.personal) == (4, 3, 2)
    assert found.fallbacks == {"not_scored": 1, "unknown_shopper": 1}
    assert found.share == pytest.approx(2 / 3)
    assert service.coverage("elsewhere", now).share is None


def test_what_is_served_is_what_was_published() -> None:
    """Real decisions by real scores agree; a score that was changed in between is found."""
    offer, live = make_offer(), make_scores()
    people = [make_shopper() for _ in range(3)]
    for number, person in enumerate(people):
        score(live, person, {offer.pk: [0.5, 0.2, 0.1 + number / 100, 0.3]})
        api.decide("home_hero", shopper=person)
    assert service.served_otherwise(live) == service.Skew(3, 0)
    row = people[0].scores.get()
    row.offers = {str(offer.pk): [0.5, 0.2, 0.9, 0.3]}
    row.save()
    assert service.served_otherwise(live) == service.Skew(3, 1)


# --- The report -------------------------------------------------------------------------------------------------------


def codes(report: MonitoringReport) -> dict[str, str]:
    return {observation.code: observation.level for observation in monitoring.observations(report)}


REFERENCE = {
    "rows": 1000,
    "features": {"age": {"edges": [30.0, 40.0], "counts": [300, 400, 300, 0]}},
    "scores": {"redeem": {"edges": [0.1], "counts": [500, 500, 0]}},
}


def with_counts(age: list[int]) -> ScoreSet:
    live = make_scores()
    assert live.response_version is not None
    live.response_version.card = {"reference": REFERENCE}
    live.response_version.save()
    live.profile = {"rows": 1000, "features": {"age": age}, "scores": {"redeem": [505, 495, 0]}}
    live.save()
    return live


def test_drift_is_reported_with_the_columns_that_moved() -> None:
    with_counts([50, 250, 700, 0])
    report = monitoring.health("shop", timezone.now())
    assert codes(report)["drift"] == BAD
    (drift,) = (seen for seen in monitoring.observations(report) if seen.code == "drift")
    assert drift.figures["names"] == ["age"]
    assert "What is scored has changed since the training: age" in drift.text
    assert [row["name"] for row in report.figures["drift"]] == ["age", "redeem"]


def test_a_batch_like_the_reference_is_said_to_be_one() -> None:
    with_counts([310, 390, 300, 0])
    assert codes(monitoring.health("shop", timezone.now()))["drift_none"] == GOOD


def test_drift_is_told_by_the_names_that_people_know() -> None:
    told = {"names": ["offer_gap_hours", "P(redeem)", "own_column"], "worst": 0.31}
    names = "hours since the last offer, the predicted probability (using it), own column"
    assert sentence("drift", told) == f"What is scored has changed since the training: {names} (PSI up to 0.310)."
    with translation.override("zh-hans"):
        stored = sentences.read(json.loads(json.dumps(said("drift", told).stored())))
    assert str(stored) == sentence("drift", told)  # stored by a worker of another language
    with translation.override("zh-hans"):
        assert "距上次收到优惠的小时数" in str(stored)


def decisions(amount: int, *fallbacks: str) -> None:
    """Log so many decisions about a known shopper, the fallbacks in turn."""
    shopper = make_shopper()
    Decision.objects.bulk_create(
        Decision(slot="home_hero", shopper=shopper, fallback=fallback, eligible=[], excluded={}, chosen=[], policy="p")
        for _number, fallback in zip(range(amount), itertools.cycle(fallbacks))
    )


def test_old_scores_an_old_champion_and_no_coverage_are_told(settings: Settings) -> None:
    live = make_scores(published_at=timezone.now() - 4 * DAY)
    ModelVersion.objects.update(cutoff_at=timezone.now() - 40 * DAY)
    decisions(100, "stale_scores", "stale_scores", "")
    found = codes(monitoring.health("shop", timezone.now()))
    assert (found["scores_old"], found["champion_old"], found["coverage"]) == (BAD, HINT, BAD)
    settings.PERSONALIZATION = {
        **settings.PERSONALIZATION, "SCORE_MAX_AGE_HOURS": 200, "MONITORING": {"coverage": 0.3, "champion_days": 50},
    }  # fmt: skip
    found = codes(monitoring.health("shop", timezone.now()))
    assert (found["fresh"], found["coverage"]) == (GOOD, GOOD)
    assert live.pk == monitoring.health("shop", timezone.now()).figures["score_set"]


def test_scores_that_came_out_differently_are_told() -> None:
    live = make_scores()
    live.profile = {"recomputed": {"rows": 100, "changed": 20}}
    live.save()
    assert codes(monitoring.health("shop", timezone.now()))["late_data"] == HINT
    live.profile = {"recomputed": {"rows": 100, "changed": 2}}
    live.save()
    assert "late_data" not in codes(monitoring.health("shop", timezone.now()))


def test_a_shop_without_models_is_looked_at_without_alarm() -> None:
    report = monitoring.health("shop", timezone.now())
    assert codes(report) == {"calibration_unknown": GOOD, "no_champion": HINT, "no_scores": HINT}


# --- The job ----------------------------------------------------------------------------------------------------------


def test_the_job_stores_reports_and_raises_alerts_once(settings: Settings, caplog: pytest.LogCaptureFixture) -> None:
    with_counts([50, 250, 700, 0])
    for _time in range(2):
        job = handlers.run_here(jobs.enqueue(JobKind.MONITOR, {"population": "shop"}))
        assert job.state == "succeeded"
    assert MonitoringReport.objects.filter(kind="health").count() == 2
    assert MonitoringReport.objects.filter(kind="fairness").count() == 1  # a week has not passed in between
    alert = Alert.objects.get()
    assert (alert.kind, alert.campaign) == ("model", None)
    assert alerts.text(alert).startswith("What is scored has changed since the training: age (PSI up to ")
    assert "monitoring: What is scored has changed since the training: age" in caplog.text


def test_another_population_raises_no_alert() -> None:
    with_counts([50, 250, 700, 0])
    ModelVersion.objects.update(population="imported")
    ScoreSet.objects.update(population="imported")
    handlers.run_here(jobs.enqueue(JobKind.MONITOR, {"population": "imported"}))
    assert codes(MonitoringReport.objects.get(kind="health"))["drift"] == BAD
    assert not Alert.objects.exists()


def test_the_command_says_what_it_saw_and_fails_where_something_is_wrong() -> None:
    out = StringIO()
    with_counts([310, 390, 300, 0])
    call_command("monitor", stdout=out)
    assert "What is scored is what the model was trained to score: 2 columns compared." in out.getvalue()
    ScoreSet.objects.update(profile={"features": {"age": [0, 0, 900, 0]}, "scores": {}})
    with pytest.raises(CommandError, match="1 finding needs a look"):
        call_command("monitor", "--audit", stdout=out)


def test_an_unknown_population_is_not_looked_at() -> None:
    make_shopper()
    with pytest.raises(CommandError, match=r"no shoppers in the population nope\. Known: shop\."):
        call_command("monitor", "--population", "nope")
    assert not MonitoringReport.objects.exists()


def test_doctor_tells_the_last_report() -> None:
    def told() -> list[Finding]:
        return [finding for finding in examine() if finding.text.startswith("Models in service")]

    assert told() == []
    with_counts([50, 250, 700, 0])
    assert [finding.level for finding in told()] == [HINT]
    handlers.run_here(jobs.enqueue(JobKind.MONITOR, {"population": "shop"}))
    assert "age" in next(finding.text for finding in told() if finding.level == BAD)


def test_a_sentence_of_another_release_is_told_by_its_code() -> None:
    assert sentence("brand_new", {}) == "brand new"
    assert sentence("drift", {"names": ["age"]}) == "drift"  # a figure is missing
    assert Observation.read({"level": "wrong"}) is None
    assert Observation.read({"code": "x", "level": 7, "figures": []}) == Observation("x", GOOD)


# --- Metrics ----------------------------------------------------------------------------------------------------------


def scraped(client: Any, **headers: str) -> dict[str, float]:
    response = client.get(METRICS, headers=headers)
    assert response.status_code == 200
    assert response["Content-Type"].startswith("text/plain; version=0.0.4")
    assert "no-store" in response["Cache-Control"]
    lines = [line for line in response.content.decode().splitlines() if not line.startswith("#")]
    return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines)}


def test_the_metrics_are_those_of_the_report(client: Any, settings: Settings) -> None:
    settings.PERSONALIZATION = {**settings.PERSONALIZATION, "METRICS_TOKEN": TOKEN}
    with_counts([50, 250, 700, 0])
    handlers.run_here(jobs.enqueue(JobKind.MONITOR, {"population": "shop"}))
    found = scraped(client, authorization=f"Bearer {TOKEN}")
    report = MonitoringReport.objects.get(kind="health")
    assert found['personalization_psi{of="feature",name="age"}'] == pytest.approx(report.figures["drift"][0]["value"])
    assert found['personalization_findings{level="wrong"}'] == 1
    assert 0 <= found["personalization_scores_age_seconds"] < 60
    assert found["personalization_alerts_unseen"] == 1
    assert found["personalization_jobs_queued"] == 0


def test_every_line_of_the_metrics_fits_the_format(client: Any) -> None:
    version(estimator='odd "name"\\')
    client.force_login(make_user("view_monitoringreport"))
    text = client.get(METRICS).content.decode()
    assert text.endswith("\n")
    names = [line.split()[2] for line in text.splitlines() if line.startswith("# TYPE")]
    assert len(names) == len(set(names)) > 3
    assert all(line.startswith(("#", "personalization_")) for line in text.splitlines())


@pytest.mark.parametrize("authorization", ["", "Bearer ", "Bearer wrong", f"Basic {TOKEN}", TOKEN, "Bearer ä"])
def test_without_the_token_nothing_is_told(client: Any, settings: Settings, authorization: str) -> None:
    settings.PERSONALIZATION = {**settings.PERSONALIZATION, "METRICS_TOKEN": TOKEN}
    assert client.get(METRICS, headers={"authorization": authorization}).status_code == 403
    assert client.get(f"{METRICS}?token={TOKEN}").status_code == 403
    settings.PERSONALIZATION = {**settings.PERSONALIZATION, "METRICS_TOKEN": ""}
    assert client.get(METRICS, headers={"authorization": authorization}).status_code == 403


def test_staff_need_the_permission(client: Any) -> None:
    client.force_login(make_user("view_campaign"))
    assert client.get(METRICS).status_code == 403
    client.force_login(make_user("view_monitoringreport"))
    assert client.get(METRICS).status_code == 200
    assert client.post(METRICS).status_code == 405
    shopper = make_user("view_monitoringreport", staff=False)
    client.force_login(shopper)
    assert client.get(METRICS).status_code == 403


# --- The page ---------------------------------------------------------------------------------------------------------


def test_the_page_shows_the_latest_look_and_odd_figures_break_nothing(client: Any) -> None:
    client.force_login(make_user("view_monitoringreport"))
    url = reverse("admin:personalization_monitoringreport_changelist")
    assert "Nobody has looked at the models in service yet" in client.get(url).content.decode()
    with_counts([50, 250, 700, 0])
    week_of_decisions(ModelVersion.objects.get(), 120, told=0.3, real=0.3)
    handlers.run_here(jobs.enqueue(JobKind.MONITOR, {"population": "shop"}))
    html = client.get(url).content.decode()
    assert "What is scored, against the training" in html
    assert "Week of" in html
    assert "<svg" in html
    odd_figures: list[Any] = [
        None, [], 7, {"drift": 3, "calibration": [{"share": 1}], "service": [], "gaps": [{"gap": None}]}
    ]  # fmt: skip
    for odd in odd_figures:
        given = {"figures": odd or {}, "findings": odd or []}
        report = MonitoringReport.objects.create(kind="health", population="shop", **given)
        assert client.get(url).status_code == 200
        page = reverse("admin:personalization_monitoringreport_change", args=[report.pk])
        assert client.get(page).status_code == 200


def test_the_page_speaks_the_readers_language(client: Any) -> None:
    """Numbers in the drawing stay numbers where a comma is the decimal sign."""
    week_of_decisions(version(), 120, told=0.3, real=0.3)
    handlers.run_here(jobs.enqueue(JobKind.MONITOR, {"population": "shop"}))
    report = MonitoringReport.objects.get(kind="health")
    client.force_login(make_user("view_monitoringreport"))
    with translation.override("de"):
        page = reverse("admin:personalization_monitoringreport_change", args=[report.pk])
        html = client.get(page, headers={"accept-language": "de"}).content.decode()
    at = html.index('<svg class="pz-chart"')
    drawing = html[at : html.index("</svg>", at)]
    assert 'cx="' in drawing
    assert not [part for part in drawing.split('cx="')[1:] if "," in part.split('"')[0]]
