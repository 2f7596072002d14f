"""A lesson: what one shop's shoppers taught helps another shop with other products, and holds nobody and no title."""

from __future__ import annotations

from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from django.core.management import CommandError, call_command
from safetensors.numpy import save_file

from personalization.models import CatalogItem
from tests.worker import population
from tests.worker.population import Population
from tests.worker.shopping import NOW, rows
from worker.rankers import Catalogue, Interactions
from worker.rankers.lesson import Lesson, file_of
from worker.rankers.text import Text

WORDS = ("tea", "cup", "nut", "jam")
GOES_WITH = {"tea": "cup", "cup": "tea", "nut": "jam", "jam": "nut"}
EACH = 6


def goods(
    name: str, shoppers: int, seed: int = 0, *, goes_with: dict[str, str] = GOES_WITH, words: tuple[str, ...] = WORDS
) -> Interactions:
    """Return a shop of six products a word, whose shoppers take one of a word and one of the word that goes with it.

    Beside its word each title has one of its own, with the shop's name.
    """
    rng = np.random.default_rng(seed)
    titles = [f"{word} {name}{place}" for place in range(EACH) for word in words]
    blank = Catalogue.blank(len(titles))
    catalogue = Catalogue(blank.category, blank.price, blank.brand, titles)
    first = rng.integers(0, len(words), shoppers)
    second = np.array([words.index(goes_with[words[at]]) for at in first])
    item = np.stack([first, second], axis=1) + len(words) * rng.integers(0, EACH, (shoppers, 2))
    who = np.repeat(np.arange(shoppers), 2)
    return rows(who, item, np.tile([2, 1], shoppers), items=len(titles), shoppers=shoppers, catalogue=catalogue)


def suits(ranker: Text, young: Interactions) -> float:
    """Return for which share of the shoppers of one tea the best other product is a cup, and so on."""
    single = rows(np.arange(4), np.arange(4), np.ones(4), items=young.items, shoppers=4, catalogue=young.catalogue)
    ranker.observe(single, NOW)
    scores = ranker.score(np.arange(4))
    wanted = np.array([WORDS.index(GOES_WITH[word]) for word in WORDS])
    same = np.arange(young.items) % 4 == np.arange(4)[:, None]
    scores[same] = -np.inf  # another tea: titles alone say that
    return float((scores.argmax(axis=1) % 4 == wanted).mean())


def fitted(young: Interactions, lesson: str = "") -> Text:
    ranker = Text(factors=16, model="", lesson=lesson)
    ranker.fit(young, NOW, seed=0)
    return ranker


@pytest.fixture
def taught(tmp_path: Path) -> str:
    path = tmp_path / "lesson.safetensors"
    Lesson.learn(goods("old", 600)).save(path)
    return str(path)


def test_a_young_shop_with_other_products_knows_what_goes_together(taught: str) -> None:
    young = goods("new", 2, seed=1)
    assert suits(fitted(young, taught), young) == 1.0
    assert suits(fitted(young), young) < 1.0


def test_a_lesson_of_shoppers_who_take_anything_teaches_nothing(tmp_path: Path) -> None:
    """The negative control: the same titles, what goes together drawn at random."""
    path, young = tmp_path / "noise.safetensors", goods("new", 2, seed=1)
    found = []
    for seed in range(6):
        old = goods("old", 600, seed)
        old.item = np.random.default_rng(seed).permutation(old.item)
        Lesson.learn(old).save(path)
        found.append(suits(fitted(young, str(path)), young))
    assert float(np.mean(found)) < 0.8


