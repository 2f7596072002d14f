"""Batch scoring: the shoppers are cut into parts, any number of workers take them, the set is published whole.

The worker that holds the job plans the parts, takes its share, waits for the others' and publishes. Each reads the data
for itself, as of the set's moment, and uses the set's versions. An interrupted job goes on with the parts not done.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any

import numpy as np

from personalization.exceptions import ArtifactCorrupt, NotEnoughData
from personalization.features.compute import KINDS, FeatureBuilder, Rows
from personalization.features.frames import TYPE_CODE, Floats, Frames, Ints, milliseconds
from personalization.features.specification import INDEX
from personalization.learning import frames as reading
from personalization.learning import publish, registry, shards
from personalization.learning import wordings as words
from personalization.learning.handlers import Stage
from personalization.learning.jobs import Job
from personalization.learning.publish import ScoreSet
from personalization.learning.registry import ModelVersion
from personalization.types import HEADS, ModelTask, OfferKind
from worker import device, intent, preference, tuned
from worker.data import Samples, assemble
from worker.estimators.four_part import ARMS, FourPartEstimator
from worker.profile import RECOMPUTED, Profiler, recomputed, windows
from worker.quick import student_of
from worker.rankers import Ranker, Transitions, interactions, top_items
from worker.reasons import Explainer
from worker.sharding import work_off
from worker.topk import top_k
from worker.train import population_of
from worker.versions import Loaded

BLOCK = 2000
TOP_ITEMS = 30
RATE_DAYS = 30.0


class Scorer:
    """Predicts for one population at one moment, with these versions: unless given, the champions that reign."""

    def __init__(
        self,
        frames: Frames,
        moment: int,
        offers: list[int],
        versions: Mapping[ModelTask, ModelVersion] | None = None,
    ) -> None:
        self.frames, self.moment = frames, moment
        self.builder = FeatureBuilder(frames)
        position = {int(pk): index for index, pk in enumerate(frames.offers.ids)}
        self.offers = np.array([position[pk] for pk in offers if pk in position], dtype=np.int64)
        self.versions = dict(registry.champions(frames.population) if versions is None else versions)
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
        if problem := tuned.earlier(version):
            raise ArtifactCorrupt(words.EARLIER_SETTINGS, params=problem)
        settings = tuned.card_settings(version)
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

    def rows(self, first: int, last: int) -> list[dict[str, Any]]:
        """Return what is stored of each shopper whose key lies in this range."""
        ids = self.frames.shoppers.ids
        block = np.arange(np.searchsorted(ids, first), np.searchsorted(ids, last, side="right"), dtype=np.int64)
        effects, basket = self.effects(block)
        kinds, items = self.kinds(block), self.items(block)
        reasons = self.explainer.reasons(block, effects, basket)
        values, intents = _values(self, block, basket), self.intents(block)
        offers = [str(int(pk)) for pk in self.frames.offers.ids[self.offers]]
        return [
            {
                "shopper_id": int(ids[shopper]),
                "offers": {pk: _round(effects[row, place]) for place, pk in enumerate(offers)},
                "kinds": dict(zip(ARMS, _round(kinds[row]), strict=True)) if kinds.shape[1] else {},
                "items": items[row],
                "values": values[row],
                "intent": intents[row],
                "reasons": reasons[row],
            }
            for row, shopper in enumerate(block)
        ]

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
    until = until or reading.moment_to_score(population)
    stage(words.READING, 0.02)
    versions = registry.champions(population)
    if not versions:
        raise NotEnoughData(words.ALL_REFUSED if registry.trained_tasks(population) else words.UNTRAINED)
    score_set = publish.begin(
        population,
        job,
        response=versions.get(ModelTask.RESPONSE),
        strategy=versions.get(ModelTask.STRATEGY),
        preference=versions.get(ModelTask.PREFERENCE),
        intent=versions.get(ModelTask.INTENT),
        until=until,
        offers=reading.offers_to_score(population),
    )
    scorer = _read(score_set, stage)
    shards.plan(score_set, scorer.frames.shoppers.ids.tolist(), BLOCK)
    score_set.refresh_from_db()
    work_off(score_set, scorer.rows, leads=True, told=lambda done: stage(words.SCORING, 0.1 + 0.85 * done))
    _write_neighbours(score_set, scorer, job)
    stage(words.PUBLISHING, 0.98)
    publish.publish(score_set, job, defaults=_defaults(scorer), profile=_profile(scorer))
    publish.tidy(population)
    return score_set


def join(score_set: ScoreSet) -> int:
    """Help with a set that another worker leads; returns how many parts were done here."""
    scorer = _read(score_set, lambda what, done: None)
    return work_off(score_set, scorer.rows, leads=False, told=lambda done: None)


def _read(score_set: ScoreSet, stage: Stage) -> Scorer:
    """Read the data as of the set's moment and load the set's versions, whoever is champion by now.

    Raises Superseded at once for a set that was left lying until newer scores went live.
    """
    publish.refuse_superseded(score_set)
    until = score_set.cutoff_at
    assert until is not None
    frames = reading.load(score_set.population, until, lambda what: stage(what, 0.05))
    versions = {task: found for task in registry.SCORED_TASKS if (found := getattr(score_set, f"{task.value}_version"))}
    return Scorer(frames, milliseconds(until), score_set.offer_ids, versions)


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


def _write_neighbours(score_set: ScoreSet, scorer: Scorer, job: Job | None) -> None:
    """Publish what follows what, whichever ranker reigns: the page uses it with the session's last clicks."""
    if scorer.ranker is None:
        return
    ranker = scorer.ranker
    if not isinstance(ranker, Transitions):
        ranker = Transitions()
        ranker.fit(interactions(scorer.frames), scorer.moment + 1)
    ids = scorer.frames.items.ids
    rows = [(ids[item], [[ids[to], round(w, 4)] for to, w in found]) for item, found in ranker.neighbours()]
    publish.write_neighbours(score_set, rows, job)


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
        "quick": student_of(scorer.response),
    }
