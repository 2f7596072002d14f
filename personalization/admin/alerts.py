"""Alerts to read and to mark as seen."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext, ngettext
from django.utils.translation import gettext_lazy as _

from personalization.admin.base import ReadOnlyAdmin
from personalization.admin.display import badge
from personalization.campaigns import alerts
from personalization.models import Alert


@admin.register(Alert)
class AlertAdmin(ReadOnlyAdmin):
    list_display = ("raised_at", "kind_badge", "campaign", "what", "seen_badge")
    list_select_related = ("campaign", "seen_by")
    list_filter = ("kind", ("seen_at", admin.EmptyFieldListFilter))
    ordering = ("-raised_at", "-pk")
    fields = ("raised_at", "kind_badge", "campaign", "what", "mailed_at", "seen_by", "seen_at")
    actions = ("mark_seen",)

    @admin.display(description=_("kind"), ordering="kind")
    def kind_badge(self, alert: Alert) -> Any:
        return badge(alert.get_kind_display(), "held")

    @admin.display(description=_("what"))
    def what(self, alert: Alert) -> str:
        return alerts.text(alert)

    @admin.display(description=_("seen"), ordering="seen_at")
    def seen_badge(self, alert: Alert) -> Any:
        return badge(gettext("new"), "held") if alert.seen_at is None else badge(alert.seen_by or gettext("seen"))

    def has_see_permission(self, request: HttpRequest) -> bool:
        return self.may(request, "change_alert")

    @admin.action(description=_("Mark as seen"), permissions=["see"])
    def mark_seen(self, request: HttpRequest, queryset: QuerySet[Alert]) -> None:
        count = alerts.mark_seen(Alert.objects.filter(pk__in=list(queryset.values_list("pk", flat=True))), request.user)
        text = ngettext("%(count)d alert is marked as seen.", "%(count)d alerts are marked as seen.", count)
        self.message_user(request, text % {"count": count})
