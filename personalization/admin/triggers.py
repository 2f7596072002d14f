"""Occasions on a campaign's page, and what came of them: the outbox, and the addresses that get nothing any more."""

from __future__ import annotations

import json
from typing import Any

from django import forms
from django.contrib import admin
from django.core.exceptions import NON_FIELD_ERRORS, ValidationError
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from personalization import conf
from personalization.admin.base import ReadOnlyAdmin
from personalization.admin.display import DASH, badge
from personalization.admin.lines import Line, trigger_line
from personalization.admin.offers import CLOSED, OPEN
from personalization.models import Campaign, OutboxMessage, Suppression, Trigger
from personalization.models.trigger_rules import ANYTHING, BUILT_IN_CHANNELS, NUMBERS, TEXTS

COLUMNS = ("kind", "open_days", "channels", "active")
TONE_OF = {"waiting": "queued", "sending": "running", "sent": "live", "suppressed": "retired"}

QUESTIONS = (
    ("days", "days_before", "late_days"),
    ("hours", "within_days", "percent"),
    ("first_day", "last_day"),
    ("country", "subdivision", "name"),
    ("type", "property", "value"),
)


class TriggerForm(forms.ModelForm):
    """A trigger with its details as plain questions; those that its occasion does not know stay empty."""

    days = forms.IntegerField(
        label=_("Days"),
        required=False,
        min_value=1,
        help_text=_("Welcome: joined within. Win-back: has not bought for. Custom event: happened within."),
    )
    days_before = forms.IntegerField(
        label=_("Days before"), required=False, min_value=0, help_text=_("Birthday, holiday, replenishment.")
    )
    late_days = forms.IntegerField(
        label=_("At most so many days late"), required=False, min_value=1, help_text=_("Replenishment.")
    )
    hours = forms.IntegerField(
        label=_("Hours"), required=False, min_value=1, help_text=_("Basket: left alone for so long.")
    )
    within_days = forms.IntegerField(
        label=_("Within days"), required=False, min_value=1, help_text=_("Basket, price drop: no older than this.")
    )
    percent = forms.IntegerField(
        label=_("Percent"), required=False, min_value=1, max_value=99, help_text=_("Price drop: by at least.")
    )
    first_day = forms.CharField(label=_("First day"), required=False, help_text=_("Season: month and day, 12-01."))
    last_day = forms.CharField(label=_("Last day"), required=False, help_text=_("Season: month and day, 12-24."))
    country = forms.CharField(
        label=_("Country"), required=False, help_text=_("Holiday: ISO code, such as DE. Empty: the shop's country.")
    )
    subdivision = forms.CharField(label=_("Region"), required=False, help_text=_("Holiday: such as BY. Empty: none."))
    name = forms.CharField(
        label=_("Holiday's name"), required=False, help_text=_("Only holidays whose name has this in it. Empty: all.")
    )
    type = forms.CharField(label=_("Event"), required=False, help_text=_("Custom event: its declared type."))
    property = forms.CharField(label=_("Property"), required=False, help_text=_("Only events with this property …"))
    value = forms.CharField(label=_("Value"), required=False, help_text=_("… and this value."))
    channels = forms.MultipleChoiceField(
        label=_("Pushed through"),
        required=False,
        widget=forms.CheckboxSelectMultiple,
        help_text=_("None: only shown on the shop's pages."),
    )

    class Meta:
        model = Trigger
        fields = ("kind", "open_days", "channels", "active")

    NAMES = {"first_day": "from", "last_day": "to"}
    DETAILS = tuple(name for row in QUESTIONS for name in row)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        names = dict.fromkeys([*BUILT_IN_CHANNELS, *conf.get().channels])
        if "channels" in self.fields:
            self.fields["channels"].choices = [(name, name) for name in names]  # type: ignore[attr-defined]
        for field in self.DETAILS:
            self.initial.setdefault(field, self.instance.params.get(self.NAMES.get(field, field)))

    def line(self) -> Line:
        """Return what the page shows of it while it is closed."""
        labels = {self.NAMES.get(field, field): str(self.base_fields[field].label) for field in self.DETAILS}
        return trigger_line(self.instance, labels)

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        if "kind" not in self.fields:  # fixed by the campaign's state
            return cleaned
        kind = cleaned.get("kind", "")
        given: dict[str, Any] = {}
        for field in details_of(kind):
            typed = cleaned.get(field)
            if typed not in (None, ""):
                given[self.NAMES.get(field, field)] = typed
        if "value" in given:
            given["value"] = _plain(given["value"])
        self.instance.params = given  # which the trigger itself checks
        return cleaned

    def add_error(self, field: str | None, error: Any) -> None:
        """Show what is wrong with the details at the occasion, which says what they must be."""
        if field is None and isinstance(error, ValidationError) and hasattr(error, "error_dict"):
            placed: dict[str, list[ValidationError]] = {}
            for name, errors in error.error_dict.items():
                name = "kind" if name == "params" else name
                placed.setdefault(name if name in self.fields else NON_FIELD_ERRORS, []).extend(errors)
            error = ValidationError(placed)
        super().add_error(field, error)

    def changed_columns(self) -> list[str]:
        """Return the columns to write: never how far a pass has come, which evaluations move meanwhile."""
        typed = [name for name in COLUMNS if name in self.fields]
        return [*typed, "params"] if "kind" in self.fields else typed


