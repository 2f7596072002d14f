"""Shoppers scored per second by the batch job, beside one model call a shopper.

Value: ``worker.score.run`` on a simulated shop with a trained champion, from reading the database to publishing the
whole set. Peer: the same job with :func:`one_by_one` below in the place of its blocks. In the notes also both forms of
the effects alone, without what the job reads and writes.
"""

from __future__ import annotations

import sys
import time
from typing import Any
from unittest import mock

import numpy as np
from django.utils import timezone

from personalization.features.frames import Floats, Ints, milliseconds
from personalization.learning import frames as reading
from personalization.learning import shards
from personalization.models import ShopperScores
from personalization.types import ModelTask
from tests.benchmarks import report, simulated, stage
from worker import score, train
from worker.score import Scorer

PEER = "the same job, one model call a shopper"
in_blocks = Scorer.effects


def one_by_one(scorer: Scorer, shoppers: Ints) -> tuple[Floats, Floats]:
    """The peer: features, model and calibrator are asked for one shopper's offers at a time, as a view would."""
    answers = [in_blocks(scorer, np.array([shopper])) for shopper in shoppers]
    return np.concatenate([effects for effects, _basket in answers]), np.concatenate([own for _e, own in answers])


def measure(quick: bool) -> report.Measurement:
    """Build a shop, train, then score in one process and ask shopper by shopper in another."""
    population = simulated.built("small" if quick else "full")
    trained = stage.apart(_train, population, ["offer_mean", "boosting"] if quick else None)
    turns = 1 if quick else 3
    ours: list[stage.Apart] = []
    peers: list[stage.Apart] = []
    for _ in range(turns):
        ours.append(stage.apart(_score, population))
        peers.append(stage.apart(_score_one_by_one, population))
    rate = report.paired(*([each.result["rate"] for each in side] for side in (ours, peers)))
    alone = stage.apart(_effects_alone, population, 100 if quick else 300).result
    notes: dict[str, Any] = rate.as_json() | {
        "data": f"simulated shop, {ours[0].result['shoppers']} shoppers × {alone['offers']} offers",
        "champion": alone["champion"],
        "trained_in_s": round(trained.seconds, 1),
        "runs_s": [each.result["seconds"] for each in ours],
        "share_by_part": ours[-1].result["shares"],
        "peak_mb": max(each.peak_mb for each in ours),
        "peak_mb_above_start": max(each.grown_mb for each in ours),
        "effects_alone": alone,
    }
    return report.Measurement(
        "score", round(rate.value, 1), "shoppers/s", PEER, round(rate.peer_value, 1), round(rate.ratio, 3), notes=notes
    )


def _train(population: str, estimators: list[str] | None) -> None:
    params: dict[str, Any] = {"population": population}
    train.run(None, params | ({"estimators": estimators} if estimators else {}), lambda what, done: None)


def _score(population: str) -> dict[str, Any]:
    began = time.monotonic()
    with stage.clocked(
        reading=(score.reading, "load"),
        loading_models=(Scorer, "__init__"),
        effects=(Scorer, "effects"),
        strategy=(Scorer, "kinds"),
        products=(Scorer, "items"),
        visits_and_interest=(score, "_values"),
        writing=(shards, "finish"),
        tidying=(score.publish, "tidy"),
    ) as parts:
        published = score.run(None, {"population": population}, lambda what, done: None)
    seconds = time.monotonic() - began
    shoppers = ShopperScores.objects.filter(score_set=published).count()
    told = {"seconds": round(seconds, 3), "shares": stage.shares(parts, seconds)}
    return told | {"shoppers": shoppers, "rate": shoppers / seconds}


def _score_one_by_one(population: str) -> dict[str, Any]:
    with mock.patch.object(Scorer, "effects", one_by_one):
        return _score(population)


def _effects_alone(population: str, count: int) -> dict[str, Any]:
    """Time only the prediction: in blocks for everybody, one by one for a sample; both must say the same."""
    now = timezone.now()
    frames = reading.load(population, now)
    scorer = Scorer(frames, milliseconds(now), reading.offers_to_score(population))
    every = np.arange(len(frames.shoppers), dtype=np.int64)
    sample = every[:count]
    one_by_one(scorer, sample[:10])  # warms up
    began = time.monotonic()
    single = one_by_one(scorer, sample)[0]
    one_rate = len(sample) / (time.monotonic() - began)
    began = time.monotonic()
    blocks = [scorer.effects(every[at : at + score.BLOCK])[0] for at in range(0, len(every), score.BLOCK)]
    block_rate = len(every) / (time.monotonic() - began)
    return {
        "shoppers_per_s": round(block_rate, 1),
        "peer_shoppers_per_s": round(one_rate, 1),
        "ratio": round(block_rate / one_rate, 2),
        "largest_difference": float(np.abs(np.concatenate(blocks)[: len(sample)] - single).max()),
        "offers": len(scorer.offers),
        "champion": scorer.versions[ModelTask.RESPONSE].estimator,
    }


if __name__ == "__main__":
    sys.exit(stage.main("score", measure, server=False))