def test_a_shop_that_knows_better_learns_otherwise(taught: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With enough shoppers of its own who take tea with jam, cups come later."""
    monkeypatch.setattr("worker.rankers.ridge.YOUNG", 30)
    other = {"tea": "jam", "jam": "tea", "nut": "cup", "cup": "nut"}
    grown = goods("new", 600, goes_with=other)
    assert suits(fitted(grown, taught), grown) == 0.0


def test_what_the_lesson_does_not_know_it_leaves_as_it_was(taught: str) -> None:
    lesson, own = Lesson.load(taught), np.eye(3, dtype=np.float32)
    both, start = lesson.beside(own, ["zebra", "", "tea"])
    np.testing.assert_array_equal(both[:2, 3:], 0)
    np.testing.assert_allclose(np.linalg.norm(both, axis=1), [0.5**0.5, 0.5**0.5, 1.0], rtol=1e-6)
    np.testing.assert_array_equal(start[:3, :3], np.eye(3))
    assert np.trace(lesson.matrix) == pytest.approx(len(lesson.matrix), rel=1e-5)


def test_it_comes_back_from_its_file_and_holds_words_alone(taught: str) -> None:
    lesson, again = Lesson.learn(goods("old", 600)), Lesson.load(taught)
    assert again.words == lesson.words
    np.testing.assert_array_equal(again.vectors(["tea cup", "jam"]), lesson.vectors(["tea cup", "jam"]))
    np.testing.assert_allclose(again.matrix, lesson.matrix, atol=1e-5)
    assert set(lesson.words) == {*WORDS, "old", *map(str, range(EACH))}


def test_a_ranker_that_was_fitted_with_a_lesson_needs_it_no_more(taught: str) -> None:
    young = goods("new", 30)
    ranker = fitted(young, taught)
    config, arrays = ranker.dump()
    Path(taught).unlink()
    again = Text.restore(config, arrays)
    np.testing.assert_array_equal(again.score(np.arange(30)), ranker.score(np.arange(30)))


def test_the_file_is_named_by_the_environment(taught: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert Text(model="").lesson == ""
    monkeypatch.setenv("PERSONALIZATION_TEXT_LESSON", taught)
    assert Text(model="").settings["lesson"] == taught


def test_too_few_shoppers_or_no_words_teach_nothing() -> None:
    with pytest.raises(ValueError, match="50 of 100 shoppers"):
        Lesson.learn(goods("old", 50))
    silent = goods("old", 600)
    silent.catalogue = None
    with pytest.raises(ValueError, match="0 of 100 shoppers"):
        Lesson.learn(silent)


def test_a_broken_file_is_refused_by_its_name(tmp_path: Path) -> None:
    path = tmp_path / "broken"
    with pytest.raises(ValueError, match=f"The lesson {path} cannot be read"):
        Lesson.load(path)
    path.write_bytes(b"something else")
    with pytest.raises(ValueError, match=r"manage\.py teach"):
        Lesson.load(path)
    parts: dict[str, Any] = {"idf": np.ones(2), "components": np.ones((3, 4)), "matrix": np.eye(4)}
    save_file(parts, path, metadata={"words": '["a", "b"]'})
    with pytest.raises(ValueError, match="do not fit together"):
        Lesson.load(path)


SOUND: dict[str, Any] = {
    "words": '["a", "b"]', "idf": np.ones(2, np.float32), "components": np.ones((2, 1)), "matrix": np.eye(1),
}  # fmt: skip


@pytest.mark.parametrize(
    "part",
    [
        {"words": "2"}, {"words": "null"}, {"words": '"ab"'}, {"words": '{"a": 0, "b": 1}'}, {"words": "[1, 2]"},
        {"words": '[["a"], ["b"]]'}, {"words": '["a", "a"]'}, {"words": "[" * 100_000 + "]" * 100_000},
        {"words": f"[{'9' * 5000}]"}, {"words": "[]", "idf": np.ones(0), "components": np.ones((0, 1))},
        {"components": np.array(1.0)}, {"components": np.ones(2)}, {"components": np.ones((2, 1, 1))},
        {"components": np.ones((2, 0)), "matrix": np.ones((0, 0))}, {"components": np.full((2, 1), np.nan)},
        {"idf": np.full(2, np.inf)}, {"matrix": np.full((1, 1), np.nan)}, {"matrix": np.array(1.0)},
    ],
    ids=str,
)  # fmt: skip
def test_a_file_made_to_harm_is_refused_when_it_is_read(part: dict[str, Any], tmp_path: Path) -> None:
    """Not later, in the middle of a training, with an error that names no file; nor never, with scores of nan."""
    path = tmp_path / "hostile"

    def written(parts: dict[str, Any]) -> Path:
        arrays = {name: value for name, value in parts.items() if name != "words"}
        save_file(arrays, path, metadata={"words": parts["words"]})
        return path

    assert Lesson.load(written(SOUND)).words == ["a", "b"]
    with pytest.raises(ValueError, match=f"The lesson {path} (is broken|cannot be read)"):
        Lesson.load(written(SOUND | part))


@pytest.mark.parametrize("given", ["x/a.b", "x/a.b.lesson", "x/a.b.safetensors", "x/a.b.lesson.safetensors"])
def test_a_file_is_named_for_what_it_is(given: str) -> None:
    assert file_of(given) == Path("x/a.b.lesson.safetensors")


@pytest.mark.django_db
def test_the_command_writes_one(shop: Population, tmp_path: Path) -> None:
    path, out = tmp_path / "shop.safetensors", StringIO()
    CatalogItem.objects.update(title="")
    with pytest.raises(CommandError, match="No lesson: 0 of 100 shoppers"):
        call_command("teach", str(path))
    for item in CatalogItem.objects.all():
        item.title = f"{WORDS[int(item.item_id[-2:]) % 4]} {item.item_id}"
        item.save()
    call_command("teach", str(path), "--until", population.END.isoformat(), stdout=out)
    written = tmp_path / "shop.lesson.safetensors"
    assert str(written) in out.getvalue()
    lesson = Lesson.load(written)
    assert set(WORDS) <= set(lesson.words)
    assert f"{len(lesson.words):,} words" in out.getvalue()
    with pytest.raises(CommandError, match="does not exist"):
        call_command("teach", str(tmp_path / "nowhere" / "file"))
