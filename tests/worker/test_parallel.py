"""Two processes that train together, started for real, end with the weights of one on the whole batch."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.worker.shopping import NOW, walks
from tests.worker.test_sequence import ITEMS, histories
from worker import device as devices
from worker import parallel
from worker.parallel import Group, ParallelFailed
from worker.rankers import RANKERS
from worker.rankers.sequence.apart import train_apart
from worker.rankers.sequence.fit import Trainer, Training, train
from worker.rankers.sequence.histories import Windows
from worker.rankers.sequence.network import SequenceEncoder, Shape

CPU = torch.device("cpu")
SHAPE = Shape(ITEMS, "gru", width=8, blocks=1, length=12, dropout=0.0)
TRAINING = Training(epochs=3, batch=7, learning_rate=1e-2, negatives=ITEMS)
"""Seven windows a batch: the parts of two processes are never equal, and every item is compared."""


def untrained() -> SequenceEncoder:
    devices.seed_all(0)
    return SequenceEncoder(SHAPE, torch.linspace(-1, 1, ITEMS))


def weights(encoder: SequenceEncoder) -> np.ndarray:
    return torch.cat([value.detach().reshape(-1) for value in encoder.state_dict().values()]).numpy()


def test_two_processes_learn_what_one_does() -> None:
    alone, together = untrained(), untrained()
    curves = train(alone, histories(), TRAINING, device=CPU, seed=0)
    told: list[float] = []
    same = train_apart(together, histories(), TRAINING, 2, 0, told.append)
    assert np.abs(weights(alone) - weights(untrained())).max() > 0.05, "something was learnt"
    np.testing.assert_allclose(weights(together), weights(alone), atol=1e-4)
    assert [row.keys() for row in same] == [row.keys() for row in curves]
    for one, other in zip(curves, same, strict=True):
        assert one == pytest.approx(other, rel=1e-4)
    assert told == sorted(told)
    assert told[-1] > 0


def test_pre_training_goes_on_as_one_too() -> None:
    training = replace(TRAINING, epochs=1, pretraining=2)
    together, alone = untrained(), untrained()  # the last of them leaves the seed as a process finds it
    curves = train(alone, histories(), training, device=CPU, seed=0)
    same = train_apart(together, histories(), training, 2, 0)
    assert ["contrast" in row for row in same[:3]] == [True, True, False]
    np.testing.assert_allclose(weights(together), weights(alone), atol=1e-4)
    assert same[:2] == [pytest.approx(row, rel=1e-4) for row in curves[:2]]


def gradients(group: Group) -> tuple[np.ndarray, int]:
    """Return the summed gradient of one batch's part, and how many targets it holds."""
    encoder = untrained()
    trainer = Trainer(encoder, histories(), TRAINING, device=CPU, seed=0, group=group)
    trainer.learn_from(np.ones(len(histories().items), dtype=bool))
    windows = Windows.cut(histories().offset, SHAPE.length).take(group.part(np.arange(7)))
    start, size = torch.from_numpy(windows.start), torch.from_numpy(windows.size)
    trainer._batch_loss(start, size, int(windows.size.max())).backward()
    found = torch.cat([parameter.grad.reshape(-1) for parameter in encoder.parameters() if parameter.grad is not None])
    return found.numpy(), windows.count(trainer.targets)


def test_the_parts_add_up_to_the_whole() -> None:
    """And the control: the mean of the parts' means, torch's wrapper's, is another gradient."""
    whole, counted = gradients(parallel.ALONE)
    (first, one), (second, other) = (gradients(Group(rank, 2)) for rank in range(2))
    assert one + other == counted
    assert one != other
    np.testing.assert_allclose((first + second) / counted, whole / counted, atol=1e-6)
    assert np.abs((first / one + second / other) / 2 - whole / counted).max() > 1e-3


def test_a_part_alone_learns_something_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """The control: without the sum over the processes the weights differ by far more than the comparison allows."""
    monkeypatch.setattr(Group, "average", lambda self, network, loss: loss)
    whole, half = untrained(), untrained()
    train(whole, histories(), TRAINING, device=CPU, seed=0)
    train(half, histories(), TRAINING, device=CPU, seed=0, group=Group(0, 2))
    assert np.abs(weights(half) - weights(whole)).max() > 0.01


def test_a_batch_smaller_than_the_group_is_no_trouble() -> None:
    few = histories(shoppers=4)
    alone, together = untrained(), untrained()
    train(alone, few, TRAINING, device=CPU, seed=0)
    train_apart(together, few, TRAINING, 2, 0)
    np.testing.assert_allclose(weights(together), weights(alone), atol=1e-4)


def test_a_ranker_is_trained_so_where_the_environment_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = {"epochs": 2, "dropout": 0.0, "width": 8, "negatives": 4096}
    data = walks()
    alone, together = RANKERS["gru"](**settings), RANKERS["gru"](**settings)
    alone.fit(data, NOW)
    monkeypatch.setenv("PERSONALIZATION_TRAIN_PROCESSES", "2")
    together.fit(data, NOW)
    everybody = np.arange(alone.shoppers)
    np.testing.assert_allclose(together.score(everybody), alone.score(everybody), atol=1e-3)


def test_what_goes_wrong_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(ParallelFailed, match=r"task\.json"):
        parallel.launch("worker.rankers.sequence.apart", tmp_path, 2, lambda done: None)


def test_whoever_stops_the_launch_ends_the_processes() -> None:
    def stop(done: float) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_apart(untrained(), histories(), TRAINING, 2, 0, stop)


def test_the_first_process_tells_how_far_it_is(tmp_path: Path) -> None:
    parallel.teller(Group(1, 2), tmp_path)(0.7)
    assert parallel._told(tmp_path) == 0.0
    parallel.teller(Group(0, 2), tmp_path)(0.5)
    assert parallel._told(tmp_path) == 0.5
