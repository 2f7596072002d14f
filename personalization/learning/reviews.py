"""Read reviews for the sentiment in them: only where the shop asks for it, and only of shoppers who are read at all.

Texts are stored encrypted. They are opened here, in the memory of the worker, and go nowhere else; what is kept of them
is numbers, and words that many shoppers use (``worker.sentiment``).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import groupby, islice
from operator import itemgetter
from typing import Any

import numpy as np

from personalization import conf
from personalization.exceptions import PersonalizationError
from personalization.features.frames import Floats, Reviews, milliseconds
from personalization.learning import people, wordings
from personalization.learning.stream import Codes, Progress
from personalization.models import Event
from personalization.ports import adapters, answers
from personalization.tracking import sealing

CHUNK = 5000
MOST_REVIEWS = 200
"""Reviews read of one shopper, their first: what is written later changes nothing that was read before it."""
MOST_LETTERS = 2000
"""Letters read of one review, its title included."""
Row = tuple[int, datetime, str, float, str]
"""Shopper (primary key), moment, product, stars, text."""


def read(population: str, until: datetime, codes: Codes, progress: Progress) -> Reviews:
    """Return the reviews of the shoppers in ``codes`` up to ``until``; none unless REVIEW_SENTIMENT is on.

    At most MOST_REVIEWS of each, and MOST_LETTERS of each of these: however much one shopper writes, memory holds no
    more of it.
    """
    if not conf.get().review_sentiment:
        return Reviews()
    progress(wordings.READING_REVIEWS)
    kept = list(_kept(population, until))
    shopper = codes.shopper([row[0] for row in kept])
    time = np.array([milliseconds(row[1]) for row in kept], dtype=np.int64)
    order = np.lexsort((time, shopper))
    order = order[shopper[order] >= 0]
    item = np.array([codes.items.get(kept[at][2], -1) for at in order], dtype=np.int64)
    text = [kept[at][4] for at in order]
    return Reviews(
        shopper=shopper[order],
        time=time[order],
        item=item,
        category=np.append(codes.item_category, -1)[item],
        stars=np.array([kept[at][3] for at in order], dtype=np.float64),
        text=text,
        hosted=_hosted(text),
    )


def _kept(population: str, until: datetime) -> Iterator[Row]:
    """Yield what is read of each shopper who may be read; what is beyond it passes by unopened."""
    written = Event.objects.filter(
        shopper__in=people.readable(population), type="review_submitted", is_bot=False, occurred_at__lte=until
    )
    rows = (
        written.order_by("shopper_id", "occurred_at", "pk")
        .values_list("shopper_id", "occurred_at", "item_id", "properties")
        .iterator(CHUNK)
    )
    for _shopper, own in groupby(rows, key=itemgetter(0)):
        for pk, moment, item_id, properties in islice(own, MOST_REVIEWS):
            stars, text = _told(properties)
            yield pk, moment, item_id, stars, text[:MOST_LETTERS]


def _told(properties: Any) -> tuple[float, str]:
    """Return a review's stars between −1 and 1, nan without, and its title and text."""
    found = sealing.open_properties(properties) if isinstance(properties, dict) else {}
    rating = found.get("rating")
    stars = math.nan
    if isinstance(rating, int | float) and not isinstance(rating, bool) and 1 <= rating <= 5:
        stars = (rating - 3) / 2
    words = (str(found[name]) for name in ("title", "text") if found.get(name))
    return stars, "\n".join(words)


def _hosted(texts: Sequence[str]) -> Floats:
    """Return what the host's function says of each text, nan where it says nothing or there is no function."""
    function, found = adapters.sentiment(), np.full(len(texts), np.nan)
    written = [at for at, text in enumerate(texts) if text]
    if function is None or not written:
        return found
    answer = function([texts[at] for at in written])
    given = answers.one_each(answer, len(written), "SENTIMENT", entries="values", of="texts")
    found[written] = [_judged(value) for value in given]
    return found


def _judged(value: Any) -> float:
    """Return what the host says of one text; raises PersonalizationError where it is no sentiment."""
    if value is None:
        return math.nan
    try:
        found = math.inf if isinstance(value, bool | str | bytes) else float(value)
    except (TypeError, ValueError, OverflowError):
        found = math.inf
    if abs(found) > 1:  # false of nan, which says nothing
        raise PersonalizationError(
            'PERSONALIZATION["SENTIMENT"] returned a value that is not between −1 and 1: give a number, or None.'
        )
    return found
