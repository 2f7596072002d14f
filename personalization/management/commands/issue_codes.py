"""manage.py issue_codes: make a batch of codes in this process, or go on with one that was interrupted."""

from __future__ import annotations

from datetime import datetime, time
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.utils import timezone
from django.utils.dateparse import parse_date

from personalization.campaigns import batches
from personalization.exceptions import PersonalizationError
from personalization.learning import jobs
from personalization.learning.handlers import run_here
from personalization.management.arguments import AppCommand, at_least_one
from personalization.management.jobs import succeeded
from personalization.management.progress import progress_bar
from personalization.models import CodeBatch, Offer


class Command(AppCommand):
    help = "Make codes for an offer. Interrupted, the batch is kept: a worker, or --batch, goes on with it."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--offer", type=int, help="the offer's id")
        parser.add_argument("--size", type=at_least_one, help="how many codes")
        parser.add_argument("--max-uses", type=at_least_one, default=1, help="how often each may be used (1)")
        parser.add_argument("--expires", help="last day on which they can be used, like 2027-01-31")
        parser.add_argument("--batch", type=int, help="go on with this batch")

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            batch = self._continued(options["batch"]) if options["batch"] else self._new(options)
            jobs.sweep()
            job = batches.resume(batch)
        except PersonalizationError as error:
            raise CommandError(error.message) from None
        if job is not None:
            try:
                with progress_bar(f"Batch {batch.pk}", self.stdout) as show:
                    succeeded(run_here(job, show))
            except KeyboardInterrupt:
                raise CommandError(
                    f"Interrupted. A worker goes on with it, or: manage.py issue_codes --batch {batch.pk}"
                ) from None
        batch.refresh_from_db()
        self.stdout.write(f"Batch {batch.pk}: {batch.generated_count:,} of {batch.size:,} codes are made.")

    def _new(self, options: dict[str, Any]) -> CodeBatch:
        if not options["offer"] or not options["size"]:
            raise CommandError("Give --offer and --size, or --batch to go on with a batch.")
        offer = Offer.objects.select_related("campaign").filter(pk=options["offer"]).first()
        if offer is None:
            raise CommandError(f"There is no offer {options['offer']}.")
        expires = _end_of(options["expires"]) if options["expires"] else None
        return batches.create_batch(offer, options["size"], max_uses=options["max_uses"], expires_at=expires)

    def _continued(self, key: int) -> CodeBatch:
        batch = CodeBatch.objects.select_related("job").filter(pk=key).first()
        if batch is None:
            raise CommandError(f"There is no batch {key}.")
        return batch


def _end_of(value: str) -> datetime:
    try:
        day = parse_date(value)
    except ValueError:
        day = None
    if day is None:
        raise CommandError(f"{value!r} is not a day. Write it like 2027-01-31.")
    return timezone.make_aware(datetime.combine(day, time.max))
