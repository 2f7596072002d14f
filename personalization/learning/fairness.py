"""Groups by protected attributes, and the gate that refuses a challenger that widens a gap between them.

The gate is a function of arrays: whoever compares a challenger with the reigning model on the same test rows asks it
(``check``), and gets sentences; none means that it may pass. Two gaps count, each of a group against everybody else
whose group is known:

- **favour**: the share of rows that the model ranks into its best. As many rows count as best as had the outcome.
- **calibration**: how far predictions lie above what happened, on average. A model that overrates one group and
  underrates another serves both badly, however well it ranks.

A gap is widened when its size grows by more than a tolerance *and* the paired 95 % interval of that growth, over
resampled shoppers, lies above zero. Groups with few shoppers are not judged: their figures would be about persons.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from django.utils.translation import gettext_noop
from numpy.typing import NDArray

from personalization import conf
from personalization.features.frames import Floats, Ints
from personalization.learning.gate import FAIRNESS, Check, Evidence
from personalization.learning.sentences import Sentence
from personalization.models import Shopper

AGE_BANDS = (25, 35, 45, 55, 65)
RESAMPLES = 200
TOLERANCE, LEAST = 0.05, 100
CHUNK = 5000
MOST_TOLD = 3
UNKNOWN = ""
Labels = NDArray[np.object_]
NOBODY_TO_COMPARE = gettext_noop("Not judged: nobody reigns to whom the gaps could be compared.")
WIDENED = gettext_noop("It widens gaps between groups. %(gaps)s")
NOT_WIDENED = gettext_noop("It is not shown to widen a gap between groups.")
GAP = gettext_noop(
    "%(measure)s, %(attribute)s %(group)s against the others: gap %(before).3f before, %(after).3f after (95 %% "
    "interval of the growth %(low).3f to %(high).3f, %(shoppers)s shoppers)."
)
MEASURES = {
    "favour": gettext_noop("Share ranked among the best"),
    "calibration": gettext_noop("Predicted above what happened"),
}


def hidden_from_offers(population: str) -> frozenset[str]:
    """Return the profile attributes that models of this population must not see.

    Of the shop's own shoppers all that are protected, unless the settings let offers use them. Imported data sets are
    for research and keep what they have.
    """
    settings = conf.get()
    if population != settings.population:
        return frozenset()
    return frozenset(settings.protected_attributes) - frozenset(settings.protected_uses.get("offers", ()))


def group_of(attribute: str, value: Any) -> str:
    """Return the group that a profile value belongs to; empty if it is not known. Ages are taken in bands."""
    if value is None or isinstance(value, bool):
        return UNKNOWN
    if attribute != "age":
        return str(value).strip()[:60]
    if not isinstance(value, int | float) or not 0 <= value < 150:
        return UNKNOWN
    above = [band for band in AGE_BANDS if value >= band]
    if not above:
        return f"<{AGE_BANDS[0]}"
    following = [band for band in AGE_BANDS if band > value]
    return f"{above[-1]}–{following[0] - 1}" if following else f"{above[-1]}+"


def labels_of(shopper_ids: Sequence[int]) -> dict[str, Labels]:
    """Return each protected attribute's group of every shopper (primary keys, repeated ones too), in their order.

    Only of shoppers who agreed to personalisation: nobody else's profile is looked at, for an audit neither.
    """
    wanted = conf.get().protected_attributes
    profiles: dict[int, Mapping[str, Any]] = {}
    distinct = sorted(set(map(int, shopper_ids)))
    for at in range(0, len(distinct), CHUNK):
        rows = Shopper.objects.filter(pk__in=distinct[at : at + CHUNK], consent_personalisation=True)
        profiles.update(rows.values_list("pk", "attributes"))
    return {
        name: np.array([group_of(name, profiles.get(int(pk), {}).get(name)) for pk in shopper_ids], dtype=object)
        for name in wanted
    }


@dataclass(frozen=True, slots=True)
class Widening:
    """By how much a challenger widens one group's gap: sizes before and after, and the interval of the difference."""

    measure: str
    attribute: str
    group: str
    shoppers: int
    before: float
    after: float
    low: float
    high: float

    @property
    def said(self) -> Sentence:
        figures = {name: getattr(self, name) for name in ("attribute", "group", "before", "after", "low", "high")}
        return Sentence(GAP, figures | {"measure": Sentence(MEASURES[self.measure]), "shoppers": f"{self.shoppers:,}"})


