"""manage.py verify_ledger: hold every counter against the ledger, and rebuild them on request."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandError, CommandParser

from personalization.campaigns.ledger import rebuild_counters, verify_ledger
from personalization.management.arguments import AppCommand
from personalization.models import Campaign


class Command(AppCommand):
    help = "Compare the counters of campaigns, offers and coupons with the ledger; --rebuild sets them from it."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--rebuild", action="store_true", help="set the counters from the ledger")

    def handle(self, *args: Any, **options: Any) -> None:
        found: list[str] = []
        for campaign in Campaign.objects.order_by("pk"):
            differences = verify_ledger(campaign)
            found += differences
            if differences and options["rebuild"]:
                rebuild_counters(campaign)
        for line in found:
            self.stdout.write(line)
        if found and not options["rebuild"]:
            raise CommandError(f"{len(found)} counters differ from the ledger. Run again with --rebuild to set them.")
        self.stdout.write("Counters rebuilt." if found else "Every counter agrees with the ledger.")
