"""Frames → matrices: rows with labels, vocabularies, prepared columns, event sequences and temporal splits."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from personalization.features.compute import KINDS, TEXT_ATTRIBUTES, FeatureBuilder, Rows
from personalization.features.frames import NEVER, STREAM_TYPES, Floats, Frames, Ints
from personalization.features.specification import FEATURES, INDEX, NAMES
from personalization.types import HEADS, OfferKind
from worker.tastes import Tastes

SEQUENCE_LENGTH = 20
SEQUENCE_FIELDS = ("type", "category", "offer_kind", "age_hours", "value")
MAX_CODES = 200
LEAST_SHOPPERS = 5
"""So many shoppers' profiles must say the same for a version to know it: its files and card outlive who is erased."""


@dataclass(slots=True)
class Vocabularies:
    """Text → code, fitted before the cut-off; 0 stands for unknown or missing. Offers go by primary key.

    ``tastes`` is what was fitted on the catalogue's own words.
    """

    text: dict[str, dict[str, int]] = field(default_factory=dict)
    offers: dict[str, int] = field(default_factory=dict)
    categories: dict[str, int] = field(default_factory=dict)
    tastes: Tastes = field(default_factory=Tastes)

    @classmethod
    def fit(cls, builder: FeatureBuilder, rows: Rows) -> Vocabularies:
        """Collect the values that occur in these rows, the most frequent first; of a profile what several share."""
        text: dict[str, dict[str, int]] = {}
        for name in TEXT_ATTRIBUTES:
            common = _shared(builder.text(name, rows).astype(str), rows.shopper)[:MAX_CODES]
            text[name] = {value: code for code, value in enumerate(common, start=1)}
        frames = builder.frames
        seen = _lasting(rows)
        offers = {str(int(frames.offers.ids[position])): code for code, position in enumerate(seen, start=1)}
        categories = {name: code for code, name in enumerate(frames.categories[:MAX_CODES], start=1)}
        return cls(text, offers, categories, Tastes.fit(frames, int(rows.time.max()) if len(rows) else None))

    def sizes(self) -> dict[str, int]:
        """Return the number of codes per categorical feature, unknown included."""
        sizes = {name: len(codes) + 1 for name, codes in self.text.items()}
        return {**sizes, "offer": len(self.offers) + 1, "offer_kind": len(KINDS)}

    def as_json(self) -> dict[str, Any]:
        return {
            "text": self.text,
            "offers": self.offers,
            "categories": self.categories,
            "tastes": self.tastes.as_json(),
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Vocabularies:
        return cls(data["text"], data["offers"], data["categories"], Tastes.from_json(data.get("tastes")))


def _shared(values: NDArray[np.str_], shopper: Ints) -> list[str]:
    """Return the values, other than none, that at least LEAST_SHOPPERS shoppers have, those of most rows first."""
    found, code, count = np.unique(values, return_inverse=True, return_counts=True)
    holders = np.bincount(np.unique(np.stack([code, shopper]), axis=1)[0], minlength=len(found))
    order = np.argsort(-count, kind="stable")
    return [str(found[place]) for place in order if found[place] and holders[place] >= LEAST_SHOPPERS]


def _lasting(rows: Rows) -> Ints:
    """Return the offers shown over at least a quarter of the time: one of a single wave only spells out the date."""
    span = np.ptp(rows.time) if len(rows) else 0
    seen = np.unique(rows.offer[rows.offer >= 0])
    kept = [offer for offer in seen if np.ptp(rows.time[rows.offer == offer]) >= span / 4]
    return np.array(kept, dtype=np.int64)


@dataclass(slots=True)
class Samples:
    """Rows ready for an estimator.

    ``x`` [n, features] raw values, nan = missing, categorical columns coded; ``sequence`` [n, length, fields];
    ``length`` [n] events in the sequence; ``y`` [n, heads] 0, 1 or nan = not defined for this row.
    """

    rows: Rows
    x: Floats
    sequence: NDArray[np.float32]
    length: Ints
    y: Floats
    kind: Ints
    exposure: Ints
    vocabularies: Vocabularies

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, mask: NDArray[Any]) -> Samples:
        """Return the chosen rows."""
        rows = Rows(*(getattr(self.rows, name)[mask] for name in Rows.__slots__))
        return Samples(
            rows, self.x[mask], self.sequence[mask], self.length[mask], self.y[mask], self.kind[mask],
            self.exposure[mask], self.vocabularies,
        )  # fmt: skip


