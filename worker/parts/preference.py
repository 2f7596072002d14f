"""The rankers of products."""

from __future__ import annotations

from typing import Any

import numpy as np

from personalization.features.frames import Frames
from personalization.learning import diversity, registry
from personalization.learning import gate as checks
from personalization.learning import wordings as words
from personalization.learning.handlers import Stage
from personalization.learning.jobs import Job
from personalization.learning.registry import ModelVersion
from personalization.learning.sentences import Sentence, store_all
from personalization.types import ModelTask
from worker import artifacts, gate, preference, tuned
from worker.parts.base import SEED, Outcome, came_to, data_of, moment, within


def train(frames: Frames, job: Job | None, params: dict[str, Any], stage: Stage, outcome: Outcome) -> None:
    """Race the line-up, and let the winner challenge what reigns."""
    seed = int(params.get("seed", SEED))
    reigning = registry.champion(ModelTask.PREFERENCE, frames.population)
    lost = tuned.earlier(reigning) if reigning is not None else {}
    known = None if reigning is None or lost else (reigning.estimator, tuned.card_settings(reigning))
    searched, outdated = tuned.adopted(frames.population, ModelTask.PREFERENCE)
    race = preference.backtest(
        frames, params.get("rankers"), seed=seed, stage=within(stage, 0.0, 0.8), reigning=known,
        adopted=tuned.settings(searched),
    )  # fmt: skip
    champion, reasons = preference.winner(race.results, seed=seed)
    best = next(result for result in race.results if result.name == champion)
    judged = gate.judge_ranking(race, best, reigning, seed=seed, lost=lost)
    promoted = checks.holds(judged)
    reasons += [*race.left_out, *gate.last_words(champion, judged, reigning)]
    origin = preference.test_origin(frames)
    data = data_of(frames, origin, diversity.describe(frames, origin))
    card = {"reasons": store_all(reasons), "data": data}
    for result in race.results:
        version = _store_ranker(frames, job, result, race.tested, card, seed)
        version.card |= tuned.on_card(result.settings, searched.get(result.name))
        outcome.versions.append(version)
        if result is best:
            version.metrics |= {"gate": checks.stored(judged), "challenger": True}
            if promoted:
                outcome.promote(version, reigning)
    told = {"tested": f"{race.tested:,}", "outcome": came_to(champion, promoted, reigning)}
    outcome.sentences += [Sentence(words.PREFERENCE, told), *reasons]
    outcome.sentences += [*tuned.told(searched, [result.name for result in race.results]), *outdated]


def _store_ranker(
    frames: Frames, job: Job | None, result: preference.RankerResult, tested: int, card: dict[str, Any], seed: int
) -> ModelVersion:
    """Rankers are fitted anew when scoring (seconds); the artefact keeps what they were judged with."""
    artifact = artifacts.write(
        f"{frames.population}-preference-{result.name}",
        {"ranker": result.name, "items": len(frames.items.ids)},
        {name: values.astype(np.float32) for name, values in result.figures.items()},
    )
    return ModelVersion(
        task=ModelTask.PREFERENCE.value,
        population=frames.population,
        estimator=result.name,
        job=job,
        cutoff_at=moment(frames.until),
        path=artifact.path,
        sha256=artifact.sha256,
        size_bytes=artifact.size_bytes,
        metrics={
            "board": preference.summarise(result, seed=seed),
            "tested": tested,
            "fit_seconds": result.fit_seconds,
            "peak_mb": result.peak_mb,
            "rank_seconds": result.rank_seconds,
        },
        card={
            **card,
            "population": frames.population,
        },
    )
