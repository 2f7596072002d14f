"""The page of features says what the specification declares."""

from __future__ import annotations

import re

from personalization.features.specification import FEATURES
from tests.features import feature_table


def test_the_page_is_what_the_specification_says() -> None:
    written = feature_table.PAGE.read_text(encoding="utf-8")
    assert written == feature_table.render(), "run: python -m tests.features.feature_table"


def test_every_feature_has_its_line() -> None:
    written = feature_table.PAGE.read_text(encoding="utf-8")
    missing = [
        feature.name
        for feature in FEATURES
        if not re.search(rf"^\| `{feature.name}` \| [^|]+ \| [^|]+ \| {re.escape(feature.purpose)} \|", written, re.M)
    ]
    assert missing == []


def test_a_page_that_lags_behind_is_noticed() -> None:
    """The negative control: without one feature's line the page would differ."""
    lines = feature_table.render().splitlines()
    shortened = [line for line in lines if not line.startswith("| `age` ")]
    assert len(shortened) == len(lines) - 1
