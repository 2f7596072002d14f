"""The columns of taste: equal to a plain loop, blind to the future, alike in training and serving, of consent alone."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from personalization.features.compute import FeatureBuilder
from personalization.features.frames import TYPE_CODE, Events, Floats, Frames, Items, Lines
from personalization.features.specification import FEATURES, INDEX, TEXT_TOPICS
from personalization.features.turned import HALF_LIFE_DAYS, MOST, PURCHASE_WEIGHT
from personalization.learning import frames as reading
from personalization.models import CatalogItem, Shopper
from tests.features import shops
from tests.features.shops import DAY, ORIGIN, OfferTerms, Person, Shop, ints
from tests.worker import population
from worker.data import Vocabularies, assemble
from worker.tastes import Tastes
from worker.text_topics import TextTopics

TITLES = ["rose", "rose spade", "pan", "oven pan", "zebra", ""]
CATEGORY = [0, 0, 1, 1, 2, -1]
TOPICS = TextTopics(["oven", "pan", "rose", "spade"], np.array([[9.0, 9.0, 0.1, 0.1], [0.1, 0.1, 9.0, 9.0]]))
OFFERS = [OfferTerms(0, "coupon", category="books"), OfferTerms(1, "coupon", category="tea"), OfferTerms(2, "coupon")]
TASTES = [INDEX[feature.name] for feature in FEATURES if feature.group == "taste"]
Look = tuple[int, int, int, bool]
"""Shopper, time, product, whether it was bought."""


def frames(looks: list[Look]) -> Frames:
    """Return a shop of three shoppers and six products, with these views and purchases."""
    views = sorted(look[:3] for look in looks if not look[3])
    bought = sorted(look[:3] for look in looks if look[3])
    who, when, what = zip(*views, strict=True) if views else ((),) * 3
    viewed, none = ints([TYPE_CODE["product_viewed"]] * len(views)), ints([-1] * len(views))
    buyer, moment, item = zip(*bought, strict=True) if bought else ((),) * 3
    return replace(
        Shop([Person(), Person(), Person()], OFFERS).frames(),
        events=Events(ints(who), ints(when), viewed, ints(what), none, none, np.zeros(len(views))),
        lines=Lines(ints(buyer), ints(moment), ints(item), np.ones(len(bought))),
        items=Items(list("abcdef"), ints(CATEGORY), np.ones(6), np.ones(6, dtype=bool), [""] * 6, TITLES),
    )


def filled(looks: list[Look], pairs: list[tuple[int, int, int]], tastes: Tastes | None = None) -> Floats:
    """Return the columns of rows (shopper, offer, time)."""
    builder = FeatureBuilder(frames(looks))
    rows = shops.rows_of([(*pair, pair[2] + DAY) for pair in pairs])
    x = builder.build(rows)
    (tastes or Tastes(TOPICS)).fill(builder, rows, x)
    return x


def plain(looks: list[Look], shopper: int, time: int) -> Floats:
    """Return the mean mixture as the specification says it, one product after the other; nan without any."""
    shares = TOPICS.shares(TITLES)
    own = sorted((when, item, bought) for who, when, item, bought in looks if who == shopper and when < time)
    total, mixed = 0.0, np.zeros(2)
    for when, item, bought in own[-MOST:]:
        weight = (PURCHASE_WEIGHT if bought else 1.0) * 0.5 ** ((time - when) / DAY / HALF_LIFE_DAYS)
        if shares[item].any():
            total, mixed = total + weight, mixed + weight * shares[item]
    return mixed / total if total else np.full(2, np.nan)


looking = st.lists(
    st.tuples(st.integers(0, 2), shops.times, st.integers(0, 5), st.booleans()), max_size=20,
    unique_by=lambda look: look[:3],
)  # fmt: skip
asking = st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2), shops.times), min_size=1, max_size=6)


@given(looking, asking)
def test_topics_are_the_recency_weighted_mean_of_what_came_before(looks: list[Look], pairs: Any) -> None:
    x = filled(looks, pairs)
    for row, (shopper, _offer, time) in zip(x, pairs, strict=True):
        found = row[[INDEX["text_topic_1"], INDEX["text_topic_2"]]]
        np.testing.assert_allclose(found, plain(looks, shopper, time), rtol=1e-9)
        assert np.isnan(row[[INDEX[f"text_topic_{number}"] for number in range(3, TEXT_TOPICS + 1)]]).all()


@given(looking, looking, shops.times)
def test_the_future_changes_no_taste(looks: list[Look], more: list[Look], moment: int) -> None:
    pairs = [(shopper, offer, moment) for shopper in range(3) for offer in range(3)]
    later = [(who, moment + abs(when - ORIGIN), item, bought) for who, when, item, bought in more]
    before, after = filled(looks, pairs), filled(looks + later, pairs)
    np.testing.assert_array_equal(after[:, TASTES], before[:, TASTES])


def test_the_leakage_test_can_fail() -> None:
    """The negative control: a look a millisecond before the moment is seen."""
    looks = [(0, ORIGIN - DAY, 0, False)]
    pair = [(0, 0, ORIGIN)]
    before, after = filled(looks, pair), filled([*looks, (0, ORIGIN - 1, 2, False)], pair)
    assert after[0, INDEX["text_topic_1"]] > before[0, INDEX["text_topic_1"]] + 0.1


def test_an_offer_matches_by_what_its_category_is_about() -> None:
    x = filled([(0, ORIGIN - 1, 0, False)], [(0, offer, ORIGIN) for offer in range(3)])
    books, tea, none = x[:, INDEX["text_match"]]
    assert books > 0.95  # roses were looked at, and that category is of roses and spades
    assert np.isnan(tea)  # nothing of it has a known word
    assert np.isnan(none)


def test_training_and_serving_read_alike() -> None:
    looks = [(0, ORIGIN - 5 * DAY, 0, True), (0, ORIGIN - DAY, 3, False)]
    told = Tastes.from_json(json.loads(json.dumps(Tastes(TOPICS).as_json())))
    pairs = [(0, 0, ORIGIN), (1, 1, ORIGIN)]
    np.testing.assert_array_equal(filled(looks, pairs, told), filled(looks, pairs))


def test_a_version_of_before_has_no_tastes() -> None:
    assert Tastes.from_json(None) == Tastes()
    assert np.isnan(filled([(0, ORIGIN - 1, 0, True)], [(0, 0, ORIGIN)], Tastes())[:, TASTES]).all()


@pytest.fixture
def worded(frames: Frames) -> Frames:
    """The small population's frames, its products with titles that make two topics."""
    ids = list(range(len(frames.items.ids)))
    frames.items.title = ["rose spade lawn" if place % 2 else "pan oven bowl" for place in ids]
    return frames


