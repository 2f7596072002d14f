"""``manage.py import_events FILE …``: events from JSON lines, CSV and parquet, each once, resumed after a crash."""

from __future__ import annotations

from argparse import ArgumentParser
from pathlib import Path
from typing import Any

from django.core.management.base import CommandError
from django.utils.translation import gettext as _

from personalization.exceptions import PersonalizationError
from personalization.management.arguments import AppCommand
from personalization.management.event_files import EventFile, open_file
from personalization.management.progress import progress_bar
from personalization.models import EventImport, Rejection
from personalization.tracking import importing, parsing
from personalization.tracking.checking import storable
from personalization.tracking.identity import batches
from personalization.tracking.storage import bulk_size
from personalization.types import CONSENT_PURPOSES, Purpose


class Command(AppCommand):
    help = "Imports events from .jsonl, .csv and .parquet files. Repeated, it adds nothing; killed, it goes on."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("files", metavar="FILE", type=Path, nargs="+")
        parser.add_argument("--source", default="", metavar="NAME", help="who counted the ids; files of one share it")
        parser.add_argument(
            "--map", action="append", default=[], metavar="FIELD=COLUMN", help="read a field from another column"
        )
        parser.add_argument("--accounts", action="store_true", help="“shopper” holds primary keys of accounts")
        parser.add_argument(
            "--consent",
            action="append",
            default=[],
            choices=[purpose.value for purpose in CONSENT_PURPOSES],
            help="what people who are not known yet have agreed to; may be given several times",
        )
        parser.add_argument("--channel", default="", choices=["", *sorted(parsing.CHANNELS)])
        parser.add_argument("--resume", action="store_true", help="go on where an interrupted import ended")
        parser.add_argument("--dry-run", action="store_true", help="store nothing; say what would become of the rows")
        parser.add_argument("--batch", type=int, metavar="N", help="rows a transaction (500; 5000 on PostgreSQL)")

    def handle(self, *args: Any, **options: Any) -> None:
        options["batch"] = options["batch"] if options["batch"] is not None else bulk_size()
        if not 1 <= options["batch"] <= 5000:
            raise CommandError(_("--batch must lie between 1 and 5000."))
        if storable(options["source"]) != options["source"]:
            raise CommandError(_("--source holds a character that cannot be stored."))
        terms = importing.Terms(
            accounts=options["accounts"],
            purposes=frozenset(Purpose(each) for each in options["consent"]),
            channel=options["channel"],
        )
        try:
            opened = [open_file(path, _mapping(options["map"])) for path in options["files"]]
            for file in opened:
                self._import(file, terms, options)
        except PersonalizationError as error:
            raise CommandError(error.message) from error
        except KeyboardInterrupt:
            raise CommandError(_("Stopped. Go on with the same command and --resume.")) from None

    def _import(self, file: EventFile, terms: importing.Terms, options: dict[str, Any]) -> None:
        source = f"import:{options['source']}"[:80] if options["source"] else "import"
        dry = options["dry_run"]
        digest = file.digest()
        if dry:
            run = EventImport(digest=digest, source=source, name=file.path.name)
        else:
            run = importing.begin(digest, source, file.path.name, resume=options["resume"])
        if run.finished_at is not None:
            self.stdout.write(_("%(file)s: imported already, to its last row.") % {"file": file.path})
            return
        report = importing.Report()
        if run.rows_done:
            told = {"file": file.path, "rows": run.rows_done}
            self.stdout.write(_("%(file)s: going on after %(rows)d rows.") % told)
        with progress_bar(file.path.name, self.stdout) as advance:
            for batch in batches(file.rows(run.rows_done), options["batch"]):
                importing.store(run, batch, terms, report, dry=dry)
                advance(_("events"), file.share)
        if not dry:
            importing.finish(run)
        self._conclude(file, report, dry=dry)

    def _conclude(self, file: EventFile, report: importing.Report, *, dry: bool) -> None:
        result = report.result
        figures = {
            "file": file.path,
            "rows": report.rows,
            "accepted": result.accepted,
            "duplicates": result.duplicates,
            "quarantined": result.quarantined,
            "dropped": result.dropped,
        }
        text = _(
            "%(file)s: %(rows)d rows; %(accepted)d stored, %(duplicates)d known already, "
            "%(quarantined)d kept aside, %(dropped)d left out (no consent, or of an unknown type)."
        )
        self.stdout.write(text % figures)
        labels = dict(Rejection.choices)
        for code, count in report.reasons.most_common():
            self.stdout.write(f"  {count} × {labels.get(code, code)}")
        if dry:
            self.stdout.write(_("Nothing was stored: this was a dry run."))


def _mapping(given: list[str]) -> dict[str, str]:
    mapping: dict[str, str] = {}
    for text in given:
        field, equals, column = text.partition("=")
        known = field in parsing.KEYS or field == importing.SHOPPER or field.startswith("properties.")
        if not equals or not column or not known:
            fields = ", ".join(sorted({*parsing.KEYS, importing.SHOPPER, "properties.NAME"}))
            raise CommandError(
                _("--map %(text)s: write FIELD=COLUMN. Fields: %(fields)s.") % {"text": text, "fields": fields}
            )
        mapping[field] = column
    return mapping
