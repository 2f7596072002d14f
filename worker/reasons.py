"""Why a shopper's best offers are predicted as they are: computed while scoring, kept beside the scores.

Exact tree explanations cost some hundred times what a prediction does. So only the best ``MOST`` running offers of a
shopper are explained, and the whole of it stops after ``EXPLAIN_SECONDS``: whoever comes later goes without.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from personalization import conf
from personalization.features.compute import effective_benefit
from personalization.features.frames import Floats, Frames, Ints
from personalization.features.topics import TOPICS
from personalization.learning import frames as reading
from personalization.types import HEADS
from worker.data import Samples
from worker.estimators.attribution import by_topic
from worker.versions import Loaded

MOST = 5
PART = 128
"""Shoppers explained between two looks at the clock."""
SMALLEST = 0.005
"""Logits below which a topic is not worth storing."""
Assemble = Callable[[Loaded, Ints, Ints], Samples]


def head_of(loaded: Loaded) -> int:
    """Return the effect that is explained: the one that the version was judged on."""
    name = loaded.version.card.get("judged_on")
    return HEADS.index(name) if name in HEADS else HEADS.index("redeem")


def explain(loaded: Loaded, samples: Samples, head: int) -> list[dict[str, float]]:
    """Return per row ``base`` and topics, in logits of the calibrated effect; tiny ones go into the remainder."""
    slope, offset = loaded.calibrator.slopes[head], loaded.calibrator.offsets[head]
    told = loaded.estimator.explain(samples, head).scaled(slope, offset)
    codes = [topic.code for topic in TOPICS]
    found = []
    for base, row in zip(told.base, by_topic(told), strict=True):
        kept = {code: float(value) for code, value in zip(codes, row, strict=True) if abs(value) >= SMALLEST}
        rest = float(row.sum()) - sum(kept.values()) + kept.pop("remainder", 0.0)
        if abs(rest) >= SMALLEST:
            kept["remainder"] = rest
        found.append({"base": round(float(base), 4), **{code: round(value, 4) for code, value in kept.items()}})
    return found


class Explainer:
    """Explains the best offers of one shopper after another until the time is used up."""

    def __init__(self, loaded: Loaded | None, frames: Frames, offers: Ints, assemble: Assemble) -> None:
        self.loaded, self.frames, self.offers, self._assemble = loaded, frames, offers, assemble
        self._left = float(conf.get().explain_seconds)
        running = np.isin(frames.offers.ids[offers], reading.running_offers(frames.population))
        self._shown = running if running.any() else np.ones(len(offers), dtype=bool)  # imported data: all are over

    def reasons(self, shoppers: Ints, effects: Floats, basket: Floats) -> list[dict[str, Any]]:
        """Return what is stored of each shopper; an empty record where nothing is explained.

        ``effects`` [shoppers, offers, heads] are calibrated; ``basket`` [shoppers] in major units, nan if unknown.
        """
        found: list[dict[str, Any]] = []
        for start in range(0, len(shoppers), PART):
            at = slice(start, min(start + PART, len(shoppers)))
            if self.loaded is None or not effects.shape[1] or self._left <= 0:
                found += [{} for _ in shoppers[at]]
                continue
            begun = time.monotonic()
            found += self._part(self.loaded, shoppers[at], effects[at], basket[at])
            self._left -= time.monotonic() - begun
        return found

    def _part(self, loaded: Loaded, shoppers: Ints, effects: Floats, basket: Floats) -> list[dict[str, Any]]:
        head, best = head_of(loaded), self._best(effects, basket)
        rows, places = np.repeat(np.arange(len(shoppers)), best.shape[1]), best.ravel()
        # An announcement cannot be redeemed: nothing to explain.
        possible = (effects[rows, places, head] > 0) & self._shown[places]
        rows, places = rows[possible], places[possible]
        found: list[dict[str, Any]] = [{} for _ in shoppers]
        told = explain(loaded, self._assemble(loaded, shoppers[rows], self.offers[places]), head)
        for row, place, parts in zip(rows.tolist(), places.tolist(), told, strict=True):
            mine = found[row] or {"head": HEADS[head], "offers": {}}
            mine["offers"][str(int(self.frames.offers.ids[self.offers[place]]))] = parts
            found[row] = mine
        return found

    def _best(self, effects: Floats, basket: Floats) -> Ints:
        """Return the places [shoppers, MOST] of the offers worth most: margin on the purchase less the benefit."""
        usual = np.nan_to_num(basket, nan=float(np.nanmean(basket)) if np.isfinite(basket).any() else 0.0)
        count = len(self.offers)
        spend = np.repeat(usual, count)
        benefit = effective_benefit(self.frames.offers, spend, np.tile(self.offers, len(usual))).reshape(-1, count)
        redeem, purchase = effects[..., HEADS.index("redeem")], effects[..., HEADS.index("purchase")]
        worth = purchase * usual[:, None] * conf.get().margin - redeem * benefit
        worth[:, ~self._shown] = -np.inf
        found: Ints = np.argsort(-worth, axis=1, kind="stable")[:, :MOST]
        return found
