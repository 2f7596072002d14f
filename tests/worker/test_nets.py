"""The interaction networks: the papers' formulas, what each part adds, and an estimator that says what it is."""

from __future__ import annotations

from itertools import combinations
from typing import Any

import numpy as np
import pytest
import torch

from personalization.features.specification import INDEX, NAMES
from personalization.types import HEADS
from tests.worker import planted
from worker.estimators.nets import DNN, NETS, SEQUENCE, DCNv2, DeepFM, MMoE, Net
from worker.networks.interactions import Cross, Experts, FactorisationMachine, InteractionNetwork, Shape, Tables

SMALL = Shape(numeric=3, codes=(4, 2), heads=2, embedding=5, width=6, layers=1, experts=3, dropout=0.0)
TINY: dict[str, Any] = {"width": 8, "layers": 1, "embedding": 2, "experts": 2}


def fitted(kind: type[Net] = DCNv2, rows: int = 600, seed: int = 1, **settings: Any) -> Net:
    estimator = kind(**{**TINY, **settings})
    estimator.fit(planted.samples(rows), seed=seed, progress=planted.no_progress)
    return estimator


def columns(rows: int = 7) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return numeric columns, codes and no sequence."""
    torch.manual_seed(0)
    codes = torch.stack([torch.randint(0, size, (rows,)) for size in SMALL.codes], dim=1)
    return torch.randn(rows, SMALL.numeric), codes, torch.zeros(rows, 0, 5)


def test_the_factorisation_machine_sums_over_all_pairs() -> None:
    """In linear time, and the same as w·x + Σ ⟨v_i, v_j⟩·x_i·x_j written out."""
    numeric, codes, _none = columns()
    machine, tables = FactorisationMachine(SMALL), Tables(SMALL.codes, SMALL.embedding, 1.0)
    torch.nn.init.normal_(machine.vectors)
    torch.nn.init.normal_(machine.of_value)
    embedded = tables(codes)
    for row, logits in enumerate(machine(numeric, codes, embedded)):
        vectors = [*(machine.vectors * numeric[row][:, None]), *embedded[row]]
        pairs = sum((a @ b).item() for a, b in combinations(vectors, 2))
        linear = numeric[row] @ machine.of_value
        for code, start in zip(codes[row], (0, SMALL.codes[0]), strict=True):
            linear = linear + machine.of_code.weight[start + code]
        assert logits.tolist() == pytest.approx((linear + pairs).tolist(), abs=1e-4)


def test_each_head_weighs_the_pairs_by_itself() -> None:
    numeric, codes, _none = columns()
    machine = FactorisationMachine(SMALL)
    torch.nn.init.zeros_(machine.of_code.weight)
    embedded = torch.randn(len(codes), 2, SMALL.embedding)
    with torch.no_grad():
        machine.dimensions[1] = -1.0
        logits = machine(numeric, codes, embedded)
    torch.testing.assert_close(logits[:, 0], -logits[:, 1])


@pytest.mark.parametrize("rank", [1, 32])
def test_cross_layers_follow_the_formula(rank: int) -> None:
    """x_{l+1} = x_0 ⊙ (W·x_l + b) + x_l, with W whole or of low rank."""
    cross, x = Cross(6, 2, rank), torch.randn(4, 6)
    expected = x
    for layer in cross.maps:
        parts = list(layer.parameters())
        if rank == 1:
            low, high, bias = parts
            assert (low.shape, high.shape) == ((1, 6), (6, 1))
            weight = high @ low
        else:
            weight, bias = parts
        expected = x * (expected @ weight.T + bias) + expected
    torch.testing.assert_close(cross(x), expected)


def test_a_gate_mixes_the_experts_for_its_head() -> None:
    mixture, x = Experts(5, SMALL), torch.randn(4, 5)
    for gate, found in zip(mixture.gate.weight.split(SMALL.experts), mixture(x), strict=True):
        shares = torch.softmax(x @ gate.T, dim=-1)
        assert shares.shape == (4, SMALL.experts)
        expected = [shares[:, [place]] * expert(x) for place, expert in enumerate(mixture.experts)]
        torch.testing.assert_close(found, torch.stack(expected).sum(dim=0))


def test_a_gate_can_choose_one_expert_and_leave_the_others_alone() -> None:
    mixture = Experts(5, SMALL)
    x = torch.rand(4, 5) + 0.1
    with torch.no_grad():
        mixture.gate.weight[: SMALL.experts] = 0.0
        mixture.gate.weight[1] = 1e4
    mixture(x)[0].square().sum().backward()
    learns = [any(bool(values.grad.any()) for values in expert.parameters() if values.grad is not None)
              for expert in mixture.experts]  # fmt: skip
    assert learns == [False, True, False]


@pytest.mark.parametrize("sharing", ["shared", "mmoe"])
@pytest.mark.parametrize("interaction", ["dnn", "deepfm", "dcnv2"])
def test_every_interaction_goes_with_every_way_to_share(interaction: Any, sharing: Any) -> None:
    net = InteractionNetwork(SMALL, interaction, sharing).eval()
    inputs = columns()
    logits = net(*inputs)
    assert logits.shape == (7, SMALL.heads)
    logits.square().sum().backward()
    assert all(values.grad is not None for values in net.parameters())


def test_training_starts_from_each_outcomes_share() -> None:
    for sharing in ("shared", "mmoe"):
        net = InteractionNetwork(SMALL, "dnn", sharing).eval()
        with torch.no_grad():
            before = net(*columns())
            net.start_from([-2.0, 1.5])
            moved = net(*columns()) - before
        assert (moved[:, 0] < 0).all()
        assert (moved.std(dim=0) < 1e-5).all()


def test_a_code_that_training_did_not_meet_stands_for_any_that_it_did() -> None:
    tables = Tables((4, 2), 3, 1.0)
    met = tables.weight.detach().clone()
    tables.complete(torch.tensor([[1, 0], [1, 0], [3, 1]]))
    after = tables.weight.detach()
    torch.testing.assert_close(after[[1, 3, 4, 5]], met[[1, 3, 4, 5]])
    torch.testing.assert_close(after[[0, 2]], ((2 * met[1] + met[3]) / 3).expand(2, 3))


def test_a_new_offer_is_scored_like_the_average_one() -> None:
    """No worse than the offers known: its score lies among theirs, other columns being equal."""
    estimator, test = fitted(DNN, 1500), planted.held_out(200)
    scores = []
    for code in range(planted.OFFERS + 1):
        given = test.take(np.arange(len(test)))
        given.x[:, INDEX["offer"]] = code
        scores.append(estimator.score(given)[:, HEADS.index("redeem")].mean())
    assert min(scores[1:]) < scores[0] < max(scores[1:])


@pytest.mark.parametrize("kind", NETS)
def test_columns_that_matter_are_said_to_matter(kind: type[Net]) -> None:
    """Offer, age and orders decide; tiers are noise, and what never varied is worth nothing."""
    shares = fitted(kind, 2000).importances()
    offer = sum(shares[name] for name in ("offer", "offer_kind", "amount"))
    assert min(offer, shares["age"], shares["orders_7d"]) > 5 * shares["tier"]
    assert offer + shares["age"] + shares["orders_7d"] > 0.8
    assert set(shares) <= set(NAMES)
    assert shares["city"] == 0


def test_measuring_importances_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    test = planted.held_out(50)
    before = fitted().score(test)
    monkeypatch.setattr(Net, "_permuted", lambda *_: {})
    np.testing.assert_array_equal(fitted().score(test), before)


def test_the_epochs_that_were_found_best_teach_everybody() -> None:
    """A fit that reuses them keeps nobody back, and tells the curves and shares of the fit that did."""
    first = fitted(rows=1500)
    again = DCNv2(**TINY)
    again.reuse(first)
    told: list[float] = []
    again.fit(planted.samples(1500), seed=1, progress=told.append)
    assert len(told) == first.epochs + 1
    assert (again.epochs, again.curves, again.shares) == (first.epochs, first.curves, first.shares)
    test = planted.held_out(50)
    assert not np.array_equal(again.score(test), first.score(test))


def test_its_curves_are_kept_epoch_by_epoch() -> None:
    curves = fitted().curves
    assert all(set(epoch) == {"train_loss", "watch_loss", "watch_accuracy"} for epoch in curves)
    assert curves[-1]["train_loss"] < curves[0]["train_loss"]


def test_the_sequence_is_read_where_it_is_asked_for() -> None:
    """The same columns with other events: only a network with the tower tells them apart."""
    test = planted.held_out(20)
    other = test.take(np.arange(20))
    other.sequence = np.roll(test.sequence, 1, axis=0)
    for kind in (DNN, DeepFM, MMoE):
        without, reading = fitted(kind, 200), fitted(kind, 200, sequence=True)
        np.testing.assert_array_equal(without.score(test), without.score(other))
        assert not np.allclose(reading.score(test), reading.score(other), atol=1e-7)
        assert SEQUENCE not in without.importances()
        assert SEQUENCE in reading.importances()


def test_its_settings_come_back_from_its_file() -> None:
    estimator = fitted(MMoE, 300, interaction="deepfm", sequence=True)
    restored = MMoE.restore(*estimator.dump())
    assert restored.settings == estimator.settings
    test = planted.held_out(30)
    np.testing.assert_array_equal(restored.score(test), estimator.score(test))
    assert restored.epochs == estimator.epochs


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"interaction": "transformer"}, "dnn: interaction is 'transformer' and must be one of dnn, deepfm, dcnv2."),
        ({"width": 0}, "dnn: width is 0 and must be a whole number from 4 to 1024."),
        ({"dropout": 1.0}, "dnn: dropout is 1.0 and must be a number from 0 to 0.9."),
    ],
)
def test_a_setting_out_of_bounds_is_refused(settings: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        DNN(**settings)


def test_what_cannot_be_learnt_does_not_disturb_what_can() -> None:
    """An outcome that everybody had teaches nothing: the other heads learn as if nobody knew it."""
    test = planted.held_out(50)
    found = []
    for value in (1.0, np.nan):
        estimator = DCNv2(**TINY)
        given = planted.relabelled(planted.samples(400), "view", value)
        estimator.fit(given, seed=1, progress=planted.no_progress)
        found.append(estimator.score(test)[:, HEADS.index("redeem")])
    np.testing.assert_array_equal(found[0], found[1])
