"""System checks: misconfiguration gets a numbered message with a hint before the first request."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.core.checks import CheckMessage, Error, Tags, Warning, register
from django.urls import NoReverseMatch, reverse
from django.utils.module_loading import import_string

from personalization import conf
from personalization.features.specification import TEXT_TOPICS
from personalization.types import CONSENT_PURPOSES
from personalization.value_checks import LEAST_KEY, MAY_HOLD_SECRETS, check_values

SECRETS = ("METRICS_TOKEN", "SECRET_KEYS", "WEBHOOK_SECRET", *MAY_HOLD_SECRETS)
"""Never repeated: what a check says is printed, and logged, at every start."""
PROTECTED_PURPOSES = ("offers",)
MIDDLEWARE = "personalization.tracking.middleware.ShopperMiddleware"
ADAPTERS = {
    "CATALOG": ("label", "products", "get"),
    "ORDERS": ("label", "orders"),
    "SHOPPERS": ("profile", "profiles"),
    "CONSENT": ("purposes",),
    "CONTACTS": ("addresses",),
    "POINTS": ("grant",),
    "IMPERSONATION": ("__call__",),
    "SENTIMENT": ("__call__",),
    "IMAGES": ("image_vectors",),
}
CHANNEL = ("send", "needs_address")
CHOICES = {
    "UNKNOWN_EVENTS": ("reject", "keep", "drop"),
    "UNKNOWN_PROPERTIES": ("reject", "keep", "drop"),
    "HOST_PROMOTIONS": ("first", "last"),
}
RANGES = {
    "EXPLORATION": (0.0, 1.0),
    "HOLDOUT_PERCENT": (0.0, 100.0),
    "MARGIN": (0.0, 1.0),
    "ALERT_BUDGET_SHARE": (0.0, 1.0),
    "STACK_LIMIT": (1, 20),
    "INTENT_DAYS": (1, 90),
    "TEXT_TOPICS": (0, TEXT_TOPICS),
    "QUOTE_MINUTES": (1, 1440),
    "REFUSAL_FLOOR_MS": (0, 1000),
    "PUSH_PER_WEEK": (0, 1000),
    "GATE_SCORING_SECONDS": (0.001, 3600.0),
    "GATE_ARTIFACT_MB": (1, 100_000),
    "ROLLBACK_HOLD_HOURS": (0, 8760),
    "RETRAIN_PAUSE_HOURS": (0, 8760),
    "EVENT_MAX_BATCH": (1, 5000),
    "EVENT_MAX_BYTES": (1000, 50_000_000),
    "CLAIM_DAYS": (367, 36500),  # a page's events may be a year old when they arrive
    "QUARANTINE_DAYS": (1, 3650),
    "QUARANTINE_PER_SOURCE": (0, 1_000_000),
    "QUARANTINE_PER_DAY": (0, 10_000_000),
    "MONITOR_EVERY_HOURS": (0, 8784),
    "AUDIT_EVERY_DAYS": (0, 366),
    "COOKIE_AGE_DAYS": (1, 3650),
    "RESERVATION_MINUTES": (1, 10_080),
    "ATTRIBUTION_HOURS": (1, 8784),
    "MIN_EXPOSURES": (1, 1_000_000_000),
    "TRAIN_EVERY_HOURS": (0, 8784),
    "RETRAIN_EXPOSURES": (0, 1_000_000_000),
    "EXPLAIN_SECONDS": (0, 86_400),
    "SCORE_MAX_AGE_HOURS": (1, 8784),
    "POINT_VALUE_MINOR": (0.0, 1_000_000.0),
    "TRUSTED_PROXIES": (0, 100),
    "RISK_THRESHOLD": (0, 1_000_000),
    "REVIEW_HOURS": (0, 8784),
    "GOODWILL_LIMIT_MINOR": (0, 1_000_000_000_000),
    "EXPORT_HOURS": (1, 8784),
}


@register
def check_settings(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Check the PERSONALIZATION dictionary, its adapters and the middleware."""
    raw = getattr(settings, "PERSONALIZATION", {})
    if not isinstance(raw, dict):
        return [Error("PERSONALIZATION must be a dictionary.", id="personalization.E001")]
    return [
        *_check_names(raw),
        *_check_values(raw),
        *_check_personal_attributes(raw),
        *_check_rate_limits(raw),
        *_check_retention(raw),
        *_check_adapters(raw),
        *_check_consent_cookie(raw),
        *_check_bot_rules(raw),
        *_check_monitoring(raw),
        *_check_protected(raw),
        *_check_middleware(),
    ]


