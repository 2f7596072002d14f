"""Ask the reigning model how attractive a campaign is offer by offer; where none reigns, count the launches."""

from __future__ import annotations

import logging
from datetime import datetime
from typing import Any

import numpy as np

from personalization.exceptions import ArtifactCorrupt
from personalization.features import launches as features
from personalization.features.frames import Frames, milliseconds
from personalization.features.launches import TOPICS
from personalization.learning import registry
from personalization.learning.frames import CampaignBrief
from personalization.learning.launches import plans
from personalization.learning.sentences import of_error
from personalization.pure.launch_rate import interval
from personalization.types import ModelTask
from worker.attractiveness.base import Explanation
from worker.attractiveness.race import CONFIDENCE, MIN_LAUNCHES
from worker.attractiveness.train import load
from worker.estimators.base import sigmoid

logger = logging.getLogger(__name__)
MOST_REASONS = 3
LEAST_POINTS = 0.0005
"""A part that moves the rate by less than this is not worth a word."""


def attractiveness(frames: Frames, campaign: CampaignBrief, shoppers: int, now: datetime) -> dict[str, Any]:
    """Return what :mod:`personalization.learning.attractiveness` reads.

    The interval is of a launch shown to so many shoppers. An offer that has nothing to redeem is not among them.
    """
    planned = plans(frames)
    version = registry.champion(ModelTask.ATTRACTIVENESS, frames.population)
    if version is None:
        return {"launches": len(features.past(frames, planned)), "needed": MIN_LAUNCHES}
    try:
        estimator = load(version)
    except ArtifactCorrupt as error:
        logger.warning("%s cannot be asked: %s", version, error.message)
        return {"problem": of_error(error).stored()}
    start = milliseconds(max(campaign.starts_at, now))
    mine = np.flatnonzero(np.isin(frames.offers.ids, list(campaign.tiers)))
    launches = features.planned(frames, planned, mine.tolist(), start)
    said, told = estimator.predict(launches), estimator.explain(launches)
    offers = []
    for row, place in enumerate(launches.offer):
        mean, precision = float(said.mean[row]), float(said.precision[row])
        low, high = interval(mean, precision, shoppers, confidence=CONFIDENCE)
        offers.append(
            {
                "offer": int(frames.offers.ids[place]),
                "name": frames.offers.names[place],
                "mean": round(mean, 5),
                "low": round(low, 5),
                "high": round(high, 5),
                "precision": round(precision, 2),
                "parts": _parts(told, row),
            }
        )
    return {"version": version.pk, "estimator": version.estimator, "shoppers": shoppers, "offers": offers}


def _parts(told: Explanation, row: int) -> list[list[Any]]:
    """Return [topic, by how much the rate would lie lower without it] of the strongest topics, the strongest first."""
    log_odds = told.base[row] + told.values[row].sum()
    moved = sigmoid(log_odds) - sigmoid(log_odds - told.values[row])
    order = np.argsort(-np.abs(moved), kind="stable")[:MOST_REASONS]
    return [[TOPICS[at].code, round(float(moved[at]), 5)] for at in order if abs(moved[at]) >= LEAST_POINTS]
