"""Predict yesterday's exposures with the champion and with whoever is in shadow, and judge what has matured.

Each exposure is predicted from what was known at its moment. Written block by block: an interrupted or cancelled run
goes on where it stopped, and predicts nothing twice.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any

import numpy as np

from personalization.exceptions import NotEnoughData
from personalization.features.compute import FeatureBuilder, Rows
from personalization.features.frames import Floats, Frames, Ints, milliseconds
from personalization.learning import frames as reading
from personalization.learning import registry, shadow
from personalization.learning import wordings as words
from personalization.learning.handlers import Stage
from personalization.learning.jobs import Job
from personalization.learning.registry import ModelVersion
from personalization.learning.sentences import Sentence
from personalization.types import HEADS, ModelTask
from worker import metrics
from worker.data import assemble, horizon, labels
from worker.gate import MIN_ROWS
from worker.response import primary_head
from worker.train import population_of
from worker.versions import Loaded

BLOCK = 2000
SEED = 0


def run(job: Job | None, params: dict[str, Any], stage: Stage, *, until: datetime | None = None) -> dict[str, Any]:
    """Predict, judge, store; returns the job's result. Raises NotEnoughData where nobody reigns."""
    population = population_of(params.get("population"))
    until = until or reading.moment_to_score(population)
    versions = shadow.watched(population)
    if not versions:
        trained = ModelTask.RESPONSE in registry.trained_tasks(population)
        raise NotEnoughData(words.REFUSED_AND_NO_SHADOW if trained else words.NOBODY_IN_SHADOW)
    stage(words.READING, 0.02)
    frames = reading.load(population, until, lambda what: stage(what, 0.05))
    builder = FeatureBuilder(frames)
    written = {
        str(version): _predict(version, builder, _within(stage, place, len(versions)))
        for place, version in enumerate(versions)
    }
    stage(words.JUDGING, 0.95)
    found = judge(versions, frames, until)
    shadow.forget(population, versions, until)
    result = {"population": population, "until": until.isoformat(), "predicted": written} | {
        "judged": {str(version): found[version.pk] for version in versions if version.pk in found}
    }
    shadow.conclude(job, found, result)
    return result


def _within(stage: Stage, place: int, places: int) -> Stage:
    return lambda what, done: stage(what, 0.1 + 0.8 * (place + done) / places)


def _predict(version: ModelVersion, builder: FeatureBuilder, stage: Stage) -> int:
    """Write a version's predictions of what was shown since it watches; returns how many were missing."""
    exposures = builder.frames.exposures
    wanted = (exposures.offer >= 0) & (exposures.time >= milliseconds(shadow.since(version)))
    wanted &= ~np.isin(exposures.id, list(shadow.predicted(version)))
    missing = np.flatnonzero(wanted)
    if not len(missing):
        return 0
    loaded = Loaded(version)
    for start in range(0, len(missing), BLOCK):
        chosen = exposures.take(missing[start : start + BLOCK])
        rows = Rows(chosen.shopper, chosen.offer, chosen.time, chosen.window_end)
        unknown = np.full((len(rows), len(HEADS)), np.nan)
        samples = assemble(builder, rows, unknown, chosen.id, loaded.vocabularies)
        heads = loaded.calibrator.apply(loaded.estimator.score(samples))
        shadow.write(version, chosen.id.tolist(), heads)
        stage(Sentence(words.PREDICTING_WITH, {"version": str(version)}), (start + len(rows)) / len(missing))
    return len(missing)


def judge(versions: list[ModelVersion], frames: Frames, until: datetime) -> dict[int, dict[str, Any]]:
    """Return what to write into the versions' metrics: ``live`` for each, ``shadow`` for those beside the champion.

    Exposures whose outcome is known count; each challenger is compared on the rows that the champion predicted too.
    """
    y = labels(frames)
    matured = (frames.exposures.offer >= 0) & (frames.exposures.time + horizon(frames) <= frames.until)
    if not matured.any() or not np.nansum(y[matured]) > 0:
        return {}
    head = primary_head(y[matured])
    told = {"head": HEADS[head], "until": until.isoformat()}
    usable = matured & ~np.isnan(y[:, head])
    place = {int(pk): row for row, pk in enumerate(frames.exposures.id) if usable[row]}
    said = {version.pk: _by_row(version, place, head) for version in versions}
    champion = versions[0] if versions[0].state == ModelVersion.State.CHAMPION else None
    found: dict[int, dict[str, Any]] = {}
    for version in versions:
        rows, p = said[version.pk]
        began = shadow.since(version).isoformat()
        found[version.pk] = {"live": {**told, "since": began, **_calibration(p, y[rows, head])}}
        if champion is not None and version is not champion:
            shared, mine, theirs = np.intersect1d(rows, said[champion.pk][0], return_indices=True)
            gain = _gain(p[mine], said[champion.pk][1][theirs], y[shared, head], frames.exposures.shopper[shared])
            told_rows = {"rows": len(shared), "positives": int(y[shared, head].sum()), "gain": gain}
            found[version.pk]["shadow"] = {**told, "since": began, "rival": str(champion), **told_rows}
    return found


def _by_row(version: ModelVersion, place: dict[int, int], head: int) -> tuple[Ints, Floats]:
    """Return the rows that a version predicted, ascending, and its probabilities of the head."""
    stored = shadow.read(version)
    rows = np.array([place.get(int(pk), -1) for pk in stored.exposure], dtype=np.int64)
    known = np.flatnonzero(rows >= 0)
    order = known[np.argsort(rows[known], kind="stable")]
    return rows[order], stored.heads[order, head]


def _enough(y: Floats) -> bool:
    return len(y) >= MIN_ROWS and len(np.unique(y)) == 2


def _calibration(p: Floats, y: Floats) -> dict[str, Any]:
    """Return the calibration error and what chance alone would show; None for both where there are too few rows."""
    if not _enough(y):
        return {"rows": len(y), "ece": None, "ece_null": None}
    return {
        "rows": len(y),
        "ece": round(metrics.ece(p, y, np.ones(len(y))), 5),
        "ece_null": round(metrics.ece_null(p, seed=SEED), 5),
    }


def _gain(p: Floats, rival: Floats, y: Floats, shopper: Ints) -> list[float] | None:
    if not _enough(y):
        return None
    gain = metrics.paired_gain(p, rival, y, metrics.Resampler(shopper, seed=SEED))
    return [round(value, 5) for value in gain]