def _check_names(raw: dict[str, Any]) -> list[CheckMessage]:
    return [
        Error(
            f"PERSONALIZATION[{name!r}] is not a setting of this app.",
            hint=f"Known settings: {', '.join(sorted(conf.known_names()))}.",
            id="personalization.E002",
        )
        for name in raw
        if name not in conf.known_names()
    ]


def _check_values(raw: dict[str, Any]) -> list[CheckMessage]:
    found: list[CheckMessage] = []
    known = {name: value for name, value in raw.items() if name in conf.known_names()}
    sound = {name: value for name, value in known.items() if _is_of_type(name, value)}
    for name, value in known.items():
        if name not in sound:
            found.append(
                Error(
                    f"PERSONALIZATION[{name!r}] must be of type {type(_default(name)).__name__}.",
                    hint=f"It is of type {type(value).__name__}." if name in SECRETS else f"It is {value!r}.",
                    id="personalization.E003",
                )
            )
        elif name in RANGES and not RANGES[name][0] <= value <= RANGES[name][1]:
            low, high = RANGES[name]
            found.append(
                Error(f"PERSONALIZATION[{name!r}] must lie between {low} and {high}.", id="personalization.E004")
            )
    for name, words in CHOICES.items():
        if raw.get(name, words[0]) not in words:
            told = " or ".join(f'"{word}"' for word in words)
            found.append(Error(f'PERSONALIZATION["{name}"] must be {told}.', id="personalization.E005"))
    return [*found, *check_values(sound)]


def _default(name: str) -> Any:
    return getattr(conf.Conf(), name.lower())


def _is_of_type(name: str, value: Any) -> bool:
    default = _default(name)
    expected = (int, float) if isinstance(default, float) else (type(default),)
    return isinstance(value, expected) and isinstance(value, bool) == isinstance(default, bool)


def _check_personal_attributes(raw: dict[str, Any]) -> list[CheckMessage]:
    from personalization.tracking.sealing import NEEDED  # models are there by the time checks run

    needed = sorted(NEEDED.intersection(map(str, raw.get("PERSONAL_ATTRIBUTES") or ())))
    if not needed:
        return []
    return [
        Error(
            f'PERSONALIZATION["PERSONAL_ATTRIBUTES"]: {", ".join(needed)} cannot be encrypted.',
            hint="Features, offers, letters or the birthday's trigger read them. Staff do not see them anyway.",
            id="personalization.E014",
        )
    ]


def _check_rate_limits(raw: dict[str, Any]) -> list[CheckMessage]:
    from personalization.tracking import limits  # models are there by the time checks run

    found: list[CheckMessage] = []
    own = raw.get("RATE_LIMITS")
    for scope, texts in own.items() if isinstance(own, dict) else ():
        try:
            if not isinstance(texts, list | tuple):
                raise ValueError(f"{texts!r} is not a list of limits.")
            for text in texts:
                limits.parse(str(text))
        except ValueError as error:
            message = f'PERSONALIZATION["RATE_LIMITS"][{scope!r}]: {error}'
            found.append(
                Error(message, hint="For instance ['account 20/h', 'network 300/15m'].", id="personalization.E008")
            )
    if any(database.get("ATOMIC_REQUESTS") for database in settings.DATABASES.values()):
        found.append(
            Warning(
                "ATOMIC_REQUESTS is on: a try that is refused is rolled back with its request and not counted.",
                hint="Switch it off, or give the views of this app to transaction.non_atomic_requests.",
                id="personalization.W003",
            )
        )
    if settings.SECURE_PROXY_SSL_HEADER and not raw.get("TRUSTED_PROXIES"):
        found.append(
            Warning(
                "There is a proxy in front, but TRUSTED_PROXIES is 0: tries cannot be counted by network address.",
                hint='Set PERSONALIZATION["TRUSTED_PROXIES"] to how many proxies of yours append to X-Forwarded-For.',
                id="personalization.W004",
            )
        )
    return found


