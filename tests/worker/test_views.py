"""Views of histories and contrastive pre-training: what a view may change, what it may know, and what it teaches."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.worker.shopping import clusters, fit, next_found, right_cluster, walks
from worker import device as devices
from worker.rankers.base import silent
from worker.rankers.sequence.fit import Trainer, Training, train
from worker.rankers.sequence.histories import Histories, Windows
from worker.rankers.sequence.network import CELLS, Cell, SequenceEncoder, Shape
from worker.rankers.sequence.views import WAYS, View, beginnings, info_nce, last_states, pair, pretrain

CPU = torch.device("cpu")
ITEMS, WIDTH = 40, 12


def batch(rows: int = 300, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Return histories of 2 to 12 items, none twice in a row, their gap buckets and their sizes."""
    rng = np.random.default_rng(seed)
    size = rng.integers(2, WIDTH + 1, rows)
    steps = rng.integers(1, ITEMS, (rows, WIDTH))
    items = np.cumsum(steps, axis=1) % ITEMS + 1
    real = np.arange(WIDTH) < size[:, None]
    gaps = rng.integers(1, 9, (rows, WIDTH)) * real
    gaps[:, 0] = 0
    return torch.from_numpy(items * real), torch.from_numpy(gaps), torch.from_numpy(size)


def cluster_histories(shoppers: int = 240, seed: int = 0) -> Histories:
    """Return shoppers who each turned to ten items of one of four clusters."""
    rng = np.random.default_rng(seed)
    steps = rng.integers(1, 10, (shoppers, 10))
    items = np.cumsum(steps, axis=1) % 10 + 1 + 10 * (np.arange(shoppers) % 4)[:, None]
    time = np.tile(np.arange(10, dtype=np.int64) * 1000, shoppers)
    return Histories.of(np.repeat(np.arange(shoppers), 10), items.astype(np.int32).ravel(), time, shoppers)


def network(cell: Cell = "gru") -> SequenceEncoder:
    devices.seed_all(0)
    return SequenceEncoder(Shape(ITEMS, cell, width=16, length=WIDTH, dropout=0.1))


def pretrained(encoder: SequenceEncoder, histories: Histories, seed: int = 0, **changes: Any) -> list[float]:
    devices.seed_all(seed)
    settings: dict[str, Any] = {
        "epochs": 12, "share": 0.3, "temperature": 0.2, "batch": 60, "learning_rate": 0.01, "device": CPU,
        "kept_back": None,
    }  # fmt: skip
    rows = pretrain(encoder, histories, rng=np.random.default_rng(seed), progress=silent, **(settings | changes))
    return [row["contrast"] for row in rows]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("share", [0.1, 0.5, 0.8])
def test_a_view_holds_items_of_its_own_history_and_differs_from_it(way: str, share: float) -> None:
    """Each item of a view stood in the history, at the place that the view tells; behind its end there is nothing."""
    devices.seed_all(0)
    items, gaps, size = batch()
    view = WAYS[way](items, gaps, size, share)
    assert view.size.min() >= 1
    assert (view.size <= size).all()
    behind = torch.arange(WIDTH) >= view.size[:, None]
    assert (view.items[behind] == 0).all()
    assert (view.place[behind] == -1).all()
    told = items.gather(1, view.place.clamp(min=0))
    assert ((view.items == told) | (view.items == 0))[~behind].all()
    assert (view.place < size[:, None]).all()
    assert (view.items != items).any(dim=1).all()


def test_a_crop_is_one_stretch_in_its_order() -> None:
    items, gaps, size = batch()
    view = WAYS["crop"](items, gaps, size, 0.6)
    real = view.place >= 0
    steps = torch.diff(view.place, dim=1)
    assert (steps[real[:, 1:]] == 1).all()
    assert view.gaps is not None
    assert (view.gaps[:, 0] == 0).all()  # nothing came before the first
    assert torch.equal(view.gaps[:, 1:][real[:, 1:]], gaps.gather(1, view.place.clamp(min=0))[:, 1:][real[:, 1:]])


