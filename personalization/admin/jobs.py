"""Jobs: what workers do now, how far they are, and whether there is enough data to learn from.

Nothing here trains: a button writes a row, and a worker takes it.
"""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect, JsonResponse
from django.shortcuts import render
from django.urls import path, reverse
from django.utils import timezone
from django.utils.formats import time_format
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from personalization import conf
from personalization.admin import outcomes
from personalization.admin.base import ReadOnlyAdmin
from personalization.admin.display import DASH, badge, day, progress
from personalization.exceptions import PersonalizationError
from personalization.learning import jobs, retraining, shards
from personalization.learning.readiness import readiness
from personalization.learning.standing import standings
from personalization.models import Job
from personalization.ports.messages import explain
from personalization.types import JobKind, JobState

ENDED_BADLY = (JobState.FAILED.value, JobState.CANCELLED.value, JobState.QUARANTINED.value)
STARTABLE = {kind.value: kind for kind in (JobKind.TRAIN, JobKind.SCORE, JobKind.SHADOW)}
LONGEST_KEY = 18
"""Digits of a row's number, at most: more fit no column."""
MOST_POLLED = 100


@admin.register(Job)
class JobAdmin(ReadOnlyAdmin):
    list_display = ("__str__", "state_now", "progress_now", "stage_now", "created", "took")
    list_filter = ("kind", "state")
    list_select_related = ("requested_by",)
    actions = ("cancel_jobs", "retry_jobs")
    change_list_template = "admin/personalization/job/change_list.html"
    change_form_template = "admin/personalization/job/change_form.html"
    fieldsets = (
        (
            None,
            {
                "fields": (
                    "kind",
                    "reasons_text",
                    "params_text",
                    "requested_by",
                    "created_at",
                    "started_at",
                    "finished_at",
                    "took",
                )
            },
        ),
        (_("Result"), {"fields": ("result_text", "error_text")}),
        (
            _("Technical details"),
            {
                "fields": ("cutoff_at", "attempts", "fence", "lease_owner", "lease_expires_at"),
                "classes": ("collapse",),
            },
        ),
    )

    # -- cells

    @admin.display(description=_("state"), ordering="state")
    def state_now(self, job: Job) -> SafeString:
        return _part(job, "state", badge(job.get_state_display(), job.state))

    @admin.display(description=_("progress"), ordering="progress")
    def progress_now(self, job: Job) -> SafeString:
        label = gettext("Progress of %(job)s") % {"job": job}
        return _part(job, "progress", progress(job.progress, label) if job.state != JobState.QUEUED.value else DASH)

    @admin.display(description=_("stage or result"))
    def stage_now(self, job: Job) -> SafeString:
        succeeded = job.state == JobState.SUCCEEDED.value
        text = outcomes.in_short(job) if succeeded else (jobs.error_of(job) or jobs.stage_of(job))[:120]
        return _part(job, "stage", text or DASH)

    @admin.display(description=_("created"), ordering="created_at")
    def created(self, job: Job) -> SafeString:
        who = job.requested_by.get_username() if job.requested_by is not None else _("by the schedule or a command")
        return format_html(
            '{} <span class="pz-figure">{}</span><span class="pz-hint">{}</span>',
            day(job.created_at),
            time_format(timezone.localtime(job.created_at), "TIME_FORMAT"),
            who,
        )

    @admin.display(description=_("duration"))
    def took(self, job: Job) -> str:
        if job.started_at is None:
            return DASH
        seconds = round(((job.finished_at or timezone.now()) - job.started_at).total_seconds())
        if seconds < 60:
            return gettext("%(seconds)d s") % {"seconds": max(seconds, 0)}
        return gettext("%(minutes)d min %(seconds)d s") % {"minutes": seconds // 60, "seconds": seconds % 60}

    @admin.display(description=_("why"))
    def reasons_text(self, job: Job) -> Any:
        return format_html_join("", "<p>{}</p>", ((told,) for told in retraining.sentences(job.params))) or DASH

    @admin.display(description=_("parameters"))
    def params_text(self, job: Job) -> Any:
        return outcomes.asked(job)

    @admin.display(description=_("result"))
    def result_text(self, job: Job) -> Any:
        return outcomes.outcome(job)

    @admin.display(description=_("error"))
    def error_text(self, job: Job) -> Any:
        return format_html('<p class="pz-note pz-note--bad">{}</p>', jobs.error_of(job)) if job.error else DASH

    # -- actions

    def has_run_permission(self, request: HttpRequest) -> bool:
        """Return whether the user may start, cancel and retry jobs."""
        return self.may(request, "run_job")

    @admin.action(description=_("Cancel the selected jobs"), permissions=["run"])
    def cancel_jobs(self, request: HttpRequest, queryset: QuerySet[Job]) -> None:
        done = sum(self._cancel(request, job) for job in queryset)
        self.message_user(
            request,
            ngettext("%(count)d job cancelled.", "%(count)d jobs cancelled.", done) % {"count": done},
            messages.SUCCESS if done else messages.WARNING,
        )

    @admin.action(description=_("Retry the selected jobs"), permissions=["run"])
    def retry_jobs(self, request: HttpRequest, queryset: QuerySet[Job]) -> None:
        done = sum(self._retry(request, job) for job in queryset)
        self.message_user(
            request,
            ngettext("%(count)d job queued again.", "%(count)d jobs queued again.", done) % {"count": done},
            messages.SUCCESS if done else messages.WARNING,
        )

    def _cancel(self, request: HttpRequest, job: Job) -> bool:
        done = jobs.cancel(job)
        if done:
            self.log_change(request, job, gettext("Cancelled."))
        return done

    def _retry(self, request: HttpRequest, job: Job) -> bool:
        done = jobs.retry(job)
        if done:
            self.log_change(request, job, gettext("Queued again."))
        return done

    # -- further pages

    def get_urls(self) -> list[Any]:
        wrap = self.admin_site.admin_view
        return [
            path("start/<slug:kind>/", wrap(self.start_page), name="personalization_job_start"),
            path("states/", wrap(self.states_page), name="personalization_job_states"),
            path("<path:object_id>/now/", wrap(self.now_page), name="personalization_job_now"),
            path("<path:object_id>/cancel/", wrap(self.cancel_page), name="personalization_job_cancel"),
            path("<path:object_id>/retry/", wrap(self.retry_page), name="personalization_job_retry"),
            *super().get_urls(),
        ]

    def start_page(self, request: HttpRequest, kind: str) -> HttpResponse:
        """Queue a training or a scoring."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        if kind not in STARTABLE:
            raise Http404
        if not self.has_run_permission(request):
            raise PermissionDenied
        job, new = _start(STARTABLE[kind], request.user)
        if new:
            self.log_change(request, job, gettext("Queued."))
            self.message_user(request, gettext("%(job)s waits for a worker.") % {"job": job}, messages.SUCCESS)
        else:
            told = gettext("Nothing was queued: %(job)s is open already.")
            self.message_user(request, told % {"job": job}, messages.WARNING)
        return HttpResponseRedirect(reverse("admin:personalization_job_changelist"))

    def states_page(self, request: HttpRequest) -> HttpResponse:
        """Return the changing cells of some jobs, for the list that refreshes itself."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        asked = request.GET.get("ids", "").split(",")[:MOST_POLLED]
        wanted = [int(part) for part in asked if part.isdecimal() and len(part) <= LONGEST_KEY]
        cells = {
            job.pk: {
                "state": self.state_now(job),
                "progress": self.progress_now(job),
                "stage": self.stage_now(job),
                "open": job.state in jobs.OPEN,
            }
            for job in self.get_queryset(request).filter(pk__in=wanted)
        }
        return JsonResponse(cells)

    def now_page(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Return the panel of one job, for the page that refreshes itself."""
        job = self.get_object(request, object_id)
        if job is None:
            return self.gone(request, object_id)
        if not self.has_view_permission(request, job):
            raise PermissionDenied
        return render(request, "admin/personalization/job/now.html", self._now(request, job))

    def cancel_page(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return self._one(request, object_id, self._cancel, gettext("This job cannot be cancelled any more."))

    def retry_page(self, request: HttpRequest, object_id: str) -> HttpResponse:
        return self._one(request, object_id, self._retry, gettext("This job cannot be retried now."))

    def _one(self, request: HttpRequest, object_id: str, verb: Any, refusal: str) -> HttpResponse:
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        if not self.has_run_permission(request):
            raise PermissionDenied
        job = self.get_object(request, object_id)
        if job is None:
            return self.gone(request, object_id)
        if not verb(request, job):
            self.message_user(request, refusal, messages.WARNING)
        return HttpResponseRedirect(reverse("admin:personalization_job_change", args=[job.pk]))

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        population = conf.get().population
        try:
            ready = readiness(population)
        except PersonalizationError as error:
            self.message_user(request, explain(error), messages.WARNING)
            ready = None
        context = {
            "readiness": ready,
            "standings": standings(population),
            "may_run": self.has_run_permission(request),
            "refreshing": Job.objects.filter(state__in=jobs.OPEN).exists(),
        }
        return super().changelist_view(request, {**context, **(extra_context or {})})

    def change_view(
        self,
        request: HttpRequest,
        object_id: str,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> Any:
        job = self.get_object(request, object_id)
        now = self._now(request, job) if job is not None else {}
        return super().change_view(request, object_id, form_url, {**now, **(extra_context or {})})

    def _now(self, request: HttpRequest, job: Job) -> dict[str, Any]:
        may_run = self.has_run_permission(request)
        return {
            "job": job,
            "stage": jobs.stage_of(job),
            "is_open": job.state in jobs.OPEN,
            "state_cell": badge(job.get_state_display(), job.state),
            "progress_cell": progress(job.progress, gettext("Progress of %(job)s") % {"job": job}),
            "parts": shards.progress(job) if job.kind == JobKind.SCORE.value else None,
            "can_cancel": may_run and job.state in jobs.OPEN,
            "can_retry": may_run and job.state in ENDED_BADLY,
        }


def _start(kind: JobKind, user: Any) -> tuple[Job, bool]:
    """Queue a job of the shop's own, or find the one that is open already; return it, and whether it was queued now."""
    population = conf.get().population
    if kind == JobKind.TRAIN:
        return retraining.ask(population, by=user)
    return jobs.ask(kind, {"population": population}, by=user)


def _part(job: Job, part: str, content: Any) -> SafeString:
    """Return a cell that the list's script can replace while the job runs."""
    is_open = "1" if job.state in jobs.OPEN else ""
    return format_html(
        '<span data-pz-job="{}" data-pz-part="{}" data-pz-open="{}">{}</span>', job.pk, part, is_open, content
    )
