"""The quick model: what a page predicts by itself, in tens of microseconds, for whom no batch has scored yet.

A student of the response champion (fitted by ``worker.quick``): to the logit of the offer's mean it adds a weighted sum
of what the shopper's last events say. Weights are whole numbers from -127 to 127 with one scale a head; those that
change next to nothing are zero.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from personalization.types import HEADS

LAST_EVENTS = 20
DAY_MINUTES = 1440.0
NAMES = (
    "present",
    "events",
    "fresh",
    "viewed",
    "searched",
    "basket",
    "ordered",
    "spent",
    "same_category",
    "income_known",
    "income",
    "tenure",
)
"""The features, each between 0 and 1; all are 0 for somebody of whom nothing is known."""
OF_PROFILE = {"income_known": "income", "income": "income", "tenure": "tenure_days"}
"""Which column of the specification each feature of a shopper's own row is made of; the others are of events."""
HALF_LIVES_DAYS = {"search_performed": 1.0, "basket_changed": 1.0, "order_placed": 7.0}
MOST_SPENT_MINOR, MOST_INCOME = 1e6, 1e6
"""Amounts that count in full; what is less counts by its logarithm."""
TENURE_HALF_LIFE_DAYS = 365.0
LARGEST = 1e6
"""No weight, scale or bias of a student comes near it."""
_OF_EVENTS = len(NAMES) - len(OF_PROFILE)
TYPES = ("product_viewed", "category_viewed", *HALF_LIVES_DAYS)
"""The events that count: what shoppers do by themselves, not what they are shown."""


@dataclass(frozen=True, slots=True)
class Recent:
    """One event of a shopper's last: its type, category ("" for none), age in minutes, and what it was worth."""

    type: str
    category: str
    minutes: float
    value_minor: float = 0.0


@dataclass(frozen=True, slots=True)
class Person:
    """What a shopper's own row tells: income (None: unknown) and days since they joined (None: unknown)."""

    income: float | None = None
    tenure_days: float | None = None


@dataclass(slots=True)
class Known:
    """What a page knows of a shopper at once."""

    recent: list[Recent] = field(default_factory=list)
    person: Person = field(default_factory=Person)


def features(shopper: Known, category: str) -> list[float]:
    """Return the features of an offer of this category ("" for none) for a shopper, in the order of ``NAMES``.

    Events of other types than ``TYPES`` are passed over; of the others the latest ``LAST_EVENTS`` count.
    """
    known = sorted((each for each in shopper.recent if each.type in TYPES), key=lambda each: each.minutes)[:LAST_EVENTS]
    if not known:
        return [*[0.0] * _OF_EVENTS, *_of_person(shopper.person)]
    orders = [each.value_minor for each in known if each.type == "order_placed"]
    faded = {
        name: _latest([each for each in known if each.type == name], days) for name, days in HALF_LIVES_DAYS.items()
    }
    return [
        1.0,
        math.log1p(len(known)) / math.log1p(LAST_EVENTS),
        _latest(known, 1.0),
        sum(each.type == "product_viewed" for each in known) / len(known),
        faded["search_performed"],
        faded["basket_changed"],
        faded["order_placed"],
        _logarithmic(sum(orders) / len(orders), MOST_SPENT_MINOR) if orders else 0.0,
        _latest([each for each in known if each.category == category], 1.0) if category else 0.0,
        *_of_person(shopper.person),
    ]


def _of_person(person: Person) -> list[float]:
    tenure = person.tenure_days
    return [
        float(person.income is not None),
        0.0 if person.income is None else _logarithmic(person.income, MOST_INCOME),
        0.0 if tenure is None else math.pow(0.5, max(tenure, 0.0) / TENURE_HALF_LIFE_DAYS),
    ]


def _logarithmic(amount: float, most: float) -> float:
    """Return 0 for nothing, 1 for ``most`` or more, and by the logarithm between."""
    return min(max(math.log1p(max(amount, 0.0)) / math.log1p(most), 0.0), 1.0)


def _latest(events: Sequence[Recent], half_life_days: float) -> float:
    """Return 1 for something that happened this moment, a half after the half-life, 0 for nothing."""
    if not events:
        return 0.0
    return math.pow(0.5, min(each.minutes for each in events) / (half_life_days * DAY_MINUTES))


@dataclass(frozen=True, slots=True)
class Model:
    """A student as it is stored, checked and ready: chances by offer (its key as text) and by kind, bias and weights
    of every head."""

    offers: Mapping[str, Sequence[float]]
    kinds: Mapping[str, Sequence[float]]
    bias: Sequence[float]
    weights: Sequence[Sequence[float]]


def read(stored: Any) -> Model | None:
    """Return what a training stored; None for what is none, broken, or of a release with other features or heads."""
    try:
        if list(stored["features"]) != list(NAMES) or list(stored["heads"]) != list(HEADS):
            return None
        scales = _numbers(stored["scale"], len(HEADS))
        rows = zip(stored["weights"], scales, strict=True)
        return Model(
            offers={str(key): _numbers(chances, len(HEADS)) for key, chances in stored["offers"].items()},
            kinds={str(key): _numbers(chances, len(HEADS)) for key, chances in stored["kinds"].items()},
            bias=_numbers(stored["bias"], len(HEADS)),
            weights=[[scale * weight for weight in _numbers(row, len(NAMES))] for row, scale in rows],
        )
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
        return None


def _numbers(values: Any, count: int) -> list[float]:
    found = [float(value) for value in values]
    if len(found) != count or not all(abs(value) <= LARGEST for value in found):  # NaN is in no range
        raise ValueError(values)
    return found


def predict(model: Model, offer: str, kind: str, values: Sequence[float]) -> list[float] | None:
    """Return the heads' probabilities of an offer (its key as text, its kind); None where the model knows neither."""
    chances = model.offers.get(offer) or model.kinds.get(kind)
    if chances is None:
        return None
    return [
        _moved(chance, bias + math.fsum(weight * value for weight, value in zip(weights, values, strict=True)))
        for chance, bias, weights in zip(chances, model.bias, model.weights, strict=True)
    ]


def _moved(mean: float, by: float) -> float:
    """Return a probability whose logit is moved; what never or always happens stays so."""
    if not 0.0 < mean < 1.0:
        return mean
    logit = math.log(mean / (1.0 - mean)) + by
    return 1.0 / (1.0 + math.exp(-max(-60.0, min(logit, 60.0))))