def _check_retention(raw: dict[str, Any]) -> list[CheckMessage]:
    given = raw.get("RETENTION_DAYS")
    return [
        Error(
            f'PERSONALIZATION["RETENTION_DAYS"][{name!r}] must be a number of days from 0 to 36500.',
            hint='For instance {"page_viewed": 400, "*": 1100}; 0 keeps the events of a type.',
            id="personalization.E015",
        )
        for name, days in (given.items() if isinstance(given, dict) else ())
        if not isinstance(days, int) or isinstance(days, bool) or not 0 <= days <= 36500
    ]


def _check_adapters(raw: dict[str, Any]) -> list[CheckMessage]:
    found: list[CheckMessage] = []
    for name, path, members in _paths(raw):
        if not path or not isinstance(path, str):
            continue
        try:
            target = import_string(path)
        except (ImportError, ValueError) as error:  # ValueError: a path that begins with a dot
            found.append(
                Error(
                    f"PERSONALIZATION[{name}]: {path} cannot be imported.",
                    hint=str(error),
                    id="personalization.E006",
                )
            )
            continue
        missing = [member for member in members if not hasattr(target, member)]
        if missing:
            found.append(
                Error(
                    f"PERSONALIZATION[{name}]: {path} lacks {', '.join(missing)}.",
                    hint="See personalization.ports.adapters for what each adapter provides.",
                    id="personalization.E007",
                )
            )
    if not raw.get("CATALOG"):
        found.append(
            Warning(
                'PERSONALIZATION["CATALOG"] is not set: products cannot be recommended or checked for stock.',
                hint="Name a class with label, products() and get(); see docs/install.md.",
                id="personalization.W001",
            )
        )
    return found


def _paths(raw: dict[str, Any]) -> Iterator[tuple[str, str, tuple[str, ...]]]:
    """Yield where a dotted path is given, the path, and what has to be found there."""
    for name, members in ADAPTERS.items():
        yield repr(name), raw.get(name, ""), members
    channels = raw.get("CHANNELS")
    for name, path in channels.items() if isinstance(channels, dict) else ():
        yield f"'CHANNELS'][{name!r}", path, CHANNEL


def _check_consent_cookie(raw: dict[str, Any]) -> list[CheckMessage]:
    from personalization.ports.consent_cookie import FORMATS

    wanted = raw.get("CONSENT_COOKIE")
    if not wanted or not isinstance(wanted, dict):
        return []
    known = {purpose.value for purpose in CONSENT_PURPOSES}
    purposes = wanted.get("purposes")
    if not wanted.get("name"):
        problem = "names no cookie."
    elif wanted.get("format", FORMATS[0]) not in FORMATS:
        problem = f"has a format that is none of {', '.join(FORMATS)}."
    elif not isinstance(purposes, dict) or not set(purposes) <= known:
        problem = f"has purposes that are none of {', '.join(sorted(known))}."
    elif not all(isinstance(names, list | tuple) and names for names in purposes.values()):
        problem = "gives a purpose no list of names."
    else:
        return []
    hint = "See personalization.ports.consent_cookie for an example."
    return [Error(f'PERSONALIZATION["CONSENT_COOKIE"] {problem}', hint=hint, id="personalization.E009")]


