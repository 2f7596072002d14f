"""The ids that lead to shoppers, and the history of whose each one was: nothing else repoints or ends an alias."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from django.db import transaction
from django.db.models import Case, F, Value, When
from django.utils import timezone

from personalization.models import FormerAlias, Shopper, ShopperAlias
from personalization.tracking import secrets

_HASH = "alias"


@dataclass(frozen=True, slots=True)
class Span:
    """Whose an id was, from when to when; ``until`` is None while it still leads there."""

    shopper_id: int
    since: datetime
    until: datetime | None


def history(kind: ShopperAlias.Kind, value: str) -> list[Span]:
    """Return whose this id was, oldest first."""
    former = FormerAlias.objects.filter(kind=kind, digest__in=secrets.digests(value, _HASH)).order_by("since", "pk")
    spans = [Span(row.shopper_id, row.since, row.until) for row in former]
    now = ShopperAlias.objects.filter(kind=kind, value=value).first()
    return spans if now is None else [*spans, Span(now.shopper_id, now.created_at, None)]


def end(found: Iterable[ShopperAlias]) -> None:
    """Let these ids lead nowhere any more; that they did is remembered."""
    mine = list(found)
    with transaction.atomic():
        _remember(mine, timezone.now())
        ShopperAlias.objects.filter(pk__in=[alias.pk for alias in mine]).delete()


def hand_over(found: Iterable[ShopperAlias], to: Shopper) -> None:
    """Let these ids lead to another shopper from now on."""
    mine, now = list(found), timezone.now()
    with transaction.atomic():
        _remember(mine, now)
        # Never before it began: clocks of two servers differ, and a data set's ids begin when its people joined.
        since = Case(When(created_at__gt=now, then=F("created_at")), default=Value(now))
        ShopperAlias.objects.filter(pk__in=[alias.pk for alias in mine]).update(shopper=to, created_at=since)


def _remember(ending: list[ShopperAlias], now: datetime) -> None:
    FormerAlias.objects.bulk_create(
        FormerAlias(
            shopper_id=alias.shopper_id,
            kind=alias.kind,
            digest=secrets.digest(alias.value, _HASH),
            since=alias.created_at,
            until=max(now, alias.created_at),
        )
        for alias in ending
    )
