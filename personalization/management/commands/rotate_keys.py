"""manage.py rotate_keys: encrypt everything under the newest key, in batches; stopped, it goes on where it was."""

from __future__ import annotations

from typing import Any

from django.core.management.base import CommandError, CommandParser

from personalization.management.arguments import AppCommand
from personalization.management.progress import progress_bar
from personalization.privacy import rotation


class Command(AppCommand):
    help = (
        "Encrypt codes and personal data under the newest of SECRET_KEYS, and what still lies in clear. May be stopped "
        "and run again at any time; shoppers notice nothing."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--batch", type=int, default=rotation.BATCH, help="rows a transaction (500)")

    def handle(self, *args: Any, **options: Any) -> None:
        if not 1 <= options["batch"] <= 10_000:
            raise CommandError("--batch lies between 1 and 10,000 rows.")
        with progress_bar("Keys", self.stdout) as progress:
            changed = rotation.rotate(progress, size=options["batch"])
        for name, count in changed.items():
            self.stdout.write(f"{name}: {count:,} encrypted anew")
        self.stdout.write(
            "Nothing is encrypted under an older key any more. Keep it listed all the same as long as guests, erased "
            "events and unsubscribed addresses should be recognised: they are hashed, and hashes cannot be renewed."
        )
