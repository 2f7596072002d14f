"""manage.py backfill: the shop's past orders become events, each exactly once, guests included."""

from __future__ import annotations

from datetime import datetime, time
from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.utils.dateparse import parse_date
from django.utils.timezone import make_aware

from personalization.exceptions import InvalidRecord
from personalization.management.arguments import AppCommand
from personalization.ports import adapters
from personalization.tracking.backfill import backfill_orders
from personalization.tracking.catalog import sync_catalog
from personalization.tracking.identity import sync_profiles


class Command(AppCommand):
    help = "Record the shop's past orders through the orders adapter; running it again adds nothing."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--since", help="only orders from this day on, like 2026-01-31")

    def handle(self, *args: Any, **options: Any) -> None:
        if adapters.orders() is None:
            raise CommandError('PERSONALIZATION["ORDERS"] is not set: name the adapter that yields your orders.')
        since = _day(options["since"]) if options["since"] else None
        try:
            self._fill(since)
        except InvalidRecord as error:
            raise CommandError(error.message) from error

    def _fill(self, since: datetime | None) -> None:
        self.stdout.write(f"Catalogue: {sync_catalog():,} products.")
        seen = 0

        def progress(count: int) -> None:
            nonlocal seen
            seen += count
            self.stdout.write(f"{seen:,} orders read")

        new = backfill_orders(since, progress)
        self.stdout.write(f"Profiles: {sync_profiles():,} shoppers.")
        self.stdout.write(f"{seen:,} orders read, {new:,} were new.")


def _day(value: str) -> datetime:
    try:
        day = parse_date(value)
    except ValueError:
        day = None
    if day is None:
        raise CommandError(f"{value!r} is not a day. Write it like 2026-01-31.")
    return make_aware(datetime.combine(day, time.min))
