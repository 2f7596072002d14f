"""How much of a test runs: a little in ``make test``, its full count in ``make soak``."""

from __future__ import annotations

import os

SOAK = os.environ.get("SOAK", "") not in {"", "0"}


def rounds(few: int, full: int) -> int:
    """Return ``full`` in a soak run, else ``few``."""
    return full if SOAK else few
