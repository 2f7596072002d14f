"""Audience rules: one parsed form that filters a query set-based and judges a single shopper alike.

A rule is ``{"all": [{"field": …, "op": …, "value": …}, …]}``; an empty rule is everybody. Fields: ``tier``, ``city``,
``gender`` (op ``in``, a list), ``age``, ``income`` and ``tenure_days`` (ops ``>=`` and ``<=``, a number).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Q, QuerySet
from django.utils import timezone
from django.utils.translation import gettext_noop

from personalization.exceptions import InvalidAudience
from personalization.models import Campaign, Shopper

CHOICE_FIELDS = ("tier", "city", "gender")
MOST = {"age": 10**9, "income": 10**9, "tenure_days": 36_500}
NUMBER_FIELDS = tuple(MOST)
MAX_CONDITIONS = 20
_INFINITE = 1e300


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition; ``value`` is a tuple of strings for ``in`` and a number otherwise."""

    field: str
    op: str
    value: Any

    def q(self, now: datetime) -> Q:
        """Return the condition as a query filter."""
        if self.field == "tenure_days":
            edge = now - timedelta(days=self.value)
            return Q(joined_at__lte=edge) if self.op == ">=" else Q(joined_at__gte=edge)
        if self.op == "in":
            return Q(**{f"attributes__{self.field}__in": list(self.value)})
        # Both bounds: databases order texts and null beside numbers, each in its own way, and one bound lets them in.
        low, high = (self.value, _INFINITE) if self.op == ">=" else (-_INFINITE, self.value)
        return Q(**{f"attributes__{self.field}__gte": low, f"attributes__{self.field}__lte": high})

    def matches(self, shopper: Shopper, now: datetime) -> bool:
        """Return whether one shopper fulfils the condition; an unknown attribute does not."""
        if self.field == "tenure_days":
            if shopper.joined_at is None:
                return False
            actual: Any = (now - shopper.joined_at) / timedelta(days=1)
        else:
            actual = shopper.attributes.get(self.field)
        if self.op == "in":
            return actual in self.value
        if isinstance(actual, bool) or not isinstance(actual, int | float):
            return False
        return actual >= self.value if self.op == ">=" else actual <= self.value


@dataclass(frozen=True, slots=True)
class Audience:
    """A parsed rule: all conditions must hold."""

    conditions: tuple[Condition, ...] = ()

    def filter(self, shoppers: QuerySet[Shopper], now: datetime) -> QuerySet[Shopper]:
        """Return the shoppers of the query that belong to the audience."""
        for condition in self.conditions:
            shoppers = shoppers.filter(condition.q(now))
        return shoppers

    def matches(self, shopper: Shopper | None, now: datetime) -> bool:
        """Return whether this shopper belongs; somebody unknown belongs only to an audience of everybody."""
        if shopper is None:
            return not self.conditions
        return all(condition.matches(shopper, now) for condition in self.conditions)


def parse(rule: Any) -> Audience:
    """Return the parsed rule, or raise InvalidAudience with what is wrong."""
    if not rule:
        return Audience()
    if not isinstance(rule, Mapping) or set(rule) != {"all"} or not isinstance(rule["all"], list):
        raise InvalidAudience(gettext_noop('An audience rule looks like {"all": [conditions]}.'))
    if len(rule["all"]) > MAX_CONDITIONS:
        raise InvalidAudience(
            gettext_noop("An audience has at most %(most)s conditions."), params={"most": MAX_CONDITIONS}
        )
    return Audience(tuple(_condition(raw) for raw in rule["all"]))


def _condition(raw: Any) -> Condition:
    if not isinstance(raw, Mapping):
        raise InvalidAudience(gettext_noop("A condition names a field, an op and a value."))
    name, op, value = raw.get("field"), raw.get("op"), raw.get("value")
    if name in CHOICE_FIELDS and op == "in":
        if not isinstance(value, list) or not value or not all(isinstance(item, str) for item in value):
            raise InvalidAudience(gettext_noop("%(field)s: give a list of texts."), params={"field": name})
        return Condition(name, op, tuple(value))
    if name in NUMBER_FIELDS and op in {">=", "<="}:
        if isinstance(value, bool) or not isinstance(value, int | float) or not abs(value) <= MOST[name]:
            raise InvalidAudience(gettext_noop("%(field)s: give a number."), params={"field": name})
        return Condition(name, op, value)
    given = {"field": repr(name), "op": repr(op)}
    raise InvalidAudience(gettext_noop("There is no condition %(field)s %(op)s."), params=given)


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
