"""What a shop still lacks before the first model can train, in words."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from django.utils import timezone
from django.utils.translation import gettext as _

from personalization import conf
from personalization.models import Event, Exposure

MIN_POSITIVES = 100
MIN_ORDERS = 200


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


def readiness(population: str = "shop", until: datetime | None = None) -> Readiness:
    """Count what may be learnt from: matured exposures, redemptions among them, orders with consent."""
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
    need = conf.get().min_exposures
    return Readiness(
        exposures=exposures,
        needed_exposures=need,
        positives=positives,
        needed_positives=MIN_POSITIVES,
        orders=orders,
        needed_orders=MIN_ORDERS,
        ready_response=exposures >= need and positives >= MIN_POSITIVES,
        ready_preference=orders >= MIN_ORDERS,
        sentences=[
            _told(_("%(have)s exposures whose outcome is known (%(need)s needed)"), exposures, need),
            _told(_("%(have)s redemptions among them (%(need)s needed)"), positives, MIN_POSITIVES),
            _told(_("%(have)s orders with consent (%(need)s needed)"), orders, MIN_ORDERS),
        ],
    )


def _told(words: str, have: int, need: int) -> str:
    counted = words % {"have": f"{have:,}", "need": f"{need:,}"}
    return (_("%(counted)s: enough") if have >= need else _("%(counted)s: not enough yet")) % {"counted": counted}
