"""Whether the tables are those that the code expects."""

from __future__ import annotations

from django.db import DEFAULT_DB_ALIAS, connections
from django.db.migrations.executor import MigrationExecutor


def unmigrated() -> str:
    """Return what to do about migrations that are not applied, in a sentence; empty where all are.

    Raises what the database raises where it cannot be reached.
    """
    executor = MigrationExecutor(connections[DEFAULT_DB_ALIAS])
    waiting = executor.migration_plan(executor.loader.graph.leaf_nodes())
    return f"{len(waiting)} migrations are not applied. Run `manage.py migrate`." if waiting else ""
