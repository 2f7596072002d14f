"""Codes in clear text, as a CSV file: written by a job, readable by its owner only, deleted after a day.

Callers check the permission ``personalization.export_coupon``. Codes that belong to one shopper are left out: an
offer's export has what anybody may use.
"""

from __future__ import annotations

import csv
import os
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, TextIO

from django.db import connections, router
from django.db.models import QuerySet
from django.utils import timezone
from django.utils.translation import gettext_noop
from django.views.decorators.debug import sensitive_variables

from personalization import conf
from personalization.campaigns import audit, codes
from personalization.exceptions import PersonalizationError
from personalization.learning import jobs
from personalization.learning.handlers import Stage
from personalization.models import CodeBatch, Coupon, Job, Offer
from personalization.types import JobKind, JobState

CHUNK = 2000
"""Rows in memory at a time."""
COLUMNS = ("code", "coupon", "origin", "uses_at_most", "used", "issued", "expires", "voided")
_FIELDS = ("code_ciphertext", "id", "origin", "max_uses", "used_count", "issued_at", "expires_at", "voided_at")
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")


class ExportGone(PersonalizationError):
    """This file does not exist any more. Export the codes again."""

    code = "export_gone"


def folder() -> Path:
    """Return where exported files lie: a folder that only its owner can look into."""
    path = conf.artifacts_dir() / "exports"
    path.mkdir(parents=True, exist_ok=True)
    path.chmod(0o700)
    return path


def request_export(subject: CodeBatch | Offer, *, by: Any = None) -> Job:
    """Queue a job that writes the codes of a batch, or all an offer's codes that anybody may use."""
    what = "batch" if isinstance(subject, CodeBatch) else "offer"
    # Who asks belongs to what is asked: two people's exports are two jobs and two lines of the audit.
    job, _new = jobs.ask(JobKind.EXPORT, {what: subject.pk, "by": None if by is None else str(by.pk)}, by=by)
    audit.note(by, subject, f"asked for an export of codes: job {job.pk}")
    return job


def download(job: Job, *, by: Any = None) -> Path:
    """Return the file of a finished export for somebody to read, and note who; raises ExportGone."""
    name = job.result.get("file", "") if job.kind == JobKind.EXPORT.value else ""
    path = folder() / Path(str(name)).name
    if not name or job.state != JobState.SUCCEEDED.value or not path.is_file():
        raise ExportGone
    if time.time() - path.stat().st_mtime > conf.get().export_hours * 3600:
        raise ExportGone
    audit.note(by, _subject(job.params), f"downloaded {job.result.get('codes')} codes of job {job.pk}")
    return path


def delete_old(now: datetime | None = None) -> int:
    """Delete the files, finished or left behind, that are older than ``EXPORT_HOURS``; returns how many."""
    place = conf.artifacts_dir() / "exports"
    if not place.is_dir():
        return 0
    oldest = ((now or timezone.now()) - timedelta(hours=conf.get().export_hours)).timestamp()
    gone = 0
    for path in place.glob("codes-*"):
        if path.stat().st_mtime < oldest:
            path.unlink(missing_ok=True)
            gone += 1
    return gone


def run(job: Job, params: dict[str, Any], stage: Stage, until: datetime | None = None) -> None:
    """Do an EXPORT job; begun again after a crash it writes its file anew."""
    subject = _subject(params)
    wanted = Coupon.objects.filter(shopper=None)
    wanted = wanted.filter(batch=subject) if isinstance(subject, CodeBatch) else wanted.filter(offer=subject)
    total = wanted.count()
    path = folder() / f"codes-{job.pk}.csv"
    # The fence in its name: whoever lost the lease writes a file of their own, and it is deleted with the old ones.
    part = path.with_name(f"codes-{job.pk}-{job.fence}.part")
    try:
        written = _write(part, wanted, total, stage)
        jobs.heartbeat(job)
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
    jobs.finish(job, {"file": path.name, "codes": written})


def _subject(params: dict[str, Any]) -> CodeBatch | Offer:
    found = (
        CodeBatch.objects.filter(pk=params["batch"]).first()
        if "batch" in params
        else Offer.objects.filter(pk=params.get("offer", 0)).first()
    )
    if found is None:
        raise ExportGone(gettext_noop("What should be exported does not exist any more."))
    return found


def _write(path: Path, wanted: QuerySet[Coupon], total: int, stage: Stage) -> int:
    written = 0
    with _private(path) as file:
        rows = csv.writer(file)
        rows.writerow(COLUMNS)
        for chunk in _chunks(wanted):
            stage(gettext_noop("exporting codes"), min(written / max(total, 1), 1.0))
            rows.writerows(_readable(row) for row in chunk)
            written += len(chunk)
        file.flush()
        os.fsync(file.fileno())
    return written


@contextmanager
def _private(path: Path) -> Iterator[TextIO]:
    """Open a new file that nobody else can read, from its first byte on."""
    path.unlink(missing_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8", newline="") as file:
        yield file


def _chunks(wanted: QuerySet[Coupon]) -> Iterator[list[tuple[Any, ...]]]:
    """Yield the rows from a connection of their own, as the database sends them.

    A cursor that stays open would keep the job's own connection from renewing its lease on SQLite, and without one
    on the server's side PostgreSQL would send all rows at once.
    """
    statement, values = wanted.order_by().values_list(*_FIELDS).query.sql_with_params()
    with closing(connections[router.db_for_read(Coupon)].copy()) as reader, reader.chunked_cursor() as cursor:
        cursor.execute(statement, values)
        while rows := cursor.fetchmany(CHUNK):
            yield rows


@sensitive_variables("row", "ciphertext", "rest")
def _readable(row: tuple[Any, ...]) -> list[str]:
    """Return a row as a spreadsheet may open it: nothing in it is taken for a formula."""
    ciphertext, *rest = row
    return [_cell(codes.reveal(ciphertext)), *(_cell(_text(value)) for value in rest)]


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, datetime):
        return value.isoformat(timespec="seconds")
    return str(value)


@sensitive_variables("text")
def _cell(text: str) -> str:
    return f"'{text}" if text.startswith(_FORMULA) else text
