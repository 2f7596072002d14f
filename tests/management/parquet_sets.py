"""Small data sets in the public ones' format, written where a test says."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl

BOGO, DISCOUNT, NEWS = "b" * 32, "d" * 32, "n" * 32


def write(folder: Path, **frames: pl.DataFrame) -> Path:
    """Write each frame as ``<name>.parquet`` and return the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, frame in frames.items():
        frame.write_parquet(folder / f"{name}.parquet", compression="zstd")
    return folder


def starbucks(folder: Path, **changed: pl.DataFrame) -> Path:
    """Four customers, three offers, waves at 0 and 168 h. The rows' comments say what each is there for."""
    portfolio = pl.DataFrame(
        {
            "reward": [10, 2, 0],
            "channels": [["email", "web"], ["email"], ["mobile", "social"]],
            "difficulty": [10, 12, 0],
            "duration": [7, 10, 3],
            "offer_type": ["bogo", "discount", "informational"],
            "id": [BOGO, DISCOUNT, NEWS],
        }
    )
    profile = pl.DataFrame(
        {
            "gender": ["F", None, "M", "O"],
            "age": [55, 118, 30, 41],
            "id": ["ann", "bob", "cyd", "dan"],
            "became_member_on": [20170715, 20180726, 20160101, 20150303],
            "income": [112000.0, None, 50000.0, 61000.0],
        }
    )
    rows = [
        ("ann", "offer received", 0, BOGO, None, None, 0),
        ("bob", "offer received", 0, DISCOUNT, None, None, 1),
        ("cyd", "offer received", 0, NEWS, None, None, 2),
        ("ann", "offer viewed", 0, BOGO, None, None, 3),  # the receipt's hour, later
        ("ann", "transaction", 0, None, 12.5, None, 4),
        ("ann", "offer completed", 0, BOGO, None, 10.0, 5),
        ("dan", "transaction", 6, None, 3.0, None, 6),  # dan is a control in both waves
        ("cyd", "offer viewed", 78, NEWS, None, None, 7),  # after the 72 hours
        ("bob", "transaction", 138, None, 4.05, None, 8),
        ("bob", "offer completed", 138, DISCOUNT, None, 2.0, 9),  # the window's last hour
        ("ann", "offer received", 168, DISCOUNT, None, None, 10),
        ("bob", "offer received", 168, BOGO, None, None, 11),
        ("dan", "transaction", 200, None, 1.0, None, 12),
        ("dan", "transaction", 200, None, 1.0, None, 12),  # repeats exactly: two purchases
        ("bob", "offer completed", 312, BOGO, None, 10.0, 13),  # within 7 days, after 138 hours
    ]
    transcript = pl.DataFrame(
        rows,
        schema={
            "person": pl.String,
            "event": pl.String,
            "time_h": pl.Int32,
            "offer_id": pl.String,
            "amount": pl.Float64,
            "reward": pl.Float64,
            "seq": pl.Int32,
        },
        orient="row",
    )
    return write(folder, **{"portfolio": portfolio, "profile": profile, "transcript": transcript, **changed})


def online_retail(folder: Path) -> Path:
    """Six invoices of two customers and two guests, with every sort of line that is set aside."""
    first, second = datetime(2010, 1, 4, 9, 0), datetime(2010, 1, 4, 9, 1)  # noqa: DTZ001
    later, last = datetime(2010, 2, 1, 12, 0), datetime(2010, 3, 1, 8, 30)  # noqa: DTZ001
    rows = [
        ("500001", "10001", "MUG ", 2, first, 1.25, 17, "France"),
        ("500002", "10002", None, 1, first, 3.0, None, "United Kingdom"),  # lies between 500001's lines
        ("500001", "10001", "MUG ", 2, second, 1.25, 17, "France"),  # repeats: data
        ("500001", "POST", "POSTAGE", 1, second, 18.0, 17, "France"),
        ("500003", "10001", "damages", -7, later, 0.0, None, "United Kingdom"),
        ("500004", "10002", "found", 1, later, 0.001, 18, "Spain"),
        ("500004", "10002", "BOWL", 4, later, 2.5, 18, "Spain"),
        ("C500005", "10001", "MUG, BLUE", -1, last, 1.25, 17, "Germany"),
        ("C500005", "M", "Manual", 1, last, 9.0, 17, "Germany"),
        ("A500006", "B", "Adjust bad debt", 1, last, -500.0, None, "United Kingdom"),
    ]
    schema: dict[str, Any] = {
        "invoice": pl.String,
        "stock_code": pl.String,
        "description": pl.String,
        "quantity": pl.Int64,
        "invoice_ts": pl.Datetime("us"),
        "price": pl.Float64,
        "customer_id": pl.Int64,
        "country": pl.String,
    }
    return write(folder, invoices=pl.DataFrame(rows, schema=schema, orient="row"))


