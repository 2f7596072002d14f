"""An evaluation as a folder to keep: curves as pictures, tables as a page, every figure as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from personalization.learning.calibration import reliability
from personalization.types import ModelTask
from worker import curves, pictures
from worker.curves import Curve
from worker.evaluate import Judged, judged_on, primary
from worker.metrics import METRICS
from worker.pictures import Series

PAGE, FIGURES = "index.html", "report.json"
Summary = dict[str, Any]


def write(folder: Path, judged: list[Judged], summaries: list[Summary], *, population: str, simulated: bool) -> None:
    """Write everything; files that are there already are replaced, each as a whole."""
    drawn = dict(_pictures(judged, population + (", simulated" if simulated else "")))
    files = {
        **drawn,
        FIGURES: json.dumps(
            {"population": population, "simulated": simulated, "models": summaries}, indent=2, allow_nan=False
        ),
        PAGE: _page(summaries, list(drawn), population, simulated),
    }
    for name, text in files.items():
        aside = folder / f".{name}.part"
        aside.write_text(text, encoding="utf-8")
        aside.replace(folder / name)


def _pictures(judged: list[Judged], told: str) -> Iterator[tuple[str, str]]:
    """Draw the curves of each task by itself: what they predict happens more or less often."""
    for task in dict.fromkeys(item.version.task for item in judged):
        of_task = [item for item in judged if item.version.task == task]
        yield from _curves(of_task, told, "" if task == ModelTask.RESPONSE else f"{task}_")
    yield from _training(judged, told)


def _file(name: str) -> str:
    """Return a model's name as a part of a file's."""
    return name.replace(" (", "_").rstrip(")")


def _curves(judged: list[Judged], told: str, prefix: str) -> Iterator[tuple[str, str]]:
    lines: dict[str, list[Series]] = {"reliability": [], "roc": [], "precision_recall": []}
    shares: list[float] = []
    for item in judged:
        _head, _known, p, y = primary(item)
        name = item.name
        bins = reliability(p, y, np.ones(len(y)))
        if len(bins.mass):
            lines["reliability"].append(Series(name, Curve(bins.predicted, bins.happened), dots=True))
            shares.append(float(y.mean()))
        roc, precision = curves.roc(p, y), curves.precision_recall(p, y)
        if roc is not None:
            lines["roc"].append(Series(name, curves.thinned(roc)))
        if precision is not None:
            lines["precision_recall"].append(Series(name, curves.thinned(curves.steps(precision))))
    top = _top(lines["reliability"])
    given: dict[str, dict[str, Any]] = {
        "reliability": {"x": "predicted", "y": "happened", "x_range": (0, top), "y_range": (0, top), "diagonal": True},
        "roc": {"x": "false positive rate", "y": "true positive rate", "diagonal": True},
        "precision_recall": {"x": "recall", "y": "precision", "level": shares[0] if shares else None},
    }
    titles = {"reliability": "Reliability", "roc": "ROC", "precision_recall": "Precision and recall"}
    for name, series in lines.items():
        if series:
            yield f"{prefix}{name}.svg", pictures.chart(f"{titles[name]} · {told}", series, **given[name])


def _top(series: list[Series]) -> float:
    """Return the end of both axes of the reliability diagram: rare outcomes would hide in a corner of 0 to 1."""
    values = [float(axis.max()) for each in series for axis in (each.curve.x, each.curve.y)]
    return min(1.0, max(0.1, np.ceil(max(values, default=1.0) * 10) / 10))


def _training(judged: list[Judged], told: str) -> Iterator[tuple[str, str]]:
    """Draw what each epoch brought, of the estimators that learn in epochs."""
    for item in judged:
        rows = item.version.metrics.get("curves") if isinstance(item.version.metrics, dict) else None
        if not isinstance(rows, list) or len(rows) < 2:
            continue
        names = [name for name in rows[0] if all(isinstance(row.get(name), int | float) for row in rows)]
        epochs = np.arange(1.0, len(rows) + 1)
        series = [
            Series(name.replace("_", " "), Curve(epochs, np.array([float(row[name]) for row in rows])), dots=True)
            for name in names
        ]
        top = max((float(each.curve.y.max()) for each in series), default=1.0)
        yield f"training_{_file(item.name)}.svg", pictures.chart(
            f"Training of {item.name} · {told}", series, x="epoch", y="",
            x_range=(1, len(rows)), y_range=(0, max(top, 1e-9)),
        )  # fmt: skip


def _page(summaries: list[Summary], drawn: list[str], population: str, simulated: bool) -> str:
    told = escape(population) + (" (simulated data)" if simulated else "")
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">',
        f"<title>Evaluation · {told}</title>",
        "<style>body{font:15px/1.5 sans-serif;max-width:64rem;margin:2rem auto;padding:0 1rem}"
        "table{border-collapse:collapse;display:block;overflow-x:auto}th,td{padding:.25rem .8rem .25rem 0;"
        "text-align:left;font-variant-numeric:tabular-nums}img{max-width:100%;height:auto}</style></head><body>",
        f"<h1>Evaluation · {told}</h1>",
        "<p>Figures with 95 % intervals over shoppers, on what the models had not seen.</p>",
        _table(["model", "judged on", "rows", *METRICS], [_figures(item) for item in summaries]),
        *(f'<p><img src="{escape(name)}" alt="{escape(Path(name).stem.replace("_", " "))}"></p>' for name in drawn),
    ]
    for item in summaries:
        report, confusion = item["report"], item["confusion"]
        parts += [
            f"<h2>{escape(str(item['model']))}: said 1 from {report['threshold']:g} on</h2>",
            _table(["class", "precision", "recall", "F1", "support"], [_class(report, name) for name in ("0", "1")]),
            _table(["happened", "of", "share"], [_rate(head, rate) for head, rate in item["rates"].items()]),
            f"<p>Accuracy {_number(report['accuracy'])} of {item['rows']:,} rows.</p>",
            _table(
                ["", "was 1", "was 0"],
                [
                    ["said 1", f"{confusion['true_positive']:,}", f"{confusion['false_positive']:,}"],
                    ["said 0", f"{confusion['false_negative']:,}", f"{confusion['true_negative']:,}"],
                ],
            ),
        ]
    return "\n".join([*parts, "</body></html>"]) + "\n"


def _figures(item: Summary) -> list[str]:
    name = f"{item['model']} (champion)" if item["champion"] else str(item["model"])
    return [name, judged_on(item), f"{item['rows']:,}", *map(_interval, item["metrics"].values())]


def _rate(head: str, rate: dict[str, Any]) -> list[str]:
    return [f"{head}: {rate['happened']:,}", f"{rate['rows']:,}", _interval(rate)]


def _class(report: dict[str, Any], name: str) -> list[str]:
    row = report[name]
    return [name, *(_number(row[key]) for key in ("precision", "recall", "f1")), f"{row['support']:,}"]


def _interval(figure: dict[str, float | None]) -> str:
    if figure["value"] is None:
        return "–"
    return f"{figure['value']:.4f} [{_number(figure['low'])}, {_number(figure['high'])}]"


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"


def _table(head: list[str], rows: list[list[str]]) -> str:
    top = "".join(f'<th scope="col">{escape(cell)}</th>' for cell in head)
    body = "".join("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows)
    return f"<table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>"
