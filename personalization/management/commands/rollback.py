"""``manage.py rollback``: let the former champion reign again, with the scores that it made."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandError, CommandParser

from personalization import conf
from personalization.exceptions import PersonalizationError
from personalization.learning import registry
from personalization.learning.rollback import NotFormer, roll_back
from personalization.management.accounts import account
from personalization.management.arguments import AppCommand
from personalization.models import ModelVersion
from personalization.types import ModelTask


class Command(AppCommand):
    help = "Rolls a task's model back to the champion before, and pages to the scores that it made."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("task", choices=[task.value for task in ModelTask])
        parser.add_argument("--population", default="", help="whose model (default: the shop's)")
        parser.add_argument("--to", type=int, metavar="VERSION", help="a retired version; else the champion before")
        parser.add_argument(
            "--by", default="", metavar="USERNAME", help="the account to write down, one that may do this"
        )

    def handle(self, *args: Any, **options: Any) -> None:
        by = account(options["by"], "personalization.change_modelversion")
        task, population = ModelTask(options["task"]), options["population"] or conf.get().population
        to = self._former(options["to"], task, population)
        try:
            done = roll_back(task, population, by=by, to=to)
        except NotFormer as error:
            where = f"on the page of {to} under “Model versions” in the admin"
            raise CommandError(f"{error.message.removesuffix('.')}: {where}.") from None
        except PersonalizationError as error:
            raise CommandError(error.message) from None
        self.stdout.write("\n".join(done.sentences()))

    def _former(self, wanted: int | None, task: ModelTask, population: str) -> ModelVersion | None:
        """Return the version to go back to; None: the champion before."""
        if wanted is None:
            return None
        version = registry.version(wanted)
        if version is None or (version.task, version.population) != (task.value, population):
            what = f": {wanted} is a {version.task} version of {version.population!r}" if version is not None else ""
            known = ", ".join(map(str, registry.retired(task, population)))
            could = f"These could reign again: {known}." if known else "None could reign again."
            raise CommandError(f"There is no {task.value} version {wanted} of {population!r}{what}. {could}")
        return version
