"""What was predicted when it was decided, beside what came of it: week by week, for every version that served.

Rows are offers shown whose outcome window has passed, with the probability that their decision noted. What a ranking
shows is what it thinks most of, so noise in the predictions alone makes the shown ones come out a little lower than
predicted; a model that is off by more than chance explains is worth a look whatever the reason.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

import numpy as np

from personalization.insight.findings import BAD, GOOD, HINT
from personalization.learning.calibration import allowed, ece, ece_null
from personalization.models import Exposure, ModelVersion
from personalization.pure.proportions import Estimate, wilson
from personalization.types import HEADS, Arm, OfferKind

WEEKS = 8
MOST = 50_000
LEAST_ROWS = 100
"""Rows that a week is judged by, at least."""
DOUBTFUL, CERTAIN = 2.58, 3.29
"""Deviations of the total that one calibrated week in a hundred, and in a thousand, exceeds."""
EPISODE = timedelta(days=1)
"""The same offer on page after page within a day is one row, as in training."""
OUTCOMES = dict(zip(HEADS, ("viewed_at", "clicked_at", "redeemed_at", "purchased_at"), strict=True))


@dataclass(frozen=True, slots=True)
class Week:
    """One version's week: ``expected`` and ``happened`` outcomes of ``rows``, the observed share with its interval.

    ``ece`` sees any miscalibration, and is blunt on few rows; ``deviation`` is that of the total, sharp and blind to
    the rest: (Σy − Σp) / √Σp(1 − p), which is about standard normal for calibrated predictions.
    """

    version_id: int
    head: str
    start: date
    rows: int
    expected: float
    happened: int
    share: Estimate
    ece: float
    null: float
    deviation: float
    level: str


def weeks(population: str, now: datetime, *, tolerance: float) -> list[Week]:
    """Return the last weeks whose outcomes are known, the latest first; none with fewer than LEAST_ROWS rows."""
    grouped: dict[tuple[date, int], list[tuple[float, bool]]] = {}
    heads = _heads(population)
    for version_id, shown_at, p, happened in _rows(population, now, heads):
        day = shown_at.date()
        monday = day - timedelta(days=day.weekday())
        grouped.setdefault((monday, version_id), []).append((p, happened))
    return [
        _week(version_id, heads[version_id], start, rows, tolerance)
        for (start, version_id), rows in sorted(grouped.items(), reverse=True)
        if len(rows) >= LEAST_ROWS
    ]


def _week(version_id: int, head: str, start: date, rows: list[tuple[float, bool]], tolerance: float) -> Week:
    p = np.array([probability for probability, _happened in rows])
    y = np.array([happened for _probability, happened in rows], dtype=np.float64)
    error, null = ece(p, y, np.ones(len(y))), ece_null(p)
    deviation = float((y - p).sum() / max(np.sqrt((p * (1 - p)).sum()), 1e-9))
    far = abs(float((y - p).mean())) > tolerance
    if error > max(allowed(null), tolerance) or (far and abs(deviation) > CERTAIN):
        level = BAD
    else:
        level = HINT if error > max(null, tolerance) or (far and abs(deviation) > DOUBTFUL) else GOOD
    share = wilson(int(y.sum()), len(y))
    assert share is not None  # there are rows
    return Week(version_id, head, start, len(y), float(p.sum()), int(y.sum()), share, error, null, deviation, level)


def _heads(population: str) -> dict[int, str]:
    """Return each response version's head: the outcome that it was judged on."""
    rows = ModelVersion.objects.filter(population=population, task="response").values_list("pk", "metrics")
    found = {}
    for pk, metrics in rows:
        head = metrics.get("head") if isinstance(metrics, Mapping) else None
        found[pk] = head if head in OUTCOMES else "redeem"
    return found


def _rows(population: str, now: datetime, heads: Mapping[int, str]) -> Iterator[tuple[int, datetime, float, bool]]:
    """Yield version, moment, predicted probability and outcome, from the latest to the earliest."""
    fields = ("shopper_id", "offer_id", "decision__at", "decision__model_version_id", "decision__eligible")
    exposures = (
        Exposure.objects.filter(
            decision__at__gte=now - timedelta(weeks=WEEKS),
            decision__model_version__in=list(heads),
            decision__fallback="",
            shopper__population=population,
            arm=Arm.TREATMENT.value,
            window_ends_at__lte=now,
        )
        .exclude(offer__isnull=True)
        .order_by("-decision__at", "-pk")
        .values_list(*fields, "offer__kind", *OUTCOMES.values())[:MOST]
    )
    later: dict[tuple[int, int], datetime] = {}
    for shopper, offer, at, version, eligible, kind, *outcomes in exposures.iterator(chunk_size=2000):
        last = later.get((shopper, offer))
        if last is not None and last - at < EPISODE:
            continue
        later[shopper, offer] = at
        head = heads[version]
        if head == "redeem" and kind == OfferKind.ANNOUNCEMENT:
            continue
        p = predicted(eligible, offer, HEADS.index(head))
        if p is not None:
            yield version, at, p, outcomes[HEADS.index(head)] is not None


def predicted(eligible: Any, offer_id: int, head: int) -> float | None:
    """Return the shopper's own probability that a decision noted for an offer; None where it used an average."""
    for row in eligible if isinstance(eligible, list) else ():
        if isinstance(row, Mapping) and row.get("offer") == offer_id:
            heads, reasons = row.get("heads"), row.get("reasons")
            own = isinstance(reasons, list) and "predicted_for_shopper" in reasons
            if own and isinstance(heads, list) and len(heads) == len(HEADS):
                return float(heads[head])
    return None
