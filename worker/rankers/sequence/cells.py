"""What turns a history's embedded items into states: six cells with one signature, all of them causal.

Each maps [batch, length, width] to the same shape; the state at a position has seen that position and what came before
it, never what came after. Histories start at position 0 and are padded behind their end, so that no mask is needed: a
padded position never reaches an earlier one.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional


class Recurrent(nn.Module):
    """LSTM or GRU, in float32: cuDNN's recurrent kernels gain nothing from bfloat16 at these widths.

    The LSTM's candidate state goes through tanh (one of the source articles prints σ there, which is wrong).
    """

    def __init__(self, kind: type[nn.LSTM] | type[nn.GRU], width: int, blocks: int, dropout: float) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.cell = kind(width, width, num_layers=blocks, batch_first=True, dropout=dropout if blocks > 1 else 0.0)

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, enabled=False):
            states: Tensor = self.cell(self.norm(x.float()))[0]
        return states


class CausalConvolution(nn.Module):
    """A one-dimensional convolution that sees ``kernel`` positions, ``dilation`` apart, the last its own."""

    def __init__(self, inputs: int, outputs: int, kernel: int, dilation: int = 1) -> None:
        super().__init__()
        self.reach = (kernel - 1) * dilation
        self.convolution = nn.Conv1d(inputs, outputs, kernel, dilation=dilation)

    def forward(self, x: Tensor) -> Tensor:
        padded = functional.pad(x.transpose(1, 2), (self.reach, 0))
        found: Tensor = self.convolution(padded).transpose(1, 2)
        return found


class Convolutions(nn.Module):
    """Gated convolutions of width 5 with residuals, their dilation doubling from block to block."""

    def __init__(self, width: int, blocks: int, dropout: float, kernel: int = 5) -> None:
        super().__init__()
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(blocks))
        self.layers = nn.ModuleList(
            CausalConvolution(width, 2 * width, kernel, dilation=2**depth) for depth in range(blocks)
        )
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        for norm, layer in zip(self.norms, self.layers, strict=True):
            x = x + self.dropout(functional.glu(layer(norm(x)), dim=-1))
        return x


class ConvolutionLSTM(nn.Module):
    """The articles' hybrid: Conv1D 64 × 5 → max-pool 5 → LSTM 100, with every position trained.

    The pool slides by one and looks back only: theirs, five positions at a time, leaves one state in five.
    """

    POOL = 5

    def __init__(self, width: int, dropout: float, filters: int = 64, hidden: int = 100) -> None:
        super().__init__()
        self.convolution = CausalConvolution(width, filters, 5)
        self.dropout = nn.Dropout(dropout)
        self.cell = nn.LSTM(filters, hidden, batch_first=True)
        self.out = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        seen = functional.relu(self.convolution(x)).transpose(1, 2)
        pooled = functional.max_pool1d(functional.pad(seen, (self.POOL - 1, 0)), self.POOL, stride=1).transpose(1, 2)
        with torch.autocast(x.device.type, enabled=False):
            states: Tensor = self.cell(self.dropout(pooled).float())[0]
        found: Tensor = self.out(states)
        return found


class TransformerBlock(nn.Module):
    """Causal attention and a SwiGLU layer, norms first; a gate σ(W·x) lets each residual in.

    The gate in the place of a plain residual follows LiGR (Wang et al. 2025, arXiv 2502.03417).
    """

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.norm_attention, self.norm_feed = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width, bias=False)
        self.out = nn.Linear(width, width, bias=False)
        self.up, self.down = nn.Linear(width, 4 * width, bias=False), nn.Linear(2 * width, width, bias=False)
        self.gate_attention, self.gate_feed = nn.Linear(width, width), nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self._drop(self._attend(self.norm_attention(x))) * torch.sigmoid(self.gate_attention(x))
        up, gate = self.up(self.norm_feed(x)).chunk(2, dim=-1)
        return x + self._drop(self.down(up * functional.silu(gate))) * torch.sigmoid(self.gate_feed(x))

    def _attend(self, x: Tensor) -> Tensor:
        batch, length, width = x.shape
        q, k, v = self.qkv(x).view(batch, length, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        dropped = self.dropout if self.training else 0.0
        seen = functional.scaled_dot_product_attention(q, k, v, dropout_p=dropped, is_causal=True)
        found: Tensor = self.out(seen.transpose(1, 2).reshape(batch, length, width))
        return found

    def _drop(self, x: Tensor) -> Tensor:
        return functional.dropout(x, self.dropout, self.training)


class HSTUBlock(nn.Module):
    """Pointwise attention: SiLU(q·k + bias) in the place of a softmax, so that how often counts, not only which.

    Zhai et al. 2024, arXiv 2402.17152: [u, v, q, k] = SiLU(W·norm(x)); y = norm(A·v) ⊙ u. The bias depends on how far
    apart two positions are.
    """

    def __init__(self, width: int, heads: int, dropout: float, length: int) -> None:
        super().__init__()
        self.heads, self.length = heads, length
        self.norm, self.norm_seen = nn.LayerNorm(width), nn.LayerNorm(width)
        self.uvqk = nn.Linear(width, 4 * width)
        self.out = nn.Linear(width, width)
        self.bias = nn.Parameter(torch.zeros(heads, length))
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        batch, length, width = x.shape
        u, v, q, k = functional.silu(self.uvqk(self.norm(x))).chunk(4, dim=-1)
        v, q, k = (part.view(batch, length, self.heads, -1).transpose(1, 2) for part in (v, q, k))
        place = torch.arange(length, device=x.device)
        back = place[:, None] - place[None, :]
        bias = self.bias[:, back.clamp(min=0)]
        weight = functional.silu(q @ k.transpose(-1, -2) * (width // self.heads) ** -0.5 + bias)
        weight = weight.masked_fill(back < 0, 0.0) / self.length
        seen = (weight.to(v.dtype) @ v).transpose(1, 2).reshape(batch, length, width)
        found: Tensor = x + self.dropout(self.out(self.norm_seen(seen) * u))
        return found
