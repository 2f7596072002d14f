"""A measurement and how it is told: as one JSON object, as a line, as a row of the table."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from rich.table import Table

NAMES = (
    "intake",
    "intake_copy",
    "decide",
    "pageview",
    "redeem",
    "redeem_sql",
    "stacking",
    "codes",
    "audiences",
    "triggers",
    "rollup",
    "reading",
    "score",
    "score_rows",
    "topk",
    "train",
    "response",
)


@dataclass
class Measurement:
    """One answer. ``target`` is about ``ratio`` (value ÷ peer_value); without one it is a first figure."""

    name: str
    value: float | None
    unit: str
    peer: str
    peer_value: float | None
    ratio: float | None
    target: float | None = None
    better: str = "higher"
    connections: int = 1
    fsync: str = ""
    machine: str = ""
    notes: dict[str, Any] = field(default_factory=dict)

    @property
    def met(self) -> bool | None:
        """Whether the target is reached; None where there is no target, or nothing could be measured."""
        if self.target is None or self.ratio is None:
            return None
        return self.ratio >= self.target if self.better == "higher" else self.ratio <= self.target

    def as_json(self) -> dict[str, Any]:
        names = ("name", "value", "unit", "peer", "peer_value", "ratio", "target", "better", "met", "machine")
        return {name: getattr(self, name) for name in (*names, "connections", "fsync", "notes")}


@dataclass(frozen=True)
class Paired:
    """Two contenders measured in turn: the medians, and the median ratio with its extremes over the rounds."""

    value: float
    peer_value: float
    ratio: float
    lowest: float
    highest: float

    def as_json(self) -> dict[str, Any]:
        spread = [round(self.lowest, 3), round(self.highest, 3)]
        return {
            "value": round(self.value, 1),
            "peer_value": round(self.peer_value, 1),
            "ratio": round(self.ratio, 3),
            "ratio_min_max": spread,
        }


def paired(ours: Sequence[float], peers: Sequence[float]) -> Paired:
    """Compare rate for rate: what ran one after the other shared the machine's mood."""
    ratios = [own / peer for own, peer in zip(ours, peers, strict=True)]
    return Paired(median(ours), median(peers), median(ratios), min(ratios), max(ratios))


def quantile_ms(seconds: Sequence[float], share: float) -> float | None:
    """Return the latency below which ``share`` of the answers came, in milliseconds."""
    if not seconds:
        return None
    ordered = sorted(seconds)
    return round(1000 * ordered[min(int(share * len(ordered)), len(ordered) - 1)], 2)


def machine(load: float) -> str:
    """Say where this was measured and how busy the machine was when it began."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    python = f"Python {platform.python_version()}"
    return f"{cores} × {_processor()}, {_memory()}, {platform.system()}, {python}; load {load:.1f} at the start"


def _processor() -> str:
    cpus = Path("/proc/cpuinfo")
    if cpus.exists():
        for line in cpus.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def _memory() -> str:
    return f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB"


def line(told: dict[str, Any]) -> str:
    """Return one readable line of a measurement."""
    if told["value"] is None:
        return f"{told['name']}: not measured. {told['notes'].get('skipped', '')}"
    parts = [
        f"{told['name']}: {number(told['value'])} {told['unit']}",
        f"peer {number(told['peer_value'])} ({told['peer']})",
        f"ratio {number(told['ratio'])}{_spread(told)}",
        _verdict(told),
        f"connections: {told['connections']}, fsync: {told['fsync']}",
        told["machine"],
    ]
    return "; ".join(parts)


def _spread(told: dict[str, Any]) -> str:
    extremes = told["notes"].get("ratio_min_max")
    return f" [{number(extremes[0])}–{number(extremes[1])}]" if extremes else ""


def _verdict(told: dict[str, Any]) -> str:
    if told["met"] is None:
        return "no target yet"
    sign = "≥" if told["better"] == "higher" else "≤"
    return f"target {sign} {number(told['target'])}: {'met' if told['met'] else 'NOT met'}"


def number(value: float | None) -> str:
    """Return a figure with as many digits as it deserves."""
    if value is None:
        return "–"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.2f}" if abs(value) >= 1 else f"{value:.4f}"


def table(rows: Sequence[dict[str, Any]]) -> Table:
    """Return all measurements side by side."""
    drawn = Table(title="benchmarks", title_justify="left")
    for heading in ("name", "value", "unit", "peer", "peer's code", "ratio", "target"):
        drawn.add_column(heading, overflow="fold")
    for told in rows:
        if told["value"] is None:
            drawn.add_row(told["name"], "–", "", "", "", "", told["notes"].get("skipped", ""))
            continue
        figures = (number(told["value"]), told["unit"], number(told["peer_value"]), told["peer"])
        drawn.add_row(told["name"], *figures, f"{number(told['ratio'])}{_spread(told)}", _verdict(told))
    return drawn
