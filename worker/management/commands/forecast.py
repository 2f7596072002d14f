"""manage.py forecast CAMPAIGN: predict a campaign's effect, in this process."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.utils import timezone
from rich.table import Table

from personalization.exceptions import NotEnoughData
from personalization.learning import attractiveness, frames
from personalization.learning.frames import CampaignBrief
from personalization.learning.jobs import Job
from personalization.management.arguments import AppCommand
from personalization.management.jobs import ask_here, succeeded
from personalization.types import JobKind
from worker.forecast import METRICS, require_model, require_open
from worker.management.console import print_all
from worker.management.here import run_here

SHOWN = 5


class Command(AppCommand):
    help = "Forecast a campaign: audience, views, redemptions, orders and cost, with 90 % intervals."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("campaign", type=int, help="the campaign's id")

    def handle(self, *args: Any, **options: Any) -> None:
        campaign = frames.campaign_brief(options["campaign"], timezone.now())
        if campaign is None:
            raise CommandError(f"There is no campaign {options['campaign']}. {_known()}")
        try:
            require_open(campaign)
            require_model(campaign.population)
        except NotEnoughData as error:
            raise CommandError(error.message) from None
        job = ask_here(JobKind.FORECAST, {"campaign": campaign.id})
        job = succeeded(run_here(job, f"Forecast ({campaign.name})"))
        print_all(*_figures(campaign, job), *_attractiveness(job))


def _known() -> str:
    """Say which campaigns could have been meant."""
    found = [f"{number} ({name})" for number, name in frames.newest_campaigns(SHOWN)]
    return f"The newest: {', '.join(found)}." if found else "There are none yet."


def _figures(campaign: CampaignBrief, job: Job) -> list[Table | str]:
    if not set(METRICS) <= set(job.result):
        return ["No response model is in service: only the attractiveness is told."]
    table = _table(f"Forecast · {campaign.name}", ("", "mean", "90 % from", "to"))
    for metric in METRICS:
        mean, low, high = job.result[metric]
        told = campaign.money if metric == "cost" else "{:,.0f}".format
        table.add_row(metric, *map(told, (mean, low, high)))
    return [table]


def _attractiveness(job: Job) -> list[Table | str]:
    told = attractiveness.of_job(job)
    if told is None:
        return []
    if told.needed is not None:
        return [f"Attractiveness: not enough launches yet ({told.launches} of {told.needed})."]
    if told.problem:
        return [f"Attractiveness: {told.problem}"]
    table = _table("Attractiveness", ("offer", "expected", "80 % from", "to"))
    for each in told.offers:
        table.add_row(each.name, f"{each.mean:.1%}", f"{each.low:.1%}", f"{each.high:.1%}")
    return [table]


def _table(title: str, headings: tuple[str, ...]) -> Table:
    table = Table(title=title, title_justify="left")
    for place, heading in enumerate(headings):
        table.add_column(heading, justify="right" if place else "left")
    return table
