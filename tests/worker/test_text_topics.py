"""Topics of the catalogue's words: found, the same again from JSON, in Chinese too, and of nobody but the catalogue."""

from __future__ import annotations

import json

import numpy as np
import pytest

from worker.text_topics import LEAST_TITLES, TextTopics

WORDS = {
    "garden": ["rose", "spade", "lawn", "hedge", "seed", "pond"],
    "kitchen": ["pan", "whisk", "ladle", "oven", "bowl", "sieve"],
}
SIGNS = ("跑步鞋", "登山鞋", "运动鞋", "红茶叶", "绿茶叶", "花茶叶")


def titles(each: int = 60, seed: int = 0) -> list[str]:
    """Return titles of four words, first all of the garden, then all of the kitchen."""
    rng = np.random.default_rng(seed)
    return [" ".join(rng.permutation(vocabulary)[:4]) for vocabulary in WORDS.values() for _ in range(each)]


def fitted(told: list[str], topics: int = 2) -> TextTopics:
    found = TextTopics.fit(told, topics)
    assert found is not None
    return found


def test_words_that_go_together_make_a_topic() -> None:
    told = titles()
    found = fitted(told)
    assert {frozenset(words) for words in found.top_words(6)} == {frozenset(words) for words in WORDS.values()}
    shares = found.shares(told)
    np.testing.assert_allclose(shares.sum(axis=1), 1.0)
    best = shares.argmax(axis=1)
    assert len(set(best[:60])) == len(set(best[60:])) == 1
    assert best[0] != best[-1]


def test_chinese_titles_divide_by_pairs_of_signs() -> None:
    found = fitted([SIGNS[number % 6] + f"{number}" for number in range(90)])
    best = found.shares(list(SIGNS)).argmax(axis=1)
    assert best[:3].tolist() != best[3:].tolist()
    assert "茶叶" in {word for words in found.top_words() for word in words}


def test_a_title_is_divided_alike_after_the_way_through_json() -> None:
    told = titles()
    found = fitted(told)
    again = TextTopics.from_json(json.loads(json.dumps(found.as_json())))
    assert again is not None
    np.testing.assert_array_equal(again.shares(told[:9]), found.shares(told[:9]))
    assert again.top_words() == found.top_words()


def test_a_title_without_a_known_word_has_no_topic() -> None:
    shares = fitted(titles()).shares(["", "zebra", "rose"])
    assert not shares[:2].any()
    assert shares[2].sum() == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("told", "topics"),
    [
        pytest.param(titles(), 0, id="none wanted"),
        pytest.param(titles()[: LEAST_TITLES - 1], 2, id="too few titles"),
        pytest.param([""] * 500, 2, id="no titles"),
        pytest.param([f"only{number}" for number in range(500)], 2, id="no word recurs"),
    ],
)
def test_without_enough_to_divide_there_are_no_topics(told: list[str], topics: int) -> None:
    assert TextTopics.fit(told, topics) is None


def test_the_same_titles_give_the_same_topics() -> None:
    assert fitted(titles()).as_json() == fitted(titles()).as_json()
