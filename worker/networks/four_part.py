"""The four-part network of the source articles.

behaviour y = f(W1·x + b1) → fusion z = g(W2·[y, attributes] + b2) → strategy a = softmax(W3·z + b3) → effect
p = σ(W4·[a, z, offer] + b4). Three corrections to the articles: attributes are scaled before they enter, the strategy
is a distribution that includes "no offer" (not independent sigmoids), and the effect also sees the offer whose effect
it predicts. The behaviour part reads the sequence of events through an LSTM.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class Widths:
    """Layer widths. ``behaviour_in`` and ``attributes`` are prepared columns; ``arms`` offer kinds and "no offer"."""

    behaviour_in: int
    attributes: int
    offer: int
    arms: int
    behaviour: int = 32
    fusion: int = 32
    effect: int = 64
    heads: int = 4


class SequenceEncoder(nn.Module):
    """Embeds events and runs an LSTM over them: [batch, length, fields] → [batch, width]."""

    def __init__(self, types: int, categories: int, kinds: int, width: int = 32) -> None:
        super().__init__()
        self.event_type = nn.Embedding(types, 8, padding_idx=0)
        self.category = nn.Embedding(categories, 8, padding_idx=0)
        self.kind = nn.Embedding(kinds, 4, padding_idx=0)
        self.cell = nn.LSTM(8 + 8 + 4 + 2, width, batch_first=True)
        self.width = width

    def forward(self, sequence: Tensor) -> Tensor:
        """Encode; padding stands in front, so the last state has read the newest event."""
        parts = [
            self.event_type(sequence[..., 0].long()),
            self.category(sequence[..., 1].long()),
            self.kind(sequence[..., 2].long()),
            sequence[..., 3:5] / 5.0,  # log hours and log money, brought near unit scale
        ]
        states, _last = self.cell(torch.cat(parts, dim=-1))
        encoded: Tensor = states[:, -1]
        return encoded


class FourPart(nn.Module):
    """The network; ``encoder`` may be None, then behaviour is the aggregate columns alone."""

    def __init__(self, widths: Widths, encoder: SequenceEncoder | None = None, dropout: float = 0.1) -> None:
        super().__init__()
        self.encoder = encoder
        encoded = encoder.width if encoder is not None else 0
        self.behaviour = nn.Sequential(nn.Linear(widths.behaviour_in + encoded, widths.behaviour), nn.Tanh())
        self.fusion = nn.Sequential(
            nn.Linear(widths.behaviour + widths.attributes, widths.fusion), nn.ReLU(), nn.Dropout(dropout)
        )
        self.strategy = nn.Linear(widths.fusion, widths.arms)
        self.effect = nn.Sequential(
            nn.Linear(widths.arms + widths.fusion + widths.offer, widths.effect),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(widths.effect, widths.effect // 2),
            nn.ReLU(),
            nn.Linear(widths.effect // 2, widths.heads),
        )

    def forward(
        self, behaviour: Tensor, attributes: Tensor, offer: Tensor, sequence: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return (strategy logits [batch, arms], effect logits [batch, heads])."""
        if self.encoder is not None and sequence is not None:
            behaviour = torch.cat([behaviour, self.encoder(sequence)], dim=-1)
        y = self.behaviour(behaviour)
        z = self.fusion(torch.cat([y, attributes], dim=-1))
        arms = self.strategy(z)
        # The effect reads the strategy but does not train it: what to offer is learnt from value, not from clicks.
        a = torch.softmax(arms, dim=-1)
        if self.training:  # an explanation follows the gradient all the way
            a = a.detach()
        return arms, self.effect(torch.cat([a, z, offer], dim=-1))
