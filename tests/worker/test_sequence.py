"""The sequence encoder from the inside: causal cells, windows that miss no target, one loss on every device."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.worker.shopping import NOW, fit, next_found, walks
from worker import device as devices
from worker.rankers.base import DAY
from worker.rankers.sequence.fit import Trainer, Training, _parts, encode, train
from worker.rankers.sequence.histories import Histories, Windows
from worker.rankers.sequence.network import CELLS, Cell, SequenceEncoder, Shape
from worker.rankers.sequence.rankers import SequenceRanker
from worker.rankers.training import late

CPU = torch.device("cpu")
ITEMS = 30


def network(cell: Cell, **changes: int) -> SequenceEncoder:
    devices.seed_all(0)
    return SequenceEncoder(Shape(ITEMS, cell, width=8, length=12, **changes)).eval()  # type: ignore[arg-type]


def histories(shoppers: int = 40, seed: int = 0, longest: int = 30) -> Histories:
    rng = np.random.default_rng(seed)
    size = rng.integers(0, longest, shoppers)
    shopper = np.repeat(np.arange(shoppers), size)
    time = np.concatenate([np.sort(rng.integers(0, 10**9, count)) for count in size]).astype(np.int64)
    return Histories.of(shopper, rng.integers(1, ITEMS + 1, len(shopper)).astype(np.int32), time, shoppers)


@pytest.mark.parametrize("cell", CELLS)
def test_a_state_sees_nothing_that_comes_later(cell: Cell) -> None:
    """Whatever stands behind a position, padding included, its state is the same; what stands before it counts."""
    model = network(cell)
    items = torch.randint(1, ITEMS + 1, (3, 12))
    changed, padded, earlier = items.clone(), items.clone(), items.clone()
    changed[:, 7:] = torch.randint(1, ITEMS + 1, (3, 5))
    padded[:, 7:] = 0
    earlier[:, 4] = earlier[:, 4] % ITEMS + 1
    with torch.no_grad():
        before = model(items)[:, :7]
        torch.testing.assert_close(model(changed)[:, :7], before)
        torch.testing.assert_close(model(padded)[:, :7], before)
        torch.testing.assert_close(model(items[:, :7]), before)
        assert not torch.allclose(model(earlier)[:, 6], before[:, 6], atol=1e-4)


def test_an_impossible_shape_is_refused() -> None:
    with pytest.raises(ValueError, match=r"no cell 'rnn'\. Choose one of: lstm, gru"):
        Shape(5, "rnn")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="A width of 10 cannot be shared by 4 heads"):
        Shape(5, "transformer", width=10, heads=4)


@pytest.mark.parametrize("length", [1, 2, 5, 12, 100])
def test_windows_hold_every_target_once(length: int) -> None:
    data = histories()
    windows = Windows.cut(data.offset, length)
    assert windows.size.max() <= length + 1
    assert windows.size.min() >= 2
    targets = np.concatenate(
        [np.arange(start + 1, start + size) for start, size in zip(windows.start, windows.size, strict=True)]
    )
    first = data.offset[:-1][np.diff(data.offset) > 0]
    assert sorted(targets.tolist()) == sorted(set(range(len(data.items))) - set(first.tolist()))
    owner = np.searchsorted(data.offset, windows.start, side="right")
    assert (owner == np.searchsorted(data.offset, windows.start + windows.size - 1, side="right")).all()


def test_windows_that_hold_a_target() -> None:
    windows = Windows.cut(np.array([0, 6, 8]), 3)
    wanted = np.zeros(8, dtype=bool)
    wanted[2] = True
    found = windows.holding(wanted)
    assert [(found.start[0], found.size[0])] == [(0, 3)]
    wanted[:] = False
    wanted[6] = True  # a first item is nobody's target
    assert len(windows.holding(wanted)) == 0


def test_batches_hold_every_window_once() -> None:
    windows = Windows.cut(histories(200).offset, 5)
    found = list(windows.batches(16, np.random.default_rng(0)))
    assert sorted(np.concatenate(found).tolist()) == list(range(len(windows)))
    assert max(map(len, found)) == 16


def test_parts_hold_a_batch_s_windows_once_and_little_padding() -> None:
    windows = Windows.cut(histories(200).offset, 12)
    chosen = np.random.default_rng(0).permutation(len(windows))[:70]
    parts = list(_parts(windows, chosen))
    assert len(parts) == 4
    start, size = (torch.cat(columns).numpy() for columns in list(zip(*parts, strict=True))[:2])
    assert sorted(zip(start, size, strict=True)) == sorted(
        zip(windows.start[chosen], windows.size[chosen], strict=True)
    )
    assert all(int(size.max()) == width for _start, size, width in parts)
    padded = sum(len(size) * width - int(size.sum()) for _start, size, width in parts)
    assert padded < 0.4 * (70 * int(windows.size[chosen].max()) - int(windows.size[chosen].sum()))
    assert len(list(_parts(windows, chosen[:9]))) == 1
    assert list(_parts(windows, chosen[:0])) == []


def test_every_target_weighs_the_same_whatever_stands_beside_it() -> None:
    """Nothing is learnt at a rate of zero: an epoch's loss is the mean over the targets, in batches of any size."""
    data, found, means = histories(), [], []
    windows = Windows.cut(data.offset, 12)
    for batch in (5, 1000):
        training = Training(batch=batch, learning_rate=0.0, weight_decay=0.0, negatives=ITEMS)
        trainer = Trainer(network("gru", dropout=0), data, training, device=CPU, seed=0)
        trainer.learn_from(np.ones(len(data.items), dtype=bool))
        found.append(trainer.epoch(windows))
    assert found[0] == pytest.approx(found[1], rel=1e-5)
    trainer.usual.fill_(1)
    for chosen in windows.batches(5, np.random.default_rng(0)):
        with torch.no_grad():
            total = sum(float(trainer._batch_loss(*part)) for part in _parts(windows, chosen))
        means.append(total / windows.take(chosen).count(trainer.targets))
    assert np.mean(means) != pytest.approx(found[1], rel=1e-4), "the mean of the batches' means is another figure"


