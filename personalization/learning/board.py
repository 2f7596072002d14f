"""The board: every estimator's figures from the same temporal evaluation, champion marked, newest training first."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from personalization.models import ModelVersion


@dataclass(frozen=True, slots=True)
class BoardRow:
    """One estimator of the latest training of its task. ``metrics``: name → value, lower and upper 95 % bound."""

    estimator: str
    task: str
    version_id: int | None
    champion: bool
    metrics: dict[str, tuple[float, float, float]]
    trained_at: datetime | None
    note: str


def board(population: str = "shop") -> list[BoardRow]:
    """Return the rows of the latest training per task, and the reigning champion if it is older."""
    rows: list[BoardRow] = []
    versions = list(ModelVersion.objects.filter(population=population).order_by("-created_at", "-pk"))
    for task, _label in ModelVersion.TASKS:
        of_task = [version for version in versions if version.task == task]
        if not of_task:
            continue
        latest = [version for version in of_task if version.job_id == of_task[0].job_id]
        champion = next((v for v in of_task if v.state == ModelVersion.State.CHAMPION), None)
        if champion is not None and champion not in latest:
            latest.append(champion)
        rows += sorted(map(_row, latest), key=lambda row: (not row.champion, row.estimator))
    return rows


def _row(version: ModelVersion) -> BoardRow:
    figures = version.metrics.get("board", {}) if isinstance(version.metrics, dict) else {}
    metrics = {
        name: (float(value[0]), float(value[1]), float(value[2]))
        for name, value in figures.items()
        if isinstance(value, list) and len(value) == 3
    }
    return BoardRow(
        estimator=version.estimator,
        task=version.task,
        version_id=version.pk,
        champion=version.state == ModelVersion.State.CHAMPION,
        metrics=metrics,
        trained_at=version.created_at,
        note=str(version.card.get("note", "")) if isinstance(version.card, dict) else "",
    )
