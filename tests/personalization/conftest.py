"""A shopper, a browser, an offer that runs, and nothing remembered from the test before."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import Any

import pytest
from pytest_django import DjangoCaptureOnCommitCallbacks, Settings

from personalization.campaigns import switch
from personalization.decisioning import candidates, scores
from personalization.models import Offer, Shopper
from tests.personalization import builders, host

Configure = Callable[..., None]
Committing = Callable[[], AbstractContextManager[Any]]


@pytest.fixture(autouse=True)
def _forget() -> Iterator[None]:
    """Campaigns, scores and the host's lists live in the process: each test starts without."""
    candidates.forget()
    scores.forget()
    switch.forget()
    host.empty()
    yield
    candidates.forget()
    scores.forget()
    switch.forget()


@pytest.fixture
def configure(settings: Settings) -> Configure:
    """Change settings of the app for one test."""

    def change(**changes: Any) -> None:
        settings.PERSONALIZATION = {**settings.PERSONALIZATION, **changes}

    return change


@pytest.fixture
def plain(configure: Configure) -> None:
    """No holdout and no exploration: what is decided is what is best."""
    configure(HOLDOUT_PERCENT=0.0, EXPLORATION=0.0)


@pytest.fixture
def hosted(configure: Configure) -> None:
    """The host of this folder in place of the demo shop."""
    configure(**host.PATHS)


@pytest.fixture
def committing(django_capture_on_commit_callbacks: DjangoCaptureOnCommitCallbacks) -> Committing:
    """A block at whose end the transaction counts as committed."""
    return lambda: django_capture_on_commit_callbacks(execute=True)


@pytest.fixture
def shopper(db: None) -> Shopper:
    return builders.make_shopper()


@pytest.fixture
def offer(db: None) -> Offer:
    return builders.make_offer()


@pytest.fixture
def browser(db: None) -> builders.Browser:
    """A browser that has answered nothing yet."""
    return builders.Browser()


@pytest.fixture
def visitor(browser: builders.Browser) -> builders.Browser:
    """A browser whose owner agreed to everything."""
    browser.answer("all")
    return browser


@pytest.fixture
def staff() -> builders.Browser:
    """The shop's own system."""
    machine = builders.Browser()
    machine.force_login(builders.make_user("add_redemption"))
    return machine
