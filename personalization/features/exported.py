"""The polars form of what a shopper did: for a log that was exported (parquet), away from the database.

``reference`` is its specification. polars is imported when it is asked for: the web tier runs without it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from personalization.features.behaviour import WINDOWS, Past
from personalization.features.frames import NEVER

if TYPE_CHECKING:
    import polars as pl

DAY = 86_400_000


def past(events: pl.LazyFrame, rows: pl.LazyFrame) -> Past:
    """Return what lies before each row's moment, in the order of the rows.

    ``events`` has shopper, time (milliseconds), type and value (major units): the feature stream, offers shown
    included, robots' events left out. ``rows`` has shopper and time, and may name a shopper many times.
    """
    import polars as pl

    asked = rows.select("shopper", pl.col("time").alias("at")).with_row_index("row")
    before = asked.join(events, on="shopper").filter(pl.col("time") < pl.col("at"))
    ordered = pl.col("type") == "order_placed"
    value = pl.when(ordered).then(pl.col("value").fill_null(0.0))

    def within(days: int) -> pl.Expr:
        return pl.col("time") >= pl.col("at") - days * DAY

    def count(kind: str, days: int) -> pl.Expr:
        return ((pl.col("type") == kind) & within(days)).sum()

    month, week = WINDOWS
    totals = before.group_by("row").agg(
        orders=ordered.sum(),
        orders_28d=count("order_placed", month),
        orders_7d=count("order_placed", week),
        spent=value.sum(),
        spent_28d=value.filter(within(month)).sum(),
        spent_7d=value.filter(within(week)).sum(),
        largest=value.max(),
        product_views_28d=count("product_viewed", month),
        product_views_7d=count("product_viewed", week),
        searches_28d=count("search_performed", month),
        basket_changes_28d=count("basket_changed", month),
        first_order=pl.when(ordered).then(pl.col("time")).min(),
        last_order=pl.when(ordered).then(pl.col("time")).max(),
        last_event=pl.col("time").max(),
    )
    found = asked.join(totals, on="row", how="left").sort("row").collect()
    moments = ("first_order", "last_order", "last_event")
    return Past(
        **{
            name: found[name].fill_null(int(NEVER)).cast(pl.Int64).to_numpy()
            if name in moments
            else found[name].fill_null(0).cast(pl.Float64).to_numpy()
            for name in Past.__slots__
        }
    )
