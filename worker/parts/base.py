"""What the parts of a training share: the outcome that they add to, progress within a share, cards and figures."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from personalization.features.frames import Frames
from personalization.learning import gate as checks
from personalization.learning import wordings as words
from personalization.learning.handlers import Stage
from personalization.learning.registry import ModelVersion
from personalization.learning.sentences import Said, Sentence, store_all
from personalization.types import HEADS, Purpose
from worker import device, gate
from worker.response import Fitted

SEED = 0


@dataclass(slots=True)
class Outcome:
    """What a run produced: new versions, which of them are to reign, and sentences for people.

    ``refused``: the response challenger that a reigning champion keeps out; it goes on in shadow. ``rivals``: by task,
    who reigned when the promoted one was judged.
    """

    versions: list[ModelVersion] = field(default_factory=list)
    promoted: list[ModelVersion] = field(default_factory=list)
    rivals: dict[str, ModelVersion | None] = field(default_factory=dict)
    refused: ModelVersion | None = None
    sentences: list[Sentence] = field(default_factory=list)

    def promote(self, version: ModelVersion, rival: ModelVersion | None) -> None:
        """Note that a version is to reign instead of ``rival``, if nobody decides otherwise before the run ends."""
        self.promoted.append(version)
        self.rivals[version.task] = rival


def within(stage: Stage, low: float, high: float) -> Stage:
    """Return a progress that fills this share of another one."""
    return lambda what, done: stage(what, low + (high - low) * done)


def stage_of(stage: Stage, what: Said, low: float) -> Callable[[float], None]:
    """Return the progress of one named step, from ``low`` on."""
    return lambda done: stage(what, low + (1 - low) * done)


def moment(milliseconds: int) -> datetime:
    """Return the moment that a number of milliseconds stands for."""
    return datetime.fromtimestamp(milliseconds / 1000, tz=UTC)


def came_to(winner: str | None, promoted: bool, reigning: ModelVersion | None) -> Sentence:
    """Return who reigns after a training."""
    if promoted:
        return Sentence(words.SHIPS, {"estimator": winner})
    return Sentence(words.NO_MODEL) if reigning is None else Sentence(words.STAYS, {"rival": str(reigning)})


def metrics_of(item: Fitted, verdict: gate.Verdict) -> dict[str, Any]:
    """Return what a version keeps of its race."""
    return {
        "board": verdict.board[item.name],
        "head": verdict.head,
        "gain": verdict.gains.get(item.name),
        "gate": checks.stored(verdict.checks[item.name]),
        "challenger": item.name == verdict.champion,
        "fit_seconds": item.cost.seconds,
        "peak_mb": item.cost.peak_mb,
        "curves": getattr(item.estimator, "curves", []),
    }


def data_of(frames: Frames, origin: int, diverse: dict[str, Any]) -> dict[str, Any]:
    """Return the card's part on the data; ``diverse`` is the report on it."""
    return {
        "simulated": frames.simulated,
        "shoppers": len(frames.shoppers),
        "events": len(frames.events),
        "exposures": len(frames.exposures),
        "consent": Purpose.PERSONALISATION.value,
        "from": moment(frames.start).isoformat(),
        "until": moment(frames.until).isoformat(),
        "test_from": moment(origin).isoformat(),
        "diversity": diverse,
    }


def card_of(
    frames: Frames, span: int, verdict: gate.Verdict, origin: int, diverse: dict[str, Any], seconds: float
) -> dict[str, Any]:
    """Return what the cards of one race have in common."""
    windows = {"outcome_window_hours": round(span / 3_600_000, 1), "outcome_window_ms": span}
    return {
        "population": frames.population,
        "data": {**data_of(frames, origin, diverse), **windows},
        "judged_on": verdict.head,
        "reasons": store_all(verdict.reasons),
        "device": device.describe(device.pick()),
        "seconds": round(seconds, 1),
        "heads": list(HEADS),
    }
