"""Segments for people: their sizes, what they spend, and what to do with them; and each shopper's summary."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.utils.translation import gettext_lazy as _

from personalization import conf
from personalization.admin.base import ChoiceFilter, ReadOnlyAdmin
from personalization.admin.display import number, percent
from personalization.features import segments
from personalization.models import ShopperSummary


class SegmentFilter(ChoiceFilter):
    title = _("segment")
    parameter_name = "segment"

    def choices_of(self) -> list[tuple[str, str]]:
        return [(segment.code, str(segment.name)) for segment in segments.SEGMENTS]


class HabitFilter(ChoiceFilter):
    title = _("shopping habit")
    parameter_name = "cluster"

    def choices_of(self) -> list[tuple[str, str]]:
        return [(code, segments.habit_name(code)) for code in segments.codes()]


@admin.register(ShopperSummary)
class ShopperSummaryAdmin(ReadOnlyAdmin):
    list_display = ("shopper", "segment_name", "habit", "stage", "orders", "last_order_at", "churn_risk", "as_of")
    list_filter = (SegmentFilter, "stage", HabitFilter)
    list_select_related = ("shopper",)
    ordering = ("-pk",)
    change_list_template = "admin/personalization/shoppersummary/change_list.html"

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        """All that is kept, its codes in words."""
        in_words = {"segment": "segment_name", "cluster": "habit"}
        return [in_words.get(column.name, column.name) for column in self.opts.concrete_fields]

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return self.get_fields(request, obj)

    @admin.display(description=_("segment"), ordering="segment")
    def segment_name(self, summary: ShopperSummary) -> str:
        found = segments.BY_CODE.get(summary.segment)
        return str(found.name) if found else summary.segment

    @admin.display(description=_("shopping habit"))
    def habit(self, summary: ShopperSummary) -> str:
        return segments.habit_name(summary.cluster) if summary.cluster else ""

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        """Put the groups with their sizes above the list."""
        population = conf.get().population
        tables = [
            (_("Segments by recency, frequency and money"), "segment", _rows(segments.overview(population))),
            (_("Shopping habits"), "cluster", _rows(segments.habits(population))),
        ]
        return super().changelist_view(request, {"tables": tables, **(extra_context or {})})


def _rows(groups: list[segments.Group]) -> list[dict[str, Any]]:
    return [
        {
            "code": group.code,
            "name": group.name,
            "sentence": group.sentence,
            "shoppers": number(group.shoppers),
            "share": percent(group.share),
            "spend_share": percent(group.spend_share),
        }
        for group in groups
    ]
