"""Lists as CSV files: streamed, so that their length does not matter, and safe to open in a spreadsheet."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from decimal import Decimal
from typing import Any, ClassVar

from django.contrib import admin, messages
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.views.main import ERROR_FLAG
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect, StreamingHttpResponse
from django.urls import path, reverse
from django.utils import timezone

from personalization.admin.base import has_nul
from personalization.admin.personal import WhyForm, may_show, new_form, why_not
from personalization.tracking import audit, secrets

DANGEROUS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
_PARTED = re.compile(rf"""([;\t\r\n][ "']*)(?=[{re.escape("=+-@＝＋－＠")}])""")
"""Where a spreadsheet that takes ``;`` or tabs for columns, as those of half of Europe do, would begin a cell."""
BATCH = 1000
PSEUDONYM = 16
"""Characters of a pseudonym in a file: among a million values two are alike with a chance of 1 in 37 million."""
Column = tuple[str, Callable[[Any], Any]]


class _Line:
    """A file that hands back what is written to it."""

    def write(self, text: str) -> str:
        return text


def cell(value: Any) -> Any:
    """Return a value as a cell: a number stays one; text that a spreadsheet would run as a formula is quoted."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "1" if value else "0"
    if isinstance(value, int | float | Decimal):
        return value
    if hasattr(value, "isoformat"):
        return value.isoformat()
    text = _PARTED.sub(r"\1'", str(value))
    return f"'{text}" if text.lstrip(" ").startswith(DANGEROUS) else text


def stream(name: str, columns: Sequence[Column], rows: Iterable[Any]) -> StreamingHttpResponse:
    """Return a download of these rows; ``name`` is the file's, without date and ending."""
    response = StreamingHttpResponse(_lines(columns, rows), content_type="text/csv; charset=utf-8")
    response["Content-Disposition"] = f'attachment; filename="{name}-{timezone.localdate():%Y-%m-%d}.csv"'
    response["Cache-Control"] = "no-store"
    response["X-Content-Type-Options"] = "nosniff"
    return response


def _lines(columns: Sequence[Column], rows: Iterable[Any]) -> Iterator[str]:
    writer = csv.writer(_Line())
    yield "\ufeff"  # spreadsheets take the file for their own old encoding without it
    yield writer.writerow([name for name, _read in columns])
    for row in rows:
        yield writer.writerow([cell(read(row)) for _name, read in columns])


class CsvAdmin(admin.ModelAdmin):
    """Adds ``export/`` to a list: the rows that its filters and its search show, for whoever may view them.

    Personal columns hold keyed pseudonyms: equal values stay equal, and nobody can be read. In clear they are sent in
    answer to a POST with a reason, to whoever may see personal data, and it is logged.
    """

    csv_columns: ClassVar[Sequence[Column]] = ()
    csv_personal: ClassVar[frozenset[str]] = frozenset()

    def get_urls(self) -> list[Any]:
        export = self.admin_site.admin_view(self.export_page)
        name = f"{self.opts.app_label}_{self.opts.model_name}_export"
        return [path("export/", export, name=name), *super().get_urls()]

    def export_page(self, request: HttpRequest) -> HttpResponse | StreamingHttpResponse:
        """Stream the filtered list."""
        in_clear = request.method == "POST" and bool(self.csv_personal)
        if request.method != "GET" and not in_clear:
            return HttpResponseNotAllowed(["GET", "POST"] if self.csv_personal else ["GET"])
        if not self.has_view_permission(request) or (in_clear and not may_show(request)):
            raise PermissionDenied
        if has_nul(request):
            return HttpResponseRedirect(request.path)
        form = WhyForm(request.POST if in_clear else None)
        if in_clear and not form.is_valid():
            self.message_user(request, why_not(form), messages.WARNING)
            return HttpResponseRedirect(reverse(f"admin:{self.opts.app_label}_{self.opts.model_name}_changelist"))
        try:
            rows = self.get_changelist_instance(request).get_queryset(request)
        except IncorrectLookupParameters:
            name = f"admin:{self.opts.app_label}_{self.opts.model_name}_changelist"
            return HttpResponseRedirect(f"{reverse(name)}?{ERROR_FLAG}=1")
        if in_clear:
            kind = str(self.opts.model_name)
            audit.note(audit.Action.EXPORTED, by=request.user, kind=kind, rows=rows.count(), **form.answers())
        return self.export(request, rows, in_clear=in_clear)

    def export(self, request: HttpRequest, rows: Any, *, in_clear: bool = False) -> StreamingHttpResponse:
        """Return the download of a queryset, read in batches."""
        columns = self.csv_columns if in_clear else [self._hidden(column) for column in self.csv_columns]
        return stream(str(self.opts.model_name), columns, rows.iterator(chunk_size=BATCH))

    def _hidden(self, column: Column) -> Column:
        name, read = column
        if name not in self.csv_personal:
            return column
        return name, lambda row: secrets.pseudonym(str(read(row)))[:PSEUDONYM] if read(row) else ""

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        address = reverse(f"admin:{self.opts.app_label}_{self.opts.model_name}_export")
        query = request.GET.urlencode()
        export_url = f"{address}?{query}" if query else address
        why_form = new_form() if self.csv_personal and may_show(request) else None
        context = {"export_url": export_url, "why_form": why_form, **(extra_context or {})}
        return super().changelist_view(request, context)
