"""How a program gives itself away: rules over one session's events. Pure: thresholds in, the broken rule out.

===========  ==================================================================  ==========================
rule         broken when                                                         thresholds
===========  ==================================================================  ==========================
rate         more than ``most`` events lie within ``seconds``                    most 120, seconds 60
no_dwell     ``pages`` pages or more, half of them left within ``seconds``, and  pages 30, seconds 1.0
             none looked at for longer by the page script's clock
impossible   ``clicks`` clicks or more on what can only be clicked where it is   clicks 5
             seen, and nothing was ever seen
===========  ==================================================================  ==========================

``PERSONALIZATION["BOT_RULES"]`` changes thresholds; a first one of 0 switches its rule off.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

PAGES = frozenset({"page_viewed", "product_viewed", "category_viewed", "search_performed"})
CLICKS = frozenset({"offer_clicked", "product_clicked"})
SIGHTS = frozenset({"offer_viewed", "product_seen"})
Thresholds = Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Seen:
    """One event as the rules see it: ``at`` in seconds, ``dwell_ms`` where the page script told it."""

    type: str
    at: float
    dwell_ms: float | None = None


def _rate(events: Sequence[Seen], limits: Thresholds) -> bool:
    most = int(limits["most"])
    return any(last.at - first.at < limits["seconds"] for first, last in zip(events, events[most:], strict=False))


def _no_dwell(events: Sequence[Seen], limits: Thresholds) -> bool:
    moments = sorted({each.at for each in events if each.type in PAGES})
    if len(moments) < limits["pages"] or len(moments) < 2:
        return False
    looked = any(each.dwell_ms is not None and each.dwell_ms >= 1000 * limits["seconds"] for each in events)
    gaps = [after - before for before, after in pairwise(moments)]
    return not looked and median(gaps) < limits["seconds"]


def _impossible(events: Sequence[Seen], limits: Thresholds) -> bool:
    clicks = sum(each.type in CLICKS for each in events)
    return clicks >= limits["clicks"] and not any(each.type in SIGHTS for each in events)


_RULES: dict[str, tuple[Callable[[Sequence[Seen], Thresholds], bool], dict[str, float]]] = {
    "rate": (_rate, {"most": 120, "seconds": 60}),
    "no_dwell": (_no_dwell, {"pages": 30, "seconds": 1.0}),
    "impossible": (_impossible, {"clicks": 5}),
}
DEFAULTS: dict[str, dict[str, float]] = {name: limits for name, (_rule, limits) in _RULES.items()}


def thresholds(own: Mapping[str, Thresholds]) -> dict[str, dict[str, float]]:
    """Return the rules in force with their thresholds: the built-in ones, changed by the shop's own."""
    merged = {name: {**limits, **own.get(name, {})} for name, limits in DEFAULTS.items()}
    return {name: limits for name, limits in merged.items() if next(iter(limits.values())) > 0}


def least_events(own: Mapping[str, Thresholds]) -> int:
    """Return how many events a session has at least for any rule to be broken; 0 where no rule is in force."""
    return int(min((next(iter(limits.values())) for limits in thresholds(own).values()), default=0))


def broken(events: Sequence[Seen], own: Mapping[str, Thresholds]) -> str:
    """Return the first rule that these events, in the order of their time, break; empty for a person's session."""
    return next((name for name, limits in thresholds(own).items() if _RULES[name][0](events, limits)), "")