def test_a_mask_blanks_a_share_and_moves_nothing() -> None:
    items, gaps, size = batch()
    view = WAYS["mask"](items, gaps, size, 0.5)
    blank = ((view.items == 0) & (items > 0)).sum(dim=1)
    assert torch.equal(blank, torch.minimum((size * 0.5).round().long().clamp(min=1), size - 1))
    kept = view.items > 0
    assert torch.equal(view.items[kept], items[kept])
    assert view.gaps is gaps


def test_a_reordering_keeps_every_item_and_all_outside_one_stretch() -> None:
    items, gaps, size = batch()
    view = WAYS["reorder"](items, gaps, size, 0.5)
    assert torch.equal(view.items.sort(dim=1).values, items.sort(dim=1).values)
    moved = view.place != torch.where(items > 0, torch.arange(WIDTH), -1)
    step = torch.arange(WIDTH).expand_as(items)
    reach = torch.where(moved, step, -1).amax(dim=1) - torch.where(moved, step, WIDTH).amin(dim=1) + 1
    assert (reach <= (size * 0.5).round().clamp(min=2)).all()


def test_two_views_of_a_history_differ_and_equal_seeds_give_equal_ones() -> None:
    def drawn(seed: int) -> tuple[View, View]:
        devices.seed_all(seed)
        return pair(*batch(), 0.3)

    one, other = drawn(1)
    assert ((one.items != other.items).any(dim=1) | (one.size != other.size)).all()
    again = drawn(1)
    assert torch.equal(one.items, again[0].items)
    assert torch.equal(other.items, again[1].items)
    assert not torch.equal(one.items, drawn(2)[0].items)


def test_pre_training_reads_nothing_of_what_is_kept_back() -> None:
    """The newest items of each history, and the histories that are left with fewer than two, are out of its sight."""
    histories = Histories.of(
        np.repeat(np.arange(4), [5, 3, 2, 1]), np.arange(1, 12, dtype=np.int32), np.arange(11, dtype=np.int64), 4
    )
    kept_back = np.zeros(11, dtype=bool)
    kept_back[[3, 4, 9]] = True
    found = beginnings(histories, kept_back, length=2)
    assert list(zip(found.start.tolist(), found.size.tolist(), strict=True)) == [(1, 2), (6, 2)]
    assert beginnings(histories, None, length=9).size.tolist() == [5, 3, 2]


def test_what_is_kept_back_changes_nothing_in_pre_training() -> None:
    found = []
    for exchanged in (False, True):
        histories = cluster_histories()
        kept_back = histories.time >= 8000
        if exchanged:
            histories.items[kept_back] = histories.items[kept_back] % ITEMS + 1
        encoder = network()
        found.append((pretrained(encoder, histories, kept_back=kept_back, epochs=2), encoder.table.detach().clone()))
    assert found[0][0] == found[1][0]
    assert torch.equal(found[0][1], found[1][1])


def test_info_nce_by_hand() -> None:
    """Cosines 1 and 0 at temperature 1/2: −log(e² / (e² + 1)) both ways; the length of a state does not count."""
    one = torch.tensor([[3.0, 0.0], [0.0, 0.1]])
    expected = -np.log(np.exp(2) / (np.exp(2) + 1))
    assert float(info_nce(one, one * 7, 0.5)) == pytest.approx(expected, rel=1e-5)
    assert float(info_nce(one, one.flip(0), 0.5)) == pytest.approx(expected + 2, rel=1e-5)


@torch.no_grad()
def alignment(encoder: SequenceEncoder, histories: Histories) -> tuple[float, float]:
    """Return the mean cosine of two views of one shopper, and of views whose shoppers were drawn anew."""
    encoder.eval()
    devices.seed_all(7)
    items = torch.from_numpy(histories.items.reshape(-1, 10).astype(np.int64))
    one, other = (last_states(encoder, view) for view in pair(items, None, torch.full((len(items),), 10), 0.3))
    mixed = other[torch.randperm(len(other))]
    found = [torch.cosine_similarity(one, each).mean() for each in (other, mixed)]
    return float(found[0]), float(found[1])


