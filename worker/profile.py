"""What a batch of scores is about, as histograms: counts a bin and nothing about anybody.

At training, the reference: everybody at the moment that the model is trained for, each with one offer in turn, as a
scoring at that moment would see them, and what the new model says of them. Not at the last event: after a week in
which nobody came, the first scoring would lie a week off, and alarm. At scoring, the same rows of that day, counted in
the reference's bins. Training rows would be no reference: whoever was shown something, at whatever hour, is another
population than everybody now. One row a shopper makes the rows independent, which the noise of the PSI assumes; it
costs a small part of a scoring.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from personalization.features.compute import HOUR, FeatureBuilder, Rows
from personalization.features.frames import Floats, Frames, Ints
from personalization.features.specification import FEATURES
from personalization.types import HEADS
from worker.calibrate import Calibrator
from worker.data import Samples, Vocabularies, assemble
from worker.estimators.base import ResponseEstimator
from worker.versions import Loaded

MOST = 10_000
"""Shoppers that are counted, at most: the noise of a PSI over ten bins is then 0.005."""
BINS = 10
LEAST_ROWS = 20
"""Rows of the reference that a bin stands for, at least."""
DIFFERS = 0.01
"""From this difference on a probability has changed."""
RECOMPUTED = 2000
"""Shoppers whose last scores are computed once more, at most."""
CLOCKED = ("_gap_hours", "_per_day", "tenure_days", "reach", "threshold_orders")
"""Endings of columns that the clock alone moves: ages, rates over the days observed, and what is expected over them, of
everybody at once. Of shoppers without a past only the shop's pace is expected: in one hour all of them leave a bin."""
SCHEDULED = ("received_28d", "received_7d", "open_offers", "same_received_28d")
"""Counts that the shop's own calendar moves: a wave leaves the last seven days for everybody within one morning."""
WATCHED = tuple(
    position
    for position, feature in enumerate(FEATURES)
    if feature.group not in {"context", "offer"}
    and feature.name not in SCHEDULED
    and not feature.name.endswith(CLOCKED)
)
"""All columns but those that tell the moment or the shop's own plan: every row of a batch has the same hour and
weekday, between a training and a scoring hours after it all ages grow alike, and which offers run, on what terms, and
how many somebody has received is decided by the campaigns. Who buys, visits or responds less than before is seen in the
counts of 7 and 28 days and in the rates."""


def windows(frames: Frames) -> Ints:
    """Return each offer's outcome window in milliseconds: what its exposures had, else what the next ones will have."""
    exposures = frames.exposures
    length = exposures.window_end - exposures.time
    found: Ints = frames.offers.attribution_hours * HOUR
    for offer in np.unique(exposures.offer[exposures.offer >= 0]):
        found[offer] = int(np.median(length[exposures.offer == offer]))
    return found


class Profiler:
    """Counts what would be, or is, scored at one moment for these offers (their positions in the frames)."""

    def __init__(self, builder: FeatureBuilder, moment: int, offers: Ints) -> None:
        self._builder = builder
        shoppers = np.arange(len(builder.frames.shoppers), dtype=np.int64)
        if len(shoppers) > MOST:
            shoppers = np.sort(np.random.default_rng(0).choice(shoppers, MOST, replace=False))
        if not len(offers):
            shoppers, offers = shoppers[:0], np.zeros(1, dtype=np.int64)
        offer = offers[shoppers % len(offers)]
        time = np.full(len(shoppers), moment + 1, dtype=np.int64)
        length = windows(builder.frames)[offer] if len(offer) else time
        self._rows = Rows(shoppers, offer, time, time + length)
        self._last: tuple[Vocabularies, Samples] | None = None

    def _samples(self, vocabularies: Vocabularies) -> Samples:
        if self._last is None or self._last[0] is not vocabularies:
            nothing = np.full((len(self._rows), len(HEADS)), np.nan)
            ids = np.zeros(len(self._rows), dtype=np.int64)
            self._last = vocabularies, assemble(self._builder, self._rows, nothing, ids, vocabularies)
        return self._last[1]

    def _predicted(
        self, estimator: ResponseEstimator, calibrator: Calibrator, vocabularies: Vocabularies
    ) -> tuple[Floats, Floats]:
        samples = self._samples(vocabularies)
        return samples.x, calibrator.apply(estimator.score(samples))

    def reference(
        self, estimator: ResponseEstimator, calibrator: Calibrator, vocabularies: Vocabularies
    ) -> dict[str, Any]:
        """Return bins and counts of every watched feature and of every head's probability; {} without rows."""
        if not len(self._rows):
            return {}
        x, p = self._predicted(estimator, calibrator, vocabularies)
        return {
            "rows": len(x),
            "features": {
                FEATURES[column].name: _with_counts(_bins(x[:, column], FEATURES[column].categorical), x[:, column])
                for column in WATCHED
            },
            "scores": {head: _with_counts(_bins(p[:, at], False), p[:, at]) for at, head in enumerate(HEADS)},
        }

    def counts(
        self,
        reference: dict[str, Any],
        estimator: ResponseEstimator,
        calibrator: Calibrator,
        vocabularies: Vocabularies,
    ) -> dict[str, Any]:
        """Return how many of today's rows lie in each of the reference's bins; {} without a reference or rows."""
        if not reference or not len(self._rows):
            return {}
        x, p = self._predicted(estimator, calibrator, vocabularies)
        columns = {FEATURES[place].name: x[:, place] for place in WATCHED}  # an older reference may have more
        return {
            "rows": len(x),
            "features": {
                name: count(bins, columns[name]) for name, bins in reference["features"].items() if name in columns
            },
            "scores": {
                head: count(bins, p[:, HEADS.index(head)])
                for head, bins in reference["scores"].items()
                if head in HEADS
            },
        }