def check(evidence: Evidence) -> Check:
    """Let the champion gate ask: the challenger beside the reigning champion, on the rows that both are judged on."""
    rows = None if evidence.rival is None else ~np.isnan(evidence.rival)
    if evidence.rival is None or rows is None or not rows.any():
        return Check(FAIRNESS, None, NOBODY_TO_COMPARE)
    shopper = evidence.shopper[rows]
    worse = widened(
        labels_of(shopper.tolist()), shopper, reigning=evidence.rival[rows], challenger=evidence.probability[rows],
        y=evidence.label[rows],
    )  # fmt: skip
    found = [each.said for each in worse]
    if found:
        return Check(FAIRNESS, False, WIDENED, {"gaps": found[:MOST_TOLD]}, float(len(found)), threshold=0.0)
    return Check(FAIRNESS, True, NOT_WIDENED, {}, 0.0, threshold=0.0)


def widened(
    labels: Mapping[str, Labels],
    shopper: Ints,
    *,
    reigning: Floats,
    challenger: Floats,
    y: Floats,
    tolerance: float = TOLERANCE,
    least: int = LEAST,
    seed: int = 0,
) -> list[Widening]:
    """Return the gaps that the challenger is shown to widen by more than the tolerance, the worst first.

    ``shopper``: each test row's shopper (primary key); ``labels``: their groups, attribute by attribute; ``reigning``,
    ``challenger``: probabilities of the same rows [n]; ``y`` [n]: 0 or 1.
    """
    if not len(shopper) == len(reigning) == len(challenger) == len(y):
        raise ValueError("Shoppers, predictions and outcomes are not of the same rows.")
    people, of_row = np.unique(shopper, return_inverse=True)
    draws = np.random.default_rng(seed).poisson(1.0, size=(RESAMPLES, len(people)))
    best = int(y.sum())
    pairs = {
        "favour": (_favoured(reigning, best), _favoured(challenger, best)),
        "calibration": (reigning - y, challenger - y),
    }
    found = []
    for attribute, groups in labels.items():
        known = groups != UNKNOWN
        for group in sorted(set(groups[known].tolist())):
            inside, outside = known & (groups == group), known & (groups != group)
            count = len(np.unique(shopper[inside]))
            if min(count, len(np.unique(shopper[outside]))) < least:
                continue
            for measure, (before, after) in pairs.items():
                sizes = _growths(before, after, inside, outside, of_row, draws)
                if sizes is not None and sizes[1] - sizes[0] > tolerance and sizes[2] > 0:
                    found.append(Widening(measure, attribute, group, count, *sizes))
    return sorted(found, key=lambda each: each.before - each.after)


def _favoured(p: Floats, best: int) -> Floats:
    """Return 1 for the ``best`` highest rows; rows that tie for the last places share them."""
    if not 0 < best < len(p):
        return np.full(len(p), float(best > 0))
    edge = np.partition(p, len(p) - best)[len(p) - best]
    above, tied = p > edge, p == edge
    return np.where(above, 1.0, np.where(tied, (best - above.sum()) / tied.sum(), 0.0))


def _growths(
    before: Floats, after: Floats, inside: NDArray[np.bool_], outside: NDArray[np.bool_], of_row: Ints, draws: Ints
) -> tuple[float, float, float, float] | None:
    """Return the gap's size before and after, and the 95 % interval of its growth over resampled shoppers."""
    people = draws.shape[1]
    sums = [
        np.bincount(of_row[rows], weights=values[rows], minlength=people)
        for rows in (inside, outside)
        for values in (before, after, np.ones(len(before)))
    ]
    drawn = [np.append(draws @ total, total.sum()) for total in sums]  # the last is what was seen itself
    in_before, in_after, in_rows, out_before, out_after, out_rows = drawn
    usable = (in_rows > 0) & (out_rows > 0)
    if not usable[-1] or usable.sum() < 2:
        return None
    size_before = np.abs(in_before[usable] / in_rows[usable] - out_before[usable] / out_rows[usable])
    size_after = np.abs(in_after[usable] / in_rows[usable] - out_after[usable] / out_rows[usable])
    low, high = np.quantile((size_after - size_before)[:-1], [0.025, 0.975])
    return float(size_before[-1]), float(size_after[-1]), float(low), float(high)
