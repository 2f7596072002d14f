"""What every test may ask for: throwaway servers, a clean cache, and counts that fit the run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import Any, TypeVar

import hypothesis
import pytest
from django.conf import settings
from django.core.cache import cache
from django.db import connection
from django.test import TransactionTestCase
from django.utils import translation

from tests.support import needs, servers
from tests.support.scale import SOAK

Server = TypeVar("Server")

# No deadline: on a loaded machine a slow example says nothing about the code.
hypothesis.settings.register_profile("few", deadline=None, max_examples=50, derandomize=True)
hypothesis.settings.register_profile("soak", deadline=None, max_examples=1000)
hypothesis.settings.load_profile("soak" if SOAK else "few")


DATABASE_FIXTURES = {"db", "transactional_db", "admin_user", "admin_client", "live_server"}


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--database-only", action="store_true", help="only the tests that use the run's database")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave tests marked ``postgres`` to the run inside tests/integration/test_on_postgres.py."""
    on_postgres = settings.DATABASES["default"]["ENGINE"].endswith("postgresql")
    only_database = config.getoption("--database-only")

    def belongs_here(item: pytest.Item) -> bool:
        if item.get_closest_marker("postgres") and not on_postgres:
            return False
        return _uses_database(item) or not only_database

    config.hook.pytest_deselected(items=[item for item in items if not belongs_here(item)])
    items[:] = [item for item in items if belongs_here(item)]


def _uses_database(item: pytest.Item) -> bool:
    fixtures = set(getattr(item, "fixturenames", ()))
    return item.get_closest_marker("django_db") is not None or bool(DATABASE_FIXTURES & fixtures)


@pytest.fixture(autouse=True)
def _clean_cache() -> Iterator[None]:
    """Each test starts with an empty cache: campaigns and rate limits live there."""
    cache.clear()
    yield
    cache.clear()


@pytest.fixture(autouse=True, scope="session")
def _audit_log_can_be_emptied() -> Iterator[None]:
    """SQLite empties a table row by row, and the audit log lets none go: after a transactional test it must."""
    empty = TransactionTestCase._fixture_teardown  # type: ignore[attr-defined]

    def unguarded(self: Any) -> None:
        if connection.vendor == "sqlite":
            with connection.cursor() as cursor:
                cursor.execute("DROP TRIGGER IF EXISTS personalization_auditentry_no_delete")
        empty(self)  # and the signal after it makes the trigger again

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TransactionTestCase, "_fixture_teardown", unguarded)
        yield


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[servers.Postgres]:
    """A PostgreSQL server for tests that run their own processes against it."""
    with _or_missing(servers.postgres()) as server:
        yield server


@pytest.fixture(scope="session")
def redis_url() -> Iterator[str]:
    """The URL of a Redis server."""
    with _or_missing(servers.redis()) as url:
        yield url


@contextmanager
def _or_missing(server: AbstractContextManager[Server]) -> Iterator[Server]:
    with ExitStack() as stack:
        try:
            entered = stack.enter_context(server)
        except servers.Unavailable as error:
            needs.missing(str(error))
        yield entered


@pytest.fixture(scope="session")
def chromium() -> str:
    """The path of a Chromium."""
    return needs.browser()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Repeat what runs inside a test came to."""
    for report in terminalreporter.getreports("passed"):
        for name, value in report.user_properties:
            if report.when == "call":
                terminalreporter.write_line(f"{name}: {value}")


@pytest.fixture(autouse=True)
def _english() -> None:
    """A page in another language leaves it active in the thread: every test begins in English."""
    translation.activate("en")
