"""A lesson: what one catalogue's shoppers taught about words, for another shop to start from (cross-domain transfer).

It holds a vectoriser (the words of the catalogue's titles, their weights, a truncated SVD) and the matrix M that the
ranker ``text`` learnt in that space: which sorts of titles are turned to together. No shopper, no product and no title
is in it. It is one file, safetensors with the words as its metadata.
"""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file
from scipy.linalg import block_diag
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.utils.extmath import randomized_svd

from personalization.features.frames import Floats
from worker.rankers.base import Interactions, Scores
from worker.rankers.catalogue import counted_words, words
from worker.rankers.ridge import learnt
from worker.rankers.vectors import unit

FACTORS, REGULARISATION = 128, 0.3
SUFFIX = ".lesson.safetensors"
"""How a lesson's file is named: its format alone would not tell it from a model's."""
LEAST = 100
"""Shoppers who turned to several products with words: fewer teach nobody else."""


def configured_lesson() -> str:
    """Return the file of the lesson, from ``PERSONALIZATION_TEXT_LESSON``; "" if none is configured."""
    return os.environ.get("PERSONALIZATION_TEXT_LESSON", "")


def file_of(name: str | Path) -> Path:
    """Return where a lesson of this name is written: with ``SUFFIX``, whatever part of it was given."""
    path = Path(name)
    stem = path.name.removesuffix(".safetensors").removesuffix(".lesson")
    return path.with_name(stem + SUFFIX)


@dataclass(eq=False)
class Lesson:
    """``words`` with ``idf`` [words], ``components`` [words, d] and ``matrix`` [d, d], whose mean diagonal is 1."""

    words: list[str]
    idf: Scores
    components: Scores
    matrix: Floats

    @classmethod
    def learn(cls, data: Interactions, *, seed: int = 0) -> Self:
        """Return what these shoppers teach; ValueError if they are too few, or go together by no words."""
        told = np.array([bool(words(text)) for text in data.described.text], dtype=bool)
        turned = data.matrix()[:, told]
        teaching = int(np.count_nonzero(np.diff(turned.indptr) > 1))
        if teaching < LEAST:
            raise ValueError(f"{teaching:,} of {LEAST:,} shoppers who turned to several products with titles.")
        titles = [text for text, has in zip(data.described.text, told, strict=True) if has]
        vocabulary, idf, matrix = counted_words(titles)
        _left, _size, right = randomized_svd(matrix, min(FACTORS, *matrix.shape), random_state=seed)
        lesson = cls(vocabulary, idf, np.ascontiguousarray(right.T, dtype=np.float32), np.eye(len(right)))
        found = learnt(turned, lesson.vectors(titles), REGULARISATION)
        mean = float(np.trace(found)) / len(found)
        if mean <= 0:
            raise ValueError("What these shoppers turn to has nothing to do with the words of the titles.")
        lesson.matrix = found / mean
        return lesson

    def vectors(self, texts: Sequence[str]) -> Scores:
        """Return [texts, d], rows of length 1; of zeros where the lesson knows no word."""
        counts = CountVectorizer(analyzer=words, vocabulary=self.words, dtype=np.float32).transform(texts)
        counts.data = (1 + np.log(counts.data)) * self.idf[counts.indices]
        return unit(counts @ self.components)

    def beside(self, own: Scores, texts: Sequence[str]) -> tuple[Scores, Floats]:
        """Return the shop's own vectors and the lesson's side by side, and the matrix that learning starts from.

        The shop's own words are never lost, and what the lesson does not know adds nothing.
        """
        both = np.concatenate([own, self.vectors(texts)], axis=1) / np.float32(np.sqrt(2))
        start: Floats = block_diag(np.eye(own.shape[1]), self.matrix)
        return both.astype(np.float32), start

    def save(self, path: str | Path) -> None:
        """Write the file aside and rename it: under its name it is whole."""
        aside = Path(f"{path}.part")
        arrays = {"idf": self.idf, "components": self.components, "matrix": self.matrix.astype(np.float32)}
        save_file(arrays, aside, metadata={"words": json.dumps(self.words, ensure_ascii=False)})
        aside.replace(path)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """Return the lesson in a file; ValueError if there is none, or it is broken."""
        try:
            with safe_open(path, framework="numpy") as file:
                known = json.loads((file.metadata() or {})["words"])
                idf, components, matrix = (file.get_tensor(name) for name in ("idf", "components", "matrix"))
        except (OSError, SafetensorError, KeyError, TypeError, ValueError, RecursionError) as error:
            raise ValueError(
                f"The lesson {path} cannot be read ({error}). Name a file that `manage.py teach` wrote in "
                "PERSONALIZATION_TEXT_LESSON, or unset it."
            ) from None
        if not _fit(known, idf, components, matrix):
            raise ValueError(f"The lesson {path} is broken: its parts do not fit together.")
        return cls(known, idf, components, matrix.astype(np.float64))


def _fit(known: Any, idf: Scores, components: Scores, matrix: Scores) -> bool:
    """Return whether these are different words, with numbers of the right shapes."""
    if not isinstance(known, list) or not known or not all(isinstance(word, str) for word in known):
        return False
    shapes = idf.shape, components.shape[:1], matrix.shape
    width = components.shape[-1] if components.ndim == 2 else 0
    fitting = shapes == ((len(known),), (len(known),), (width, width)) and len(set(known)) == len(known)
    return width > 0 and fitting and all(bool(np.isfinite(part).all()) for part in (idf, components, matrix))
