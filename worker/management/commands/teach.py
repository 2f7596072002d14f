"""manage.py teach: write what a population's shoppers taught about words, for the ``text`` ranker of another shop."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError, CommandParser

from personalization.exceptions import NotEnoughData
from personalization.learning import frames as reading
from personalization.learning.tuning import MOST_SEED
from personalization.management.arguments import AppCommand, seed
from worker.management.console import moment, require_writable
from worker.rankers import interactions
from worker.rankers.lesson import SUFFIX, Lesson, file_of
from worker.train import population_of


class Command(AppCommand):
    help = "Write a lesson: which sorts of titles are turned to together, for a young shop to start from."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("file", metavar="FILE", help=f"its name ends in {SUFFIX}, which is added if missing")
        parser.add_argument("--population")
        parser.add_argument("--until", help="use nothing that happened after this moment")
        parser.add_argument("--seed", type=seed(MOST_SEED), default=0)

    def handle(self, *args: Any, **options: Any) -> None:
        path = _path(options["file"])
        try:
            population = population_of(options["population"])
            until = moment(options["until"]) if options["until"] else reading.last_moment(population)
            if until is None:
                raise CommandError(f"There are no events in the population {population!r} yet.")
            lesson = Lesson.learn(interactions(reading.load(population, until)), seed=options["seed"])
        except NotEnoughData as error:
            raise CommandError(error.message) from None
        except ValueError as error:
            raise CommandError(f"No lesson: {error}") from None
        lesson.save(path)
        self.stdout.write(f"{path}: {len(lesson.words):,} words, {len(lesson.matrix)} directions.")


def _path(given: str) -> Path:
    """Return where the lesson is to be written; CommandError for a folder, or where nothing can be written."""
    if os.path.isdir(given or ".") or given.endswith(os.sep):
        raise CommandError(f"{given or '.'} is a folder: name a file, such as {Path(given) / f'shop{SUFFIX}'}.")
    path = file_of(given)
    require_writable(path)
    return path
