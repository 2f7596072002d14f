"""What a fit costs: seconds, and the most memory that the process held meanwhile."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, field
from pathlib import Path

_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")
_PEAK = re.compile(r"^VmHWM:\s+(\d+) kB$", re.M)
RESET_PEAK = "5"
"""Written to clear_refs, Linux lowers the high-water mark of resident memory to what is resident now."""


@dataclass(frozen=True, slots=True)
class Cost:
    """Seconds by the clock, and the process's peak of resident memory in MB; None where the system does not tell."""

    seconds: float = 0.0
    peak_mb: int | None = None


@dataclass(slots=True)
class Meter:
    """Runs from its making on; ``read`` tells what has been spent since."""

    _began: float = field(default_factory=time.monotonic)
    _knows_memory: bool = field(default_factory=lambda: reset_peak())

    def read(self) -> Cost:
        """Return what has been spent since this meter was made; a later meter starts the memory's mark anew."""
        return Cost(round(time.monotonic() - self._began, 2), peak_memory() if self._knows_memory else None)


def reset_peak() -> bool:
    """Start the high-water mark of memory anew; return whether the system lets us."""
    try:
        _CLEAR.write_text(RESET_PEAK)
    except OSError:
        return False
    return True


def peak_memory() -> int | None:
    """Return the high-water mark of resident memory in MB since it was last reset."""
    try:
        found = _PEAK.search(_STATUS.read_text())
    except OSError:
        return None
    return int(found[1]) // 1024 if found else None
