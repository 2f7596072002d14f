"""Which shoppers an occasion has come for: one query a kind, over any number of shoppers.

Each query selects ``(shopper, marker)``. The marker tells one occasion from the next: a day, or nothing where the
prefix says it all. Nobody's marker is null once the occasion has come for them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from itertools import pairwise
from typing import Any

from django.db import models
from django.db.models import Case, Exists, ExpressionWrapper, F, Func, Max, OuterRef, Q, QuerySet, Subquery, Value, When
from django.db.models.fields.json import KeyTextTransform
from django.db.models.functions import Cast, Right
from django.db.models.lookups import GreaterThanOrEqual

from personalization.campaigns import clock
from personalization.models import Event, PricePoint, Shopper, ShopperSummary, Trigger
from personalization.models.trigger_rules import holidays_of

Kind = Trigger.Kind
Params = dict[str, Any]
ENDED_BY_ORDER = {Kind.BASKET, Kind.WIN_BACK, Kind.REPLENISHMENT}
"""Occasions that are over as soon as the shopper buys."""


@dataclass(frozen=True, slots=True)
class Found:
    """Shoppers with an annotation ``marker``; ``prefix`` and the marker's first ten letters make the occasion's key."""

    shoppers: QuerySet[Any]
    prefix: str


def find(trigger: Trigger, params: Params, shoppers: QuerySet[Shopper], now: datetime) -> Found | None:
    """Return for whom of ``shoppers`` the occasion has come at ``now``; None if it can have come for nobody."""
    today = clock.wall(now, clock.zone_of(trigger.campaign)).date()
    return _FINDERS[Kind(trigger.kind)](shoppers, params, now, today)


def _everybody(shoppers: QuerySet[Shopper], prefix: str) -> Found:
    return Found(shoppers.annotate(marker=Value("", models.CharField())), prefix)


def _launch(shoppers: QuerySet[Shopper], params: Params, now: datetime, today: date) -> Found | None:
    return _everybody(shoppers, Kind.LAUNCH.value)


def _welcome(shoppers: QuerySet[Shopper], params: Params, now: datetime, today: date) -> Found | None:
    since = now - timedelta(days=params["days"])
    return _everybody(shoppers.filter(joined_at__gte=since, joined_at__lte=now), "welcome")


def _birthday(shoppers: QuerySet[Shopper], params: Params, now: datetime, today: date) -> Found | None:
    years: dict[int, list[str]] = {}
    for ahead in range(params["days_before"] + 1):
        day = today + timedelta(days=ahead)
        years.setdefault(day.year, []).extend(birthdays_on(day))
    # "05-17" or "1990-05-17": its last five letters are the day of the year.
    born = Right(KeyTextTransform("birthday", "attributes"), 5)
    whens = [When(born__in=days, then=Value(str(year))) for year, days in years.items()]
    marker = Case(*whens, default=None, output_field=models.CharField(null=True))
    return Found(shoppers.annotate(born=born).annotate(marker=marker), "birthday:")


def birthdays_on(day: date) -> list[str]:
    """Return whose birthday is celebrated: those born on 29 February celebrate on the 28th where there is no 29th."""
    words = [f"{day:%m-%d}"]
    if words == ["02-28"] and (day + timedelta(days=1)).month == 3:
        words.append("02-29")
    return words


def _season(shoppers: QuerySet[Shopper], params: Params, now: datetime, today: date) -> Found | None:
    year = season_year(params["from"], params["to"], today)
    return None if year is None else _everybody(shoppers, f"season:{year}")


def season_year(first: str, last: str, today: date) -> int | None:
    """Return the year in which the season began that ``today`` lies in; None outside of it. It may cross New Year."""
    day = f"{today:%m-%d}"
    if first <= last:
        return today.year if first <= day <= last else None
    if day >= first:
        return today.year
    return today.year - 1 if day <= last else None


def _holiday(shoppers: QuerySet[Shopper], params: Params, now: datetime, today: date) -> Found | None:
    first = holiday_begins(params, today)
    return None if first is None else _everybody(shoppers, f"holiday:{first:%Y-%m-%d}")


def holiday_begins(params: Params, today: date) -> date | None:
    """Return the first day of the holidays that are on, or come within ``days_before``; neighbouring days are one."""
    wanted = params["name"].casefold()
    days = [
        day
        for year in (today.year - 1, today.year, today.year + 1)
        for day, name in holidays_of(params["country"], params["subdivision"], year).items()
        if wanted in name.casefold()
    ]
    days.sort()
    neighbours = {later: earlier for earlier, later in pairwise(days) if later - earlier == timedelta(days=1)}
    for day in days:
        first = neighbours.get(day, day)
        while first in neighbours:
            first = neighbours[first]
        if day >= today:
            return first if first - timedelta(days=params["days_before"]) <= today else None
    return None


def _orders() -> QuerySet[Event]:
    return Event.objects.filter(shopper=OuterRef("pk"), type="order_placed")


def _win_back(shoppers: QuerySet[Shopper], params: Params, now: datetime, today: date) -> Found | None:
    before = now - timedelta(days=params["days"])
    last = _orders().filter(occurred_at__lte=before).order_by("-occurred_at").values("occurred_at")[:1]
    lapsed = shoppers.filter(~Exists(_orders().filter(occurred_at__gt=before)))
    return Found(lapsed.annotate(marker=Subquery(last)), "win_back:")


def _basket(shoppers: QuerySet[Shopper], params: Params, now: datetime, today: date) -> Found | None:
    """The last word about the basket, some hours old, is that something is in it, and no order came after it."""
    first, last = now - timedelta(days=params["within_days"]), now - timedelta(hours=params["hours"])
    changes = Event.objects.filter(type="basket_changed", is_bot=False)
    touched = changes.filter(occurred_at__gte=first, occurred_at__lte=last)
    latest = changes.filter(shopper=OuterRef("pk"), occurred_at__lte=now).order_by("-occurred_at", "-pk")
    left = shoppers.filter(pk__in=touched.values("shopper_id")).annotate(
        left_at=Subquery(latest.values("occurred_at")[:1]),
        left_minor=Subquery(latest.values(total=_total_minor())[:1]),
    )
    left = left.filter(left_at__gte=first, left_at__lte=last, left_minor__gt=0)
    bought = _orders().filter(occurred_at__gte=OuterRef("left_at"))
    return Found(left.filter(~Exists(bought)).annotate(marker=F("left_at")), "basket:")


def _total_minor() -> Any:
    return Cast(KeyTextTransform("basket_total_minor", "properties"), models.BigIntegerField())


class _Days(Func):
    """A moment and so many days (a number, fractions too): the moment later."""

    output_field = models.DateTimeField()
    template = "%(expressions)s"

    def as_sqlite(self, compiler: Any, connection: Any, **extra: Any) -> Any:
        template = "strftime('%%%%Y-%%%%m-%%%%d %%%%H:%%%%M:%%%%S', %(expressions)s || ' days')"
        return self.as_sql(compiler, connection, template=template, arg_joiner=", ", **extra)

    def as_postgresql(self, compiler: Any, connection: Any, **extra: Any) -> Any:
        template = "(%(expressions)s * interval '1 day')"
        return self.as_sql(compiler, connection, template=template, arg_joiner=" + ", **extra)


def _replenishment(shoppers: QuerySet[Shopper], params: Params, now: datetime, today: date) -> Found | None:
    rhythm = ShopperSummary.objects.filter(shopper=OuterRef("pk"), cycle_days__gt=0, last_order_at__isnull=False)
    due = rhythm.annotate(due=_Days(F("last_order_at"), F("cycle_days"))).filter(
        due__gte=now - timedelta(days=params["late_days"]), due__lte=now + timedelta(days=params["days_before"])
    )
    waiting = shoppers.annotate(marker=Subquery(due.values("last_order_at")[:1])).filter(marker__isnull=False)
    # The summary may be some hours old: whoever has bought meanwhile is due later.
    return Found(waiting.filter(~Exists(_orders().filter(occurred_at__gt=OuterRef("marker")))), "replenishment:")


def _price_drop(shoppers: QuerySet[Shopper], params: Params, now: datetime, today: date) -> Found | None:
    """Something they looked at costs less now than it did then, in the same currency."""
    since = now - timedelta(days=params["within_days"])
    dearer_then = PricePoint.objects.filter(
        item_id=OuterRef("item_id"),
        currency=OuterRef("currency"),
        since__lte=OuterRef(OuterRef("occurred_at")),
        until__gt=OuterRef(OuterRef("occurred_at")),
        price_minor__gt=0,
    ).filter(_share(F("price_minor"), 100 - params["percent"], at_least=OuterRef("price_minor")))
    fell_at = PricePoint.objects.filter(Exists(dearer_then), item_id=OuterRef("item_id"), until=None).values("since")
    viewed = Event.objects.filter(
        shopper=OuterRef("pk"), type="product_viewed", is_bot=False, occurred_at__gte=since, occurred_at__lte=now
    )
    # Grouped, each view is looked up once: ordered and filtered by it, it would be for every mention.
    marker = Subquery(viewed.order_by().values("shopper").annotate(fell=Max(Subquery(fell_at[:1]))).values("fell"))
    # Only what became cheaper at all is looked for among the views.
    fallen = PricePoint.objects.filter(until__gte=since).values("item_id")
    looked = Event.objects.filter(type="product_viewed", occurred_at__gte=since, item_id__in=fallen)
    return Found(shoppers.filter(pk__in=looked.values("shopper_id")).annotate(marker=marker), "price_drop:")


def _share(amount: Any, percent: int, *, at_least: Any) -> Q:
    """Ask for so many percent of an amount of minor units (rounded down) to be at least another."""
    share = ExpressionWrapper(amount * Value(percent) / Value(100), output_field=models.BigIntegerField())
    return Q(GreaterThanOrEqual(share, at_least))


def _event(shoppers: QuerySet[Shopper], params: Params, now: datetime, today: date) -> Found | None:
    matching = Q(type=params["type"], occurred_at__gte=now - timedelta(days=params["days"]), occurred_at__lte=now)
    if params["property"]:
        matching &= Q(**{f"properties__{params['property']}": params["value"]})
    events = Event.objects.filter(matching, is_bot=False)
    latest = events.filter(shopper=OuterRef("pk")).order_by("-occurred_at").values("occurred_at")[:1]
    return Found(shoppers.filter(pk__in=events.values("shopper_id")).annotate(marker=Subquery(latest)), "event:")


_FINDERS: dict[Kind, Callable[[QuerySet[Shopper], Params, datetime, date], Found | None]] = {
    Kind.LAUNCH: _launch,
    Kind.WELCOME: _welcome,
    Kind.BIRTHDAY: _birthday,
    Kind.SEASON: _season,
    Kind.HOLIDAY: _holiday,
    Kind.WIN_BACK: _win_back,
    Kind.BASKET: _basket,
    Kind.REPLENISHMENT: _replenishment,
    Kind.PRICE_DROP: _price_drop,
    Kind.EVENT: _event,
}
