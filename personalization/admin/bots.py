"""Judged sessions: what looks like a bot, by which rule, and staff's own word on it."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from personalization.admin.base import ChoiceFilter, ReadOnlyAdmin
from personalization.admin.display import DASH, badge
from personalization.models import SessionVerdict, names
from personalization.tracking import bot_rules, judging


class RuleFilter(ChoiceFilter):
    title = _("rule")
    parameter_name = "rule"

    def choices_of(self) -> list[tuple[str, str]]:
        return [(code, names.bot_rule(code)) for code in bot_rules.DEFAULTS]


@admin.register(SessionVerdict)
class SessionVerdictAdmin(ReadOnlyAdmin):
    list_display = ("first_at", "shopper", "events", "verdict", "rule_name", "by", "at")
    list_select_related = ("shopper", "by")
    list_filter = ("is_bot", RuleFilter)
    fields = ("shopper", ("first_at", "last_at"), "events", "verdict", "rule_name", "by", "at")
    actions = ("judge_again", "is_a_person", "is_a_bot")

    @admin.display(description=_("verdict"), ordering="is_bot")
    def verdict(self, row: SessionVerdict) -> Any:
        return badge(_("a bot"), "quarantined") if row.is_bot else badge(_("a person"), "live")

    @admin.display(description=_("rule"), ordering="rule")
    def rule_name(self, row: SessionVerdict) -> str:
        return names.bot_rule(row.rule) or DASH

    def has_judge_permission(self, request: HttpRequest) -> bool:
        return self.may(request, "judge_sessionverdict") and self.has_view_permission(request)

    @admin.action(description=_("Judge again"), permissions=["judge"])
    def judge_again(self, request: HttpRequest, queryset: QuerySet[SessionVerdict]) -> None:
        """Let the rules judge, as they stand now; staff's word is forgotten."""
        rows = list(queryset)
        changed = sum(judging.judge(row.shopper_id, since=row.first_at, anew=True) for row in rows)
        self._tell(request, rows, "judged again", changed)

    @admin.action(description=_("Is a person"), permissions=["judge"])
    def is_a_person(self, request: HttpRequest, queryset: QuerySet[SessionVerdict]) -> None:
        self._declare(request, list(queryset), is_bot=False)

    @admin.action(description=_("Is a bot"), permissions=["judge"])
    def is_a_bot(self, request: HttpRequest, queryset: QuerySet[SessionVerdict]) -> None:
        self._declare(request, list(queryset), is_bot=True)

    def _declare(self, request: HttpRequest, rows: list[SessionVerdict], *, is_bot: bool) -> None:
        changed = sum(
            judging.declare(row.shopper_id, is_bot=is_bot, by=request.user, first_at=row.first_at) for row in rows
        )
        self._tell(request, rows, "a bot" if is_bot else "a person", changed)

    def _tell(self, request: HttpRequest, rows: list[SessionVerdict], what: str, changed: int) -> None:
        for row in rows:
            self.log_change(request, row, what)
        told = ngettext("%(count)s session changed.", "%(count)s sessions changed.", changed)
        self.message_user(request, told % {"count": changed})