def test_what_is_new_is_ranked_among_what_is_new() -> None:
    """The biases rank item 1 first, then 2 …: an item had before stands in the way of nothing but itself."""
    data = Histories.of(np.array([0, 0, 0, 1, 1, 1]), np.array([1, 2, 4, 1, 2, 1], np.int32), np.arange(6), 2)
    model = network("gru", dropout=0)
    with torch.no_grad():
        model.item.weight.zero_()
        model.bias.copy_(torch.arange(ITEMS, 0, -1))
    trainer = Trainer(model, data, Training(), device=CPU, seed=0)
    windows, found = Windows.cut(data.offset, 12), []
    for place in (2, 5):
        trainer.learn_from(np.arange(6) == place)
        found.append(trainer.judge(windows.holding(trainer.targets)))
    assert found == pytest.approx([1 / 2, 1.0]), "4 comes behind 3 alone; 1 again is the first of all"
    data.items[5] = 2
    data.items[4] = 3
    data.items[3] = 2
    trainer = Trainer(model, data, Training(), device=CPU, seed=0)
    trainer.learn_from(np.arange(6) == 5)
    assert trainer.judge(windows) == pytest.approx(1 / 2), "2 again comes behind 1, which is new"


def test_gaps_are_powers_of_two_of_a_second_and_do_not_cross_shoppers() -> None:
    seconds = np.array([100, 100, 101, 108, 50, 51 + 86_400])
    data = Histories.of(np.array([0, 0, 0, 0, 2, 2]), np.ones(6, np.int32), seconds * 1000, 3)
    assert data.gaps().tolist() == [0, 0, 1, 3, 0, 16]


