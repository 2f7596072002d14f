"""The Starbucks set (simulated by its authors) in this process's scratch SQLite; one import serves all benchmarks."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from unittest import mock

from django.core.management import call_command
from django.db import connection, connections

from personalization.management.datasets import starbucks_offers
from personalization.management.datasets.starbucks_offers import ATTRIBUTION_HOURS
from tests.benchmarks.stage import ROOT, Skipped

POPULATION = "starbucks_offers"
FEW = 3000
"""Customers of a quick run: enough exposures to train on, too few to quote a figure from."""
CACHE = "BENCHMARK_CACHE"
"""Environment variable: a folder in which several benchmarks share one import."""


def folder() -> Path:
    """Return the set's folder; Skipped where it is absent."""
    shared = Path(os.environ.get("SHARED_DATA") or ROOT.parent / "shared" / "data")
    if not (shared / POPULATION / "transcript.parquet").exists():
        raise Skipped(f"The data set {POPULATION} is not there; name the folder that holds it in $SHARED_DATA.")
    return shared / POPULATION


def imported(limit: int | None, hours: int = ATTRIBUTION_HOURS) -> str:
    """Fill this process's database and return the population's name; outcomes count within so many ``hours``."""
    source = folder()
    database = Path(str(connection.settings_dict["NAME"]))
    kept = Path(os.environ[CACHE]) / f"{POPULATION}-{limit}-{hours}.sqlite3" if CACHE in os.environ else None
    if kept is not None and kept.exists():
        _close()
        shutil.copy(kept, database)
        return POPULATION
    with open(os.devnull, "w") as nowhere, mock.patch.object(starbucks_offers, "ATTRIBUTION_HOURS", hours):
        call_command("import_dataset", POPULATION, source, limit=limit, stdout=nowhere)
    if kept is not None:
        _close()
        shutil.copy(database, kept)
    return POPULATION


def _close() -> None:
    """Put everything into the database's one file."""
    with connection.cursor() as cursor:
        cursor.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connections.close_all()
