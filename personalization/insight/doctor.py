"""What is missing or misconfigured, in plain words, with what to do about it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

from django.apps import apps
from django.conf import settings
from django.core.cache import cache
from django.core.checks import run_checks
from django.db import DEFAULT_DB_ALIAS, connection, connections
from django.db.models import Count
from django.utils import timezone

from personalization import conf
from personalization.campaigns import catalog
from personalization.insight import monitoring, schema, transport, workers
from personalization.insight.findings import BAD, GOOD, HINT, Finding
from personalization.learning.readiness import readiness
from personalization.learning.standing import Standing
from personalization.learning.standing import standings as standing_of_all
from personalization.models import CatalogItem, Job, ModelVersion, Reservation, ScoreSet, SessionVerdict
from personalization.privacy import rotation
from personalization.tracking import audit, ledger_guard
from personalization.types import JobState, ModelTask


def examine() -> Iterator[Finding]:
    """Yield what was found, section by section; a section that itself fails is a finding."""
    for section in SECTIONS:
        try:
            yield from section()
        except Exception as error:
            yield Finding(BAD, f"{(section.__doc__ or '').strip()} {type(error).__name__}: {error}")


def _database() -> Iterator[Finding]:
    """The database cannot be used."""
    connection = connections[DEFAULT_DB_ALIAS]
    connection.ensure_connection()
    unmigrated = schema.unmigrated()
    if unmigrated:
        yield Finding(BAD, unmigrated)
    if connection.vendor == "sqlite":
        yield from _sqlite(connection.settings_dict.get("OPTIONS", {}))
    else:
        yield Finding(GOOD, f"Database: {connection.display_name}.")


def _sqlite(options: dict[str, object]) -> Iterator[Finding]:
    if options.get("transaction_mode") != "IMMEDIATE":
        yield Finding(
            BAD,
            'SQLite without OPTIONS["transaction_mode"] = "IMMEDIATE": writers will meet "database is locked".',
        )
    level = GOOD if settings.DEBUG else HINT
    yield Finding(level, "Database: SQLite. Good for one machine and a small shop; PostgreSQL for more.")


def _checks() -> Iterator[Finding]:
    """The system checks cannot run."""
    found = [
        message for message in run_checks() if message.is_serious() or (message.id or "").startswith("personalization")
    ]
    for message in found:
        hint = f" {message.hint}" if message.hint else ""
        yield Finding(BAD if message.is_serious() else HINT, f"{message.msg}{hint} ({message.id})")
    if not found:
        yield Finding(GOOD, "System checks: nothing to report.")


def _secrets() -> Iterator[Finding]:
    """The keys cannot be read."""
    if conf.get().secret_keys:
        yield Finding(GOOD, "Coupon codes and pseudonyms have keys of their own.")
    elif settings.DEBUG:
        yield Finding(GOOD, "Coupon codes are keyed from SECRET_KEY (fine for development).")
    else:
        yield Finding(
            HINT,
            'Coupon codes are keyed from SECRET_KEY. Set PERSONALIZATION["SECRET_KEYS"] before you ever change it: '
            "without the old key issued codes are not recognised any more.",
        )


def _personal_data() -> Iterator[Finding]:
    """Whether personal data is guarded cannot be told."""
    missing = audit.missing_guards()
    if missing:
        yield Finding(BAD, "The audit log can be changed: its triggers are gone. Run `manage.py migrate`, and ask why.")
    clear = rotation.in_clear()
    if clear:
        told = ", ".join(f"{name} ({count})" for name, count in clear.items())
        yield Finding(HINT, f"Personal data lies in clear: {told} of the newest rows. Run `manage.py rotate_keys`.")
    if not missing and not clear:
        yield Finding(GOOD, "Personal data is encrypted, and the audit log append-only.")


def _cache() -> Iterator[Finding]:
    """The cache cannot be used."""
    cache.set("personalization.doctor", "1", 5)
    if cache.get("personalization.doctor") == "1":
        yield Finding(GOOD, "Cache: answers.")
    else:
        yield Finding(HINT, "Cache: keeps nothing. Fine for a first look; Redis for production.")


def _artifacts() -> Iterator[Finding]:
    """The folder of trained models cannot be used."""
    folder = conf.artifacts_dir()
    if not folder.exists():
        yield Finding(HINT, f"Models: {folder} does not exist yet; the first training makes it.")
    elif os.access(folder, os.R_OK | os.W_OK):
        yield Finding(GOOD, f"Models: {folder} can be written.")
        yield from _unclaimed(folder)
    else:
        yield Finding(BAD, f"Models: {folder} cannot be written by this user.")


def _unclaimed(folder: Path) -> Iterator[Finding]:
    """What lies beside the models that this database knows is told, not removed: it may be another database's."""
    known = set(ModelVersion.objects.exclude(path="").values_list("path", flat=True))
    yesterday = time.time() - 24 * 3600
    left = [each for each in folder.iterdir() if each.name not in known and each.stat().st_mtime < yesterday]
    if left:
        size = sum(file.stat().st_size for each in left for file in [each, *each.rglob("*")])
        yield Finding(
            HINT,
            f"Models: {len(left)} folders ({size / 1e6:,.0f} MB) in {folder} belong to no version that this database "
            f"knows, such as {min(each.name for each in left)}. Trainings that were killed leave them: remove them, "
            "unless another database keeps its models here.",
        )


