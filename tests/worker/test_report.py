"""Curves, pictures and the report: every number that can be had in two ways comes out the same in both."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from django.core.management import call_command
from django.core.management.base import CommandError
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as reference

from personalization.learning.calibration import reliability
from tests.worker import population
from tests.worker.population import Population
from worker import curves, metrics, pictures
from worker.curves import Confusion, Curve
from worker.evaluate import classification_report
from worker.pictures import Series

SVG = "{http://www.w3.org/2000/svg}"
rows = st.lists(st.tuples(st.sampled_from([0.1, 0.3, 0.3, 0.5, 0.7, 0.9]), st.booleans()), min_size=1, max_size=80)


def columns(given_rows: list[tuple[float, bool]]) -> tuple[np.ndarray, np.ndarray]:
    p, y = zip(*given_rows, strict=True)
    return np.array(p), np.array(y, dtype=np.float64)


@given(rows, st.sampled_from([0.0, 0.3, 0.5, 0.51, 1.0]))
def test_the_confusion_matrix_adds_up_and_everything_comes_from_it(
    given_rows: list[tuple[float, bool]], threshold: float
) -> None:
    p, y = columns(given_rows)
    counts, report = Confusion.at(p, y, threshold), classification_report(p, y, threshold)
    assert counts.rows == len(y)
    assert counts.true_positive + counts.false_negative == y.sum() == report["1"]["support"]
    assert counts.true_positive + counts.false_positive == (p >= threshold).sum()
    assert report["0"]["support"] + report["1"]["support"] == len(y)
    matrix = [[counts.true_negative, counts.false_positive], [counts.false_negative, counts.true_positive]]
    assert matrix == reference.confusion_matrix(y, p >= threshold, labels=[0, 1]).tolist()
    one = report["1"]
    if one["precision"] and one["recall"]:
        assert one["f1"] == pytest.approx(2 * one["precision"] * one["recall"] / (one["precision"] + one["recall"]))
    assert report["accuracy"] == pytest.approx((counts.true_positive + counts.true_negative) / len(y))


@given(rows)
def test_the_areas_under_the_curves_are_the_figures(given_rows: list[tuple[float, bool]]) -> None:
    p, y = columns(given_rows)
    ones = np.ones(len(y))
    roc, precision = curves.roc(p, y), curves.precision_recall(p, y)
    if roc is None:
        assert np.isnan(metrics.auc(p, y, ones))
    else:
        assert np.trapezoid(roc.y, roc.x) == pytest.approx(metrics.auc(p, y, ones))
    if precision is None:
        assert not y.any()
        return
    assert (np.diff(precision.x, prepend=0.0) * precision.y).sum() == pytest.approx(
        metrics.average_precision(p, y, ones)
    )
    drawn = curves.steps(precision)
    assert np.trapezoid(drawn.y, drawn.x) == pytest.approx(metrics.average_precision(p, y, ones))


@given(rows, st.sampled_from([0.3, 0.5, 0.7]))
def test_the_roc_goes_through_the_confusion_matrix(given_rows: list[tuple[float, bool]], threshold: float) -> None:
    p, y = columns(given_rows)
    roc, counts = curves.roc(p, y), Confusion.at(p, y, threshold)
    if roc is None:
        return
    point = counts.false_positive / (y == 0).sum(), counts.true_positive / y.sum()
    assert any(point == pytest.approx(corner) for corner in zip(roc.x, roc.y, strict=True))


def test_the_reliability_diagram_is_the_calibration_error() -> None:
    rng = np.random.default_rng(0)
    p = rng.beta(2, 5, 2000).round(2)
    y = (rng.random(2000) < p**1.3).astype(np.float64)
    bins = reliability(p, y, np.ones(2000))
    assert bins.mass.sum() == pytest.approx(2000)
    assert (bins.mass * bins.predicted).sum() == pytest.approx(p.sum())
    assert (bins.mass * bins.happened).sum() == pytest.approx(y.sum())
    error = (bins.mass * np.abs(bins.predicted - bins.happened)).sum() / 2000
    assert error == pytest.approx(metrics.ece(p, y, np.ones(2000)))
    assert (np.diff(bins.predicted) >= 0).all()


def test_the_brier_score_is_the_squared_error_and_the_absolute_error_is_larger() -> None:
    rng = np.random.default_rng(1)
    p = rng.random(500)
    y = (rng.random(500) < p).astype(np.float64)
    ones = np.ones(500)
    assert metrics.METRICS["mse"](p, y, ones) == pytest.approx(reference.brier_score_loss(y, p))
    assert metrics.METRICS["mse"](p, y, ones) == pytest.approx(np.mean((p - y) ** 2))
    assert metrics.METRICS["mse"](p, y, ones) <= metrics.METRICS["mae"](p, y, ones)
    said = (p >= 0.5).astype(np.float64)  # answers of 0 and 1: both errors are the share of wrong ones
    wrong = 1 - classification_report(p, y)["accuracy"]
    assert (
        metrics.mean_squared_error(said, y, ones) == metrics.mean_absolute_error(said, y, ones) == pytest.approx(wrong)
    )


def test_an_auc_needs_probabilities_not_answers() -> None:
    """One article takes the AUC of argmax: it throws the ranking away, and half of the area lost with it."""
    rng = np.random.default_rng(2)
    p = rng.beta(1, 6, 4000)
    y = (rng.random(4000) < p).astype(np.float64)
    ones = np.ones(4000)
    answers = (p >= 0.5).astype(np.float64)
    assert metrics.auc(answers, y, ones) < 0.55
    assert metrics.auc(p, y, ones) > 0.7


def test_a_long_curve_keeps_its_ends() -> None:
    long = Curve(np.linspace(0, 1, 5000), np.linspace(0, 1, 5000) ** 2)
    thin = curves.thinned(long, 100)
    assert len(thin.x) == 100
    assert (thin.x[0], thin.x[-1], thin.y[-1]) == (0, 1, 1)
    assert curves.thinned(thin, 100) is thin


def test_a_chart_is_well_formed_and_names_are_only_text() -> None:
    line = Series('<script>alert("1")</script> & more', Curve(np.array([0.0, 1.0]), np.array([0.0, 1.0])), dots=True)
    drawn = ElementTree.fromstring(pictures.chart("A <title>", [line], x="x & y", y="y", diagonal=True, level=0.2))
    assert drawn.find(f"{SVG}title").text == "A <title>"  # type: ignore[union-attr]
    assert not list(drawn.iter(f"{SVG}script"))
    assert len(list(drawn.iter(f"{SVG}circle"))) == 2
    lowest, highest = (circle.attrib for circle in drawn.iter(f"{SVG}circle"))
    assert float(lowest["cy"]) == pictures.HEIGHT - pictures.BOTTOM
    assert (float(highest["cx"]), float(highest["cy"])) == (pictures.WIDTH - pictures.RIGHT, pictures.TOP)


# --- The command ------------------------------------------------------------------------------------------------------


@pytest.fixture
def trained(shop: Population, models: Path, in_one_transaction: None) -> Population:
    call_command(
        "train", "--estimators", "offer_mean", "logistic", "--rankers", "popularity", "transitions",
        "--until", population.END.isoformat(),
    )  # fmt: skip
    return shop


def test_a_report_is_a_folder_of_pictures_tables_and_figures(trained: Population, tmp_path: Path) -> None:
    folder = tmp_path / "new" / "report"
    call_command("evaluate", "--report", str(folder), "--threshold", "0.3")
    assert {path.name for path in folder.iterdir()} == {
        "index.html", "report.json", "reliability.svg", "roc.svg", "precision_recall.svg",
    }  # fmt: skip
    for path in folder.glob("*.svg"):
        drawn = ElementTree.parse(path).getroot()
        texts = {text.text for text in drawn.iter(f"{SVG}text")}
        assert {"offer_mean", "logistic"} <= texts, path.name
    written = json.loads((folder / "report.json").read_text())
    page = (folder / "index.html").read_text()
    assert not re.search(r"""(src|href)=["'](https?:)?//""", page)
    for model in written["models"]:
        _reconciles(model)
        assert f"{model['metrics']['auc']['value']:.4f}" in page


