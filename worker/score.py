"""Batch scoring: blocks of shoppers in ascending order, written as they are done, published whole at the end.

An interrupted job goes on after the last block it wrote.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import Any

import numpy as np
from django.utils import timezone

from personalization import conf
from personalization.exceptions import ArtifactCorrupt, NotEnoughData
from personalization.features.compute import KINDS, FeatureBuilder, Rows
from personalization.features.frames import TYPE_CODE, Floats, Frames, Ints, milliseconds
from personalization.features.specification import INDEX
from personalization.learning import frames as reading
from personalization.learning import publish, registry
from personalization.learning.jobs import Job
from personalization.learning.publish import ScoreSet
from personalization.learning.registry import ModelVersion
from personalization.types import HEADS, ModelTask, OfferKind
from worker import device, intent, preference
from worker.data import Samples, assemble
from worker.estimators.four_part import ARMS, FourPartEstimator
from worker.profile import RECOMPUTED, Profiler, recomputed, windows
from worker.rankers import Ranker, Transitions, interactions, top_items
from worker.reasons import Explainer
from worker.response import Stage
from worker.topk import top_k
from worker.train import population_of
from worker.versions import Loaded

BLOCK = 2000
TOP_ITEMS = 30
RATE_DAYS = 30.0


class Scorer:
    """Predicts for one population at one moment, with whatever champions reign."""

    def __init__(self, frames: Frames, moment: int, offers: list[int]) -> None:
        self.frames, self.moment = frames, moment
        self.builder = FeatureBuilder(frames)
        position = {int(pk): index for index, pk in enumerate(frames.offers.ids)}
        self.offers = np.array([position[pk] for pk in offers if pk in position], dtype=np.int64)
        self.versions: dict[ModelTask, ModelVersion] = {}
        for task in ModelTask:
            version = registry.champion(task, frames.population)
            if version is not None:
                self.versions[task] = version
        self.response = self._load(ModelTask.RESPONSE)
        self.strategy = self._load(ModelTask.STRATEGY)
        self.intent = self._load(ModelTask.INTENT)
        self.device = device.pick()
        self.ranker = self._fit_ranker()
        self._vectors = self.ranker.vectors() if self.ranker is not None else None
        if self.response is None:
            self.offers = self.offers[:0]  # nothing can be said about them; products are ranked all the same
        self.windows = windows(frames)
        self.explainer = Explainer(self.response, frames, self.offers, self.samples)
        self._silent = np.array([kind == OfferKind.ANNOUNCEMENT for kind in frames.offers.kinds], dtype=bool)

    def _load(self, task: ModelTask) -> Loaded | None:
        return Loaded(self.versions[task]) if task in self.versions else None

    def _fit_ranker(self) -> Ranker | None:
        version = self.versions.get(ModelTask.PREFERENCE)
        if version is None:
            return None
        settings = version.card.get("settings")
        return preference.fit(version.estimator, interactions(self.frames), self.moment + 1, settings)

    def samples(self, loaded: Loaded, shoppers: Ints, offers: Ints) -> Samples:
        """Return rows for every pair of the two lists' aligned entries, at the scoring moment."""
        time = np.full(len(shoppers), self.moment + 1, dtype=np.int64)
        rows = Rows(shoppers, offers, time, time + self.windows[offers])
        nothing = np.full((len(rows), len(HEADS)), np.nan)
        return assemble(self.builder, rows, nothing, np.zeros(len(rows), np.int64), loaded.vocabularies)

    def effects(self, shoppers: Ints) -> tuple[Floats, Floats]:
        """Return calibrated effects [shoppers, offers, heads] and the matrix's usual basket [shoppers]."""
        if self.response is None or not len(self.offers):
            return np.zeros((len(shoppers), 0, len(HEADS))), np.full(len(shoppers), np.nan)
        pairs = np.repeat(shoppers, len(self.offers))
        tiled = np.tile(self.offers, len(shoppers))
        samples = self.samples(self.response, pairs, tiled)
        p = self.response.calibrator.apply(self.response.estimator.score(samples))
        p[self._silent[tiled], HEADS.index("redeem")] = 0.0
        basket = samples.x[:: len(self.offers), INDEX["spend_mean"]]
        return p.reshape(len(shoppers), len(self.offers), len(HEADS)), basket

    def kinds(self, shoppers: Ints) -> Floats:
        """Return the strategy [shoppers, arms]; nothing learnt yet: zero columns."""
        if self.strategy is None or not len(self.frames.offers):
            return np.zeros((len(shoppers), 0))
        estimator = self.strategy.estimator
        assert isinstance(estimator, FourPartEstimator)
        return estimator.strategy(self.samples(self.strategy, shoppers, np.zeros(len(shoppers), np.int64)))

    def intents(self, shoppers: Ints) -> list[float | None]:
        """Return each shopper's purchase intent; None without a model of it."""
        if self.intent is None:
            return [None] * len(shoppers)
        return list(_round(intent.likelihood(self.intent, self.builder, shoppers, self.moment)))

    def items(self, shoppers: Ints) -> list[list[str]]:
        """Return each shopper's best visible products; none that the ranker says nothing about."""
        if self.ranker is None:
            return [[] for _ in shoppers]
        ids = self.frames.items.ids
        return [[ids[item] for item in row] for row in self._best(self.ranker, shoppers)]

    def _best(self, ranker: Ranker, shoppers: Ints) -> Iterator[Ints]:
        """Yield the positions of each shopper's best products: by their vectors, where the ranker has some."""
        shown = self.frames.items.visible
        if self._vectors is not None:
            users, hidden = self._vectors.users[shoppers], self._vectors.hidden | ~shown
            for block in top_k(users, self._vectors.items, TOP_ITEMS, hidden=hidden, device=self.device):
                yield from (row[row >= 0] for row in block.ids)
            return
        scores = ranker.score(shoppers)
        scores[:, ~shown] = -np.inf
        best = top_items(scores, TOP_ITEMS)
        said = np.isfinite(np.take_along_axis(scores, best, axis=1))
        yield from (row[kept] for row, kept in zip(best, said, strict=True))


