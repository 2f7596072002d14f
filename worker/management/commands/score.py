"""manage.py score: score every consenting shopper and publish the set, in this process."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandError, CommandParser

from personalization.exceptions import NotEnoughData
from personalization.learning import shards
from personalization.management.arguments import AppCommand
from personalization.management.jobs import ask_here, succeeded
from personalization.types import JobKind
from worker.management.here import run_here
from worker.train import population_of


class Command(AppCommand):
    help = "Score all shoppers with the champions and publish the scores whole."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--population", help="whose shoppers to score")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            population = population_of(options["population"])
        except NotEnoughData as error:
            raise CommandError(error.message) from None
        job = ask_here(JobKind.SCORE, {"population": population})
        kept = "The parts that are done are kept: the next worker that is free goes on."
        job = succeeded(run_here(job, f"Scoring ({population})", kept, goes_on=True))
        self.stdout.write(f"Scores of {job.result['shoppers']:,} shoppers are live.")
        told = shards.progress(job)
        if told is not None:
            for share in told.shares:
                done = f"{share.done:,} of {told.planned:,} parts"
                self.stdout.write(f"  {share.worker}: {done}, {share.shoppers:,} shoppers")
