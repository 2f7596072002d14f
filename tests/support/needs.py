"""What a test needs from its machine. Missing, it is skipped with the reason; with ``CI`` set, it fails."""

from __future__ import annotations

import os
import shutil
from typing import NoReturn

import pytest

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def missing(reason: str) -> NoReturn:
    """Skip the running test, or fail it where everything is expected to be there."""
    if os.environ.get("CI"):
        pytest.fail(f"{reason} With CI set this is a failure.", pytrace=False)
    pytest.skip(reason)


def browser() -> str:
    """Return the path of a Chromium, or skip."""
    for name in BROWSERS:
        path = shutil.which(name)
        if path:
            return path
    missing(f"No browser: none of {', '.join(BROWSERS)} is installed.")
