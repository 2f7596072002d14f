"""manage.py evaluate_triggers: look for whom the occasions of running campaigns have come."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandError, CommandParser

from personalization import conf
from personalization.campaigns import triggers
from personalization.management.arguments import AppCommand
from personalization.models import Trigger


class Command(AppCommand):
    help = "Evaluate the triggers of running campaigns now; the worker does it every hour. Repeating it adds nothing."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--population", default="", help="whose shoppers; the shop's unless named")

    def handle(self, *args: Any, **options: Any) -> None:
        done = triggers.evaluate_all(options["population"] or conf.get().population)
        names = {trigger.pk: trigger for trigger in Trigger.objects.select_related("campaign").filter(pk__in=done)}
        for key, new in done.items():
            trigger = names[key]
            said = "its details cannot be read" if new < 0 else f"{new:,} new"
            self.stdout.write(f"{trigger.campaign} · {trigger}: {said}")
        if not done:
            self.stdout.write("No running campaign has a trigger.")
        if any(new < 0 for new in done.values()):
            raise CommandError("Mend the triggers above on their campaigns' pages.")
