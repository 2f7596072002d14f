"""Networks that predict responses from columns: how columns interact, how outcomes share what is learnt.

x → interaction (none, factorisation machine, cross layers) beside a deep part → one tower a head → logits. The deep
part is one multilayer perceptron that all heads share, or a mixture of experts with a gate a head.

DeepFM: Guo et al. 2017, arXiv 1703.04247. DCN-V2: Wang et al. 2021, arXiv 2008.13535. MMoE: Ma et al., KDD 2018.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from worker.networks.four_part import SequenceEncoder

Interaction = Literal["dnn", "deepfm", "dcnv2"]
Sharing = Literal["shared", "mmoe"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What comes in, what goes out, and how wide it is between.

    ``numeric`` prepared columns; ``codes`` the number of codes of each categorical column; ``rank`` of a cross layer's
    matrix where that is cheaper than the whole; ``tower`` hidden units of a head behind the experts.
    """

    numeric: int
    codes: tuple[int, ...]
    heads: int
    embedding: int = 8
    width: int = 64
    layers: int = 2
    crosses: int = 2
    rank: int = 32
    experts: int = 4
    tower: int = 16
    dropout: float = 0.1


def perceptron(width_in: int, shape: Shape) -> nn.Sequential:
    """Return ``layers`` times affine → ReLU → dropout, [batch, width_in] → [batch, width]."""
    widths = [width_in] + [shape.width] * shape.layers
    parts: list[nn.Module] = []
    for before, after in pairwise(widths):
        parts += [nn.Linear(before, after), nn.ReLU(), nn.Dropout(shape.dropout)]
    return nn.Sequential(*parts)


class Tables(nn.Module):
    """The vectors of every categorical column's codes, one table after the other: [batch, columns] → [.., width]."""

    starts: Tensor

    def __init__(self, codes: tuple[int, ...], width: int, deviation: float) -> None:
        super().__init__()
        self.codes = codes
        self.register_buffer("starts", torch.tensor([0, *accumulate(codes)][:-1]), persistent=False)
        self.weight = nn.Parameter(torch.randn(sum(codes), width) * deviation)

    def forward(self, codes: Tensor) -> Tensor:
        return functional.embedding(codes + self.starts, self.weight)

    @torch.no_grad()
    def complete(self, codes: Tensor) -> None:
        """Give every code that does not occur in these rows the mean vector of the rows: it stands for any of them."""
        if not len(codes):
            return
        for place, table in enumerate(self.weight.split(self.codes)):
            count = torch.bincount(codes[:, place], minlength=self.codes[place]).to(table.dtype)
            table[count == 0] = count @ table / len(codes)


class FactorisationMachine(nn.Module):
    """Wide part of DeepFM: w·x + Σ_{i<j} ⟨v_i, v_j⟩·x_i·x_j, by ½·[(Σ v_i·x_i)² − Σ (v_i·x_i)²] in linear time.

    A categorical column's x is 1 and its v the code's vector, the very one the deep part reads; a numeric column's x is
    its prepared value. Every head has a w of its own and weighs the dimensions of the inner product; with the weights
    that it starts from, all 1, that is the paper's sum.
    """

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.of_value = nn.Parameter(torch.zeros(shape.numeric, shape.heads))
        self.of_code = Tables(shape.codes, shape.heads, 0.01)
        self.vectors = nn.Parameter(torch.randn(shape.numeric, shape.embedding) * 0.01)
        self.dimensions = nn.Parameter(torch.ones(shape.heads, shape.embedding))

    def forward(self, numeric: Tensor, codes: Tensor, embedded: Tensor) -> Tensor:
        """Return logits [batch, heads]; ``embedded`` [batch, columns, embedding] may hold more than the codes' own."""
        first = numeric @ self.of_value + self.of_code(codes).sum(dim=1)
        return first + self.pairs(numeric, embedded) @ self.dimensions.T

    def pairs(self, numeric: Tensor, embedded: Tensor) -> Tensor:
        """Return Σ_{i<j} v_i·v_j·x_i·x_j for each dimension apart [batch, embedding]."""
        total = numeric @ self.vectors + embedded.sum(dim=1)
        squares = numeric.square() @ self.vectors.square() + embedded.square().sum(dim=1)
        return 0.5 * (total.square() - squares)


