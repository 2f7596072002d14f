"""A training run, top to bottom: read → backtest → judge → refit the winner → register → promote, all or nothing.

Versions become visible, and the champion changes, in one transaction under the job's fencing token.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import numpy as np
from django.db import transaction

from personalization.exceptions import NotEnoughData
from personalization.features.frames import Frames, Ints
from personalization.learning import frames as reading
from personalization.learning import jobs, registry
from personalization.learning.jobs import Job
from personalization.learning.registry import ModelVersion
from personalization.types import HEADS, JobKind, ModelTask
from worker import artifacts, device, preference
from worker.data import Samples, Vocabularies
from worker.estimators.blend import Blend
from worker.estimators.boosting import Boosting
from worker.estimators.four_part import ARMS, FourPartEstimator
from worker.profile import Profiler
from worker.rankers import RANKERS
from worker.response import REGISTRY, Fitted, Stage, Verdict, backtest, judge, pose, refit
from worker.versions import store_response

SEED = 0


@dataclass(slots=True)
class Outcome:
    """What a run produced: new versions, which of them are to reign, and sentences for people."""

    versions: list[ModelVersion] = field(default_factory=list)
    promoted: list[ModelVersion] = field(default_factory=list)
    sentences: list[str] = field(default_factory=list)


def population_of(wanted: str | None) -> str:
    """Return the population to learn from: the one asked for, else the only one there is, else the shop's."""
    from personalization import conf

    known = registry.populations()
    if wanted:
        if wanted not in known:
            raise NotEnoughData(
                f"There are no shoppers in the population {wanted!r}. Known: {', '.join(known) or 'none'}."
            )
        return wanted
    if len(known) == 1:
        return known[0]
    return conf.get().population


def run(job: Job | None, params: dict[str, Any], stage: Stage, *, until: datetime | None = None) -> Outcome:
    """Train response, strategy and preference models on what happened until ``until`` and promote the winners."""
    population = population_of(params.get("population"))
    until = until or reading.last_moment(population)
    if until is None:
        raise NotEnoughData(f"There are no events in the population {population!r} yet.")
    stage("reading", 0.02)
    frames = reading.load(population, until, lambda what: stage(what, 0.05))
    outcome = Outcome()
    try:
        _train_parts(frames, job, params, stage, outcome)
        stage("publishing", 0.98)
        with transaction.atomic():
            for version in outcome.versions:
                registry.register(version)
            if job is not None:
                jobs.finish(job, _result(population, until, frames.simulated, outcome))
            for version in outcome.promoted:
                registry.promote(version)
            if params.get("score"):
                jobs.enqueue(JobKind.SCORE, {"population": population})
    except BaseException:
        _discard(outcome.versions)
        raise
    return outcome


def _discard(versions: list[ModelVersion]) -> None:
    """Take back what an unfinished run has written: nothing of it is kept."""
    for version in versions:
        artifacts.delete(version.path)


def _train_parts(frames: Frames, job: Job | None, params: dict[str, Any], stage: Stage, outcome: Outcome) -> None:
    """Train what the data allows; NotEnoughData only if that is nothing."""
    refused: list[str] = []
    for part, share in ((_train_response, (0.1, 0.8)), (_train_preference, (0.8, 0.97))):
        try:
            part(frames, job, params, _within(stage, *share), outcome)
        except NotEnoughData as error:
            what = "response models" if part is _train_response else "preference rankers"
            refused.append(f"No {what}: {error.message}")
    if not outcome.versions:
        raise NotEnoughData(" ".join(refused))
    outcome.sentences += refused


def _within(stage: Stage, low: float, high: float) -> Stage:
    return lambda what, done: stage(what, low + (high - low) * done)


def _result(population: str, until: datetime, simulated: bool, outcome: Outcome) -> dict[str, Any]:
    return {
        "population": population,
        "simulated": simulated,
        "until": until.isoformat(),
        "versions": [version.pk for version in outcome.versions],
        "champions": {version.task: version.estimator for version in outcome.promoted},
        "sentences": outcome.sentences,
    }


def _moment(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, tz=UTC)


