"""Codes in batches: complete, counted, resumed where they stopped; codes with a meaning; exported files."""

from __future__ import annotations

import csv
import logging
import os
import stat
import time
from datetime import timedelta
from io import StringIO
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from django.contrib.admin.models import LogEntry
from django.core.management import CommandError, call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from personalization.campaigns import batches, codes, coupons, exports
from personalization.exceptions import ClaimRefused, LeaseLost, PersonalizationError
from personalization.learning import handlers, jobs
from personalization.models import Campaign, CodeBatch, Coupon, Job, Offer
from personalization.types import JobState
from tests.personalization.builders import make_account, make_offer, make_shopper, running
from tests.personalization.conftest import Configure

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batches, "CHUNK", 10)


@pytest.fixture
def files(configure: Configure, tmp_path: Path) -> Path:
    configure(ARTIFACTS=str(tmp_path))
    return tmp_path / "exports"


def finish(job: Job | None, show: Any = None) -> Job:
    assert job is not None
    return handlers.run_here(job, show)


def made(offer: Offer, size: int, **fields: Any) -> CodeBatch:
    batch = batches.create_batch(offer, size, **fields)
    job = finish(batch.job)
    assert job.state == JobState.SUCCEEDED.value, job.error
    batch.refresh_from_db()
    return batch


def test_a_batch_is_made_with_all_that_counts_it() -> None:
    offer = make_offer(amount_minor=500)
    seen: list[float] = []
    batch = batches.create_batch(offer, 25, max_uses=2)
    assert finish(batch.job, lambda what, done: seen.append(done)).result == {"batch": batch.pk, "codes": 25}
    batch.refresh_from_db()
    offer.refresh_from_db()
    coupon_rows = list(Coupon.objects.filter(batch=batch))
    plain = {codes.reveal(coupon.code_ciphertext) for coupon in coupon_rows}
    assert (batch.generated_count, offer.issued_count, len(plain)) == (25, 25, 25)
    assert {len(codes.normalise(code)) for code in plain} == {codes.LENGTH}
    assert all(coupon.shopper_id is None and coupon.origin == "batch" for coupon in coupon_rows)
    assert {coupon.max_uses for coupon in coupon_rows} == {2}
    assert {coupon.expires_at for coupon in coupon_rows} == {offer.campaign.ends_at}
    assert {coupon.liability_minor for coupon in coupon_rows} == {1000}
    assert Campaign.objects.get(pk=offer.campaign_id).liability_minor == 25 * 1000
    assert seen == [0.0, 0.4, 0.8]


def test_its_codes_can_be_used_by_anybody_in_any_spelling() -> None:
    batch = made(make_offer(), 1)
    code = codes.reveal(Coupon.objects.get(batch=batch).code_ciphertext)
    typed = code.lower().replace("-", " ")
    assert coupons.usable_coupon(shopper=make_shopper(), code=typed).batch_id == batch.pk


def test_an_interrupted_batch_goes_on_where_it_stopped() -> None:
    offer = make_offer()
    batch = batches.create_batch(offer, 35)

    def interrupt(what: object, done: float) -> None:
        if done > 0.5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        finish(batch.job, interrupt)
    batch.refresh_from_db()
    first = set(Coupon.objects.filter(batch=batch).values_list("pk", flat=True))
    assert batch.generated_count == len(first) == 20
    finish(batches.resume(batch))
    every = set(Coupon.objects.filter(batch=batch).values_list("pk", flat=True))
    assert len(every) == 35
    assert first < every
    offer.refresh_from_db()
    assert offer.issued_count == 35
    batch.refresh_from_db()
    assert batches.resume(batch) is None


def test_a_cancelled_job_makes_no_more_codes_and_its_batch_can_be_resumed() -> None:
    batch = batches.create_batch(make_offer(), 35)
    job = jobs.lease("somebody", batch.job.pk if batch.job else None)
    assert job is not None
    drawn = batches._draw(batch, 10, 0)
    jobs.cancel(job)
    with pytest.raises(LeaseLost):
        batches._store(job, batch, drawn)
    assert Coupon.objects.filter(batch=batch).count() == 0
    batch = CodeBatch.objects.get(pk=batch.pk)
    assert batch.generated_count == 0
    assert finish(batches.resume(batch)).state == JobState.SUCCEEDED.value


def test_what_another_process_made_meanwhile_is_not_made_twice() -> None:
    batch = batches.create_batch(make_offer(), 10)
    job = jobs.lease("somebody", batch.job.pk if batch.job else None)
    assert job is not None
    stale = CodeBatch.objects.get(pk=batch.pk)
    batches._store(job, batch, batches._draw(batch, 10, 0))
    batches._store(job, stale, batches._draw(stale, 10, 0))
    assert Coupon.objects.filter(batch=batch).count() == 10