def run(job: Job | None, params: dict[str, Any], stage: Stage, *, until: datetime | None = None) -> ScoreSet:
    """Score every consenting shopper and publish; raises NotEnoughData where no champion exists yet."""
    population = population_of(params.get("population"))
    until = until or (
        timezone.now() if population == conf.get().population else reading.last_moment(population) or timezone.now()
    )
    stage("reading", 0.02)
    read_at = timezone.now()
    frames = reading.load(population, until, lambda what: stage(what, 0.05))
    scorer = Scorer(frames, milliseconds(until), reading.offers_to_score(population))
    if not scorer.versions:
        raise NotEnoughData("Nothing has been trained yet. Run `manage.py train` first.")
    score_set = publish.begin(
        population,
        job,
        response=scorer.versions.get(ModelTask.RESPONSE),
        strategy=scorer.versions.get(ModelTask.STRATEGY),
        preference=scorer.versions.get(ModelTask.PREFERENCE),
        intent=scorer.versions.get(ModelTask.INTENT),
        read_at=read_at,
    )
    _write_blocks(score_set, scorer, stage)
    _write_neighbours(score_set, scorer)
    stage("publishing", 0.98)
    publish.publish(score_set, job, shoppers=len(frames.shoppers), defaults=_defaults(scorer), profile=_profile(scorer))
    publish.tidy(population)
    return score_set


def _profile(scorer: Scorer) -> dict[str, Any]:
    """Return what was scored as counts in the bins of the response model's reference."""
    loaded = scorer.response
    if loaded is None:
        return {}
    profiler = Profiler(scorer.builder, scorer.moment, scorer.offers)
    reference = loaded.version.card.get("reference") or {}
    counted = profiler.counts(reference, loaded.estimator, loaded.calibrator, loaded.vocabularies)
    return {**counted, "moment": scorer.moment, "recomputed": _recomputed(scorer)}


def _recomputed(scorer: Scorer) -> dict[str, int]:
    """Return how many of the scores that are live now come out differently with what has arrived since."""
    live = publish.live(scorer.frames.population)
    moment = live.profile.get("moment") if live is not None else None
    if live is None or live.response_version is None or not isinstance(moment, int) or moment > scorer.moment:
        return {}
    try:
        loaded = Loaded(live.response_version)
    except ArtifactCorrupt:  # its files are gone, or its features are those of an earlier release
        return {}
    return recomputed(scorer.builder, loaded, publish.stored_scores(live, RECOMPUTED), moment)


def _write_neighbours(score_set: ScoreSet, scorer: Scorer) -> None:
    """Publish what follows what, whichever ranker reigns: the page uses it with the session's last clicks."""
    if scorer.ranker is None:
        return
    ranker = scorer.ranker
    if not isinstance(ranker, Transitions):
        ranker = Transitions()
        ranker.fit(interactions(scorer.frames), scorer.moment + 1)
    ids = scorer.frames.items.ids
    publish.write_neighbours(
        score_set,
        ((ids[item], [[ids[to], round(w, 4)] for to, w in found]) for item, found in ranker.neighbours()),
    )


