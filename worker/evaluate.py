"""Evaluation to take away: every prediction on exposures that a version had not seen, and figures over them.

A version is judged on exposures after its cut-off whose outcome is known; where there are none yet, on the test
block of its own training run, predicted by the fit that had not seen it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from personalization.exceptions import NotEnoughData, PersonalizationError
from personalization.features.compute import FeatureBuilder, Rows
from personalization.features.frames import Floats, Frames, Ints, milliseconds
from personalization.learning import frames as reading
from personalization.learning import registry
from personalization.learning import wordings as words
from personalization.learning.registry import ModelVersion
from personalization.pure.proportions import wilson
from personalization.types import HEADS, ModelTask
from worker import metrics
from worker.curves import Confusion
from worker.data import assemble, horizon, labels
from worker.response import primary_head
from worker.versions import Loaded


@dataclass(slots=True)
class Judged:
    """One version's predictions: exposure ids, [rows, heads] probabilities and labels, and where they come from.

    Purchase intent is of nothing that was shown: its rows are shoppers of its test block, and have no exposure.
    """

    version: ModelVersion
    split: str
    exposure: Ints
    probability: Floats
    label: Floats

    @property
    def name(self) -> str:
        """What tables and files call it: an estimator's name, with its task where that is not the response."""
        own, task = self.version.estimator, self.version.task
        return f"{own} ({task})" if task == ModelTask.INTENT else own


def latest_versions(population: str, task: ModelTask = ModelTask.RESPONSE) -> list[ModelVersion]:
    """Return a task's versions of the latest training, and the champion if it is older."""
    found = registry.newest(task, population)
    latest = [version for version in found if version.job_id == found[0].job_id] if found else []
    champion = registry.champion(task, population)
    if champion is not None and champion not in latest:
        latest.append(champion)
    return latest


def judge_versions(population: str) -> tuple[list[Judged], Frames]:
    """Predict with every latest version of response and of purchase intent what it had not seen."""
    versions = latest_versions(population)
    intents = [_backtested(version) for version in latest_versions(population, ModelTask.INTENT)]
    if not versions and not intents:
        raise NotEnoughData(words.NO_RESPONSE_MODEL)
    until = reading.last_moment(population)
    if until is None:
        raise NotEnoughData(words.NO_EVENTS, params={"population": population})
    frames = reading.load(population, until)
    builder = FeatureBuilder(frames)
    return [*(_judge(version, frames, builder) for version in versions), *intents], frames


def _backtested(version: ModelVersion) -> Judged:
    """Return what a version of purchase intent said to the test block of its own training, a row a shopper."""
    kept = Loaded(version).backtest
    if not kept:
        raise PersonalizationError(f"{version} has nothing to be judged on.")
    return Judged(version, "backtest", np.full(len(kept["label"]), -1), kept["probability"], kept["label"])


def _judge(version: ModelVersion, frames: Frames, builder: FeatureBuilder) -> Judged:
    loaded = Loaded(version)
    exposures, y = frames.exposures, labels(frames)
    fresh = (exposures.offer >= 0) & (exposures.time >= milliseconds(version.cutoff_at))
    fresh &= exposures.time + horizon(frames) <= frames.until
    if not fresh.any():
        kept = loaded.backtest
        if not kept:
            raise PersonalizationError(f"{version} has nothing to be judged on.")
        return Judged(version, "backtest", kept["exposure"], kept["probability"], kept["label"])
    chosen = exposures.take(fresh)
    rows = Rows(chosen.shopper, chosen.offer, chosen.time, chosen.window_end)
    samples = assemble(builder, rows, y[fresh], chosen.id, loaded.vocabularies)
    probability = loaded.calibrator.apply(loaded.estimator.score(samples))
    return Judged(version, "after_cutoff", chosen.id, probability, y[fresh])


def primary(judged: Judged) -> tuple[int, NDArray[np.bool_], Floats, Floats]:
    """Return the head that decides, which rows have a known outcome, and their probabilities and labels."""
    head = primary_head(judged.label)
    known = ~np.isnan(judged.label[:, head])
    return head, known, judged.probability[known, head].astype(np.float64), judged.label[known, head].astype(np.float64)


