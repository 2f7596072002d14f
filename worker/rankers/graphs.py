"""The graph of shoppers and items: LightGCN, and a small graph attention network on the same frame.

Only items have vectors of their own; a shopper's are what arrives from their items. So a shopper who came after the
training has one too, and the graph holds half the parameters of the usual form. Shapes: the graph's edges [edges], each
joining a row (shopper) and a column (item); layers [layers + 1, items, width].
"""

from __future__ import annotations

import math
import warnings
from abc import abstractmethod
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import torch
from scipy import sparse
from torch import Tensor, nn
from torch.nn import functional

from worker import device as devices
from worker.losses import pairwise, sampled_softmax
from worker.rankers.base import Progress
from worker.rankers.sets import Bags, SetRanker
from worker.space import Choice, Range, Space


@dataclass(frozen=True, slots=True)
class Graph:
    """Who turned to what, edge by edge: ``row`` and ``column`` [edges], sorted by row.

    ``order`` [edges] are the edges' positions sorted by column: the graph as seen from the other side.
    """

    row: Tensor
    column: Tensor
    order: Tensor
    rows: int
    columns: int

    @classmethod
    def of(cls, row: Tensor, column: Tensor, rows: int, columns: int) -> Graph:
        """Build from edges sorted by row."""
        return cls(row, column, torch.argsort(column, stable=True), rows, columns)

    @classmethod
    def read(cls, matrix: sparse.csr_matrix, device: torch.device) -> Graph:
        """Return the matrix's cells as edges."""
        row = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
        sender, receiver = (torch.from_numpy(each.astype(np.int64)).to(device) for each in (row, matrix.indices))
        return cls.of(sender, receiver, *matrix.shape)

    def without(self, edges: Tensor) -> Graph:
        """Return the graph less some edges, by position."""
        kept = torch.ones(len(self.row), dtype=torch.bool, device=self.row.device)
        kept[edges] = False
        place = torch.cumsum(kept, 0) - 1
        order = place[self.order[kept[self.order]]]
        return Graph(self.row[kept], self.column[kept], order, self.rows, self.columns)

    def turned(self) -> Graph:
        """Return the graph seen from the other side; its edges stand in this one's ``order``."""
        back = torch.empty_like(self.order)
        back[self.order] = torch.arange(len(back), device=back.device)
        return Graph(self.column[self.order], self.row[self.order], back, self.columns, self.rows)

    def degrees(self) -> tuple[Tensor, Tensor]:
        """Return how many edges each row and each column has, 1 at least."""
        counts = (
            torch.bincount(ends, minlength=size) for ends, size in ((self.row, self.rows), (self.column, self.columns))
        )
        rows, columns = (count.clamp(min=1).float() for count in counts)
        return rows, columns


def gathered(graph: Graph, weight: Tensor, source: Tensor) -> Tensor:
    """Return Σ over each row's edges of weight [edges] · source[column]: [rows, width]; zeros without edges.

    In the weights' precision, whatever a step computes in: torch has no compressed rows in bfloat16.
    """
    with torch.autocast(source.device.type, enabled=False):
        found: Tensor = _Gather.apply(graph, weight, source.to(weight.dtype))
    return found


class _Gather(torch.autograd.Function):
    """A sparse product with gradients to both sides. Compressed rows take a third of the time of loose cells."""

    @staticmethod
    def forward(ctx: Any, graph: Graph, weight: Tensor, source: Tensor) -> Tensor:
        ctx.graph = graph
        ctx.save_for_backward(weight, source)
        return _product(graph, weight, source)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[None, Tensor | None, Tensor | None]:
        graph, (weight, source), grad = ctx.graph, ctx.saved_tensors, grads[0].contiguous()
        of_weight = (grad[graph.row] * source[graph.column]).sum(dim=-1) if ctx.needs_input_grad[1] else None
        of_source = _product(graph.turned(), weight[graph.order], grad) if ctx.needs_input_grad[2] else None
        return None, of_weight, of_source


