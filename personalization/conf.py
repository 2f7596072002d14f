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
    consent_cookie: dict[str, Any] = field(default_factory=dict)
    """The cookie that :mod:`personalization.ports.consent_cookie` reads: its name, format and purposes."""
    bot_rules: dict[str, dict[str, float]] = field(default_factory=dict)
    """Thresholds in place of the built-in ones (:mod:`personalization.tracking.bot_rules`)."""
    impersonation: str = ""
    """Dotted path of a function of the request: whether a member of staff is behind it ("log in as")."""
    slots: dict[str, str] = field(default_factory=dict)
    """Slot code → human name. A template may only ask for these."""
    secret_keys: list[str] = field(default_factory=list)
    """Key material for coupon codes and pseudonyms, newest first; empty: derived from SECRET_KEY."""
    personal_attributes: list[str] = field(
        default_factory=lambda: ["name", "first_name", "last_name", "email", "phone", "address"]
    )
    """Profile attributes that are stored encrypted: no audience can ask for them."""
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
    intent_days: int = 7
    """Purchase intent is how likely a shopper is to buy anything within so many days."""
    text_topics: int = 0
    """Topics that the words of product titles are divided into, for features of shoppers' interest; 0: none."""
    images: str = ""
    """Dotted path of the adapter of image vectors (:class:`personalization.ports.adapters.Images`)."""
    review_sentiment: bool = False
    """Whether features read the sentiment of shoppers' reviews: stars, and what the texts say."""
    sentiment: str = ""
    """Dotted path of a function of texts that returns the sentiment of each; empty: learnt from the shop's stars."""
    train_every_hours: int = 24
    """A training is due this long after the last one; 0: nothing is trained by itself."""
    retrain_exposures: int = 20_000
    """So many exposures with a newly known outcome make a training due before that; 0: never."""
    retrain_pause_hours: int = 6
    """However good the reasons, no training is due sooner than this after the last one."""
    gate_scoring_seconds: float = 5.0
    """Most seconds that a model may take to score 1,000 rows (a ranker: 1,000 shoppers); a slower one is refused."""
    gate_artifact_mb: int = 500
    """Largest file of a model, in millions of bytes; a larger one is refused."""
    rollback_hold_hours: int = 72
    """After a rollback nothing of its task is promoted by itself for this long."""
    explain_seconds: int = 60
    """A scoring explains each shopper's best offers for so many seconds at most; 0: none."""
    monitor_every_hours: int = 24
    """Scheduled look at the models in service; 0 switches the schedule off."""
    monitoring: dict[str, float] = field(default_factory=dict)
    """Thresholds in place of the built-in ones (:mod:`personalization.insight.thresholds`)."""
    metrics_token: str = ""
    """Bearer token with which a monitoring system reads the metrics; empty: only staff who may see the reports."""
    protected_attributes: list[str] = field(default_factory=lambda: ["gender", "age"])
    """Profile attributes by whose groups the audit compares; never used for prices."""
    protected_uses: dict[str, list[str]] = field(default_factory=dict)
    """Purpose → protected attributes that it may use all the same; the only purpose is ``offers``."""
    audit_every_days: int = 7
    """Scheduled fairness audit; 0 switches it off."""
    score_max_age_hours: int = 72
    """Scores older than this are not served: the decision falls back and says so."""
    event_max_batch: int = 500
    event_max_bytes: int = 1_000_000
    unknown_events: str = "reject"
    """Events of undeclared types: ``reject`` (kept aside), ``keep`` (stored as they are) or ``drop``."""
    unknown_properties: str = "reject"
    """Undeclared properties: ``reject`` (the event is kept aside), ``keep`` (stored too) or ``drop`` (left out)."""
    retention_days: dict[str, int] = field(default_factory=dict)
    """Event type → days after which its events are deleted, before what the type declares; 0: kept. ``*``: all types
    that neither names."""
    claim_days: int = 400
    """How long the identity of a deleted event still refuses a repetition; longer than any sender could repeat it."""
    quarantine_days: int = 30
    """Events that were kept aside are deleted after this time."""
    quarantine_per_source: int = 1000
    """Events of one sender that are kept aside in a day, at most; the others are counted only."""
    quarantine_per_day: int = 20_000
    """Events of all senders that are kept aside in a day, at most."""
    rounding: dict[str, int] = field(default_factory=dict)
    """Currency → smallest step of a discount in minor units, for instance ``{"CHF": 5}``; others: 1."""
    host_promotions: str = "first"
    """Percentages count on the price after (``first``) or before (``last``) the shop's own promotions."""
    point_value_minor: float = 1.0
    """What one loyalty point costs, in minor units."""
    stack_limit: int = 5
    """Most offers that one basket can use together."""
    quote_minutes: int = 30
    """How long the price that a page showed can be ordered at."""
    approval_required: bool = False
    """A campaign runs only after somebody with the permission has approved its latest revision."""
    four_eyes: bool = True
    """Where approval is required, nobody approves what they edited themselves."""
    rate_limits: dict[str, list[str]] = field(default_factory=dict)
    """Scope → limits in place of the built-in ones (:mod:`personalization.tracking.limits`): ``["account 20/h"]``."""
    trusted_proxies: int = 0
    """How many proxies of the shop's own append to X-Forwarded-For; 0: that header is believed from nobody."""
    refusal_floor_ms: int = 40
    """A refused code is answered no sooner than this, so that time tells nothing about it."""
    risk_threshold: int = 100
    """Risk points from which a redemption waits for a review."""
    review_hours: int = 72
    """A redemption on which nobody decided within this time is released."""
    goodwill_limit_minor: int = 20_000
    """Most that one member of staff may give away as goodwill in a month."""
    contacts: str = ""
    """Dotted path of the adapter that knows shoppers' addresses (:class:`personalization.ports.adapters.Contacts`)."""
    points: str = ""
    """Dotted path of the adapter that books loyalty points (:class:`personalization.ports.adapters.Points`)."""
    channels: dict[str, str] = field(default_factory=dict)
    """Name → dotted path of further channels; ``email`` and ``webhook`` are built in."""
    webhook_url: str = ""
    webhook_secret: str = ""
    push_per_week: int = 3
    """Most messages that a shopper gets in seven days, over all campaigns."""
    quiet_hours: list[int] = field(default_factory=lambda: [21, 8])
    """No message from the first to the second hour of the day, in the campaign's time zone."""
    country: str = ""
    """Country of public holidays where a trigger names none, as ISO code."""
    public_url: str = ""
    """Where the shop is reached from outside, for links in messages, e.g. ``https://shop.example``."""
    alert_budget_share: float = 0.8
    """Used share of a budget from which an alert is raised."""
    export_hours: int = 24
    """An exported file of codes is deleted after this time."""


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
