"""``manage.py campaigns_stop``: stop every campaign of a population at once, or let them go on."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.utils.translation import gettext as _

from personalization import conf
from personalization.campaigns import switch
from personalization.exceptions import PersonalizationError
from personalization.management.accounts import account
from personalization.management.arguments import AppCommand
from personalization.models import Campaign


class Command(AppCommand):
    help = "Stops every campaign at once: nothing is shown, claimed or reserved until --open. Says how it stands."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--open", action="store_true", help="let the campaigns go on")
        parser.add_argument("--reason", default="", help="why; needed to stop")
        parser.add_argument("--population", default="", help="whose campaigns; the shop's own if not given")
        parser.add_argument(
            "--by", default="", metavar="USERNAME", help="the account to write down, one that may do this"
        )
        parser.add_argument("--status", action="store_true", help="only say how it stands")

    def handle(self, *args: Any, **options: Any) -> None:
        population = options["population"] or conf.get().population
        known = {conf.get().population, *Campaign.objects.values_list("population", flat=True).distinct()}
        if population not in known:  # it would say that all is stopped, and nothing were
            raise CommandError(
                _("No campaign is of the population “%(name)s”. There are: %(known)s.")
                % {"name": population, "known": ", ".join(sorted(known))}
            )
        if not options["status"]:
            self._turn(population, options)
        found = switch.state(population)
        if found is None or not found.engaged:
            self.stdout.write(f"{population}: campaigns are open.")
            return
        who = found.by.get_username() if found.by is not None else "the system"
        self.stdout.write(f"{population}: stopped since {found.at:%Y-%m-%d %H:%M} UTC by {who}: {found.reason}")

    def _turn(self, population: str, options: dict[str, Any]) -> None:
        by = account(options["by"], switch.PERMISSION)
        turn = switch.open if options["open"] else switch.engage
        try:
            turned = turn(population, by, options["reason"])
        except PersonalizationError as error:
            raise CommandError(error.message) from error
        if not turned:
            self.stdout.write("It was so already.")
