"""manage.py run_job: the process in which a worker runs one leased job. Not meant to be typed."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from personalization.models import Job
from personalization.types import JobState
from worker.runner import work


class Command(BaseCommand):
    help = "Run a job that a worker has leased (started by the worker itself)."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("job", type=int)
        parser.add_argument("--fence", type=int, required=True)

    def handle(self, *args: Any, **options: Any) -> None:
        job = Job.objects.filter(pk=options["job"], fence=options["fence"], state=JobState.RUNNING.value).first()
        if job is None:
            raise CommandError("This job is not leased under that token any more.")
        work(job)
