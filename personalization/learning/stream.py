"""Read the event log into columns, a block at a time: memory is the columns', not that of an object a value.

An event as the database brings it, a tuple of eight objects, takes ten times the memory of its seven numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any

import numpy as np
from numpy.typing import NDArray

from personalization.features.frames import (
    STREAM_TYPES,
    TYPE_CODE,
    Events,
    Exposures,
    Ints,
    Items,
    Lines,
    Offers,
    Shoppers,
    milliseconds,
)
from personalization.learning import wordings
from personalization.learning.sentences import Said, Sentence
from personalization.models import Event

BLOCK = 20_000
TELL_EVERY = 25
"""Blocks between two words on how far the reading has come."""
Progress = Callable[[Said], None]
_Block = list[NDArray[Any]]
_STORED = [name for name in STREAM_TYPES if name != "offer_shown"]  # exposures say what was shown


@dataclass(frozen=True, slots=True)
class Codes:
    """Where what events name stands in the frames; ``scale`` divides money into major units."""

    shoppers: Ints
    items: dict[str, int]
    item_category: Ints
    categories: dict[str, int]
    offers: dict[int | None, int]
    scale: float

    @classmethod
    def of(cls, shoppers: Shoppers, items: Items, categories: dict[str, int], offers: Offers, digits: int) -> Codes:
        """Return the positions of these shoppers (ascending), products, categories and offers."""
        return cls(
            shoppers.ids,
            {key: place for place, key in enumerate(items.ids)},
            items.category,
            categories,
            {int(pk): place for place, pk in enumerate(offers.ids)},
            10.0**digits,
        )

    def shopper(self, keys: Sequence[int]) -> Ints:
        """Return each shopper's position, -1 for who is not among the shoppers read."""
        wanted = np.array(keys, dtype=np.int64)
        if not len(self.shoppers):
            return np.full(len(wanted), -1, dtype=np.int64)
        place = np.minimum(np.searchsorted(self.shoppers, wanted), len(self.shoppers) - 1)
        found: Ints = np.where(self.shoppers[place] == wanted, place, -1)
        return found


def read(population: str, until: datetime, codes: Codes, exposures: Exposures, progress: Progress) -> Events:
    """Return the stream up to ``until``, offers shown included, without robots, sorted by (shopper, time)."""
    rows = (
        Event.objects.filter(shopper__population=population, is_bot=False, occurred_at__lte=until, type__in=_STORED)
        .order_by()
        .values_list("shopper_id", "occurred_at", "type", "item_id", "category", "offer_id", "value_minor")
        .iterator(chunk_size=BLOCK)
    )
    blocks = [_shown(exposures)]
    for block in _blocks(rows, wordings.READING_MANY_EVENTS, progress):
        blocks.append(_coded(block, codes))
    columns = _joined(blocks)
    order = np.lexsort((columns[2], columns[1], columns[0]))
    for place, column in enumerate(columns):  # one at a time: two whole copies of the log are never held
        columns[place] = column[order]
    return Events(*columns)


def read_lines(population: str, until: datetime, codes: Codes, progress: Progress) -> Lines:
    """Return the order lines up to ``until`` that name a known product, without robots, sorted by (shopper, time)."""
    rows = (
        Event.objects.filter(shopper__population=population, is_bot=False, occurred_at__lte=until, type="order_placed")
        .order_by()
        .values_list("shopper_id", "occurred_at", "properties")
        .iterator(chunk_size=BLOCK)
    )
    nothing: _Block = [np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0)]
    blocks = [nothing]
    for block in _blocks(rows, wordings.READING_MANY_ORDERS, progress):
        blocks.append(_coded_lines(block, codes))
    columns = _joined(blocks)
    order = np.lexsort((columns[1], columns[0]))
    return Lines(*(column[order] for column in columns))


def _blocks(rows: Iterator[tuple[Any, ...]], said: str, progress: Progress) -> Iterator[list[tuple[Any, ...]]]:
    """Yield the rows block by block, and say now and then how many they were."""
    number = 0
    while block := list(islice(rows, BLOCK)):
        yield block
        number += 1
        if number % TELL_EVERY == 0:
            progress(Sentence(said, {"rows": f"{number * BLOCK:,}"}))


def _coded(rows: list[tuple[Any, ...]], codes: Codes) -> _Block:
    """Return a block's columns, in the order of ``Events``, without shoppers that are not read."""
    keys, moments, kinds, items, categories, offers, values = zip(*rows, strict=True)
    shopper, item = codes.shopper(keys), np.array([codes.items.get(key, -1) for key in items], dtype=np.int64)
    category = np.array([codes.categories.get(name, -1) for name in categories], dtype=np.int64)
    # What the event itself says goes first, known or not: as the daily counts do.
    silent = np.array([not name for name in categories], dtype=bool) & (item >= 0)
    category[silent] = codes.item_category[item[silent]]
    columns = [
        shopper,
        np.array([milliseconds(moment) for moment in moments], dtype=np.int64),
        np.array([TYPE_CODE[kind] for kind in kinds], dtype=np.int64),
        item,
        category,
        np.array([codes.offers.get(key, -1) for key in offers], dtype=np.int64),
        np.array([value or 0 for value in values], dtype=np.float64) / codes.scale,
    ]
    return _of_known(columns)


def _coded_lines(rows: list[tuple[Any, ...]], codes: Codes) -> _Block:
    """Return a block's lines, in the order of ``Lines``, without shoppers and products that are not read."""
    owners = codes.shopper([key for key, _moment, _properties in rows]).tolist()
    found = [
        (shopper, milliseconds(moment), item, float(line.get("quantity") or 1))
        for shopper, (_key, moment, properties) in zip(owners, rows, strict=True)
        for line in _order_lines(properties)
        if (item := codes.items.get(str(line.get("item_id")), -1)) >= 0
    ]
    table = np.array(found, dtype=np.float64).reshape(len(found), 4)
    return _of_known([*(table[:, place].astype(np.int64) for place in range(3)), table[:, 3]])


def _of_known(columns: _Block) -> _Block:
    known = columns[0] >= 0
    return [column[known] for column in columns]


def _order_lines(properties: Any) -> Iterator[dict[str, Any]]:
    for line in (properties or {}).get("lines") or []:
        if isinstance(line, dict):
            yield line


def _shown(exposures: Exposures) -> _Block:
    """Return what was shown as a block of the stream: the log does not hold it."""
    shown = exposures.offer >= 0
    count = int(shown.sum())
    nothing = np.full(count, -1, dtype=np.int64)
    kind = np.full(count, TYPE_CODE["offer_shown"], dtype=np.int64)
    return [
        exposures.shopper[shown], exposures.time[shown], kind, nothing, nothing, exposures.offer[shown],
        np.zeros(count),
    ]  # fmt: skip


def _joined(blocks: list[_Block]) -> _Block:
    """Return the blocks' columns one after the other; the blocks are emptied on the way."""
    columns: _Block = []
    for _ in range(len(blocks[0])):
        columns.append(np.concatenate([block.pop(0) for block in blocks]))
    return columns
