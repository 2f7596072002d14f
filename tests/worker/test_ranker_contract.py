"""One contract, every ranker: it finds what is planted, invents nothing, repeats itself, sees no future, survives."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from personalization.learning import wordings
from personalization.types import ModelTask
from tests.worker.shopping import (
    CLUSTERS,
    EACH,
    NOW,
    SHOPPERS,
    clusters,
    fit,
    next_found,
    one_more_item,
    quick,
    right_cluster,
    rows,
    shuffled,
    small,
    walks,
)
from worker import artifacts
from worker.rankers import LINE_UP, RANKERS, Catalogue, Interactions, Ranker, top_items
from worker.space import Choice, Range

NAMES = list(RANKERS)
UNPERSONAL = {"popularity"}
ONLY_ITS_OWN = {"popularity", "frequency"}
"""They say nothing about what a shopper has never turned to."""
DOTS = [name for name, kind in RANKERS.items() if kind.vectors is not Ranker.vectors]
DESCRIBED = [name for name, kind in RANKERS.items() if kind.needs.attributes]
ORDERED = [name for name, kind in RANKERS.items() if kind.needs.order]


@cache
def on_clusters(name: str) -> Ranker:
    """Return the ranker fitted on the clusters; shared, since no test changes it."""
    return fit(name, clusters())


def everybody(ranker: Ranker) -> np.ndarray:
    return ranker.score(np.arange(ranker.shoppers))


@pytest.mark.parametrize("name", NAMES)
def test_it_is_named_described_and_its_space_holds_its_defaults(name: str) -> None:
    kind = RANKERS[name]
    assert kind.name == name
    assert name in wordings.NOTES[ModelTask.PREFERENCE]
    assert kind.__doc__
    settings = kind().settings
    assert settings.keys() >= kind.space.keys()
    assert all(settings[each] in dimension for each, dimension in kind.space.items())


@pytest.mark.parametrize(("name", "key"), [(name, key) for name in NAMES for key in RANKERS[name].space])
def test_a_setting_out_of_bounds_is_refused_by_name(name: str, key: str) -> None:
    dimension = RANKERS[name].space[key]
    outside: Any = dimension.high + 1 if isinstance(dimension, Range) else "nonsense"
    with pytest.raises(
        ValueError, match=f"{name}: {key} is .* must be {'a' if isinstance(dimension, Range) else 'one'}"
    ):
        RANKERS[name](**{key: outside})
    assert isinstance(dimension, Range | Choice)


@pytest.mark.parametrize("name", NAMES)
def test_it_finds_who_belongs_together(name: str) -> None:
    """By chance a ninth; popularity knows nothing more."""
    found = right_cluster(on_clusters(name), clusters())
    if name in ONLY_ITS_OWN:
        assert found < 0.35
    else:
        assert found > 0.4


@pytest.mark.parametrize("name", NAMES)
def test_it_finds_nothing_where_there_is_nothing(name: str) -> None:
    data = shuffled(clusters())
    assert right_cluster(fit(name, data), data) < 0.3


@pytest.mark.parametrize("name", ORDERED)
def test_it_finds_what_comes_next(name: str) -> None:
    assert next_found(fit(name, walks()), walks()) > 0.8


@pytest.mark.parametrize("name", ORDERED)
def test_without_the_order_it_does_not_know_what_comes_next(name: str) -> None:
    """The negative control: the same items of the same shoppers, their times drawn anew: is it up or down?"""
    data = walks()
    rng = np.random.default_rng(1)
    item = np.concatenate([rng.permutation(part) for part in data.item.reshape(-1, 6)])
    mixed = Interactions(data.shopper, item, data.time, data.weight, data.items, data.shoppers)
    assert next_found(fit(name, mixed), data) < 0.7


@pytest.mark.parametrize("name", NAMES)
def test_the_same_seed_gives_the_same_scores(name: str) -> None:
    np.testing.assert_array_equal(everybody(fit(name, clusters())), everybody(on_clusters(name)))


@pytest.mark.parametrize("name", NAMES)
def test_a_file_brings_back_the_same_scores(name: str, tmp_path: Path, settings: Any) -> None:
    settings.PERSONALIZATION = {**settings.PERSONALIZATION, "ARTIFACTS": str(tmp_path)}
    ranker = on_clusters(name)
    written = artifacts.write("x", *ranker.dump())
    again = type(ranker).restore(*artifacts.read(written.path, written.sha256))
    np.testing.assert_array_equal(everybody(again), everybody(ranker))
    assert again.explain(0, 1) == ranker.explain(0, 1)
    again.observe(clusters(seed=9), NOW)  # it goes on working
    assert everybody(again).shape == (SHOPPERS, CLUSTERS * EACH)


@pytest.mark.parametrize("name", NAMES)
def test_what_comes_later_changes_no_score(name: str) -> None:
    data = clusters()
    later = shuffled(data)
    later.time = NOW + 1 + np.arange(len(later.time)) % 7
    order = np.lexsort((np.concatenate([data.time, later.time]), np.concatenate([data.shopper, later.shopper])))
    shopper, item, time, weight = (
        np.concatenate([getattr(data, column), getattr(later, column)])[order]
        for column in ("shopper", "item", "time", "weight")
    )
    both = Interactions(shopper, item, time, weight, data.items, data.shoppers, data.catalogue)
    np.testing.assert_array_equal(everybody(fit(name, both)), everybody(on_clusters(name)))


@pytest.mark.parametrize("name", NAMES)
def test_new_histories_are_scored_without_learning(name: str) -> None:
    """Shoppers change clusters overnight: what belongs together stays, and their scores follow them."""
    ranker = fit(name, clusters())
    before = everybody(ranker)
    data = clusters(seed=4, shoppers=SHOPPERS + 10)
    ranker.observe(data, NOW)
    if name not in ONLY_ITS_OWN:
        assert right_cluster(ranker, data) > 0.4
    ranker.observe(clusters(), NOW)
    np.testing.assert_allclose(everybody(ranker), before, rtol=1e-5, atol=1e-6)
    with pytest.raises(ValueError, match="was fitted on 32 items, not 31"):
        ranker.observe(Interactions(*(np.zeros(0, np.int64),) * 3, np.zeros(0), 31, 1), NOW)


@pytest.mark.parametrize("name", DOTS)
def test_vectors_say_what_the_scores_say(name: str) -> None:
    ranker = on_clusters(name)
    found = ranker.vectors()
    assert found is not None
    assert found.users.dtype == found.items.dtype == np.float32
    product = found.users @ found.items.T
    product[:, found.hidden] = -np.inf
    np.testing.assert_allclose(product, everybody(ranker), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "name", [name for name in NAMES if name not in {"popularity", "user_knn", "explicit_als", "biased_mf"}]
)
def test_reasons_come_from_the_shoppers_own_history(name: str) -> None:
    ranker, data = on_clusters(name), clusters()
    best = top_items(ranker.score(np.arange(12)), 1)[:, 0].tolist()
    found = [ranker.explain(shopper, item) for shopper, item in enumerate(best)]
    assert sum(map(bool, found)) >= 9  # now and then an item ranks high in spite of the history
    for shopper, reasons in enumerate(found):
        assert len(reasons) <= 3
        assert {reason.item for reason in reasons} <= set(data.item[data.shopper == shopper].tolist())
        shares = [reason.share for reason in reasons]
        assert shares == sorted(shares, reverse=True)
        assert all(share > 0 for share in shares)
        assert sum(shares) <= 1 + 1e-3


POOR = {
    "empty": rows([], [], [], items=6, shoppers=3),
    "one row": rows([0], [1], [1.0], items=6, shoppers=3),
    "twice the same": rows([0, 0], [1, 1], [1.0, 1.0], items=6, shoppers=3),
    "constant": rows(np.arange(40) % 3, np.full(40, 2), np.arange(40) % 9, items=6, shoppers=3),
    "two items": rows(np.arange(40) % 3, np.arange(40) % 2, np.arange(40) % 9, items=6, shoppers=3),
    "huge ids": rows([0, 7, 49_999, 49_999], [0, 99_999, 5, 99_999], [1, 2, 3, 4], items=100_000, shoppers=50_000),
    "no items": rows([], [], [], items=0, shoppers=3),
    "nobody": rows([], [], [], items=6, shoppers=0),
}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("case", POOR)
def test_poor_data_breaks_nothing(name: str, case: str) -> None:
    data = POOR[case]
    ranker = fit(name, data, **quick(name))
    for shoppers in (np.arange(min(data.shoppers, 3)), np.zeros(0, dtype=np.int64)):
        scores = ranker.score(shoppers)
        assert scores.shape == (len(shoppers), data.items)
        assert scores.dtype == np.float32
        assert (np.isfinite(scores) | (scores == -np.inf)).all()


@pytest.mark.parametrize("name", NAMES)
def test_who_is_new_gets_what_is_popular(name: str) -> None:
    data = clusters()
    data.weight[data.item == 17] = 9.0
    data.shoppers += 1
    ranker = fit(name, data)
    assert top_items(ranker.score(np.array([SHOPPERS])), 1).tolist() == [[17]]


@pytest.mark.parametrize("name", NAMES)
def test_an_item_that_nobody_turned_to_comes_last(name: str) -> None:
    """Unless something is known of it: see ``test_what_nobody_has_bought_is_scored_by_what_is_known_of_it``."""
    data = one_more_item(clusters())
    scores = everybody(fit(name, data))
    assert (scores[:, -1] <= np.median(scores, axis=1)).all()


@pytest.mark.parametrize("name", DESCRIBED)
def test_what_nobody_has_bought_is_scored_by_what_is_known_of_it(name: str) -> None:
    """Who turned to its cluster likes a new item better than everybody else does; nobody has turned to it."""
    data = one_more_item(clusters(), like=EACH)
    score = everybody(fit(name, data))[:, -1]
    own = np.arange(SHOPPERS) % CLUSTERS == 1
    assert np.isfinite(score).all()
    assert score[own].min() > score[~own].max()


@pytest.mark.parametrize("name", DESCRIBED)
def test_without_attributes_it_falls_back_to_what_is_popular(name: str) -> None:
    data = replace(clusters(), catalogue=None)
    data.weight[data.item == 17] = 9.0
    assert set(top_items(everybody(fit(name, data)), 1)[:, 0].tolist()) == {17}


def test_a_catalogue_of_another_size_is_refused() -> None:
    data = replace(clusters(), catalogue=Catalogue.blank(5))
    with pytest.raises(ValueError, match="describes 5 items of 32: give one row an item"):
        fit("content", data)
    with pytest.raises(ValueError, match=r"unequal lengths, \[1, 2\]"):
        Catalogue(np.zeros(2, np.int64), np.zeros(1), ["", ""], ["", ""])


@pytest.mark.parametrize("name", NAMES)
def test_it_tells_how_far_it_is(name: str) -> None:
    told: list[float] = []
    ranker = small(name, **quick(name))
    ranker.fit(clusters(), NOW, seed=1, progress=told.append)
    assert told == sorted(told)
    assert told[-1] == 1.0


def test_who_is_no_dot_product_says_so() -> None:
    assert [on_clusters(name).vectors() for name in NAMES if name not in DOTS] == [None] * (len(NAMES) - len(DOTS))
    assert {"als", "gru", "transformer"} <= set(DOTS)


def test_the_usual_line_up_is_part_of_the_family() -> None:
    assert [name for name in RANKERS if name in LINE_UP] == list(LINE_UP)
    assert not UNPERSONAL - set(LINE_UP)


def test_rankers_need_no_django() -> None:
    """A machine with a GPU trains them without the web tier."""
    script = (
        "import sys\n"
        "sys.modules['django'] = None\n"
        "import numpy as np\n"
        "from worker.rankers import RANKERS, Interactions\n"
        "one = np.zeros(1, dtype=np.int64)\n"
        "for kind in RANKERS.values():\n"
        "    kind().fit(Interactions(one, one, one, np.ones(1), 2, 2), 1)\n"
        "print(len(RANKERS))"
    )
    root = Path(__file__).resolve().parents[2]
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=root, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.stdout.strip() == str(len(RANKERS)), done.stderr[-2000:]
