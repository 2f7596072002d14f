"""Reads docs/install.md: the commands it tells a host to type, and the code it tells a host to write."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
GUIDE = ROOT / "docs" / "install.md"
HOST = Path(__file__).parent / "bare"

_FENCE = re.compile(r"^```(?P<language>\w+)(?: title=\"(?P<title>[^\"]+)\")?\n(?P<body>.*?)^```$", re.M | re.S)


@dataclass(frozen=True)
class Snippet:
    """A block of code, and the host's file in which it belongs."""

    path: str
    code: str


def snippets() -> list[Snippet]:
    """Return the guide's blocks of code."""
    return [Snippet(found["title"], found["body"]) for found in _FENCE.finditer(GUIDE.read_text()) if found["title"]]


def commands() -> list[str]:
    """Return the guide's commands, in order."""
    return [
        line.removeprefix("$ ")
        for found in _FENCE.finditer(GUIDE.read_text())
        if found["language"] == "console"
        for line in found["body"].splitlines()
        if line.startswith("$ ")
    ]