@pytest.mark.parametrize(
    "training",
    [
        Training(batch=64, negatives=7),
        Training(batch=64, negatives=ITEMS),
        Training(batch=64, negatives=7, loss="gsasrec"),
    ],
)
def test_a_gpu_s_fixed_shapes_give_the_same_loss(training: Training) -> None:
    """A batch as wide as its longest window, and one padded to the full width and number: the same loss."""
    data = histories()
    trainer = Trainer(network("gru"), data, training, device=CPU, seed=0)
    trainer.learn_from(np.random.default_rng(1).random(len(data.items)) < 0.7)
    windows = Windows.cut(data.offset, 12)
    found = []
    for ragged in (True, False):
        trainer.ragged = ragged
        torch.manual_seed(5)
        lack = 0 if ragged else 9
        start, size = (
            torch.nn.functional.pad(torch.from_numpy(column[:40]), (0, lack))
            for column in (windows.start, windows.size)
        )
        with torch.no_grad():
            found.append(float(trainer._batch_loss(start, size, 13)))
    assert found[0] == pytest.approx(found[1], rel=1e-5)


def test_the_fixed_step_fills_up_the_last_batch() -> None:
    data = histories()
    trainer = Trainer(network("cnn"), data, Training(batch=32), device=CPU, seed=0)
    trainer.ragged = False
    trainer.learn_from(np.ones(len(data.items), dtype=bool))
    windows = Windows.cut(data.offset, 12)
    assert len(windows) % 32
    first = trainer.epoch(windows)
    for _ in range(5):
        last = trainer.epoch(windows)
    assert last < first


def test_the_latest_targets_stop_the_training_and_are_learnt_from_last() -> None:
    """Pure chance: the late slice gets no better, so that training ends early; then one epoch more over everything."""
    data = histories(200)
    model = network("gru")
    training = Training(epochs=30, batch=64, learning_rate=0.01, patience=2, patient_steps=0)
    curves = train(model, data, training, device=CPU, seed=0)
    judged = [row for row in curves if "late_mrr" in row]
    best = int(np.argmax([row["late_mrr"] for row in judged])) + 1
    assert len(judged) == best + 2 < 30
    assert len(curves) == len(judged) + max(1, round(best / 10))


@pytest.mark.parametrize(("windows", "epochs"), [(10, 9), (300, 9), (330, 8), (1000, 3), (3300, 1), (10**6, 1)])
def test_steps_bound_the_epochs(windows: int, epochs: int) -> None:
    """Of 33 steps a hundred windows each may take one: small data is gone through nine times, large data once."""
    assert Training(epochs=9, most_steps=33, batch=100).epochs_over(windows) == epochs
    assert Training(epochs=9, batch=100).epochs_over(windows) == 9


@pytest.mark.parametrize(("windows", "epochs"), [(10, 100), (999, 10), (5000, 3)])
def test_patience_counts_steps_where_there_is_little_data(windows: int, epochs: int) -> None:
    assert Training(batch=100, patience=3, patient_steps=100).patience_over(windows) == epochs
    assert Training(batch=100, patience=3, patient_steps=0).patience_over(windows) == 3


def test_what_is_too_little_to_keep_back_is_learnt_from_whole() -> None:
    data = histories(3, longest=6)
    curves = train(network("gru"), data, Training(epochs=4), device=CPU, seed=0)
    assert len(curves) == 4
    assert not any("late_mrr" in row for row in curves)


def test_the_late_slice_is_a_tenth_however_coarse_the_times() -> None:
    """Half of everything happened on the last day: chance, the same each time, says which of it is kept back."""
    day = np.repeat([0, 1], 500)
    eligible = np.ones(1000, dtype=bool)
    eligible[900:] = False
    found = late(day, eligible)
    assert found is not None
    assert found.sum() == 90
    assert day[found].min() == 1
    assert not found[~eligible].any()
    assert 20 < found[500:700].sum() < 70
    np.testing.assert_array_equal(found, late(day, eligible))
    assert np.flatnonzero(late(np.arange(1000), eligible)).tolist() == list(range(810, 900))  # type: ignore[arg-type]
    assert late(day[:190], eligible[:190]) is None


