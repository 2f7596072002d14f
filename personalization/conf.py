"""The app's settings: one dictionary ``PERSONALIZATION``, typed, read lazily, never written.

Unknown keys and wrong types are reported by the system checks (``personalization.checks``), not here.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from functools import lru_cache
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.signals import setting_changed


@dataclass(frozen=True)
class Conf:
    """Every setting with its default. The setting's name is the field's name in capitals."""

    catalog: str = ""
    """Dotted path of the catalogue adapter (:class:`personalization.ports.adapters.Catalog`)."""
    orders: str = ""
    """Dotted path of the orders adapter; needed by ``manage.py backfill``."""
    shoppers: str = ""
    """Dotted path of the shopper profile adapter."""
    consent: str = ""
    """Dotted path of a consent adapter; empty: our own banner and ledger."""
    slots: dict[str, str] = field(default_factory=dict)
    """Slot code → human name. A template may only ask for these."""
    secret_keys: list[str] = field(default_factory=list)
    """Key material for coupon codes and pseudonyms, newest first; empty: derived from SECRET_KEY."""
    currency: str = "EUR"
    population: str = "shop"
    """Name under which the host's own shoppers are kept apart from imported data sets."""
    artifacts: str = ""
    """Folder for trained models; empty: BASE_DIR/var/artifacts or ./var/artifacts."""
    wording_version: str = "1"
    """Version of the consent wording shown to shoppers; stored with each consent."""
    cookie_name: str = "pz_visitor"
    cookie_age_days: int = 180
    exploration: float = 0.1
    """Share of decisions drawn uniformly among the eligible offers, so that the log can be learnt from."""
    holdout_percent: float = 5.0
    """Share of shoppers, in percent, from whom all offers are withheld to measure what personalisation adds."""
    salt: str = "1"
    """Version of the assignment hash. Changing it re-draws every holdout and exploration."""
    reservation_minutes: int = 30
    attribution_hours: int = 168
    """Outcome window of a campaign that sets none."""
    margin: float = 0.3
    """Gross margin assumed where the catalogue gives no cost; a share of the price."""
    min_exposures: int = 5000
    """Matured exposures needed before a response model trains."""
    train_every_hours: int = 24
    """Scheduled retraining; 0 switches the schedule off."""
    score_max_age_hours: int = 72
    """Scores older than this are not served: the decision falls back and says so."""
    event_max_batch: int = 500
    event_max_bytes: int = 1_000_000
    unknown_events: str = "quarantine"
    """What to do with undeclared event types: ``quarantine`` or ``drop``."""


_NAMES = {item.name.upper(): item.name for item in fields(Conf)}


def known_names() -> set[str]:
    """Return the setting names that PERSONALIZATION may hold."""
    return set(_NAMES)


@lru_cache(maxsize=1)
def get() -> Conf:
    """Return the settings in force; unknown keys are ignored here and reported by the system checks."""
    raw: dict[str, Any] = getattr(settings, "PERSONALIZATION", {}) or {}
    return Conf(**{_NAMES[key]: value for key, value in raw.items() if key in _NAMES})


def artifacts_dir() -> Path:
    """Return the folder of trained models (it may not exist yet)."""
    if get().artifacts:
        return Path(get().artifacts)
    return Path(getattr(settings, "BASE_DIR", ".")) / "var" / "artifacts"


def _forget(*, setting: str, **kwargs: object) -> None:
    if setting in {"PERSONALIZATION", "SECRET_KEY"}:
        get.cache_clear()


setting_changed.connect(_forget, dispatch_uid="personalization.conf")