def _product(graph: Graph, weight: Tensor, source: Tensor) -> Tensor:
    counts = torch.bincount(graph.row, minlength=graph.rows)
    starts = functional.pad(torch.cumsum(counts, 0), (1, 0))
    with warnings.catch_warnings():  # torch calls every compressed matrix a beta
        warnings.filterwarnings("ignore", "Sparse CSR tensor support")
        cells = torch.sparse_csr_tensor(
            starts, graph.column, weight, (graph.rows, graph.columns), check_invariants=False
        )  # fmt: skip
        found: Tensor = cells @ source
    return found


def softmax_by_row(graph: Graph, score: Tensor) -> Tensor:
    """Return the softmax of the edges' scores [edges] among those of their row, in float32."""
    score = score.float()
    highest = torch.full((graph.rows,), -torch.inf, device=score.device)
    highest = highest.scatter_reduce(0, graph.row, score.detach(), "amax")
    power = torch.exp(score - highest[graph.row])
    total = torch.zeros(graph.rows, device=score.device).index_add(0, graph.row, power)
    return power / total[graph.row]


class Propagation(nn.Module):
    """Item vectors and how they travel. In training the graph is given; ``settle`` stores where they arrived.

    ``arrived`` [layers + 1, items, width] and each item's ``degree`` in the graph are all that scoring needs.
    """

    def __init__(self, items: int, width: int, layers: int) -> None:
        super().__init__()
        self.layers = layers
        self.item = nn.Parameter(torch.empty(items, width).normal_(std=0.1 / math.sqrt(width)))
        self.register_buffer("arrived", torch.zeros(layers + 1, items, width))
        self.register_buffer("degree", torch.ones(items))
        self.arrived: Tensor
        self.degree: Tensor

    def forward(self, graph: Graph) -> tuple[Tensor, Tensor]:
        """Return the shoppers' [rows, width] and the items' [columns, width] vectors, means over the layers."""
        items: list[Tensor] = [self.item]
        users: list[Tensor] = []
        degree = graph.degrees()[1]
        for layer in range(self.layers):
            users.append(self.to_rows(graph, items[-1], degree, layer))
            items.append(self.to_columns(graph, users[-1], items[-1], degree, layer))
        users.append(self.to_rows(graph, items[-1], degree, self.layers))
        return torch.stack(users).mean(dim=0), torch.stack(items).mean(dim=0)

    def shoppers(self, graph: Graph) -> Tensor:
        """Return the vectors of shoppers [rows, width] who need not have been in the settled graph."""
        found = [self.to_rows(graph, layer, self.degree, at) for at, layer in enumerate(self.arrived)]
        return torch.stack(found).mean(dim=0)

    @torch.no_grad()
    def settle(self, graph: Graph) -> None:
        """Store where the items' vectors arrive in this graph."""
        self.degree = graph.degrees()[1]
        items = [self.item.detach()]
        for layer in range(self.layers):
            users = self.to_rows(graph, items[-1], self.degree, layer)
            items.append(self.to_columns(graph, users, items[-1], self.degree, layer))
        self.arrived = torch.stack(items)

    @abstractmethod
    def to_rows(self, graph: Graph, items: Tensor, degree: Tensor, layer: int) -> Tensor:
        """Return what arrives at the shoppers from the items of a layer; ``degree`` [columns] of the whole graph."""

    @abstractmethod
    def to_columns(self, graph: Graph, users: Tensor, items: Tensor, degree: Tensor, layer: int) -> Tensor:
        """Return what arrives at the items from the shoppers of a layer; ``items`` is where they were before."""


class Even(Propagation):
    """LightGCN's: an edge weighs 1/√(its ends' degrees), and nothing is learnt but the vectors."""

    def to_rows(self, graph: Graph, items: Tensor, degree: Tensor, layer: int) -> Tensor:
        return gathered(graph, self._weight(graph, degree), items)

    def to_columns(self, graph: Graph, users: Tensor, items: Tensor, degree: Tensor, layer: int) -> Tensor:
        return gathered(graph.turned(), self._weight(graph, degree)[graph.order], users)

    def _weight(self, graph: Graph, degree: Tensor) -> Tensor:
        return (graph.degrees()[0][graph.row] * degree[graph.column]).rsqrt()


