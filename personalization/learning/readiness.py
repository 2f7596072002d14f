"""What a shop still lacks before the first model can train, in words."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from django.utils import timezone
from django.utils.translation import gettext as _

from personalization import conf
from personalization.features.behaviour import WINDOWS
from personalization.models import Event, Exposure

MIN_POSITIVES = 100
MIN_ORDERS = 200
MIN_MOMENTS = 2
"""Moments that purchase intent learns from, besides the one that it is tested on; of a single one, nothing tells what
is the shoppers' and what that week's."""
HISTORY_DAYS = max(WINDOWS)
"""A moment counts only with as much of the log before it as features look back."""


@dataclass(frozen=True, slots=True)
class Readiness:
    """Counts, needs and the sentences that say both."""

    exposures: int
    needed_exposures: int
    positives: int
    needed_positives: int
    orders: int
    needed_orders: int
    ready_response: bool
    ready_preference: bool
    sentences: list[str] = field(default_factory=list)
    days: int = 0
    needed_days: int = 0
    ready_intent: bool = False


def readiness(population: str = "shop", until: datetime | None = None) -> Readiness:
    """Count what may be learnt from: matured exposures, redemptions among them, orders with consent, days."""
    until = until or timezone.now()
    usable = {
        "shopper__population": population,
        "shopper__consent_personalisation": True,
        "shopper__is_bot": False,
        "shopper__merged_into": None,
    }
    matured = Exposure.objects.filter(offer__isnull=False, window_ends_at__lte=until, **usable)
    exposures = matured.count()
    positives = matured.filter(redeemed_at__isnull=False).count()
    orders = Event.objects.filter(type="order_placed", occurred_at__lte=until, **usable).count()
    need, days, need_days = conf.get().min_exposures, _days(population, until), days_for_intent(conf.get().intent_days)
    return Readiness(
        exposures=exposures,
        needed_exposures=need,
        positives=positives,
        needed_positives=MIN_POSITIVES,
        orders=orders,
        needed_orders=MIN_ORDERS,
        days=days,
        needed_days=need_days,
        ready_response=exposures >= need and positives >= MIN_POSITIVES,
        ready_preference=orders >= MIN_ORDERS,
        ready_intent=days >= need_days and orders >= MIN_ORDERS,
        sentences=[
            _told(_("%(have)s exposures whose outcome is known (%(need)s needed)"), exposures, need),
            _told(_("%(have)s redemptions among them (%(need)s needed)"), positives, MIN_POSITIVES),
            _told(_("%(have)s orders with consent (%(need)s needed)"), orders, MIN_ORDERS),
            _told(_("%(have)s days of behaviour (%(need)s needed for purchase intent)"), days, need_days),
        ],
    )


def days_for_intent(ahead: int) -> int:
    """Return how many days the log has to span for purchase intent that looks ``ahead`` days ahead."""
    return HISTORY_DAYS + (MIN_MOMENTS + 1) * ahead


def _days(population: str, until: datetime) -> int:
    """Return how many whole days lie between the first event that may be learnt from and the end."""
    events = Event.objects.filter(
        shopper__population=population, shopper__consent_personalisation=True, is_bot=False, occurred_at__lte=until
    )
    first = events.order_by("occurred_at").values_list("occurred_at", flat=True).first()
    return 0 if first is None else (until - first).days


def _told(words: str, have: int, need: int) -> str:
    counted = words % {"have": f"{have:,}", "need": f"{need:,}"}
    return (_("%(counted)s: enough") if have >= need else _("%(counted)s: not enough yet")) % {"counted": counted}