def test_a_batch_that_cannot_fit_is_refused_with_numbers() -> None:
    offer = make_offer(max_issued=30)
    made(offer, 10)
    with pytest.raises(batches.BatchRefused, match="20 more codes, and 21 are wanted"):
        batches.create_batch(offer, 21)
    assert CodeBatch.objects.count() == 1


def test_a_limit_that_is_reached_meanwhile_stops_the_job_with_the_same_sentence() -> None:
    offer = make_offer(max_issued=30)
    batch = batches.create_batch(offer, 30)
    coupons.claim(offer.pk, shopper=make_shopper())
    job = finish(batch.job)
    assert job.state == JobState.FAILED.value
    assert "Raise its limit first" in job.error
    batch.refresh_from_db()
    offer.refresh_from_db()
    assert batch.generated_count == Coupon.objects.filter(batch=batch).count() == 20
    assert offer.issued_count == 21
    Offer.objects.filter(pk=offer.pk).update(max_issued=31)
    assert finish(batches.resume(batch)).state == JobState.SUCCEEDED.value


def test_a_budget_that_has_to_cover_every_code_stops_the_batch() -> None:
    offer = make_offer(running(budget_minor=10_000, gate_liability=True), amount_minor=500)
    batch = batches.create_batch(offer, 30)
    job = finish(batch.job)
    assert "does not cover" in job.error
    assert Campaign.objects.get(pk=offer.campaign_id).liability_minor == 10_000
    assert Coupon.objects.filter(batch=batch).count() == 20


@pytest.mark.parametrize(
    "given",
    [{"size": 0}, {"size": 10**9}, {"size": 1, "max_uses": 0}, {"size": 1, "expires_at": timezone.now()}],
    ids=["none", "too many", "no use", "over"],
)
def test_what_makes_no_sense_is_refused(given: dict[str, Any]) -> None:
    with pytest.raises(batches.BatchRefused):
        batches.create_batch(make_offer(), **given)


def test_the_number_of_statements_a_chunk_is_constant(monkeypatch: pytest.MonkeyPatch) -> None:
    counts = []
    for size in (10, 400):
        monkeypatch.setattr(batches, "CHUNK", size)
        batch = batches.create_batch(make_offer(amount_minor=500), size)
        with CaptureQueriesContext(connection) as queries:
            finish(batch.job)
        # How many rows an INSERT takes is the database's own limit.
        counts.append(sum(not query["sql"].startswith("INSERT") for query in queries.captured_queries))
    assert counts[0] == counts[1]


def test_a_code_with_a_meaning_is_used_by_many() -> None:
    offer = make_offer()
    coupon = batches.add_vanity(offer, " autumn-25 ", max_uses=2, by=make_account())
    assert coupon.origin == "vanity"
    for _person in range(2):
        assert coupons.usable_coupon(shopper=make_shopper(), code="AUTUMN 25").pk == coupon.pk
    assert codes.reveal(coupon.code_ciphertext) == "AUTUMN-25"


@pytest.mark.parametrize("code", ["", "abc", "---a-b---", "ÄPFEL2026", "A" * 41, "SALE!", "A\x00BCD"])
def test_a_code_that_nobody_could_type_is_refused(code: str) -> None:
    with pytest.raises(batches.VanityRefused, match="4 to 40"):
        batches.add_vanity(make_offer(), code, max_uses=1)


def test_a_code_that_exists_is_refused_in_any_spelling() -> None:
    offer = make_offer()
    batches.add_vanity(offer, "AUTUMN-25", max_uses=1)
    with pytest.raises(batches.VanityRefused, match="such a code already"):
        batches.add_vanity(make_offer(), "autumn 25", max_uses=1)
    looked = mock.patch.object(codes, "digests", side_effect=[["-"], codes.digests("AUTUMN25")])
    with looked, pytest.raises(batches.VanityRefused, match="such a code already"):  # added at the same moment
        batches.add_vanity(offer, "AUTUMN25", max_uses=1)


def test_a_code_with_a_meaning_counts_under_the_offers_limit() -> None:
    offer = make_offer(max_issued=1)
    batches.add_vanity(offer, "FIRST", max_uses=100)
    with pytest.raises(ClaimRefused):
        batches.add_vanity(offer, "SECOND", max_uses=100)


