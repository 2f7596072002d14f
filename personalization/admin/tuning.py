"""Searches for settings: what was tried, what the unseen fold said, what is in force; start one, withdraw a find.

Nothing here searches: the form writes a row, and a worker takes it.
"""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.urls import path, reverse
from django.utils.html import format_html, format_html_join
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from personalization import conf
from personalization.admin.base import ReadOnlyAdmin
from personalization.admin.display import DASH, badge, day, json_block, number
from personalization.exceptions import PersonalizationError
from personalization.learning import tuning
from personalization.models import ModelVersion, TuningRun, TuningTrial
from personalization.ports.messages import explain

MOST_SHOWN = 200


class SearchForm(forms.Form):
    """What a search is asked for: an estimator, and how long it may take."""

    estimator = forms.ChoiceField(
        label=_("Estimator"),
        choices=lambda: [
            (dict(ModelVersion.TASKS)[task.value], [(name, name) for name in names])
            for task, names in tuning.SEARCHABLE.items()
        ],
    )
    minutes = forms.IntegerField(label=_("Minutes"), min_value=1, max_value=tuning.MOST_MINUTES, initial=tuning.MINUTES)


@admin.register(TuningRun)
class TuningRunAdmin(ReadOnlyAdmin):
    list_display = ("__str__", "task", "state_badge", "standing", "gain_text", "tried", "population", "created")
    list_filter = ("task", "state", "population")
    change_list_template = "admin/personalization/tuningrun/change_list.html"
    change_form_template = "admin/personalization/tuningrun/change_form.html"
    fieldsets = (
        (None, {"fields": ("estimator", "task", "population", "state_badge", "standing", "created_at", "judged_at")}),
        (_("What came of it"), {"fields": ("told", "changed")}),
        (
            _("Technical details"),
            {
                "fields": (
                    *("seed", "cutoff_at", "held_from", "metric", "split", "folds", "looks", "space_text"),
                    *("start_text", "settings_text", "adopted_at", "withdrawn_at", "withdrawn_by", "job"),
                ),
                "classes": ("collapse",),
            },
        ),
    )

    # -- cells

    @admin.display(description=_("state"), ordering="state")
    def state_badge(self, run: TuningRun) -> Any:
        return badge(run.get_state_display(), run.state)

    @admin.display(description=_("settings"))
    def standing(self, run: TuningRun) -> str:
        return tuning.standing(run) or DASH

    @admin.display(description=_("gain"), ordering="gain")
    def gain_text(self, run: TuningRun) -> Any:
        if run.gain is None:
            return DASH
        interval = f"{number(run.low, 5)} – {number(run.high, 5)}"
        return format_html(
            '<span class="pz-figure">{}</span><span class="pz-hint">{}</span>', number(run.gain, 5), interval
        )

    @admin.display(description=_("trials"))
    def tried(self, run: TuningRun) -> int:
        return run.trials.count()

    @admin.display(description=_("created"), ordering="created_at")
    def created(self, run: TuningRun) -> str:
        return day(run.created_at)

    @admin.display(description=_("verdict"))
    def told(self, run: TuningRun) -> str:
        return tuning.sentence(run)

    @admin.display(description=_("settings changed"))
    def changed(self, run: TuningRun) -> Any:
        rows = ((name, tuning.plain(before), tuning.plain(after)) for name, before, after in tuning.differences(run))
        return format_html_join("", "<p>{}: {} → {}</p>", rows) or DASH

    @admin.display(description=_("searched within"))
    def space_text(self, run: TuningRun) -> Any:
        return json_block(run.space)

    @admin.display(description=_("settings at the start"))
    def start_text(self, run: TuningRun) -> Any:
        return json_block(run.start)

    @admin.display(description=_("settings found"))
    def settings_text(self, run: TuningRun) -> Any:
        return json_block(run.settings)

    # -- pages

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        form = SearchForm() if self.may(request, "run_job") else None
        return super().changelist_view(request, {"search_form": form, **(extra_context or {})})

    def render_change_form(self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        run = kwargs.get("obj")
        if run is not None:
            context["trials"] = [_trial(trial, run) for trial in tuning.trials(run)[:MOST_SHOWN]]
            context["metric"] = run.metric
            context["may_withdraw"] = run.in_force and self.may(request, "change_modelversion")
        return super().render_change_form(request, context, *args, **kwargs)

    def get_urls(self) -> list[Any]:
        wrap = self.admin_site.admin_view
        return [
            path("start/", wrap(self.start_page), name="personalization_tuningrun_start"),
            path("<path:object_id>/withdraw/", wrap(self.withdraw_page), name="personalization_tuningrun_withdraw"),
            *super().get_urls(),
        ]

    def start_page(self, request: HttpRequest) -> HttpResponse:
        """Queue a search."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        if not self.may(request, "run_job"):
            raise PermissionDenied
        population = conf.get().population
        form = SearchForm(request.POST)
        if not form.is_valid():
            told = " ".join(str(error) for errors in form.errors.values() for error in errors)
            self.message_user(request, told, messages.ERROR)
        elif (job := tuning.ask({"population": population, **form.cleaned_data}, by=request.user)) is None:
            self.message_user(request, gettext("This estimator is being searched for already."), messages.WARNING)
        else:
            self.message_user(request, gettext("%(job)s waits for a worker.") % {"job": job}, messages.SUCCESS)
        return HttpResponseRedirect(reverse("admin:personalization_tuningrun_changelist"))

    def withdraw_page(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """POST takes the settings out of force."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        run = self.get_object(request, object_id)
        if run is None:
            return self.gone(request, object_id)
        if not self.may(request, "change_modelversion"):
            raise PermissionDenied
        try:
            tuning.withdraw(run, request.user)
        except PersonalizationError as error:
            self.message_user(request, explain(error), messages.ERROR)
        else:
            told = gettext("Withdrawn: the next training of %(estimator)s uses the settings as shipped.")
            self.log_change(request, run, gettext("Withdrawn."))
            self.message_user(request, told % {"estimator": run.estimator}, messages.SUCCESS)
        return HttpResponseRedirect(reverse("admin:personalization_tuningrun_change", args=[run.pk]))


def _trial(trial: TuningTrial, run: TuningRun) -> dict[str, Any]:
    """Return a row of the table of trials: what it changes, and the mean over its folds."""
    changed = {name: value for name, value in trial.settings.items() if run.start.get(name) != value}
    return {
        "number": trial.number,
        "state": badge(trial.get_state_display(), trial.state),
        "figure": number(tuning.mean(trial), 5) if trial.figures else DASH,
        "seconds": number(trial.seconds, 1),
        "settings": ", ".join(f"{name} {tuning.plain(value)}" for name, value in changed.items()),
        "error": trial.error,
        "best": trial.number == run.best,
    }
