"""The catalogue as campaigns name it: products and categories by the host’s ids, and what comes near a wrong one."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from difflib import SequenceMatcher, get_close_matches
from typing import Any

from django.core.exceptions import ValidationError
from django.db.models import Q, QuerySet
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from personalization import conf
from personalization.models import CatalogItem
from personalization.tracking.checking import storable

MOST_CATEGORIES = 500
MOST_CANDIDATES = 200
MOST_NAMED = 5
NEAR = 3
ROOT = 3
"""Letters of a word that suffice to come near."""


def ours() -> QuerySet[CatalogItem]:
    """Return the products of this shop; imported data sets have theirs in the same table."""
    return CatalogItem.objects.filter(population=conf.get().population)


def titles(item_ids: Iterable[str]) -> dict[str, str]:
    """Return id → title of those that the catalogue knows."""
    wanted = [item for item in dict.fromkeys(item_ids) if storable(item) == item]  # a form shows what it refuses
    if not wanted:
        return {}
    return dict(CatalogItem.objects.filter(item_id__in=wanted).values_list("item_id", "title"))


def named(item_ids: Sequence[str]) -> str:
    """Return products as ``title (id)``; the id alone where there is no title (any more)."""
    known = titles(item_ids)
    return ", ".join(f"{known[item]} ({item})" if item in known else item for item in item_ids)


def categories() -> list[str]:
    """Return the categories of the catalogue, as the host writes them."""
    found = ours().exclude(category="").order_by("category").values_list("category", flat=True).distinct()
    return list(found[:MOST_CATEGORIES])


def require_products(item_ids: Iterable[str]) -> None:
    """Raise ValidationError for ids that the catalogue does not have. An empty catalogue has no opinion."""
    asked = list(item_ids)
    if not asked:
        return
    known = set(ours().filter(item_id__in=asked).values_list("item_id", flat=True))
    missing = [item for item in asked if item not in known]
    if not missing or not ours().exists():
        return
    raise ValidationError(
        [_unknown(_("There is no product “%(name)s”."), item, near(item)) for item in missing[:MOST_NAMED]]
    )


def require_category(name: str) -> None:
    """Raise ValidationError for a category that no product has. An empty catalogue has no opinion."""
    if not name or ours().filter(category=name).exists():
        return
    there = categories()
    if not there:
        return
    by_lower = {each.lower(): each for each in there}
    alike = [by_lower[each] for each in get_close_matches(name.lower(), by_lower, NEAR)]
    raise _unknown(_("There is no category “%(name)s”."), name, alike or there[:MOST_NAMED])


def _unknown(message: Any, name: str, suggestions: Sequence[str]) -> ValidationError:
    text = message % {"name": name}
    if suggestions:
        text += " " + gettext("Did you mean %(near)s?") % {"near": " · ".join(suggestions)}
    return ValidationError(text, code="unknown")


def near(text: str) -> list[str]:
    """Return up to three products whose title has words of the text, or whose id begins alike, best first."""
    words = [word.lower() for word in re.findall(r"\w{3,}", text)][:MOST_NAMED]
    alike = Q(item_id__istartswith=text[:4])
    for word in words:
        alike |= Q(title__icontains=word[:ROOT])
    found = ours().filter(alike).order_by("title").values_list("title", "item_id")[:MOST_CANDIDATES]

    def closeness(product: tuple[str, str]) -> tuple[int, float]:
        title, item_id = (part.lower() for part in product)
        hits = sum(word[:ROOT] in title for word in words)
        return hits, max(SequenceMatcher(None, text.lower(), part).ratio() for part in (title, item_id))

    return [f"{title} ({item_id})" for title, item_id in sorted(found, key=closeness, reverse=True)[:NEAR]]
