"""Networks over a launch's matrix, [launches, steps, columns] → log-odds [launches]: the CNN, and its linear rival."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class Cnn(nn.Module):
    """A 1-D convolution along the steps, averaged over them: what follows what counts, and how long it lasts.

    The last layer starts at zero, so that training starts from the mean of all launches.
    """

    def __init__(self, columns: int, width: int = 8, reach: int = 3, dropout: float = 0.1) -> None:
        super().__init__()
        self.narrow = nn.Linear(columns, width)
        self.along = nn.Conv1d(width, width, reach, padding=reach // 2)
        self.dropout = nn.Dropout(dropout)
        self.out = nn.Linear(2 * width, 1)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Return how far each launch's log-odds lie above the mean of all."""
        narrow = torch.nn.functional.gelu(self.narrow(x)).transpose(1, 2)
        along = torch.nn.functional.gelu(self.along(narrow)) + narrow
        read = torch.cat([along.mean(dim=2), along.amax(dim=2)], dim=1)
        told: Tensor = self.out(self.dropout(read)).squeeze(1)
        return told


class Linear(nn.Module):
    """A weight a column, on the mean over the steps."""

    def __init__(self, columns: int) -> None:
        super().__init__()
        self.out = nn.Linear(columns, 1)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Return how far each launch's log-odds lie above the mean of all."""
        told: Tensor = self.out(x.mean(dim=1)).squeeze(1)
        return told
