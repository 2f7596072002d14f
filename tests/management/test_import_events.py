"""import_events: three kinds of file, the same events; each once, whatever happens in between."""

from __future__ import annotations

import csv
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from django.core.management import CommandError, call_command

from personalization import api
from personalization.models import ConsentRecord, Event, EventImport, QuarantinedEvent, Shopper, ShopperAlias
from personalization.tracking import importing, replay
from personalization.tracking.quarantine import payload_of
from tests.personalization.builders import make_account, make_shopper
from tests.support import simulated

LONG_AGO = datetime(2019, 3, 31, 2, 30, tzinfo=UTC)
Run = Callable[..., str]


@pytest.fixture
def run(db: None) -> Run:
    """Run the command, its people agreeing to personalisation unless said otherwise."""

    def run(*arguments: Any, consent: bool = True) -> str:
        out = StringIO()
        agreed = ["--consent", "personalisation"] if consent else []
        call_command("import_events", *map(str, arguments), *agreed, stdout=out)
        return out.getvalue()

    return run


def rows(count: int = 3, **fields: Any) -> list[dict[str, Any]]:
    """Return views of products, five years old, by two customers."""
    return [
        {
            "id": f"e-{number}",
            "type": "product_viewed",
            "shopper": f"customer-{number % 2}",
            "item_id": f"p-{number}",
            "occurred_at": (LONG_AGO + timedelta(hours=number)).isoformat(),
            "properties": {"dwell_ms": 100 + number},
            **fields,
        }
        for number in range(count)
    ]


def jsonl(path: Path, lines: list[Any]) -> Path:
    text = "\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines)
    path.write_text(text + "\n", encoding="utf-8")
    return path


def as_csv(path: Path, lines: list[dict[str, Any]]) -> Path:
    with path.open("w", encoding="utf-8-sig", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["id", "kind", "who", "item_id", "occurred_at", "properties.dwell_ms", "remark"])
        for line in lines:
            dwell = line["properties"]["dwell_ms"]
            writer.writerow(
                [line["id"], line["type"], line["shopper"], line["item_id"], line["occurred_at"], dwell, "x"]
            )
    return path


def as_parquet(path: Path, lines: list[dict[str, Any]]) -> Path:
    moments = [datetime.fromisoformat(line["occurred_at"]) for line in lines]
    pl.DataFrame([{**line, "occurred_at": moment} for line, moment in zip(lines, moments, strict=True)]).write_parquet(
        path
    )
    return path


def stored() -> list[tuple[Any, ...]]:
    fields = ("event_id", "type", "item_id", "occurred_at", "properties", "shopper__aliases__value", "source")
    return list(Event.objects.order_by("event_id").values_list(*fields))


@pytest.mark.parametrize("kind", ["jsonl", "csv", "parquet"])
def test_each_kind_of_file_says_the_same(kind: str, run: Run, tmp_path: Path) -> None:
    path = tmp_path / f"events.{kind}"
    options: list[str] = []
    if kind == "csv":
        as_csv(path, rows())
        options = ["--map", "type=kind", "--map", "shopper=who"]
    else:
        (jsonl if kind == "jsonl" else as_parquet)(path, rows())
    assert "3 rows; 3 stored" in run(path, *options, "--channel", "shop_floor")
    assert stored() == [
        (
            f"e-{n}",
            "product_viewed",
            f"p-{n}",
            LONG_AGO + timedelta(hours=n),
            {"dwell_ms": 100 + n},
            f"customer-{n % 2}",
            "import",
        )
        for n in range(3)
    ]
    assert set(Event.objects.values_list("channel", flat=True)) == {"shop_floor"}
    assert ConsentRecord.objects.filter(purpose="personalisation", granted=True).count() == 2
    assert "3 known already" in run(path, *options)
    assert Event.objects.count() == 3


def test_without_ids_the_file_and_the_row_tell_events_apart(run: Run, tmp_path: Path) -> None:
    same = [{key: value for key, value in rows(1)[0].items() if key != "id"}] * 3
    path = jsonl(tmp_path / "a.jsonl", same)
    run(path)
    run(path)
    assert Event.objects.count() == 3
    run(jsonl(tmp_path / "b.jsonl", [*same, same[0]]))
    assert Event.objects.count() == 7


