"""manage.py send_outbox: send the messages that are due."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandParser

from personalization.campaigns import outbox
from personalization.management.arguments import AppCommand


class Command(AppCommand):
    help = "Send the messages that are due; the worker does it every minute. Any number may run at once."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--limit", type=int, default=100_000, help="messages to look at, at most")
        parser.add_argument("--seconds", type=float, default=3600, help="stop after about so long")

    def handle(self, *args: Any, **options: Any) -> None:
        sent = outbox.send_due(limit=options["limit"], seconds=options["seconds"])
        self.stdout.write(f"{sent:,} messages sent.")
