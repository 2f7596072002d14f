"""What is known of products apart from who turned to them, and its words."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import sparse
from sklearn.feature_extraction.text import TfidfVectorizer

from personalization.features.frames import Floats, Ints

WORD = re.compile(r"[^\W\d_]+|\d+")
CJK = re.compile(r"([\u3400-\u9fff\uf900-\ufaff\u3040-\u30ff\uac00-\ud7af]+)")
MOST_WORDS = 50_000


@dataclass(frozen=True, slots=True)
class Catalogue:
    """Per product [items]: the category's position (−1 if none), price in major units (nan if unknown), texts ("").

    ``image`` [items, d] are vectors of pictures, rows of zeros where there is none.
    """

    category: Ints
    price: Floats
    brand: Sequence[str]
    text: Sequence[str]
    image: NDArray[np.float32] | None = None

    def __post_init__(self) -> None:
        columns = [self.category, self.price, self.brand, self.text, *([] if self.image is None else [self.image])]
        lengths = {len(column) for column in columns}
        if len(lengths) > 1:
            raise ValueError(f"The catalogue's columns have unequal lengths, {sorted(lengths)}: give one row an item.")

    def __len__(self) -> int:
        return len(self.category)

    @classmethod
    def blank(cls, items: int) -> Catalogue:
        """Return a catalogue of which nothing is known."""
        nothing = [""] * items
        return cls(np.full(items, -1, dtype=np.int64), np.full(items, np.nan), nothing, nothing)


def words(text: str) -> list[str]:
    """Return a text's words in lower case; Chinese, Japanese and Korean, written without spaces, as pairs of signs."""
    found: list[str] = []
    for part in CJK.split(text.lower()):
        if CJK.fullmatch(part):
            found += [part[at : at + 2] for at in range(max(len(part) - 1, 1))]
        else:
            found += WORD.findall(part)
    return found


def tf_idf(texts: Sequence[str]) -> sparse.csr_matrix:
    """Return [texts, words]: (1 + log tf)·idf, rows of length 1, the 50,000 most frequent words; none, no columns."""
    if not any(words(text) for text in texts):
        return sparse.csr_matrix((len(texts), 0), dtype=np.float32)
    return counted_words(texts)[2]


def counted_words(texts: Sequence[str]) -> tuple[list[str], NDArray[np.float32], sparse.csr_matrix]:
    """Return the words of texts that have any, the idf of each, and :func:`tf_idf` in their order."""
    vectorizer = TfidfVectorizer(
        analyzer=words, sublinear_tf=True, max_features=MOST_WORDS, dtype=np.float32,
    )  # fmt: skip
    found = sparse.csr_matrix(vectorizer.fit_transform(texts))
    return [str(word) for word in vectorizer.get_feature_names_out()], vectorizer.idf_.astype(np.float32), found
