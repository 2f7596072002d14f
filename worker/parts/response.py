"""The response models, and the strategy that comes with them."""

from __future__ import annotations

import time
from datetime import datetime
from typing import Any

import numpy as np

from personalization.features.frames import Frames, Ints, milliseconds
from personalization.learning import frames as reading
from personalization.learning import gate as checks
from personalization.learning import registry
from personalization.learning import wordings as words
from personalization.learning.handlers import Stage
from personalization.learning.jobs import Job
from personalization.learning.registry import ModelVersion
from personalization.learning.sentences import Sentence, store_all
from personalization.types import ModelTask
from worker import cards, gate, quick, response, tuned
from worker import strategy as strategies
from worker.data import Samples, Vocabularies
from worker.estimators.base import settings_of
from worker.estimators.blend import Blend
from worker.estimators.boosting import Boosting
from worker.estimators.four_part import ARMS, FourPartEstimator
from worker.parts.base import SEED, Outcome, came_to, card_of, metrics_of, moment, within
from worker.profile import Profiler
from worker.response import Fitted, backtest, line_up, pose, refit
from worker.versions import store_response


def train(
    frames: Frames, job: Job | None, params: dict[str, Any], stage: Stage, outcome: Outcome, *, scored_at: datetime
) -> None:
    """Backtest the line-up, ship the winner and the strategy network refitted on everything.

    What will be scored is held against how it looks at ``scored_at``, which may lie after the last event.
    """
    problem = pose(frames, params.get("min_exposures"))
    names = line_up(params.get("estimators"))
    seed = int(params.get("seed", SEED))
    started = time.monotonic()
    searched, outdated = tuned.adopted(frames.population, ModelTask.RESPONSE)
    fitted, test, found = backtest(
        problem, names, seed=seed, stage=within(stage, 0.0, 0.55), settings=tuned.settings(searched)
    )
    stage(words.JUDGING, 0.58)
    reigning = gate.summon(problem, test)
    verdict = gate.judge(fitted, test, seed=seed, reigning=reigning, frames=frames)
    chosen = [item for item in fitted if item.name in _shipped(verdict.champion, names)]
    again, all_vocabularies = refit(problem, chosen, seed=seed, stage=within(stage, 0.6, 0.95))
    final = {item.name: item for item in again}
    diverse = response.describe(problem, found[0].origin)
    card = card_of(frames, problem.span, verdict, found[0].origin, diverse, time.monotonic() - started)
    card["data"]["train_rows"] = int(found[0].train.sum())
    profiler = Profiler(problem.builder, milliseconds(scored_at), _offers_to_score(frames))
    for item in fitted:
        ship = final.get(item.name, item)
        vocabularies = all_vocabularies if item.name in final else test.vocabularies
        cutoff = moment(frames.until if item.name in final else found[0].origin)
        champion = item.name == verdict.champion
        own = tuned.on_card(settings_of(ship.estimator), searched.get(item.name))
        own["reference"] = profiler.reference(ship.estimator, ship.calibrator, vocabularies)
        own |= cards.facts(item, test, verdict.head, champion=champion)
        if champion:
            own |= quick.teach(problem, item, ship, test, found[0].train, vocabularies, verdict.head, seed=seed)
        version = store_response(
            ship, vocabularies, task=ModelTask.RESPONSE, population=frames.population, job=job, cutoff_at=cutoff,
            metrics=metrics_of(item, verdict), backtest=_backtest_arrays(item, test), card={**card, **own},
        )  # fmt: skip
        outcome.versions.append(version)
        if champion:
            if verdict.promoted:
                outcome.promote(version, reigning.version if reigning is not None else None)
            elif reigning is not None:
                outcome.refused = version
    of_strategy: list[Sentence] = []
    if FourPartEstimator.name in final:
        judged = next(item for item in fitted if item.name == FourPartEstimator.name)
        rival = registry.champion(ModelTask.STRATEGY, frames.population)
        kept, verdicts = strategies.examine(problem, found[0], judged, test, rival, seed=seed)
        strategy = _store_strategy(final[FourPartEstimator.name], all_vocabularies, frames, job, card, kept)
        strategy.metrics |= {"board": strategies.figures(verdicts), "gate": checks.stored(verdicts), "challenger": True}
        strategy.card |= _judged(verdicts, len(kept["exposure"]))
        outcome.versions.append(strategy)
        if checks.holds(verdicts):
            outcome.promote(strategy, rival)
        of_strategy = _told(verdicts, rival)
    came = came_to(verdict.champion, verdict.promoted, reigning.version if reigning is not None else None)
    told = {"head": Sentence(words.EFFECTS[verdict.head]), "outcome": came}
    outcome.sentences += [Sentence(words.RESPONSE, told), *verdict.reasons, *of_strategy]
    outcome.sentences += [*tuned.told(searched, names), *outdated]


def _shipped(champion: str | None, names: list[str]) -> set[str]:
    """Return who is refitted on everything: the winner with what it mixes, and the network that is the strategy."""
    of_blend = {Boosting.name, FourPartEstimator.name} if champion == Blend.name else set()
    return {name for name in names if name in {champion, FourPartEstimator.name}} | of_blend


def _told(verdicts: list[checks.Check], reigning: ModelVersion | None) -> list[Sentence]:
    """Return whether the strategy takes over, what it failed at if not, and why nothing was compared where so."""
    holds = checks.holds(verdicts)
    came = came_to(FourPartEstimator.name, holds, reigning)
    rivals = [check for check in verdicts if check.name in checks.RIVALS]
    if holds and all(check.passed is None for check in rivals):
        came = Sentence(words.SHIPS_UNCOMPARED, {"estimator": FourPartEstimator.name})
        reasons = [check.said for check in rivals if check.template != words.NOBODY]
    else:
        reasons = [check.said for check in verdicts if check.passed is False]
    return [Sentence(words.STRATEGY, {"outcome": came}), *reasons]


def _judged(verdicts: list[checks.Check], rows: int) -> dict[str, Any]:
    """Return the card's part on what a strategy was judged on: its own rivals, not those of the response race."""
    compared = [check.said for check in verdicts if check.name in checks.RIVALS]
    return {"judged_on": words.VALUE, "reasons": store_all(compared), "test": {"rows": rows}}


def _store_strategy(
    item: Fitted,
    vocabularies: Vocabularies,
    frames: Frames,
    job: Job | None,
    card: dict[str, Any],
    backtest: dict[str, Any],
) -> ModelVersion:
    network = item.estimator
    assert isinstance(network, FourPartEstimator)
    unseen = [arm for arm in ARMS if arm not in network.arms_seen]
    data = {name: value for name, value in card["data"].items() if name != "train_rows"}  # it learnt from more
    return store_response(
        item, vocabularies, task=ModelTask.STRATEGY, population=frames.population, job=job,
        cutoff_at=moment(frames.until), card={**card, "data": data, "unseen": unseen}, backtest=backtest,
        metrics={"curves": network.curves, "fit_seconds": item.cost.seconds, "peak_mb": item.cost.peak_mb},
    )  # fmt: skip


def _offers_to_score(frames: Frames) -> Ints:
    position = {int(pk): index for index, pk in enumerate(frames.offers.ids)}
    found = [position[pk] for pk in reading.offers_to_score(frames.population) if pk in position]
    return np.array(found, dtype=np.int64)


def _backtest_arrays(item: Fitted, test: Samples) -> dict[str, Any]:
    return {
        "exposure": test.exposure,
        "probability": item.predicted.astype(np.float32),
        "label": test.y.astype(np.float32),
    }
