"""``manage.py rollback``: let the former champion reign again, with the scores that it made."""

from __future__ import annotations

from typing import Any

from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand, CommandError, CommandParser

from personalization import conf
from personalization.exceptions import PersonalizationError
from personalization.learning.rollback import Rollback, roll_back
from personalization.types import ModelTask


class Command(BaseCommand):
    help = "Rolls a task's model back to the champion before, and pages to the scores that it made."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("task", choices=[task.value for task in ModelTask])
        parser.add_argument("--population", default="", help="whose model (default: the shop's)")
        parser.add_argument("--by", default="", metavar="USERNAME", help="the account to write down")

    def handle(self, *args: Any, **options: Any) -> None:
        users, by = get_user_model(), None
        if options["by"]:
            by = users._default_manager.filter(**{users.USERNAME_FIELD: options["by"]}).first()
            if by is None:
                raise CommandError(f"There is no account {options['by']}.")
        try:
            done = roll_back(ModelTask(options["task"]), options["population"] or conf.get().population, by=by)
        except PersonalizationError as error:
            raise CommandError(error.message) from None
        self._tell(done)

    def _tell(self, done: Rollback) -> None:
        self.stdout.write(f"{done.version} reigns again{f' instead of {done.instead_of}' if done.instead_of else ''}.")
        if done.job is None:
            return
        if done.score_set is not None:
            self.stdout.write(
                f"Its {done.score_set} are live again, without {done.dropped:,} shoppers who withdrew, were merged or "
                f"taken apart since. Job {done.job.pk} scores those who came since."
            )
        else:
            self.stdout.write(
                f"The scores that it made are gone or too old: pages use the present ones until job {done.job.pk} "
                "has scored. Run `manage.py score` if no worker runs."
            )
