"""Online Retail II (UCI, CC BY 4.0): invoices of a UK gift shop, without offers: for preference rankers only.

What becomes of a line is decided by :func:`judged`, in this order; the import prints how many fell to each:

1. invoices that start with A adjust bad debt: set aside;
2. a cancellation (invoice starts with C) becomes a refund; its lines with a positive quantity: set aside;
3. an ordinary line with a quantity of zero or less corrects the stock: set aside;
4. a line whose price rounds to nothing is a sample or a write-off: set aside.

Lines for postage, fees and the like stay in their orders, so that totals are right, but enter the catalogue
hidden. A customer without a number is a guest of that one invoice. Times are the shop's own, taken as UTC.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import polars as pl
from django.utils.functional import Promise
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from personalization.management.datasets.base import CONSENT_SOURCE, PURPOSES, DatasetImporter
from personalization.management.datasets.sink import Sink
from personalization.management.datasets.tables import Column, Kind, by_parts, collect, parts, require
from personalization.types import EventData, ProductData, ShopperData

CURRENCY = "GBP"
ORDER, REFUND = "order_placed", "order_refunded"
POSTAGE = ("POST", "DOT", "C2", "C3")
FEES = ("AMAZONFEE", "BANK CHARGES", "CRUK", "B")
CORRECTIONS = ("M", "D", "S", "ADJUST", "ADJUST2", "TEST001", "TEST002")
CHARGES = [*POSTAGE, *FEES, *CORRECTIONS]
"""Stock codes, in capitals, that are no goods."""
REASONS: Mapping[str, Promise] = {
    "adjustment": gettext_lazy("they adjust bad debt (invoice starts with A)"),
    "refund_positive": gettext_lazy("their quantity is positive in a cancellation"),
    "stock": gettext_lazy("their quantity is zero or less: corrections of the stock"),
    "no_price": gettext_lazy("they have no price: samples and write-offs"),
}


class Importer(DatasetImporter):
    """Reads the one file of invoices."""

    name = "online_retail_ii"
    title = "Online Retail II"
    files = {
        "invoices.parquet": {
            "invoice": Column(Kind.TEXT),
            "stock_code": Column(Kind.TEXT),
            "description": Column(Kind.TEXT, optional=True),
            "quantity": Column(Kind.INTEGER),
            "invoice_ts": Column(Kind.MOMENT),
            "price": Column(Kind.NUMBER),
            "customer_id": Column(Kind.INTEGER, optional=True),
            "country": Column(Kind.TEXT, optional=True),
        }
    }

    def check(self) -> None:
        table = self.tables["invoices"]
        self.lines = judged(table.frame, self.identifier(""))
        if self.limit:
            first = self.lines.filter(~pl.col("guest")).group_by("customer").agg(pl.col("row").min())
            self.lines = self.lines.join(first.sort("row").head(self.limit), on="customer", how="semi")
        self.customers = by_parts(self.lines, "customer", table.rows, customers).sort("row")
        self.products = by_parts(self.lines, "item_id", table.rows, products).sort("row")
        require(
            not self.customers.is_empty(),
            _("No line of invoices.parquet is a sale. Check that this is the data set."),
        )

    def write(self, sink: Sink) -> None:
        shoppers = sink.shoppers(map(self._shopper, self.customers.iter_rows(named=True)), total=self.customers.height)
        sink.products(map(_product, self.products.iter_rows(named=True)), total=self.products.height)
        counts = dict(
            collect(
                self.lines.filter(pl.col("reason").is_null()).group_by("type").agg(pl.col("invoice").n_unique())
            ).iter_rows()
        )
        source = self.tables["invoices"].source(self.name)
        events = Events(source, self.identifier, shoppers)
        for thing, event_type in ((_("orders"), ORDER), (_("refunds"), REFUND)):
            sink.events(thing, source, self._invoices(event_type), events, total=counts.get(event_type, 0))
        self._conclude(sink)

    def _invoices(self, event_type: str) -> Iterator[pl.DataFrame]:
        wanted = self.lines.filter(pl.col("type") == event_type)
        for belongs in parts(self.tables["invoices"].rows):
            yield invoices(collect(wanted.filter(belongs("invoice"))))

    def _conclude(self, sink: Sink) -> None:
        counts = dict(collect(self.lines.group_by("reason").len()).iter_rows())
        for reason, text in REASONS.items():
            if counts.get(reason):
                sink.summary.set_aside[str(text)] += counts[reason]
        kept = self.lines.filter(pl.col("reason").is_null())
        sink.summary.period = collect(
            kept.select(pl.col("invoice_ts").min(), pl.col("invoice_ts").max().alias("last"))
        ).row(0)
        guests = int(self.customers["guest"].sum())
        sink.summary.notes.append(
            _("%(guests)s of the shoppers are guests: invoices without a customer number.") % {"guests": f"{guests:,}"}
        )

    def _shopper(self, row: dict[str, Any]) -> ShopperData:
        return ShopperData(
            external_id=self.identifier(row["customer"]),
            population=self.name,
            attributes={"country": row["country"]},
            purposes=PURPOSES,
            consent_source=CONSENT_SOURCE,
        )


def judged(lines: pl.LazyFrame, prefix: str) -> pl.LazyFrame:
    """Add to each line its event type, customer, item, units, price, and why it is set aside (or null)."""
    letter = pl.col("invoice").str.slice(0, 1).str.to_uppercase()
    refund = letter == "C"
    pence = (pl.col("price") * 100).round().cast(pl.Int64)
    reason = (
        pl.when(letter == "A")
        .then(pl.lit("adjustment"))
        .when(refund & (pl.col("quantity") >= 0))
        .then(pl.lit("refund_positive"))
        .when(~refund & (pl.col("quantity") <= 0))
        .then(pl.lit("stock"))
        .when(pence <= 0)
        .then(pl.lit("no_price"))
    )
    guest = pl.col("customer_id").is_null()
    return lines.with_columns(
        type=pl.when(refund).then(pl.lit(REFUND)).otherwise(pl.lit(ORDER)),
        reason=reason,
        guest=guest,
        customer=pl.when(guest).then(pl.format("guest-{}", "invoice")).otherwise(pl.col("customer_id").cast(pl.String)),
        item_id=pl.lit(prefix) + pl.col("stock_code"),
        units=pl.col("quantity").abs(),
        unit_price_minor=pence,
    )


def customers(lines: pl.LazyFrame) -> pl.LazyFrame:
    """Return who has at least one line that is kept, with the country of the latest."""
    return (
        lines.filter(pl.col("reason").is_null())
        .group_by("customer")
        .agg(
            pl.col("row").min(),
            pl.col("guest").first(),
            pl.col("country").sort_by("row").last(),
        )
    )


def products(lines: pl.LazyFrame) -> pl.LazyFrame:
    """Return each stock code with its latest description and its median price over the lines that are kept.

    Prices of sales count; those of cancellations only for what was never sold.
    """
    sold = pl.col("type") == ORDER
    price = pl.col("unit_price_minor")
    return (
        lines.filter(pl.col("reason").is_null())
        .group_by("item_id")
        .agg(
            pl.col("row").min(),
            pl.col("stock_code").first(),
            pl.col("description").sort_by("row").drop_nulls().last(),
            pl.coalesce(price.filter(sold).median(), price.median()).round().cast(pl.Int64).alias("price_minor"),
        )
        .with_columns(
            title=pl.coalesce(pl.col("description").str.strip_chars(), "stock_code"),
            visible=~pl.col("stock_code").str.to_uppercase().is_in(CHARGES),
        )
    )


def invoices(lines: pl.DataFrame) -> pl.DataFrame:
    """Group lines to invoices; ``at`` is the earliest of their moments, which in a few differ by minutes.

    ``row`` is the first of the invoice's rows, kept or set aside: the rules may change, identities may not.
    """
    kept = pl.col("reason").is_null()
    line = pl.struct("item_id", pl.col("units").alias("quantity"), "unit_price_minor", pl.lit("").alias("category"))
    return (
        lines.sort("row")
        .group_by("invoice", maintain_order=True)
        .agg(
            pl.col("row").min(),
            pl.col("invoice_ts").min().alias("at"),
            pl.col("type", "customer").first(),
            line.filter(kept).alias("lines"),
            (pl.col("units") * pl.col("unit_price_minor")).filter(kept).sum().alias("total_minor"),
        )
        .filter(pl.col("lines").list.len() > 0)
    )


def _product(row: dict[str, Any]) -> ProductData:
    return ProductData(
        item_id=row["item_id"],
        title=row["title"],
        price_minor=row["price_minor"],
        currency=CURRENCY,
        visible=row["visible"],
    )


@dataclass(frozen=True, slots=True)
class Events:
    """Turns invoices into order and refund events."""

    source: str
    identifier: Callable[[object], str]
    shoppers: Mapping[str, int]

    def __call__(self, frame: pl.DataFrame) -> Iterator[EventData]:
        for row in frame.iter_rows(named=True):
            at: datetime = row["at"]
            yield EventData(
                source=self.source,
                event_id=row["identity"],
                type=row["type"],
                shopper_id=self.shoppers[self.identifier(row["customer"])],
                occurred_at=at,
                value_minor=row["total_minor"],
                properties={"order_id": row["invoice"], "currency": CURRENCY, "lines": row["lines"]},
            )
