"""The champion gate: named checks, each with its verdict, figure, threshold and a sentence; a version is promoted only
if none of them fails.

What they measure is computed by the worker (``worker.gate``). Here is what a check is, how it is stored with its
version and read back, and where a room above adds one of its own.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol

import numpy as np
from django.utils.translation import gettext, gettext_noop
from numpy.typing import NDArray

from personalization.learning.figures import is_number, listed, mapping
from personalization.learning.sentences import Sentence

logger = logging.getLogger(__name__)
FAIRNESS = "fairness"
LABELS = {
    "distinct": gettext_noop("Tells shoppers apart"),
    "simpler": gettext_noop("Better than what is simpler"),
    "reigning": gettext_noop("Better than the reigning champion"),
    "calibration": gettext_noop("Calibrated"),
    "latency": gettext_noop("Fast enough"),
    "size": gettext_noop("Small enough"),
    FAIRNESS: gettext_noop("Fair"),
    "hold": gettext_noop("No hold after a rollback"),
}
"""Names of the checks for people, in the order in which they are shown."""
RIVALS = ("simpler", "reigning")
"""The checks that hold a challenger against a rival."""
NOT_INSTALLED = gettext_noop("Not judged: no fairness check is installed.")
BROKEN = gettext_noop("The check itself failed (%(error)s). The worker’s log has the details.")


@dataclass(frozen=True, slots=True)
class Check:
    """One verdict: held, failed, or (None) not judged, which stops nobody and is shown as such.

    ``figure`` (with the bounds of its 95 % interval, where it has one) is held against ``threshold``. The sentence is
    ``template`` with ``params`` put in: an English msgid, translated when it is read.
    """

    name: str
    passed: bool | None
    template: str
    params: Mapping[str, Any] = field(default_factory=dict)
    figure: float | None = None
    low: float | None = None
    high: float | None = None
    threshold: float | None = None

    @property
    def sentence(self) -> str:
        """The reason in the reader's language."""
        return str(self.said)

    @property
    def said(self) -> Sentence:
        """The reason, for another sentence to be put into."""
        return Sentence(self.template, self.params)

    @property
    def label(self) -> str:
        """The check's name in the reader's language."""
        return gettext(LABELS[self.name]) if self.name in LABELS else self.name


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a further check may look at: a challenger's predictions for the test block, a row an exposure.

    ``shopper``, ``offer`` and ``exposure`` are primary keys [rows]; ``probability`` [rows] is calibrated and of the
    outcome ``head``; ``label`` [rows] is 0 or 1; ``rival`` [rows] what the reigning champion says to the same rows, nan
    where it has learnt from them; None where nobody reigns.
    """

    population: str
    task: str
    estimator: str
    head: str
    exposure: NDArray[np.int64]
    shopper: NDArray[np.int64]
    offer: NDArray[np.int64]
    probability: NDArray[np.float64]
    label: NDArray[np.float64]
    rival: NDArray[np.float64] | None = None


class FurtherCheck(Protocol):
    """Judges a challenger by something that the gate itself does not know; the check's name is that of its place."""

    def __call__(self, evidence: Evidence) -> Check: ...


_FURTHER: dict[str, FurtherCheck] = {}


def register(name: str, check: FurtherCheck) -> None:
    """Let a room above add a check (fairness, say); a later one of the same name replaces it. Call it in ``ready``."""
    _FURTHER[name] = check


def further(evidence: Evidence) -> list[Check]:
    """Return the verdicts of all registered checks. One that raises refuses: nobody knows what it would have said."""
    found = [] if FAIRNESS in _FURTHER else [Check(FAIRNESS, None, NOT_INSTALLED)]
    for name, check in _FURTHER.items():
        try:
            found.append(check(evidence))
        except Exception as error:
            logger.exception("the gate's check %s failed", name)
            found.append(Check(name, False, BROKEN, {"error": type(error).__name__}))
    return found


def holds(checks: Iterable[Check]) -> bool:
    """Return whether no check failed."""
    return all(check.passed is not False for check in checks)


def stored(checks: Iterable[Check]) -> list[dict[str, Any]]:
    """Return checks as JSON, for a version's metrics."""
    return [asdict(check) | {"params": check.said.stored()["params"]} for check in checks]


def checks_of(metrics: Any) -> list[Check]:
    """Return the checks that a version's metrics hold; none of an older version's or of another shape."""
    return [
        Check(
            str(row["name"]),
            row["passed"] if isinstance(row["passed"], bool) else None,
            str(row["template"]),
            mapping(row.get("params")),
            **{name: row[name] for name in ("figure", "low", "high", "threshold") if is_number(row.get(name))},
        )
        for row in listed(mapping(metrics).get("gate"))
        if isinstance(row, dict) and {"name", "passed", "template"} <= set(row)
    ]
