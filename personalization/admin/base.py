"""What all admin pages share: assets, pages that only read, and lists that stay quick over millions of rows."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from django.contrib import admin
from django.core.paginator import Paginator
from django.db.models import Model
from django.forms.widgets import Media, Script
from django.http import HttpRequest

NEWEST = 10_000
ASSETS = Media(
    css={"all": ["personalization/admin.css"]},
    js=[Script("personalization/admin.js", defer=True)],
)


class NewestPaginator(Paginator):
    """Pages over the first rows of a list: counting stops there, so a table may grow without limit."""

    @cached_property
    def count(self) -> int:
        return int(self.object_list[:NEWEST].count())  # type: ignore[union-attr]

    @property
    def capped(self) -> bool:
        """Whether there may be more rows than the list goes through."""
        return self.count >= NEWEST


class PersonalizationAdmin(admin.ModelAdmin):
    """The base of our pages: it brings the stylesheet and the small script along."""

    @property
    def media(self) -> Media:
        return super().media + ASSETS


class ReadOnlyAdmin(PersonalizationAdmin):
    """A page over facts: whoever may view them sees them, nobody edits them here."""

    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    paginator = NewestPaginator
    change_list_template = "admin/personalization/readonly_list.html"
    list_per_page = 50
    ordering = ("-pk",)

    def has_add_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def may(self, request: HttpRequest, permission: str) -> bool:
        """Return whether the user holds one of this app's permissions, such as ``run_job``."""
        return bool(request.user.has_perm(f"{self.opts.app_label}.{permission}"))  # type: ignore[union-attr]


class ChoiceFilter(admin.SimpleListFilter):
    """A filter whose choices are declared in code: reading them from a large table would scan it."""

    def choices_of(self) -> list[tuple[str, str]]:
        """Return value and name of every choice."""
        raise NotImplementedError

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return self.choices_of()

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        return queryset.filter(**{self.parameter_name: self.value()}) if self.value() else queryset
