"""What has to happen every minute, registered by the rooms above: the worker runs it without knowing them."""

from __future__ import annotations

import logging
from collections.abc import Callable

logger = logging.getLogger(__name__)
_CHORES: dict[str, Callable[[], int]] = {}


def register(name: str, chore: Callable[[], int]) -> None:
    """Add a chore that returns how many rows it changed."""
    _CHORES[name] = chore


def run_all() -> dict[str, int]:
    """Run every chore; one that fails is logged (−1) and does not stop the others."""
    done: dict[str, int] = {}
    for name, chore in _CHORES.items():
        try:
            done[name] = chore()
        except Exception:
            logger.exception("chore %s failed", name)
            done[name] = -1
    return done
