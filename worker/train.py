"""A training run, top to bottom: read → backtest → judge → refit the winner → register → promote, all or nothing.

Versions become visible, and the champion changes, in one transaction under the job's fencing token.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import numpy as np
from django.db import transaction

from personalization import conf
from personalization.exceptions import NotEnoughData
from personalization.features.frames import Frames, Ints
from personalization.learning import diversity, jobs, registry, shadow
from personalization.learning import frames as reading
from personalization.learning import gate as checks
from personalization.learning import wordings as words
from personalization.learning.jobs import Job
from personalization.learning.registry import ModelVersion
from personalization.learning.sentences import Sentence, of_error, store_all
from personalization.types import HEADS, JobKind, ModelTask, Purpose
from worker import artifacts, cards, device, gate, intent, preference, quick, response
from worker.data import Samples, Vocabularies
from worker.estimators.blend import Blend
from worker.estimators.boosting import Boosting
from worker.estimators.four_part import ARMS, FourPartEstimator
from worker.profile import Profiler
from worker.rankers import RANKERS
from worker.response import REGISTRY, Fitted, Stage, backtest, line_up, pose, refit
from worker.versions import store_response

SEED = 0
PARTS = (ModelTask.RESPONSE, ModelTask.PREFERENCE, ModelTask.INTENT)
"""What a run trains, unless it is asked for less; strategy comes with response."""


@dataclass(slots=True)
class Outcome:
    """What a run produced: new versions, which of them are to reign, and sentences for people.

    ``refused``: the response challenger that a reigning champion keeps out; it goes on in shadow.
    """

    versions: list[ModelVersion] = field(default_factory=list)
    promoted: list[ModelVersion] = field(default_factory=list)
    refused: ModelVersion | None = None
    sentences: list[Sentence] = field(default_factory=list)


def population_of(wanted: str | None) -> str:
    """Return the population to learn from: the one asked for, else the only one there is, else the shop's."""
    known = registry.populations()
    if wanted:
        if wanted not in known:
            told = {"population": wanted, "known": ", ".join(known) or "–"}
            raise NotEnoughData(words.NO_POPULATION, params=told)
        return wanted
    if len(known) == 1:
        return known[0]
    return conf.get().population


def run(job: Job | None, params: dict[str, Any], stage: Stage, *, until: datetime | None = None) -> Outcome:
    """Train every part on what happened until ``until`` and promote the winners."""
    population = population_of(params.get("population"))
    until = until or reading.last_moment(population)
    if until is None:
        raise NotEnoughData(words.NO_EVENTS, params={"population": population})
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
            if outcome.refused is not None:
                shadow.begin_after_refusal(outcome.refused)
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
    refused: list[Sentence] = []
    wanted = params.get("parts", PARTS)
    for part, without, train, share in (
        (ModelTask.RESPONSE, words.NO_RESPONSE, _train_response, (0.1, 0.7)),
        (ModelTask.PREFERENCE, words.NO_PREFERENCE, _train_preference, (0.7, 0.87)),
        (ModelTask.INTENT, words.NO_INTENT, _train_intent, (0.87, 0.97)),
    ):
        if part not in wanted:
            continue
        try:
            train(frames, job, params, _within(stage, *share), outcome)
        except NotEnoughData as error:
            refused.append(Sentence(without, {"said": of_error(error)}))
    if not outcome.versions:
        several = {f"part_{place}": said for place, said in enumerate(refused)}
        raise NotEnoughData(" ".join(f"%({name})s" for name in several), params=several)
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
        "sentences": store_all(outcome.sentences),
        "in_shadow": None if outcome.refused is None else outcome.refused.pk,
    }


def _moment(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, tz=UTC)


