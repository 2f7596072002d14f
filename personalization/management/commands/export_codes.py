"""manage.py export_codes: write the codes of a batch or an offer to a CSV file, in this process."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandError, CommandParser

from personalization.campaigns import exports
from personalization.exceptions import PersonalizationError
from personalization.learning import jobs
from personalization.learning.handlers import run_here
from personalization.management.arguments import AppCommand
from personalization.management.jobs import succeeded
from personalization.management.progress import progress_bar
from personalization.models import CodeBatch, Offer


class Command(AppCommand):
    help = "Export codes in clear text. The file can be read by its owner only and is deleted after EXPORT_HOURS."

    def add_arguments(self, parser: CommandParser) -> None:
        subject = parser.add_mutually_exclusive_group(required=True)
        subject.add_argument("--batch", type=int, help="the codes of this batch")
        subject.add_argument("--offer", type=int, help="all codes of this offer that anybody may use")

    def handle(self, *args: Any, **options: Any) -> None:
        model, key = (CodeBatch, options["batch"]) if options["batch"] is not None else (Offer, options["offer"])
        subject = model.objects.filter(pk=key).first()
        if subject is None:
            raise CommandError(f"There is no {model._meta.verbose_name} {key}.")
        try:
            jobs.sweep()
            job = exports.request_export(subject)
            with progress_bar("Export", self.stdout) as show:
                job = succeeded(run_here(job, show))
            path = exports.download(job)
        except PersonalizationError as error:
            raise CommandError(error.message) from None
        self.stdout.write(f"{job.result['codes']:,} codes are in {path}")
