"""Exposure → outcome: what came of what was shown, joined from events, coupons and orders.

An outcome belongs to an exposure if it happened after it and inside its window; each column holds the first.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from personalization.models import Coupon, Event, Exposure, Redemption
from personalization.tracking.identity import batches
from personalization.types import ExposureData

OUTCOMES = [
    "viewed_at",
    "clicked_at",
    "claimed_at",
    "redeemed_at",
    "purchased_at",
    "revenue_minor",
    "cost_minor",
]
LATE = timedelta(days=2)
"""How long after a window's end late events may still arrive and be joined."""


def record_exposures(rows: Sequence[ExposureData]) -> int:
    """Store exposures that another system logged, each once; returns how many are new."""
    new = 0
    for batch in batches(rows):
        with transaction.atomic():
            known = set(
                Exposure.objects.filter(
                    source__in={row.source for row in batch}, source_row__in=[row.source_row for row in batch]
                ).values_list("source", "source_row")
            )
            fresh = {(row.source, row.source_row): row for row in batch if (row.source, row.source_row) not in known}
            Exposure.objects.bulk_create([_exposure(row) for row in fresh.values()], ignore_conflicts=True)
            new += len(fresh)
    return new


def _exposure(row: ExposureData) -> Exposure:
    return Exposure(
        source=row.source,
        source_row=row.source_row,
        shopper_id=row.shopper_id,
        campaign_id=row.campaign_id,
        offer_id=row.offer_id,
        arm=row.arm.value,
        propensity=row.propensity,
        exposed_at=row.exposed_at,
        window_ends_at=row.window_ends_at,
        viewed_at=row.viewed_at,
        clicked_at=row.clicked_at,
        redeemed_at=row.redeemed_at,
        purchased_at=row.purchased_at,
        revenue_minor=row.revenue_minor,
        cost_minor=row.cost_minor,
    )


def join_outcomes(*, now: datetime | None = None, campaign_id: int | None = None) -> int:
    """Join outcomes to the exposures whose window is still open (or closed only lately); returns rows changed.

    Imported exposures carry their outcomes already and are left alone. Running it again changes nothing.
    """
    now = now or timezone.now()
    open_rows = Exposure.objects.filter(source="", window_ends_at__gte=now - LATE)
    if campaign_id is not None:
        open_rows = Exposure.objects.filter(source="", campaign_id=campaign_id)
    changed = 0
    for batch in batches(open_rows.order_by("pk").iterator(chunk_size=2000), 2000):
        changed += _join_batch(batch)
    return changed


def rejoin(sender: Any, *, shopper_ids: Collection[int] | None, first_day: date, last_day: date, **kwargs: Any) -> None:
    """Join the outcomes of exposures anew whose events changed afterwards (a receiver of ``events_rewritten``).

    Events whose time to be kept is over have happened all the same: what they led to stands.
    """
    if kwargs.get("expired") or shopper_ids is None:
        return
    first = datetime.combine(first_day, time.min, tzinfo=UTC)
    after = datetime.combine(last_day, time.min, tzinfo=UTC) + timedelta(days=1)
    rows = Exposure.objects.filter(
        source="", shopper__in=shopper_ids, exposed_at__lt=after, window_ends_at__gte=first
    ).order_by("pk")
    for batch in batches(rows.iterator(chunk_size=2000), 2000):
        _join_batch(batch)


def _join_batch(exposures: list[Exposure]) -> int:
    shoppers = {exposure.shopper_id for exposure in exposures}
    first = min(exposure.exposed_at for exposure in exposures)
    last = max(exposure.window_ends_at for exposure in exposures)
    events = _by_shopper(
        Event.objects.filter(shopper_id__in=shoppers, occurred_at__gte=first, occurred_at__lte=last, is_bot=False)
        .filter(Q(type__in=["offer_viewed", "offer_clicked", "order_placed"]))
        .order_by("occurred_at")
        .values_list("shopper_id", "type", "offer_id", "occurred_at", "value_minor", "properties")
    )
    claims = _by_shopper(
        Coupon.objects.filter(shopper_id__in=shoppers, issued_at__gte=first, issued_at__lte=last)
        .order_by("issued_at")
        .values_list("shopper_id", "offer_id", "issued_at")
    )
    redemptions = _by_shopper(
        Redemption.objects.filter(shopper_id__in=shoppers, redeemed_at__gte=first, redeemed_at__lte=last)
        .order_by("redeemed_at")
        .values_list("shopper_id", "offer_id", "redeemed_at", "amount_minor", "refunded_minor")
    )
    changed = [
        exposure
        for exposure in exposures
        if _join_one(
            exposure,
            events.get(exposure.shopper_id, []),
            claims.get(exposure.shopper_id, []),
            redemptions.get(exposure.shopper_id, []),
        )
    ]
    for part in batches(changed):
        Exposure.objects.bulk_update(part, OUTCOMES)
    return len(changed)


def _by_shopper(rows: Iterable[tuple[Any, ...]]) -> dict[int, list[tuple[Any, ...]]]:
    grouped: dict[int, list[tuple[Any, ...]]] = defaultdict(list)
    for row in rows:
        grouped[row[0]].append(row[1:])
    return grouped


def _join_one(
    exposure: Exposure,
    events: list[tuple[Any, ...]],
    claims: list[tuple[Any, ...]],
    redemptions: list[tuple[Any, ...]],
) -> bool:
    before = [getattr(exposure, name) for name in OUTCOMES]

    def inside(moment: datetime) -> bool:
        return exposure.exposed_at <= moment <= exposure.window_ends_at

    def seen(kind: str) -> datetime | None:
        for name, offer_id, moment, _value, properties in events:
            if name == kind and offer_id == exposure.offer_id and inside(moment):
                decision = (properties or {}).get("decision_id")
                if not decision or decision == str(exposure.decision_id):
                    return moment
        return None

    orders = [
        (moment, value or 0) for name, _o, moment, value, _p in events if name == "order_placed" and inside(moment)
    ]
    exposure.purchased_at = orders[0][0] if orders else None
    exposure.revenue_minor = sum(value for _moment, value in orders)
    if exposure.offer_id is not None:
        exposure.viewed_at = seen("offer_viewed")
        exposure.clicked_at = seen("offer_clicked")
        mine = [moment for offer_id, moment in claims if offer_id == exposure.offer_id and inside(moment)]
        exposure.claimed_at = mine[0] if mine else None
        spent = [row for row in redemptions if row[0] == exposure.offer_id and inside(row[1])]
        exposure.redeemed_at = spent[0][1] if spent else None
        exposure.cost_minor = sum(amount - refunded for _offer, _moment, amount, refunded in spent)
        # Taking the coupon is taking part, and both need the offer to have been seen.
        exposure.clicked_at = _earliest(exposure.clicked_at, exposure.claimed_at)
        exposure.viewed_at = _earliest(exposure.viewed_at, exposure.clicked_at)
    return before != [getattr(exposure, name) for name in OUTCOMES]


def _earliest(*moments: datetime | None) -> datetime | None:
    known = [moment for moment in moments if moment is not None]
    return min(known) if known else None
