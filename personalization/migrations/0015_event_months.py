"""The log in months: identities move to their own table, and on PostgreSQL the events into monthly partitions.

One transaction: interrupted, everything is as it was. Writers of events wait for it meanwhile.
"""

from datetime import datetime, timezone

import django.db.models.deletion
from django.db import migrations, models

TABLE = "personalization_event"
OWN_MONTH = 1000
"""Events that give a month a partition of its own; fewer stay in the one for all other months."""
AHEAD = 3

CLAIM = {
    "postgresql": "encode(substring(sha256(convert_to(source || chr(31) || event_id, 'UTF8')) FOR 16), 'hex')::uuid",
    "sqlite": "SUBSTR(SHA256(source || CHAR(31) || event_id), 1, 32)",
}


def claim_all(apps, schema_editor):
    expression = CLAIM[schema_editor.connection.vendor]
    with schema_editor.connection.cursor() as cursor:
        cursor.execute(f"INSERT INTO personalization_eventclaim (key) SELECT DISTINCT {expression} FROM {TABLE}")


def cut_into_months(apps, schema_editor):
    rebuild(schema_editor, partitioned=True)


def put_together(apps, schema_editor):
    rebuild(schema_editor, partitioned=False)


def rebuild(schema_editor, *, partitioned):
    """Move the log into a new table of the same columns, then give it the old one's indexes, foreign keys and name."""
    if schema_editor.connection.vendor != "postgresql":
        return
    fresh = f"{TABLE}_new"
    layout, key = (" PARTITION BY RANGE (occurred_at)", "id, occurred_at") if partitioned else ("", "id")
    with schema_editor.connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        cursor.execute(f"LOCK TABLE {TABLE} IN ACCESS EXCLUSIVE MODE")
        rest = definitions(cursor)
        cursor.execute(
            f"CREATE TABLE {fresh} (LIKE {TABLE} INCLUDING DEFAULTS INCLUDING IDENTITY INCLUDING CONSTRAINTS){layout}"
        )
        if partitioned:
            add_partitions(cursor, fresh)
        columns = columns_of(cursor)
        cursor.execute(f"INSERT INTO {fresh} ({columns}) SELECT {columns} FROM {TABLE}")
        cursor.execute("SELECT pg_get_serial_sequence(%s, 'id'), pg_get_serial_sequence(%s, 'id')", [TABLE, fresh])
        old_sequence, sequence = cursor.fetchone()
        cursor.execute(f"SELECT setval('{sequence}', s.last_value, s.is_called) FROM {old_sequence} s")
        cursor.execute(f"DROP TABLE {TABLE}")
        cursor.execute(f"ALTER TABLE {fresh} RENAME TO {TABLE}")
        cursor.execute(f"ALTER SEQUENCE {sequence} RENAME TO {TABLE}_id_seq")
        cursor.execute(f"ALTER TABLE {TABLE} ADD CONSTRAINT {TABLE}_pkey PRIMARY KEY ({key})")
        for statement in rest:
            cursor.execute(statement)


def definitions(cursor):
    """Return the statements that make the log's indexes and foreign keys, its primary key left out."""
    cursor.execute(
        "SELECT replace(pg_get_indexdef(indexrelid), ' ON ONLY ', ' ON ') FROM pg_index "
        "WHERE indrelid = %s::regclass AND NOT indisprimary",
        [TABLE],
    )
    found = [row[0] for row in cursor.fetchall()]
    cursor.execute(
        f"SELECT format('ALTER TABLE {TABLE} ADD CONSTRAINT %%I %%s', conname, pg_get_constraintdef(oid)) "
        "FROM pg_constraint WHERE conrelid = %s::regclass AND contype = 'f'",
        [TABLE],
    )
    return found + [row[0] for row in cursor.fetchall()]


def columns_of(cursor):
    cursor.execute(
        "SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) FROM pg_attribute "
        "WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped",
        [TABLE],
    )
    return cursor.fetchone()[0]


def add_partitions(cursor, parent):
    cursor.execute(
        "SELECT EXTRACT(YEAR FROM month)::int * 12 + EXTRACT(MONTH FROM month)::int - 1 FROM ("
        f"SELECT date_trunc('month', occurred_at AT TIME ZONE 'UTC') AS month, count(*) AS n FROM {TABLE} GROUP BY 1"
        ") AS held WHERE n >= %s",
        [OWN_MONTH],
    )
    now = datetime.now(timezone.utc)
    current = now.year * 12 + now.month - 1
    for month in sorted({row[0] for row in cursor.fetchall()} | set(range(current, current + AHEAD))):
        (year, number), (next_year, next_number) = divmod(month, 12), divmod(month + 1, 12)
        cursor.execute(
            f"CREATE TABLE {TABLE}_y{year:04}m{number + 1:02} PARTITION OF {parent} FOR VALUES "
            f"FROM ('{year:04}-{number + 1:02}-01 00:00:00+00') TO ('{next_year:04}-{next_number + 1:02}-01 00:00:00+00')"
        )
    cursor.execute(f"CREATE TABLE {TABLE}_other PARTITION OF {parent} DEFAULT")


class Migration(migrations.Migration):
    dependencies = [
        ("personalization", "0014_identity_and_bots"),
    ]

    operations = [
        migrations.CreateModel(
            name="EventClaim",
            fields=[
                ("key", models.UUIDField(primary_key=True, serialize=False, verbose_name="key")),
                ("lapses_at", models.DateTimeField(blank=True, null=True, verbose_name="lapses")),
            ],
            options={
                "verbose_name": "claim to an event",
                "verbose_name_plural": "claims to events",
            },
        ),
        migrations.AddIndex(
            model_name="eventclaim",
            index=models.Index(
                condition=models.Q(("lapses_at__isnull", False)), fields=["lapses_at"], name="pz_claim_lapses"
            ),
        ),
        migrations.RunPython(claim_all, migrations.RunPython.noop),
        migrations.RemoveConstraint(
            model_name="event",
            name="pz_event_once",
        ),
        migrations.AlterField(
            model_name="event",
            name="shopper",
            field=models.ForeignKey(
                db_index=False,
                on_delete=django.db.models.deletion.CASCADE,
                related_name="events",
                to="personalization.shopper",
                verbose_name="shopper",
            ),
        ),
        migrations.AddIndex(
            model_name="event",
            index=models.Index(
                condition=models.Q(("type", "order_placed")), fields=["event_id"], name="pz_event_orders"
            ),
        ),
        migrations.RunPython(cut_into_months, put_together),
    ]
