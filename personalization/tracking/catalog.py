"""The catalogue copy: filled from the host's adapter, or from a data set."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime

from django.db import transaction
from django.utils import timezone

from personalization import conf
from personalization.models import CatalogItem, PricePoint
from personalization.ports import adapters, records
from personalization.tracking.identity import batches
from personalization.types import ProductData

_FIELDS = [
    "label",
    "population",
    "title",
    "category",
    "brand",
    "price_minor",
    "cost_minor",
    "currency",
    "visible",
]


def upsert_items(items: Iterable[ProductData], *, label: str, population: str = "") -> int:
    """Store products by their id, newest data wins; returns how many were seen.

    Raises InvalidRecord for a product that cannot be stored as it is meant, and stores nothing of its batch.
    """
    return _store(records.products(items), label, population or conf.get().population)


def _store(items: Iterable[ProductData], label: str, population: str) -> int:
    count = 0
    now = timezone.now()
    for batch in batches(items):
        latest = list({item.item_id: item for item in batch}.values())
        CatalogItem.objects.bulk_create(
            [
                CatalogItem(
                    item_id=item.item_id,
                    label=label,
                    population=population,
                    title=item.title[:300],
                    category=item.category[:100],
                    brand=item.brand[:100],
                    price_minor=item.price_minor,
                    cost_minor=item.cost_minor,
                    currency=item.currency,
                    visible=item.visible,
                    synced_at=now,
                )
                for item in latest
            ],
            update_conflicts=True,
            unique_fields=["item_id"],
            update_fields=[*_FIELDS, "synced_at"],
        )
        _note_prices(latest, now)
        count += len(batch)
    return count


def _note_prices(items: Sequence[ProductData], now: datetime) -> None:
    """Close the prices that have changed and open the new ones: four statements a batch."""
    with transaction.atomic():
        current = PricePoint.objects.filter(item_id__in=[item.item_id for item in items], until=None)
        known = {row[0]: row[1:] for row in current.values_list("item_id", "price_minor", "currency")}
        changed = [item for item in items if known.get(item.item_id) != (item.price_minor, item.currency)]
        if not changed:
            return
        ended = [item.item_id for item in changed if item.item_id in known]
        PricePoint.objects.filter(item_id__in=ended, until=None, since__lte=now).update(until=now)
        # Of two copies made at once the first one's prices stand; the next copy mends what differs.
        PricePoint.objects.bulk_create(
            [
                PricePoint(item_id=item.item_id, price_minor=item.price_minor, currency=item.currency, since=now)
                for item in changed
            ],
            ignore_conflicts=True,
        )


def sync_catalog() -> int:
    """Copy the host's catalogue; products that vanished from it are marked hidden.

    Raises InvalidRecord for a product that is handed over wrongly, or twice; then nothing is hidden.
    """
    adapter = adapters.catalog()
    if adapter is None:
        return 0
    started = timezone.now()
    count = _store(records.catalogue(adapter.products()), adapter.label, conf.get().population)
    CatalogItem.objects.filter(label=adapter.label, synced_at__lt=started).update(visible=False)
    return count
