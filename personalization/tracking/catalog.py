"""The catalogue copy: filled from the host's adapter, or from a data set."""

from __future__ import annotations

from collections.abc import Iterable

from django.utils import timezone

from personalization import conf
from personalization.models import CatalogItem
from personalization.ports import adapters
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
    """Store products by their id, newest data wins; returns how many were seen."""
    count = 0
    now = timezone.now()
    for batch in batches(items):
        CatalogItem.objects.bulk_create(
            [
                CatalogItem(
                    item_id=item.item_id,
                    label=label,
                    population=population or conf.get().population,
                    title=item.title[:300],
                    category=item.category[:100],
                    brand=item.brand[:100],
                    price_minor=item.price_minor,
                    cost_minor=item.cost_minor,
                    currency=item.currency,
                    visible=item.visible,
                    synced_at=now,
                )
                for item in {item.item_id: item for item in batch}.values()
            ],
            update_conflicts=True,
            unique_fields=["item_id"],
            update_fields=[*_FIELDS, "synced_at"],
        )
        count += len(batch)
    return count


def sync_catalog() -> int:
    """Copy the host's catalogue; products that vanished from it are marked hidden."""
    adapter = adapters.catalog()
    if adapter is None:
        return 0
    started = timezone.now()
    count = upsert_items(adapter.products(), label=adapter.label)
    CatalogItem.objects.filter(label=adapter.label, synced_at__lt=started).update(visible=False)
    return count
