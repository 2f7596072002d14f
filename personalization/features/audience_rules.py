"""The parts of an audience rule: conditions and what joins them, each as a query and as an answer for one shopper.

Every part answers yes or no. What is not known of a shopper fulfils no condition; ``not`` is the complement, so it
admits those of whom nothing is known. The two forms agree, on SQLite and PostgreSQL, for whatever attributes hold.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Protocol

from django.db.models import BooleanField, Case, Count, F, Q, QuerySet, Value, When

from personalization.features import audience_fields as fields
from personalization.features import intent
from personalization.features.audience_fields import Field
from personalization.models import (
    CatalogItem,
    Coupon,
    Event,
    ScoreSet,
    Shopper,
    ShopperInterest,
    ShopperScores,
    ShopperSummary,
)
from personalization.types import Purpose

_INFINITE = 1e300
_CACHE = "_pz_audience"


class Rule(Protocol):
    """A part of a rule."""

    def q(self, now: datetime) -> Q:
        """Return the part as a filter of shoppers."""

    def matches(self, shopper: Shopper, now: datetime) -> bool:
        """Return whether one shopper fulfils it."""


@dataclass(frozen=True, slots=True)
class Every:
    """All parts must hold."""

    parts: tuple[Rule, ...]

    def q(self, now: datetime) -> Q:
        return Q(*(part.q(now) for part in self.parts))

    def matches(self, shopper: Shopper, now: datetime) -> bool:
        return all(part.matches(shopper, now) for part in self.parts)


@dataclass(frozen=True, slots=True)
class Either:
    """One part at least must hold."""

    parts: tuple[Rule, ...]

    def q(self, now: datetime) -> Q:
        return Q(*(part.q(now) for part in self.parts), _connector=Q.OR)

    def matches(self, shopper: Shopper, now: datetime) -> bool:
        return any(part.matches(shopper, now) for part in self.parts)


@dataclass(frozen=True, slots=True)
class Unless:
    """The complement of a part."""

    part: Rule

    def q(self, now: datetime) -> Q:
        # NOT unknown is unknown in SQL, and would drop everybody without the attribute: CASE knows two answers only.
        no, yes = Value(False), Value(True)
        return Q(Case(When(self.part.q(now), then=no), default=yes, output_field=BooleanField()))

    def matches(self, shopper: Shopper, now: datetime) -> bool:
        return not self.part.matches(shopper, now)


@dataclass(frozen=True, slots=True)
class Compared:
    """A field, how it is compared, and with what."""

    about: Field
    op: str
    value: Any

    @property
    def field(self) -> str:
        return self.about.name


@dataclass(frozen=True, slots=True)
class Condition(Compared):
    """A field compared; ``value`` is a tuple of texts for ``in``, a bool for ``is`` and a number otherwise."""

    def q(self, now: datetime) -> Q:
        column, source = self.about.column, self.about.source
        if source == fields.COUPON:
            holds = Q(pk__in=_open_coupons(now).values("shopper"))
            return holds if self.value else ~holds
        if source == fields.PROFILE:
            found = self._between(f"attributes__{column}")
        elif source in (fields.JOINED, fields.SINCE):
            found = self._since(column if source == fields.JOINED else f"summary__{column}", now)
        else:
            found = self._between(f"summary__{column}")
        return found & (_known(now) if self.about.purpose == Purpose.PERSONALISATION else Q())

    def _between(self, path: str) -> Q:
        if self.op == "in":
            return Q(**{f"{path}__in": list(self.value)})
        # Both bounds: databases order texts and null beside numbers, each in its own way, and one bound lets them in.
        low, high = (self.value, _INFINITE) if self.op == ">=" else (-_INFINITE, self.value)
        if path.startswith("summary__"):
            return Q(**{f"{path}__gte": low} if self.op == ">=" else {f"{path}__lte": high})
        return Q(**{f"{path}__gte": low, f"{path}__lte": high})

    def _since(self, path: str, now: datetime) -> Q:
        edge = now - timedelta(days=self.value)
        return Q(**{f"{path}__lte": edge}) if self.op == ">=" else Q(**{f"{path}__gte": edge})

    def matches(self, shopper: Shopper, now: datetime) -> bool:
        source = self.about.source
        if source == fields.COUPON:
            return _holds_coupon(shopper, now) is self.value
        if source == fields.PROFILE:
            actual: Any = shopper.attributes.get(self.about.column)
        elif source == fields.JOINED:
            actual = _days(shopper.joined_at, now)
        else:
            summary = summary_of(shopper, now)
            actual = getattr(summary, self.about.column, None)
            if source == fields.SINCE:
                actual = _days(actual, now)
        if self.op == "in":
            return actual in self.value
        if isinstance(actual, bool) or not isinstance(actual, int | float):
            return False
        return bool(actual >= self.value if self.op == ">=" else actual <= self.value)


@dataclass(frozen=True, slots=True)
class Interest:
    """The share of a category in a shopper's attention; a category that does not show in it has none."""

    category: str
    op: str
    value: float
    field = "interest"

    def q(self, now: datetime) -> Q:
        mine = ShopperInterest.objects.filter(category=self.category)
        if self.op == ">=":
            return _known(now) & Q(pk__in=mine.filter(share__gte=self.value).values("shopper"))
        return _known(now) & ~Q(pk__in=mine.filter(share__gt=self.value).values("shopper"))

    def matches(self, shopper: Shopper, now: datetime) -> bool:
        if summary_of(shopper, now) is None:
            return False
        share = _interests(shopper).get(self.category, 0.0)
        return share >= self.value if self.op == ">=" else share <= self.value


