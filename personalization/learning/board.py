"""The board: every estimator's figures from the same temporal evaluation, champion marked, newest training first."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from personalization.learning import gate, metric_names, wordings
from personalization.learning.figures import is_number, listed, mapping
from personalization.learning.gate import Check
from personalization.models import ModelVersion


@dataclass(frozen=True, slots=True)
class Cost:
    """What a version costs; None where it was not measured.

    Seconds of the fit, the process's peak of memory meanwhile (MB), seconds to score 1,000 rows (a ranker: shoppers),
    bytes on disk.
    """

    fit_seconds: float | None
    peak_mb: float | None
    seconds_per_1000: float | None
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Shadow:
    """What a version predicted without serving, against the champion on the same rows, once the outcomes were known.

    ``gain`` is the champion's log-loss less this one's, with its 95 % interval.
    """

    rows: int
    gain: tuple[float, float, float] | None
    rival: str
    since: str
    until: str


@dataclass(frozen=True, slots=True)
class BoardRow:
    """One estimator of the latest training of its task. ``metrics``: name → value, lower and upper 95 % bound.

    ``earlier``: it is at work still, and was judged in a training before that one, on other data.
    ``challenger``: it won its training's race and faced the gate. ``checks``: the gate's verdicts.
    """

    estimator: str
    task: str
    version_id: int | None
    champion: bool
    earlier: bool
    metrics: dict[str, tuple[float, float, float]]
    trained_at: datetime | None
    note: str
    challenger: bool
    cost: Cost
    checks: list[Check]
    shadow: Shadow | None


def board(population: str = "shop") -> list[BoardRow]:
    """Return the rows of the latest training per task, the reigning champion if it is older, and who is in shadow."""
    rows: list[BoardRow] = []
    versions = list(ModelVersion.objects.filter(population=population).order_by("-created_at", "-pk"))
    for task, _label in ModelVersion.TASKS:
        of_task = [version for version in versions if version.task == task]
        if not of_task:
            continue
        latest = of_task[0].job_id
        told = [_row(each, latest) for each in of_task if each.job_id == latest or _is_at_work(each)]
        rows += sorted(told, key=lambda row: (not row.champion, row.estimator))
    return rows


def _is_at_work(version: ModelVersion) -> bool:
    return version.state == ModelVersion.State.CHAMPION or version.in_shadow


def _row(version: ModelVersion, latest: int | None) -> BoardRow:
    stored = mapping(version.metrics)
    figures = mapping(stored.get("board"))
    checks = gate.checks_of(stored)
    return BoardRow(
        estimator=version.estimator,
        task=version.task,
        version_id=version.pk,
        champion=version.state == ModelVersion.State.CHAMPION,
        earlier=version.job_id != latest,
        metrics={
            name: triple for name in metric_names.ordered(figures) if (triple := _triple(figures[name])) is not None
        },
        trained_at=version.created_at,
        note=wordings.note(version.task, version.estimator) or str(mapping(version.card).get("note", "")),
        challenger=bool(stored.get("challenger")),
        cost=Cost(
            fit_seconds=_number(stored.get("fit_seconds")),
            peak_mb=_number(stored.get("peak_mb")),
            seconds_per_1000=next((_number(check.figure) for check in checks if check.name == "latency"), None),
            size_bytes=version.size_bytes,
        ),
        checks=checks,
        shadow=shadow_of(stored),
    )


def _triple(value: Any) -> tuple[float, float, float] | None:
    given = listed(value)
    numbers = [float(each) for each in given if is_number(each)]
    return (numbers[0], numbers[1], numbers[2]) if len(numbers) == len(given) == 3 else None


def _number(value: Any) -> float | None:
    return value if is_number(value) else None


def shadow_of(metrics: Any) -> Shadow | None:
    """Return what a version's metrics hold of its time in shadow; None if it was never there."""
    stored = mapping(mapping(metrics).get("shadow"))
    if not stored:
        return None
    return Shadow(
        rows=int(_number(stored.get("rows")) or 0),
        gain=_triple(stored.get("gain")),
        rival=str(stored.get("rival", "")),
        since=str(stored.get("since", "")),
        until=str(stored.get("until", "")),
    )
