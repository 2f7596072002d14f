"""Texts: words of any language, what is learnt from shoppers in closed form, a BERT read from a local folder."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from scipy import sparse
from torch import Tensor
from torch.nn import functional

from tests.worker.shopping import NOW, clusters, fit, right_cluster
from worker.networks.bert import Reader, WordPieces
from worker.rankers import ridge
from worker.rankers.catalogue import tf_idf, words
from worker.rankers.content import one_hot, price_bands
from worker.rankers.ridge import learnt
from worker.rankers.text import Text, svd_vectors

WIDTH, HEADS, LAYERS, LONGEST = 8, 2, 2, 16
VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "tea", "cup", "##s", "green", "茶", "-", "kind", *map(str, range(4))]
VOCABULARY += [f"##{digit}" for digit in range(4)]


def test_words_of_any_language() -> None:
    assert words("Tea-cup, 2 SIZES") == ["tea", "cup", "2", "sizes"]
    assert words("绿茶杯 Tea") == ["绿茶", "茶杯", "tea"]
    assert words("茶") == ["茶"]
    assert words(" -- ") == []


def test_rare_words_weigh_more_and_rows_have_length_one() -> None:
    found = tf_idf(["tea cup", "tea pot", "tea", "", "绿茶"])
    assert found.shape[0] == 5
    length = np.sqrt(np.asarray(found.multiply(found).sum(axis=1)).ravel())
    np.testing.assert_allclose(length, [1, 1, 1, 0, 1], rtol=1e-6)
    assert found[0].data.min() < found[0].data.max()
    assert tf_idf(["", "-"]).shape == (2, 0)


def test_price_bands_hold_equally_many() -> None:
    price = np.array([1.0, 2, 3, 4, 5, 6, 7, 8, np.nan])
    assert price_bands(price, 4).tolist() == [0, 0, 1, 1, 2, 2, 3, 3, -1]
    assert price_bands(np.full(3, np.nan), 4).tolist() == [-1, -1, -1]


def test_a_rare_code_tells_more() -> None:
    found = one_hot(np.array([0, 0, 0, 1, -1])).toarray()
    assert found[3, 1] == 1.0 > found[0, 0] > 0
    assert not found[4].any()


def test_svd_vectors_keep_cosines() -> None:
    matrix = sparse.random(12, 9, density=0.5, random_state=0, format="csr")
    found = svd_vectors(matrix, 9, seed=0)
    length = np.linalg.norm(matrix.toarray(), axis=1)
    cosine = (matrix @ matrix.T).toarray() / np.maximum(length[:, None] * length, 1e-12)
    np.testing.assert_allclose(found @ found.T, cosine, atol=1e-5)


@pytest.mark.parametrize("prior", [np.eye(4), np.eye(4) + np.fromfunction(lambda row, column: row / 9, (4, 4))])
def test_what_is_learnt_solves_its_normal_equations(prior: np.ndarray) -> None:
    """A·Δ·B + λΔ = C − c·A·P·B, with every matrix built in full."""
    rng = np.random.default_rng(0)
    x = sparse.csr_matrix((rng.random((30, 10)) < 0.3).astype(np.float64))
    v = rng.normal(size=(10, 4))
    found = learnt(x, v.astype(np.float32), 0.5, prior)
    v = v.astype(np.float32).astype(np.float64)
    gram = (x.T @ x).toarray()
    a, b = v.T @ gram @ v, v.T @ v
    c = v.T @ (gram - np.diag(np.diag(gram))) @ v
    scale = max(np.trace(prior.T @ c) / np.trace(prior.T @ a @ prior @ b), 1e-6)
    delta = found - scale * prior
    turns = x.getnnz(axis=1)
    penalty = 0.5 * np.outer(np.linalg.eigvalsh(a), np.linalg.eigvalsh(b)).mean()
    penalty *= 1 + ridge.YOUNG / turns[turns > 1].sum()
    np.testing.assert_allclose(a @ delta @ b + penalty * delta, c - scale * a @ prior @ b, rtol=1e-8, atol=1e-8)
    np.testing.assert_array_equal(learnt(sparse.csr_matrix((30, 10)), v, 0.5, prior), prior)


def test_a_few_shoppers_do_not_talk_it_out_of_what_titles_say(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten shoppers at random move the plain similarity by little; with the old penalty they would turn it over."""
    rng = np.random.default_rng(0)
    x = sparse.csr_matrix((rng.random((10, 60)) < 0.05).astype(np.float64))
    v = rng.normal(size=(60, 8))

    def moved() -> float:
        found = learnt(x, v, 0.3)
        return float(np.linalg.norm(found / np.trace(found) * 8 - np.eye(8)))

    assert moved() < 0.2
    monkeypatch.setattr(ridge, "YOUNG", 0)
    assert moved() > 1


