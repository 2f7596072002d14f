"""The audit log, to read: who had whose personal data shown, gave it out or erased it, and why."""

from __future__ import annotations

import contextlib
import uuid
from typing import Any

from django.contrib import admin
from django.contrib.auth import get_user_model
from django.db.models import Q, QuerySet
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.translation import gettext_lazy as _

from personalization.admin import deeds
from personalization.admin.base import ReadOnlyAdmin
from personalization.admin.display import DASH, badge
from personalization.models import AuditEntry
from personalization.tracking import secrets

SHOWN = 8
"""Characters of a pseudonym in the list."""


@admin.register(AuditEntry)
class AuditEntryAdmin(ReadOnlyAdmin):
    list_display = ("at", "action_badge", "who", "of_what", "whom", "reason")
    list_select_related = ("by",)
    list_filter = ("action", "why", "at")
    fields = ("at", "action_badge", "who", "of_what", "subject", "why", "reference", "details_text")
    search_fields = ("reference",)  # shows the search box; get_search_results decides
    search_help_text = _("A shopper’s pseudonym, a member of staff’s name or a reference, exactly.")

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[AuditEntry], search_term: str
    ) -> tuple[QuerySet[AuditEntry], bool]:
        """Find by exact words. A shopper's pseudonym is keyed first, as the log has it."""
        term = search_term.strip()
        if not term:
            return queryset, False
        with contextlib.suppress(ValueError):
            key = uuid.UUID(term.split(":")[-1]).hex
            return queryset.filter(subject__in=secrets.pseudonyms(key)), False
        account: Any = get_user_model()
        wanted = Q(**{f"by__{account.USERNAME_FIELD}": term}) | Q(reference=term) | Q(subject=term)
        return queryset.filter(wanted), False

    @admin.display(description=_("what"), ordering="action")
    def action_badge(self, entry: AuditEntry) -> Any:
        return badge(entry.get_action_display(), "quarantined" if entry.action == "erased" else "held")

    @admin.display(description=_("by"))
    def who(self, entry: AuditEntry) -> str:
        return str(entry.by or entry.by_id or DASH)

    @admin.display(description=_("of what"), ordering="kind")
    def of_what(self, entry: AuditEntry) -> str:
        return deeds.of_what(entry)

    @admin.display(description=_("of whom"), ordering="subject")
    def whom(self, entry: AuditEntry) -> str:
        return f"{entry.subject[:SHOWN]}…" if len(entry.subject) > SHOWN else entry.subject or DASH

    @admin.display(description=_("reason"), ordering="why")
    def reason(self, entry: AuditEntry) -> Any:
        return format_html('{}<span class="pz-hint">{}</span>', entry.get_why_display() or DASH, entry.reference)

    @admin.display(description=_("details"))
    def details_text(self, entry: AuditEntry) -> Any:
        return deeds.details(entry)
