"""Sentence vectors from a BERT-family model that lies in a local folder: read only, offline, never unpickled.

The folder is one as its users know it: ``config.json``, ``vocab.txt`` (WordPiece) and ``model.safetensors``. BERT, its
distilled children of the same layout and the MiniLM sentence models have it. The network is frozen: a post-norm
transformer (Devlin et al. 2019, arXiv 1810.04805); a text's vector is the mean of its last states, of length 1 (Reimers
and Gurevych 2019, arXiv 1908.10084).
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor, nn

from worker import device as devices

MOST_TOKENS = 128
AT_ONCE = 64
LONGEST_WORD = 100
FILES = ("config.json", "vocab.txt", "model.safetensors")


class Reader:
    """Texts → vectors. ValueError, saying what is wrong with the folder, unless it holds such a model."""

    def __init__(self, folder: str | Path) -> None:
        folder = Path(folder)
        missing = [name for name in FILES if not (folder / name).is_file()]
        if missing:
            raise ValueError(
                f"The text model's folder {folder} lacks {', '.join(missing)}. Name one that holds {', '.join(FILES)} "
                "in PERSONALIZATION_TEXT_MODEL, or unset it for TF-IDF."
            )
        self.config = json.loads((folder / "config.json").read_text())
        self.pieces = WordPieces((folder / "vocab.txt").read_text().splitlines(), lower=_lower(folder))
        self.network = BertEncoder(self.config)
        self.network.take(load_file(folder / "model.safetensors"))
        self.network.eval()

    @torch.no_grad()
    def vectors(
        self, texts: Sequence[str], progress: Callable[[float], None] = lambda done: None
    ) -> NDArray[np.float32]:
        """Return [texts, d], rows of length 1; a text without a word gets zeros."""
        device = devices.pick()
        self.network.to(device)
        most = min(MOST_TOKENS, int(self.config["max_position_embeddings"]))
        tokens = [self.pieces.tokens(text, most) for text in texts]
        found = np.zeros((len(texts), int(self.config["hidden_size"])), dtype=np.float32)
        order = np.argsort([len(row) for row in tokens], kind="stable")
        order = order[[len(tokens[at]) > 2 for at in order]]
        for start in range(0, len(order), AT_ONCE):
            some = order[start : start + AT_ONCE]
            width = len(tokens[some[-1]])
            ids = torch.tensor([tokens[at] + [self.pieces.pad] * (width - len(tokens[at])) for at in some])
            real = torch.arange(width) < torch.tensor([len(tokens[at]) for at in some])[:, None]
            states = self.network(ids.to(device), real.to(device)) * real.to(device)[:, :, None]
            mean = nn.functional.normalize(states.sum(dim=1), dim=-1)  # the length is divided out: so is the count
            found[some] = mean.cpu().numpy()
            progress((start + len(some)) / len(order))
        return found


def _lower(folder: Path) -> bool:
    """Return whether the model's tokeniser lowers case: as ``tokenizer_config.json`` says, else it does."""
    own = folder / "tokenizer_config.json"
    return bool(json.loads(own.read_text()).get("do_lower_case", True)) if own.is_file() else True


class WordPieces:
    """BERT's tokeniser: words, signs and single Chinese characters, each as the longest pieces that are in the list."""

    def __init__(self, vocabulary: Sequence[str], *, lower: bool = True) -> None:
        self.code = {piece: at for at, piece in enumerate(vocabulary)}
        lacking = [name for name in ("[PAD]", "[UNK]", "[CLS]", "[SEP]") if name not in self.code]
        if lacking:
            raise ValueError(f"vocab.txt lacks {', '.join(lacking)}: it is not a WordPiece vocabulary.")
        self.lower, self.pad = lower, self.code["[PAD]"]

    def tokens(self, text: str, most: int) -> list[int]:
        """Return [CLS] pieces [SEP], ``most`` codes at most."""
        inner: list[int] = []
        for word in self._words(text):
            inner += self._pieces(word)
        return [self.code["[CLS]"], *inner[: most - 2], self.code["[SEP]"]]

    def _words(self, text: str) -> list[str]:
        text = unicodedata.normalize("NFD", text.lower()) if self.lower else text
        apart = []
        for sign in text:
            kind = unicodedata.category(sign)
            if self.lower and kind == "Mn":
                continue
            if kind.startswith("C") and not sign.isspace():
                continue
            alone = _is_punctuation(sign, kind) or "\u3400" <= sign <= "\u4dbf" or "\u4e00" <= sign <= "\u9fff"
            apart.append(f" {sign} " if alone else sign)
        return "".join(apart).split()

    def _pieces(self, word: str) -> list[int]:
        if len(word) > LONGEST_WORD:
            return [self.code["[UNK]"]]
        found: list[int] = []
        start = 0
        while start < len(word):
            end = len(word)
            while end > start and (("##" if start else "") + word[start:end]) not in self.code:
                end -= 1
            if end == start:
                return [self.code["[UNK]"]]
            found.append(self.code[("##" if start else "") + word[start:end]])
            start = end
        return found


