"""After any mixture of operations at once: no limit passed, ledger and counters the same to the cent, no deadlock."""

from __future__ import annotations

import json

import pytest

from tests.concurrency.conftest import BACKENDS, NewDatabase, run
from tests.support.scale import rounds


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_accounts_agree_after_a_storm(backend: str, new_database: NewDatabase) -> None:
    """100,000 operations on PostgreSQL in ``make soak``."""
    operations = rounds(600, 100_000 if backend == "postgres" else 20_000)
    told = json.loads(run("tests.concurrency.play", "--storm", str(operations), database_url=new_database(backend)))
    assert told["faults"] == []
    assert told["overruns"] == []
    assert told["accounts"] == []
    assert {"hold", "basket", "redeem", "release", "refund", "part"} <= set(told["told"])
    assert told["told"]["refused"] > 0, "nobody met a limit: the storm was too weak"


def test_without_its_guards_a_storm_overruns(new_database: NewDatabase) -> None:
    """The negative control, on PostgreSQL: checks first and writes later."""
    printed = run("tests.concurrency.play", "--storm", "3000", "--unguarded", database_url=new_database("postgres"))
    told = json.loads(printed)
    assert told["overruns"] or told["accounts"]
