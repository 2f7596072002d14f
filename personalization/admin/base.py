"""What all admin pages share: assets, pages that only read, and lists that stay quick over millions of rows."""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import cached_property
from typing import Any, ClassVar

from django.contrib import admin, messages
from django.contrib.admin import SimpleListFilter
from django.core.exceptions import FieldDoesNotExist
from django.core.paginator import Paginator
from django.db import IntegrityError
from django.db.models import Model
from django.db.models.constants import LOOKUP_SEP
from django.forms.widgets import Media, Script
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.urls import reverse
from django.utils.translation import gettext as _

from personalization.exceptions import PersonalizationError
from personalization.ports.messages import explain

NEWEST = 10_000
ASSETS = Media(
    css={"all": ["personalization/admin.css"]},
    js=[Script("personalization/admin.js", defer=True)],  # type: ignore[list-item]
)


def has_nul(request: HttpRequest) -> bool:
    """Return whether a NUL stands in the address: the admin's own filters pass it on."""
    return any("\x00" in value for _name, values in request.GET.lists() for value in values)


class NewestPaginator(Paginator):
    """Pages over the first rows of a list: counting stops there, so a table may grow without limit."""

    @cached_property
    def count(self) -> int:
        rows: Any = self.object_list
        return int(rows[:NEWEST].count())

    @property
    def capped(self) -> bool:
        """Whether there may be more rows than the list goes through."""
        return self.count >= NEWEST


class PersonalizationAdmin(admin.ModelAdmin):
    """The base of our pages: it brings the stylesheet and the small script along.

    ``raced``: what is said if the database refuses a form, because what it was checked against has changed meanwhile.
    ``linked``: relations by whose row other pages lead to the list, as in ``?campaign__id__exact=7``.
    """

    raced: ClassVar[Any] = ""
    linked: ClassVar[tuple[str, ...]] = ()

    @property
    def media(self) -> Media:
        return super().media + ASSETS

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",
        extra_context: dict[str, Any] | None = None,
    ) -> Any:
        """Show or save; what cannot be saved is told, and nothing is."""
        try:
            return super().changeform_view(request, object_id, form_url, extra_context)
        except IntegrityError:
            if not self.raced:
                raise
            text = str(self.raced)
        except PersonalizationError as error:
            text = explain(error)
        self.message_user(request, text, messages.ERROR)
        return HttpResponseRedirect(request.get_full_path())

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        """Show the list; with a NUL in its address, which PostgreSQL compares with nothing, the whole list."""
        if has_nul(request):
            return HttpResponseRedirect(request.path)
        return super().changelist_view(request, extra_context)

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest) -> bool:
        """Tell whether the list's address may ask this: what its filters and the pages that lead to it ask.

        Django takes any column of the row. Whether one begins with a letter, asked often enough, spells out what the
        page hides; nobody would have said why, and no log would tell of it.
        """
        name = lookup.removesuffix("__exact")
        if name in {f"{relation}__id" for relation in self.linked}:
            return True
        try:
            self.opts.get_field(lookup.split(LOOKUP_SEP)[0])
        except FieldDoesNotExist:
            return super().lookup_allowed(lookup, value, request)
        own = [self.date_hierarchy, *self.list_filter]
        asked = {each.parameter_name for each in own if isinstance(each, type) and issubclass(each, SimpleListFilter)}
        fields = [each[0] if isinstance(each, tuple) else each for each in own if isinstance(each, str | tuple)]
        return name in asked or any(lookup == each or lookup.startswith(f"{each}{LOOKUP_SEP}") for each in fields)

    def gone(self, request: HttpRequest, object_id: str) -> HttpResponse:
        """Answer a request for a row that is not there, as the admin's own pages do."""
        text = _("%(name)s with ID “%(key)s” doesn’t exist. Perhaps it was deleted?")
        names = {"name": self.opts.verbose_name, "key": object_id}
        self.message_user(request, text % names, messages.WARNING)
        return HttpResponseRedirect(reverse("admin:index", current_app=self.admin_site.name))


class ReadOnlyAdmin(PersonalizationAdmin):
    """A page over facts: whoever may view them sees them, nobody edits them here."""

    show_full_result_count = False
    show_facets = admin.ShowFacets.NEVER
    paginator = NewestPaginator
    change_list_template = "admin/personalization/readonly_list.html"
    list_per_page = 50
    ordering: ClassVar[tuple[str, ...]] = ("-pk",)

    def has_add_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def may(self, request: HttpRequest, permission: str) -> bool:
        """Return whether the user holds one of this app's permissions, such as ``run_job``."""
        return bool(request.user.has_perm(f"{self.opts.app_label}.{permission}"))


class ChoiceFilter(admin.SimpleListFilter, ABC):
    """A filter whose choices are declared in code: reading them from a large table would scan it."""

    @abstractmethod
    def choices_of(self) -> list[tuple[str, str]]:
        """Return value and name of every choice."""

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return self.choices_of()

    def queryset(self, request: HttpRequest, queryset: Any) -> Any:
        return queryset.filter(**{str(self.parameter_name): self.value()}) if self.value() else queryset
