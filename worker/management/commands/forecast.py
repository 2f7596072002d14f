"""manage.py forecast CAMPAIGN: predict a campaign's effect, in this process."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.utils import timezone
from rich.table import Table

from personalization.learning import frames, jobs
from personalization.types import JobKind
from worker.forecast import METRICS
from worker.management.console import print_all, progress_bar
from worker.runner import ended_well, run_job


class Command(BaseCommand):
    help = "Forecast a campaign: audience, views, redemptions, orders and cost, with 90 % intervals."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("campaign", type=int, help="the campaign's id")

    def handle(self, *args: Any, **options: Any) -> None:
        campaign = frames.campaign_brief(options["campaign"], timezone.now())
        if campaign is None:
            raise CommandError(f"There is no campaign {options['campaign']}.")
        job = jobs.enqueue(JobKind.FORECAST, {"campaign": campaign.id})
        with progress_bar(f"Forecast ({campaign.name})") as show:
            job = run_job(job, show)
        if not ended_well(job):
            raise CommandError(job.error or f"The job ended as {job.state}.")
        table = Table(title=f"Forecast · {campaign.name}", title_justify="left")
        for heading in ("", "mean", "90 % from", "to"):
            table.add_column(heading, justify="left" if not heading else "right")
        for metric in METRICS:
            mean, low, high = job.result[metric]
            table.add_row(metric, f"{mean:,.0f}", f"{low:,.0f}", f"{high:,.0f}")
        print_all(table, f"Cost in minor units of {campaign.currency}.")