def test_bad_rows_are_kept_aside_once_and_can_be_replayed(run: Run, tmp_path: Path) -> None:
    good = rows(2)
    bad = [
        "{not json",
        "[1]",
        "x" * 1_000_001,
        {**good[0], "id": "no-one", "shopper": ""},
        {**good[0], "id": "unknown", "type": "teleported"},
        {**good[0], "id": "dwell", "properties": {"dwell_ms": "long"}},
    ]
    path = jsonl(tmp_path / "events.jsonl", [good[0], *bad, "", good[1]])
    told = run(path)
    assert "2 stored, 0 known already, 6 kept aside" in told
    assert "3 × import: a row that cannot be read" in told
    run(path)
    assert QuarantinedEvent.objects.count() == 6
    aside = QuarantinedEvent.objects.get(event_id="dwell")
    assert aside.shopper == Shopper.objects.get(aliases__value="customer-0")
    result = replay.replay_one(aside.pk, {**payload_of(aside), "properties": {"dwell_ms": 7}})
    assert result == replay.ReplayResult(stored=1)
    assert Event.objects.get(event_id="dwell").occurred_at == LONG_AGO


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("type,shopper\npage_viewed\n", "1 cells"),
        ("type,shopper,offer_id\npage_viewed,a,many\n", "offer_id must be a whole number"),
        ("type,shopper,properties\npage_viewed,a,nothing\n", "properties must be an object"),
        ("type,shopper,occurred_at\npage_viewed,a,yesterday\n", "ISO 8601"),
        ("type,shopper,occurred_at\npage_viewed,a,0001-01-01T00:00:00+05:00\n", "out of range"),
    ],
)
def test_bad_cells_are_kept_aside(run: Run, tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "events.csv"
    path.write_text(text, encoding="utf-8")
    assert "1 kept aside" in run(path)
    assert reason in QuarantinedEvent.objects.get().reason


NO_NAMES: list[Any] = [[1], {"a": 1}, True, False, float("nan"), float("inf"), "  ", None, "a\x00b", "half \ud800"]


def test_a_row_that_names_nobody_stops_no_other(run: Run, tmp_path: Path) -> None:
    """Neither is a list somebody's name, nor does one that no database holds end the import of the file."""
    good = rows(1)[0]
    odd = [{**good, "id": f"odd-{number}", "shopper": name} for number, name in enumerate(NO_NAMES)]
    named = [{**good, "id": f"named-{number}", "shopper": name} for number, name in enumerate([17, "17", 0, "Zoë"])]
    told = run(jsonl(tmp_path / "events.jsonl", [*odd, *named]))
    assert f"4 stored, 0 known already, {len(odd)} kept aside" in told
    assert f"{len(odd)} × import: no shopper" in told
    assert set(ShopperAlias.objects.values_list("value", flat=True)) == {"17", "0", "Zoë"}


@pytest.mark.parametrize("source", ["a\x00b", "\udcff"])
def test_a_source_that_cannot_be_stored_is_refused(run: Run, tmp_path: Path, source: str) -> None:
    with pytest.raises(CommandError, match="cannot be stored"):
        run(jsonl(tmp_path / "events.jsonl", rows(1)), "--source", source)


def test_who_agreed_to_nothing_gets_no_row(run: Run, tmp_path: Path) -> None:
    order = {"type": "order_placed", "shopper": "buyer", "id": "o-1", "value_minor": 100}
    told = run(jsonl(tmp_path / "events.jsonl", [*rows(4), order]), consent=False)
    assert "1 stored, 0 known already, 0 kept aside, 4 left out" in told
    assert list(ShopperAlias.objects.values_list("value", flat=True)) == ["buyer"]
    assert Event.objects.get().type == "order_placed"


def test_accounts_are_found_by_their_key(run: Run, tmp_path: Path) -> None:
    account = make_account()
    shopper = make_shopper(user=account)
    lines = [*rows(1, shopper=account.pk), *rows(1, shopper=10**30, id="e-8"), *rows(1, shopper="ada", id="e-9")]
    assert "1 stored, 0 known already, 2 kept aside" in run(jsonl(tmp_path / "e.jsonl", lines), "--accounts")
    assert Event.objects.get().shopper == shopper


def test_what_was_erased_stays_away(run: Run, tmp_path: Path) -> None:
    lines = rows(3)
    run(jsonl(tmp_path / "first.jsonl", lines[1:2]), "--source", "till")
    api.erase(Event.objects.get().shopper)
    run(jsonl(tmp_path / "events.jsonl", lines), "--source", "till")
    assert [row[0] for row in stored()] == ["e-0", "e-2"]


def test_a_dry_run_tells_and_stores_nothing(run: Run, tmp_path: Path) -> None:
    told = run(jsonl(tmp_path / "e.jsonl", [*rows(3), "{"]), "--dry-run", "--batch", 2)
    assert "4 rows; 3 stored" in told
    assert "1 × import: a row" in told
    for model in (Event, QuarantinedEvent, Shopper, EventImport):
        assert not model._default_manager.exists(), model


def test_resume_goes_on_where_the_last_batch_ended(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = jsonl(tmp_path / "e.jsonl", rows(10))
    store, calls = importing.store, []

    def twice_only(*args: Any, **kwargs: Any) -> None:
        calls.append(args[1][0].number)
        if len(calls) == 3:
            raise KeyboardInterrupt
        store(*args, **kwargs)

    monkeypatch.setattr(importing, "store", twice_only)
    with pytest.raises(CommandError, match="--resume"):
        run(path, "--batch", 3)
    assert (EventImport.objects.get().rows_done, Event.objects.count()) == (6, 6)
    told = run(path, "--batch", 3, "--resume")
    assert "going on after 6 rows" in told
    assert "4 rows; 4 stored, 0 known" in told
    assert calls == [0, 3, 6, 6, 9]
    assert "imported already" in run(path, "--resume")
    assert EventImport.objects.get().accepted == 10


def test_two_imports_of_one_file_do_not_mix(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = jsonl(tmp_path / "e.jsonl", rows(10))
    store = importing.store

    def overtaken(*args: Any, **kwargs: Any) -> None:
        EventImport.objects.update(rows_done=5)
        store(*args, **kwargs)

    monkeypatch.setattr(importing, "store", overtaken)
    with pytest.raises(CommandError, match="Another import"):
        run(path)
    assert not Event.objects.exists()


@pytest.mark.parametrize(
    ("name", "options", "reason"),
    [
        ("gone.jsonl", [], "no file"),
        ("events.txt", [], "only .jsonl"),
        ("events.csv", [], "no column for “type”"),
        ("events.csv", ["--map", "type=sort"], "no column “sort”"),
        ("events.csv", ["--map", "sort"], "FIELD=COLUMN"),
        ("events.csv", ["--map", "price=a"], "FIELD=COLUMN"),
        ("events.csv", ["--batch", "0"], "--batch"),
        ("events.parquet", [], "cannot be read"),
    ],
)
def test_what_cannot_be_read_is_told(run: Run, tmp_path: Path, name: str, options: list[str], reason: str) -> None:
    for ending in ("txt", "csv", "parquet"):
        (tmp_path / f"events.{ending}").write_text("a,b\n1,2\n")
    with pytest.raises(CommandError, match=reason):
        run(tmp_path / name, *options)


def test_killed_it_goes_on_and_every_event_is_there_once(tmp_path: Path) -> None:
    """``kill -9`` in the middle, with a real process and a real database."""
    count = 6000
    path = jsonl(tmp_path / "e.jsonl", [*rows(count), *(["{"] * 50)])
    environment = {
        **os.environ,
        "VAR_DIR": str(tmp_path / "var"),
        "DATABASE_URL": "",
        "DJANGO_SETTINGS_MODULE": "shop.settings",
    }
    simulated.manage("migrate", "--verbosity", "0", environment=environment)
    command = [sys.executable, "manage.py", "import_events", str(path), "--consent", "personalisation", "--batch", "50"]
    process = subprocess.Popen(command, cwd=simulated.ROOT, env=environment, stdout=subprocess.DEVNULL)

    def figures() -> tuple[int, int, int]:
        (database,) = (tmp_path / "var").glob("*.sqlite3")
        with closing(sqlite3.connect(database, timeout=20)) as connection:
            done = connection.execute("SELECT COALESCE(SUM(rows_done), 0) FROM personalization_eventimport").fetchone()
            events = connection.execute(
                "SELECT COUNT(*), COUNT(DISTINCT event_id) FROM personalization_event"
            ).fetchone()
            return int(done[0]), int(events[0]), int(events[1])

    until = time.monotonic() + 60
    while figures()[0] < 500:
        assert process.poll() is None, "it was done before it could be killed"
        assert time.monotonic() < until
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    done, events, _distinct = figures()
    assert 500 <= done < count
    assert events == done
    again = subprocess.run([*command, "--resume"], cwd=simulated.ROOT, env=environment, capture_output=True, text=True)
    assert again.returncode == 0, again.stderr
    assert f"going on after {done} rows" in again.stdout
    assert f"{count + 50 - done} rows; {count - done} stored, 0 known already, 50 kept aside" in again.stdout
    assert figures() == (count + 50, count, count)
