"""A line of the audit log in words: of what it is, and the counts and keys that it holds, as a small table.

A key of another release is shown as it is under its own name; nothing raises.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from django.apps import apps
from django.db.models import Model
from django.utils.functional import Promise
from django.utils.html import format_html_join
from django.utils.safestring import SafeString
from django.utils.text import capfirst
from django.utils.translation import gettext_lazy as _

from personalization.admin.display import DASH, number, plain
from personalization.admin.outcomes import Line, links, table
from personalization.learning.figures import is_number
from personalization.models import AuditEntry, Job, ModelVersion, ScoreSet, ShopperMerge
from personalization.privacy.rooms import EXPORTED, RELATED

NAMES: dict[str, str | Promise] = {
    "rows": _("Rows"),
    "models": _("Models that may have learnt from them"),
    "learning": _("Jobs that were learning meanwhile"),
    "task": _("Task"),
    "instead_of": _("Instead of"),
    "score_set": _("Scores that are live again"),
    "dropped": _("Shoppers left out of them"),
    "merge": _("Merge"),
    "key": _("Key"),
}
KINDS: dict[str, str | Promise] = {"keys": _("keys that encrypt and hash")}
ROOMS: dict[str, str | Promise] = {
    "disclosures": _("lines of the audit log"),
    "logentry": _("lines of the admin’s history"),
    "set_aside_unowned": _("events kept aside without a shopper"),
}
"""What rows are of, where that is no table of ours."""


def of_what(entry: AuditEntry) -> str:
    """Return what kind of thing a line is about."""
    model = _model(entry.kind)
    return str(KINDS.get(entry.kind) or (model._meta.verbose_name if model is not None else entry.kind))


def details(entry: AuditEntry) -> str | SafeString:
    """Return the counts and keys of a line."""
    if not isinstance(entry.details, Mapping):
        return plain(entry.details) if entry.details else DASH
    return table(
        Line(str(NAMES.get(str(name), str(name).replace("_", " ").capitalize())), _value(str(name), value))
        for name, value in entry.details.items()
        if value not in ("", None)
    )


def _value(name: str, value: Any) -> Any:
    told = SHOWN[name](value) if name in SHOWN else None
    return plain(value) if told is None else told


def _rows(value: Any) -> Any:
    if not isinstance(value, Mapping):
        return None
    known = {str(name): count for name, count in value.items() if is_number(count) and count}
    counted = ((capfirst(_room(name)), number(count)) for name, count in known.items())
    return format_html_join("", "<div>{}: {}</div>", counted) or DASH


def _room(name: str) -> str:
    """Return what a number of rows is of: a table by its model, or by its name in an export."""
    exported = EXPORTED.get(name) or RELATED.get(name)
    model = exported[0] if exported is not None else _model(name)
    return str(ROOMS.get(name) or (model._meta.verbose_name_plural if model is not None else name.replace("_", " ")))


def _model(name: str) -> type[Model] | None:
    try:
        return apps.get_model("personalization", name)
    except (LookupError, ValueError):
        return None


def _task(value: Any) -> str | None:
    return str(dict(ModelVersion.TASKS).get(str(value), "")) or None


SHOWN: dict[str, Callable[[Any], Any]] = {
    "rows": _rows,
    "models": links(ModelVersion),
    "learning": links(Job),
    "task": _task,
    "instead_of": links(ModelVersion),
    "score_set": links(ScoreSet),
    "merge": links(ShopperMerge),
}