def _train_response(frames: Frames, job: Job | None, params: dict[str, Any], stage: Stage, outcome: Outcome) -> None:
    """Backtest the line-up, ship the winner and the strategy network refitted on everything."""
    problem = pose(frames, params.get("min_exposures"))
    names = line_up(params.get("estimators"))
    seed = int(params.get("seed", SEED))
    started = time.monotonic()
    fitted, test, found = backtest(problem, names, seed=seed, stage=_within(stage, 0.0, 0.55))
    stage("judging", 0.58)
    reigning = gate.summon(problem, test)
    verdict = gate.judge(fitted, test, seed=seed, reigning=reigning, frames=frames)
    shipped = {verdict.champion, FourPartEstimator.name} & set(names)
    if verdict.champion == Blend.name:
        shipped |= {Boosting.name, FourPartEstimator.name}
    chosen = [item for item in fitted if item.name in shipped]
    again, all_vocabularies = refit(problem, chosen, seed=seed, stage=_within(stage, 0.6, 0.95))
    final = {item.name: item for item in again}
    diverse = response.describe(problem, found[0].origin)
    card = _card(frames, problem.span, verdict, found[0].origin, diverse, time.monotonic() - started)
    card["data"]["train_rows"] = int(found[0].train.sum())
    profiler = Profiler(problem.builder, frames.until, _offers_to_score(frames))
    for item in fitted:
        ship = final.get(item.name, item)
        vocabularies = test.vocabularies if item.name not in final else all_vocabularies
        cutoff = _moment(frames.until if item.name in final else found[0].origin)
        champion = item.name == verdict.champion
        taught = (
            quick.teach(problem, item, ship, test, found[0].train, vocabularies, verdict.head, seed=seed)
            if champion
            else {}
        )
        version = store_response(
            ship, vocabularies, task=ModelTask.RESPONSE, population=frames.population, job=job, cutoff_at=cutoff,
            metrics=_metrics(item, verdict), backtest=_backtest_arrays(item, test),
            card={**card, "note": REGISTRY[item.name].note,
                  "reference": profiler.reference(ship.estimator, ship.calibrator, vocabularies),
                  **taught, **cards.facts(item, test, verdict.head, champion=champion)},
        )  # fmt: skip
        outcome.versions.append(version)
        if champion:
            outcome.promoted += [version] if verdict.promoted else []
            outcome.refused = version if reigning is not None and not verdict.promoted else None
    if FourPartEstimator.name in final:
        strategy = _store_strategy(final[FourPartEstimator.name], all_vocabularies, frames, job, card)
        judged = next(item for item in fitted if item.name == FourPartEstimator.name)
        own = gate.judge_strategy(judged, test, registry.champion(ModelTask.STRATEGY, frames.population))
        strategy.metrics |= {"gate": checks.stored(own), "challenger": True}
        outcome.versions.append(strategy)
        outcome.promoted += [strategy] if checks.holds(own) else []
    came_to = _outcome(verdict.champion, verdict.promoted, reigning.version if reigning is not None else None)
    told = {"head": verdict.head, "outcome": came_to}
    outcome.sentences += [Sentence(words.RESPONSE, told), *verdict.reasons]


def _outcome(winner: str | None, promoted: bool, reigning: ModelVersion | None) -> Sentence:
    """Return who reigns after a training."""
    if promoted:
        return Sentence(words.SHIPS, {"estimator": winner})
    return Sentence(words.NO_MODEL) if reigning is None else Sentence(words.STAYS, {"rival": str(reigning)})


def _metrics(item: Fitted, verdict: gate.Verdict) -> dict[str, Any]:
    return {
        "board": verdict.board[item.name],
        "head": verdict.head,
        "gain": verdict.gains.get(item.name),
        "gate": checks.stored(verdict.checks[item.name]),
        "challenger": item.name == verdict.champion,
        "fit_seconds": item.cost.seconds,
        "peak_mb": item.cost.peak_mb,
        "curves": getattr(item.estimator, "curves", []),
    }


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
        cutoff_at=_moment(frames.until), card={**card, "note": note},
        metrics={"curves": network.curves, "fit_seconds": item.cost.seconds, "peak_mb": item.cost.peak_mb},
    )  # fmt: skip


def _backtest_arrays(item: Fitted, test: Samples) -> dict[str, Any]:
    return {
        "exposure": test.exposure,
        "probability": item.predicted.astype(np.float32),
        "label": test.y.astype(np.float32),
    }


def _data(frames: Frames, origin: int, diverse: dict[str, Any]) -> dict[str, Any]:
    return {
        "simulated": frames.simulated,
        "shoppers": len(frames.shoppers),
        "events": len(frames.events),
        "exposures": len(frames.exposures),
        "consent": Purpose.PERSONALISATION.value,
        "from": _moment(frames.start).isoformat(),
        "until": _moment(frames.until).isoformat(),
        "test_from": _moment(origin).isoformat(),
        "diversity": diverse,
    }


