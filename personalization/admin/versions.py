"""Trained artefacts: the board that compares them, their cards, and who is champion; published scores beside them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.template.defaultfilters import filesizeformat
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from personalization import conf
from personalization.admin import outcomes, predictions
from personalization.admin.attractiveness import hindsight_words
from personalization.admin.base import ReadOnlyAdmin
from personalization.admin.display import DASH, badge, change_url, day, json_block, number
from personalization.admin.intervals import read_interval
from personalization.exceptions import PersonalizationError
from personalization.learning import card as cards
from personalization.learning import gate, metric_names, publish, registry, shadow
from personalization.learning.attractiveness import hindsight
from personalization.learning.board import BoardRow, Shadow, board, shadow_of
from personalization.learning.rollback import roll_back
from personalization.models import ModelVersion, ScoreSet
from personalization.ports.messages import explain
from personalization.types import ModelTask

MOST_POPULATIONS = 5
MOST_METRICS = 4
"""Columns of figures of the board; a version's page tells all."""


@dataclass(frozen=True)
class BoardLine:
    """One estimator's row: a cell (value, interval) for each of the board's metrics, what it costs, its standing.

    ``others``: name, AUC and interval of the effects that do not decide. ``verdicts``: why the gate kept it out, of the
    estimator that won its training's race; of a strategy, what its rivals' comparison came to.
    """

    estimator: str
    url: str
    champion: bool
    cells: list[tuple[str, str]]
    others: list[tuple[str, str, str]]
    costs: list[tuple[str, str]]
    trained_at: Any
    note: str
    verdicts: list[str]
    shadow: str


@dataclass(frozen=True)
class BoardTable:
    """One task's estimators side by side."""

    population: str
    task: str
    metrics: list[str]
    has_others: bool
    lines: list[BoardLine]
    hindsight: str = ""


def board_tables(population: str) -> list[BoardTable]:
    """Return the board of a population, one table a task."""
    by_task: dict[str, list[BoardRow]] = {}
    for row in board(population):
        by_task.setdefault(row.task, []).append(row)
    tasks = dict(ModelVersion.TASKS)
    tables = []
    for task, rows in by_task.items():
        every = metric_names.ordered(name for row in rows for name in row.metrics)
        names = [name for name in every if not metric_names.effect_of(name)][:MOST_METRICS]
        tables.append(
            BoardTable(
                population=population,
                task=str(tasks.get(task, task)),
                metrics=[metric_names.in_short(name) for name in names],
                has_others=any(map(metric_names.effect_of, every)),
                lines=[_line(row, names) for row in rows],
                hindsight=hindsight_words(hindsight(population)) if task == ModelTask.ATTRACTIVENESS else "",
            )
        )
    return tables


def _line(row: BoardRow, names: list[str]) -> BoardLine:
    return BoardLine(
        estimator=row.estimator,
        url=change_url(ModelVersion, row.version_id) if row.version_id is not None else "",
        champion=row.champion,
        cells=[metric_cell(row.metrics.get(name)) for name in names],
        others=[
            (metric_names.effect_of(name), *metric_cell(value))
            for name, value in row.metrics.items()
            if metric_names.effect_of(name)
        ],
        costs=[
            (gettext("Fit (s)"), number(row.cost.fit_seconds)),
            (gettext("Memory (MB)"), number(row.cost.peak_mb)),
            (gettext("Scoring (s per 1,000)"), number(row.cost.seconds_per_1000)),
            (gettext("File"), filesizeformat(row.cost.size_bytes)),
        ],
        trained_at=row.trained_at,
        note=row.note,
        verdicts=_verdicts(row),
        shadow=shadow_words(row.shadow),
    )


def _verdicts(row: BoardRow) -> list[str]:
    """Return what kept a challenger out; of a strategy, first what came of comparing it, held or not."""
    if not row.challenger:
        return []
    compared = [check for check in row.checks if row.task == ModelTask.STRATEGY and check.name in gate.RIVALS]
    refused = [check for check in row.checks if check.passed is False and check not in compared]
    told = [check.sentence for check in compared]
    return told + [gettext("Not promoted: %(reason)s") % {"reason": check.sentence} for check in refused]