@dataclass(frozen=True, slots=True)
class Intent(Compared):
    """How likely a purchase is, by the live scores: ``value`` in percent, or a tuple of bands for ``in``."""

    def q(self, now: datetime) -> Q:
        found = intent.live(now).filter(self._fits())
        return Q(consent_personalisation=True, pk__in=found.values("shopper"))

    def _fits(self) -> Q:
        if self.op == "in":
            return Q(*map(intent.in_band, self.value), _connector=Q.OR)
        return Q(**{"intent__gte" if self.op == ">=" else "intent__lte": self.value / 100})

    def matches(self, shopper: Shopper, now: datetime) -> bool:
        scores = _scores(shopper)
        if scores is None or scores.intent is None or not intent.counts(scores.score_set, now):
            return False
        if self.op == "in":
            return intent.band(scores.intent, scores.score_set) in self.value
        edge = self.value / 100
        return bool(scores.intent >= edge if self.op == ">=" else scores.intent <= edge)


@dataclass(frozen=True, slots=True)
class Behaviour:
    """How often something happened in the days before; ``category`` empty: in any."""

    event: str
    category: str
    days: float
    op: str
    value: int
    field = "event"

    def _events(self, now: datetime) -> QuerySet[Event]:
        since = now - timedelta(days=self.days)
        found = Event.objects.filter(type=self.event, is_bot=False, occurred_at__gte=since, occurred_at__lt=now)
        if self.category:
            items = CatalogItem.objects.filter(category=self.category).values("item_id")
            found = found.filter(Q(category=self.category) | Q(category="", item_id__in=items))
        return found

    def q(self, now: datetime) -> Q:
        per_shopper = self._events(now).order_by().values("shopper").annotate(times=Count("pk"))
        agreed = Q(consent_personalisation=True)
        if self.op == ">=":
            return agreed & Q(pk__in=per_shopper.filter(times__gte=self.value).values("shopper"))
        return agreed & ~Q(pk__in=per_shopper.filter(times__gt=self.value).values("shopper"))

    def matches(self, shopper: Shopper, now: datetime) -> bool:
        if not shopper.consent_personalisation:
            return False
        known = _cache(shopper)
        key = (self.event, self.category, self.days, now)
        if key not in known:
            known[key] = self._events(now).filter(shopper=shopper).count()
        times = known[key]
        return bool(times >= self.value if self.op == ">=" else times <= self.value)


def _known(now: datetime) -> Q:
    return Q(consent_personalisation=True, summary__as_of__lte=now)


def _days(moment: datetime | None, now: datetime) -> float | None:
    return None if moment is None else (now - moment) / timedelta(days=1)


def _cache(shopper: Shopper) -> dict[Any, Any]:
    """Return what has been read of this shopper: a page asks for one shopper about every campaign."""
    found: dict[Any, Any] | None = shopper.__dict__.get(_CACHE)
    if found is None:
        found = shopper.__dict__[_CACHE] = {}
    return found


def summary_of(shopper: Shopper, now: datetime) -> ShopperSummary | None:
    """Return the summary as it may be used (one query an instance); None without consent, or if it is not of then."""
    if not shopper.consent_personalisation:
        return None
    known = _cache(shopper)
    if "summary" not in known:
        known["summary"] = ShopperSummary.objects.filter(shopper=shopper).first()
    summary: ShopperSummary | None = known["summary"]
    return summary if summary is not None and summary.as_of <= now else None


def _interests(shopper: Shopper) -> dict[str, float]:
    known = _cache(shopper)
    if "interests" not in known:
        known["interests"] = dict(ShopperInterest.objects.filter(shopper=shopper).values_list("category", "share"))
    found: dict[str, float] = known["interests"]
    return found


def _scores(shopper: Shopper) -> ShopperScores | None:
    """Return the shopper's live scores, intent alone (one query an instance); None without consent."""
    if not shopper.consent_personalisation:
        return None
    known = _cache(shopper)
    if "scores" not in known:
        live = ShopperScores.objects.filter(shopper=shopper, score_set__state=ScoreSet.State.LIVE)
        columns = (f"score_set__{name}" for name in ("intent_days", "intent_low", "intent_high", "published_at"))
        known["scores"] = live.select_related("score_set").only("intent", *columns).first()
    found: ShopperScores | None = known["scores"]
    return found


def _open_coupons(now: datetime) -> QuerySet[Coupon]:
    """Return coupons that can still be used at this moment."""
    lasting = Q(expires_at=None) | Q(expires_at__gt=now)
    held = Coupon.objects.filter(lasting, shopper__isnull=False, voided_at=None, issued_at__lte=now)
    return held.filter(used_count__lt=F("max_uses"))


def _holds_coupon(shopper: Shopper, now: datetime) -> bool:
    known = _cache(shopper)
    if ("coupon", now) not in known:
        known["coupon", now] = _open_coupons(now).filter(shopper=shopper).exists()
    return bool(known["coupon", now])