class Attention(Propagation):
    """An edge weighs the softmax, among its receiver's edges, of LeakyReLU(a·W·receiver + b·W·sender).

    A shopper who is to receive has no vector yet: the mean of their items stands in for it. The sum travels through W
    and adds to what the receiver was: so a layer that has learnt nothing takes even means.
    """

    def __init__(self, items: int, width: int, layers: int, heads: int) -> None:
        super().__init__(items, width, layers)
        self.heads = heads
        self.turn = nn.ParameterList(nn.Parameter(torch.eye(width)) for _ in range(2 * layers + 1))
        self.ask = nn.ParameterList(nn.Parameter(torch.zeros(2, heads, width // heads)) for _ in range(2 * layers + 1))
        for each in self.ask:
            nn.init.normal_(each, std=0.1)

    def to_rows(self, graph: Graph, items: Tensor, degree: Tensor, layer: int) -> Tensor:
        mean = gathered(graph, graph.degrees()[0].reciprocal()[graph.row], items)
        return self._attend(graph, mean, items, 2 * layer)

    def to_columns(self, graph: Graph, users: Tensor, items: Tensor, degree: Tensor, layer: int) -> Tensor:
        return self._attend(graph.turned(), items, users, 2 * layer + 1)

    def _attend(self, graph: Graph, receiver: Tensor, sender: Tensor, at: int) -> Tensor:
        sent, received = sender @ self.turn[at], receiver @ self.turn[at]
        asked = [
            torch.einsum("nhw,hw->nh", each.view(len(each), self.heads, -1), ask)
            for each, ask in zip((received, sent), self.ask[at], strict=True)
        ]
        parts = []
        for head, part in enumerate(sent.chunk(self.heads, dim=1)):
            score = functional.leaky_relu(asked[0][graph.row, head] + asked[1][graph.column, head], 0.2)
            parts.append(gathered(graph, softmax_by_row(graph, score), part.contiguous()))
        return torch.cat(parts, dim=1)


FEWEST_STEPS = 10
"""Steps an epoch at least: no more than a tenth of the edges is left out of the graph at once."""


class GraphLearner:
    """Steps on batches of edges. A step's own edges are left out of the graph that it predicts them from."""

    def __init__(
        self, network: Propagation, ranker: GraphRanker, device: torch.device, rng: np.random.Generator
    ) -> None:
        self.network, self.ranker, self.device, self.rng = network, ranker, device, rng
        self.optimiser = torch.optim.Adam(network.parameters(), lr=ranker.learning_rate)

    def read(self, matrix: sparse.csr_matrix) -> None:
        self.graph = Graph.read(matrix, self.device)
        drawn = np.power(np.bincount(matrix.indices, minlength=matrix.shape[1]).astype(np.float64), 0.5)
        drawn /= drawn.sum()
        self.cumulative = torch.tensor(np.cumsum(drawn), dtype=torch.float32, device=self.device)
        self.log_drawn = torch.tensor(np.log(np.maximum(drawn, 1e-30)), dtype=torch.float32, device=self.device)

    def epoch(self, tell: Progress) -> float:
        order = self.rng.permutation(len(self.graph.row))
        batches = self.ranker.steps(len(order))
        total = torch.zeros((), device=self.device)
        for number, edges in enumerate(np.array_split(order, batches)):
            with devices.autocast(self.device):
                loss = self._loss(torch.from_numpy(edges).to(self.device))
            self.optimiser.zero_grad()
            loss.backward()
            self.optimiser.step()
            total += loss.detach()
            tell((number + 1) / batches)
        self.network.settle(self.graph)
        return float(total) / batches

    def _loss(self, edges: Tensor) -> Tensor:
        users, items = self.network(self.graph.without(edges))
        row, column = self.graph.row[edges], self.graph.column[edges]
        drawn = torch.searchsorted(self.cumulative, torch.rand(self.ranker.negatives, device=self.device))
        drawn = drawn.clamp(max=len(items) - 1)
        own, heat = users[row], 1 / self.ranker.temperature
        positive = (own * items[column]).sum(dim=-1) * heat
        negative = (own @ items[drawn].T).float() * heat
        clash = drawn == column[:, None]
        if self.ranker.loss == "bpr":
            losses = pairwise(positive, negative, clash)
        else:
            expected = self.log_drawn[drawn] + math.log(self.ranker.negatives)
            losses = sampled_softmax(positive, negative, expected, clash)
        starts = self.network.item
        weight = starts[column].square().sum(dim=-1).mean()
        return losses.mean() + self.ranker.regularisation * weight


@dataclass(kw_only=True, eq=False)
class GraphRanker(SetRanker):
    """What both have in common. A score is (shopper's vector · item's vector) / temperature.

    Time: layers · edges · width a step, of which there are edges / batch an epoch; memory: (layers + 1) · (shoppers +
    items) · width floats, and for attention a few numbers an edge and head.
    """

    space: ClassVar[Space] = {
        **SetRanker.space,
        "width": Range(4, 512, log=True, whole=True),
        "layers": Range(1, 4, whole=True),
        "negatives": Range(1, 8192, log=True, whole=True),
        "temperature": Range(0.01, 10.0, log=True),
        "regularisation": Range(0.0, 1.0),
        "loss": Choice(("sampled_softmax", "bpr")),
    }

    batch: int = 8192
    learning_rate: float = 1e-2
    width: int = 64
    layers: int = 2
    negatives: int = 512
    temperature: float = 1.0
    regularisation: float = 1e-4
    loss: str = "sampled_softmax"
    network: Propagation = field(init=False, repr=False)

    def steps(self, edges: int) -> int:
        """Return how many steps an epoch over so many edges takes."""
        return max(-(-edges // self.batch), FEWEST_STEPS)

    def _steps(self, matrix: sparse.csr_matrix) -> int:
        return self.steps(matrix.nnz)

    @abstractmethod
    def _build(self, items: int) -> Propagation: ...

    def _learner(self, network: nn.Module, device: torch.device, rng: np.random.Generator) -> GraphLearner:
        assert isinstance(network, Propagation)
        return GraphLearner(network, self, device, rng)

    def _vectors(self, rows: Bags) -> Tensor:
        graph = Graph.of(rows.owner, rows.items, len(rows.size), len(self.network.item))
        return self.network.shoppers(graph)

    def _item_table(self) -> Tensor:
        return self.network.arrived.mean(dim=0) / self.temperature


@dataclass(kw_only=True, eq=False)
class LightGCN(GraphRanker):
    """Vectors travel along the edges unchanged; what arrives in each layer is averaged.

    He et al. 2020, arXiv 2002.02126; here without shoppers' own vectors, and by default with a sampled softmax in the
    place of BPR.
    """

    name: ClassVar[str] = "light_gcn"

    def _build(self, items: int) -> Even:
        return Even(items, self.width, self.layers)


@dataclass(kw_only=True, eq=False)
class GAT(GraphRanker):
    """Vectors travel along the edges by attention: which of a shopper's items count, and which of an item's shoppers.

    Veličković et al. 2018, arXiv 1710.10903, on the bipartite graph. About ``heads`` times LightGCN's cost and more.
    """

    name: ClassVar[str] = "gat"
    space: ClassVar[Space] = {**GraphRanker.space, "heads": Range(1, 16, whole=True)}

    width: int = 32
    layers: int = 1
    heads: int = 2

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.width % self.heads:
            raise ValueError(f"A width of {self.width} cannot be shared by {self.heads} heads: choose a multiple.")

    def _build(self, items: int) -> Attention:
        return Attention(items, self.width, self.layers, self.heads)