def summary(judged: Judged, frames: Frames, *, threshold: float = 0.5, seed: int = 0) -> dict[str, Any]:
    """Return the figures of one version on its primary head, with 95 % intervals over shoppers."""
    head, known, p, y = primary(judged)
    position = {int(pk): index for index, pk in enumerate(frames.exposures.id)}
    at = np.array([position[int(pk)] for pk in judged.exposure[known] if int(pk) in position], dtype=np.int64)
    shopper = frames.exposures.shopper[at] if len(at) == len(y) else np.arange(len(y))
    resampler = metrics.Resampler(shopper, seed=seed)
    return {
        "model": judged.name,
        "task": judged.version.task,
        "version": judged.version.pk,
        "champion": judged.version.state == ModelVersion.State.CHAMPION,
        "split": judged.split,
        "head": HEADS[head],
        "rows": len(y),
        "positives": int(y.sum()),
        "cutoff_at": judged.version.cutoff_at.isoformat(),
        "metrics": {
            name: dict(zip(("value", "low", "high"), map(_defined, metrics.interval(f, p, y, resampler)), strict=True))
            for name, f in metrics.METRICS.items()
        },
        "rates": rates(judged.label),
        "report": classification_report(p, y, threshold),
        "confusion": asdict(Confusion.at(p, y, threshold)),
    }


SPLITS = {"after_cutoff": "shown since its cut-off", "backtest": "test block of its training"}


def judged_on(summary: Mapping[str, Any]) -> str:
    """Return in words which outcome a version was judged on, and of which rows it had not seen."""
    return f"{summary['head']}: {SPLITS.get(summary['split'], summary['split'])}"


def rates(label: Floats) -> dict[str, dict[str, Any]]:
    """Return how often each outcome happened, with Wilson's interval: view and click rate, redemptions, conversion."""
    found: dict[str, dict[str, Any]] = {}
    for place, head in enumerate(HEADS):
        known = label[~np.isnan(label[:, place]), place]
        share = wilson(int(known.sum()), len(known))
        if share is not None:
            found[head] = {"rows": len(known), "happened": int(known.sum()), **asdict(share)}
    return found


def _defined(value: float) -> float | None:
    """Return a figure, None where it is undefined: JSON knows no nan."""
    return None if np.isnan(value) else value


def classification_report(p: Floats, y: Floats, threshold: float = 0.5) -> dict[str, Any]:
    """Return precision, recall, F1 and support per class, and accuracy, all from one confusion matrix."""
    counts = Confusion.at(p, y, threshold)
    right = counts.true_positive + counts.true_negative
    report: dict[str, Any] = {"threshold": threshold, "accuracy": right / counts.rows if counts.rows else None}
    for name, hits, alarms, misses in (
        ("1", counts.true_positive, counts.false_positive, counts.false_negative),
        ("0", counts.true_negative, counts.false_negative, counts.false_positive),
    ):
        precision = hits / (hits + alarms) if hits + alarms else None
        recall = hits / (hits + misses) if hits + misses else None
        f1 = 2 * hits / (2 * hits + alarms + misses) if hits else None
        report[name] = {"precision": precision, "recall": recall, "f1": f1, "support": hits + misses}
    return report


def predictions(judged: list[Judged], frames: Frames) -> dict[str, list[Any]]:
    """Return columns, one row a test pair and model: shopper, offer, decision_time, label, probability, model, …"""
    exposures = frames.exposures
    position = {int(pk): index for index, pk in enumerate(exposures.id)}
    names = _shopper_names(frames)
    offer_ids = _offer_names(frames)
    columns: dict[str, list[Any]] = {
        name: []
        for name in ("shopper", "offer", "decision_time", "label", "probability", "model", "version", "head", "split")
    }
    for item in judged:
        head = primary_head(item.label)
        for pk, p, y in zip(item.exposure.tolist(), item.probability[:, head], item.label[:, head], strict=True):
            at = position.get(int(pk))
            if at is None or np.isnan(y):
                continue
            columns["shopper"].append(names[int(exposures.shopper[at])])
            columns["offer"].append(offer_ids[int(exposures.offer[at])])
            columns["decision_time"].append(int(exposures.time[at]))
            columns["label"].append(int(y))
            columns["probability"].append(float(p))
            columns["model"].append(item.version.estimator)
            columns["version"].append(item.version.pk)
            columns["head"].append(HEADS[head])
            columns["split"].append(item.split)
    return columns


def _shopper_names(frames: Frames) -> list[str]:
    """Return a keyed pseudonym for each shopper of the shop, the data set's own id for an imported one."""
    known = reading.names_outside(frames.population)
    return [known.get(int(pk), str(int(pk))) for pk in frames.shoppers.ids]


def _offer_names(frames: Frames) -> list[str]:
    return [external or str(int(pk)) for pk, external in zip(frames.offers.ids, frames.offers.external, strict=True)]
