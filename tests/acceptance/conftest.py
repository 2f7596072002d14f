"""A running shop, and a browser that reports what a visitor would not see: errors, foreign hosts, violations."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Page,
    Request,
    ViewportSize,
    expect,
    sync_playwright,
)

from tests.support import servers, simulated

PHONE: ViewportSize = {"width": 360, "height": 740}
PATIENCE_MS = 20_000
DESKTOP: ViewportSize = {"width": 1280, "height": 900}


@dataclass(frozen=True)
class LiveShop:
    """The shop's address, its admin's password, and a look into its database."""

    address: str
    admin_password: str
    database: Path

    def count(self, table: str, where: str = "1 = 1") -> int:
        with closing(sqlite3.connect(self.database, timeout=20)) as connection:
            found = connection.execute(f"SELECT count(*) FROM {table} WHERE {where}").fetchone()
            return int(found[0])


@pytest.fixture(scope="session")
def live_shop(chromium: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveShop]:
    """Serve a copy of the simulated shop with production's server and settings."""
    template = simulated.once(tmp_path_factory, "simulated_shop", simulated.build)
    shop = template.copy(tmp_path_factory.mktemp("live") / "var")
    port = servers.free_port()
    environment = shop.environment(
        DJANGO_SETTINGS_MODULE="tests.acceptance.settings",
        DEBUG="0",
        ALLOWED_HOSTS="127.0.0.1",
        SECURE_SSL_REDIRECT="0",
        SESSION_COOKIE_SECURE="0",
        CSRF_COOKIE_SECURE="0",
        WITH_WORKER="0",
    )
    simulated.manage("collectstatic", "--no-input", "--verbosity", "0", environment=environment)
    command = [sys.executable, "-m", "gunicorn", "shop.wsgi", "--bind", f"127.0.0.1:{port}", "--threads", "4"]
    log = shop.folder / "gunicorn.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, "--no-control-socket"], cwd=simulated.ROOT, env=environment, stdout=output, stderr=output
        )
        try:
            servers.wait_for_port(port, process)
            yield LiveShop(f"http://127.0.0.1:{port}", shop.admin_password, shop.database)
        finally:
            process.terminate()
            process.wait(timeout=30)
    assert "Traceback" not in log.read_text(), log.read_text()[-4000:]


@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Browser]:
    """One browser for a file: while it is open an event loop runs in this thread, and Django refuses its database."""
    expect.set_options(timeout=PATIENCE_MS)
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        yield launched
        launched.close()


@dataclass
class Witness:
    """Notes what went wrong behind a page."""

    host: str
    complaints: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def watch(self, context: BrowserContext) -> None:
        context.on("console", self._on_console)
        context.on("weberror", lambda error: self.complaints.append(f"script error: {error.error}"))
        context.on("request", self._on_request)
        context.on("requestfailed", self._on_failure)

    def _on_console(self, message: ConsoleMessage) -> None:
        address = message.location.get("url", "")
        if message.type in {"error", "warning"}:
            self.complaints.append(f"console {message.type}: {message.text} {address}")

    def _on_request(self, request: Request) -> None:
        self.requests.append(request.url)
        parts = urlsplit(request.url)
        if parts.scheme != "data" and parts.netloc != self.host:
            self.complaints.append(f"request to another host: {request.url}")

    def _on_failure(self, request: Request) -> None:
        if request.failure != "net::ERR_ABORTED":  # a page that is left aborts what it still loads
            self.complaints.append(f"failed: {request.url} {request.failure}")


OpenPage = Callable[..., Page]


@pytest.fixture
def open_page(browser: Browser, live_shop: LiveShop) -> Iterator[OpenPage]:
    """Open pages of a visitor who has never been here; whatever they complain about fails the test."""
    witness = Witness(urlsplit(live_shop.address).netloc)
    contexts: list[BrowserContext] = []

    def open_page(**options: Any) -> Page:
        context = browser.new_context(base_url=live_shop.address, viewport=DESKTOP, locale="en-GB", **options)
        context.set_default_timeout(PATIENCE_MS)
        witness.watch(context)
        contexts.append(context)
        return context.new_page()

    yield open_page
    for context in contexts:
        context.close()
    assert witness.complaints == []
