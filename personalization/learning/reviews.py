"""Read reviews for the sentiment in them: only where the shop asks for it, and only of shoppers who are read at all.

Texts are stored encrypted. They are opened here, in the memory of the worker, and go nowhere else; what is kept of them
is numbers, and words that many shoppers use (``worker.sentiment``).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

import numpy as np

from personalization import conf
from personalization.exceptions import PersonalizationError
from personalization.features.frames import Floats, Reviews, milliseconds
from personalization.learning.stream import Codes, Progress
from personalization.models import Event
from personalization.ports import adapters
from personalization.tracking import sealing

CHUNK = 5000
Row = tuple[int, datetime, str, Any]


def read(population: str, until: datetime, codes: Codes, progress: Progress) -> Reviews:
    """Return the reviews of the shoppers in ``codes`` up to ``until``; none unless REVIEW_SENTIMENT is on."""
    if not conf.get().review_sentiment:
        return Reviews()
    progress("reading reviews")
    written = Event.objects.filter(
        shopper__population=population, type="review_submitted", is_bot=False, occurred_at__lte=until
    )
    rows: Iterator[Row] = written.values_list("shopper_id", "occurred_at", "item_id", "properties").iterator(CHUNK)
    kept = list(rows)
    shopper = codes.shopper([row[0] for row in kept])
    time = np.array([milliseconds(row[1]) for row in kept], dtype=np.int64)
    order = np.lexsort((time, shopper))
    order = order[shopper[order] >= 0]
    told = [_told(kept[at][3]) for at in order]
    item = np.array([codes.items.get(kept[at][2], -1) for at in order], dtype=np.int64)
    text = [words for _stars, words in told]
    return Reviews(
        shopper=shopper[order],
        time=time[order],
        item=item,
        category=np.append(codes.item_category, -1)[item],
        stars=np.array([stars for stars, _words in told], dtype=np.float64),
        text=text,
        hosted=_hosted(text),
    )


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
    given = list(function([texts[at] for at in written]))
    if len(given) != len(written):
        raise PersonalizationError(
            'PERSONALIZATION["SENTIMENT"] returned %(given)s values for %(texts)s texts.',
            params={"given": len(given), "texts": len(written)},
        )
    values = np.array([math.nan if value is None else float(value) for value in given])
    if (np.abs(values) > 1).any():
        raise PersonalizationError('PERSONALIZATION["SENTIMENT"] returned a value that is not between −1 and 1.')
    found[written] = values
    return found
