"""The models in service and the fairness audits: the latest reports as tables and a chart, the list of all below."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.dateparse import parse_date
from django.utils.formats import date_format
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from personalization import conf
from personalization.admin.base import ReadOnlyAdmin
from personalization.admin.display import DASH, badge, json_block, number, percent, points
from personalization.insight import monitoring
from personalization.insight.findings import BAD, GOOD, HINT
from personalization.insight.observations import measure_in_words, named
from personalization.models import MonitoringReport

SHOWN = 12
TONES = {GOOD: "live", HINT: "held", BAD: "failed"}
WIDTH, LEFT, ROW = 400, 8, 44
"""The chart's drawing units: width, margin, height of a row."""


@dataclass(frozen=True)
class Line:
    """A table's row: its cells as text, and a verdict."""

    cells: tuple[str, ...]
    verdict: Any


@dataclass(frozen=True)
class WeekRow:
    """Coordinates of one week: the observed share's interval, the share, and what had been predicted."""

    label: str
    y: int
    low_x: float
    width: float
    share_x: float
    predicted_x: float
    off: bool
    words: str


@dataclass(frozen=True)
class Panel:
    """One report, ready to show."""

    report: MonitoringReport
    findings: list[tuple[Any, str]]
    shifts: list[Line] = field(default_factory=list)
    more_shifts: int = 0
    weeks: list[WeekRow] = field(default_factory=list)
    height: int = 0
    facts: list[tuple[str, str]] = field(default_factory=list)
    gaps: list[Line] = field(default_factory=list)


def panel_of(report: MonitoringReport) -> Panel:
    """Return a report of any shape as a panel."""
    figures = _mapping(report.figures)
    shifts = _rows(figures.get("drift"))
    weeks = _weeks(_rows(figures.get("calibration")))
    return Panel(
        report=report,
        findings=[(level_badge(seen.level), seen.text) for seen in monitoring.observations(report)],
        shifts=[_shift(row) for row in shifts[:SHOWN]],
        more_shifts=max(len(shifts) - SHOWN, 0),
        weeks=weeks,
        height=len(weeks) * ROW + 8,
        facts=_facts(figures.get("service")),
        gaps=[
            *(_gap(row) for row in _rows(figures.get("gaps"))),
            *(_no_gap(row) for row in _rows(figures.get("nothing"))),
        ],
    )


def level_badge(level: Any) -> Any:
    """Return a level as a label."""
    words = {GOOD: gettext("fine"), HINT: gettext("worth a look"), BAD: gettext("wrong")}
    return badge(words.get(level, DASH), TONES.get(level, ""))


def _rows(value: Any) -> list[Mapping[str, Any]]:
    return [row for row in value if isinstance(row, Mapping)] if isinstance(value, list) else []


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _shift(row: Mapping[str, Any]) -> Line:
    name = str(row.get("name", ""))
    told = str(named(f"P({name})" if row.get("of") == "score" else name))
    return Line((told, number(row.get("value")), number(row.get("noise"))), level_badge(row.get("level")))


def _gap(row: Mapping[str, Any]) -> Line:
    gap, own, rest = (_mapping(row.get(key)) for key in ("gap", "own", "rest"))
    interval = gettext("%(low)s to %(high)s") % {"low": points(gap.get("low")), "high": points(gap.get("high"))}
    return Line(
        (
            *_of_what(row),
            f"{points(gap.get('value'))} ({interval})",
            percent(own.get("value")),
            percent(rest.get("value")),
            number(row.get("shoppers")),
        ),
        level_badge(row.get("level")),
    )


def _no_gap(row: Mapping[str, Any]) -> Line:
    told = gettext("nothing to compare: it happened to nobody")
    return Line((*_of_what(row), told, DASH, DASH, number(row.get("shoppers"))), level_badge(None))


def _of_what(row: Mapping[str, Any]) -> tuple[str, str]:
    """Return measure and group of a comparison."""
    group = f"{named(str(row.get('attribute', '')))}: {row.get('group', '')}"
    return measure_in_words(str(row.get("measure", ""))), group