def _plain(text: str) -> str | int | bool:
    """Read what was typed as the value it stands for: a whole number, yes or no, else a text."""
    if text in {"true", "false"}:
        return text == "true"
    return int(text) if text.lstrip("-").isascii() and text.lstrip("-").isdigit() else text


def details_of(kind: str) -> list[str]:
    """Return the form's fields for what an occasion knows."""
    known = {*NUMBERS.get(kind, ()), *TEXTS.get(kind, ()), *ANYTHING.get(kind, ())}
    return [field for field in TriggerForm.DETAILS if TriggerForm.NAMES.get(field, field) in known]


KIND_FIELDS = {str(kind): details_of(str(kind)) for kind in Trigger.Kind.values}
"""Occasion → the details that it knows. A script hides the others while they are empty."""


class TriggerInline(admin.StackedInline):
    """Occasions, a line each."""

    model = Trigger
    form = TriggerForm
    extra = 0
    template = "admin/personalization/campaign/lines.html"
    heading = _("Triggers")
    kind_fields = json.dumps(KIND_FIELDS)
    about = _("What sets the campaign off for a shopper. Without one it is for its whole audience at any time.")

    def has_change_permission(self, request: HttpRequest, obj: Campaign | None = None) -> bool:
        closed = obj is not None and obj.status in CLOSED
        return not closed and super().has_change_permission(request, obj)

    def has_add_permission(self, request: HttpRequest, obj: Campaign | None = None) -> bool:
        return not _is_fixed(obj) and super().has_add_permission(request, obj)

    def has_delete_permission(self, request: HttpRequest, obj: Campaign | None = None) -> bool:
        return not _is_fixed(obj) and super().has_delete_permission(request, obj)

    def get_readonly_fields(self, request: HttpRequest, obj: Campaign | None = None) -> tuple[str, ...]:
        if not self.has_change_permission(request, obj):
            return ("kind", "active", "open_days", "channel_names", "details", "evaluated_at")
        return ("kind", "open_days", "details", "evaluated_at") if _is_fixed(obj) else ("evaluated_at",)

    def get_fieldsets(self, request: HttpRequest, obj: Campaign | None = None) -> Any:
        may_change = self.has_change_permission(request, obj)
        channels = "channels" if may_change else "channel_names"
        first = (None, {"fields": [("kind", "active"), ("open_days", channels), "evaluated_at"]})
        if _is_fixed(obj) or not may_change:
            return [first, (_("Details"), {"fields": ["details"]})]
        words = _("Fill in what the occasion needs; each field says which ones know it.")
        return [first, (_("Details"), {"fields": QUESTIONS, "description": words, "classes": ["pz-benefit"]})]

    @admin.display(description=_("Details"))
    def details(self, trigger: Trigger) -> str:
        return ", ".join(f"{name}: {value}" for name, value in trigger.params.items()) or DASH

    @admin.display(description=_("Pushed through"))
    def channel_names(self, trigger: Trigger) -> str:
        return ", ".join(trigger.channels) or DASH


def _is_fixed(campaign: Campaign | None) -> bool:
    """Return whether occasions may have come already: from the schedule on only the channels and ``active`` change."""
    return campaign is not None and campaign.status not in OPEN


@admin.register(OutboxMessage)
class OutboxMessageAdmin(ReadOnlyAdmin):
    """Every message, waiting or gone, with the reason where it did not go out. No address is kept."""

    list_display = ("created_at", "campaign", "channel", "shown_state", "reason", "not_before", "attempts", "sent_at")
    list_select_related = ("campaign",)
    list_filter = ("state", "channel")
    ordering = ("-created_at",)
    fields = (
        ("campaign", "shopper"),
        ("channel", "shown_state", "reason"),
        ("created_at", "not_before", "sent_at"),
        ("attempts", "id"),
    )

    @admin.display(description=_("state"), ordering="state")
    def shown_state(self, message: OutboxMessage) -> Any:
        return badge(message.get_state_display(), TONE_OF.get(message.state, "failed"))


@admin.register(Suppression)
class SuppressionAdmin(ReadOnlyAdmin):
    """Addresses that get nothing, as keyed hashes. Whoever may delete one lifts it."""

    list_display = ("at", "channel", "reason", "__str__")
    list_filter = ("reason", "channel")

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.may(request, "delete_suppression")