def _train_response(frames: Frames, job: Job | None, params: dict[str, Any], stage: Stage, outcome: Outcome) -> None:
    """Backtest every estimator, ship the winner and the strategy network refitted on everything."""
    problem = pose(frames, params.get("min_exposures"))
    wanted = set(params.get("estimators", REGISTRY))
    if Blend.name in wanted:
        wanted |= {Boosting.name, FourPartEstimator.name}  # its members
    names = [name for name in REGISTRY if name in wanted]
    seed = int(params.get("seed", SEED))
    started = time.monotonic()
    fitted, test, found = backtest(problem, names, seed=seed, stage=_within(stage, 0.0, 0.55))
    stage("judging", 0.58)
    verdict = judge(fitted, test, seed=seed)
    shipped = {verdict.champion, FourPartEstimator.name} & set(names)
    if verdict.champion == Blend.name:
        shipped |= {Boosting.name, FourPartEstimator.name}
    chosen = [item for item in fitted if item.name in shipped]
    again, all_vocabularies = refit(problem, chosen, seed=seed, stage=_within(stage, 0.6, 0.95))
    final = {item.name: item for item in again}
    card = _card(frames, problem.span, verdict, found[0].origin, time.monotonic() - started)
    profiler = Profiler(problem.builder, frames.until, _offers_to_score(frames))
    for item in fitted:
        ship = final.get(item.name, item)
        vocabularies = test.vocabularies if item.name not in final else all_vocabularies
        cutoff = _moment(frames.until if item.name in final else found[0].origin)
        version = store_response(
            ship, vocabularies, task=ModelTask.RESPONSE, population=frames.population, job=job, cutoff_at=cutoff,
            metrics={"board": verdict.board[item.name], "head": verdict.head, "gain": verdict.gains.get(item.name),
                     "curves": getattr(item.estimator, "curves", [])},
            card={
                **card,
                "note": REGISTRY[item.name].note,
                "reference": profiler.reference(ship.estimator, ship.calibrator, vocabularies),
            },
            backtest=_backtest_arrays(item, test),
        )  # fmt: skip
        outcome.versions.append(version)
        if item.name == verdict.champion:
            outcome.promoted.append(version)
    if FourPartEstimator.name in final:
        strategy = _store_strategy(final[FourPartEstimator.name], all_vocabularies, frames, job, card)
        outcome.versions.append(strategy)
        outcome.promoted.append(strategy)
    shipping = f"{verdict.champion} ships" if verdict.champion else "no model ships"
    outcome.sentences += [f"Response, judged on {verdict.head}: {shipping}.", *verdict.reasons]


def _offers_to_score(frames: Frames) -> Ints:
    position = {int(pk): index for index, pk in enumerate(frames.offers.ids)}
    found = [position[pk] for pk in reading.offers_to_score(frames.population) if pk in position]
    return np.array(found, dtype=np.int64)


def _store_strategy(
    item: Fitted, vocabularies: Vocabularies, frames: Frames, job: Job | None, card: dict[str, Any]
) -> ModelVersion:
    network = item.estimator
    assert isinstance(network, FourPartEstimator)
    unseen = [arm for arm in ARMS if arm not in network.arms_seen]
    note = "which kind of offer brings the largest share of the expected value"
    if unseen:
        note += f"; never logged, so not learnt: {', '.join(unseen)}"
    return store_response(
        item, vocabularies, task=ModelTask.STRATEGY, population=frames.population, job=job,
        cutoff_at=_moment(frames.until), metrics={"curves": network.curves}, card={**card, "note": note},
    )  # fmt: skip


def _backtest_arrays(item: Fitted, test: Samples) -> dict[str, Any]:
    return {
        "exposure": test.exposure,
        "probability": item.predicted.astype(np.float32),
        "label": test.y.astype(np.float32),
    }


def _card(frames: Frames, span: int, verdict: Verdict, origin: int, seconds: float) -> dict[str, Any]:
    return {
        "population": frames.population,
        "data": {
            "simulated": frames.simulated,
            "shoppers": len(frames.shoppers),
            "events": len(frames.events),
            "exposures": len(frames.exposures),
            "from": _moment(frames.start).isoformat(),
            "until": _moment(frames.until).isoformat(),
            "outcome_window_hours": round(span / 3_600_000, 1),
            "test_from": _moment(origin).isoformat(),
        },
        "judged_on": verdict.head,
        "reasons": verdict.reasons,
        "device": device.describe(device.pick()),
        "seconds": round(seconds, 1),
        "heads": list(HEADS),
    }


def _train_preference(frames: Frames, job: Job | None, params: dict[str, Any], stage: Stage, outcome: Outcome) -> None:
    seed = int(params.get("seed", SEED))
    race = preference.backtest(frames, params.get("rankers"), seed=seed, stage=_within(stage, 0.0, 0.8))
    champion, reasons = preference.winner(race.results, seed=seed)
    reasons += race.left_out
    for result in race.results:
        version = _store_ranker(frames, job, result, race.tested, reasons, seed)
        outcome.versions.append(version)
        if result.name == champion:
            outcome.promoted.append(version)
    outcome.sentences += [f"Preference, {race.tested:,} shoppers tested: {champion} ships.", *reasons]


def _store_ranker(
    frames: Frames, job: Job | None, result: preference.RankerResult, tested: int, reasons: list[str], seed: int
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
        cutoff_at=_moment(frames.until),
        path=artifact.path,
        sha256=artifact.sha256,
        size_bytes=artifact.size_bytes,
        metrics={
            "board": preference.summarise(result, seed=seed),
            "tested": tested,
            "fit_seconds": result.fit_seconds,
            "rank_seconds": result.rank_seconds,
        },
        card={
            "note": RANKERS[result.name].note,
            "reasons": reasons,
            "population": frames.population,
            "settings": result.settings,
        },
    )
