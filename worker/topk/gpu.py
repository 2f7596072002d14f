"""Top-k on a GPU: the fused kernels where Triton and half-precision vectors are there, plain torch otherwise.

The plain way is also what the fused one leaves rows to that it has no room for, so both are exact. It runs on any
torch device.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from worker.topk.cpu import HIGHEST, Rows

try:
    from worker.topk import kernels
except ImportError:  # Triton comes with torch for CUDA only
    kernels = None  # type: ignore[assignment]

FUSED_ROWS = 1 << 17
"""Users a call of the kernels: a quarter of a gigabyte of bits for 10,000 items."""
PLAIN_SCORES = 1 << 26
"""Scores that the plain way holds at a time, 8 bytes each."""
COLLECT_ROWS = 4
MOST_DIMENSIONS = 256
LEAST = -(2**63)
LAST = 2**31 - 1


@dataclass(frozen=True)
class Kernel:
    """How the fused kernels are cut: users and items a tile, room for survivors; the best measured on an H200."""

    rows: int = 128
    cols: int = 128
    width: int = 32
    step: int = 1
    warps: int = 8
    stages: int = 3

    @classmethod
    def fitting(cls, k: int, owned: bool) -> Kernel:
        """Return the kernel with the least room that k and, perhaps, what a user owns will rarely overflow."""
        need = (k + k // 3) * (2 if owned else 1)
        return cls(width=max(cls.width, 1 << (need - 1).bit_length()))


@dataclass(frozen=True)
class Owned:
    """Items to leave out: user u's are ``items[starts[u]:starts[u + 1]]``, by catalogue number."""

    starts: Tensor
    items: Tensor

    def of(self, rows: slice) -> Owned:
        """Return the part of some consecutive users."""
        starts = self.starts[rows.start : rows.stop + 1]
        first, last = int(starts[0]), int(starts[-1])
        return Owned(starts - first, self.items[first:last])

    def pick(self, rows: Tensor) -> Owned:
        """Return the part of some users."""
        length = self.starts[rows + 1] - self.starts[rows]
        starts = torch.cat([length.new_zeros(1), length.cumsum(0)])
        back = torch.arange(int(starts[-1]), device=rows.device) - torch.repeat_interleave(starts[:-1], length)
        return Owned(starts, self.items[torch.repeat_interleave(self.starts[rows], length) + back])


