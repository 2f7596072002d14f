"""Histories as flat columns, and the windows that training and encoding read from them. numpy and torch only."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from worker.rankers.sequence.network import GAPS

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Histories:
    """Item codes (from 1), shopper after shopper, each in order of time.

    ``offset`` [shoppers + 1] says where each one's stretch of ``items`` and ``time`` (milliseconds) begins and ends.
    """

    items: NDArray[np.int32]
    time: Ints
    offset: Ints

    @classmethod
    def of(cls, shopper: Ints, items: NDArray[np.int32], time: Ints, shoppers: int) -> Histories:
        """Build from rows sorted by (shopper, time)."""
        offset = np.zeros(shoppers + 1, dtype=np.int64)
        np.cumsum(np.bincount(shopper, minlength=shoppers), out=offset[1:])
        return cls(items.astype(np.int32), time, offset)

    @property
    def shoppers(self) -> int:
        return len(self.offset) - 1

    def gaps(self) -> NDArray[np.uint8]:
        """Return the bucket of the time since the shopper's item before; 0 for a first item and within a second."""
        seconds = np.diff(self.time, prepend=self.time[:1]) / 1000.0
        seconds[self.offset[:-1][self.offset[:-1] < len(seconds)]] = 0.0
        bucket = np.log2(1.0 + np.maximum(seconds, 0.0)).astype(np.int64)
        return np.minimum(bucket, GAPS - 1).astype(np.uint8)


@dataclass(frozen=True, slots=True)
class Windows:
    """Stretches to train on: where each starts in the flat columns and how many items it holds (2 … length + 1)."""

    start: Ints
    size: Ints

    def __len__(self) -> int:
        return len(self.start)

    @classmethod
    def cut(cls, offset: Ints, length: int) -> Windows:
        """Cut every history from its end, so that each item but a history's first is a target exactly once."""
        first, end = offset[:-1], offset[1:]
        starts, sizes = [], []
        alive = end - first >= 2
        first, end = first[alive], end[alive]
        while len(end):
            start = np.maximum(first, end - (length + 1))
            starts.append(start)
            sizes.append(end - start)
            more = start > first
            first, end = first[more], start[more] + 1
        if not starts:
            return cls(np.zeros(0, np.int64), np.zeros(0, np.int64))
        return cls(np.concatenate(starts), np.concatenate(sizes))

    def take(self, chosen: Ints | NDArray[np.bool_]) -> Windows:
        """Return some of the windows, by position or by mask."""
        return Windows(self.start[chosen], self.size[chosen])

    def holding(self, targets: NDArray[np.bool_]) -> Windows:
        """Return the windows that hold at least one of these targets, given as a mask over the flat columns."""
        return self.take(self._held(targets) > 0)

    def count(self, targets: NDArray[np.bool_]) -> int:
        """Return how many of these targets the windows hold."""
        return int(self._held(targets).sum())

    def _held(self, targets: NDArray[np.bool_]) -> Ints:
        before = np.concatenate([[0], np.cumsum(targets)])
        held: Ints = before[self.start + self.size] - before[self.start + 1]
        return held

    def batches(self, batch: int, rng: np.random.Generator) -> Iterator[Ints]:
        """Yield positions of windows in random order, ``batch`` at a time."""
        order = rng.permutation(len(self))
        for at in range(0, len(order), batch):
            yield order[at : at + batch]


class Resident:
    """The flat columns on the device, read a batch of windows at a time without leaving it."""

    def __init__(self, histories: Histories, device: torch.device, *, length: int, times: bool) -> None:
        self.device, self.length = device, length
        padding = np.zeros(length + 1, dtype=np.int32)
        self.items = torch.from_numpy(np.concatenate([histories.items, padding])).to(device)
        self.gaps: Tensor | None = None
        if times:
            gaps = np.concatenate([histories.gaps(), padding.astype(np.uint8)])
            self.gaps = torch.from_numpy(gaps).to(device)
        self._steps = torch.arange(length + 1, device=device)

    def read(self, start: Tensor, size: Tensor, width: int) -> tuple[Tensor, Tensor | None, Tensor]:
        """Return (codes, gap buckets or None, flat positions), each [windows, width]; 0 behind a window's end."""
        steps = self._steps[:width]
        at = start[:, None] + steps
        real = steps < size[:, None]
        at = torch.where(real, at, len(self.items) - 1)
        gaps = None if self.gaps is None else self.gaps[at].long()
        return self.items[at].long(), gaps, at
