"""manage.py monitor: look at the models in service now, and say what there is to see."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandError, CommandParser

from personalization import conf
from personalization.insight import monitoring
from personalization.insight.findings import BAD
from personalization.learning import handlers, registry
from personalization.management.arguments import AppCommand
from personalization.management.jobs import ask_here, succeeded
from personalization.models import MonitoringReport
from personalization.types import JobKind


class Command(AppCommand):
    help = "Look at the models in service: drift, calibration, coverage, age, skew; with --audit at groups too."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--population", default="", help="whose models; the shop's unless named")
        parser.add_argument("--audit", action="store_true", help="compare groups even if the last audit is fresh")

    def handle(self, *args: Any, **options: Any) -> None:
        population = options["population"] or conf.get().population
        known = registry.populations()
        if options["population"] and population not in known:
            raise CommandError(
                f"There are no shoppers in the population {population}. Known: {', '.join(known) or '–'}."
            )
        params: dict[str, Any] = {"population": population}
        if options["audit"]:
            params["audit"] = True
        job = succeeded(handlers.run_here(ask_here(JobKind.MONITOR, params)))
        bad = 0
        for report in MonitoringReport.objects.filter(pk__in=job.result["reports"]).order_by("pk"):
            self.stdout.write(str(report.get_kind_display()).capitalize())
            for observation in monitoring.observations(report):
                bad += observation.level == BAD
                self.stdout.write(f"  {observation.level:<6} {observation.text}")
        if bad:
            raise CommandError("1 finding needs a look." if bad == 1 else f"{bad} findings need a look.")