def _reconciles(model: dict[str, Any]) -> None:
    counts, report = model["confusion"], model["report"]
    assert counts["threshold"] == report["threshold"] == 0.3
    cells = [counts[name] for name in ("true_positive", "false_positive", "false_negative", "true_negative")]
    assert sum(cells) == model["rows"]
    assert cells[0] + cells[2] == model["positives"] == report["1"]["support"]
    assert report["accuracy"] == pytest.approx((cells[0] + cells[3]) / model["rows"])
    rate = model["rates"][model["head"]]
    assert (rate["rows"], rate["happened"]) == (model["rows"], model["positives"])
    assert rate["value"] == pytest.approx(model["positives"] / model["rows"])
    assert rate["low"] < rate["value"] < rate["high"]
    if cells[0]:
        assert report["1"]["precision"] == pytest.approx(cells[0] / (cells[0] + cells[1]))
        assert report["1"]["recall"] == pytest.approx(cells[0] / (cells[0] + cells[2]))


@pytest.mark.django_db
def test_a_wrong_threshold_or_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(CommandError, match="cannot be made"):
        call_command("evaluate", "--report", str(tmp_path / "file" / "x"))
    with pytest.raises(CommandError, match="probability, 0 to 1, not 7"):
        call_command("evaluate", "--threshold", "7")
