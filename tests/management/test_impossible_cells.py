"""Cells of a data set that no database could hold, or no arithmetic: refused in a sentence, before the first write."""

from __future__ import annotations

import io
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from django.core.management import CommandError, call_command

from personalization.models import Campaign, Shopper
from tests.management import parquet_sets

pytestmark = pytest.mark.django_db
IMPOSSIBLE: list[tuple[str, Any]] = [
    ("price", 1e300),
    ("price", -1e17),
    ("quantity", 2**62),
    ("description", "a\x00b"),
    ("stock_code", "x" * 81),
    ("invoice_ts", datetime(1, 1, 1)),  # noqa: DTZ001
    ("invoice_ts", datetime(9999, 12, 31)),  # noqa: DTZ001
]


def refused(dataset: str, folder: Path, stem: str, column: str, value: Any) -> str:
    """Put a value into a column's first cell, and return why the set is not imported."""
    frame = pl.read_parquet(folder / f"{stem}.parquet")
    first = pl.int_range(pl.len()) == 0
    changed = pl.when(first).then(pl.lit(value, dtype=frame.schema[column])).otherwise(pl.col(column)).alias(column)
    parquet_sets.write(folder, **{stem: frame.with_columns(changed)})
    with pytest.raises(CommandError) as caught:
        call_command("import_dataset", dataset, str(folder), stdout=io.StringIO())
    assert not Shopper.objects.exists()
    assert not Campaign.objects.exists()
    return str(caught.value)


@pytest.mark.parametrize(("column", "value"), IMPOSSIBLE)
def test_a_cell_that_nobody_can_mean(tmp_path: Path, column: str, value: Any) -> None:
    """Neither a traceback nor, where 64 bits run over, another amount than the file's."""
    told = refused("online_retail_ii", parquet_sets.online_retail(tmp_path), "invoices", column, value)
    assert f"Column “{column}” of {tmp_path / 'invoices.parquet'} has 1 cells that nobody can mean" in told


@pytest.mark.parametrize(
    ("stem", "column", "value", "told"),
    [
        ("portfolio", "reward", -1, "The campaign “Starbucks offers test (simulated)” cannot be stored"),
        ("portfolio", "channels", ["web", "a\x00"], "Column “channels”"),
        ("profile", "became_member_on", -20180101, "a membership date that is none"),
        ("transcript", "time_h", 10**7, "1 hours beyond a hundred years"),
    ],
)
def test_terms_and_dates_that_are_none(tmp_path: Path, stem: str, column: str, value: Any, told: str) -> None:
    assert told in refused("starbucks_offers", parquet_sets.starbucks(tmp_path), stem, column, value)


def test_the_same_files_as_they_are_are_imported(tmp_path: Path) -> None:
    """The control: the largest that somebody may mean is taken."""
    folder = parquet_sets.online_retail(tmp_path)
    lines = pl.read_parquet(folder / "invoices.parquet")
    parquet_sets.write(folder, invoices=lines.with_columns(stock_code=pl.col("stock_code").str.pad_end(80, "x")))
    call_command("import_dataset", "online_retail_ii", str(folder), stdout=io.StringIO())
    assert Shopper.objects.exists()