def of(shop: Frames) -> tuple[Vocabularies, Floats]:
    builder = FeatureBuilder(shop)
    rows = shops.rows_of([(shopper, 0, shop.until, shop.until + DAY) for shopper in range(len(shop.shoppers))])
    vocabularies = Vocabularies.fit(builder, rows)
    nothing = np.full((len(rows), 4), np.nan)
    return vocabularies, assemble(builder, rows, nothing, rows.shopper, vocabularies).x


def test_topics_are_off_unless_asked_for(worded: Frames, settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.text_topics.LEAST_TITLES", 10)
    assert np.isnan(of(worded)[1][:, TASTES]).all()
    settings.PERSONALIZATION = {**settings.PERSONALIZATION, "TEXT_TOPICS": 2}
    vocabularies, x = of(worded)
    known = ~np.isnan(x[:, INDEX["text_topic_1"]])
    assert known.mean() > 0.9
    np.testing.assert_allclose(x[known][:, [INDEX["text_topic_1"], INDEX["text_topic_2"]]].sum(axis=1), 1.0)
    again = Vocabularies.from_json(json.loads(json.dumps(vocabularies.as_json())))
    assert again.tastes.as_json() == vocabularies.tastes.as_json()


@pytest.mark.django_db
def test_the_artefact_holds_the_catalogue_and_nobody(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who withdraws is not read at all; what was fitted stays what it was, whoever comes and goes."""
    monkeypatch.setattr("worker.text_topics.LEAST_TITLES", 10)
    settings.PERSONALIZATION = {**settings.PERSONALIZATION, "TEXT_TOPICS": 2}
    population.restore()
    for item in CatalogItem.objects.all():
        item.title = "rose spade lawn" if int(item.item_id[-2:]) % 2 else "pan oven bowl"
        item.save()
    everybody = reading.load("shop", population.END)
    gone = Shopper.objects.order_by("pk").values_list("pk", flat=True)[:200]
    Shopper.objects.filter(pk__in=list(gone)).update(consent_personalisation=False)
    fewer = reading.load("shop", population.END)
    assert not set(gone) & set(fewer.shoppers.ids.tolist())
    assert Tastes.fit(fewer).as_json() == Tastes.fit(everybody).as_json()
    assert Tastes.fit(fewer).topics is not None
