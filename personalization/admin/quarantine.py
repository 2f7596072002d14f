"""Events that were kept aside: why, how many a day, and, for whoever may, mended and replayed.

Personal values are masked. Whoever mends an event sees the mask too: what is left as it is keeps its value.
"""

from __future__ import annotations

import json
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.urls import path, reverse
from django.utils.formats import date_format
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from personalization.admin.base import ChoiceFilter
from personalization.admin.display import DASH, badge, change_url, json_block, number, pretty
from personalization.admin.events import TypeFilter
from personalization.admin.masking import mask_payload, masked_source, unmask
from personalization.admin.personal import PersonalAdmin, is_shown
from personalization.models import QuarantinedEvent, Rejection, Shopper
from personalization.tracking import quarantine, replay

SOURCES = {"web": _("pages and API clients"), "import": _("imported files"), "server": _("the shop's server")}
MOST_CHARACTERS = 20_000


class MendForm(forms.Form):
    """The event as it should have been."""

    payload = forms.CharField(
        label=_("Event (JSON)"),
        max_length=MOST_CHARACTERS,
        widget=forms.Textarea(attrs={"rows": 14, "spellcheck": "false", "class": "pz-json"}),
    )

    def clean_payload(self) -> dict[str, Any]:
        try:
            value = json.loads(self.cleaned_data["payload"])
        except (ValueError, RecursionError):
            raise forms.ValidationError(gettext("This is not valid JSON.")) from None
        if not isinstance(value, dict):
            raise forms.ValidationError(gettext("An event is an object: {…}."))
        return value


class ReasonFilter(ChoiceFilter):
    title = _("reason")
    parameter_name = "code"

    def choices_of(self) -> list[tuple[str, str]]:
        return [(value, str(label)) for value, label in Rejection.choices]


class SourceFilter(ChoiceFilter):
    title = _("source")
    parameter_name = "from"

    def choices_of(self) -> list[tuple[str, str]]:
        return [(value, str(label)) for value, label in SOURCES.items()]

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        value = self.value()
        return queryset.filter(source__startswith=value) if value in SOURCES else queryset


@admin.register(QuarantinedEvent)
class QuarantinedEventAdmin(PersonalAdmin[QuarantinedEvent]):
    list_display = ("received_at", "code_badge", "type", "reason", "sender", "shopper")
    list_select_related = ("shopper",)
    list_filter = (ReasonFilter, TypeFilter, SourceFilter, "trimmed")
    fields = (
        "received_at",
        "code_badge",
        "reason",
        "type",
        "sender",
        "channel",
        "shopper",
        "trusted",
        "trimmed",
        "payload_text",
    )
    actions = ("replay_selected",)
    change_list_template = "admin/personalization/quarantinedevent/change_list.html"
    change_form_template = "admin/personalization/quarantinedevent/change_form.html"

    @admin.display(description=_("reason"), ordering="code")
    def code_badge(self, event: QuarantinedEvent) -> Any:
        return badge(event.get_code_display(), "quarantined")

    @admin.display(description=_("source"), ordering="source")
    def sender(self, event: QuarantinedEvent) -> str:
        return (event.source if is_shown(event) else masked_source(event.source)) or DASH

    @admin.display(description=_("payload"))
    def payload_text(self, event: QuarantinedEvent) -> Any:
        payload = quarantine.payload_of(event)
        return json_block(payload if is_shown(event) else mask_payload(payload))

    def person(self, row: QuarantinedEvent) -> Shopper | None:
        return row.shopper

    def get_urls(self) -> list[Any]:
        mend = self.admin_site.admin_view(self.mend)
        return [path("<int:event_id>/mend/", mend, name="personalization_quarantinedevent_mend"), *super().get_urls()]

    def has_replay_permission(self, request: HttpRequest) -> bool:
        return self.may(request, "replay_quarantinedevent") and self.has_view_permission(request)

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        days, found = quarantine.by_day()
        labels = dict(Rejection.choices)
        rows = [
            (labels.get(code, code), [_figure(counts.get(each)) for each in days]) for code, counts in found.items()
        ]
        table = {"rejection_days": [date_format(each, "MONTH_DAY_FORMAT") for each in days], "rejection_rows": rows}
        return super().changelist_view(request, {**table, **(extra_context or {})})

    def render_change_form(self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any) -> Any:
        event = kwargs.get("obj")
        if event is not None and self.has_replay_permission(request):
            initial = {"payload": pretty(mask_payload(quarantine.payload_of(event)))}
            context["mend_form"] = MendForm(initial=initial, auto_id="pz-%s")
        return super().render_change_form(request, context, *args, **kwargs)

    def mend(self, request: HttpRequest, event_id: int) -> HttpResponse:
        """Replay one event as it was mended."""
        if not self.has_replay_permission(request):
            raise PermissionDenied
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        event = QuarantinedEvent.objects.filter(pk=event_id).first()
        if event is None:
            return self.gone(request, str(event_id))
        form = MendForm(request.POST)
        if not form.is_valid():
            self.message_user(request, " ".join(map(str, form.errors["payload"])), messages.ERROR)
            return HttpResponseRedirect(change_url(QuarantinedEvent, event_id))
        result = replay.replay_one(event_id, unmask(form.cleaned_data["payload"], quarantine.payload_of(event)))
        self.log_change(request, event, "replayed")
        if result.invalid:
            event.refresh_from_db()
            told = gettext("It is still not an event: %(reason)s") % {"reason": event.reason}
            self.message_user(request, told, messages.WARNING)
            return HttpResponseRedirect(change_url(QuarantinedEvent, event_id))
        self.message_user(request, _told(result))
        return HttpResponseRedirect(reverse("admin:personalization_quarantinedevent_changelist"))

    @admin.action(description=_("Replay"), permissions=["replay"])
    def replay_selected(self, request: HttpRequest, queryset: QuerySet[QuarantinedEvent]) -> None:
        """Try the chosen events again as they are: after a type was declared, say."""
        chosen = list(queryset)
        result = replay.replay(event.pk for event in chosen)
        for event in chosen:
            self.log_change(request, event, "replayed")
        self.message_user(request, _told(result), messages.WARNING if result.invalid else messages.SUCCESS)


def _figure(counts: tuple[int, int] | None) -> str:
    """Return how many were rejected, and of these kept where that is not all."""
    if counts is None:
        return DASH
    rejected, kept = counts
    return number(rejected) if kept == rejected else f"{number(rejected)} ({number(kept)})"


def _told(result: replay.ReplayResult) -> str:
    """Return what became of replayed events, in sentences."""
    text = ngettext("%(count)d event is stored.", "%(count)d events are stored.", result.stored)
    parts = [text % {"count": result.stored}]
    if result.known:
        text = ngettext("%(count)d was known already.", "%(count)d were known already.", result.known)
        parts.append(text % {"count": result.known})
    if result.withheld:
        text = ngettext(
            "%(count)d is not kept: its shopper does not agree.",
            "%(count)d are not kept: their shoppers do not agree.",
            result.withheld,
        )
        parts.append(text % {"count": result.withheld})
    if result.invalid:
        text = ngettext("%(count)d is still not valid.", "%(count)d are still not valid.", result.invalid)
        parts.append(text % {"count": result.invalid})
    return " ".join(parts)
