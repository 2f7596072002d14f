"""The fused product and top-k as two Triton kernels: no score reaches the GPU's memory unless it may be needed.

:func:`survivors` multiplies a tile of users with the catalogue twice. The first time it keeps, in registers, the
largest score of each of COLS chunks (chunk c holds the items c, c + COLS, c + 2·COLS …). The k-th largest of these
maxima is a bound that at least k items reach, and few more: the best k rarely share a chunk. The second time the same
instructions give the same scores, bit for bit, and what reaches the bound is written down: some k + 2 of 10,000 scores
a user. :func:`arrange` sorts these. A user with more survivors than there is room for (many equal scores) is counted
as such and left to the caller.

Importable only where Triton is.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def ordered(bits):  # type: ignore[no-untyped-def]
    """Map the bits of a float32, as int32, to an int32 that sorts as the number does; its own inverse."""
    return bits ^ ((bits >> 31) & 0x7FFFFFFF)


@triton.jit
def bound(best, need, COLS: tl.constexpr):  # type: ignore[no-untyped-def]
    """Return each row's need-th largest of best [rows, COLS] by bisection; −inf where that is more than there are."""
    key = ordered(best.to(tl.int32, bitcast=True))
    low = tl.min(key, 1)
    high = tl.max(key, 1)
    for _ in range(32):
        middle = (low | high) - ((low ^ high) >> 1)  # the mean, rounded up, without overflow
        enough = tl.sum((key >= middle[:, None]).to(tl.int32), 1) >= need
        low = tl.where(enough, middle, low)
        high = tl.where(enough, high, middle - 1)
    found = ordered(low).to(tl.float32, bitcast=True)
    return tl.where(need > COLS, float("-inf"), found)


@triton.jit
def survivors(  # type: ignore[no-untyped-def]
    users,  # [n, DIM] float16 or bfloat16
    items,  # [m rounded up to COLS, DIM], the same type
    needs,  # [n] int32: how many of the best are wanted
    counts,  # [n] int32, zeros: becomes the number of survivors
    kept,  # [n, WIDTH] int64: becomes score bits << 32 | item, in any order
    n,
    m,
    DIM: tl.constexpr,
    ROWS: tl.constexpr,
    COLS: tl.constexpr,
    WIDTH: tl.constexpr,
    STEP: tl.constexpr,  # the bound is found on every STEP-th tile of items
    SCAN: tl.constexpr,  # number the survivors by a prefix sum, not by atomics
):
    """Keep each user's scores that reach a bound which at least ``needs`` items reach."""
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    here = row < n
    dim = tl.arange(0, DIM)
    tile = tl.arange(0, COLS)
    u = tl.load(users + row[:, None] * DIM + dim[None, :], mask=here[:, None], other=0.0)
    best = tl.full((ROWS, COLS), float("-inf"), tl.float32)
    for at in range(0, m, COLS * STEP):
        col = at + tile
        v = tl.load(items + col[None, :] * DIM + dim[:, None])
        score = tl.dot(u, v)
        best = tl.maximum(best, tl.where((col < m)[None, :], score, float("-inf")))
    limit = bound(best, tl.load(needs + row, mask=here, other=1), COLS)
    limit = tl.where(here, limit, float("inf"))
    first = (row * WIDTH)[:, None]
    count = tl.zeros((ROWS,), tl.int32)
    for at in range(0, m, COLS):
        col = at + tile
        v = tl.load(items + col[None, :] * DIM + dim[:, None])
        score = tl.dot(u, v)
        hit = (score >= limit[:, None]) & (col < m)[None, :]
        if SCAN:
            one = hit.to(tl.int32)
            slot = count[:, None] + tl.cumsum(one, 1) - 1
            count += tl.sum(one, 1)
        else:
            place = counts + row[:, None] + tl.zeros((ROWS, COLS), tl.int32)
            slot = tl.atomic_add(place, 1, mask=hit, sem="relaxed")
        raw = (score.to(tl.int32, bitcast=True).to(tl.int64) << 32) | col[None, :]
        tl.store(kept + first + slot, raw, mask=hit & (slot < WIDTH))
    if SCAN:
        tl.store(counts + row, count, mask=here)


@triton.jit
def arrange(  # type: ignore[no-untyped-def]
    counts,  # [n] int32
    kept,  # [n, WIDTH] int64
    names,  # [m] int32, ascending: the catalogue's number of each column
    starts,  # [n + 1] int64: where each user's own items begin in owned
    owned,  # int32: catalogue numbers that are left out
    ids,  # [n, k] int32, the answer
    scores,  # [n, k] float32, the answer
    n,
    k,
    OWNED: tl.constexpr,
    ROWS: tl.constexpr,
    WIDTH: tl.constexpr,
):
    """Sort each user's survivors, the highest score first and equal ones by number, and write the first k."""
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    here = row < n
    slot = tl.arange(0, WIDTH)
    count = tl.load(counts + row, mask=here, other=0)
    there = slot[None, :] < count[:, None]
    raw = tl.load(kept + row[:, None] * WIDTH + slot[None, :], mask=there, other=0)
    name = tl.load(names + (raw & 0x7FFFFFFF), mask=there, other=0)
    bits = (raw >> 32).to(tl.int32)
    bits = tl.where((bits << 1) == 0, 0, bits)  # −0 and 0 are equal
    key = (ordered(bits).to(tl.int64) << 32) | (0x7FFFFFFF - name).to(tl.int64)
    key = tl.where(there, key, -9223372036854775807)
    if OWNED:
        begin = tl.load(starts + row, mask=here, other=0)
        end = tl.load(starts + row + 1, mask=here, other=0)
        for step in range(tl.max(end - begin, 0)):
            own = tl.load(owned + begin + step, mask=begin + step < end, other=-1)
            key = tl.where(name == own[:, None], -9223372036854775807, key)
    key = tl.sort(key, 1, descending=True)
    filled = key != -9223372036854775807
    found = tl.where(filled, 0x7FFFFFFF - (key & 0x7FFFFFFF), -1).to(tl.int32)
    value = ordered((key >> 32).to(tl.int32)).to(tl.float32, bitcast=True)
    place = row[:, None] * k + slot[None, :]
    wanted = here[:, None] & (slot < k)[None, :]
    tl.store(ids + place, found, mask=wanted)
    tl.store(scores + place, tl.where(filled, value, float("-inf")), mask=wanted)
