"""Each user's best items by the product of their vectors, for a whole population, without the matrix of all scores.

Exact: the result is what sorting the whole matrix of float32 scores would give (products of float16 vectors are exact
in float32; sums are rounded as the BLAS or the GPU adds them), the highest score first and equal ones by item number.
It is deterministic on one machine, also when resumed in the middle.

``cpu`` needs NumPy only; ``gpu`` torch, and Triton for the fused kernels. Neither needs Django.
"""

from __future__ import annotations

from collections.abc import Generator
from contextlib import closing
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from worker.topk import cpu
from worker.topk.cpu import MOST_ITEMS, Rows

if TYPE_CHECKING:
    import torch

__all__ = ["Block", "Rows", "top_k"]

PRECISIONS = (np.float16, np.float32)


class Block(NamedTuple):
    """Consecutive users' best items: ids [b, k] int32 and scores [b, k] float32, filled with −1 and −∞ where fewer."""

    start: int
    ids: NDArray[np.int32]
    scores: NDArray[np.float32]


def top_k(
    users: NDArray[Any],
    items: NDArray[Any],
    k: int,
    *,
    exclude: Rows | None = None,
    hidden: NDArray[np.bool_] | None = None,
    start: int = 0,
    device: torch.device | str = "cpu",
    threads: int | None = None,
) -> Generator[Block, None, None]:
    """Yield the k best items of users [n, d] among items [m, d] (float16 or float32), block by block in order.

    ``exclude``: item numbers by user that are left out (a CSR matrix [n, m]; its values do not matter). ``hidden`` [m]:
    items left out for all. ``start``: the first user wanted. ``threads``: on the CPU, None for all cores; NumPy's BLAS
    keeps to one thread of its own meanwhile. Memory does not grow with n. Raises ValueError for what cannot be ranked,
    for a block of users with NaN or infinity only when it is reached.
    """
    users, items = _matrix("users", users), _matrix("items", items)
    _check(users, items, k, start)
    if hidden is not None and (hidden.shape != (len(items),) or hidden.dtype != np.bool_):
        raise ValueError(f"hidden must be {len(items)} booleans, one an item, not {hidden.dtype} {hidden.shape}.")
    if exclude is not None:
        _check_rows(exclude, len(users), len(items))
    names = np.flatnonzero(~hidden) if hidden is not None else np.arange(len(items))
    if str(device).split(":")[0] == "cpu":
        catalogue = cpu.Catalogue(items, names.astype(np.int32), k)
        found = cpu.blocks(users, catalogue, exclude, start=start, threads=threads)
    else:
        from worker.topk import gpu

        found = gpu.from_arrays(users, items, names, k, exclude, start=start, device=device)
    return _blocks(found)


def _blocks(found: Generator[tuple[int, Any, Any], None, None]) -> Generator[Block, None, None]:
    """Name the parts; a reader that stops early closes what computes them."""
    with closing(found):
        for each in found:
            yield Block(*each)


def _matrix(what: str, vectors: NDArray[Any]) -> NDArray[Any]:
    if vectors.ndim != 2 or vectors.dtype not in PRECISIONS:
        raise ValueError(f"{what} must be a matrix of float16 or float32, not {vectors.dtype} {vectors.shape}.")
    return vectors


def _check(users: NDArray[Any], items: NDArray[Any], k: int, start: int) -> None:
    if users.shape[1] != items.shape[1] or not users.shape[1]:
        raise ValueError(f"users have {users.shape[1]} dimensions and items {items.shape[1]}: both need the same, ≥ 1.")
    if k < 1:
        raise ValueError(f"k must be at least 1, not {k}.")
    if len(items) > MOST_ITEMS:
        raise ValueError(f"At most {MOST_ITEMS:,} items can be ranked, not {len(items):,}.")
    if not 0 <= start <= len(users):
        raise ValueError(f"start must be between 0 and {len(users)}, the number of users, not {start}.")
    if not np.isfinite(items).all():
        broken = np.flatnonzero(~np.isfinite(items).all(axis=1))
        raise ValueError(f"{len(broken)} items hold NaN or infinity, the first is {broken[0]}. Train them anew.")


def _check_rows(exclude: Rows, users: int, items: int) -> None:
    if len(exclude.indptr) != users + 1:
        raise ValueError(f"exclude must have a row for each of {users} users, not {len(exclude.indptr) - 1}.")
    indices = exclude.indices
    if len(indices) and not 0 <= int(indices.min()) <= int(indices.max()) < items:
        raise ValueError(f"exclude names items outside 0 … {items - 1}.")
