"""``manage.py import_dataset NAME FOLDER``: fill the models from a public data set's parquet files."""

from __future__ import annotations

import time
from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError
from django.utils.translation import gettext as _

from personalization.exceptions import DatasetError
from personalization.management import datasets
from personalization.management.arguments import AppCommand
from personalization.management.datasets.report import Summary, Terminal, render
from personalization.models import Shopper


class Command(AppCommand):
    help = "Imports a public data set. Repeated, it adds nothing; killed and run again, it completes."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("dataset", metavar="NAME", help=", ".join(datasets.NAMES))
        parser.add_argument("folder", metavar="FOLDER", type=Path, help="the folder that holds its parquet files")
        parser.add_argument(
            "--limit",
            type=int,
            metavar="N",
            help="only the first N customers with all that is theirs, for a quick look",
        )

    def handle(self, *args: Any, **options: Any) -> None:
        limit: int | None = options["limit"]
        if limit is not None and limit < 1:
            raise CommandError(_("--limit must be 1 or more."))
        started = time.monotonic()
        try:
            importer = datasets.importer_for(options["dataset"], options["folder"], limit=limit)
            Shopper.objects.exists()  # before the files are read: tables that are not there yet are missed at once
            if importer.notice:
                self.stdout.write(str(importer.notice))
            summary = importer.run(Terminal(self.stdout.write, interactive=self.stdout.isatty()))
        except DatasetError as error:
            raise CommandError(error.message) from error
        except KeyboardInterrupt:
            raise CommandError(_("Stopped. Run the same command again to complete the import.")) from None
        self._conclude(importer.title, summary, time.monotonic() - started)

    def _conclude(self, title: str, summary: Summary, elapsed_s: float) -> None:
        self.stdout.write(render(summary, title=title, elapsed_s=elapsed_s))