def complete_journey(folder: Path) -> Path:
    """Three households, two campaigns, four baskets."""

    def texts(columns: Mapping[str, list[Any]]) -> pl.DataFrame:
        return pl.DataFrame(columns, schema=dict.fromkeys(columns, pl.String))

    def day(month: int, number: int, hour: int = 0) -> datetime:
        return datetime(2017, month, number, hour)  # noqa: DTZ001

    campaigns = texts({"campaign_id": ["1", "2", "1"], "household_id": ["7", "7", "12"]})
    descriptions = pl.DataFrame(
        {
            "campaign_id": ["1", "2"],
            "campaign_type": pl.Series(["Type A", "Type B"], dtype=pl.Categorical),
            "start_date": [day(3, 1), day(5, 1)],
            "end_date": [day(3, 31), day(5, 31)],
        }
    )
    coupons = texts(
        {"coupon_upc": ["u1", "u1", "u1", "u2"], "product_id": ["p1", "p1", "p2", "p3"], "campaign_id": list("1112")}
    )
    redemptions = pl.DataFrame(
        {
            "household_id": ["7", "7"],
            "coupon_upc": ["u1", "u1"],
            "campaign_id": ["1", "1"],
            "redemption_date": [day(3, 31), day(3, 9)],
        }
    )
    demographics = texts(
        {
            "household_id": ["7"],
            "age": ["35-44"],
            "income": ["Under 15K"],
            "home_ownership": [None],
            "marital_status": ["Married"],
            "household_size": ["5+"],
            "household_comp": ["2 Adults Kids"],
            "kids_count": ["3+"],
        }
    )
    products = texts(
        {
            "product_id": ["p1", "p2", "p3"],
            "department": ["GROCERY", "GROCERY", "FUEL"],
            "brand": ["National", "Private", "National"],
            "product_category": ["CHEESE", "CHEESE", None],
            "product_type": ["CHEDDAR", "GOUDA", None],
            "package_size": ["8 OZ", None, None],
        }
    )
    transactions = pl.DataFrame(
        {
            "household_id": ["7", "12", "7", "7", "12", "30"],
            "basket_id": ["b1", "b2", "b1", "b3", "b2", "b4"],
            "product_id": ["p1", "p3", "p2", "p2", "p9", "p1"],
            "quantity": [2.0, 9000.0, 1.0, 0.0, 1.0, 1.0],
            "sales_value": [5.0, 27.15, 3.5, 0.0, 2.0, 2.6],
            "coupon_disc": [0.6, 0.0, 0.0, 0.0, 0.0, 0.0],
            "coupon_match_disc": [0.4, 0.0, 0.0, 0.0, 0.0, 0.0],
            "transaction_timestamp": [day(3, 31, 18), day(3, 5, 9), day(3, 31, 18), day(4, 2), day(3, 5, 9), day(1, 1)],
        }
    )
    return write(
        folder,
        campaign_descriptions=descriptions,
        campaigns=campaigns,
        coupons=coupons,
        coupon_redemptions=redemptions,
        demographics=demographics,
        products=products,
        transactions_sample=transactions,
    )
