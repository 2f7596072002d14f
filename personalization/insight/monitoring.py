"""The daily look at the models in service: measured, stored as a report, and told to those who have to know.

A job row asks for it (``queue_due``), a worker or ``manage.py monitor`` does it. The report and the end of the job are
one transaction; what is bad becomes an alert once an occasion, and a line of the log.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext_noop

from personalization import conf
from personalization.campaigns import alerts
from personalization.insight import calibration, drift, fairness, service, thresholds
from personalization.insight.findings import BAD, GOOD, HINT, Finding
from personalization.insight.observations import Observation, said, sentence
from personalization.learning import jobs, publish
from personalization.learning.handlers import Stage
from personalization.learning.sentences import Sentence
from personalization.models import Alert, Job, ModelVersion, MonitoringReport, ScoreSet
from personalization.types import JobKind

logger = logging.getLogger(__name__)
Kind = MonitoringReport.Kind
NAMED = 5
"""Columns that a sentence names, at most."""
OF_THE_MOMENT = {"no_champion", "champion_old", "no_scores", "scores_old", "fresh"}
"""What :func:`_about_ages` yields: it costs two rows to tell anew, so that no report has to be trusted with it."""


def queue_due(now: datetime | None = None) -> int:
    """Queue the look at the shop's own models when the last one is older than the schedule; returns how many."""
    hours = conf.get().monitor_every_hours
    if hours <= 0 or jobs.asked_since(JobKind.MONITOR, (now or timezone.now()) - timedelta(hours=hours)):
        return 0
    population = conf.get().population
    if service.champion(population) is None and publish.live(population) is None:
        return 0  # nothing is in service yet
    return int(jobs.ask(JobKind.MONITOR, {"population": population})[1])


def run(job: Job, params: dict[str, Any], stage: Stage, until: datetime | None = None) -> list[MonitoringReport]:
    """Do a queued job: look, and audit if that is due."""
    population = str(params.get("population") or conf.get().population)
    now = until or job.created_at
    stage(gettext_noop("looking at the models in service"), 0.1)
    reports = [health(population, now)]
    stage(gettext_noop("comparing groups"), 0.5)
    if params.get("audit") or fairness.is_due(population, now):
        reports.append(fairness.report(population, now))
    stage(gettext_noop("storing"), 0.95)
    with transaction.atomic():
        for report in reports:
            report.job = job
            report.save(force_insert=True)
        jobs.finish(job, {"reports": [report.pk for report in reports], "population": population})
    tell(reports, now)
    return reports


def health(population: str, now: datetime) -> MonitoringReport:
    """Measure drift, calibration, coverage, ages and skew; returns an unsaved report."""
    live = publish.live(population)
    version = live.response_version if live is not None else None
    found: list[Observation] = []
    figures: dict[str, Any] = {
        "score_set": live.pk if live is not None else None,
        "estimator": version.estimator if version is not None else "",
    }
    for name, part in (("drift", _drift), ("calibration", _calibration), ("service", _service), ("skew", _skew)):
        figures[name], seen = part(population, now, live, version)
        found += seen
    return MonitoringReport(
        kind=Kind.HEALTH,
        population=population,
        at=now,
        model_version=version,
        figures=figures,
        findings=[observation.as_json() for observation in found],
    )


Measured = tuple[Any, list[Observation]]


def _drift(population: str, now: datetime, live: ScoreSet | None, version: ModelVersion | None) -> Measured:
    if live is None or version is None:
        return [], []
    card = version.card if isinstance(version.card, Mapping) else {}
    shifts = drift.shifts(
        card.get("reference"), live.profile, hint=thresholds.get("psi_hint"), alert=thresholds.get("psi_alert")
    )
    if not shifts:
        return [], [Observation("drift_unknown", HINT)]
    moved = [shift for shift in shifts if shift.level != GOOD]
    level = BAD if any(shift.level == BAD for shift in moved) else HINT
    if moved:
        names = [shift.name if shift.of == "feature" else f"P({shift.name})" for shift in moved[:NAMED]]
        seen = Observation("drift", level, str(version.pk), {"names": names, "worst": round(moved[0].value, 3)})
    else:
        seen = Observation("drift_none", GOOD, figures={"columns": len(shifts)})
    return [asdict(shift) for shift in shifts], [seen]


def _calibration(population: str, now: datetime, live: ScoreSet | None, version: ModelVersion | None) -> Measured:
    weeks = calibration.weeks(population, now, tolerance=thresholds.get("ece"))
    stored = [{**asdict(week), "start": week.start.isoformat()} for week in weeks]
    if not weeks:
        return stored, [Observation("calibration_unknown", GOOD)]
    off = [week for week in weeks if week.level != GOOD]
    seen = [
        Observation(
            "calibration",
            week.level,
            f"{week.version_id}:{week.start.isoformat()}",
            {
                "week": week.start.isoformat(),
                "rows": week.rows,
                "expected": round(week.expected),
                "happened": week.happened,
                "ece": round(week.ece, 4),
                "null": round(week.null, 4),
            },
        )
        for week in off
    ]
    return stored, seen or [Observation("calibration_good", GOOD, figures={"weeks": len(weeks)})]