class Cross(nn.Module):
    """Cross network of DCN-V2: x_{l+1} = x_0 ⊙ (W_l·x_l + b_l) + x_l; l layers reach products of l + 1 columns.

    W is U·Vᵀ of ``rank`` columns where that takes fewer numbers than the square.
    """

    def __init__(self, width: int, layers: int, rank: int) -> None:
        super().__init__()
        low = 2 * rank < width
        self.maps = nn.ModuleList(
            nn.Sequential(nn.Linear(width, rank, bias=False), nn.Linear(rank, width))
            if low
            else nn.Linear(width, width)
            for _ in range(layers)
        )

    def forward(self, first: Tensor) -> Tensor:
        """Return [batch, width], as it came in."""
        x = first
        for layer in self.maps:
            x = first * layer(x) + x
        return x


def _square(width: int, rank: int) -> nn.Module:
    """Return the affine map W·x + b, [batch, width] → [batch, width]."""
    if 2 * rank < width:
        return nn.Sequential(nn.Linear(width, rank, bias=False), nn.Linear(rank, width))
    return nn.Linear(width, width)


class Experts(nn.Module):
    """Multi-gate mixture of experts: f_k(x) = Σ_i softmax(W_k·x)_i · f_i(x), one k a head."""

    def __init__(self, width_in: int, shape: Shape) -> None:
        super().__init__()
        self.experts = nn.ModuleList(perceptron(width_in, shape) for _ in range(shape.experts))
        self.gate = nn.Linear(width_in, shape.heads * shape.experts, bias=False)

    def forward(self, x: Tensor) -> list[Tensor]:
        """Return [batch, width] for each head."""
        said = torch.stack([expert(x) for expert in self.experts], dim=1)
        shares = torch.softmax(self.gate(x).unflatten(1, (-1, len(self.experts))), dim=-1)
        return list((shares @ said).unbind(dim=1))


class InteractionNetwork(nn.Module):
    """The whole: a sequence of events, if there is an encoder, joins the columns as it leaves the encoder."""

    def __init__(
        self, shape: Shape, interaction: Interaction, sharing: Sharing, encoder: SequenceEncoder | None = None
    ) -> None:
        super().__init__()
        self.encoder = encoder
        self.tables = Tables(shape.codes, shape.embedding, 0.05)
        encoded = encoder.width if encoder is not None else 0
        width = shape.numeric + len(shape.codes) * shape.embedding + encoded
        self.machine = FactorisationMachine(shape) if interaction == "deepfm" else None
        self.field = nn.Linear(encoded, shape.embedding) if self.machine is not None and encoded else None
        self.cross = Cross(width, shape.crosses, shape.rank) if interaction == "dcnv2" else None
        mixed = sharing == "mmoe"
        self.experts = Experts(width, shape) if mixed else None
        self.deep = None if mixed else perceptron(width, shape)
        end = shape.width + (width if self.cross is not None else 0)
        self.towers = nn.ModuleList(_tower(end, shape.tower if mixed else 0) for _ in range(shape.heads))

    def forward(self, numeric: Tensor, codes: Tensor, sequence: Tensor) -> Tensor:
        """Return logits [batch, heads] of [batch, numeric], [batch, categorical] codes, [batch, length, fields]."""
        embedded = self.tables(codes)
        parts = [numeric, embedded.flatten(1)]
        encoded = self.encoder(sequence) if self.encoder is not None else None
        if encoded is not None:
            parts.append(encoded)
        x = torch.cat(parts, dim=1)
        deep = self.experts(x) if self.experts is not None else [self.deep(x)] * len(self.towers)  # type: ignore[misc]
        if self.cross is not None:
            crossed = self.cross(x)
            deep = [torch.cat([part, crossed], dim=1) for part in deep]
        logits = torch.cat([tower(part) for tower, part in zip(self.towers, deep, strict=True)], dim=1)
        if self.machine is None:
            return logits
        if self.field is not None and encoded is not None:  # for the machine, a sequence is one column more
            embedded = torch.cat([embedded, self.field(encoded)[:, None]], dim=1)
        wide: Tensor = self.machine(numeric, codes, embedded)
        return logits + wide

    @torch.no_grad()
    def start_from(self, logits: list[float]) -> None:
        """Set the heads' last biases: training starts from each outcome's share."""
        for tower, value in zip(self.towers, logits, strict=True):
            *_hidden, last = tower.children()
            assert isinstance(last, nn.Linear)
            last.bias.fill_(value)

    def complete(self, codes: Tensor) -> None:
        """Give codes that training did not meet the mean of what it met."""
        self.tables.complete(codes)
        if self.machine is not None:
            self.machine.of_code.complete(codes)


def _tower(width: int, hidden: int) -> nn.Sequential:
    """Return [batch, width] → [batch, 1], through a hidden layer if it has any units."""
    if not hidden:
        return nn.Sequential(nn.Linear(width, 1))
    return nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, 1))
