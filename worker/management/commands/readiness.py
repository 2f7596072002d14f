"""manage.py readiness: what there is to learn from, and what in it is lopsided, before any training."""

from __future__ import annotations

import json
from typing import Any

from django.core.management.base import CommandError, CommandParser

from personalization.exceptions import NotEnoughData
from personalization.features.frames import Frames
from personalization.learning import diversity, diversity_words
from personalization.learning import frames as reading
from personalization.learning.readiness import readiness
from personalization.learning.standing import standings
from personalization.management.arguments import AppCommand
from worker import preference, response
from worker.data import folds
from worker.management.console import moment
from worker.train import population_of


class Command(AppCommand):
    help = (
        "Say whether there is enough to learn from, which models are in service, how diverse and how even the data is, "
        "and warn of what is lopsided."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--population")
        parser.add_argument("--until", help="look at nothing that happened after this moment")
        parser.add_argument("--json", action="store_true", help="print the figures as JSON")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            population = population_of(options["population"])
        except NotEnoughData as error:
            raise CommandError(error.message) from None
        until = moment(options["until"]) if options["until"] else reading.last_moment(population)
        ready = readiness(population, until)
        report = _describe(reading.load(population, until)) if until is not None else {}
        models = [standing.sentence for standing in standings(population)]
        if options["json"]:
            told = {"population": population, "readiness": ready.sentences, "models": models, "diversity": report}
            self.stdout.write(json.dumps({**told, "warnings": diversity_words.warnings(report)}, indent=2))
            return
        lines = [*ready.sentences, *models, *(f"! {told}" for told in diversity_words.warnings(report))]
        pairs = [*diversity_words.figures(report), *diversity_words.rates(report)]
        self.stdout.write("\n".join([*lines, *(f"{name}: {value}" for name, value in pairs)]))


def _describe(frames: Frames) -> dict[str, Any]:
    """Return the report as the training would make it: with the responses as outcome where there are enough."""
    try:
        problem = response.pose(frames, min_exposures=1)
    except NotEnoughData:
        return diversity.describe(frames, preference.test_origin(frames))
    found = folds(problem.shown.time, problem.span)
    return response.describe(problem, found[0].origin if found else preference.test_origin(frames))