def _facts(service: Any) -> list[tuple[str, str]]:
    if not isinstance(service, Mapping):
        return []
    pairs = [
        (gettext("Decisions in a week"), number(service.get("decisions"))),
        (gettext("About known shoppers"), number(service.get("known"))),
        (gettext("By their own scores"), percent(service.get("share"))),
        (gettext("Age of the scores"), _hours(service.get("scores_hours"))),
        (gettext("Age of the champion’s data"), _days(service.get("champion_days"))),
    ]
    return [pair for pair in pairs if pair[1] != DASH]


def _hours(value: Any) -> str:
    if not isinstance(value, int | float):
        return DASH
    return ngettext("%(number)s hour", "%(number)s hours", round(value)) % {"number": number(value, 0)}


def _days(value: Any) -> str:
    if not isinstance(value, int | float):
        return DASH
    return ngettext("%(number)s day", "%(number)s days", round(value)) % {"number": number(value, 0)}


def _weeks(rows: list[Mapping[str, Any]]) -> list[WeekRow]:
    """Lay the weeks out on one scale from zero, the latest on top."""
    read: list[tuple[Mapping[str, Any], float, float, float, float]] = []
    for row in rows:
        share, count, expected = row.get("share"), row.get("rows"), row.get("expected")
        if isinstance(share, Mapping) and isinstance(count, int) and count and isinstance(expected, int | float):
            low, value, high = (share.get(name) for name in ("low", "value", "high"))
            if isinstance(low, int | float) and isinstance(value, int | float) and isinstance(high, int | float):
                read.append((row, low, value, high, expected / count))
    top = max((max(high, p) for _row, _low, _value, high, p in read), default=0.0) or 1.0

    def x(share: float) -> float:
        return round(LEFT + share / top * (WIDTH - 3 * LEFT), 1)

    found = []
    for place, (row, low, value, high, p) in enumerate(read):
        start = parse_date(str(row.get("start", "")))
        label = gettext("Week of %(day)s: %(rows)s shown") % {
            "day": date_format(start, "DATE_FORMAT") if start else DASH,
            "rows": number(row.get("rows")),
        }
        words = gettext("%(label)s. Predicted %(predicted)s, happened %(share)s (%(low)s to %(high)s).") % {
            "label": label,
            "predicted": percent(p),
            "share": percent(value),
            "low": percent(low),
            "high": percent(high),
        }
        width = max(round(x(high) - x(low), 1), 1.0)
        found.append(WeekRow(label, place * ROW + 30, x(low), width, x(value), x(p), row.get("level") == BAD, words))
    return found


@admin.register(MonitoringReport)
class MonitoringReportAdmin(ReadOnlyAdmin):
    list_display = ("at", "kind", "population", "model_version", "worst_badge")
    list_select_related = ("model_version",)
    list_filter = ("kind",)
    ordering = ("-at", "-pk")
    fieldsets = (
        (None, {"fields": ("kind", "at", "population", "model_version", "job")}),
        (_("All figures as stored"), {"fields": ("figures_text",), "classes": ("collapse",)}),
    )
    change_list_template = "admin/personalization/monitoringreport/change_list.html"
    change_form_template = "admin/personalization/monitoringreport/change_form.html"

    def get_queryset(self, request: HttpRequest) -> QuerySet[MonitoringReport]:
        queryset = super().get_queryset(request)
        if request.resolver_match and request.resolver_match.url_name == "personalization_monitoringreport_changelist":
            return queryset.defer("figures")
        return queryset

    @admin.display(description=_("found"))
    def worst_badge(self, report: MonitoringReport) -> Any:
        seen = monitoring.observations(report)
        return level_badge(seen[0].level) if seen else DASH

    @admin.display(description=_("figures"))
    def figures_text(self, report: MonitoringReport) -> Any:
        return json_block(report.figures)

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        newest = [monitoring.latest(conf.get().population, kind) for kind in MonitoringReport.Kind]
        panels = [panel_of(report) for report in newest if report is not None]
        return super().changelist_view(request, {"panels": panels, **(extra_context or {})})

    def render_change_form(self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        report = kwargs.get("obj")
        if report is not None:
            context["panels"] = [panel_of(report)]
        return super().render_change_form(request, context, *args, **kwargs)
