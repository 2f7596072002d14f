"""manage.py evaluate: how good the trained models are on what they had not seen; figures and predictions to keep."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, CommandParser
from rich.table import Table

from personalization.exceptions import PersonalizationError
from personalization.learning import metric_names
from personalization.management.arguments import AppCommand
from worker import evaluate, report
from worker.evaluate import judged_on
from worker.management.console import print_all, require_writable
from worker.train import population_of

SUFFIX = ".parquet"


class Command(AppCommand):
    help = (
        "Evaluate the latest models of response and purchase intent on what they had not seen: what was shown since "
        "their cut-off, else the test block of their training."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--population")
        parser.add_argument("--json", action="store_true", help="print the figures as JSON")
        parser.add_argument("--report", metavar="DIR", help="write curves, tables and figures into this folder")
        parser.add_argument("--threshold", type=float, default=0.5, help="say 1 from this probability on (0.5)")
        parser.add_argument("--predictions", metavar="FILE.parquet", help="write one row a test pair and model")

    def handle(self, *args: Any, **options: Any) -> None:
        file, folder = _file(options["predictions"]), _folder(options["report"])
        if not 0 <= options["threshold"] <= 1:
            raise CommandError(f"The threshold is a probability, 0 to 1, not {options['threshold']:g}.")
        try:
            population = population_of(options["population"])
            judged, frames = evaluate.judge_versions(population)
            summaries = [evaluate.summary(item, frames, threshold=options["threshold"]) for item in judged]
        except PersonalizationError as error:
            raise CommandError(error.message) from None
        if folder is not None:
            report.write(folder, judged, summaries, population=population, simulated=frames.simulated)
        if file is not None:
            _write(file, evaluate.predictions(judged, frames))
        if options["json"]:
            self.stdout.write(
                json.dumps({"population": population, "simulated": frames.simulated, "models": summaries}, indent=2)
            )
            return
        print_all(_table(summaries, population + (" (simulated data)" if frames.simulated else "")), EXPLAINED)


EXPLAINED = (
    "Brackets: 95 % intervals over shoppers. Lower is better for log-loss and calibration error, higher for the "
    "others. Compare models that were judged on the same rows."
)


def _folder(given: str | None) -> Path | None:
    if given is None:
        return None
    if not given:
        raise CommandError("--report takes the name of a folder, not an empty one.")
    try:
        Path(given).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CommandError(f"The folder {given} cannot be made: {error.strerror}.") from None
    return Path(given)


def _file(given: str | None) -> Path | None:
    if given is None:
        return None
    if Path(given).suffix.lower() != SUFFIX:
        raise CommandError(f"--predictions writes parquet: name a file that ends in {SUFFIX}, not {given!r}.")
    require_writable(Path(given))
    return Path(given)


def _write(path: Path, columns: dict[str, list[Any]]) -> None:
    try:
        import polars
    except ImportError:
        raise CommandError("Writing parquet needs polars: pip install 'personalization[import]'.") from None
    frame = polars.DataFrame(columns).with_columns(
        polars.from_epoch("decision_time", time_unit="ms").dt.replace_time_zone("UTC")
    )
    aside = path.with_name(f".{path.name}.part")
    frame.write_parquet(aside)
    aside.replace(path)


def _table(summaries: list[dict[str, Any]], population: str) -> Table:
    table = Table(title=f"evaluation · {population}", title_justify="left")
    names = ["log_loss", "auc", "average_precision", "ece"]
    for heading in ("", "model", "judged on", "rows", *map(metric_names.in_short, names)):
        table.add_column(heading, no_wrap=True)
    for item in summaries:
        cells = [_cell(item["metrics"][name]) for name in names]
        crown = "champion" if item["champion"] else ""
        table.add_row(crown, item["model"], judged_on(item), f"{item['rows']:,}", *cells)
    return table


def _cell(figure: dict[str, float | None]) -> str:
    if figure["value"] is None:
        return "–"
    return f"{figure['value']:.4f} [{figure['low']:.4f}, {figure['high']:.4f}]"
