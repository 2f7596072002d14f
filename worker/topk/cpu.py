"""Top-k on the CPU: a block of users at a time is multiplied with the catalogue and searched while it is in the cache.

A block's scores are cut into chunks of ``width`` items, and only the largest of each chunk is looked at further. The
k-th largest of these (or of groups of them) is a bound that at least k items reach, so what lies below it is out:
of 10,000 items some 25 chunks are read again and some 25 scores sorted. Every thread works on users of its own with
one BLAS thread, because a product this narrow gains little from more.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Generator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from threading import Lock, local
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from worker.device import cores

Ids = NDArray[np.int32]
Floats = NDArray[np.float32]
Longs = NDArray[np.int64]

BLOCK = 2048
"""Users a result; the unit in which threads share the work."""
STEP = 128
"""Users a product: fewer, and the BLAS prepares the items too often; more, and their scores leave the cache, and the
keys have no room for the row."""
TILE = 1 << 15
"""Items a product at most: bounds the scores held to STEP · TILE, 16 MiB a thread."""
SORTED = 128
"""Maxima a user worth sorting: so many NumPy still sorts in a network, in hardly any time."""
MOST_ITEMS = 1 << 24
LOWEST, HIGHEST = (float(limit) for limit in (np.finfo(np.float32).min, np.finfo(np.float32).max))
SIGN = np.int32(2**31 - 1)
LAST = np.array([2**63 - 1])
"""A key behind all others, so that there is one."""


class Rows(Protocol):
    """Item numbers by user in compressed rows, as ``scipy.sparse.csr_matrix`` has them."""

    indptr: NDArray[Any]
    indices: NDArray[Any]


@dataclass(frozen=True, slots=True)
class Tile:
    """Consecutive items, transposed for the product and filled up with zeros to whole chunks [d, width · chunks]."""

    first: int
    items: int
    width: int
    vectors: Floats

    @property
    def chunks(self) -> int:
        return self.vectors.shape[1] // self.width


class Catalogue:
    """Items that may be chosen, prepared for many products; ``names`` are their numbers among all."""

    def __init__(self, items: NDArray[Any], names: Ids, k: int) -> None:
        self.names, self.total, self.k = names, len(items), k
        self.tiles = [_tile(items, names[at : at + TILE], at, k) for at in range(0, len(names), TILE)]
        self.peak = max((float(np.abs(tile.vectors).max()) for tile in self.tiles), default=0.0)
        self.place = np.full(self.total, -1, dtype=np.int32)
        self.place[names] = np.arange(len(names), dtype=np.int32)


class Space:
    """A thread's memory for the scores, their chunks' maxima and which of these matter: used again at every step.

    Two threads share a ``turn`` and hold it while they search a step, in some thirty short calls: at each NumPy lets go
    of the interpreter, and two that search at once would wait for it again and again. So one waits once, and from then
    on multiplies while the other searches.
    """

    def __init__(self, catalogue: Catalogue, turn: Lock) -> None:
        self.turn = turn
        self.scores = np.empty(STEP * max((tile.vectors.shape[1] for tile in catalogue.tiles), default=0), np.float32)
        self.best = np.empty(STEP * max((tile.chunks for tile in catalogue.tiles), default=0), np.float32)
        self.reached = np.empty(len(self.best), np.bool_)


def _tile(items: NDArray[Any], names: Ids, first: int, k: int) -> Tile:
    width = max(1, round(float(np.sqrt(len(names) / (5 * k)))))  # looking at a maximum costs ⅕ of reading a score again
    chunks = -(-len(names) // width)
    vectors = np.zeros((items.shape[1], width * chunks), dtype=np.float32)
    vectors[:, : len(names)] = items[names].T
    return Tile(first, len(names), width, vectors)


def blocks(
    users: NDArray[Any], catalogue: Catalogue, owned: Rows | None, *, start: int, threads: int | None
) -> Generator[tuple[int, Ids, Floats], None, None]:
    """Yield (first user, ids [b, k], scores [b, k]) in order; at most two blocks a thread are under way."""
    from threadpoolctl import threadpool_limits  # here, since a machine that ranks on its GPU may go without

    threads = threads or cores()
    own = local()
    turns = iter([turn for _ in range(0, threads, 2) for turn in 2 * [Lock()]])

    def work(first: int) -> tuple[int, Ids, Floats]:
        if not hasattr(own, "space"):
            own.space = Space(catalogue, next(turns))
        return first, *block(users, first, catalogue, owned, own.space)

    with threadpool_limits(1, "blas"), ThreadPoolExecutor(threads, "top-k") as pool:
        under_way: deque[Future[tuple[int, Ids, Floats]]] = deque()
        waiting = iter(range(start - start % BLOCK, len(users) if start < len(users) else 0, BLOCK))
        try:
            for first in waiting:
                under_way.append(pool.submit(work, first))
                if len(under_way) >= 2 * threads:
                    yield _after(start, *under_way.popleft().result())
            while under_way:
                yield _after(start, *under_way.popleft().result())
        finally:
            pool.shutdown(cancel_futures=True)


def _after(start: int, first: int, ids: Ids, scores: Floats) -> tuple[int, Ids, Floats]:
    """Drop users before ``start``: whole blocks are computed, so a resumed run gives the same bits."""
    skip = max(0, start - first)
    return first + skip, ids[skip:], scores[skip:]


def block(
    users: NDArray[Any], first: int, catalogue: Catalogue, owned: Rows | None, space: Space
) -> tuple[Ids, Floats]:
    """Return (ids, scores) of the block that begins with user ``first``."""
    rows = min(BLOCK, len(users) - first)
    vectors = np.asarray(users[first : first + rows], dtype=np.float32)
    _check_scores(vectors, first, catalogue)
    if not catalogue.tiles:
        return np.full((rows, catalogue.k), -1, np.int32), np.full((rows, catalogue.k), -np.inf, np.float32)
    found = []
    for at in range(0, rows, STEP):
        to = min(at + STEP, rows)
        mine = _owned(owned, first + at, first + to, catalogue) if owned is not None else None
        found.append(_step(vectors[at:to], catalogue, mine, space))
    return ranked(found, rows, catalogue.k, catalogue.names)


def _check_scores(vectors: Floats, first: int, catalogue: Catalogue) -> None:
    """Raise ValueError where a score may be no number."""
    reach = vectors.shape[1] * catalogue.peak
    if float(np.abs(vectors).max()) * reach < HIGHEST:
        return
    broken = first + np.flatnonzero(~(np.abs(vectors).max(axis=1) * reach < HIGHEST))
    raise ValueError(
        f"The vectors of {len(broken)} users, the first is {broken[0]}, hold NaN, infinity or numbers so large that a "
        "score overflows. Train them anew or leave these users out."
    )


def _owned(owned: Rows, first: int, to: int, catalogue: Catalogue) -> tuple[Longs, Ids]:
    """Return (row, column) of what the users own of the catalogue."""
    starts = owned.indptr[first : to + 1]
    column = catalogue.place[owned.indices[starts[0] : starts[-1]]]
    row = np.repeat(np.arange(to - first), np.diff(starts))
    known = column >= 0
    return row[known], column[known]


def _step(users: Floats, catalogue: Catalogue, owned: tuple[Longs, Ids] | None, space: Space) -> Longs:
    """Return the sorted keys of the scores that may be among a user's best."""
    limit = np.full(len(users), LOWEST, dtype=np.float32)  # −∞ never reaches it
    found = []
    for tile in catalogue.tiles:
        wide = tile.vectors.shape[1]
        scores = space.scores[: len(users) * wide].reshape(len(users), wide)
        np.matmul(users, tile.vectors, out=scores)
        scores[:, tile.items :] = -np.inf
        if owned is not None:
            row, column = owned[0], owned[1] - tile.first
            inside = (column >= 0) & (column < tile.items)
            scores[row[inside], column[inside]] = -np.inf
        found.append(survivors(scores, tile, catalogue.k, limit, space))
    keys = found[0] if len(found) == 1 else np.concatenate(found)
    keys.sort()
    return keys