def _is_punctuation(sign: str, kind: str) -> bool:
    """Every ASCII sign that is neither letter, digit nor space counts, as BERT has it."""
    return kind.startswith("P") or (sign.isascii() and not sign.isalnum() and not sign.isspace())


class BertEncoder(nn.Module):
    """Embeddings of pieces, places and sentence 0, normalised; then post-norm transformer layers."""

    def __init__(self, config: dict[str, Any]) -> None:
        super().__init__()
        if config.get("model_type", "bert") != "bert" or config.get("hidden_act", "gelu") != "gelu":
            raise ValueError(
                f"The text model is a {config.get('model_type')} with {config.get('hidden_act')}: only models of "
                "BERT's layout (model_type bert, hidden_act gelu) are read."
            )
        width, epsilon = int(config["hidden_size"]), float(config.get("layer_norm_eps", 1e-12))
        self.piece = nn.Embedding(int(config["vocab_size"]), width)
        self.place = nn.Embedding(int(config["max_position_embeddings"]), width)
        self.sentence = nn.Embedding(int(config.get("type_vocab_size", 2)), width)
        self.norm = nn.LayerNorm(width, eps=epsilon)
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(
                width, int(config["num_attention_heads"]), int(config["intermediate_size"]), dropout=0.0,
                activation="gelu", layer_norm_eps=epsilon, batch_first=True,
            )
            for _ in range(int(config["num_hidden_layers"]))
        )  # fmt: skip

    def forward(self, ids: Tensor, real: Tensor) -> Tensor:
        """Return the last states [texts, length, width] of piece codes [texts, length]; ``real`` marks no padding."""
        x = self.piece(ids) + self.place.weight[: ids.shape[1]] + self.sentence.weight[0]
        x = self.norm(x)
        for layer in self.layers:
            x = layer(x, src_key_padding_mask=~real)
        found: Tensor = x
        return found

    def take(self, weights: dict[str, Tensor]) -> None:
        """Take weights under their usual names (``encoder.layer.0.attention.self.query.weight`` …), as float32."""
        named = {name.removeprefix("bert."): value.float() for name, value in weights.items()}
        try:
            self.load_state_dict(self._renamed(named))
        except (KeyError, RuntimeError) as error:
            raise ValueError(f"model.safetensors does not fit config.json: {error}") from None

    def _renamed(self, named: dict[str, Tensor]) -> dict[str, Tensor]:
        parts = ("weight", "bias")
        found = {
            "piece.weight": named["embeddings.word_embeddings.weight"],
            "place.weight": named["embeddings.position_embeddings.weight"],
            "sentence.weight": named["embeddings.token_type_embeddings.weight"],
        } | {f"norm.{part}": named[f"embeddings.LayerNorm.{part}"] for part in parts}
        theirs = {
            "self_attn.out_proj": "attention.output.dense",
            "norm1": "attention.output.LayerNorm",
            "linear1": "intermediate.dense",
            "linear2": "output.dense",
            "norm2": "output.LayerNorm",
        }
        for at in range(len(self.layers)):
            start = f"encoder.layer.{at}."
            for part in parts:
                mixed = [named[f"{start}attention.self.{name}.{part}"] for name in ("query", "key", "value")]
                found[f"layers.{at}.self_attn.in_proj_{part}"] = torch.cat(mixed)
                found |= {f"layers.{at}.{own}.{part}": named[f"{start}{name}.{part}"] for own, name in theirs.items()}
        return found
