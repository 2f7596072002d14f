"""Audience rules: one parsed form that filters a query set-based and judges a single shopper alike.

A rule is ``{"all": [rules]}``, ``{"any": [rules]}``, ``{"not": rule}`` or a condition; empty, it is everybody.
Conditions: ``{"field", "op", "value"}`` over :data:`audience_fields.FIELDS`, ``{"interest", "op", "value"}`` over
categories, ``{"event", "category", "days", "op", "value"}`` over what happened. ``docs/reference/audiences.md`` tells
what each means and what it costs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.db.models import QuerySet
from django.utils import timezone
from django.utils.translation import gettext_noop

from personalization.exceptions import InvalidAudience
from personalization.features import audience_fields as fields
from personalization.features import intent
from personalization.features.audience_rules import Behaviour, Condition, Either, Every, Intent, Interest, Rule, Unless
from personalization.models import Campaign, Shopper

CHOICE_FIELDS = ("tier", "city", "gender")
NUMBER_FIELDS = ("age", "income", "tenure_days")
MAX_CONDITIONS = 50
MAX_DEPTH = 5
MAX_TEXTS = 200
MAX_TEXT = 100
MAX_DAYS = 3650
JOINS: dict[str, type[Every] | type[Either]] = {"all": Every, "any": Either}
Leaf = Condition | Interest | Intent | Behaviour


@dataclass(frozen=True, slots=True)
class Audience:
    """A parsed rule; ``conditions`` are its leaves in the order they are written."""

    rule: Rule = field(default_factory=lambda: Every(()))
    conditions: tuple[Leaf, ...] = ()

    def filter(self, shoppers: QuerySet[Shopper], now: datetime) -> QuerySet[Shopper]:
        """Return the shoppers of the query that belong to the audience: still one query."""
        return shoppers.filter(self.rule.q(now)) if self.conditions else shoppers

    def matches(self, shopper: Shopper | None, now: datetime) -> bool:
        """Return whether this shopper belongs; somebody unknown belongs only to an audience of everybody.

        Profile fields ask no query; the summary, the interests and purchase intent one each, once for a shopper's
        instance; an event condition and ``has_coupon`` one each, once for an instance and moment.
        """
        if shopper is None:
            return not self.conditions
        return self.rule.matches(shopper, now)


def parse(rule: Any) -> Audience:
    """Return the parsed rule, or raise InvalidAudience with what is wrong and where."""
    if not rule:
        return Audience()
    if isinstance(rule, Mapping) and set(rule) == {"all"} and rule["all"] == []:
        return Audience()
    leaves: list[Leaf] = []
    return Audience(_part(rule, "", 1, leaves), tuple(leaves))


def _wrong(path: str, template: str, **params: Any) -> InvalidAudience:
    return InvalidAudience(template, params={"path": path or "rule", **params})


def _part(raw: Any, path: str, depth: int, leaves: list[Leaf]) -> Rule:
    """Return one part; ``path`` says where it stands, such as ``all[1].any[0]``."""
    if not isinstance(raw, Mapping):
        raise _wrong(path, gettext_noop('%(path)s: give {"all": [rules]}, {"any": [rules]} or a condition.'))
    joint = next((name for name in (*JOINS, "not") if name in raw), None)
    if joint is None:
        if not path:
            raise _wrong(path, gettext_noop('An audience rule looks like {"all": [conditions]}.'))
        if len(leaves) >= MAX_CONDITIONS:
            raise _wrong(path, gettext_noop("An audience has at most %(most)s conditions."), most=MAX_CONDITIONS)
        leaves.append(_leaf(raw, path))
        return leaves[-1]
    if len(raw) > 1:
        raise _wrong(path, gettext_noop("%(path)s: “%(name)s” stands alone; put it into a list."), name=joint)
    if depth > MAX_DEPTH:
        raise _wrong(path, gettext_noop("%(path)s: rules nest at most %(most)s deep."), most=MAX_DEPTH)
    here = f"{path}.{joint}" if path else joint
    if joint == "not":
        return Unless(_part(raw["not"], here, depth + 1, leaves))
    parts = raw[joint]
    if not isinstance(parts, list) or not parts:
        raise _wrong(here, gettext_noop("%(path)s: give a list of rules."))
    return JOINS[joint](tuple(_part(part, f"{here}[{place}]", depth + 1, leaves) for place, part in enumerate(parts)))


def _leaf(raw: Mapping[str, Any], path: str) -> Leaf:
    if "event" in raw:
        return _behaviour(raw, path)
    if "interest" in raw:
        _only(raw, {"interest", "op", "value"}, path)
        return Interest(_text(raw["interest"], path), _compared(raw, path), _number(raw.get("value"), 1, path, least=0))
    _only(raw, {"field", "op", "value"}, path)
    return _condition(raw, path)


def _only(raw: Mapping[str, Any], known: set[str], path: str) -> None:
    unknown = sorted(str(name)[:40] for name in raw if name not in known)
    if unknown:
        raise _wrong(path, gettext_noop("%(path)s: a condition has no “%(name)s”."), name=unknown[0])


def _condition(raw: Mapping[str, Any], path: str) -> Condition | Intent:
    name, op, value = raw.get("field"), raw.get("op"), raw.get("value")
    about = fields.find(name)
    if about is None or op not in about.ops:
        given = {"field": repr(name)[:60], "op": repr(op)[:20]}
        raise _wrong(path, gettext_noop("%(path)s: there is no condition %(field)s %(op)s."), **given)
    if op == "is":
        if not isinstance(value, bool):
            raise _wrong(path, gettext_noop("%(path)s: give true or false."))
        return Condition(about, op, value)
    kind = Intent if about.source == fields.INTENT else Condition
    if op != "in":
        least = 0 if kind is Intent else None
        return kind(about, str(op), _number(value, about.most, path, least=least))
    if not isinstance(value, list) or not value or len(value) > MAX_TEXTS:
        raise _wrong(path, gettext_noop("%(path)s: give a list of texts."))
    texts = tuple(_text(item, path, empty=True) for item in value)
    choices = about.choices() if about.choices else None
    strange = next((text for text in texts if choices is not None and text not in choices), None)
    if strange is not None:
        raise _wrong(path, gettext_noop("%(path)s: %(field)s is never “%(value)s”."), field=about.name, value=strange)
    return kind(about, str(op), texts)


def _behaviour(raw: Mapping[str, Any], path: str) -> Behaviour:
    _only(raw, {"event", "category", "days", "op", "value"}, path)
    event, op = _text(raw["event"], path), _compared(raw, path)
    category = _text(raw.get("category", ""), path, empty=True)
    days = _number(raw.get("days", 30), MAX_DAYS, path, least=0)
    value = raw.get("value")
    least = 1 if op == ">=" else 0
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= 10**6:
        raise _wrong(path, gettext_noop("%(path)s: give a whole number from %(least)s."), least=least)
    return Behaviour(event, category, days, op, value)


def _compared(raw: Mapping[str, Any], path: str) -> str:
    op = raw.get("op")
    if op not in fields.NUMBER_OPS:
        raise _wrong(path, gettext_noop("%(path)s: compare with >= or <=."))
    return str(op)


def _text(value: Any, path: str, *, empty: bool = False) -> str:
    if not isinstance(value, str) or len(value) > MAX_TEXT or not (value or empty) or "\0" in value:
        raise _wrong(path, gettext_noop("%(path)s: give a short text."))
    return value


def _number(value: Any, most: float, path: str, *, least: float | None = None) -> Any:
    low = -most if least is None else least
    if isinstance(value, bool) or not isinstance(value, int | float) or not low <= value <= most:
        raise _wrong(path, gettext_noop("%(path)s: give a number from %(low)s to %(most)s."), low=low, most=most)
    return value


def lacking(campaign: Campaign, now: datetime | None = None) -> str:
    """Return what the campaign's rule asks for and nobody has yet, in a sentence; empty: nothing."""
    if not any(isinstance(leaf, Intent) for leaf in parse(campaign.audience).conditions):
        return ""
    return intent.lacking(campaign.population, now or timezone.now())


def reachable(campaign: Campaign, now: datetime | None = None) -> QuerySet[Shopper]:
    """Return the shoppers a campaign may address: its audience, with consent, without bots."""
    shoppers = Shopper.objects.filter(
        population=campaign.population, merged_into=None, is_bot=False, consent_personalisation=True
    )
    if campaign.delivery == Campaign.Delivery.SENT:
        shoppers = shoppers.filter(consent_marketing=True)
    return parse(campaign.audience).filter(shoppers, now or timezone.now())


def count(campaign: Campaign) -> int:
    """Return how many shoppers the campaign may address now."""
    return reachable(campaign).count()


def sample(campaign: Campaign, size: int = 10) -> list[Shopper]:
    """Return a few of them, in a fixed pseudo-random order (their pseudonyms')."""
    return list(reachable(campaign).order_by("key")[:size])
