"""The importers on the public data sets themselves, where they are: $SHARED_DATA, or ../shared/data."""

from __future__ import annotations

import io
import os
from collections import defaultdict
from pathlib import Path

import polars as pl
import pytest
from django.core.management import call_command

from personalization.management.datasets import importer_for, online_retail_ii, starbucks_offers
from personalization.management.datasets.tables import collect
from personalization.models import Event, Exposure, Shopper

pytestmark = pytest.mark.data
ROOT = Path(__file__).resolve().parents[2]


def real(dataset: str) -> Path:
    """Return the data set's folder, or skip."""
    folder = Path(os.environ.get("SHARED_DATA") or ROOT.parent / "shared" / "data") / dataset
    if not folder.is_dir():
        pytest.skip(f"The public data set {dataset} is not there: set SHARED_DATA to the folder that holds it.")
    return folder


def test_redeemed_is_the_published_label() -> None:
    """The same offer completed within min(duration, 138 h) of its receipt, counted in another way: row by row."""
    folder = real("starbucks_offers")
    durations = dict(pl.read_parquet(folder / "portfolio.parquet").select("id", "duration").iter_rows())
    rows = pl.read_parquet(folder / "transcript.parquet").to_dicts()
    completed: dict[tuple[str, str], list[tuple[int, int]]] = defaultdict(list)
    for row in rows:
        if row["event"] == "offer completed":
            completed[row["person"], row["offer_id"]].append((row["time_h"], row["seq"]))
    label = {}
    for number, row in enumerate(rows):
        if row["event"] == "offer received":
            receipt = (row["time_h"], row["seq"])
            end = row["time_h"] + min(24 * durations[row["offer_id"]], 138)
            label[str(number)] = any(
                receipt < moment and moment[0] <= end for moment in completed[row["person"], row["offer_id"]]
            )
    importer = importer_for("starbucks_offers", folder)
    assert isinstance(importer, starbucks_offers.Importer)
    frame = starbucks_offers.treated(collect(importer.transcript), importer.portfolio)
    assert dict(frame.select("identity", pl.col("redeemed_h").is_not_null()).iter_rows()) == label
    assert (len(label), sum(label.values())) == (50_808, 18_894)


@pytest.mark.django_db
@pytest.mark.parametrize("dataset", ["starbucks_offers", "online_retail_ii", "complete_journey"])
def test_the_first_customers_are_imported_whole(dataset: str) -> None:
    folder = real(dataset)
    for expected in (True, False):
        out = io.StringIO()
        call_command("import_dataset", dataset, str(folder), limit=40, stdout=out)
        assert ("Nothing new" not in out.getvalue()) is expected
    assert Shopper.objects.filter(population=dataset).count() == 40
    assert Event.objects.filter(type="order_placed").count() > 20
    if dataset == "starbucks_offers":
        assert Exposure.objects.count() == 40 * 4


def test_every_line_of_the_gift_shop_is_accounted_for() -> None:
    importer = importer_for("online_retail_ii", real("online_retail_ii"))
    assert isinstance(importer, online_retail_ii.Importer)
    counts = dict(collect(importer.lines.group_by("reason").len()).iter_rows())
    assert counts == {
        None: 812_796,
        "adjustment": 3,
        "refund_positive": 1,
        "stock": 2_121,
        "no_price": 2_340,
    }
    assert sum(counts.values()) == 817_261