def _card(
    frames: Frames, span: int, verdict: gate.Verdict, origin: int, diverse: dict[str, Any], seconds: float
) -> dict[str, Any]:
    windows = {"outcome_window_hours": round(span / 3_600_000, 1), "outcome_window_ms": span}
    return {
        "population": frames.population,
        "data": {**_data(frames, origin, diverse), **windows},
        "judged_on": verdict.head,
        "reasons": store_all(verdict.reasons),
        "device": device.describe(device.pick()),
        "seconds": round(seconds, 1),
        "heads": list(HEADS),
    }


def _train_preference(frames: Frames, job: Job | None, params: dict[str, Any], stage: Stage, outcome: Outcome) -> None:
    seed = int(params.get("seed", SEED))
    reigning = registry.champion(ModelTask.PREFERENCE, frames.population)
    known = None if reigning is None else (reigning.estimator, reigning.card.get("settings") or {})
    race = preference.backtest(frames, params.get("rankers"), seed=seed, stage=_within(stage, 0.0, 0.8), reigning=known)
    champion, reasons = preference.winner(race.results, seed=seed)
    best = next(result for result in race.results if result.name == champion)
    judged = gate.judge_ranking(race, best, reigning, seed=seed)
    promoted = checks.holds(judged)
    reasons += [*race.left_out, *gate.last_words(champion, judged, reigning)]
    origin = preference.test_origin(frames)
    data = _data(frames, origin, diversity.describe(frames, origin))
    card = {"reasons": store_all(reasons), "data": data}
    for result in race.results:
        version = _store_ranker(frames, job, result, race.tested, card, seed)
        outcome.versions.append(version)
        if result is best:
            version.metrics |= {"gate": checks.stored(judged), "challenger": True}
            outcome.promoted += [version] if promoted else []
    told = {"tested": f"{race.tested:,}", "outcome": _outcome(champion, promoted, reigning)}
    outcome.sentences += [Sentence(words.PREFERENCE, told), *reasons]


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
        cutoff_at=_moment(frames.until),
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
            "note": RANKERS[result.name].note,
            "population": frames.population,
            "settings": result.settings,
        },
    )


def _train_intent(frames: Frames, job: Job | None, params: dict[str, Any], stage: Stage, outcome: Outcome) -> None:
    """Backtest every estimator of purchase intent, ship the winner refitted on everything."""
    seed, started = int(params.get("seed", SEED)), time.monotonic()
    problem = intent.pose(frames, conf.get().intent_days)
    fitted, test = intent.backtest(problem, seed=seed, stage=_within(stage, 0.0, 0.7))
    reigning = registry.champion(ModelTask.INTENT, frames.population)
    verdict = gate.judge_intent(fitted, test, tuple(intent.REGISTRY), reigning, seed=seed)
    diverse = intent.describe(problem, seed=seed)
    card = _card(frames, problem.span, verdict, problem.moments[0], diverse, time.monotonic() - started)
    card |= {"intent_days": problem.days, "moments": len(problem.moments), "tested": len(test)}
    for item in fitted:
        ship, vocabularies, cutoff = item, test.vocabularies, problem.moments[0]
        if item.name == verdict.champion:
            progress = _stage_of(stage, f"fitting {item.name} on all data", 0.7)
            ship, vocabularies = intent.refit(problem, item, seed=seed, progress=progress)
            cutoff = frames.until
        version = store_response(
            ship, vocabularies, task=ModelTask.INTENT, population=frames.population, job=job,
            cutoff_at=_moment(cutoff),
            metrics=_metrics(item, verdict),
            card={**card, "note": intent.REGISTRY[item.name].note,
                  **cards.facts(item, test, verdict.head, champion=item.name == verdict.champion)},
            backtest={"probability": item.predicted.astype(np.float32), "label": test.y.astype(np.float32)},
        )  # fmt: skip
        outcome.versions.append(version)
        if item.name == verdict.champion and verdict.promoted:
            outcome.promoted.append(version)
    came_to = _outcome(verdict.champion, verdict.promoted, reigning)
    told = {"days": problem.days, "tested": f"{len(test):,}", "outcome": came_to}
    outcome.sentences += [Sentence(words.INTENT, told), *verdict.reasons]


def _stage_of(stage: Stage, what: str, low: float) -> Callable[[float], None]:
    return lambda done: stage(what, low + (1 - low) * done)
