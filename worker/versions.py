"""Estimators in and out of the registry: artefact on disk, row in the database."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import numpy as np

from personalization.exceptions import ArtifactCorrupt
from personalization.features.specification import VERSION as FEATURES_VERSION
from personalization.features.topics import shares
from personalization.learning import fairness
from personalization.learning import wordings as words
from personalization.learning.jobs import Job
from personalization.learning.registry import ModelVersion
from personalization.types import ModelTask
from worker import artifacts
from worker.calibrate import Calibrator
from worker.data import Vocabularies
from worker.estimators.base import ResponseEstimator
from worker.intent import REGISTRY as INTENT
from worker.response import REGISTRY as RESPONSE
from worker.response import Fitted

ESTIMATORS = RESPONSE | INTENT


def store_response(
    fitted: Fitted,
    vocabularies: Vocabularies,
    *,
    task: ModelTask,
    population: str,
    job: Job | None,
    cutoff_at: datetime,
    metrics: dict[str, Any],
    card: dict[str, Any],
    backtest: dict[str, Any] | None = None,
) -> ModelVersion:
    """Write an estimator's files and return its row, to be registered when the whole run is done.

    ``backtest`` arrays (exposure, probability, label) travel along.
    """
    config, arrays = fitted.estimator.dump()
    kept = {f"estimator/{key}": value for key, value in arrays.items()}
    kept.update({f"backtest/{key}": value for key, value in (backtest or {}).items()})
    artifact = artifacts.write(
        f"{population}-{task.value}-{fitted.name}",
        {
            "estimator": fitted.name,
            "config": config,
            "calibrator": fitted.calibrator.as_json(),
            "vocabularies": vocabularies.as_json(),
            "features_version": FEATURES_VERSION,
            "cutoff_at": cutoff_at.isoformat(),
        },
        kept,
    )
    unseen = fairness.hidden_from_offers(population)  # blank for everybody: a weight on nothing is no look at it
    found = fitted.estimator.importances()
    every = {name: share for name, share in found.items() if name.removesuffix("_missing") not in unseen}
    importances = sorted(every.items(), key=lambda item: -item[1])
    tastes = vocabularies.tastes
    topics = {code: round(share, 5) for code, share in shares(every).items()}
    return ModelVersion(
        task=task.value,
        population=population,
        estimator=fitted.name,
        job=job,
        cutoff_at=cutoff_at,
        path=artifact.path,
        sha256=artifact.sha256,
        size_bytes=artifact.size_bytes,
        metrics=metrics,
        card={
            "topics": topics,  # unless the card knows better
            **card,
            "text_topics": [] if tastes.topics is None else tastes.topics.top_words(),
            "importances": {name: round(value, 4) for name, value in importances},
            "looks_at": list(topics),
        },
    )


class Loaded:
    """A version read back: predicts calibrated effects."""

    def __init__(self, version: ModelVersion) -> None:
        config, arrays = artifacts.read(version.path, version.sha256)
        if config["features_version"] != FEATURES_VERSION:
            raise ArtifactCorrupt(words.EARLIER_FEATURES, params={"version": str(version)})
        own = {key.removeprefix("estimator/"): v for key, v in arrays.items() if key.startswith("estimator/")}
        self.version = version
        if config["estimator"] not in ESTIMATORS:
            raise ArtifactCorrupt(words.UNKNOWN_SORT, params={"version": str(version)})
        try:
            self.estimator: ResponseEstimator = ESTIMATORS[config["estimator"]].restore(config["config"], own)
        except (KeyError, TypeError, ValueError) as error:  # the checksum holds: it is of another release
            told = {"version": str(version), "why": f"{type(error).__name__}: {error}".rstrip(".")}
            raise ArtifactCorrupt(words.EARLIER_SETTINGS, params=told) from error
        self.calibrator = Calibrator.from_json(config["calibrator"])
        self.vocabularies = Vocabularies.from_json(config["vocabularies"])
        self.backtest = {
            key.removeprefix("backtest/"): np.array(v) for key, v in arrays.items() if key.startswith("backtest/")
        }