class SequenceBuilder:
    """The last events strictly before a moment, oldest first, padded in front."""

    def __init__(self, builder: FeatureBuilder, vocabularies: Vocabularies) -> None:
        frames = builder.frames
        self._builder, self._events = builder, frames.events
        self._codes = np.array([vocabularies.categories.get(name, 0) for name in frames.categories] + [0])
        self._kinds = np.array([KINDS.index(kind) + 1 for kind in frames.offers.kinds] + [0])

    def build(self, rows: Rows) -> tuple[NDArray[np.float32], Ints]:
        """Return [n, length, fields] and the number of real events per row."""
        events = self._events
        out = np.zeros((len(rows), SEQUENCE_LENGTH, len(SEQUENCE_FIELDS)), dtype=np.float32)
        first, end = self._builder.past(rows)
        length = np.minimum(end - first, SEQUENCE_LENGTH)
        for back in range(1, SEQUENCE_LENGTH + 1):
            has = length >= back
            at = end[has] - back
            fields = (
                events.type[at] + 1,
                self._codes[events.category[at]],  # -1, no category, is the last code: 0
                self._kinds[events.offer[at]],
                np.log1p((rows.time[has] - events.time[at]) / 3_600_000),
                np.log1p(np.maximum(events.value[at], 0)),
            )
            out[has, SEQUENCE_LENGTH - back] = np.stack(fields, axis=1)
        return out, length.astype(np.int64)


def code_profile(builder: FeatureBuilder, rows: Rows, x: Floats, vocabularies: Vocabularies) -> None:
    """Fill the textual columns of the profile with codes, in place."""
    for name in TEXT_ATTRIBUTES:
        codes = vocabularies.text[name]
        values = builder.text(name, rows)
        x[:, INDEX[name]] = [codes.get(value, 0) for value in values]


def code_text(builder: FeatureBuilder, rows: Rows, x: Floats, vocabularies: Vocabularies) -> None:
    """Fill the categorical columns of ``x`` with codes, in place."""
    code_profile(builder, rows, x, vocabularies)
    ids = builder.frames.offers.ids
    of_offer = np.array([vocabularies.offers.get(str(int(pk)), 0) for pk in ids])
    x[:, INDEX["offer"]] = of_offer[rows.offer]


def assemble(builder: FeatureBuilder, rows: Rows, y: Floats, exposure: Ints, vocabularies: Vocabularies) -> Samples:
    """Return samples for rows: features, codes, sequences."""
    x = builder.build(rows)
    code_text(builder, rows, x, vocabularies)
    vocabularies.tastes.fill(builder, rows, x)
    sequence, length = SequenceBuilder(builder, vocabularies).build(rows)
    kinds = np.array([KINDS.index(kind) for kind in builder.frames.offers.kinds], dtype=np.int64)
    return Samples(rows, x, sequence, length, y, kinds[rows.offer], exposure, vocabularies)


def labels(frames: Frames) -> Floats:
    """Return [exposures, heads]: 1 if the outcome lies in the window, 0 if not, nan where it cannot happen.

    An announcement cannot be redeemed. A head that nobody ever showed (no click is recorded, say) is nan throughout.
    """
    exposures = frames.exposures
    moments = np.stack([exposures.viewed, exposures.clicked, exposures.redeemed, exposures.purchased], axis=1)
    y = ((moments != NEVER) & (moments <= exposures.window_end[:, None])).astype(np.float64)
    silent = np.array([kind == OfferKind.ANNOUNCEMENT for kind in frames.offers.kinds] + [True])
    y[silent[exposures.offer], HEADS.index("redeem")] = np.nan
    treated = exposures.offer >= 0
    for head in range(len(HEADS)):
        if not np.nansum(y[treated, head]) > 0:
            y[:, head] = np.nan
    return y


def horizon(frames: Frames) -> int:
    """Return the longest outcome window, in milliseconds: what is younger has not matured.

    Judging maturity row by row would keep only the short windows of late exposures, and bias the newest rows.
    """
    exposures = frames.exposures
    return int((exposures.window_end - exposures.time).max()) if len(exposures) else 0


@dataclass(frozen=True, slots=True)
class Fold:
    """One temporal split: masks over the matured exposures."""

    train: NDArray[np.bool_]
    test: NDArray[np.bool_]
    origin: int


def folds(time: Ints, span: int, *, most: int = 2, test_share: float = 0.15, min_train: int = 1000) -> list[Fold]:
    """Return rolling origins, the latest first: train on what had matured when the test block began.

    The test block is whole waves (equal times), the latest that hold ``test_share`` of the rows. An earlier origin
    counts only if the training rows before it come from at least two distinct moments and are numerous enough.
    """
    found: list[Fold] = []
    end = np.iinfo(np.int64).max
    while len(found) < most:
        left = np.sort(time[time < end])
        if not len(left):
            break
        origin = int(left[max(int(len(left) * (1 - test_share)) - 1, 0)])
        if (time == origin).sum() > 1:
            origin = int(origin if origin > left[0] else left[-1])
        train, test = time + span <= origin, (time >= origin) & (time < end)
        if train.sum() < min_train or len(np.unique(time[train])) < 2:
            break
        found.append(Fold(train, test, origin))
        end = origin
    return found


def feature_columns(group: str) -> list[int]:
    """Return the positions of a group's columns."""
    return [position for position, feature in enumerate(FEATURES) if feature.group == group]


__all__ = ["FEATURES", "NAMES", "STREAM_TYPES"]
