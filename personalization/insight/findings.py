"""What ``doctor`` says: a sentence and how bad it is."""

from __future__ import annotations

from dataclasses import dataclass

GOOD, HINT, BAD = "ok", "hint", "wrong"


@dataclass(frozen=True, slots=True)
class Finding:
    """One sentence; ``level`` is ``ok``, ``hint`` (works, could be better) or ``wrong``."""

    level: str
    text: str
