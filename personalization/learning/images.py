"""Ask the host for its products' image vectors, and refuse what cannot be learnt from in one sentence."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from personalization import conf
from personalization.exceptions import PersonalizationError
from personalization.ports import adapters, answers

BATCH = 1000
"""Products that the host is asked about at a time."""
MOST_WIDTH = 4096


def read(population: str, item_ids: Sequence[str]) -> NDArray[np.float32]:
    """Return [items, d], rows of zeros where there is no picture; d is 0 where the host supplies nothing.

    Only the host's own products are asked about: those of imported data sets are not its.
    """
    adapter = adapters.images()
    if adapter is None or population != conf.get().population or not item_ids:
        return np.zeros((len(item_ids), 0), dtype=np.float32)
    found: NDArray[np.float32] | None = None
    for start in range(0, len(item_ids), BATCH):
        asked = item_ids[start : start + BATCH]
        answer = adapter.image_vectors(asked)
        given = answers.one_each(answer, len(asked), "IMAGES", entries="vectors", of="products")
        for place, (item, vector) in enumerate(zip(asked, given, strict=True), start=start):
            if vector is None:
                continue
            row = _row(item, vector)
            if found is None:
                found = np.zeros((len(item_ids), len(row)), dtype=np.float32)
            if len(row) != found.shape[1]:
                raise _refused(
                    "%(width)s numbers for the product %(item)s, and %(other)s for those before",
                    width=len(row), item=item, other=found.shape[1],
                )  # fmt: skip
            found[place] = row
    return np.zeros((len(item_ids), 0), dtype=np.float32) if found is None else found


def _row(item: str, vector: Sequence[float]) -> NDArray[np.float32]:
    try:
        row = np.asarray(vector, dtype=np.float32)
    except (TypeError, ValueError, OverflowError):
        row = np.zeros((0, 0), dtype=np.float32)
    if row.ndim != 1 or not 1 <= len(row) <= MOST_WIDTH or not np.isfinite(row).all():
        raise _refused(
            "something else than 1 to %(most)s finite numbers for the product %(item)s", most=MOST_WIDTH, item=item
        )
    return row


def _refused(what: str, **params: object) -> PersonalizationError:
    return PersonalizationError('PERSONALIZATION["IMAGES"] returned ' + what + ".", params=params)
