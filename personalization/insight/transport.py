"""Whether what travels is encrypted: pages, cookies, and the connections to database, cache, broker and mail."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings

from personalization import conf
from personalization.insight.findings import BAD, GOOD, HINT, Finding

LOCAL = {"", "localhost", "127.0.0.1", "::1"}
OPEN_SCHEMES = {"redis": "rediss", "amqp": "amqps", "http": "https"}
"""Scheme that does not encrypt → the one that does."""
ENCRYPTED = {"require", "verify-ca", "verify-full"}


def findings() -> Iterator[Finding]:
    """The encryption of connections cannot be told."""
    found = [*_database(), *_servers(), *(() if settings.DEBUG else _pages())]
    yield from found
    if not any(each.level == BAD for each in found):
        yield Finding(GOOD, "Connections: none is known to be unencrypted.")


def _pages() -> Iterator[Finding]:
    if not settings.SECURE_SSL_REDIRECT:
        yield Finding(HINT, "Pages answer unencrypted, too. Set SECURE_SSL_REDIRECT = True, or let the proxy redirect.")
    if settings.SECURE_HSTS_SECONDS <= 0:
        yield Finding(HINT, "Browsers may come back unencrypted. Set SECURE_HSTS_SECONDS, 3600 to begin with.")
    for name, cookies in (("SESSION_COOKIE_SECURE", "Session"), ("CSRF_COOKIE_SECURE", "CSRF")):
        if not getattr(settings, name):
            yield Finding(BAD, f"{cookies} cookies travel unencrypted. Set {name} = True.")


def _database() -> Iterator[Finding]:
    for alias, database in settings.DATABASES.items():
        host = str(database.get("HOST") or "")
        if not str(database.get("ENGINE", "")).endswith("postgresql") or _is_local(host):
            continue
        mode = str(database.get("OPTIONS", {}).get("sslmode", ""))
        if mode not in ENCRYPTED:
            text = f"The connection to {host} is not encrypted. Add ?sslmode=require to DATABASE_URL."
            yield Finding(BAD, text if alias == "default" else f"Database {alias}: {text}")
        elif mode == "require":
            yield Finding(HINT, f"{host} may be anybody: sslmode=require looks at no certificate, verify-full does.")


def _servers() -> Iterator[Finding]:
    addresses: list[tuple[str, Any]] = [
        (f'CACHES["{alias}"]', place)
        for alias, cache in settings.CACHES.items()
        for place in _listed(cache.get("LOCATION"))
    ]
    addresses += [(name, getattr(settings, name, "")) for name in ("CELERY_BROKER_URL", "CELERY_RESULT_BACKEND")]
    addresses.append(('PERSONALIZATION["WEBHOOK_URL"]', conf.get().webhook_url))
    for name, address in addresses:
        parts = urlsplit(str(address or ""))
        if parts.scheme in OPEN_SCHEMES and not _is_local(parts.hostname or ""):
            better = OPEN_SCHEMES[parts.scheme]
            yield Finding(BAD, f"{name}: the connection to {parts.hostname} is not encrypted. Use {better}://.")
    mail = str(getattr(settings, "EMAIL_HOST", ""))
    by_mail = settings.EMAIL_BACKEND.endswith("smtp.EmailBackend") and not _is_local(mail)
    if by_mail and not (settings.EMAIL_USE_TLS or settings.EMAIL_USE_SSL):
        yield Finding(BAD, f"Mail goes to {mail} unencrypted. Set EMAIL_USE_TLS = True.")


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]


def _is_local(host: str) -> bool:
    return host in LOCAL or host.startswith("/")
