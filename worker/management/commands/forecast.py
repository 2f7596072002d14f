"""manage.py forecast CAMPAIGN: predict a campaign's effect, in this process."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser
from rich.table import Table

from personalization.insight.forecast import compare, request_forecast
from personalization.models import Campaign
from worker.management.console import print_all, progress_bar
from worker.runner import ended_well, run_job


class Command(BaseCommand):
    help = "Forecast a campaign: audience, views, redemptions, orders and cost, with 90 % intervals."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("campaign", type=int, help="the campaign's id")

    def handle(self, *args: Any, **options: Any) -> None:
        campaign = Campaign.objects.filter(pk=options["campaign"]).first()
        if campaign is None:
            raise CommandError(f"There is no campaign {options['campaign']}.")
        with progress_bar(f"Forecast ({campaign})") as show:
            job = run_job(request_forecast(campaign), show)
        if not ended_well(job):
            raise CommandError(job.error or f"The job ended as {job.state}.")
        table = Table(title=f"Forecast · {campaign}", title_justify="left")
        for heading in ("", "mean", "90 % from", "to", "so far"):
            table.add_column(heading, justify="left" if not heading else "right")
        for line in compare(campaign):
            actual = "–" if line.actual is None else f"{line.actual:,.0f}"
            table.add_row(line.label, f"{line.mean:,.0f}", f"{line.low:,.0f}", f"{line.high:,.0f}", actual)
        print_all(table, f"Cost in minor units of {campaign.currency}.")
