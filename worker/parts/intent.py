"""Purchase intent in the next days."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from personalization import conf
from personalization.features.frames import Frames
from personalization.learning import registry
from personalization.learning import wordings as words
from personalization.learning.handlers import Stage
from personalization.learning.jobs import Job
from personalization.learning.sentences import Sentence
from personalization.types import ModelTask
from worker import cards, gate, intent
from worker.parts.base import SEED, Outcome, came_to, card_of, metrics_of, moment, stage_of, within
from worker.versions import store_response


def train(frames: Frames, job: Job | None, params: dict[str, Any], stage: Stage, outcome: Outcome) -> None:
    """Backtest every estimator of purchase intent, ship the winner refitted on everything."""
    seed, started = int(params.get("seed", SEED)), time.monotonic()
    problem = intent.pose(frames, conf.get().intent_days)
    fitted, test = intent.backtest(problem, seed=seed, stage=within(stage, 0.0, 0.7))
    reigning = registry.champion(ModelTask.INTENT, frames.population)
    verdict = gate.judge_intent(fitted, test, tuple(intent.REGISTRY), reigning, seed=seed)
    diverse = intent.describe(problem, seed=seed)
    card = card_of(frames, problem.span, verdict, problem.moments[0], diverse, time.monotonic() - started)
    card |= {"intent_days": problem.days, "moments": len(problem.moments), "tested": len(test)}
    for item in fitted:
        ship, vocabularies, cutoff = item, test.vocabularies, problem.moments[0]
        if item.name == verdict.champion:
            progress = stage_of(stage, Sentence(words.FITTING, {"estimator": item.name}), 0.7)
            ship, vocabularies = intent.refit(problem, item, seed=seed, progress=progress)
            cutoff = frames.until
        version = store_response(
            ship, vocabularies, task=ModelTask.INTENT, population=frames.population, job=job,
            cutoff_at=moment(cutoff),
            metrics=metrics_of(item, verdict),
            card={**card, **cards.facts(item, test, verdict.head, champion=item.name == verdict.champion)},
            backtest={"probability": item.predicted.astype(np.float32), "label": test.y.astype(np.float32)},
        )  # fmt: skip
        outcome.versions.append(version)
        if item.name == verdict.champion and verdict.promoted:
            outcome.promote(version, reigning)
    came = came_to(verdict.champion, verdict.promoted, reigning)
    told = {"days": problem.days, "tested": f"{len(test):,}", "outcome": came}
    outcome.sentences += [Sentence(words.INTENT, told), *verdict.reasons]
