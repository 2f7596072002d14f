"""manage.py train: train, judge and promote, in this process."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandError, CommandParser

from personalization.learning.board import board
from personalization.learning.sentences import read_all
from personalization.learning.tuning import MOST_SEED
from personalization.management.arguments import AppCommand, at_least_one, seed
from personalization.management.jobs import ask_here, succeeded
from personalization.types import JobKind
from worker.management.console import board_tables, moment, print_all
from worker.management.here import run_here
from worker.rankers import LINE_UP, RANKERS
from worker.response import LINE_UP as RESPONSE
from worker.response import REGISTRY
from worker.train import PARTS, population_of


class Command(AppCommand):
    help = "Train all models on what happened so far (or until a date), judge them, promote the winners."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--until", help="use nothing that happened after this moment")
        parser.add_argument("--population", help="whose shoppers to learn from; needed if there are several data sets")
        parser.add_argument("--seed", type=seed(MOST_SEED), default=0)
        parser.add_argument(
            "--estimators", nargs="+", choices=[*REGISTRY, "all"],
            help=f"which response estimators are trained and judged (default: {' '.join(RESPONSE)})",
        )  # fmt: skip
        parser.add_argument(
            "--rankers", nargs="+", choices=[*RANKERS, "all"],
            help=f"which preference rankers race, without a time limit (default: {' '.join(LINE_UP)}, in a minute)",
        )  # fmt: skip
        parser.add_argument(
            "--parts",
            nargs="+",
            choices=[part.value for part in PARTS],
            help="train only these (default: all; strategy is of response)",
        )
        parser.add_argument(
            "--min-exposures", type=at_least_one, help="train response models on fewer exposures than usual"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        population = _population(options["population"])
        params: dict[str, Any] = {"population": population, "seed": options["seed"]}
        if options["estimators"]:
            params["estimators"] = options["estimators"]
        if options["rankers"]:
            params["rankers"] = options["rankers"]
        if options["parts"]:
            params["parts"] = options["parts"]
        if options["min_exposures"] is not None:
            params["min_exposures"] = options["min_exposures"]
        until = moment(options["until"]) if options["until"] else None
        job = ask_here(JobKind.TRAIN, params, cutoff_at=until)
        job = succeeded(run_here(job, f"Training ({population})"))
        print_all(*board_tables(board(population), population), *map(str, read_all(job.result.get("sentences"))))


def _population(wanted: str | None) -> str:
    from personalization.exceptions import NotEnoughData

    try:
        return population_of(wanted)
    except NotEnoughData as error:
        raise CommandError(error.message) from None
