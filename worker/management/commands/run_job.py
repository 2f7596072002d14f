"""manage.py run_job: the process in which a worker runs one leased job. Not meant to be typed."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandError, CommandParser

from personalization.learning import jobs
from personalization.management.arguments import AppCommand
from worker.runner import help_out, work


class Command(AppCommand):
    help = "Run a job that a worker has leased (started by the worker itself)."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("job", type=int, help="the job's number; with --help-out that of the set of scores")
        what = parser.add_mutually_exclusive_group(required=True)
        what.add_argument("--fence", type=int)
        what.add_argument("--help-out", action="store_true", help="take parts of a scoring that another worker leads")

    def handle(self, *args: Any, **options: Any) -> None:
        if options["help_out"]:
            help_out(options["job"])
            return
        job = jobs.leased(options["job"], options["fence"])
        if job is None:
            raise CommandError("This job is not leased under that token any more.")
        work(job)
