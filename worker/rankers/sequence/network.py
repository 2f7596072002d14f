"""The sequence encoder: items in the order they were turned to → a state after each, to be multiplied with items.

The score of item i after a history is state · e(i) + bias(i), with the input's own item vectors: a matrix product that
batch scoring can cut into blocks. This file needs torch and nothing else of the project but the cells.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import Tensor, nn

from worker.rankers.sequence.cells import ConvolutionLSTM, Convolutions, HSTUBlock, Recurrent, TransformerBlock

Cell = Literal["lstm", "gru", "cnn", "cnn_lstm", "transformer", "hstu"]
CELLS: tuple[Cell, ...] = get_args(Cell)
GAPS = 32
"""Time since the item before, in powers of two of a second: the last bucket begins after 68 years."""


@dataclass(frozen=True, slots=True)
class Shape:
    """What a network is built from. ``items`` are codes 1 … items (0 pads); ``length`` the longest history read."""

    items: int
    cell: Cell = "transformer"
    width: int = 64
    blocks: int = 2
    heads: int = 2
    length: int = 50
    dropout: float = 0.2
    times: bool = False

    def __post_init__(self) -> None:
        if self.cell not in CELLS:
            raise ValueError(f"There is no cell {self.cell!r}. Choose one of: {', '.join(CELLS)}.")
        if self.cell in {"transformer", "hstu"} and self.width % self.heads:
            raise ValueError(f"A width of {self.width} cannot be shared by {self.heads} heads: choose a multiple.")


class SequenceEncoder(nn.Module):
    """Embeds items, adds learned positions for the cells that have no order of their own, runs the cell, normalises.

    Item vectors start small, so that a product with a state says little at first, and enter the cell scaled by √width.
    ``start`` [items] is where the items' biases start, so that an untrained network says what is popular.
    """

    def __init__(self, shape: Shape, start: Tensor | None = None) -> None:
        super().__init__()
        self.shape = shape
        self.item = nn.Embedding(shape.items + 1, shape.width, padding_idx=0)
        nn.init.normal_(self.item.weight, std=0.02)
        with torch.no_grad():
            self.item.weight[0] = 0
        ordered = shape.cell in {"transformer", "hstu"}
        self.position = nn.Embedding(shape.length, shape.width) if ordered else None
        if self.position is not None:
            nn.init.normal_(self.position.weight, std=0.02)
        self.gap = nn.Embedding(GAPS, shape.width) if shape.times else None
        if self.gap is not None:
            nn.init.normal_(self.gap.weight, std=0.02)
        self.dropout = nn.Dropout(shape.dropout)
        self.cell = _cell(shape)
        self.norm = nn.LayerNorm(shape.width)
        self.bias = nn.Parameter(torch.zeros(shape.items) if start is None else start.clone())

    def forward(self, items: Tensor, gaps: Tensor | None = None) -> Tensor:
        """Return the state after each position [batch, length, width] of item codes [batch, length]."""
        x: Tensor = self.item(items) * self.shape.width**0.5
        if self.position is not None:
            x = x + self.position.weight[: items.shape[1]]
        if self.gap is not None and gaps is not None:
            x = x + self.gap(gaps)
        found: Tensor = self.norm(self.cell(self.dropout(x)))
        return found

    @property
    def table(self) -> Tensor:
        """The items' vectors [items, width], without the padding."""
        return self.item.weight[1:]


def _cell(shape: Shape) -> nn.Module:
    if shape.cell == "transformer":
        blocks = (TransformerBlock(shape.width, shape.heads, shape.dropout) for _ in range(shape.blocks))
        return nn.Sequential(*blocks)
    if shape.cell == "hstu":
        return nn.Sequential(
            *(HSTUBlock(shape.width, shape.heads, shape.dropout, shape.length) for _ in range(shape.blocks))
        )
    if shape.cell == "cnn":
        return Convolutions(shape.width, shape.blocks, shape.dropout)
    if shape.cell == "cnn_lstm":
        return ConvolutionLSTM(shape.width, shape.dropout)
    return Recurrent(nn.LSTM if shape.cell == "lstm" else nn.GRU, shape.width, shape.blocks, shape.dropout)