class Catalogue:
    """Items on the device: ``vectors`` [m, d] and their ascending numbers ``names`` [m], of ``total`` in all."""

    def __init__(self, vectors: Tensor, names: Tensor, total: int) -> None:
        self.vectors, self.names, self.total = vectors, names.to(torch.int32), total
        self.full = vectors.float()
        longest = float(self.full.norm(dim=1).max()) if len(names) else 0.0
        self.peak = float(self.full.abs().max()) if len(names) else 0.0
        self.slack = longest * (vectors.shape[1] + 2) * 2.0**-22
        """Twice what adding d products in float32 can be off by, for a user of length 1 (Cauchy and Schwarz)."""
        self._padded: dict[int, Tensor] = {}

    def __len__(self) -> int:
        return len(self.names)

    def padded(self, cols: int) -> Tensor:
        """Return the vectors as the kernels want them: whole tiles, d a power of two; repeats stay in their chunk."""
        if cols not in self._padded:
            wide = max(16, 1 << (self.vectors.shape[1] - 1).bit_length()) - self.vectors.shape[1]
            short = -len(self) % cols
            repeats = self.vectors[len(self) - cols : len(self) - cols + short]
            self._padded[cols] = torch.nn.functional.pad(torch.cat([self.vectors, repeats]), (0, wide)).contiguous()
        return self._padded[cols]

    def fused(self, k: int, kernel: Kernel) -> bool:
        """Return whether the kernels can serve: half precision, many more items than chunks, and room for k."""
        vectors = self.vectors
        short = vectors.dtype in (torch.float16, torch.bfloat16) and vectors.shape[1] <= MOST_DIMENSIONS
        room = 2 * k <= kernel.cols and 4 * k <= 3 * kernel.width and len(self) >= 2 * kernel.cols
        return kernels is not None and vectors.device.type == "cuda" and short and room

    def rows(self, fused: bool) -> int:
        """Return how many users go into a block."""
        return FUSED_ROWS if fused else max(1, PLAIN_SCORES // max(len(self), 1))


def blocks(
    users: Tensor, catalogue: Catalogue, k: int, owned: Owned | None, *, start: int = 0, kernel: Kernel | None = None
) -> Generator[tuple[int, Tensor, Tensor], None, None]:
    """Yield (first user, ids [b, k] int32, scores [b, k] float32) on the device, beginning with user ``start``.

    Users [n, d] have the catalogue's type and device.
    """
    kernel = kernel or Kernel.fitting(k, owned is not None)
    fused = catalogue.fused(k, kernel)
    size = catalogue.rows(fused)
    for at in range(start - start % size, len(users) if start < len(users) else 0, size):
        rows = slice(at, min(at + size, len(users)))
        part = owned.of(rows) if owned is not None else None
        block = users[rows]
        if not float(block.abs().max()) * catalogue.peak * block.shape[1] < HIGHEST:
            raise ValueError(
                f"The vectors of users {at} to {rows.stop - 1} hold NaN, infinity or numbers so large that a score "
                "overflows. Train them anew or leave these users out."
            )
        ids, scores = fused_block(block, catalogue, k, part, kernel) if fused else plain(block, catalogue, k, part)
        skip = max(0, start - at)
        yield at + skip, ids[skip:], scores[skip:]


def from_arrays(
    users: NDArray[Any],
    items: NDArray[Any],
    names: NDArray[Any],
    k: int,
    owned: Rows | None,
    *,
    start: int,
    device: torch.device | str,
) -> Generator[tuple[int, NDArray[np.int32], NDArray[np.float32]], None, None]:
    """Do the same for arrays: one block of users at a time is on the device, ``items[names]`` all the while."""
    precision = np.result_type(users, items)
    shown = torch.from_numpy(items[names].astype(precision)).to(device)
    catalogue = Catalogue(shown, torch.from_numpy(names).to(device), len(items))
    size = catalogue.rows(catalogue.fused(k, Kernel.fitting(k, owned is not None)))
    for at in range(start - start % size, len(users) if start < len(users) else 0, size):
        part = users[at : at + size]
        block = torch.from_numpy(part.astype(precision)).to(device)
        mine = _owned(owned, at, at + len(part), device) if owned is not None else None
        for first, ids, scores in blocks(block, catalogue, k, mine, start=max(0, start - at)):
            yield at + first, ids.cpu().numpy(), scores.cpu().numpy()


def _owned(owned: Rows, first: int, to: int, device: torch.device | str) -> Owned:
    starts = owned.indptr[first : to + 1].astype(np.int64)
    items = owned.indices[starts[0] : starts[-1]].astype(np.int32)
    return Owned(torch.from_numpy(starts - starts[0]).to(device), torch.from_numpy(items).to(device))


def plain(users: Tensor, catalogue: Catalogue, k: int, owned: Owned | None) -> tuple[Tensor, Tensor]:
    """Return (ids, scores) of a block through its whole score matrix, as keys that sort by score, then by number."""
    scores = users.float() @ catalogue.full.T
    if owned is not None:
        place = torch.full((catalogue.total,), -1, dtype=torch.int64, device=users.device)
        place[catalogue.names.long()] = torch.arange(len(catalogue), device=users.device)
        row = torch.repeat_interleave(torch.arange(len(users), device=users.device), owned.starts.diff())
        col = place[owned.items.long()]
        scores[row[col >= 0], col[col >= 0]] = -torch.inf
    names = catalogue.names.long()
    keys = (_ordered((scores + 0.0).view(torch.int32)).long() << 32) | (LAST - names)
    best = _largest(keys, min(k, len(catalogue)))
    found = torch.nn.functional.pad(best, (0, k - best.shape[1]), value=LEAST)
    values = _ordered((found >> 32).int()).view(torch.float32)
    filled = (found != LEAST) & (values > -torch.inf)
    ids = torch.where(filled, LAST - (found & LAST), -1).int()
    return ids, values.masked_fill(~filled, -torch.inf)


def _ordered(bits: Tensor) -> Tensor:
    """Map float32 bits to integers that sort as the numbers do; its own inverse."""
    return bits ^ ((bits >> 31) & LAST)


def _largest(keys: Tensor, k: int) -> Tensor:
    """Return each row's k largest, sorted: they lie in the k chunks with the largest maxima, keys being unique."""
    width = max(1, round((keys.shape[1] / max(2 * k, 1)) ** 0.5))
    chunks = -(-keys.shape[1] // width)
    if width > 1 and chunks > k:
        keys = torch.nn.functional.pad(keys, (0, width * chunks - keys.shape[1]), value=LEAST)
        keys = keys.view(len(keys), width, chunks)
        best = keys.amax(1).topk(k, dim=1, sorted=False).indices
        keys = keys.gather(2, best[:, None, :].expand(-1, width, -1)).flatten(1)
    return keys.topk(k, dim=1).values


def fused_block(
    users: Tensor, catalogue: Catalogue, k: int, owned: Owned | None, kernel: Kernel
) -> tuple[Tensor, Tensor]:
    """Return (ids, scores) of a block by the kernels; users with too many survivors are done the plain way."""
    items = catalogue.padded(kernel.cols)
    padded = torch.nn.functional.pad(users, (0, items.shape[1] - users.shape[1])).contiguous()
    words = screen(padded, catalogue, k, owned, kernel)
    counts, kept = collect(words, catalogue, kernel)
    ids = torch.full((len(users), k), -1, dtype=torch.int32, device=users.device)
    scores = torch.full((len(users), k), -torch.inf, device=users.device)
    starts, mine = (owned.starts, owned.items) if owned is not None else (counts, counts)
    kernels.rank[(len(users),)](
        padded, items, counts, kept, catalogue.names, starts, mine, ids, scores, k,
        DIM=items.shape[1], OWNED=owned is not None, WIDTH=kernel.width, num_warps=1,
    )  # fmt: skip
    spilt = torch.nonzero(counts > kernel.width).flatten()
    for some in spilt.split(max(1, PLAIN_SCORES // len(catalogue))):
        part = owned.pick(some) if owned is not None else None
        ids[some], scores[some] = plain(users[some], catalogue, k, part)
    return ids, scores


def screen(users: Tensor, catalogue: Catalogue, k: int, owned: Owned | None, kernel: Kernel) -> Tensor:
    """Run the first kernel on padded users: one bit an item [b, groups, cols]."""
    items = catalogue.padded(kernel.cols)
    needs = torch.full((len(users),), k, dtype=torch.int32, device=users.device)
    if owned is not None:
        needs += owned.starts.diff().int()
    groups = -(-len(items) // (32 * kernel.cols))
    words = torch.empty((len(users), groups, kernel.cols), dtype=torch.int32, device=users.device)
    kernels.screen[(-(-len(users) // kernel.rows),)](
        users, items, needs, words, catalogue.slack, len(users), len(catalogue),
        DIM=items.shape[1], GROUPS=groups, ROWS=kernel.rows, COLS=kernel.cols, STEP=kernel.step,
        num_warps=kernel.warps, num_stages=kernel.stages,
    )  # fmt: skip
    return words


def collect(words: Tensor, catalogue: Catalogue, kernel: Kernel) -> tuple[Tensor, Tensor]:
    """Run the second kernel: (number of survivors [b], the first of them [b, width])."""
    n, groups, cols = words.shape
    counts = torch.empty(n, dtype=torch.int32, device=words.device)
    kept = torch.empty((n, kernel.width), dtype=torch.int32, device=words.device)
    kernels.collect[(-(-n // COLLECT_ROWS),)](
        words, counts, kept, n, len(catalogue),
        GROUPS=groups, ROWS=COLLECT_ROWS, COLS=cols, WIDTH=kernel.width, num_warps=4,
    )  # fmt: skip
    return counts, kept
