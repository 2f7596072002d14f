"""The columns that reviews fill: how well a shopper speaks of what they reviewed, and all of the offer's category."""

from __future__ import annotations

import numpy as np

from personalization.features.compute import FeatureBuilder, Rows
from personalization.features.frames import Floats
from personalization.features.series import Series
from personalization.features.specification import INDEX, REVIEW_PRIOR
from worker.sentiment import Sentiment


def fill(sentiment: Sentiment, builder: FeatureBuilder, rows: Rows, x: Floats) -> None:
    """Fill the columns of ``x`` [rows, features], in place, from reviews written strictly before each moment."""
    frames = builder.frames
    value = sentiment.of(frames.reviews)
    told = ~np.isnan(value)
    if not told.any():
        return
    shopper, time, category = (getattr(frames.reviews, name)[told] for name in ("shopper", "time", "category"))
    value, width = value[told], max(len(frames.categories), 1)
    x[:, INDEX["review_given"]] = _mean(Series(shopper, time, value), rows.shopper, rows)
    filed = category >= 0
    own = Series(shopper[filed] * width + category[filed], time[filed], value[filed])
    every = Series(category[filed], time[filed], value[filed])
    offered = np.append(frames.offers.category, -1)[rows.offer]
    has = offered >= 0
    place = np.maximum(offered, 0)
    match, of_all = _mean(own, rows.shopper * width + place, rows), _mean(every, place, rows, prior=REVIEW_PRIOR)
    x[:, INDEX["review_match"]] = np.where(has, match, np.nan)
    x[:, INDEX["review_category"]] = np.where(has, of_all, np.nan)


def _mean(series: Series, group: np.ndarray, rows: Rows, *, prior: float = 0.0) -> Floats:
    """Return the mean of each group's values before each moment, with so many zeros added; nan without any value."""
    count = series.count(group, rows.time)
    found: Floats = series.total(group, rows.time) / np.where(count > 0, count + prior, np.nan)
    return found
