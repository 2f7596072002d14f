"""Writes ``docs/reference/features.md`` from the specification: ``python -m tests.features.feature_table``."""

from __future__ import annotations

import os
from itertools import groupby
from pathlib import Path

import django
from django.utils import translation

from personalization.features import turned
from personalization.features.labels import label
from personalization.features.specification import FEATURES, PACE_BOUND, PACE_DAYS, RATE_PRIOR, REVIEW_PRIOR, Feature
from personalization.features.topics import BY_CODE, OF_FEATURE
from worker.data import LEAST_SHOPPERS

PAGE = Path(__file__).resolve().parents[2] / "docs" / "reference" / "features.md"
GROUPS = {
    "offer": "The offer",
    "profile": "The shopper's profile",
    "behaviour": "What the shopper did",
    "history": "What became of earlier offers",
    "cross": "Shopper and offer together",
    "context": "The moment",
    "taste": "The shopper's taste",
}
INTRODUCTION = f"""# Features

<!-- Generated from personalization/features/specification.py: python -m tests.features.feature_table -->

Every estimator reads these {len(FEATURES)} columns, in this order. Each is *point in time*: for a row (shopper, offer,
moment) only what happened strictly before the moment counts, and the profile is the one of that moment. Money is in
major units of the currency. Rates are shrunk towards one half by {RATE_PRIOR:g} pseudo-exposures;
what is expected of a shopper in an offer's time is shrunk towards the shop's pace by {PACE_DAYS:g} days. To that pace
one order adds {PACE_BOUND:g} times the geometric mean of the orders before it at most. Days of a shopper count from
joining, or from the first order where that lies earlier, as with whoever was back-filled.

*Preparation* says what the linear model and the network see: the value is clipped to the quantiles 0.1 % and 99.9 %,
passed through log(1 + x) where it says log, a missing value is replaced, and the column is scaled to mean 0 and
deviation 1. A flag is a further 0/1 column that says the value was missing. Everything is fitted on the training rows
only, and a feature that never varies there is left out. Codes are numbers in a vocabulary fitted on the training rows;
unknown and missing values share the code 0, and so do those that fewer than {LEAST_SHOPPERS} shoppers' profiles have:
a version's files outlive who is erased. Trees read the raw values.

*Called* is what people read: in the model card, in its rules and in reports of drift. *Topic* is what it counts for in
the card and in the reasons that staff and shoppers are given.

*Looks back* is the window before the moment; "all" is everything that is kept. Columns of the offer and of the moment
need no consent; every other one reads shoppers who agreed to personalisation and nobody else. That the future changes
nothing is tested for every column: `tests/features/test_compute.py`, and for the taste `tests/worker/test_tastes.py`,
`test_looks.py` and `test_sentiment.py` there.
"""
OF_TASTE = """
These columns are empty unless the shop asks for them ([settings](settings.md): `TEXT_TOPICS`, `IMAGES`,
`REVIEW_SENTIMENT`). What a shopper turned to are products viewed, put into the basket and bought; a purchase counts
thrice, and each counts half as much with every {days:g} days that it lies back. The sentiment of reviews is the mean of
all that were written before the moment; a category's is shrunk towards neutral by {prior:g} pseudo-reviews.
"""


HEADER = "\n| feature | called | topic | what for | looks back | unit | preparation |\n" + "|---" * 7 + "|\n"


def render() -> str:
    """Return the page."""
    parts = [INTRODUCTION]
    for group, features in groupby(FEATURES, key=lambda feature: feature.group):
        parts.append(f"\n## {GROUPS[group]}\n")
        if group == "taste":
            parts.append(OF_TASTE.format(days=turned.HALF_LIFE_DAYS, prior=REVIEW_PRIOR))
        parts.append(HEADER)
        parts.extend(_line(feature) for feature in features)
    return "".join(parts)


def _line(feature: Feature) -> str:
    topic = str(BY_CODE[OF_FEATURE[feature.name]].name)
    told = (label(feature.name), topic, feature.purpose, _window(feature), feature.unit or "–", _preparation(feature))
    return f"| `{feature.name}` | {' | '.join(told)} |\n"


def _window(feature: Feature) -> str:
    if feature.group in {"offer", "profile", "context"}:
        return "–"
    if feature.group == "taste" and not feature.name.startswith("review_"):
        return f"the last {turned.MOST}"
    return "all" if feature.window_days is None else f"{feature.window_days} days"


def _preparation(feature: Feature) -> str:
    if feature.categorical:
        return "code"
    steps = ["log"] if feature.log else []
    steps.append("missing → median" if feature.impute == "median" else "missing → 0")
    if feature.flag:
        steps.append("flag")
    return ", ".join(steps)


if __name__ == "__main__":
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
    django.setup()
    translation.activate("en")
    PAGE.parent.mkdir(parents=True, exist_ok=True)
    PAGE.write_text(render(), encoding="utf-8")