def test_it_learns_which_titles_go_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Titles alone put 'cup' beside 'cup'; shoppers who take tea with cups teach that 'cup' goes with 'tea'."""
    monkeypatch.setattr(ridge, "YOUNG", 30)
    v = np.eye(4, dtype=np.float32)[[0, 0, 1, 1, 2, 2, 3, 3]]  # tea, tea, cup, cup, nut, nut, jam, jam
    x = sparse.csr_matrix(np.array([[1, 0, 1, 0, 0, 0, 0, 0], [0, 1, 0, 1, 0, 0, 0, 0], [0, 0, 0, 0, 1, 0, 1, 0]] * 5))
    found = learnt(x, v, 0.01)
    assert found[0, 1] > found[0, 0]
    assert found[0, 1] > found[0, 2]
    far = learnt(x, v, 1e9)
    np.testing.assert_allclose(far, far[0, 0] * np.eye(4), atol=1e-6)


def weights(seed: int = 0) -> dict[str, Tensor]:
    """Return a tiny BERT's weights at random, under their usual names."""
    torch.manual_seed(seed)
    found = {
        "embeddings.word_embeddings.weight": torch.randn(len(VOCABULARY), WIDTH),
        "embeddings.position_embeddings.weight": torch.randn(LONGEST, WIDTH),
        "embeddings.token_type_embeddings.weight": torch.randn(2, WIDTH),
    }
    dense = {
        "attention.self.query": (WIDTH, WIDTH), "attention.self.key": (WIDTH, WIDTH),
        "attention.self.value": (WIDTH, WIDTH), "attention.output.dense": (WIDTH, WIDTH),
        "intermediate.dense": (12, WIDTH), "output.dense": (WIDTH, 12),
    }  # fmt: skip
    norms = ["embeddings.LayerNorm"]
    for layer in range(LAYERS):
        start = f"encoder.layer.{layer}."
        norms += [f"{start}attention.output.LayerNorm", f"{start}output.LayerNorm"]
        for name, shape in dense.items():
            found |= {f"{start}{name}.weight": torch.randn(shape), f"{start}{name}.bias": torch.randn(shape[0])}
    for name in norms:
        found |= {f"{name}.weight": torch.rand(WIDTH) + 0.5, f"{name}.bias": torch.randn(WIDTH)}
    return found


CONFIG = {
    "model_type": "bert", "hidden_act": "gelu", "hidden_size": WIDTH, "num_attention_heads": HEADS,
    "num_hidden_layers": LAYERS, "intermediate_size": 12, "vocab_size": len(VOCABULARY),
    "max_position_embeddings": LONGEST, "type_vocab_size": 2, "layer_norm_eps": 1e-12,
}  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))
    (tmp_path / "vocab.txt").write_text("\n".join(VOCABULARY) + "\n", encoding="utf-8")
    save_file({f"bert.{name}": value for name, value in weights().items()}, tmp_path / "model.safetensors")
    return tmp_path