def test_the_latest_target_is_judged_but_not_learnt_from_before() -> None:
    """Only the early targets reach the loss: with the others' items exchanged, the first epoch's loss is the same."""
    found = []
    for exchanged in (False, True):
        data = histories(200)
        late = data.time >= np.quantile(data.time, 0.9)
        if exchanged:
            data.items[late] = data.items[late] % ITEMS + 1
        model = network("gru", dropout=0)
        trainer = Trainer(model, data, Training(batch=512, popularity=0.0), device=CPU, seed=0)
        trainer.learn_from(~late)
        devices.seed_all(1)
        found.append(trainer.epoch(Windows.cut(data.offset, 12)))
    assert found[0] == pytest.approx(found[1], rel=1e-6)


def test_encoding_is_the_state_after_the_last_item() -> None:
    data, model = histories(), network("transformer")
    states = encode(model, data, np.arange(40), device=CPU, block=7)
    for shopper in range(40):
        own = data.items[data.offset[shopper] : data.offset[shopper + 1]][-12:]
        if not len(own):
            assert not states[shopper].any()
            continue
        with torch.no_grad():
            expected = model(torch.tensor(own[None].astype(np.int64)))[0, -1].numpy()
        np.testing.assert_allclose(states[shopper], expected, rtol=1e-4, atol=1e-5)


def test_an_untrained_network_says_what_is_popular() -> None:
    """The softmax of the biases is each item's share; under gBCE their odds are its positives' to its negatives'."""
    frequency = np.array([1.0, 5.0, 2.0, 40.0])
    share = frequency / frequency.sum()
    start = Training().start(frequency)
    np.testing.assert_allclose(torch.softmax(start, dim=0).numpy(), share, rtol=1e-5)
    training = Training(loss="gsasrec", negatives=2, calibration=0.5)
    alpha = 2 / 3
    beta = alpha * (0.5 * (1 - 1 / alpha) + 1 / alpha)
    drawn = np.sqrt(frequency) / np.sqrt(frequency).sum()
    odds = np.exp(training.start(frequency).numpy())
    np.testing.assert_allclose(odds * 2 * drawn, beta * share, rtol=1e-5)
    assert len(Training().start(np.zeros(0))) == 0


def test_gsasrec_finds_what_comes_next_too() -> None:
    ranker = fit("gru", walks(), loss="gsasrec", negatives=6, epochs=30, patience=30)
    assert next_found(ranker, walks()) > 0.8


def test_how_long_ago_can_tell_what_comes_next() -> None:
    """After item 0 at once comes 1, a month later 2, and both as often: only who sees the gap can know."""
    rng = np.random.default_rng(0)
    data = walks(shoppers=300, items=4)
    late = rng.random(300) < 0.5
    item = np.zeros((300, 4), dtype=np.int64)
    item[:, 0] = 3
    item[:, 2] = np.where(late, 2, 1)
    item[:, 3] = 3
    gap = np.where(late, 30 * DAY, 60_000)
    time = NOW - 100 * DAY + np.stack([np.zeros(300), gap, 2 * gap, 3 * gap], axis=1).astype(np.int64)
    data.shopper, data.item, data.time = np.repeat(np.arange(300), 4), item.ravel(), time.ravel()
    data.weight = np.ones(1200)
    rate = {}
    for times in (False, True):
        ranker = fit("gru", data, times=times, epochs=8, patience=8)
        assert isinstance(ranker, SequenceRanker)
        pair = Histories(
            np.tile(np.array([4, 1], dtype=np.int32), 2), np.array([0, 60_000, 0, 30 * DAY]), np.array([0, 2, 4])
        )
        scores = ranker._encode(pair) @ ranker.table.T
        rate[times] = scores[0, 1] - scores[0, 2], scores[1, 2] - scores[1, 1]
    assert min(rate[True]) > 1.0
    assert min(rate[False]) < 0.5