def shadow_words(shadow: Shadow | None) -> str:
    """Return what came of scoring in shadow, in a sentence; nothing for a version that never did."""
    if shadow is None:
        return ""
    if shadow.gain is None:
        return gettext("In shadow: %(rows)s exposures with known outcome so far.") % {"rows": number(shadow.rows)}
    value, low, high = (number(figure, 4) for figure in shadow.gain)
    told = {"rival": shadow.rival, "rows": number(shadow.rows), "gain": value, "low": low, "high": high}
    return (
        gettext(
            "In shadow: log-loss gain over %(rival)s on %(rows)s exposures %(gain)s, 95 %% interval %(low)s – %(high)s."
        )
        % told
    )


def metric_cell(value: Any) -> tuple[str, str]:
    """Return a metric's value and its interval as text."""
    mean, low, high = read_interval(value)
    if mean is None:
        return DASH, ""
    interval = "" if low is None or high is None else f"{number(low)} – {number(high)}"
    return number(mean), interval


@admin.register(ModelVersion)
class ModelVersionAdmin(ReadOnlyAdmin):
    list_display = ("__str__", "task", "state_badge", "population", "created", "size")
    list_filter = ("task", "state", "population")
    fieldsets = (
        (None, {"fields": ("estimator", "task", "state_badge", "population", "created_at", "cutoff_at", "job")}),
        (_("Model card"), {"fields": ("card_words",)}),
        (_("Card and metrics as stored"), {"fields": ("card_text", "metrics_text"), "classes": ("collapse",)}),
        (_("File"), {"fields": ("path", "sha256", "size"), "classes": ("collapse",)}),
    )
    change_list_template = "admin/personalization/modelversion/change_list.html"
    change_form_template = "admin/personalization/modelversion/change_form.html"

    @admin.display(description=_("state"), ordering="state")
    def state_badge(self, version: ModelVersion) -> Any:
        return badge(version.get_state_display(), version.state)

    @admin.display(description=_("created"), ordering="created_at")
    def created(self, version: ModelVersion) -> str:
        return day(version.created_at)

    @admin.display(description=_("size"), ordering="size_bytes")
    def size(self, version: ModelVersion) -> str:
        return filesizeformat(version.size_bytes)

    @admin.display(description=_("in short"))
    def card_words(self, version: ModelVersion) -> Any:
        card = cards.build(version)
        return outcomes.table(outcomes.Line(row.name, row.value) for row in (*card.about, *card.data))

    @admin.display(description=_("metrics"))
    def metrics_text(self, version: ModelVersion) -> Any:
        return json_block(version.metrics)

    @admin.display(description=_("card"))
    def card_text(self, version: ModelVersion) -> Any:
        return json_block(version.card)

    def has_promote_permission(self, request: HttpRequest) -> bool:
        """Return whether the user may decide which version serves shoppers."""
        return self.may(request, "change_modelversion")

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        populations = ModelVersion.objects.order_by("population").values_list("population", flat=True).distinct()
        names = list(dict.fromkeys([conf.get().population, *populations]))[:MOST_POPULATIONS]
        tables = [table for name in names for table in board_tables(name)]
        context = {"tables": tables, "several_populations": len({table.population for table in tables}) > 1}
        return super().changelist_view(request, {**context, **(extra_context or {})})

    def render_change_form(self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        version = kwargs.get("obj")
        if version is not None:
            metrics = version.metrics if isinstance(version.metrics, dict) else {}
            figures = metrics["board"] if isinstance(metrics.get("board"), dict) else metrics
            context["metric_rows"] = [
                (metric_names.in_full(name), *metric_cell(figures[name]))
                for name in metric_names.ordered(figures)
                if metric_cell(figures[name])[0] != DASH
            ]
            context["checks"] = gate.checks_of(metrics)
            context["shadow_words"] = shadow_words(shadow_of(metrics))
            may = self.has_promote_permission(request)
            reigns = version.state == ModelVersion.State.CHAMPION
            context["promote_label"] = promote_label(version) if may and not reigns else ""
            context["may_shadow"] = may and shadow.can_begin(version)
            context["may_leave_shadow"] = may and version.in_shadow
        return super().render_change_form(request, context, *args, **kwargs)

    def get_urls(self) -> list[Any]:
        wrap = self.admin_site.admin_view
        return [
            path("<path:object_id>/card/", wrap(self.card_page), name="personalization_modelversion_card"),
            path("<path:object_id>/promote/", wrap(self.promote_page), name="personalization_modelversion_promote"),
            path("<path:object_id>/shadow/", wrap(self.shadow_page), name="personalization_modelversion_shadow"),
            *super().get_urls(),
        ]

    def card_page(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """The version's card: to be read, and to be printed."""
        version = self.get_object(request, object_id)
        if version is None:
            return self.gone(request, object_id)
        if not self.has_view_permission(request, version):
            raise PermissionDenied
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "original": version,
            "title": gettext("Model card: %(version)s") % {"version": version},
            "card": cards.build(version),
            "media": self.media,
        }
        return TemplateResponse(request, "admin/personalization/modelversion/card.html", context)

    def promote_page(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """GET asks, POST makes the version champion."""
        if request.method not in {"GET", "POST"}:
            return HttpResponseNotAllowed(["GET", "POST"])
        version = self.get_object(request, object_id)
        if version is None:
            return self.gone(request, object_id)
        if not self.has_promote_permission(request):
            raise PermissionDenied
        back = HttpResponseRedirect(reverse("admin:personalization_modelversion_change", args=[version.pk]))
        if version.state == ModelVersion.State.CHAMPION:  # a button pressed twice
            return back
        if request.method == "POST":
            self._promote(request, version)
            return back
        reigning = ModelVersion.objects.filter(
            task=version.task, population=version.population, state=ModelVersion.State.CHAMPION
        ).first()
        context = {
            **self.admin_site.each_context(request),
            "opts": self.opts,
            "original": version,
            "label": promote_label(version),
            "title": f"{promote_label(version)}: {version}",
            "reigning": reigning,
            "rolls_back": version.state == ModelVersion.State.RETIRED,
            "scores_shoppers": version.task in registry.SCORED_TASKS,
            "scores": publish.restorable(ModelTask(version.task), version),
            "hold_hours": conf.get().rollback_hold_hours,
            "media": self.media,
        }
        return TemplateResponse(request, "admin/personalization/modelversion/confirm_promote.html", context)

    def _promote(self, request: HttpRequest, version: ModelVersion) -> None:
        """Promote a candidate; let a retired version, which was champion once, reign again with its scores."""
        label = promote_label(version)
        try:
            if version.state == ModelVersion.State.RETIRED:
                done = roll_back(ModelTask(version.task), version.population, by=request.user, to=version)
                told = " ".join(done.sentences())
            else:
                registry.promote(version, request.user)
                told = crowned_words(version)
        except PersonalizationError as error:
            self.message_user(request, explain(error), messages.ERROR)
            return
        self.log_change(request, version, label)
        self.message_user(request, told, messages.SUCCESS)

    def shadow_page(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """POST lets a candidate predict beside the champion, or ends it."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        version = self.get_object(request, object_id)
        if version is None:
            return self.gone(request, object_id)
        if not self.has_promote_permission(request):
            raise PermissionDenied
        if version.in_shadow:
            shadow.end(version)
            told = gettext("%(version)s is not in shadow any more.") % {"version": version}
        elif shadow.begin(version):
            told = gettext("%(version)s predicts in shadow from now on.") % {"version": version}
        else:
            self.message_user(request, gettext("This version cannot be put in shadow."), messages.WARNING)
            told = ""
        if told:
            self.log_change(request, version, told)
            self.message_user(request, told, messages.SUCCESS)
        return HttpResponseRedirect(reverse("admin:personalization_modelversion_change", args=[version.pk]))


def crowned_words(version: ModelVersion) -> str:
    """Return what a promotion means for what is served."""
    if version.task in registry.SCORED_TASKS:
        text = gettext("%(version)s is champion now. The next scoring uses it.")
    else:
        text = gettext("%(version)s is champion now. The next forecast of a campaign uses it.")
    return text % {"version": version}


def promote_label(version: ModelVersion) -> str:
    """Return the words on the button: a retired version was champion once."""
    return gettext("Roll back to this version") if version.state == "retired" else gettext("Promote to champion")


@admin.register(ScoreSet)
class ScoreSetAdmin(ReadOnlyAdmin):
    list_display = ("__str__", "state_badge", "population", "shoppers", "response_version", "published_at")
    list_select_related = ("response_version",)
    list_filter = ("state", "population")
    fields = (
        "state_badge",
        "population",
        "shoppers",
        "response_version",
        "strategy_version",
        "preference_version",
        "intent_version",
        ("intent_days", "intent_low", "intent_high"),
        "job",
        "created_at",
        "published_at",
        "defaults_text",
    )

    @admin.display(description=_("state"), ordering="state")
    def state_badge(self, score_set: ScoreSet) -> Any:
        return badge(score_set.get_state_display(), score_set.state)

    @admin.display(description=_("defaults"))
    def defaults_text(self, score_set: ScoreSet) -> Any:
        return predictions.defaults(score_set)
