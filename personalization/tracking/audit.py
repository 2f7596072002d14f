"""The audit log's verbs: write a line, find those about a shopper, and the triggers that keep it append-only.

The triggers are made after each ``migrate``: on SQLite a later migration that rebuilds the table would lose them.
They bind the app and its admin. Whoever owns the database can take them away; ``doctor`` notices.
"""

from __future__ import annotations

from typing import Any

from django.apps import apps
from django.db import DEFAULT_DB_ALIAS, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import QuerySet

from personalization.models import AuditEntry, Shopper
from personalization.tracking import secrets

Action = AuditEntry.Action
Why = AuditEntry.Why
SHOPPER = "shopper"
_TABLE = AuditEntry._meta.db_table
_DEEDS = ("update", "delete")
_MESSAGE = "The audit log is append-only."
_SQLITE = """
CREATE TRIGGER IF NOT EXISTS {name} BEFORE {deed} ON {table}
BEGIN SELECT RAISE(ABORT, '{message}'); END
"""
_POSTGRES_FUNCTION = """
CREATE OR REPLACE FUNCTION {table}_append_only() RETURNS trigger LANGUAGE plpgsql AS
$$ BEGIN RAISE EXCEPTION '{message}' USING ERRCODE = 'integrity_constraint_violation'; END $$
"""
_POSTGRES = """
CREATE OR REPLACE TRIGGER {name} BEFORE {deed} ON {table}
FOR EACH ROW EXECUTE FUNCTION {table}_append_only()
"""


def note(
    action: AuditEntry.Action,
    *,
    by: Any = None,
    kind: str = SHOPPER,
    subject: str = "",
    why: str = "",
    reference: str = "",
    **details: Any,
) -> AuditEntry:
    """Write one line. ``by`` is the account that did it, None for a program or for shoppers themselves.

    ``subject`` is a pseudonym (:func:`pseudonym`) or a row's key; ``details`` are counts and keys, never values.
    Call it in the transaction of the deed: neither happens without the other. Raises ValueError for a ``why`` that is
    none of ``AuditEntry.Why``.
    """
    if why and why not in AuditEntry.Why.values:
        raise ValueError(f"why is {why!r} and must be one of {', '.join(AuditEntry.Why.values)}.")
    return AuditEntry.objects.create(
        action=action,
        by_id=getattr(by, "pk", None),
        kind=kind[:40],
        subject=subject[:64],
        why=why,
        reference=reference,
        details=details,
    )


def pseudonym(shopper: Shopper) -> str:
    """Return the keyed pseudonym by which the log names a shopper."""
    return secrets.pseudonym(shopper.key.hex)


def about(shopper: Shopper) -> QuerySet[AuditEntry]:
    """Return what the log says of a shopper, written under whichever key that is still accepted; newest first."""
    return AuditEntry.objects.filter(subject__in=secrets.pseudonyms(shopper.key.hex)).order_by("-pk")


# --- Guards -----------------------------------------------------------------------------------------------------------


def _guards() -> dict[str, str]:
    return {f"{_TABLE}_no_{deed}": deed.upper() for deed in _DEEDS}


def install_guards(using: str = DEFAULT_DB_ALIAS) -> None:
    """Make the triggers that refuse changes and deletions, unless they are there."""
    connection = connections[using]
    statement = _POSTGRES if connection.vendor == "postgresql" else _SQLITE
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            cursor.execute(_POSTGRES_FUNCTION.format(table=_TABLE, message=_MESSAGE))
        for name, deed in _guards().items():
            cursor.execute(statement.format(name=name, deed=deed, table=_TABLE, message=_MESSAGE))


def missing_guards(using: str = DEFAULT_DB_ALIAS) -> set[str]:
    """Return the triggers that are not there."""
    connection = connections[using]
    on_postgres = connection.vendor == "postgresql"
    # pg_trigger says whether a trigger was switched off, too; on SQLite it is there or it is not.
    asked = (
        "SELECT tgname FROM pg_trigger WHERE tgenabled IN ('O', 'A')"
        if on_postgres
        else "SELECT name FROM sqlite_master WHERE type = 'trigger'"
    )
    with connection.cursor() as cursor:
        cursor.execute(asked)
        return set(_guards()) - {str(name) for (name,) in cursor.fetchall()}


def after_migrate(*, using: str = DEFAULT_DB_ALIAS, **kwargs: Any) -> None:
    """Make the triggers, unless the migration has just taken the table away."""
    known = kwargs.get("apps", apps)
    try:
        known.get_model("personalization", "AuditEntry")
    except LookupError:
        return
    if _allowed(connections[using]):
        install_guards(using)


def _allowed(connection: BaseDatabaseWrapper) -> bool:
    return connection.alias == DEFAULT_DB_ALIAS and _TABLE in connection.introspection.table_names()
