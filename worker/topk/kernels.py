"""The fused product and top-k as three Triton kernels: the score matrix is never written.

:func:`screen` multiplies a tile of users with the catalogue twice. The first time it keeps, in registers, the largest
score of each of COLS chunks (chunk c holds the items c, c + COLS, c + 2·COLS …). The k-th largest of these maxima is a
bound that at least k items reach, and few more: the best k rarely share a chunk. The second time it writes one bit an
item: whether its score comes within the tensor cores' rounding of the bound. :func:`collect` turns the bits of a user,
some k + 2 of 10,000 set, into a list. :func:`rank` multiplies these few again in float32 and counts for each how many
are better. A user with more survivors than there is room for (many equal scores) is left to the caller.

Importable only where Triton is.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def screen(  # type: ignore[no-untyped-def]
    users,  # [n, DIM] float16 or bfloat16
    items,  # [m rounded up to COLS, DIM], the same type; what fills up repeats the items COLS before
    needs,  # [n] int32: how many of the best are wanted
    words,  # [n, GROUPS, COLS] int32, the answer: bit j of word (g, c) is item (32·g + j)·COLS + c
    slack,  # how far rounding may push a score, per unit of the user's length
    n,
    m,
    DIM: tl.constexpr,
    GROUPS: tl.constexpr,
    ROWS: tl.constexpr,
    COLS: tl.constexpr,
    STEP: tl.constexpr,  # the bound is found on every STEP-th tile of items
):
    """Mark each user's items whose scores reach a bound that at least ``needs`` items reach."""
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    here = row < n
    dim = tl.arange(0, DIM)
    tile = tl.arange(0, COLS)
    u = tl.load(users + row[:, None] * DIM + dim[None, :], mask=here[:, None], other=0.0)
    best = tl.full((ROWS, COLS), float("-inf"), tl.float32)
    for at in range(0, m, COLS * STEP):
        v = tl.load(items + (at + tile)[None, :] * DIM + dim[:, None])
        best = tl.maximum(best, tl.dot(u, v))
    need = tl.load(needs + row, mask=here, other=1)
    low = tl.min(best, 1)
    high = tl.max(best, 1)
    for _ in range(12):  # at least ``need`` chunks reach ``low``, at every step
        middle = (low + high) * 0.5
        enough = tl.sum((best >= middle[:, None]).to(tl.int32), 1) >= need
        low = tl.where(enough, middle, low)
        high = tl.where(enough, high, middle)
    wide = u.to(tl.float32)
    limit = low - slack * tl.sqrt(tl.sum(wide * wide, 1))
    limit = tl.where(need > COLS, float("-inf"), limit)
    for group in range(GROUPS):
        first = group * 32 * COLS
        word = tl.zeros((ROWS, COLS), tl.int32)
        bit = 1
        for at in range(first, tl.minimum(first + 32 * COLS, m), COLS):
            v = tl.load(items + (at + tile)[None, :] * DIM + dim[:, None])
            word = tl.where(tl.dot(u, v) >= limit[:, None], word | bit, word)
            bit = bit << 1
        place = words + (row * GROUPS + group)[:, None] * COLS + tile[None, :]
        tl.store(place, word, mask=here[:, None])


@triton.jit
def collect(  # type: ignore[no-untyped-def]
    words,  # [n, GROUPS, COLS] int32
    counts,  # [n] int32, the answer: how many items survived
    kept,  # [n, WIDTH] int32, the answer: the first WIDTH of them
    n,
    m,
    GROUPS: tl.constexpr,
    ROWS: tl.constexpr,
    COLS: tl.constexpr,
    WIDTH: tl.constexpr,
):
    """Turn each user's bits into a list of items."""
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    here = row < n
    tile = tl.arange(0, COLS)
    count = tl.zeros((ROWS,), tl.int32)
    for group in range(GROUPS):
        word = tl.load(words + (row * GROUPS + group)[:, None] * COLS + tile[None, :], mask=here[:, None], other=0)
        while tl.max(tl.max((word != 0).to(tl.int32), 1), 0) > 0:
            bit = word & (0 - word)
            power = bit.to(tl.uint32, bitcast=True).to(tl.float32).to(tl.int32, bitcast=True)
            item = (group * 32 + (power >> 23) - 127) * COLS + tile[None, :]
            found = (bit != 0) & (item < m)
            one = found.to(tl.int32)
            slot = count[:, None] + tl.cumsum(one, 1) - 1
            tl.store(kept + row[:, None] * WIDTH + slot, item, mask=found & (slot < WIDTH))
            count += tl.sum(one, 1)
            word = word ^ bit
    tl.store(counts + row, count, mask=here)


@triton.jit
def rank(  # type: ignore[no-untyped-def]
    users,  # [n, DIM]
    items,  # [m, DIM]
    counts,  # [n] int32
    kept,  # [n, WIDTH] int32
    names,  # [m] int32, ascending: the catalogue's number of each item
    starts,  # [n + 1] int64: where each user's own items begin in owned
    owned,  # int32: catalogue numbers that are left out
    ids,  # [n, k] int32, filled with −1: the answer
    scores,  # [n, k] float32, filled with −inf: the answer
    k,
    DIM: tl.constexpr,
    OWNED: tl.constexpr,
    WIDTH: tl.constexpr,
):
    """Write one user's k best survivors, the highest score first and equal ones by number."""
    row = tl.program_id(0)
    dim = tl.arange(0, DIM)
    slot = tl.arange(0, WIDTH)
    there = slot < tl.load(counts + row)
    item = tl.load(kept + row * WIDTH + slot, mask=there, other=0)
    name = tl.load(names + item, mask=there, other=0)
    u = tl.load(users + row * DIM + dim).to(tl.float32)
    v = tl.load(items + item[:, None] * DIM + dim[None, :], mask=there[:, None], other=0.0).to(tl.float32)
    score = tl.sum(u[None, :] * v, 1)
    if OWNED:
        for at in range(tl.load(starts + row), tl.load(starts + row + 1)):
            there = there & (name != tl.load(owned + at))
    score = tl.where(there, score, float("-inf"))
    higher = score[None, :] > score[:, None]
    before = (score[None, :] == score[:, None]) & (name[None, :] < name[:, None])
    better = tl.sum((higher | before).to(tl.int32), 1)
    wanted = there & (better < k)
    tl.store(ids + row * k + better, name, mask=wanted)
    tl.store(scores + row * k + better, score, mask=wanted)