def read(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.django_db(transaction=True)
def test_a_batch_is_exported_for_its_owner_only(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exports, "CHUNK", 10)
    batch, account = made(make_offer(), 25), make_account()
    made(make_offer(), 3)
    job = finish(exports.request_export(batch, by=account))
    path = exports.download(job, by=account)
    rows = read(path)
    stored = Coupon.objects.filter(batch=batch)
    assert {row["code"] for row in rows} == {codes.reveal(coupon.code_ciphertext) for coupon in stored}
    assert len(rows) == job.result["codes"] == 25
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(files.stat().st_mode) == 0o700
    assert [entry.name for entry in files.iterdir()] == [path.name]
    noted = LogEntry.objects.filter(user=account, object_id=str(batch.pk)).values_list("change_message", flat=True)
    assert len(noted) == 2
    assert any("downloaded 25 codes" in message for message in noted)


@pytest.mark.django_db(transaction=True)
def test_an_offers_export_leaves_personal_codes_out(files: Path) -> None:
    offer = make_offer()
    made(offer, 3)
    batches.add_vanity(offer, "AUTUMN", max_uses=5)
    personal = coupons.claim(offer.pk, shopper=make_shopper()).code
    rows = read(exports.download(finish(exports.request_export(offer))))
    assert len(rows) == 4
    assert {"AUTUMN"} < {row["code"] for row in rows}
    assert personal not in {row["code"] for row in rows}


def test_no_cell_is_taken_for_a_formula() -> None:
    assert [exports._cell(text) for text in ("=1+1", "+1", "-1", "@x", "\tx", "SALE-10")] == [
        "'=1+1", "'+1", "'-1", "'@x", "'\tx", "SALE-10",
    ]  # fmt: skip


@pytest.mark.django_db(transaction=True)
def test_an_export_that_fails_leaves_no_file_and_can_be_repeated(files: Path) -> None:
    job = exports.request_export(made(make_offer(), 5))
    with mock.patch.object(os, "fsync", side_effect=OSError("disk")), pytest.raises(OSError, match="disk"):
        finish(job)
    assert list(files.iterdir()) == []
    job.refresh_from_db()
    with pytest.raises(exports.ExportGone):
        exports.download(job)
    jobs.retry(job)
    assert len(read(exports.download(finish(job)))) == 5


@pytest.mark.django_db(transaction=True)
def test_files_are_gone_after_a_day(files: Path) -> None:
    job = finish(exports.request_export(made(make_offer(), 1)))
    path = exports.download(job)
    left_behind = files / "codes-9-1.part"
    left_behind.touch()
    assert exports.delete_old(timezone.now() + timedelta(hours=23)) == 0
    assert exports.delete_old(timezone.now() + timedelta(hours=25)) == 2
    with pytest.raises(exports.ExportGone):
        exports.download(job)
    path.touch()
    yesterday = time.time() - 25 * 3600
    os.utime(path, (yesterday, yesterday))
    with pytest.raises(exports.ExportGone):  # the chore has not run, the time is over
        exports.download(job)


@pytest.mark.django_db(transaction=True)
def test_the_commands_make_and_export_codes(files: Path) -> None:
    out = StringIO()
    offer = make_offer()
    call_command("issue_codes", "--offer", str(offer.pk), "--size", "25", "--max-uses", "3", stdout=out)
    batch = CodeBatch.objects.get()
    call_command("issue_codes", "--batch", str(batch.pk), stdout=out)
    call_command("export_codes", "--batch", str(batch.pk), stdout=out)
    printed = out.getvalue()
    assert printed.count("25 of 25 codes are made") == 2
    assert "25 codes are in" in printed
    shown = [codes.reveal(each.code_ciphertext) for each in Coupon.objects.all() if codes.reveal(each.code_ciphertext)]
    assert not any(code in printed for code in shown)


def test_the_command_is_interrupted_and_goes_on() -> None:
    offer, stage = make_offer(), "personalization.campaigns.batches._draw"
    with mock.patch(stage, side_effect=KeyboardInterrupt), pytest.raises(CommandError, match="--batch"):
        call_command("issue_codes", "--offer", str(offer.pk), "--size", "25", stdout=StringIO())
    batch = CodeBatch.objects.get()
    out = StringIO()
    call_command("issue_codes", "--batch", str(batch.pk), stdout=out)
    assert "25 of 25" in out.getvalue()


@pytest.mark.parametrize(
    "line",
    [
        ["issue_codes"],
        ["issue_codes", "--offer", "999999", "--size", "1"],
        ["issue_codes", "--batch", "999999"],
        ["export_codes", "--batch", "999999"],
        ["issue_codes", "--offer", "1", "--size", "1", "--expires", "soon"],
    ],
    ids=str,
)
def test_the_commands_say_what_is_wrong(line: list[str]) -> None:
    make_offer()
    with pytest.raises(CommandError):
        call_command(*line, stdout=StringIO())


def test_no_log_record_holds_a_code(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    offer = make_offer()
    made(offer, 12, by=make_account())
    batches.add_vanity(offer, "SECRETSALE", max_uses=1, by=make_account())
    with pytest.raises(PersonalizationError):
        batches.add_vanity(offer, "SECRETSALE", max_uses=1)
    plain = [codes.reveal(coupon.code_ciphertext) for coupon in Coupon.objects.all()]
    written = caplog.text + " ".join(LogEntry.objects.values_list("change_message", flat=True))
    assert "ordered 12 codes" in written
    assert not [code for code in plain if code in written or codes.normalise(code) in written]
