"""What a job was asked to do and what came of it: a small table of words in place of the JSON that is stored.

A key of another release, or a value of another shape, is shown as it is under its own name; nothing raises.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from django.db.models import Model
from django.utils.functional import Promise
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from personalization.admin.display import DASH, change_url, number, plain
from personalization.admin.intervals import metric_label, read_figures
from personalization.learning import jobs
from personalization.learning.figures import is_number, listed, mapping, moment
from personalization.learning.sentences import read_all
from personalization.models import Campaign, Job, ModelVersion, MonitoringReport, ScoreSet, Trigger, TuningRun
from personalization.ports import moments
from personalization.types import JobKind

MOST_LINKS = 50
HIDDEN = {"reasons", jobs.ERROR, jobs.STAGE}
"""What the page tells in a place of its own."""


@dataclass(frozen=True)
class Line:
    """One row of the table."""

    name: str
    value: Any


def table(lines: Iterable[Line]) -> str | SafeString:
    """Return the lines as a table that scrolls in its own box; a dash where there are none."""
    rows = format_html_join("", '<tr><th scope="row">{}</th><td>{}</td></tr>', ((row.name, row.value) for row in lines))
    if not rows:
        return DASH
    return format_html('<div class="pz-scroll"><table class="pz-table pz-facts"><tbody>{}</tbody></table></div>', rows)


def asked(job: Job) -> str | SafeString:
    """Return what a job was asked to do."""
    return table(_lines(job.params)) if isinstance(job.params, Mapping) else plain(job.params)


def outcome(job: Job) -> str | SafeString:
    """Return what came of a job."""
    result = job.result
    if not isinstance(result, Mapping):
        return plain(result) if result else DASH
    if job.kind == JobKind.FORECAST.value and "forecast" in result:
        return table(_forecast(job, result))
    return table(_lines(result))


def in_short(job: Job) -> str:
    """Return what came of a job in a line for a list."""
    result = mapping(job.result)
    told = {name: result.get(name) for name in ("shoppers", "codes")}
    parts = [f"{NAMES[name]} {number(value)}" for name, value in told.items() if is_number(value)]
    champions = mapping(result.get("champions"))
    if "champions" in result:
        parts.append(gettext("new champions: %(names)s") % {"names": _champions(champions) or gettext("none")})
    if isinstance(result.get("reports"), list):
        parts.append(gettext("%(count)d reports") % {"count": len(result["reports"])})
    if "adopted" in result:
        parts.append(gettext("new settings adopted") if result["adopted"] else gettext("the settings in force stay"))
    if "predicted" in result:
        parts.append(_counted(result["predicted"]))
    return " · ".join(map(str, parts))


def _lines(values: Mapping[Any, Any]) -> list[Line]:
    return [
        Line(str(NAMES.get(key, str(key).replace("_", " ").capitalize())), _value(str(key), value))
        for key, value in values.items()
        if key not in HIDDEN
    ]


def _value(key: str, value: Any) -> Any:
    if value in (None, "", [], {}):
        return gettext("none") if key in {"champions", "in_shadow", "versions"} else DASH
    shown = SHOWN.get(key)
    told = shown(value) if shown is not None else None
    return plain(value) if told is None else told


def _forecast(job: Job, result: Mapping[str, Any]) -> list[Line]:
    campaign = Campaign.objects.filter(pk=_pk(mapping(job.params).get("campaign"))).first()
    figures = read_figures({name: value for name, value in result.items() if name != "forecast"}, "")
    currency = campaign.currency if campaign is not None else ""
    lines = [Line(str(NAMES["campaign"]), _link(campaign, str(campaign)))] if campaign is not None else []
    for figure in read_figures({figure.metric: result[figure.metric] for figure in figures}, currency):
        lines.append(Line(metric_label(figure.metric, figure.label), f"{figure.mean_text} ({figure.interval_text})"))
    return lines


def _pk(value: Any) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 < value < 2**63 else 0


def _link(row: Model | None, text: str) -> Any:
    url = change_url(row, row.pk) if row is not None else ""
    return format_html('<a href="{}">{}</a>', url, text) if url else text


def links(model: type[Model]) -> Callable[[Any], Any]:
    """Return what shows keys of this model as links, and keys of deleted rows as numbers."""

    def linked(value: Any) -> Any:
        keys = [_pk(key) for key in (value if isinstance(value, list) else [value])][:MOST_LINKS]
        found = model._default_manager.in_bulk([key for key in keys if key])
        rows = ((_link(found.get(key), str(found[key]) if key in found else f"#{key}"),) for key in keys if key)
        return format_html_join(", ", "{}", rows) or None

    return linked


def _champions(value: Any) -> str:
    tasks = dict(ModelVersion.TASKS)
    return ", ".join(f"{tasks.get(task, task)}: {name}" for task, name in mapping(value).items())


def _sentences(value: Any) -> Any:
    told = format_html_join("", "<li>{}</li>", ((str(said),) for said in read_all(value)))
    return format_html('<ul class="pz-list">{}</ul>', told) if told else None


def _moment(value: Any) -> str | None:
    found = moment(value)
    return None if found is None else moments.moment(found)


def _counted(value: Any) -> str:
    return ", ".join(f"{name}: {number(count)}" for name, count in mapping(value).items())


def _triggers(value: Any) -> Any:
    keys = {str(key): _pk(int(key)) for key in mapping(value) if str(key).isascii() and str(key).isdecimal()}
    found = Trigger.objects.select_related("campaign").in_bulk([key for key in keys.values() if key])
    lines = (
        (_link(trigger.campaign, f"{trigger.campaign}: {trigger}") if trigger else f"#{key}", number(value[key]))
        for key, trigger in ((key, found.get(pk)) for key, pk in keys.items())
    )
    return format_html_join("", "<div>{}: {}</div>", lines) or None


def _judged(value: Any) -> Any:
    """Return how the versions in shadow did: calibration against chance, and the gain over the champion."""
    lines = []
    for name, entry in mapping(value).items():
        live, beside = mapping(mapping(entry).get("live")), mapping(mapping(entry).get("shadow"))
        told = [gettext("%(rows)s known outcomes") % {"rows": number(live.get("rows"))}]
        if is_number(live.get("ece")):
            figures = {"error": number(live["ece"], 4), "chance": number(live.get("ece_null"), 4)}
            told.append(gettext("calibration error %(error)s, chance explains %(chance)s") % figures)
        gain = [each for each in listed(beside.get("gain")) if is_number(each)]
        if len(gain) == 3:
            figures = {"gain": number(gain[0], 4), "low": number(gain[1], 4), "high": number(gain[2], 4)}
            told.append(gettext("log-loss gain over the champion %(gain)s (%(low)s to %(high)s)") % figures)
        lines.append((name, "; ".join(told)))
    return format_html_join("", "<div>{}: {}</div>", lines) or None


NAMES: dict[str, str | Promise] = {
    "population": _("Population"),
    "simulated": _("Simulated data"),
    "until": _("Data until"),
    "versions": _("Versions trained"),
    "champions": _("New champions"),
    "sentences": _("How it came about"),
    "in_shadow": _("Goes on in shadow"),
    "score_set": _("Scores"),
    "shoppers": _("Shoppers"),
    "campaign": _("Campaign"),
    "file": _("File"),
    "codes": _("Codes"),
    "batch": _("Batch"),
    "offer": _("Offer"),
    "reports": _("Reports"),
    "triggers": _("New occasions"),
    "predicted": _("Predicted now"),
    "judged": _("Against what happened"),
    "score": _("Score afterwards"),
    "seed": _("Seed"),
    "estimators": _("Estimators"),
    "rankers": _("Rankers"),
    "parts": _("Parts"),
    "min_exposures": _("Exposures needed"),
    "audit": _("Compare groups too"),
    "estimator": _("Estimator"),
    "minutes": _("Minutes"),
    "trials": _("Trials"),
    "anew": _("Begin anew"),
    "search": _("Search"),
    "best": _("Best trial"),
    "adopted": _("Settings adopted"),
}
SHOWN: dict[str, Callable[[Any], Any]] = {
    "until": _moment,
    "versions": links(ModelVersion),
    "in_shadow": links(ModelVersion),
    "champions": lambda value: _champions(value) or None,
    "sentences": _sentences,
    "score_set": links(ScoreSet),
    "reports": links(MonitoringReport),
    "campaign": links(Campaign),
    "triggers": _triggers,
    "predicted": lambda value: _counted(value) or None,
    "judged": _judged,
    "search": links(TuningRun),
}
