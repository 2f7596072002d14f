"""manage.py doctor: what is missing or misconfigured, in plain words."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandError

from personalization.insight import doctor
from personalization.management.arguments import AppCommand

MARKS = {doctor.GOOD: "ok   ", doctor.HINT: "hint ", doctor.BAD: "WRONG"}


class Command(AppCommand):
    help = "Say in plain words what is missing or misconfigured; the exit status is 1 if something is wrong."
    requires_system_checks: list[str] = []

    def handle(self, *args: Any, **options: Any) -> None:
        wrong = 0
        for finding in doctor.examine():
            wrong += finding.level == doctor.BAD
            style = self.style.ERROR if finding.level == doctor.BAD else str
            self.stdout.write(style(f"{MARKS[finding.level]}  {finding.text}"))
        if wrong:
            raise CommandError(f"{wrong} things to mend.")
        self.stdout.write("Nothing is wrong.")
