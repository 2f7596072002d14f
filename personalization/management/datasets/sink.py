"""Where imported rows go: in bounded batches, through the rooms' own verbs, counting what is new.

Flow: tables → importer → **sink** → tracking, campaigns, insight. What is there already is left out before
it is built, so that a resumed import passes quickly over what an earlier one committed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

import polars as pl
from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils.translation import gettext as _

from personalization.campaigns.authoring import create_campaign
from personalization.exceptions import DatasetError
from personalization.insight.feedback import record_exposures
from personalization.management.datasets.report import Summary, Terminal
from personalization.models import Campaign, CatalogItem, Exposure, Shopper
from personalization.tracking.catalog import upsert_items
from personalization.tracking.identity import batches, upsert_shoppers
from personalization.tracking.ingest import store_events
from personalization.tracking.storage import existing_ids
from personalization.types import EventData, ExposureData, ProductData, ShopperData

BATCH = 500
"""Rows a transaction: a shop that runs on the same database waits for no longer than one of these."""
Row = TypeVar("Row", EventData, ExposureData)


@dataclass(frozen=True, slots=True)
class StoredCampaign:
    """A campaign's primary key, and its offers' by their external ids."""

    pk: int
    offers: Mapping[str, int]


class Sink:
    """Writes one data set's rows and keeps the summary."""

    def __init__(self, dataset: str, summary: Summary, terminal: Terminal) -> None:
        self.dataset = dataset
        self.summary = summary
        self._terminal = terminal

    def campaign(
        self,
        *,
        name: str,
        starts_at: datetime,
        ends_at: datetime,
        offers: list[dict[str, Any]],
        **fields: Any,
    ) -> StoredCampaign:
        """Make an ended campaign unless it is there. Each offer's attributes hold its ``external_id``.

        Raises DatasetError where the set's terms are none, or others than those that are there.
        """
        thing = _("campaigns")
        with transaction.atomic():
            campaign = Campaign.objects.filter(population=self.dataset, name=name).first()
            self._count(thing, 1, int(campaign is None))
            if campaign is None:
                terms = {**fields, "status": Campaign.Status.ENDED.value, "population": self.dataset}
                try:
                    campaign = create_campaign(name=name, starts_at=starts_at, ends_at=ends_at, offers=offers, **terms)
                except ValidationError as error:
                    raise DatasetError(
                        _("The campaign “%(name)s” cannot be stored: %(reason)s")
                        % {"name": name, "reason": " ".join(error.messages)}
                    ) from error
        ids = {str(offer.attributes.get("external_id")): offer.pk for offer in campaign.offers.all()}
        if not ids.keys() >= {offer["attributes"]["external_id"] for offer in offers}:
            raise DatasetError(
                _("The campaign “%(name)s” is there, with other offers. Import into an empty database.")
                % {"name": name}
            )
        return StoredCampaign(campaign.pk, ids)

    def shoppers(self, rows: Iterable[ShopperData], *, total: int) -> dict[str, int]:
        """Store shoppers; returns external id → primary key."""
        thing = _("shoppers")
        theirs = Shopper.objects.filter(population=self.dataset)
        before = theirs.count()
        ids: dict[str, int] = {}
        with self._terminal.stage(thing, total) as advance:
            for batch in batches(rows, BATCH):
                ids.update(upsert_shoppers(batch))
                advance(len(batch))
        self._count(thing, total, theirs.count() - before)
        return ids

    def products(self, rows: Iterable[ProductData], *, total: int) -> None:
        """Store products that are new or differ from what is stored."""
        thing = _("products")
        theirs = CatalogItem.objects.filter(population=self.dataset)
        before = theirs.count()
        with self._terminal.stage(thing, total) as advance:
            for batch in batches(rows, BATCH):
                stored = CatalogItem.objects.filter(item_id__in=[row.item_id for row in batch])
                known = {values[0]: values[1:] for values in stored.values_list("item_id", *_COMPARED)}
                changed = [row for row in batch if known.get(row.item_id) != _stored_form(row)]
                upsert_items(changed, label=self.dataset, population=self.dataset)
                advance(len(batch))
        self._count(thing, total, theirs.count() - before)

    def events(
        self,
        thing: str,
        source: str,
        frames: Iterable[pl.DataFrame],
        build: Callable[[pl.DataFrame], Iterable[EventData]],
        *,
        total: int,
    ) -> None:
        """Store events. ``frames`` hold a column ``row``: an event's identity within ``source``."""

        def known(ids: list[str]) -> set[str]:
            return existing_ids(source, ids)

        frames = (frame.with_columns(identity=pl.col("row").cast(pl.String)) for frame in frames)
        self._store(thing, frames, known, build, store_events, total=total)

    def exposures(
        self,
        source: str,
        frames: Iterable[pl.DataFrame],
        build: Callable[[pl.DataFrame], Iterable[ExposureData]],
        *,
        total: int,
    ) -> None:
        """Store exposures. ``frames`` hold a column ``identity``: the source row."""
        theirs = Exposure.objects.filter(source=source)
        known = None
        if theirs.exists():

            def known(ids: list[str]) -> set[str]:
                return set(theirs.filter(source_row__in=ids).values_list("source_row", flat=True))

        self._store(_("exposures"), frames, known, build, record_exposures, total=total)

    def _store(
        self,
        thing: str,
        frames: Iterable[pl.DataFrame],
        known: Callable[[list[str]], set[str]] | None,
        build: Callable[[pl.DataFrame], Iterable[Row]],
        store: Callable[[Sequence[Row]], int],
        *,
        total: int,
    ) -> None:
        stored = 0
        with self._terminal.stage(thing, total) as advance:
            for part in _slices(frames):
                fresh = part
                if known is not None:
                    there = known(part["identity"].to_list())
                    fresh = part.filter(~pl.col("identity").is_in(list(there)))
                if not fresh.is_empty():
                    stored += store(list(build(fresh)))
                advance(part.height)
        self._count(thing, total, stored)

    def _count(self, thing: str, total: int, new: int) -> None:
        self.summary.new[thing] += new
        self.summary.known[thing] += total - new


def _slices(frames: Iterable[pl.DataFrame]) -> Iterator[pl.DataFrame]:
    for frame in frames:
        yield from frame.iter_slices(BATCH)


_COMPARED = ("title", "category", "brand", "price_minor", "currency", "visible")


def _stored_form(row: ProductData) -> tuple[object, ...]:
    return row.title[:300], row.category[:100], row.brand[:100], row.price_minor, row.currency, row.visible
