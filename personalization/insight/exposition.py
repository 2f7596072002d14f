"""Figures of the models in service in the text format that Prometheus and its kin read (version 0.0.4).

Everything comes from the last reports and from two small rows: a scrape computes nothing and touches no large table.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any

from django.utils import timezone

from personalization import conf
from personalization.insight import monitoring, service
from personalization.insight.findings import BAD, GOOD, HINT
from personalization.learning.figures import is_number
from personalization.models import Alert, Job, MonitoringReport
from personalization.types import JobState

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
PREFIX = "personalization_"
Sample = tuple[dict[str, str], float | None]


def exposition(now: datetime | None = None) -> str:
    """Return all gauges of the shop's own population as text."""
    now, population = now or timezone.now(), conf.get().population
    return (
        "\n".join(line for name, told, samples in _gauges(population, now) for line in _lines(name, told, samples))
        + "\n"
    )


def _lines(name: str, told: str, samples: Iterable[Sample]) -> Iterator[str]:
    shown = [(labels, value) for labels, value in samples if is_number(value)]
    if not shown:
        return
    yield f"# HELP {PREFIX}{name} {told}"
    yield f"# TYPE {PREFIX}{name} gauge"
    for labels, value in shown:
        inner = ",".join(f'{key}="{_escaped(text)}"' for key, text in labels.items())
        yield f"{PREFIX}{name}{{{inner}}} {float(value):.10g}" if inner else f"{PREFIX}{name} {float(value):.10g}"


def _escaped(text: str) -> str:
    """Return a label's value as the format wants it."""
    return str(text).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def _gauges(population: str, now: datetime) -> Iterator[tuple[str, str, list[Sample]]]:
    ages = service.ages(population, now)
    hours, days = ages.scores_hours, ages.champion_days
    yield "scores_age_seconds", "Since the live scores were published.", [({}, hours and hours * 3600)]
    yield "champion_age_seconds", "Since the cut-off of the champion's data.", [({}, days and days * 86_400)]
    waiting = Job.objects.filter(state=JobState.QUEUED.value).count()
    yield "jobs_queued", "Jobs that wait for a worker.", [({}, waiting)]
    yield "alerts_unseen", "Alerts that nobody has marked as seen.", [({}, Alert.objects.filter(seen_at=None).count())]
    reports = [report for kind in MonitoringReport.Kind if (report := monitoring.latest(population, kind)) is not None]
    yield (
        "report_age_seconds",
        "Since the models were looked at.",
        [({"kind": report.kind}, (now - report.at).total_seconds()) for report in reports],
    )
    levels = [observation.level for report in reports for observation in monitoring.observations(report)]
    names = {GOOD: "ok", HINT: "hint", BAD: "wrong"}
    yield (
        "findings",
        "Findings of the last reports.",
        [({"level": names[level]}, levels.count(level)) for level in names if reports],
    )
    for report in reports:
        figures = report.figures if isinstance(report.figures, Mapping) else {}
        yield from (_health if report.kind == MonitoringReport.Kind.HEALTH else _fairness)(figures)


def _rows(value: Any) -> list[Mapping[str, Any]]:
    return [row for row in value if isinstance(row, Mapping)] if isinstance(value, list) else []


def _health(figures: Mapping[str, Any]) -> Iterator[tuple[str, str, list[Sample]]]:
    shifts = _rows(figures.get("drift"))
    for name, told, key in (
        ("psi", "Population stability index since the training.", "value"),
        ("psi_noise", "What chance alone keeps the index below.", "noise"),
    ):
        yield name, told, [({"of": str(row.get("of")), "name": str(row.get("name"))}, row.get(key)) for row in shifts]
    weeks = _rows(figures.get("calibration"))
    latest = [row for row in weeks if row.get("start") == weeks[0].get("start")] if weeks else []
    for name, told, key in (
        ("calibration_error", "Calibration error of the last week whose outcomes are known.", "ece"),
        ("calibration_error_null", "What chance alone keeps that error below.", "null"),
    ):
        yield name, told, [({"model_version": str(row.get("version_id"))}, row.get(key)) for row in latest]
    served = figures.get("service")
    share = served.get("share") if isinstance(served, Mapping) else None
    yield "coverage_share", "Share of a week's decisions about known shoppers that used their scores.", [({}, share)]


def _fairness(figures: Mapping[str, Any]) -> Iterator[tuple[str, str, list[Sample]]]:
    samples: dict[str, list[Sample]] = {"value": [], "low": [], "high": []}
    for row in _rows(figures.get("gaps")):
        gap = row.get("gap")
        if isinstance(gap, Mapping):
            labels = {name: str(row.get(name)) for name in ("measure", "attribute", "group")}
            for bound, of_bound in samples.items():
                of_bound.append((labels, gap.get(bound)))
    for bound, told in (("value", "itself"), ("low", "at least"), ("high", "at most")):
        name = "group_gap" if bound == "value" else f"group_gap_{bound}"
        yield name, f"Difference of a group from the others, {told}.", samples[bound]