def survivors(scores: Floats, tile: Tile, k: int, limit: Floats, space: Space) -> Longs:
    """Return keys of all of a tile's scores [rows, items] that may be among a row's k best; raises ``limit`` [rows].

    A key sorts by row, then by falling score, then by item: row · 2⁵⁶ + (falling score) · 2²⁴ + item.
    """
    rows, wide = scores.shape
    width, chunks = tile.width, tile.chunks
    best = space.best[: rows * chunks].reshape(rows, chunks)
    scores.reshape(rows, width, chunks).max(axis=1, out=best)
    with space.turn:
        if chunks > k:
            fold = -(-chunks // max(SORTED, 4 * k))
            groups = chunks // fold
            coarse = best[:, : fold * groups].reshape(rows, fold, groups).max(axis=1)
            coarse.sort(axis=1)
            np.maximum(limit, coarse[:, -k], out=limit)
        reached = space.reached[: rows * chunks].reshape(rows, chunks)
        hit = np.flatnonzero(np.greater_equal(best, limit[:, None], out=reached))
        row = hit // chunks
        place = hit + row * (wide - chunks) + np.arange(width)[:, None] * chunks  # NumPy is quick along the long side
        values = scores.ravel().take(place)
        kept = np.flatnonzero(values >= limit[row])
        values, place = values.ravel()[kept], place.ravel()[kept]
        row = place // wide
        falling = np.int64(SIGN) - _ordered((values + np.float32(0)).view(np.int32))  # −0 + 0 is 0
        return (row << 56) | (falling << 24) | (place - row * wide + tile.first)


def ranked(steps: list[Longs], rows: int, k: int, names: Ids) -> tuple[Ids, Floats]:
    """Return each row's first k (names, scores) of the sorted keys of each step; what is missing is −1 and −∞."""
    keys = np.concatenate([*steps, LAST])
    before = np.repeat(np.arange(len(steps)) * STEP, [len(step) for step in steps])
    ends = np.cumsum(np.bincount((keys[:-1] >> 56) + before, minlength=rows))
    begins = np.append(0, ends[:-1])
    place = begins[:, None] + np.arange(k)
    chosen = keys.take(place, mode="clip")
    ids = names.take(chosen & (MOST_ITEMS - 1), mode="clip")
    scores = _ordered((SIGN - ((chosen >> 24) & 0xFFFFFFFF)).astype(np.int32)).view(np.float32)
    missing = place >= ends[:, None]
    ids[missing], scores[missing] = -1, -np.inf
    return ids, scores


def _ordered(bits: Ids) -> Ids:
    """Map the bits of float32 numbers to integers that sort as the numbers do; its own inverse."""
    return bits ^ ((bits >> 31) & SIGN)
