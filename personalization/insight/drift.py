"""Drift: what is scored today against what the model was trained to score, by the PSI of each feature and score.

The reference lies in the model version's card, today's counts beside the score set: the worker counted both
(``worker.profile``). An index is told of only above a threshold *and* above what chance explains at these sizes, with
all indices of a report sharing one chance of a false alarm (Bonferroni).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from personalization.insight.findings import BAD, GOOD, HINT
from personalization.pure.stability import compare

FALSE_ALARM = 0.01
"""Chance that a report without any drift tells of some."""


@dataclass(frozen=True, slots=True)
class Shift:
    """One column's index. ``of`` is ``feature`` or ``score``; ``noise``: what chance alone stays below."""

    of: str
    name: str
    value: float
    noise: float
    level: str


def shifts(reference: Any, profile: Any, *, hint: float, alert: float) -> list[Shift]:
    """Return the index of every column that both sides counted, the largest first; none without both."""
    pairs = list(_pairs(reference, profile))
    found = []
    for of, name, before, now in pairs:
        index = compare(before, now, share=1 - FALSE_ALARM / len(pairs))
        if index is not None:
            level = BAD if index.beyond(alert) else HINT if index.beyond(hint) else GOOD
            found.append(Shift(of, name, index.value, index.noise, level))
    return sorted(found, key=lambda shift: (-shift.value, shift.name))


def _pairs(reference: Any, profile: Any) -> Iterator[tuple[str, str, list[int], list[int]]]:
    """Yield what can be compared; a card of an earlier release, or of another shape, has nothing."""
    for of, group in (("feature", "features"), ("score", "scores")):
        before, now = _mapping(_mapping(reference).get(group)), _mapping(_mapping(profile).get(group))
        for name, bins in before.items():
            counts, today = _mapping(bins).get("counts"), now.get(name)
            if isinstance(counts, list) and isinstance(today, list) and len(counts) == len(today):
                yield of, str(name), counts, today


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
