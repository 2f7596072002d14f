"""The training of attractiveness: past launches → race → the winner fitted on all of them → versions."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

import numpy as np

from personalization.exceptions import ArtifactCorrupt, NotEnoughData
from personalization.features import launches as features
from personalization.features.frames import Frames
from personalization.features.launches import COLUMNS, STEPS, TOPICS, Launches
from personalization.learning import gate as checks
from personalization.learning import wordings as words
from personalization.learning.handlers import Stage
from personalization.learning.jobs import Job
from personalization.learning.launches import plans
from personalization.learning.registry import ModelVersion
from personalization.learning.sentences import store_all
from personalization.types import ModelTask, Purpose
from worker import artifacts, device
from worker.attractiveness import race as racing
from worker.attractiveness.base import Attractiveness
from worker.attractiveness.race import REGISTRY, Race


def train(
    frames: Frames,
    job: Job | None,
    versions: list[ModelVersion],
    reigning: ModelVersion | None,
    *,
    seed: int,
    stage: Stage,
) -> tuple[Race, ModelVersion]:
    """Judge every estimator on past launches, and fit all of them on all launches; NotEnoughData says what is missing.

    New versions are added to ``versions`` as they are written. Returns the race and its winner's version. What was
    judged knew less than what is stored: the board's figures are of the past, as with every part.
    """
    started = time.monotonic()
    launches = features.past(frames, plans(frames))
    if len(launches) and launches.responded.sum() in (0, launches.shown.sum()):
        told = {"have": len(launches)}
        raise NotEnoughData(words.ALL_ALIKE if launches.responded.any() else words.NO_RESPONSE_YET, params=told)
    race = racing.judge(racing.run(launches, seed=seed, stage=stage), reigning)
    mine = {}
    for item in race.entries:
        estimator: Attractiveness = REGISTRY[item.name]()
        estimator.fit(launches, seed=seed)
        card = {**_card(frames, launches, race), **_looked_at(estimator, launches)}
        card["seconds"] = round(time.monotonic() - started, 1)
        mine[item.name] = _store(estimator, frames, job, card=card, race=race)
        versions.append(mine[item.name])
    return race, mine[race.champion]


def load(version: ModelVersion) -> Attractiveness:
    """Return a version's estimator; ArtifactCorrupt if it cannot be read, or reads other columns than these."""
    config, arrays = artifacts.read(version.path, version.sha256)
    if config.get("launch_features_version") != features.VERSION:
        raise ArtifactCorrupt(words.EARLIER_LAUNCHES, params={"version": str(version)})
    if config["estimator"] not in REGISTRY:
        raise ArtifactCorrupt(words.UNKNOWN_SORT, params={"version": str(version)})
    own = {key.removeprefix("estimator/"): value for key, value in arrays.items() if key.startswith("estimator/")}
    estimator: Attractiveness = REGISTRY[config["estimator"]].restore(config["config"], own)
    return estimator


def _store(
    estimator: Attractiveness, frames: Frames, job: Job | None, *, card: dict[str, Any], race: Race
) -> ModelVersion:
    config, arrays = estimator.dump()
    item = race.entry(estimator.name)
    kept = {f"estimator/{key}": value for key, value in arrays.items()}
    tested = {"shown": race.tested.shown, "responded": race.tested.responded}
    said = {"mean": item.predicted.mean, "precision": item.predicted.precision}
    kept |= {f"backtest/{key}": value for key, value in (tested | said).items()}
    cutoff = datetime.fromtimestamp(frames.until / 1000, tz=UTC)
    stored = {
        "estimator": estimator.name,
        "config": config,
        "launch_features_version": features.VERSION,
        "cutoff_at": cutoff.isoformat(),
    }
    artifact = artifacts.write(f"{frames.population}-attractiveness-{estimator.name}", stored, kept)
    return ModelVersion(
        task=ModelTask.ATTRACTIVENESS.value,
        population=frames.population,
        estimator=estimator.name,
        job=job,
        cutoff_at=cutoff,
        path=artifact.path,
        sha256=artifact.sha256,
        size_bytes=artifact.size_bytes,
        metrics={
            "board": racing.figures(race, item),
            "tested": len(race.tested),
            "gain": race.gains.get(item.name),
            "gate": checks.stored(item.checks),
            "challenger": item.name == race.champion,
            "fit_seconds": item.cost.seconds,
            "peak_mb": item.cost.peak_mb,
        },
        card=card,
    )


def _card(frames: Frames, launches: Launches, race: Race) -> dict[str, Any]:
    return {
        "population": frames.population,
        "data": {
            "simulated": frames.simulated,
            "shoppers": len(frames.shoppers),
            "events": len(frames.events),
            "exposures": len(frames.exposures),
            "launches": len(launches),
            "launches_judged": len(race.tested),
            "consent": Purpose.PERSONALISATION.value,
            "from": datetime.fromtimestamp(frames.start / 1000, tz=UTC).isoformat(),
            "until": datetime.fromtimestamp(frames.until / 1000, tz=UTC).isoformat(),
            "test_from": datetime.fromtimestamp(int(race.tested.start.min()) / 1000, tz=UTC).isoformat(),
        },
        "columns": [STEPS, len(COLUMNS)],
        "reasons": store_all(race.reasons),
        "device": device.describe(device.pick()),
    }


def _looked_at(estimator: Attractiveness, launches: Launches) -> dict[str, Any]:
    """Return topic → its share of what moves the predictions over all launches, the largest first."""
    size = np.abs(estimator.explain(launches).values).mean(axis=0)
    total = float(size.sum())
    order = np.argsort(-size, kind="stable")
    shares = {TOPICS[at].code: round(float(size[at]) / total, 4) for at in order if size[at] > 0} if total else {}
    return {"launch_topics": shares}
