"""What the Complete Journey's rows mean: pure transformations from its tables to orders, terms and exposures.

Flow: tables → **here** → :mod:`~personalization.management.datasets.complete_journey` → sink.
"""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import polars as pl

from personalization.management.datasets.base import minor
from personalization.management.datasets.tables import collect
from personalization.types import OfferKind

ENOUGH_LINES = 5
"""Discounted lines of a campaign from which its own median is taken for its coupons' face value."""
ASSUMED_FACE_VALUE_MINOR = 100
"""Taken when not one line of the sample carries a coupon discount."""
TOP_CATEGORIES = 5
BAND = re.compile(r"(?P<under>Under )?(?P<low>\d+)(?:-(?P<high>\d+)|\+)?(?P<thousands>K)?\+?")


def midpoint(band: str | None) -> float | None:
    """Return a band's middle ("35-44": 40, "35-49K": 42500, "Under 15K": 7500) or its bound ("65+": 65)."""
    found = BAND.fullmatch(band.strip()) if band else None
    if found is None:
        return None
    scale = 1000 if found["thousands"] else 1
    low = float(found["low"])
    if found["under"]:
        return low * scale / 2
    return (low + float(found["high"]) + 1) * scale / 2 if found["high"] else low * scale


def judged(lines: pl.LazyFrame) -> pl.LazyFrame:
    """Add to each line what was paid in cents, units, their price, and why it is set aside (or null)."""
    paid = minor("sales_value")
    sold = (pl.col("quantity") > 0) & (paid > 0)
    unit = pl.when(sold).then(paid / pl.col("quantity")).otherwise(0.0).round()
    metered = sold & ((unit < 1) | (pl.col("quantity") % 1 != 0))
    return lines.with_columns(
        paid_minor=paid,
        reason=pl.when(~sold).then(pl.lit("nothing")),
        metered=metered,
        units=pl.when(metered).then(1).otherwise(pl.col("quantity")).cast(pl.Int64),
        unit_price_minor=pl.when(metered).then(paid).otherwise(unit).cast(pl.Int64),
        discount_minor=minor("coupon_disc") + minor("coupon_match_disc"),
    )


def products(listed: pl.LazyFrame, lines: pl.LazyFrame) -> pl.LazyFrame:
    """Return every product that is listed or sold, with its median price in the sample (0: never sold).

    Visible are those that are both: what has no price or no name cannot be shown.
    """
    prices = (
        lines.filter(pl.col("reason").is_null())
        .group_by("product_id")
        .agg(pl.col("unit_price_minor").median().round().cast(pl.Int64).alias("price_minor"))
    )
    described = pl.concat_str(
        pl.coalesce("product_type", "product_category", "department", "product_id"),
        "package_size",
        separator=" ",
        ignore_nulls=True,
    )
    return (
        listed.join(prices, on="product_id", how="full", coalesce=True)
        .with_columns(
            title=described,
            category=pl.coalesce("product_category", "department", pl.lit("")),
            visible=pl.col("row").is_not_null() & pl.col("price_minor").is_not_null(),
            price_minor=pl.col("price_minor").fill_null(0),
        )
        .sort("row", "product_id", nulls_last=True)
    )


def terms(
    described: pl.LazyFrame,
    sent: pl.LazyFrame,
    coupons: pl.LazyFrame,
    listed: pl.LazyFrame,
    lines: pl.LazyFrame,
) -> pl.LazyFrame:
    """Return one row a campaign: its dates, what its coupons cover, and the discount they were worth."""
    covered = coupons.select("campaign_id", "product_id").unique()
    counts = coupons.group_by("campaign_id").agg(
        pl.col("coupon_upc").n_unique().alias("coupons"),
        pl.col("product_id").n_unique().alias("products"),
        pl.len().alias("coupon_rows"),
    )
    categories = (
        covered.join(listed.select("product_id", "product_category").drop_nulls(), on="product_id")
        .group_by("campaign_id", "product_category")
        .len()
        .sort("len", "product_category", descending=[True, False])
        .group_by("campaign_id", maintain_order=True)
        .agg(pl.col("product_category").head(TOP_CATEGORIES).alias("top_categories"))
    )
    discounted = lines.filter(minor("coupon_disc") > 0).with_columns(coupon_minor=minor("coupon_disc"))
    seen = (
        discounted.join(sent.select("campaign_id", "household_id").unique(), on="household_id")
        .join(described.select("campaign_id", "start_date", "ends_at"), on="campaign_id")
        .filter(pl.col("transaction_timestamp").is_between("start_date", "ends_at", closed="left"))
        .join(covered, on=["campaign_id", "product_id"], how="semi")
        .group_by("campaign_id")
        .agg(seen_lines=pl.len(), seen_minor=pl.col("coupon_minor").median())
    )
    overall = discounted.select(all_lines=pl.len(), all_minor=pl.col("coupon_minor").median())
    own = pl.col("seen_lines") >= ENOUGH_LINES
    return (
        described.join(counts, on="campaign_id", how="left")
        .join(categories, on="campaign_id", how="left")
        .join(seen, on="campaign_id", how="left")
        .join(overall, how="cross")
        .with_columns(
            face_value_minor=pl.when(own)
            .then("seen_minor")
            .otherwise(pl.coalesce("all_minor", pl.lit(ASSUMED_FACE_VALUE_MINOR)))
            .round()
            .cast(pl.Int64),
            face_value_basis=pl.when(own)
            .then(pl.format("median of {} discounted lines of the campaign", "seen_lines"))
            .when(pl.col("all_lines") > 0)
            .then(pl.format("median of all {} discounted lines", "all_lines"))
            .otherwise(pl.lit("assumed")),
        )
        .sort("start_date", "campaign_id")
    )