def _service(population: str, now: datetime, live: ScoreSet | None, version: ModelVersion | None) -> Measured:
    covered, ages = service.coverage(population, now), service.ages(population, now)
    return {**asdict(covered), "share": covered.share, **asdict(ages)}, [
        *_about_ages(ages, live, version),
        *_about_coverage(covered, now, live),
    ]


def _about_ages(ages: service.Ages, live: ScoreSet | None, version: ModelVersion | None) -> Iterator[Observation]:
    hours = round(ages.scores_hours) if ages.scores_hours is not None else None
    days = round(ages.champion_days) if ages.champion_days is not None else None
    if days is None:
        yield Observation("no_champion", HINT)
    elif days > thresholds.get("champion_days"):
        yield Observation("champion_old", HINT, figures={"days": days})
    if live is None:
        yield Observation("no_scores", HINT)
    elif ages.scores_too_old:
        yield Observation("scores_old", BAD, str(live.pk), {"hours": hours})
    elif days is not None:
        yield Observation("fresh", GOOD, figures={"hours": hours, "days": days})


def _about_coverage(covered: service.Coverage, now: datetime, live: ScoreSet | None) -> Iterator[Observation]:
    share = covered.share
    if live is None:
        return
    if share is None:
        yield Observation("coverage_unknown", GOOD)
        return
    if not covered.tells:
        yield Observation("coverage_few", GOOD, figures={"decisions": covered.known, "needed": service.LEAST_DECISIONS})
        return
    level = BAD if share < thresholds.get("coverage") else GOOD
    week = "{}-{}".format(*now.isocalendar()[:2])
    yield Observation("coverage", level, week, {"share": f"{share:.0%}", "decisions": covered.known})


def _skew(population: str, now: datetime, live: ScoreSet | None, version: ModelVersion | None) -> Measured:
    if live is None:
        return {}, []
    served, late, seen = service.served_otherwise(live), service.late_data(live), []
    if served.rows:
        told = {"changed": served.changed, "rows": served.rows}
        code, level = ("served_otherwise", BAD) if served.changed else ("served_right", GOOD)
        seen.append(Observation(code, level, str(live.pk), told))
    if late is not None and late.share > thresholds.get("skew"):
        seen.append(Observation("late_data", HINT, str(live.pk), {"changed": late.changed, "rows": late.rows}))
    return {"served": asdict(served), "late": asdict(late) if late is not None else None}, seen


def tell(reports: list[MonitoringReport], now: datetime) -> int:
    """Raise what is bad in reports about the shop's own models as alerts, once an occasion, and log it."""
    wanted = [
        Alert(
            kind=Alert.Kind.FAIRNESS if report.kind == Kind.FAIRNESS else Alert.Kind.MODEL,
            key=f"model:{observation.code}:{observation.occasion}"[:100],
            figures={"code": observation.code, "figures": observation.figures},
        )
        for report in reports
        if report.population == conf.get().population
        for observation in observations(report)
        if observation.level == BAD
    ]
    new = alerts.raise_new(wanted, now)
    for alert in new:
        logger.warning("monitoring: %s (%s)", alert_text(alert.figures), alert.key)
    alerts.mail_waiting(now)
    return len(new)


def alert_text(figures: Mapping[str, Any]) -> str:
    """Return the sentence of an alert that :func:`tell` raised."""
    inner = figures.get("figures")
    return sentence(str(figures.get("code", "")), inner if isinstance(inner, Mapping) else {})


def observations(report: MonitoringReport) -> list[Observation]:
    """Return a report's findings, the worst first."""
    stored = report.findings if isinstance(report.findings, list) else []
    read = [observation for observation in map(Observation.read, stored) if observation is not None]
    return sorted(read, key=lambda observation: [BAD, HINT, GOOD].index(observation.level))


def latest(population: str, kind: Kind = Kind.HEALTH) -> MonitoringReport | None:
    """Return the newest report."""
    rows = MonitoringReport.objects.filter(population=population, kind=kind)
    return rows.select_related("model_version").order_by("-at", "-pk").first()


def drift_since(population: str, last: datetime | None) -> list[Sentence]:
    """Return the drift that the latest look found, if it is later than the last training: a reason to train again."""
    report = latest(population)
    if report is None or (last is not None and report.at <= last):
        return []
    return [
        said(each.code, each.figures) for each in observations(report) if each.code == "drift" and each.level == BAD
    ]


def findings() -> Iterator[Finding]:
    """What was seen of the models in service cannot be read."""
    population = conf.get().population
    reports = [report for kind in Kind if (report := latest(population, kind)) is not None]
    if not reports:
        if service.champion(population) is not None:
            yield Finding(
                HINT, "Models in service: not looked at yet. The worker does daily, or run `manage.py monitor`."
            )
        return
    now, live = timezone.now(), publish.live(population)
    version = live.response_version if live is not None else None
    ages = list(_about_ages(service.ages(population, now), live, version))
    told = [Finding(each.level, f"Models in service: {each.text}") for each in ages if each.level != GOOD]
    told += [
        Finding(each.level, f"Models in service, when last looked at on {report.at:%Y-%m-%d %H:%M}: {each.text}")
        for report in reports
        for each in observations(report)
        if each.level != GOOD and each.code not in OF_THE_MOMENT
    ]
    yield from told or [Finding(GOOD, f"Models in service: nothing to report on {reports[0].at:%Y-%m-%d}.")]
