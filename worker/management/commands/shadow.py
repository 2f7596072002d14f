"""manage.py shadow: predict what was shown with the champion and whoever is in shadow, in this process, and judge."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandError, CommandParser
from rich.table import Table

from personalization.exceptions import NotEnoughData
from personalization.learning import registry, shadow
from personalization.management.arguments import AppCommand
from personalization.management.jobs import ask_here, succeeded
from personalization.types import JobKind, ModelTask
from worker.management.console import moment, print_all
from worker.management.here import run_here
from worker.train import population_of


class Command(AppCommand):
    help = "Score what was shown in shadow: champion and challengers side by side, against what came of it."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--population", help="whose exposures")
        parser.add_argument("--until", help="look at nothing that happened after this moment")
        parser.add_argument("--begin", type=int, metavar="VERSION", help="put this candidate in shadow first")
        parser.add_argument("--end", type=int, metavar="VERSION", help="take this one out of shadow first")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            population = population_of(options["population"])
        except NotEnoughData as error:
            raise CommandError(error.message) from None
        self._change(population, options["begin"], options["end"])
        until = moment(options["until"]) if options["until"] else None
        job = ask_here(JobKind.SHADOW, {"population": population}, cutoff_at=until)
        job = succeeded(run_here(job, f"Shadow ({population})"))
        print_all(_table(job.result, population))

    def _change(self, population: str, begin: int | None, end: int | None) -> None:
        versions = {version.pk: version for version in registry.newest(ModelTask.RESPONSE, population)}
        for pk, verb, refusal in (
            (begin, shadow.begin, "It has to be a candidate that is not in shadow yet."),
            (end, shadow.end, "It is not in shadow."),
        ):
            if pk is not None and (pk not in versions or not verb(versions[pk])):
                raise CommandError(f"Not done for version {pk} of {population!r}. {refusal}")


def _table(result: dict[str, Any], population: str) -> Table:
    table = Table(title=f"shadow · {population}", title_justify="left")
    for heading in (
        "version",
        "predicted now",
        "known outcomes",
        "calibration error",
        "by chance",
        "gain over champion",
    ):
        table.add_column(heading, no_wrap=True)
    for name, predicted in result["predicted"].items():
        judged = result["judged"].get(name, {})
        live, beside = judged.get("live", {}), judged.get("shadow", {})
        gain = beside.get("gain")
        table.add_row(
            name,
            f"{predicted:,}",
            f"{live.get('rows', 0):,}",
            _figure(live.get("ece")),
            _figure(live.get("ece_null")),
            "–" if gain is None else f"{gain[0]:.4f} [{gain[1]:.4f}, {gain[2]:.4f}]",
        )
    return table


def _figure(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"
