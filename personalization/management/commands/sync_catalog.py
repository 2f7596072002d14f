"""manage.py sync_catalog: copy the host's catalogue and its accounts' profiles."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandError

from personalization.campaigns import catalog
from personalization.exceptions import InvalidRecord
from personalization.management.arguments import AppCommand
from personalization.ports import adapters
from personalization.tracking.catalog import sync_catalog
from personalization.tracking.identity import sync_profiles


class Command(AppCommand):
    help = "Copy products and profile attributes through the adapters; what vanished is hidden."

    def handle(self, *args: Any, **options: Any) -> None:
        if adapters.catalog() is None:
            raise CommandError('PERSONALIZATION["CATALOG"] is not set: name the adapter that yields your products.')
        try:
            products, profiles = sync_catalog(), sync_profiles()
        except InvalidRecord as error:
            raise CommandError(error.message) from error
        self.stdout.write(f"{products:,} products, {profiles:,} profiles.")
        other = catalog.other_currency()
        if other:
            self.stderr.write(other)
