"""The rule builder: a field that is JSON in a text area, and with script a form of nested all, any and none.

Without script the text area stays, with its help. What the script needs to know of fields, operators and words stands
in the element's data, so a page with a strict content policy needs no inline script.
"""

from __future__ import annotations

import json
from typing import Any

from django import forms
from django.core.exceptions import ValidationError
from django.forms.widgets import Media, Script
from django.utils.translation import gettext as _

from personalization.exceptions import InvalidAudience
from personalization.features import audience_fields, audiences
from personalization.models import names
from personalization.ports.messages import explain
from personalization.tracking import schema

MOST_CHARACTERS = 50_000


def vocabulary() -> dict[str, Any]:
    """Return what the script offers: fields with their operators and choices, events, and words for the buttons."""
    fields = [
        {
            "name": field.name,
            "label": str(field.label),
            "type": field.type,
            "ops": list(field.ops),
            "choices": list(field.choices().items()) if field.choices else [],
        }
        for field in audience_fields.FIELDS.values()
    ]
    return {
        "fields": fields,
        "events": [(name, names.event_type(name)) for name in schema.names()],
        "depth": audiences.MAX_DEPTH,
        "ops": operators(),
        "joins": {"all": _("All of these"), "any": _("Any of these"), "none": _("None of these")},
        "words": {
            "add": _("Add condition"), "group": _("Add group"), "remove": _("Remove"), "join": _("Must hold"),
            "field": _("About"), "op": _("Comparison"), "value": _("Value"), "yes": _("yes"), "no": _("no"),
            "interest": _("Interest in a category"), "event": _("What they did"), "custom": _("Own attribute"),
            "category": _("Category"), "days": _("Within days"), "name": _("Name"), "text": _("As text"),
            "list": _("with commas"), "kept": _("This rule can only be edited as text."),
        },
    }  # fmt: skip


def operators() -> dict[str, str]:
    """Return every operator in words."""
    return {"in": _("one of"), ">=": _("at least"), "<=": _("at most"), "is": _("is")}


class RuleBuilder(forms.Textarea):
    """A text area that the script turns into a builder."""

    def build_attrs(self, base_attrs: dict[str, Any], extra_attrs: dict[str, Any] | None = None) -> dict[str, Any]:
        words = json.dumps(vocabulary())
        return super().build_attrs({**base_attrs, "data-pz-rules": words, "spellcheck": "false"}, extra_attrs)

    @property
    def media(self) -> Media:
        return Media(js=[Script("personalization/audience.js", defer=True)])  # type: ignore[list-item]


class RuleField(forms.CharField):
    """A rule as JSON; empty: no further condition. Errors name the place in the rule."""

    widget = RuleBuilder

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{"required": False, "max_length": MOST_CHARACTERS, **kwargs})
        self.widget.attrs.setdefault("rows", 4)

    def prepare_value(self, value: Any) -> Any:
        if value is None or isinstance(value, str):
            return value
        return json.dumps(value, ensure_ascii=False, indent=1)

    def clean(self, value: Any) -> Any:
        text = super().clean(value)
        if not text:
            return {}
        try:
            rule = json.loads(text)
            audiences.parse(rule)
        except (ValueError, RecursionError) as error:
            raise ValidationError(_("This is not valid JSON: check quotes, commas and brackets.")) from error
        except InvalidAudience as error:
            raise ValidationError(explain(error)) from error
        return rule if rule != {"all": []} else {}

    def has_changed(self, initial: Any, data: Any) -> bool:
        try:
            return bool(self.clean(data) != (initial or {}))
        except ValidationError:
            return self.prepare_value(initial or "") != str(data or "").replace("\r\n", "\n")


def part_in_words(part: Any) -> str:
    """Return one part of a rule as a sentence, whatever its shape."""
    if not isinstance(part, dict):
        return str(part)
    joins = {"all": _("all of"), "any": _("any of")}
    for name, words in joins.items():
        if isinstance(part.get(name), list):
            return f"{words} ({'; '.join(part_in_words(inner) for inner in part[name])})"
    if "not" in part:
        return _("not (%(rule)s)") % {"rule": part_in_words(part["not"])}
    op, value = part.get("op", "?"), part.get("value", "?")
    text = ", ".join(str(word) for word in value) if isinstance(value, list) else str(value)
    return f"{_subject(part)}: {operators().get(str(op), op)} {text}"


def _subject(part: dict[str, Any]) -> str:
    if "interest" in part:
        return _("Interest in %(category)s") % {"category": part["interest"]}
    if "event" in part:
        given = {"event": names.event_type(str(part["event"])), "category": part.get("category") or _("any category")}
        return _("%(event)s in %(category)s within %(days)s days") % {**given, "days": part.get("days", 30)}
    name = part.get("field", "?")
    field = audience_fields.find(name)
    return str(field.label) if field is not None else str(name)
