"""The benchmarks' own promises: one JSON object with every field, and honest words where nothing was measured."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from personalization.models import Shopper
from tests.benchmarks import audiences, report, response, rollup, stage, starbucks, triggers
from tests.benchmarks.report import Measurement
from tests.support import scale
from worker import metrics

ROOT = Path(__file__).resolve().parents[2]
PROMISED = {
    "name", "value", "unit", "peer", "peer_value", "ratio", "target", "met", "machine", "connections", "fsync", "notes",
}  # fmt: skip


def measured(**changes: Any) -> Measurement:
    fields: dict[str, Any] = {"peer": "a peer", "value": 30.0, "peer_value": 10.0, "ratio": 3.0, "target": 2.5}
    return Measurement(**{"name": "intake", "unit": "events/s"} | fields | changes)


def test_a_benchmark_prints_one_json_object() -> None:
    command = [sys.executable, "-m", "tests.benchmarks.redeem", "--quick", "--json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    told = json.loads(done.stdout)
    assert set(told) >= PROMISED
    assert told["name"] == "redeem"
    assert told["value"] > 0
    assert told["ratio"] > 0
    assert told["connections"] == 8
    assert told["fsync"]
    assert told["notes"]["ledger_faults"] == []
    hot = told["notes"]["one_offer_until_it_is_sold_out"]
    assert hot["redeemed"] == [hot["places"], hot["places"]], "both contenders sell every place, and none twice"


def test_a_ratio_is_the_median_of_neighbouring_rounds() -> None:
    found = report.paired([10.0, 20.0, 40.0], [5.0, 20.0, 10.0])
    assert (found.value, found.peer_value, found.ratio) == (20.0, 10.0, 2.0)
    assert (found.lowest, found.highest) == (1.0, 4.0)


@pytest.mark.parametrize(
    ("changes", "met"),
    [
        ({}, True),
        ({"ratio": 2.4}, False),
        ({"ratio": 0.9, "target": 1.0, "better": "lower"}, True),
        ({"ratio": 1.01, "target": 1.0, "better": "lower"}, False),
        ({"target": None}, None),
        ({"ratio": None, "value": None}, None),
    ],
)
def test_a_target_is_met_in_the_better_direction(changes: dict[str, Any], met: bool | None) -> None:
    assert measured(**changes).met is met


def test_what_could_not_be_measured_says_why() -> None:
    told = measured(value=None, peer_value=None, ratio=None, notes={"skipped": "The data set is not there."}).as_json()
    assert "The data set is not there." in report.line(told)
    assert report.table([told, measured().as_json()]).row_count == 2


def test_a_missing_data_set_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SHARED_DATA", str(tmp_path))
    with pytest.raises(stage.Skipped, match="starbucks_offers"):
        starbucks.folder()


def test_a_gain_in_auc_is_paired_and_nothing_over_oneself() -> None:
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, 600).astype(np.float64)
    noisy, clear = (y + rng.normal(0, noise, 600) for noise in (2.0, 0.5))
    resampler = metrics.Resampler(np.arange(600) // 2)
    assert response.auc_gain(noisy, noisy, y, resampler) == (0.0, 0.0, 0.0)
    value, low, high = response.auc_gain(clear, noisy, y, resampler)
    assert 0 < low < value < high
    assert response.auc_gain(noisy, clear, y, resampler)[2] < 0


def test_the_tuned_peer_is_chosen_among_the_grid_and_beats_chance() -> None:
    rng = np.random.default_rng(0)
    rows = 900
    made = {name: rng.random(rows) for name in response.FEATURES}
    y = (made["reach"] + rng.normal(0, 0.2, rows) > 0.5).astype(np.int64)
    hours = np.repeat([*response.TRAIN_WAVES, response.TEST_WAVE], rows // 3)
    table = pl.DataFrame(made).with_columns(
        person=pl.Series(np.arange(rows) % 300), time_h=pl.Series(hours), y=pl.Series(y)
    )
    tested, settings = response.tuned_fit(table)
    assert {name: value for name, value in settings.items() if name != "rounds"} in response.GRID
    assert set(tested["time_h"]) == {response.TEST_WAVE}
    labels, p = tested["y"].cast(pl.Float64).to_numpy(), tested["p"].to_numpy()
    assert metrics.auc(p, labels, np.ones(len(p))) > 0.8


@pytest.mark.django_db
def test_the_crowds_of_audiences_and_triggers_are_as_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both benchmarks on a small crowd: one query an audience, nothing written twice, a fixed price a range."""
    monkeypatch.setattr(stage, "size", lambda quick, few, some, full: 400)
    told = audiences.measure(quick=True).notes
    assert (told["shoppers"], told["events"], told["summaries"], told["queries"]) == (400, 1600, 400, 1)
    assert len([size for size in told["sizes"] if 0 < size < 400]) > 15, "rules that everybody or nobody meets"
    Shopper.objects.all().delete()
    told = triggers.measure(quick=True).notes
    assert told["new_the_second_time"] == 0
    assert told["occurrences"] == sum(row["new"] for row in told["triggers"]) > 400
    assert told["statements_a_range"] == [5.0]


@pytest.mark.django_db
def test_the_log_that_is_counted_is_as_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three sizes in line; a row a shopper and day, not an event; and the features are the log's."""
    monkeypatch.setattr(stage, "size", lambda quick, few, some, full: 4_000)
    sizes = rollup.measure(quick=True).notes["sizes"]
    assert [(told["events"], told["shoppers"]) for told in sizes] == [(406, 4), (1220, 12), (4066, 40)]
    assert all(told["features_agree"] and told["rows"] < told["events"] / 3 for told in sizes)


@pytest.mark.parametrize(("soak", "quick", "rows"), [(False, False, 20), (True, False, 30), (True, True, 10)])
def test_a_benchmark_has_three_sizes(monkeypatch: pytest.MonkeyPatch, soak: bool, quick: bool, rows: int) -> None:
    monkeypatch.setattr(scale, "SOAK", soak)
    assert stage.size(quick, 10, 20, 30) == rows