def _with_counts(bins: dict[str, Any], values: Floats) -> dict[str, Any]:
    return {**bins, "counts": count(bins, values)}


def _bins(values: Floats, categorical: bool) -> dict[str, Any]:
    """Return ``edges`` at the quantiles of a numeric column, or the ``codes`` of a categorical one that are common."""
    known = values[~np.isnan(values)]
    most = max(2, min(BINS, len(values) // LEAST_ROWS))
    if categorical:
        codes, counts = np.unique(known.astype(np.int64), return_counts=True)
        common = codes[np.argsort(-counts, kind="stable")][: most - 1]
        return {"codes": [int(code) for code in common if (known == code).sum() >= LEAST_ROWS]}
    if not len(known):
        return {"edges": []}
    edges = np.unique(np.quantile(known, np.arange(1, most) / most, method="inverted_cdf"))
    edges = edges[edges > known.min()]
    if not len(edges):  # nearly everybody has the smallest value: what is above it is a bin of its own
        edges = np.array([np.nextafter(known.min(), np.inf)])
    return {"edges": [float(edge) for edge in edges]}


def count(bins: dict[str, Any], values: Floats) -> list[int]:
    """Return the rows a bin: [edges + 1 bins, missing], or [codes, any other code]."""
    missing = np.isnan(values)
    if "codes" in bins:
        codes = np.array(bins["codes"], dtype=np.float64)
        at: NDArray[np.int64] = np.full(len(values), len(codes))
        for place, code in enumerate(codes):
            at[values == code] = place
        return [int(number) for number in np.bincount(at, minlength=len(codes) + 1)]
    edges = np.array(bins["edges"], dtype=np.float64)
    at = np.searchsorted(edges, values[~missing], side="right")
    return [*(int(number) for number in np.bincount(at, minlength=len(edges) + 1)), int(missing.sum())]


def recomputed(
    builder: FeatureBuilder, loaded: Loaded, stored: dict[int, dict[str, list[float]]], moment: int
) -> dict[str, int]:
    """Compute published scores once more, as of their own moment, with what is known by now; count those that differ.

    ``stored``: shopper → offer → probabilities, as they were published. Everything is point in time, so a difference
    is data that came late, was corrected or was merged, or code that computes otherwise. One offer a shopper.
    """
    position = {int(pk): index for index, pk in enumerate(builder.frames.offers.ids)}
    place = {int(pk): index for index, pk in enumerate(builder.frames.shoppers.ids)}
    pairs: list[tuple[int, int, list[float]]] = []
    for number, (shopper, scores) in enumerate(sorted(stored.items())):
        offers = sorted(int(pk) for pk in scores if int(pk) in position)
        if offers and shopper in place:
            offer = offers[number % len(offers)]
            pairs.append((place[shopper], position[offer], scores[str(offer)]))
    if not pairs:
        return {}
    shoppers, chosen = (np.array([pair[at] for pair in pairs], dtype=np.int64) for at in (0, 1))
    time = np.full(len(pairs), moment + 1, dtype=np.int64)
    rows = Rows(shoppers, chosen, time, time + windows(builder.frames)[chosen])
    nothing = np.full((len(rows), len(HEADS)), np.nan)
    samples = assemble(builder, rows, nothing, np.zeros(len(rows), np.int64), loaded.vocabularies)
    p = loaded.calibrator.apply(loaded.estimator.score(samples))
    before = np.array([scores for _shopper, _offer, scores in pairs], dtype=np.float64)
    impossible = before == 0  # an announcement cannot be redeemed: nothing was predicted there
    changed = np.abs(np.where(impossible, 0.0, p - before)).max(axis=1) > DIFFERS
    return {"rows": len(pairs), "changed": int(changed.sum())}