def _catalogue() -> Iterator[Finding]:
    """The catalogue cannot be read."""
    count = CatalogItem.objects.filter(population=conf.get().population).count()
    if count:
        yield Finding(GOOD, f"Catalogue: {count:,} products copied.")
    else:
        yield Finding(HINT, "Catalogue: no product copied yet. Run `manage.py sync_catalog`.")
    other = catalog.other_currency()
    if other:
        yield Finding(BAD, f"Catalogue: {other}")
    if not conf.get().slots:
        yield Finding(HINT, 'No slot is declared: name your places in PERSONALIZATION["SLOTS"].')


def _worker() -> Iterator[Finding]:
    """The jobs cannot be read."""
    if not apps.is_installed("worker"):
        yield Finding(HINT, "The worker app is not installed here: models are trained elsewhere, or not at all.")
    now = timezone.now()
    waiting = Job.objects.filter(state=JobState.QUEUED.value).order_by("created_at").first()
    if waiting is not None and waiting.created_at < now - timedelta(minutes=2):
        yield Finding(
            BAD,
            f"Job {waiting.pk} has waited since {waiting.created_at:%Y-%m-%d %H:%M}: no worker takes jobs. Start one: "
            f"`{workers.command()}`.",
        )
        if not (getattr(settings, "CELERY_BROKER_URL", "") or os.environ.get("CELERY_BROKER_URL")):
            yield Finding(
                HINT,
                "CELERY_BROKER_URL is not set: that worker would look for RabbitMQ on this machine. Name your broker "
                'in the settings, such as CELERY_BROKER_URL = "redis://127.0.0.1:6379/0".',
            )
    overdue = Reservation.objects.filter(
        state=Reservation.State.HELD, expires_at__lt=now - timedelta(minutes=5)
    ).count()
    if overdue:
        yield Finding(BAD, f"{overdue:,} reservations are past their time: the worker's minute chores do not run.")
    aside = Job.objects.filter(state=JobState.QUARANTINED.value).count()
    if aside:
        yield Finding(BAD, f"{aside} jobs are set aside after three dead workers. See the admin's list of jobs.")
    if waiting is None and not overdue and not aside:
        yield Finding(GOOD, "Jobs: none waits too long.")


def _bots() -> Iterator[Finding]:
    """The judged sessions cannot be counted."""
    since = timezone.now() - timedelta(days=7)
    flagged = SessionVerdict.objects.filter(is_bot=True, at__gte=since).order_by("rule").values("rule")
    counts = {row["rule"] or "staff": row["amount"] for row in flagged.annotate(amount=Count("pk"))}
    told = ", ".join(f"{name} {amount:,}" for name, amount in counts.items())
    yield Finding(GOOD, f"Bots: sessions flagged in seven days by {told}." if told else "Bots: no session flagged.")


def _consent_ledger() -> Iterator[Finding]:
    """The guard of the consent ledger cannot be looked for."""
    if ledger_guard.is_installed(connection):
        yield Finding(GOOD, "Consent: the database guards its ledger.")
    else:
        yield Finding(BAD, "Consent: the database does not guard its ledger. Run `manage.py migrate`.")


def _learning() -> Iterator[Finding]:
    """The readiness cannot be counted."""
    population = conf.get().population
    ready = readiness(population)
    for sentence in ready.sentences:
        yield Finding(GOOD if ready.ready_response else HINT, f"Data: {sentence}.")
    standings = {standing.task: standing for standing in standing_of_all(population)}
    for what, task, enough in (
        ("who responds to which offer", ModelTask.RESPONSE, ready.ready_response),
        ("which kind of offer brings most", ModelTask.STRATEGY, ready.ready_response),
        ("who likes which products", ModelTask.PREFERENCE, ready.ready_preference),
        ("who is likely to buy soon", ModelTask.INTENT, ready.ready_intent),
        ("how attractive a campaign is", ModelTask.ATTRACTIVENESS, None),
    ):
        yield _learnt(what, standings[task], enough)
    live = ScoreSet.objects.filter(population=population, state=ScoreSet.State.LIVE).first()
    if live is None:
        yield Finding(HINT, "Scores: none published; offers are ordered by priority. Train and score first.")
    elif live.published_at and live.published_at < timezone.now() - timedelta(hours=conf.get().score_max_age_hours):
        yield Finding(BAD, f"Scores: those of {live.published_at:%Y-%m-%d %H:%M} are too old to be served.")
    else:
        yield Finding(GOOD, f"Scores: {live.shoppers:,} shoppers.")


def _learnt(what: str, standing: Standing, enough: bool | None) -> Finding:
    """Say whether a model is in service, since when, and whether it scores. ``enough``: None if a training tells."""
    champion = standing.champion
    if champion is None:
        if standing.trained:
            return Finding(
                HINT, f"Not learnt: {what}; trained, but none passed the gate: the board says why (`manage.py board`)."
            )
        missing = {
            True: "train, and see in the job's result whether one ships",
            False: "there is not enough data yet",
            None: "a training says what is missing",
        }[enough]
        return Finding(HINT, f"Not learnt: {what}; {missing}.")
    told = f"Learnt: {what} ({champion}, trained {champion.created_at:%Y-%m-%d}"
    if standing.served is False:
        return Finding(HINT, f"{told}), but the published scores are not its own: score again.")
    return Finding(GOOD, f"{told}, {'asked by forecasts' if standing.served is None else 'in the published scores'}).")


SECTIONS: tuple[Callable[[], Iterator[Finding]], ...] = (
    _database,
    _checks,
    _secrets,
    transport.findings,
    _personal_data,
    _cache,
    _artifacts,
    _catalogue,
    _consent_ledger,
    _bots,
    _worker,
    _learning,
    monitoring.findings,
)
