"""Products and categories where a marketer names them: searched by title or id, checked, and shown with both.

Stored are ids, as the host knows them. With script a box searches the catalogue copy; without it the ids are typed.
Either way an id that the catalogue does not have is named, with titles that come near. What a campaign holds already is
never questioned: a product may have left the catalogue since.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from django import forms
from django.contrib.admin.views.autocomplete import AutocompleteJsonView
from django.core.exceptions import ValidationError
from django.forms.widgets import Media, Script
from django.http import HttpRequest
from django.urls import reverse
from django.utils.translation import gettext

from personalization.admin.display import money
from personalization.admin.fields import WordsField
from personalization.campaigns import catalog
from personalization.models import CatalogItem

CATEGORIES = "pz-categories"
"""The id of the page's list of categories, which browsers offer while one is typed."""


class _Picker:
    """What the boxes for one and for several products share. A script turns them into a search with a list."""

    template_name = "admin/personalization/widgets/products.html"
    inner = ""
    several = True
    known: Mapping[str, str] = {}
    """Titles that the page has read for all its offers at once; others are read when they are needed."""

    def get_context(self, name: str, value: Any, attrs: dict[str, Any] | None) -> dict[str, Any]:
        attrs = {
            **(attrs or {}),
            "data-pz-products": reverse("admin:personalization_campaign_products"),
            "data-pz-words": json.dumps(_words()),
            "spellcheck": "false",
        }
        context: dict[str, Any] = super().get_context(name, value, attrs)  # type: ignore[misc]
        ids = read_ids(value) if self.several else [str(value or "").strip()]
        ids = [item for item in ids if item]
        known = {**self.known, **catalog.titles(item for item in ids if item not in self.known)}
        context["widget"].update(inner=self.inner, chosen=[(item, known.get(item, "")) for item in ids])
        return context

    @property
    def media(self) -> Media:
        return Media(js=[Script("personalization/products.js", defer=True)])  # type: ignore[list-item]


def _words() -> dict[str, str]:
    return {
        "search": gettext("Search by title or id"),
        "ids": gettext("As ids"),
        "remove": gettext("Remove %(name)s"),
        "none": gettext("Nothing is found."),
        "more": gettext("There are more: type on."),
        "found": gettext("Found: %(count)s"),
        "failed": gettext("The search does not answer. Type the id below."),
    }


def read_ids(value: Any) -> list[str]:
    """Return ids as typed, with commas or one a line."""
    parts = (part.strip() for part in re.split(r"[,\n\r，、]", str(value or "")))
    return list(dict.fromkeys(part for part in parts if part))


class ProductsInput(_Picker, forms.Textarea):  # type: ignore[misc]
    """Several products."""

    inner = "django/forms/widgets/textarea.html"

    def __init__(self, attrs: dict[str, Any] | None = None) -> None:
        super().__init__({"rows": 2, **(attrs or {})})


class ProductInput(_Picker, forms.TextInput):  # type: ignore[misc]
    """One product."""

    inner = "django/forms/widgets/text.html"
    several = False


class ProductsField(WordsField):
    """A list of product ids; new ones must be in the catalogue."""

    widget = ProductsInput
    stored: frozenset[str] = frozenset()

    def clean(self, value: Any) -> list[str]:
        item_ids = super().clean(value)
        catalog.require_products(item for item in item_ids if item not in self.stored)
        return item_ids

    def has_changed(self, initial: Any, data: Any) -> bool:
        try:
            return super().has_changed(initial, data)
        except ValidationError:
            return True


class ProductField(forms.CharField):
    """One product's id; a new one must be in the catalogue."""

    widget = ProductInput
    stored: frozenset[str] = frozenset()

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{"required": False, "max_length": 100, **kwargs})

    def clean(self, value: Any) -> str:
        item_id = str(super().clean(value) or "")
        catalog.require_products([item_id] if item_id and item_id not in self.stored else [])
        return item_id


class CategoryField(forms.CharField):
    """A category; a new one must be in the catalogue. The browser offers those that are there."""

    stored: frozenset[str] = frozenset()

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{"required": False, "max_length": 100, **kwargs})
        self.widget.attrs.update({"list": CATEGORIES, "class": "vTextField", "autocomplete": "off"})

    def clean(self, value: Any) -> str:
        name = str(super().clean(value) or "")
        if name not in self.stored:
            catalog.require_category(name)
        return name


class ProductSearch(AutocompleteJsonView):
    """The admin's own search for foreign keys, over a catalogue that no key leads to: for whoever may view it."""

    def process_request(self, request: HttpRequest) -> tuple[str, Any, Any, str]:
        model_admin = self.admin_site.get_model_admin(CatalogItem)  # type: ignore[union-attr]
        term = request.GET.get("term", "").replace("\x00", "")  # which PostgreSQL cannot search for
        return term[:200], model_admin, None, "item_id"

    def get_queryset(self) -> Any:
        found, distinct = self.model_admin.get_search_results(self.request, catalog.ours(), self.term)
        return (found.distinct() if distinct else found).order_by("title", "pk")

    def serialize_result(self, obj: CatalogItem, to_field_name: str) -> dict[str, str]:  # type: ignore[override]
        about = [obj.category, money(obj.price_minor, obj.currency) if obj.price_minor is not None else ""]
        about.append("" if obj.visible else gettext("not visible"))
        return {**super().serialize_result(obj, to_field_name), "about": " · ".join(part for part in about if part)}
