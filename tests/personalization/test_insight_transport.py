"""What doctor says of connections that do not encrypt, and that it is silent about those that do."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from personalization.insight import transport
from personalization.insight.findings import BAD, HINT
from tests.personalization.conftest import Configure

POSTGRES = {"ENGINE": "django.db.backends.postgresql", "HOST": "db.example", "OPTIONS": {}}
SAFE: dict[str, Any] = {
    "DEBUG": False,
    "SECURE_SSL_REDIRECT": True,
    "SECURE_HSTS_SECONDS": 3600,
    "SESSION_COOKIE_SECURE": True,
    "CSRF_COOKIE_SECURE": True,
    "DATABASES": {"default": {**POSTGRES, "OPTIONS": {"sslmode": "verify-full"}}},
    "CACHES": {"default": {"BACKEND": "x", "LOCATION": ["rediss://cache.example", "redis://localhost"]}},
    "CELERY_BROKER_URL": "amqps://broker.example",
    "EMAIL_BACKEND": "django.core.mail.backends.smtp.EmailBackend",
    "EMAIL_HOST": "mail.example",
    "EMAIL_USE_TLS": True,
    "EMAIL_USE_SSL": False,
}


Told = Callable[..., list[tuple[str, str]]]


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Told:
    """Return what is said under these settings: level and text."""

    def say(**changed: Any) -> list[tuple[str, str]]:
        monkeypatch.setattr(transport, "settings", SimpleNamespace(**{**SAFE, **changed}))
        return [(each.level, each.text) for each in transport.findings()]

    return say


def test_where_all_is_encrypted_that_is_all_it_says(told: Told) -> None:
    assert [level for level, _text in told()] == ["ok"]


@pytest.mark.parametrize(
    ("changed", "level", "words"),
    [
        ({"SECURE_SSL_REDIRECT": False}, HINT, "SECURE_SSL_REDIRECT"),
        ({"SECURE_HSTS_SECONDS": 0}, HINT, "SECURE_HSTS_SECONDS"),
        ({"SESSION_COOKIE_SECURE": False}, BAD, "SESSION_COOKIE_SECURE"),
        ({"CSRF_COOKIE_SECURE": False}, BAD, "CSRF_COOKIE_SECURE"),
        ({"DATABASES": {"default": POSTGRES}}, BAD, "db.example is not encrypted"),
        ({"DATABASES": {"default": {**POSTGRES, "OPTIONS": {"sslmode": "require"}}}}, HINT, "verify-full"),
        ({"CACHES": {"default": {"LOCATION": "redis://cache.example:6379/0"}}}, BAD, "Use rediss://"),
        ({"CELERY_BROKER_URL": "amqp://user:word@broker.example"}, BAD, "broker.example is not encrypted. Use amqps"),
        ({"EMAIL_USE_TLS": False}, BAD, "mail.example unencrypted"),
    ],
)
def test_each_gap_is_named_with_what_to_do(told: Told, changed: dict[str, Any], level: str, words: str) -> None:
    found = told(**changed)
    assert next(each for each in found if words in each[1])[0] == level
    assert "word@" not in str(found)


def test_a_webhook_in_clear_is_named(told: Told, configure: Configure) -> None:
    configure(WEBHOOK_URL="http://hooks.example/x")
    assert any("Use https://" in text for _level, text in told())


def test_on_one_machine_nothing_has_to_be_encrypted(told: Told) -> None:
    local = {
        "DATABASES": {"default": {**POSTGRES, "HOST": "/run/postgresql"}},
        "CELERY_BROKER_URL": "redis://127.0.0.1",
    }
    assert [level for level, _text in told(**local)] == ["ok"]
