"""The database itself keeps the consent ledger: a line is never changed, and goes only together with its shopper.

Installed after every ``migrate`` rather than by a migration: SQLite forgets a table's triggers when a later migration
rebuilds it. That a line may go with its shopper is checked when the transaction commits, so an erasure may delete in
any order. SQLite checks nothing late but foreign keys, so there a deleted line leaves a row whose key leads nowhere;
the shopper's own deletion takes that row away again, and if it does not come, the commit fails.
"""

from __future__ import annotations

from typing import Any

from django.db import DEFAULT_DB_ALIAS, connections
from django.db.backends.base.base import BaseDatabaseWrapper

LEDGER = "personalization_consentrecord"
NAME = "pz_consent_kept"
_POSTGRES = f"""
CREATE OR REPLACE FUNCTION {NAME}() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'UPDATE' OR EXISTS (SELECT 1 FROM personalization_shopper WHERE id = OLD.shopper_id) THEN
        RAISE EXCEPTION 'the consent ledger only grows' USING ERRCODE = 'integrity_constraint_violation';
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER pz_consent_unchanged BEFORE UPDATE ON {LEDGER} FOR EACH ROW EXECUTE FUNCTION {NAME}();
CREATE CONSTRAINT TRIGGER {NAME} AFTER DELETE ON {LEDGER} DEFERRABLE INITIALLY DEFERRED
    FOR EACH ROW EXECUTE FUNCTION {NAME}();
"""  # noqa: S608
_SQLITE = (
    f"""
CREATE TABLE IF NOT EXISTS personalization_consent_break (
    shopper_id bigint NOT NULL,
    record_id bigint NOT NULL REFERENCES {LEDGER} (id) DEFERRABLE INITIALLY DEFERRED,
    PRIMARY KEY (shopper_id, record_id)
)""",
    f"""
CREATE TRIGGER IF NOT EXISTS pz_consent_unchanged BEFORE UPDATE ON {LEDGER} BEGIN
    SELECT RAISE(ABORT, 'the consent ledger only grows');
END""",
    f"""
CREATE TRIGGER IF NOT EXISTS {NAME} AFTER DELETE ON {LEDGER}
WHEN EXISTS (SELECT 1 FROM personalization_shopper WHERE id = OLD.shopper_id) BEGIN
    INSERT INTO personalization_consent_break (shopper_id, record_id) VALUES (OLD.shopper_id, OLD.id);
END""",  # noqa: S608
    """
CREATE TRIGGER IF NOT EXISTS pz_consent_erased AFTER DELETE ON personalization_shopper BEGIN
    DELETE FROM personalization_consent_break WHERE shopper_id = OLD.id;
END""",
)


def install(*args: Any, using: str = DEFAULT_DB_ALIAS, **kwargs: Any) -> None:
    """Install what is missing of the guard (a receiver of ``post_migrate``)."""
    connection = connections[using]
    with connection.cursor() as cursor:
        if LEDGER not in connection.introspection.table_names(cursor):
            return
        if connection.vendor == "sqlite":
            for statement in _SQLITE:
                cursor.execute(statement)
        elif connection.vendor == "postgresql" and not _is_there(cursor):
            cursor.execute(_POSTGRES)


def is_installed(connection: BaseDatabaseWrapper) -> bool:
    """Return whether this database guards its ledger."""
    with connection.cursor() as cursor:
        if connection.vendor == "postgresql":
            return _is_there(cursor)
        cursor.execute("SELECT count(*) FROM sqlite_master WHERE type = 'trigger' AND name LIKE 'pz_consent_%'")
        return bool(cursor.fetchone()[0] == len(_SQLITE) - 1)


def _is_there(cursor: Any) -> bool:
    cursor.execute("SELECT 1 FROM pg_trigger WHERE tgname = %s AND tgrelid = to_regclass(%s)", [NAME, LEDGER])
    return cursor.fetchone() is not None
