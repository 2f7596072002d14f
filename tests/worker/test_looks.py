"""Image vectors of the host's: validated, reduced, and read by features and by the content ranker."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from personalization.exceptions import PersonalizationError
from personalization.features.compute import FeatureBuilder
from personalization.features.frames import TYPE_CODE, Events, Floats, Frames, Items
from personalization.features.specification import FEATURES, INDEX
from personalization.learning import frames as reading
from personalization.learning import images
from tests.features import shops
from tests.features.shops import CATEGORIES, DAY, ORIGIN, OfferTerms, Person, Shop, ints
from tests.worker import population
from tests.worker.population import Population
from tests.worker.shopping import fit, rows
from worker.looks import LEAST_IMAGES, Looks, reduced
from worker.rankers import Catalogue, interactions
from worker.tastes import Tastes

ITEMS, WIDTH = 90, 6
COLUMNS = [INDEX[feature.name] for feature in FEATURES if feature.name.startswith("image_")]
OFFERS = [OfferTerms(0, "coupon", category="books"), OfferTerms(1, "coupon", category="shoes"), OfferTerms(2, "coupon")]


def vectors(items: int = ITEMS) -> np.ndarray:
    """Return products that look like their category: item i is of category i mod 3, which has an axis of its own."""
    rng = np.random.default_rng(0)
    found = rng.normal(0, 0.05, (items, WIDTH))
    found[np.arange(items), np.arange(items) % 3] += 1
    return found.astype(np.float32)


def frames(looks: list[tuple[int, int, int]], image: np.ndarray) -> Frames:
    """Return views (shopper, time, item) of products that look like this."""
    looks = sorted(looks)
    who, when, what = zip(*looks, strict=True) if looks else ((),) * 3
    none = ints([-1] * len(looks))
    viewed = ints([TYPE_CODE["product_viewed"]] * len(looks))
    category = ints(at % len(CATEGORIES) for at in range(len(image)))
    return replace(
        Shop([Person(), Person()], OFFERS).frames(),
        events=Events(ints(who), ints(when), viewed, ints(what), none, none, np.zeros(len(looks))),
        items=Items(
            [str(at) for at in range(len(image))], category, np.ones(len(image)), np.ones(len(image), bool), image=image
        ),
    )


def filled(looks: list[tuple[int, int, int]], pairs: list[tuple[int, int, int]], image: np.ndarray) -> Floats:
    shop = frames(looks, image)
    builder = FeatureBuilder(shop)
    asked = shops.rows_of([(*pair, pair[2] + DAY) for pair in pairs])
    x = builder.build(asked)
    told = Tastes.from_json(json.loads(json.dumps(Tastes.fit(shop).as_json())))
    told.fill(builder, asked, x)
    return x


def test_an_offer_matches_by_what_its_category_looks_like() -> None:
    looks = [(0, ORIGIN, 0), (0, ORIGIN + 1, 3)]  # two products that look like books
    x = filled(looks, [(0, offer, ORIGIN + DAY) for offer in range(3)] + [(1, 0, ORIGIN + DAY)], vectors())
    books, shoes, none, nobody = x[:, INDEX["image_match"]]
    assert books > 0.9
    assert shoes < 0
    assert np.isnan([none, nobody]).all()
    assert not np.isnan(x[0, COLUMNS]).any()


def test_the_future_changes_no_look() -> None:
    pairs = [(shopper, offer, ORIGIN + DAY) for shopper in range(2) for offer in range(3)]
    looks = [(0, ORIGIN, 0)]
    later = [(0, ORIGIN + DAY, 1), (1, ORIGIN + 2 * DAY, 2)]
    before = filled(looks, pairs, vectors())[:, COLUMNS]
    np.testing.assert_array_equal(filled(looks + later, pairs, vectors())[:, COLUMNS], before)
    sooner = filled([*looks, (0, ORIGIN + DAY - 1, 1)], pairs, vectors())[:, COLUMNS]
    assert np.abs(sooner[0] - before[0]).max() > 0.05, "the negative control: a millisecond before, it is seen"


def test_products_without_a_picture_are_left_out_of_the_mean() -> None:
    image = vectors()
    image[1] = 0
    pair = [(0, 0, ORIGIN + DAY)]
    with_it, without = (
        filled(looks, pair, image)[:, COLUMNS] for looks in ([(0, ORIGIN, 0)], [(0, ORIGIN, 0), (0, ORIGIN, 1)])
    )
    np.testing.assert_allclose(with_it, without)
    assert np.isnan(filled([(0, ORIGIN, 1)], pair, image)[:, COLUMNS]).all()


def test_too_few_pictures_or_none_fill_nothing() -> None:
    few = vectors()
    few[LEAST_IMAGES - 1 :] = 0
    for image in (few, np.zeros((ITEMS, 0), np.float32)):
        assert Looks.fit(image) is None
        assert np.isnan(filled([(0, ORIGIN, 0)], [(0, 0, ORIGIN + DAY)], image)[:, COLUMNS]).all()
        assert reduced(image) is None


def test_a_host_that_changes_its_image_model_is_not_read_wrongly() -> None:
    found = Looks.fit(vectors())
    assert found is not None
    assert not found.of(np.ones((4, WIDTH + 1), np.float32)).any()
    assert found.of(vectors()).any()


def test_the_content_ranker_finds_what_looks_alike() -> None:
    """Nothing but the picture is known; half the products nobody turned to."""
    blank = Catalogue.blank(ITEMS)
    rng = np.random.default_rng(0)
    style = np.arange(60) % 3
    item = style[:, None] + 3 * rng.integers(0, ITEMS // 6, (60, 4))

    def found(image: np.ndarray) -> float:
        catalogue = Catalogue(blank.category, blank.price, blank.brand, blank.text, image)
        past = rows(
            np.repeat(np.arange(60), 4),
            item,
            np.tile(np.arange(4, 0, -1), 60),
            items=ITEMS,
            shoppers=60,
            catalogue=catalogue,
        )
        scores = fit("content", past).score(np.arange(60))
        scores[:, : ITEMS // 2] = -np.inf
        return float((scores.argmax(axis=1) % 3 == style).mean())

    assert found(vectors()) == 1.0
    assert found(np.random.default_rng(1).permutation(vectors())) < 0.7, (
        "the negative control: pictures of other products"
    )


# --- What the host says -----------------------------------------------------------------------------------------------


class Host:
    """A shop that has pictures of every other product."""

    def image_vectors(self, item_ids: Sequence[str]) -> list[list[float] | None]:
        return [[float(item[-2:]), 1.0, 2.0] if int(item[-2:]) % 2 else None for item in item_ids]


class TooFew:
    def image_vectors(self, item_ids: Sequence[str]) -> list[list[float]]:
        return [[1.0]] * (len(item_ids) - 1)


class Ragged:
    def image_vectors(self, item_ids: Sequence[str]) -> list[list[float]]:
        return [[1.0] * (1 + (place == 5)) for place in range(len(item_ids))]


class Infinite:
    def image_vectors(self, item_ids: Sequence[str]) -> list[list[float]]:
        return [[float("inf")]] * len(item_ids)


class Words:
    def image_vectors(self, item_ids: Sequence[str]) -> list[Any]:
        return ["a picture"] * len(item_ids)


class Silent:
    def image_vectors(self, item_ids: Sequence[str]) -> Any:
        return None


class Lazy:
    def image_vectors(self, item_ids: Sequence[str]) -> Any:
        return ([1.0] for _item in item_ids)


class Named:
    def image_vectors(self, item_ids: Sequence[str]) -> Any:
        return {item: [1.0] for item in item_ids}


class Huge:
    def image_vectors(self, item_ids: Sequence[str]) -> Any:
        return [[10**400]] * len(item_ids)


def supplied(settings: Any, name: str) -> None:
    settings.PERSONALIZATION = {**settings.PERSONALIZATION, "IMAGES": f"{__name__}.{name}"}


def test_the_host_is_asked_in_batches(shop: Population, settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "BATCH", 5)
    supplied(settings, "Host")
    read = reading.load("shop", population.END)
    assert read.items.image.shape == (population.ITEMS, 3)
    assert read.items.image[3].tolist() == [3.0, 1.0, 2.0]
    assert not read.items.image[::2].any()
    described = interactions(read).described
    assert described.image is read.items.image


def test_without_an_adapter_and_for_imported_sets_there_are_none(shop: Population, settings: Any) -> None:
    assert reading.load("shop", population.END).items.image.shape == (population.ITEMS, 0)
    supplied(settings, "Host")
    assert images.read("games", ["01", "03"]).shape == (2, 0)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("TooFew", "11 vectors for 12 products"),
        ("Ragged", "2 numbers for the product shop-05, and 1 for those before"),
        ("Infinite", "finite numbers for the product shop-00"),
        ("Words", "finite numbers for the product shop-00"),
        ("Huge", "finite numbers for the product shop-00"),
        ("Silent", "must return a list: vectors, one for each of the products"),
        ("Lazy", "must return a list: vectors"),
        ("Named", "must return a list: vectors"),
    ],
)
def test_what_cannot_be_learnt_from_is_refused_by_its_name(
    shop: Population, settings: Any, name: str, words: str
) -> None:
    supplied(settings, name)
    with pytest.raises(PersonalizationError, match=f'PERSONALIZATION."IMAGES".*{words}'):
        reading.load("shop", population.END)
