"""Precision and determinism have one home: what is forced reaches every family, harms none, and repeats bit by bit."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from tests.worker import planted
from tests.worker.shopping import clusters, fit, next_found, right_cluster, walks
from worker import device as devices
from worker.estimators.four_part import FourPartEstimator
from worker.estimators.nets import DCNv2, DeepFM, Net
from worker.rankers import RANKERS

CPU, GPU = torch.device("cpu"), torch.device("cuda")
FAMILIES = ("mult_vae", "rec_vae", "cfgan", "light_gcn", "gat", "gru", "cnn_lstm", "transformer", "hstu")
NETS: tuple[type[Net] | type[FourPartEstimator], ...] = (DeepFM, DCNv2, FourPartEstimator)


@pytest.fixture(autouse=True)
def clean(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Start without either setting and leave torch as it was."""
    for name in ("PRECISION", "DETERMINISTIC"):
        monkeypatch.delenv(f"PERSONALIZATION_{name}", raising=False)
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    yield
    torch.use_deterministic_algorithms(False)


def found(name: str) -> float:
    """Return how much of what is planted a ranker finds."""
    ordered = RANKERS[name].needs.order
    data = walks() if ordered else clusters()
    ranker = fit(name, data)
    return next_found(ranker, data) if ordered else right_cluster(ranker, data)


def everybody(name: str, seed: int = 3) -> np.ndarray:
    return fit(name, clusters(), seed=seed, epochs=2).score(np.arange(20))


def scored(kind: type[Net] | type[FourPartEstimator], seed: int = 1) -> np.ndarray:
    """Return a net's probabilities for others than it learnt from [rows, heads]."""
    net = kind()
    net.fit(planted.samples(1500), seed=seed, progress=planted.no_progress)
    return net.score(planted.held_out())


def test_auto_is_float32_on_a_cpu_and_bfloat16_on_a_gpu_that_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert devices.precision(CPU) == "float32"
    for able, expected in ((True, "bfloat16"), (False, "float32")):
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda able=able: able)
        assert devices.precision(GPU) == expected
    monkeypatch.setenv("PERSONALIZATION_PRECISION", "float32")
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: True)
    assert devices.precision(GPU) == "float32"


@pytest.mark.parametrize(
    ("wanted", "kind"), [("auto", torch.float32), ("", torch.float32), ("bfloat16", torch.bfloat16)]
)
def test_a_step_multiplies_in_the_precision_asked_for(
    wanted: str, kind: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PERSONALIZATION_PRECISION", wanted)
    one = torch.ones(2, 2)
    with devices.autocast(CPU):
        assert (one @ one).dtype == kind
    assert (one @ one).dtype == torch.float32


def test_words_that_mean_nothing_are_refused_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PERSONALIZATION_PRECISION", "half")
    with pytest.raises(ValueError, match="PRECISION is 'half' and must be auto, float32 or bfloat16"):
        devices.precision(CPU)
    monkeypatch.setenv("PERSONALIZATION_DETERMINISTIC", "perhaps")
    with pytest.raises(ValueError, match="DETERMINISTIC is 'perhaps' and must be 1 or 0"):
        devices.seed_all(0)


@pytest.mark.parametrize("name", FAMILIES)
def test_in_bfloat16_a_ranker_finds_what_is_planted_too(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before, exact = found(name), everybody(name)
    monkeypatch.setenv("PERSONALIZATION_PRECISION", "bfloat16")
    assert found(name) > before - 0.15
    rounded = everybody(name)
    assert rounded.dtype == np.float32
    assert not np.array_equal(rounded, exact)  # else the setting did not reach it


@pytest.mark.parametrize("kind", NETS, ids=lambda kind: kind.name)
def test_in_bfloat16_a_net_predicts_nearly_the_same(
    kind: type[Net] | type[FourPartEstimator], monkeypatch: pytest.MonkeyPatch
) -> None:
    y, exact = planted.held_out().y[:, 0], scored(kind)
    monkeypatch.setenv("PERSONALIZATION_PRECISION", "bfloat16")
    rounded = scored(kind)
    assert roc_auc_score(y, rounded[:, 0]) == pytest.approx(roc_auc_score(y, exact[:, 0]), abs=0.01)
    assert np.abs(rounded - exact).mean() < 0.03
    assert not np.array_equal(rounded, exact)


def test_deterministic_mode_refuses_what_cannot_be_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    at, values = torch.tensor([0, 0]), torch.tensor([1.0, 2.0])
    monkeypatch.setenv("PERSONALIZATION_DETERMINISTIC", "1")
    devices.seed_all(0)
    with pytest.raises(RuntimeError, match="does not have a deterministic implementation"):
        torch.zeros(1).put_(at, values)
    monkeypatch.setenv("PERSONALIZATION_DETERMINISTIC", "0")
    devices.seed_all(0)
    torch.zeros(1).put_(at, values)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", FAMILIES)
def test_deterministic_runs_of_a_ranker_are_equal_bit_by_bit(
    name: str, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PERSONALIZATION_DETERMINISTIC", "1")
    monkeypatch.setenv("PERSONALIZATION_PRECISION", precision)
    first = everybody(name)
    np.testing.assert_array_equal(first, everybody(name))
    assert not np.array_equal(first, everybody(name, seed=4))


@pytest.mark.parametrize("kind", NETS, ids=lambda kind: kind.name)
def test_deterministic_runs_of_a_net_are_equal_bit_by_bit(
    kind: type[Net] | type[FourPartEstimator], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PERSONALIZATION_DETERMINISTIC", "1")
    first = scored(kind)
    np.testing.assert_array_equal(first, scored(kind))
    assert not np.array_equal(first, scored(kind, seed=2))


def test_a_model_card_tells_both(monkeypatch: pytest.MonkeyPatch) -> None:
    threads = torch.get_num_threads()
    assert devices.describe(CPU) == {"threads": threads, "precision": "float32", "deterministic": False}
    monkeypatch.setenv("PERSONALIZATION_PRECISION", "bfloat16")
    monkeypatch.setenv("PERSONALIZATION_DETERMINISTIC", "1")
    assert devices.describe(CPU) == {"threads": threads, "precision": "bfloat16", "deterministic": True}