def _write_blocks(score_set: ScoreSet, scorer: Scorer, stage: Stage) -> None:
    ids = scorer.frames.shoppers.ids
    start = int(np.searchsorted(ids, publish.scored_until(score_set), side="right"))
    for at in range(start, len(ids), BLOCK):
        block = np.arange(at, min(at + BLOCK, len(ids)), dtype=np.int64)
        publish.write_scores(score_set, _rows(scorer, block))
        stage("scoring", 0.1 + 0.85 * (at + len(block)) / len(ids))


def _rows(scorer: Scorer, block: Ints) -> list[dict[str, Any]]:
    effects, basket = scorer.effects(block)
    kinds, items = scorer.kinds(block), scorer.items(block)
    reasons = scorer.explainer.reasons(block, effects, basket)
    values, intents = _values(scorer, block, basket), scorer.intents(block)
    offers = [str(int(pk)) for pk in scorer.frames.offers.ids[scorer.offers]]
    return [
        {
            "shopper_id": int(scorer.frames.shoppers.ids[shopper]),
            "offers": {pk: _round(effects[row, place]) for place, pk in enumerate(offers)},
            "kinds": dict(zip(ARMS, _round(kinds[row]), strict=True)) if kinds.shape[1] else {},
            "items": items[row],
            "values": values[row],
            "intent": intents[row],
            "reasons": reasons[row],
        }
        for row, shopper in enumerate(block)
    ]


def _round(values: Floats) -> list[float]:
    return [round(float(value), 5) for value in values]


def _values(scorer: Scorer, block: Ints, basket: Floats) -> list[dict[str, Any]]:
    """Return per shopper: usual basket in minor units, visits a day, interest by category (shares, best five)."""
    frames, moment = scorer.frames, scorer.moment
    events = frames.events
    first = np.searchsorted(events.shopper, block)
    end = np.searchsorted(events.shopper, block, side="right")
    found = []
    for row, (low, high) in enumerate(zip(first.tolist(), end.tolist(), strict=True)):
        recent = events.time[low:high] >= moment - RATE_DAYS * 86_400_000
        days = len(np.unique(events.time[low:high][recent] // 86_400_000))
        observed = max(min(RATE_DAYS, (moment - frames.start) / 86_400_000), 1.0)
        looked = events.category[low:high][np.isin(events.type[low:high], _INTEREST)]
        looked = looked[looked >= 0]
        share = np.bincount(looked) / len(looked) if len(looked) else np.zeros(0)
        best = np.argsort(-share, kind="stable")[:5]
        own = basket[row] if row < len(basket) else np.nan
        found.append(
            {
                "basket_minor": None if np.isnan(own) else round(float(own) * 10**frames.digits),
                "visit_rate": round((days + 0.5) / (observed + 1.0), 4),
                "interest": {frames.categories[c]: round(float(share[c]), 4) for c in best if share[c] > 0},
            }
        )
    return found


_INTEREST = [TYPE_CODE["product_viewed"], TYPE_CODE["category_viewed"], TYPE_CODE["basket_changed"]]


def _defaults(scorer: Scorer) -> dict[str, Any]:
    """Return what to use for shoppers who are not in the batch: averages over a sample of those who are."""
    frames = scorer.frames
    sample = np.arange(len(frames.shoppers), dtype=np.int64)
    if len(sample) > 1000:
        sample = np.sort(np.random.default_rng(0).choice(sample, 1000, replace=False))
    effects, basket = scorer.effects(sample)
    mean = effects.mean(axis=0) if len(sample) and effects.shape[1] else np.zeros((0, len(HEADS)))
    of_kind: dict[str, list[Floats]] = {}
    for place, offer in enumerate(scorer.offers):
        of_kind.setdefault(frames.offers.kinds[offer], []).append(mean[place])
    strategy = scorer.kinds(sample)
    orders = frames.events.value[frames.events.type == TYPE_CODE["order_placed"]]
    usual = float(np.nanmean(basket)) if np.isfinite(basket).any() else float(orders.mean()) if len(orders) else 0.0
    items: list[str] = []
    if scorer.ranker is not None:
        points = np.where(frames.items.visible, scorer.ranker.points, -np.inf)[None, :]
        best = top_items(points.astype(np.float32), TOP_ITEMS)[0]
        items = [frames.items.ids[item] for item in best if frames.items.visible[item]]
    return {
        "offers": {str(int(frames.offers.ids[o])): _round(mean[p]) for p, o in enumerate(scorer.offers)},
        "kinds": {kind: _round(np.mean(rows, axis=0)) for kind, rows in of_kind.items() if kind in KINDS},
        "strategy": dict(zip(ARMS, _round(strategy.mean(axis=0)), strict=True)) if strategy.size else {},
        "basket_minor": round(usual * 10**frames.digits),
        "items": items,
    }
