"""The tree that imitates a champion, as nested rules in words: from the stored JSON, whatever its shape."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from django.utils.translation import gettext as _

from personalization.features.labels import label
from personalization.learning.figures import is_number, number, percent
from personalization.models import Offer

DEEPEST = 6


@dataclass(frozen=True)
class Rule:
    """A condition and what follows: further rules, or a leaf's probability and its share of the rows."""

    words: str
    probability: str = ""
    share: str = ""
    then: list[Rule] = field(default_factory=list)


@dataclass(frozen=True)
class Rules:
    """The tree with its fidelity."""

    rules: list[Rule]
    r2: str
    rows: str
    held_out: str


def rules_of(record: Any) -> Rules | None:
    """Return the rules of a card's ``rules`` record; None if there are none."""
    if not isinstance(record, Mapping) or not isinstance(record.get("tree"), Mapping):
        return None
    names = _names(record["tree"])
    found = _rules(record["tree"], names, 0)
    if not found:
        return None
    return Rules(found, percent(record.get("r2")), number(record.get("rows")), number(record.get("held_out")))


def _rules(node: Mapping[str, Any], names: Mapping[str, str], depth: int) -> list[Rule]:
    """Return the two ways on from a node; none from a leaf."""
    if "feature" not in node or depth >= DEEPEST:
        return []
    feature = str(node["feature"])
    found = []
    for answer in ("no", "yes"):
        child = node.get(answer)
        if not isinstance(child, Mapping):
            continue
        p = child.get("p")
        found.append(
            Rule(
                words=_condition(node, label(feature), names, yes=answer == "yes"),
                probability=percent(p, 1) if "feature" not in child else "",
                share=percent(child.get("share")) if "feature" not in child else "",
                then=_rules(child, names, depth + 1),
            )
        )
    return found


def _condition(node: Mapping[str, Any], name: str, names: Mapping[str, str], *, yes: bool) -> str:
    if "is" in node:
        value = str(node["is"])
        text = names.get(value, value) if node["feature"] == "offer" else value
        if node["feature"] == "offer_kind":
            text = str(dict(Offer.KINDS).get(value, value))
        given = {"name": name, "value": text}
        return (_("%(name)s is “%(value)s”") if yes else _("%(name)s is not “%(value)s”")) % given
    at = node.get("at")
    if is_number(at) and at < 0:  # the worker reads a missing number as −1
        return (_("%(name)s is known") if yes else _("%(name)s is not known")) % {"name": name}
    given = {"name": name, "value": number(at, 1 if is_number(at) and abs(at) >= 1 else 2)}
    return (_("%(name)s above %(value)s") if yes else _("%(name)s at most %(value)s")) % given


def _names(node: Mapping[str, Any]) -> dict[str, str]:
    """Return the names of the offers that the tree asks for, by their ids as text."""
    ids: set[int] = set()
    open_nodes = [node]
    while open_nodes:
        here = open_nodes.pop()
        if here.get("feature") == "offer" and str(here.get("is", "")).isdecimal() and len(str(here["is"])) < 19:
            ids.add(int(here["is"]))
        open_nodes += [child for child in (here.get("no"), here.get("yes")) if isinstance(child, Mapping)]
    return {str(pk): offer.name for pk, offer in Offer.objects.in_bulk(ids).items()}
