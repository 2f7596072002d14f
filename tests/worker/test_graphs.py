"""The graph from the inside: products with gradients, LightGCN by its formula, attention that sums to 1."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import sparse
from torch import Tensor

from tests.worker.shopping import clusters, fit, shuffled
from worker import device as devices
from worker.losses import pairwise
from worker.rankers import DAY, Interactions, top_items
from worker.rankers.autoencoders import MultVAE
from worker.rankers.graphs import GAT as GraphAttention
from worker.rankers.graphs import Attention, Even, Graph, GraphRanker, LightGCN, gathered, softmax_by_row

CPU = torch.device("cpu")


def matrix(rows: int = 7, columns: int = 5, seed: int = 0) -> sparse.csr_matrix:
    """Return ones at random, an empty row and an empty column among them."""
    cells = (np.random.default_rng(seed).random((rows, columns)) < 0.5).astype(np.float32)
    cells[2], cells[:, 3] = 0.0, 0.0
    return sparse.csr_matrix(cells)


def dense(graph: Graph, weight: Tensor) -> Tensor:
    found = torch.zeros(graph.rows, graph.columns, dtype=weight.dtype)
    found[graph.row, graph.column] = weight
    return found


@pytest.mark.parametrize("turned", [False, True])
def test_a_sparse_product_and_its_gradients_are_the_dense_ones(turned: bool) -> None:
    graph = Graph.read(matrix(), CPU)
    graph = graph.turned() if turned else graph
    weight = torch.rand(len(graph.row), dtype=torch.float64, requires_grad=True)
    source = torch.rand(graph.columns, 3, dtype=torch.float64, requires_grad=True)
    torch.testing.assert_close(gathered(graph, weight, source), dense(graph, weight) @ source)
    assert torch.autograd.gradcheck(lambda w, s: gathered(graph, w, s), (weight, source))


def test_seen_from_the_other_side_twice_it_is_itself() -> None:
    graph = Graph.read(matrix(), CPU)
    there = graph.turned()
    torch.testing.assert_close(there.row, graph.column[graph.order])
    assert (torch.diff(there.row) >= 0).all()
    again = there.turned()
    torch.testing.assert_close((again.row, again.column, again.order), (graph.row, graph.column, graph.order))


def test_without_some_edges() -> None:
    graph = Graph.read(matrix(), CPU)
    left = graph.without(torch.tensor([0, 3]))
    kept = [at for at in range(len(graph.row)) if at not in {0, 3}]
    torch.testing.assert_close((left.row, left.column), (graph.row[kept], graph.column[kept]))
    torch.testing.assert_close(left.order, torch.argsort(left.column, stable=True))


def test_light_gcn_propagates_by_its_formula() -> None:
    """E^(k+1) = D^-½·A·D^-½·E^(k) on both sides, the mean over the layers; shoppers start at what their items give."""
    devices.seed_all(0)
    cells = torch.tensor(matrix().toarray())
    rows, columns = (cells.sum(dim=1).clamp(min=1), cells.sum(dim=0).clamp(min=1))
    even = cells / torch.sqrt(rows[:, None] * columns[None, :])
    network, graph = Even(5, 4, layers=2), Graph.read(matrix(), CPU)
    layers = [network.item, even.T @ even @ network.item, even.T @ even @ even.T @ even @ network.item]
    users, items = network(graph)
    torch.testing.assert_close(items, torch.stack(layers).mean(dim=0))
    torch.testing.assert_close(users, even @ items)
    network.settle(graph)
    torch.testing.assert_close(network.shoppers(graph), users)
    torch.testing.assert_close(network.arrived.mean(dim=0), items.detach())


def test_attention_sums_to_one_and_starts_near_even_means() -> None:
    devices.seed_all(0)
    graph = Graph.read(matrix(), CPU)
    share = softmax_by_row(graph, torch.randn(len(graph.row)) * 30)
    total = torch.zeros(graph.rows).index_add(0, graph.row, share)
    torch.testing.assert_close(total, (torch.bincount(graph.row, minlength=graph.rows) > 0).float())
    network = Attention(5, 4, layers=1, heads=2)
    with torch.no_grad():
        for ask in network.ask:
            ask.zero_()
    mean = torch.tensor(matrix().toarray())
    mean = mean / mean.sum(dim=1, keepdim=True).clamp(min=1)
    found = network.to_rows(graph, network.item, torch.ones(5), 0)
    torch.testing.assert_close(found, mean @ network.item)


def test_attention_prefers_what_it_asks_for() -> None:
    network, graph = Attention(2, 2, layers=1, heads=1), Graph.read(sparse.csr_matrix(np.ones((1, 2))), CPU)
    with torch.no_grad():
        network.ask[0][:] = torch.tensor([[[0.0, 0.0]], [[10.0, 0.0]]])
        items = torch.tensor([[1.0, 0.0], [0.0, 1.0]])
        assert network.to_rows(graph, items, torch.ones(2), 0)[0, 0] > 0.99


def test_heads_that_cannot_share_a_width_are_refused() -> None:
    with pytest.raises(ValueError, match="A width of 10 cannot be shared by 4 heads"):
        GraphAttention(width=10, heads=4)


def test_bpr_is_the_mean_log_odds_without_clashes() -> None:
    positive, negative = torch.tensor([1.0, 2.0]), torch.tensor([[0.0, 3.0], [5.0, 5.0]])
    clash = torch.tensor([[False, False], [True, True]])
    expected = -(np.log(1 / (1 + np.exp(-1.0))) + np.log(1 / (1 + np.exp(2.0)))) / 2
    torch.testing.assert_close(pairwise(positive, negative, clash), torch.tensor([expected, 0.0], dtype=torch.float32))


@pytest.mark.parametrize("kind", [LightGCN, GraphAttention])
def test_a_shop_smaller_than_a_batch_is_learnt_from(kind: type[GraphRanker]) -> None:
    """A step leaves its own edges out of the graph: were they all in one step, nothing would be left to learn from."""
    rng = np.random.default_rng(0)
    shopper = np.repeat(np.arange(200), 6)
    item = np.concatenate([rng.permutation(20)[:6] + 20 * (number % 2) for number in range(200)])
    time = np.tile(np.arange(6), 200) * DAY
    ranker = kind()
    assert len(item) < ranker.batch
    ranker.fit(Interactions(shopper, item, time, np.ones(len(item)), 40, 200), 7 * DAY)
    best = top_items(ranker.score(np.arange(200)), 10)
    assert (best // 20 == np.arange(200)[:, None] % 2).mean() > 0.95, "each one's own half of the catalogue"


@pytest.mark.parametrize(("patient_steps", "epochs"), [(0, 2), (50, 5)])
def test_patience_counts_steps_where_an_epoch_has_few(patient_steps: int, epochs: int) -> None:
    """Pure chance: the late slice gets no better for long. An epoch over so few edges is ten steps."""
    ranker = fit("light_gcn", shuffled(clusters()), epochs=80, patience=2, patient_steps=patient_steps)
    assert isinstance(ranker, LightGCN)
    judged = [row["late_mrr"] for row in ranker.curves if "late_mrr" in row]
    assert len(judged) == int(np.argmax(judged)) + 1 + epochs < 80


def test_an_epoch_has_so_many_steps() -> None:
    assert [LightGCN(batch=100).steps(edges) for edges in (1, 1000, 1001)] == [10, 10, 11]
    assert MultVAE(batch=8)._steps(sparse.eye(30, 17, format="csr")) == 3, "17 of 30 rows hold something"
