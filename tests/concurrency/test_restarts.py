"""PostgreSQL is shut down at once and restarted under load: what was acknowledged is there, and there once."""

from __future__ import annotations

import random
import subprocess
import time
from contextlib import ExitStack, closing
from pathlib import Path

import psycopg2
import pytest

from tests.concurrency.conftest import run, started
from tests.support import needs, servers
from tests.support.scale import rounds

SENDERS = 2


@pytest.mark.parametrize("guarded", [True, False], ids=["with the unique key", "without it"])
def test_acknowledged_events_outlive_a_restart(guarded: bool, tmp_path: Path) -> None:
    with ExitStack() as stack:
        try:
            server = stack.enter_context(servers.postgres(durable=True))
        except servers.Unavailable as error:
            needs.missing(str(error))
        if server.restart is None:
            needs.missing("This PostgreSQL is not ours to restart.")
        url = server.create("pz_restarts")
        run("tests.concurrency.play", "--migrate", database_url=url)
        if not guarded:
            ask(url, "ALTER TABLE personalization_eventclaim DROP CONSTRAINT personalization_eventclaim_pkey")
        notes = [tmp_path / f"sender{number}" for number in range(SENDERS)]
        senders = [_sender(note, url) for note in notes]
        for _ in range(rounds(3, 15)):
            before = noted(notes)
            wait_for_more(notes, before)
            time.sleep(random.uniform(0, 0.2))
            server.restart()
        wait_for_more(notes, noted(notes))
        for sender in senders:
            sender.kill()
            sender.wait(timeout=30)

        told = {line for note in notes for line in note.read_text(encoding="ascii").splitlines()}
        stored = [row[0] for row in ask(url, "SELECT event_id FROM personalization_event")]
        assert told <= set(stored), "acknowledged and lost"
        duplicates = len(stored) - len(set(stored))
        assert duplicates == 0 if guarded else duplicates > 0, f"{duplicates} of {len(stored)} stored twice"


def noted(notes: list[Path]) -> int:
    return sum(note.stat().st_size for note in notes if note.exists())


def wait_for_more(notes: list[Path], before: int) -> None:
    """Wait until every sender wrote a good deal down."""
    until = time.monotonic() + 120
    while noted(notes) < before + 50_000:  # some 1,500 events
        assert time.monotonic() < until, "nobody gets anything stored"
        time.sleep(0.02)


def ask(url: str, statement: str) -> list[tuple[object, ...]]:
    with closing(psycopg2.connect(url)) as connection, connection, connection.cursor() as cursor:
        cursor.execute(statement)
        return list(cursor.fetchall()) if cursor.description else []


def _sender(note: Path, url: str) -> subprocess.Popen[str]:
    return started("tests.concurrency.reporter", str(note), database_url=url, says="sending")