def _check_bot_rules(raw: dict[str, Any]) -> list[CheckMessage]:
    from personalization.tracking.bot_rules import DEFAULTS

    found: list[CheckMessage] = []
    own = raw.get("BOT_RULES")
    for name, limits in own.items() if isinstance(own, dict) else ():
        known = DEFAULTS.get(name, {})
        sound = isinstance(limits, dict) and all(
            key in known and isinstance(value, int | float) and value >= 0 for key, value in limits.items()
        )
        if not known or not sound:
            told = ", ".join(f"{rule} ({', '.join(each)})" for rule, each in DEFAULTS.items())
            message = f'PERSONALIZATION["BOT_RULES"][{name!r}] is no rule with thresholds of 0 or more.'
            found.append(Error(message, hint=f"Rules and thresholds: {told}.", id="personalization.E010"))
    return found


def _check_monitoring(raw: dict[str, Any]) -> list[CheckMessage]:
    from personalization.insight.thresholds import DEFAULTS

    found: list[CheckMessage] = []
    own = raw.get("MONITORING")
    for name, value in own.items() if isinstance(own, dict) else ():
        number = isinstance(value, int | float) and not isinstance(value, bool) and value >= 0
        if name not in DEFAULTS or not number:
            message = f'PERSONALIZATION["MONITORING"][{name!r}] is no threshold of 0 or more.'
            found.append(Error(message, hint=f"Thresholds: {', '.join(DEFAULTS)}.", id="personalization.E011"))
    token = raw.get("METRICS_TOKEN")
    if isinstance(token, str) and token and len(token) < LEAST_KEY:
        message = f'PERSONALIZATION["METRICS_TOKEN"] is shorter than {LEAST_KEY} characters: it could be guessed.'
        hint = "python -c 'import secrets; print(secrets.token_urlsafe(32))'"
        found.append(Error(message, hint=hint, id="personalization.E012"))
    return found


def _check_protected(raw: dict[str, Any]) -> list[CheckMessage]:
    protected = raw.get("PROTECTED_ATTRIBUTES", conf.Conf().protected_attributes)
    found: list[CheckMessage] = []
    given = raw.get("PROTECTED_USES")
    for purpose, names in given.items() if isinstance(given, dict) else ():
        if purpose not in PROTECTED_PURPOSES:
            problem = f"[{purpose!r}]: a protected attribute may be used for {' or '.join(PROTECTED_PURPOSES)} only."
            hint = "Never for prices: what a shopper pays hangs on no protected attribute."
        elif not isinstance(names, list | tuple) or not set(names) <= set(protected):
            problem = f"[{purpose!r}] must list names that stand in PROTECTED_ATTRIBUTES."
            hint = f"These are protected: {', '.join(map(str, protected)) or 'none'}."
        else:
            continue
        found.append(Error(f'PERSONALIZATION["PROTECTED_USES"]{problem}', hint=hint, id="personalization.E013"))
    return found


def _check_middleware() -> list[CheckMessage]:
    if MIDDLEWARE in settings.MIDDLEWARE:
        return []
    return [
        Warning(
            "The shopper middleware is not installed: visitors are not recognised and nothing is tracked.",
            hint=f"Add {MIDDLEWARE!r} to MIDDLEWARE, after AuthenticationMiddleware.",
            id="personalization.W002",
        )
    ]


@register(Tags.urls)
def check_urls(app_configs: Sequence[AppConfig] | None, **kwargs: Any) -> list[CheckMessage]:
    """Check that the app's URLs can be found: without them every page that uses a tag of the app ends in an error."""
    if not getattr(settings, "ROOT_URLCONF", None):
        return []
    try:
        reverse("personalization:events")
    except NoReverseMatch:
        return [
            Warning(
                "The app's URLs are not included: pages with its tags answer with an error, and there is no REST API.",
                hint='Add path("personalization/", include("personalization.urls")) to the urlpatterns of '
                f"{settings.ROOT_URLCONF}.",
                id="personalization.W005",
            )
        ]
    return []
