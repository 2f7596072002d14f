"""The Complete Journey (dunnhumby, CC0): a grocer's households in 2017, their baskets, campaigns and coupons.

The purchases are a *sample of lines*: totals and counts are lower bounds. A household's exposure to a
campaign starts with the campaign and lasts to its end (the last day included). Who was sent what was the
grocer's choice: no propensity is known and nobody was withheld at random, so response can be learnt from it,
uplift cannot.

Rules: a line without quantity or price is set aside; fuel and goods by weight, whose unit price would round
to nothing, count as one unit; an order's total is what the shop received (``sales_value``).

Coupons state no face value. A campaign's offer takes the median discount seen on its coupons' products,
bought by its households within its dates; with fewer than ``ENOUGH_LINES`` such lines, that of all discounted
lines. The offer's attributes say which (``face_value_basis``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import polars as pl
from django.utils.translation import gettext as _

from personalization.management.datasets.base import CONSENT_SOURCE, PURPOSES, DatasetImporter
from personalization.management.datasets.complete_journey_frames import (
    baskets,
    exposures,
    judged,
    midpoint,
    offer,
    products,
    terms,
)
from personalization.management.datasets.sink import Sink, StoredCampaign
from personalization.management.datasets.tables import Column, Kind, collect, parts, require
from personalization.models import Campaign
from personalization.types import EventData, ExposureData, ProductData, ShopperData

CURRENCY = "USD"
DAY = pl.duration(days=1)
TEXT, OPTIONAL_TEXT, NUMBER, MOMENT = (
    Column(Kind.TEXT),
    Column(Kind.TEXT, optional=True),
    Column(Kind.NUMBER),
    Column(Kind.MOMENT),
)
DEMOGRAPHICS = (
    "age",
    "income",
    "home_ownership",
    "marital_status",
    "household_size",
    "household_comp",
    "kids_count",
)


class Importer(DatasetImporter):
    """Reads seven files, from demographics to redemptions."""

    name = "complete_journey"
    title = "The Complete Journey"
    files = {
        "campaign_descriptions.parquet": {
            "campaign_id": TEXT,
            "campaign_type": TEXT,
            "start_date": MOMENT,
            "end_date": MOMENT,
        },
        "campaigns.parquet": {"campaign_id": TEXT, "household_id": TEXT},
        "coupons.parquet": {"coupon_upc": TEXT, "product_id": TEXT, "campaign_id": TEXT},
        "coupon_redemptions.parquet": {
            "household_id": TEXT,
            "coupon_upc": TEXT,
            "campaign_id": TEXT,
            "redemption_date": MOMENT,
        },
        "demographics.parquet": {"household_id": TEXT, **dict.fromkeys(DEMOGRAPHICS, OPTIONAL_TEXT)},
        "products.parquet": {
            "product_id": TEXT,
            "department": OPTIONAL_TEXT,
            "brand": OPTIONAL_TEXT,
            "product_category": OPTIONAL_TEXT,
            "product_type": OPTIONAL_TEXT,
            "package_size": OPTIONAL_TEXT,
        },
        "transactions_sample.parquet": {
            "household_id": TEXT,
            "basket_id": TEXT,
            "product_id": TEXT,
            "quantity": NUMBER,
            "sales_value": NUMBER,
            "coupon_disc": NUMBER,
            "coupon_match_disc": NUMBER,
            "transaction_timestamp": MOMENT,
        },
    }

    def check(self) -> None:
        frames = {stem: table.frame for stem, table in self.tables.items()}
        self.lines = judged(frames["transactions_sample"])
        self.sent, self.redemptions = frames["campaigns"], frames["coupon_redemptions"]
        self.demographics = collect(frames["demographics"])
        self.products = collect(products(frames["products"], self.lines))
        described = frames["campaign_descriptions"].with_columns(ends_at=pl.col("end_date") + DAY)
        self._refuse_contradictions(collect(described), self.products.filter(pl.col("row").is_not_null()))
        self.campaigns = collect(terms(described, self.sent, frames["coupons"], frames["products"], self.lines))
        everybody = pl.concat(
            [
                frame.select("household_id")
                for frame in (self.demographics.lazy(), self.sent, self.redemptions, self.lines)
            ]
        ).unique()
        self.households = collect(everybody.sort(pl.col("household_id").str.len_chars(), "household_id"))
        if self.limit:
            self.households = self.households.head(self.limit)
            first = self.households.lazy()
            self.lines = self.lines.join(first, on="household_id", how="semi")
            self.products = self.products.join(
                collect(self.lines.select("product_id").unique()), on="product_id", how="semi"
            )
            self.sent = self.sent.join(first, on="household_id", how="semi")
            self.redemptions = self.redemptions.join(first, on="household_id", how="semi")

    def _refuse_contradictions(self, described: pl.DataFrame, listed: pl.DataFrame) -> None:
        advice = _("Fetch the data set again; nothing has been imported.")
        for what, ids in (
            (_("campaign_descriptions.parquet holds a campaign twice."), described["campaign_id"]),
            (_("demographics.parquet holds a household twice."), self.demographics["household_id"]),
            (_("products.parquet holds a product twice."), listed["product_id"]),
        ):
            require(ids.is_unique().all(), f"{what} {advice}")
        require(
            bool((described["end_date"] >= described["start_date"]).all()),
            _("A campaign in campaign_descriptions.parquet ends before it starts.") + " " + advice,
        )
        for stem in ("campaigns", "coupons", "coupon_redemptions"):
            unknown = self.tables[stem].frame.join(described.lazy(), on="campaign_id", how="anti")
            require(
                collect(unknown.select(pl.len())).item() == 0,
                _("%(stem)s.parquet names a campaign that campaign_descriptions.parquet does not hold.")
                % {"stem": stem}
                + " "
                + advice,
            )

    def write(self, sink: Sink) -> None:
        stored = {row["campaign_id"]: self._campaign(sink, row) for row in self.campaigns.iter_rows(named=True)}
        profiles = self.households.join(self.demographics, on="household_id", how="left", maintain_order="left")
        shoppers = sink.shoppers(map(self._shopper, profiles.iter_rows(named=True)), total=profiles.height)
        sink.products(map(self._product, self.products.iter_rows(named=True)), total=self.products.height)
        rows = Rows(
            {stem: table.source(self.name) for stem, table in self.tables.items()},
            shoppers,
            stored,
            self.identifier,
        )
        baskets = collect(self.lines.filter(pl.col("reason").is_null()).select(pl.col("basket_id").n_unique())).item()
        sink.events(_("orders"), rows.sources["transactions_sample"], self._baskets(), rows.orders, total=baskets)
        exposed = exposures(self.sent, self.campaigns, self.redemptions, self.lines)
        redeemed = collect(self.redemptions).sort("row")
        sink.events(_("offers sent"), rows.sources["campaigns"], [exposed], rows.shown, total=exposed.height)
        sink.events(
            _("redemptions"),
            rows.sources["coupon_redemptions"],
            [redeemed],
            rows.redeemed,
            total=redeemed.height,
        )
        sink.exposures(rows.sources["campaigns"], [exposed], rows.exposures, total=exposed.height)
        self._conclude(sink)

    def _campaign(self, sink: Sink, row: dict[str, Any]) -> StoredCampaign:
        return sink.campaign(
            name=f"Complete Journey campaign {row['campaign_id']} ({row['campaign_type']})",
            starts_at=row["start_date"],
            ends_at=row["ends_at"],
            attribution_hours=(row["ends_at"] - row["start_date"]) // timedelta(hours=1),
            currency=CURRENCY,
            delivery=Campaign.Delivery.SENT.value,
            offers=[offer(row)],
        )

    def _baskets(self) -> Iterator[pl.DataFrame]:
        categories = self.products.lazy().select("product_id", "category")
        for belongs in parts(self.tables["transactions_sample"].rows):
            part = self.lines.filter(belongs("basket_id")).join(categories, on="product_id", how="left")
            yield baskets(collect(part), self.identifier(""))

    def _conclude(self, sink: Sink) -> None:
        counts = dict(collect(self.lines.group_by("reason").len()).iter_rows())
        if counts.get("nothing"):
            sink.summary.set_aside[_("they have no quantity or no price")] += counts["nothing"]
        lines = self.lines.filter(pl.col("reason").is_null())
        metered, *period = collect(
            lines.select(
                pl.col("metered").sum(),
                pl.col("transaction_timestamp").min(),
                pl.col("transaction_timestamp").max().alias("last"),
            )
        ).row(0)
        sink.summary.period = (period[0], period[1])
        sink.summary.notes += [
            _("%(count)s lines of fuel or goods by weight count as one unit.") % {"count": f"{metered:,}"},
            _("The purchases are a sample of lines: totals are lower bounds. No propensities are known."),
        ]

    def _shopper(self, row: dict[str, Any]) -> ShopperData:
        return ShopperData(
            external_id=self.identifier(row["household_id"]),
            population=self.name,
            attributes={
                "age": midpoint(row["age"]),
                "age_band": row["age"],
                "income": midpoint(row["income"]),
                "income_band": row["income"],
                "household_size": midpoint(row["household_size"]),
                "kids": midpoint(row["kids_count"]),
                "home_ownership": row["home_ownership"],
                "marital_status": row["marital_status"],
                "household_comp": row["household_comp"],
            },
            purposes=PURPOSES,
            consent_source=CONSENT_SOURCE,
        )

    def _product(self, row: dict[str, Any]) -> ProductData:
        return ProductData(
            item_id=self.identifier(row["product_id"]),
            title=row["title"],
            price_minor=row["price_minor"],
            currency=CURRENCY,
            category=row["category"],
            brand=row["brand"] or "",
            visible=row["visible"],
        )


@dataclass(frozen=True, slots=True)
class Rows:
    """Turns frames into rows for the rooms: knows the sources and everybody's primary key."""

    sources: Mapping[str, str]
    shoppers: Mapping[str, int]
    campaigns: Mapping[str, StoredCampaign]
    identifier: Callable[[object], str]

    def orders(self, frame: pl.DataFrame) -> Iterator[EventData]:
        for row in frame.iter_rows(named=True):
            yield EventData(
                source=self.sources["transactions_sample"],
                event_id=row["identity"],
                type="order_placed",
                shopper_id=self._shopper(row),
                occurred_at=row["at"],
                value_minor=row["paid_minor"],
                properties={
                    "order_id": row["basket_id"],
                    "currency": CURRENCY,
                    "lines": row["lines"],
                    "discount_minor": row["discount_minor"],
                },
            )

    def shown(self, frame: pl.DataFrame) -> Iterator[EventData]:
        for row in frame.iter_rows(named=True):
            yield EventData(
                source=self.sources["campaigns"],
                event_id=row["identity"],
                type="offer_shown",
                shopper_id=self._shopper(row),
                occurred_at=row["start_date"],
                offer_id=self._offer(row),
            )

    def redeemed(self, frame: pl.DataFrame) -> Iterator[EventData]:
        for row in frame.iter_rows(named=True):
            yield EventData(
                source=self.sources["coupon_redemptions"],
                event_id=row["identity"],
                type="coupon_redeemed",
                shopper_id=self._shopper(row),
                occurred_at=row["redemption_date"],
                offer_id=self._offer(row),
            )

    def exposures(self, frame: pl.DataFrame) -> Iterator[ExposureData]:
        for row in frame.iter_rows(named=True):
            yield ExposureData(
                source=self.sources["campaigns"],
                source_row=row["identity"],
                shopper_id=self._shopper(row),
                exposed_at=row["start_date"],
                window_ends_at=row["ends_at"],
                campaign_id=self.campaigns[row["campaign_id"]].pk,
                offer_id=self._offer(row),
                redeemed_at=row["redeemed_at"],
                purchased_at=row["purchased_at"],
                revenue_minor=row["revenue_minor"],
                cost_minor=row["cost_minor"],
            )

    def _shopper(self, row: Mapping[str, Any]) -> int:
        return self.shoppers[self.identifier(row["household_id"])]

    def _offer(self, row: Mapping[str, Any]) -> int:
        return self.campaigns[row["campaign_id"]].offers[row["campaign_id"]]