def offer(row: dict[str, Any]) -> dict[str, Any]:
    """Return a campaign's coupons as one offer's fields."""
    return {
        "name": f"Coupons of campaign {row['campaign_id']}",
        "kind": OfferKind.COUPON.value,
        "amount_minor": row["face_value_minor"],
        "attributes": {
            "external_id": row["campaign_id"],
            "campaign_type": row["campaign_type"],
            "duration_hours": (row["ends_at"] - row["start_date"]) // timedelta(hours=1),
            "coupons": row["coupons"] or 0,
            "products": row["products"] or 0,
            "coupon_rows": row["coupon_rows"] or 0,
            "top_categories": row["top_categories"] or [],
            "face_value_basis": row["face_value_basis"],
        },
    }


def baskets(lines: pl.DataFrame, prefix: str) -> pl.DataFrame:
    """Group lines to baskets. ``row`` is the first of a basket's rows in the file, kept or set aside."""
    kept = pl.col("reason").is_null()
    line = pl.struct(
        pl.concat_str(pl.lit(prefix), "product_id").alias("item_id"),
        pl.col("units").alias("quantity"),
        "unit_price_minor",
        pl.col("category").fill_null(""),
    )
    return (
        lines.sort("row")
        .group_by("basket_id", maintain_order=True)
        .agg(
            pl.col("row").min(),
            pl.col("household_id").first(),
            pl.col("transaction_timestamp").min().alias("at"),
            line.filter(kept).alias("lines"),
            pl.col("paid_minor", "discount_minor").filter(kept).sum(),
        )
        .filter(pl.col("lines").list.len() > 0)
    )


def exposures(
    sent: pl.LazyFrame, campaigns: pl.DataFrame, redemptions: pl.LazyFrame, lines: pl.LazyFrame
) -> pl.DataFrame:
    """Return who was sent which campaign, with first redemption, purchases and discount within its dates.

    The discount is the number of coupons redeemed, at the offer's derived face value: an estimate.
    """
    windows = campaigns.lazy().select("campaign_id", "start_date", "ends_at", "face_value_minor")
    exposed = sent.join(windows, on="campaign_id")
    used = (
        exposed.join(redemptions.drop("row"), on=["campaign_id", "household_id"])
        .filter(pl.col("redemption_date").is_between("start_date", "ends_at", closed="left"))
        .group_by("row")
        .agg(redeemed_at=pl.col("redemption_date").min(), uses=pl.len())
    )
    purchases = lines.filter(pl.col("reason").is_null()).select("household_id", "transaction_timestamp", "paid_minor")
    bought = (
        exposed.join(purchases, on="household_id")
        .filter(pl.col("transaction_timestamp").is_between("start_date", "ends_at", closed="left"))
        .group_by("row")
        .agg(purchased_at=pl.col("transaction_timestamp").min(), revenue_minor=pl.col("paid_minor").sum())
    )
    joined = exposed.join(used, on="row", how="left").join(bought, on="row", how="left")
    return collect(
        joined.with_columns(
            identity=pl.col("row").cast(pl.String),
            cost_minor=pl.col("uses").fill_null(0).cast(pl.Int64) * pl.col("face_value_minor"),
            revenue_minor=pl.col("revenue_minor").fill_null(0),
        ).sort("row")
    )