def by_hand(ids: list[int]) -> np.ndarray:
    """Return the sentence vector of one text, layer by layer as the paper has it."""
    w = weights()

    def linear(name: str, x: Tensor) -> Tensor:
        return x @ w[f"{name}.weight"].T + w[f"{name}.bias"]

    def norm(name: str, x: Tensor) -> Tensor:
        return functional.layer_norm(x, (WIDTH,), w[f"{name}.weight"], w[f"{name}.bias"], 1e-12)

    x = w["embeddings.word_embeddings.weight"][ids] + w["embeddings.position_embeddings.weight"][: len(ids)]
    x = norm("embeddings.LayerNorm", x + w["embeddings.token_type_embeddings.weight"][0])
    for layer in range(LAYERS):
        start = f"encoder.layer.{layer}."
        q, k, v = (linear(f"{start}attention.self.{name}", x) for name in ("query", "key", "value"))
        size = WIDTH // HEADS
        seen = []
        for head in range(HEADS):
            part = slice(head * size, (head + 1) * size)
            seen.append(torch.softmax(q[:, part] @ k[:, part].T / size**0.5, dim=-1) @ v[:, part])
        x = norm(f"{start}attention.output.LayerNorm", x + linear(f"{start}attention.output.dense", torch.cat(seen, 1)))
        inner = functional.gelu(linear(f"{start}intermediate.dense", x))
        x = norm(f"{start}output.LayerNorm", x + linear(f"{start}output.dense", inner))
    return functional.normalize(x.mean(dim=0), dim=0).numpy()


def test_pieces_are_the_longest_there_are() -> None:
    pieces = WordPieces(VOCABULARY)
    said = [VOCABULARY[code] for code in pieces.tokens("Téa-cups, 绿茶 zzz", 16)]
    assert said == ["[CLS]", "tea", "-", "cup", "##s", "[UNK]", "[UNK]", "茶", "[UNK]", "[SEP]"]
    assert len(pieces.tokens("tea " * 40, 10)) == 10
    with pytest.raises(ValueError, match=r"lacks \[CLS\], \[SEP\]"):
        WordPieces(["[PAD]", "[UNK]", "tea"])


def test_a_bert_is_read_as_it_was_written(folder: Path) -> None:
    """Each text alone by hand, and in a batch with longer and shorter ones: padding changes nothing."""
    texts = ["green tea", "cups", "", "tea cup tea cup green"]
    found = Reader(folder).vectors(texts)
    pieces = WordPieces(VOCABULARY)
    for text, vector in zip(texts, found, strict=True):
        expected = by_hand(pieces.tokens(text, LONGEST)) if text else np.zeros(WIDTH)
        np.testing.assert_allclose(vector, expected, atol=1e-5)


def test_what_is_no_such_model_is_refused_in_words(folder: Path) -> None:
    (folder / "config.json").write_text(json.dumps({**CONFIG, "model_type": "gpt2"}))
    with pytest.raises(ValueError, match="is a gpt2 with gelu: only models of BERT's layout"):
        Reader(folder)
    (folder / "config.json").write_text(json.dumps({**CONFIG, "num_hidden_layers": 3}))
    with pytest.raises(ValueError, match=r"does not fit config\.json"):
        Reader(folder)
    (folder / "vocab.txt").unlink()
    with pytest.raises(ValueError, match=r"lacks vocab\.txt\. Name one that holds"):
        Reader(folder)


def test_the_text_ranker_reads_with_a_configured_model(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its vectors are the model's, and clusters are found by them; the card's settings say which model it was."""
    monkeypatch.setenv("PERSONALIZATION_TEXT_MODEL", str(folder))
    ranker = fit("text", clusters())
    assert isinstance(ranker, Text)
    assert ranker.settings["model"] == str(folder)
    assert ranker.read.shape == (32, WIDTH)
    assert right_cluster(ranker, clusters()) > 0.4
    monkeypatch.delenv("PERSONALIZATION_TEXT_MODEL")
    assert Text().model == ""
    again = Text(**ranker.settings)
    again.fit(clusters(), NOW, seed=3)
    np.testing.assert_array_equal(again.score(np.arange(5)), ranker.score(np.arange(5)))
