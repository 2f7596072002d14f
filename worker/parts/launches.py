"""The attractiveness of campaigns."""

from __future__ import annotations

from typing import Any

from personalization.features.frames import Frames
from personalization.learning import registry
from personalization.learning import wordings as words
from personalization.learning.handlers import Stage
from personalization.learning.jobs import Job
from personalization.learning.sentences import Sentence
from personalization.types import ModelTask
from worker.attractiveness import train as attractiveness
from worker.parts.base import SEED, Outcome, came_to


def train(frames: Frames, job: Job | None, params: dict[str, Any], stage: Stage, outcome: Outcome) -> None:
    """Judge the estimators of attractiveness on past launches."""
    seed = int(params.get("seed", SEED))
    reigning = registry.champion(ModelTask.ATTRACTIVENESS, frames.population)
    race, winner = attractiveness.train(frames, job, outcome.versions, reigning, seed=seed, stage=stage)
    if race.promoted:
        outcome.promote(winner, reigning)
    came = came_to(race.champion, race.promoted, reigning)
    told = {"launches": winner.card["data"]["launches"], "tested": len(race.tested), "outcome": came}
    outcome.sentences += [Sentence(words.ATTRACTIVENESS, told), *race.reasons]
