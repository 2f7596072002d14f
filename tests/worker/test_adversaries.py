"""The adversarial game from the inside: where it starts, what the opponent sees, and which epoch is kept."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy import sparse

from tests.worker.shopping import CLUSTERS, EACH, NOW, SEEN, SHOPPERS, clusters, fit
from worker import device as devices
from worker.rankers.adversaries import CFGAN, AdversarialLearner, Generator
from worker.rankers.base import silent
from worker.rankers.sets import Rows

CPU = torch.device("cpu")
ITEMS = CLUSTERS * EACH


def learner(**changes: Any) -> AdversarialLearner:
    """Return a game about the clusters that has not begun."""
    devices.seed_all(0)
    ranker = CFGAN(**({"width": 16, "batch": 32, "learning_rate": 0.02} | changes))
    made = AdversarialLearner(Generator(ITEMS, ranker.width, ranker.layers), ranker, CPU, np.random.default_rng(0))
    made.read(clusters().matrix())
    return made


def likely(game: AdversarialLearner) -> np.ndarray:
    """Return the likelihoods that everybody's vector is given [shoppers, items]."""
    rows = Rows(clusters().matrix(), CPU)
    with torch.no_grad():
        found: np.ndarray = game._likely(rows.read(np.arange(SHOPPERS))).numpy()
    return found


def test_the_game_starts_from_how_many_turned_to_each_item() -> None:
    game = learner()
    with torch.no_grad():
        game.generator.output.table.zero_()
    share = clusters().matrix().toarray().mean(axis=0)
    np.testing.assert_allclose(likely(game), np.tile(share, (SHOPPERS, 1)), rtol=1e-4)


def test_a_second_reading_does_not_start_over() -> None:
    """Learning from the late slice goes on from what the early ones taught."""
    game = learner()
    game.epoch(silent)
    before = likely(game)
    game.read(sparse.csr_matrix(np.ones((3, ITEMS), dtype=np.float32)))
    np.testing.assert_array_equal(likely(game), before)


def test_the_opponent_sees_all_that_is_the_shoppers_and_a_share_of_the_rest() -> None:
    game = learner(mask_share=0.25)
    real = torch.zeros(2000, ITEMS)
    real[:, :SEEN] = 1.0
    mask = game._mask(real)
    assert (mask[:, :SEEN] == 1).all()
    assert set(mask.unique().tolist()) == {0.0, 1.0}
    assert float(mask[:, SEEN:].mean()) == pytest.approx(0.25, abs=0.01)
    assert not torch.equal(mask, game._mask(real))  # drawn anew each time


@pytest.mark.parametrize("mask_share", [0.0, 0.1])
def test_reconstructed_zeros_keep_the_generator_from_claiming_everything(mask_share: float) -> None:
    """Without them nothing in the game speaks against claiming what is not the shopper's."""
    assert (clusters().item[:SEEN] < EACH).all()  # the first shopper's: all items of the other clusters are foreign
    foreign = {}
    for zero_weight in (0.0, 0.1):
        game = learner(zero_weight=zero_weight, mask_share=mask_share)
        for _ in range(20):
            game.epoch(silent)
        foreign[zero_weight] = float(likely(game)[0, EACH:].mean())
    assert foreign[0.1] < 0.15
    assert foreign[0.0] > 0.4


def test_the_best_epoch_of_both_players_is_gone_on_from(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ranks are given, the second epoch's the best: what learns from everything last starts from its weights."""
    ranks = iter([0.1, 0.9, 0.5, 0.4])
    seen: list[dict[str, torch.Tensor]] = []
    read: list[dict[str, torch.Tensor]] = []

    def judged(self: CFGAN, *_matrices: Any) -> float:
        seen.append({name: value.clone() for name, value in self.network.state_dict().items()})
        return next(ranks)

    honest = AdversarialLearner.read

    def noted(self: AdversarialLearner, matrix: sparse.csr_matrix) -> None:
        read.append({name: value.clone() for name, value in self.generator.state_dict().items()})
        honest(self, matrix)

    monkeypatch.setattr(CFGAN, "_late_rank", judged)
    monkeypatch.setattr(AdversarialLearner, "read", noted)
    ranker = CFGAN(width=8, batch=32, epochs=4)
    ranker.fit(clusters(), NOW, seed=0)
    assert [round(row["late_mrr"], 1) for row in ranker.curves[:4]] == [0.1, 0.9, 0.5, 0.4]
    assert len(read) == 2
    for name, value in read[1].items():
        assert torch.equal(value, seen[1][name]), name
    assert any(name.startswith("opponent.") for name in read[1])
    assert not torch.equal(seen[1]["output.table"], seen[3]["output.table"])


def test_no_file_carries_the_opponent() -> None:
    arrays = fit("cfgan", clusters(), epochs=2).dump()[1]
    assert "network/output.table" in arrays
    assert not [name for name in arrays if "opponent" in name]