@pytest.mark.parametrize("cell", CELLS)
def test_pre_training_brings_views_of_one_shopper_together_and_no_others(cell: Cell) -> None:
    """The control: pairs of different shoppers; and what the same network said before it learnt."""
    encoder, histories = network(cell), cluster_histories()
    own_before, other_before = alignment(encoder, histories)
    curve = pretrained(encoder, histories)
    assert curve[-1] < 0.9 * curve[0]
    own, other = alignment(encoder, histories)
    assert own - other > 0.3
    assert own - other > own_before - other_before + 0.1


def test_where_there_is_nobody_to_be_told_from_it_learns_nothing() -> None:
    encoder = network()
    before = encoder.table.detach().clone()
    alone = Histories.of(np.zeros(3, np.int64), np.arange(1, 4, dtype=np.int32), np.arange(3, dtype=np.int64), 1)
    assert pretrained(encoder, alone) == []
    assert torch.equal(encoder.table, before)


def test_pre_training_comes_first_and_is_off_by_default() -> None:
    histories = cluster_histories()
    off = train(network(), histories, Training(epochs=2), device=CPU, seed=0)
    on = train(network(), histories, Training(epochs=2, pretraining=3), device=CPU, seed=0)
    assert ["contrast" in row for row in on] == [True] * 3 + [False] * (len(on) - 3)
    assert not any("contrast" in row for row in off)


@pytest.mark.parametrize("augment", ["crop", "mask"])
def test_an_augmented_batch_hides_inputs_and_keeps_its_targets(augment: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is read is less; what is to be predicted are still true next items, of those that count."""
    histories = cluster_histories(40)
    histories.items[histories.items == ITEMS] = ITEMS - 1
    histories.items[histories.time == 9000] = ITEMS  # the newest do not count, and only they are that item
    trainer = Trainer(network(), histories, Training(augment=augment, view_share=0.5), device=CPU, seed=0)
    trainer.learn_from((histories.time > 0) & (histories.time < 9000))
    read: list[Tensor] = []
    wanted: list[Tensor] = []
    trainer.encoder.register_forward_pre_hook(lambda _network, given: read.append(given[0]))

    def losses(states: Tensor, targets: Tensor) -> Tensor:
        wanted.append(targets)
        return states.sum(dim=1)

    monkeypatch.setattr(trainer, "_losses", losses)
    windows = Windows.cut(histories.offset, WIDTH)
    trainer._batch_loss(torch.from_numpy(windows.start), torch.from_numpy(windows.size), 10)
    real = torch.from_numpy(histories.items.reshape(-1, 10)[:, :9])
    assert 0.3 < float((read[0] > 0).float().mean()) < 0.7
    if augment == "mask":
        assert ((read[0] == real) | (read[0] == 0)).all()
        assert len(wanted[0]) == 40 * 8
    else:
        assert 0 < len(wanted[0]) <= 40 * 4
    assert int(wanted[0].min()) >= 0
    assert int(wanted[0].max()) < ITEMS - 1


@pytest.mark.parametrize("changes", [{"augment": "crop"}, {"augment": "mask"}, {"pretraining": 4}], ids=str)
@pytest.mark.parametrize("name", ["gru", "transformer"])
def test_with_either_option_a_ranker_finds_what_is_planted(name: str, changes: dict[str, Any]) -> None:
    assert next_found(fit(name, walks(), **changes), walks()) > 0.7
    first = fit(name, clusters(), **changes)
    assert right_cluster(first, clusters()) > 0.4
    again = fit(name, clusters(), **changes)
    np.testing.assert_array_equal(first.score(np.arange(9)), again.score(np.arange(9)))


def test_how_long_ago_is_known_of_views_too() -> None:
    assert next_found(fit("gru", walks(), times=True, pretraining=2, augment="mask"), walks()) > 0.7
