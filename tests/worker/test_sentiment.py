"""Review sentiment: learnt from the shop's own stars, blind to the future, of consent alone, and of nobody alone."""

from __future__ import annotations

import json
import traceback
from dataclasses import replace
from datetime import timedelta
from typing import Any

import numpy as np
import pytest

from personalization.exceptions import PersonalizationError
from personalization.features.compute import FeatureBuilder
from personalization.features.frames import Floats, Frames, Reviews
from personalization.features.specification import FEATURES, INDEX, REVIEW_PRIOR
from personalization.learning import frames as reading
from personalization.models import Event, Shopper
from personalization.tracking import sealing
from tests.features import shops
from tests.features.shops import DAY, ORIGIN, OfferTerms, Person, Shop, ints
from tests.worker import population
from tests.worker.population import Population
from worker import sentiment
from worker.sentiment import Sentiment, phrases
from worker.tastes import Tastes

GOOD = ["very good tea", "good and fast", "好喝 很好", "很好喜欢"]
BAD = ["not good at all", "bad and slow", "难喝 不好", "不好退货"]
OFFERS = [OfferTerms(0, "coupon", category="books"), OfferTerms(1, "coupon", category="tea"), OfferTerms(2, "coupon")]
COLUMNS = [INDEX[feature.name] for feature in FEATURES if feature.name.startswith("review_")]
NOW = ORIGIN + 30 * DAY
Review = tuple[int, int, int, float, str]
"""Shopper, time, category, stars −1 to 1, text."""


def reviews(rows: list[Review]) -> Reviews:
    rows = sorted(rows, key=lambda row: row[:2])
    shopper, time, category, stars, text = zip(*rows, strict=True) if rows else ((),) * 5
    none = np.full(len(rows), np.nan)
    return Reviews(ints(shopper), ints(time), ints(category), ints(category), np.array(stars, float), list(text), none)


def many(seed: int = 0, count: int = 800) -> list[Review]:
    """Return reviews of fifty shoppers, in English and Chinese, whose words go with their stars."""
    rng = np.random.default_rng(seed)
    rows: list[Review] = []
    for at in range(count):
        bad = rng.random() < 0.3
        text = str(rng.choice(BAD if bad else GOOD))
        rows.append((at % 50, ORIGIN + at * DAY // 100, at % 2, -1.0 if bad else 1.0, f"{text} word{at}"))
    return rows


def frames(rows: list[Review]) -> Frames:
    return replace(Shop([Person()] * 50, OFFERS).frames(), reviews=reviews(rows))


def filled(rows: list[Review], pairs: list[tuple[int, int, int]], sentiment: Sentiment | None = None) -> Floats:
    """Return the columns of rows (shopper, offer, time): what stars alone say, or this model too."""
    builder = FeatureBuilder(frames(rows))
    asked = shops.rows_of([(*pair, pair[2] + DAY) for pair in pairs])
    x = builder.build(asked)
    Tastes(sentiment=sentiment or Sentiment()).fill(builder, asked, x)
    return x


def test_it_learns_good_and_bad_in_two_languages() -> None:
    found = Sentiment.fit(reviews(many()), NOW)
    said = found.of_texts([*GOOD, *BAD, "zebra", ""])
    assert (said[:4] > 0.5).all()
    assert (said[4:8] < -0.5).all()
    assert np.isnan(said[8:]).all()
    assert phrases("Not good") == ["not", "good", "not good"]


def test_words_that_go_with_nothing_say_nothing() -> None:
    """The negative control: the same texts beside stars that were drawn by lot."""
    rows = many()
    stars = np.random.default_rng(1).permutation([row[3] for row in rows])
    mixed = [(*row[:3], float(given), row[4]) for row, given in zip(rows, stars, strict=True)]
    said = Sentiment.fit(reviews(mixed), NOW).of_texts([*GOOD, *BAD])
    assert np.abs(said).mean() < 0.35


def test_nobody_s_own_words_are_kept() -> None:
    """A version holds what at least twenty shoppers wrote: however often one repeats a name, it is not there."""
    rows = [(*row[:4], f"{row[4]} Aurelia") if row[0] == 7 else row for row in many()]
    told = json.dumps(Sentiment.fit(reviews(rows), NOW).as_json()).lower()
    assert "good" in told
    assert "aurelia" not in told
    assert "word1" not in told
    shared = [(*row[:4], f"{row[4]} Aurelia") if row[0] < 20 else row for row in many()]
    assert "aurelia" in json.dumps(Sentiment.fit(reviews(shared), NOW).as_json()).lower()


def test_too_few_reviews_leave_the_stars_alone() -> None:
    assert Sentiment.fit(reviews(many(count=60)), NOW).words == []
    praise = [row for row in many() if row[3] > 0]
    assert Sentiment.fit(reviews(praise), NOW).words == []


def test_later_reviews_teach_nothing_and_change_no_column() -> None:
    rows, moment = many(), ORIGIN + 8 * DAY + 1
    later = [(shopper, moment + shopper, 0, 1.0, f"{BAD[0]} zebra") for shopper in range(50)] * 8
    before, after = reviews(rows), reviews([*rows, *later])
    assert Sentiment.fit(after, moment).as_json() == Sentiment.fit(before, moment).as_json()
    assert Sentiment.fit(after, moment + DAY).as_json() != Sentiment.fit(before, moment).as_json()
    pairs = [(shopper, offer, moment) for shopper in range(5) for offer in range(3)]
    found = Sentiment.fit(before, moment)
    np.testing.assert_array_equal(
        filled([*rows, *later], pairs, found)[:, COLUMNS], filled(rows, pairs, found)[:, COLUMNS]
    )


def test_the_leakage_test_can_fail() -> None:
    """The negative control: a review a millisecond before the moment counts, one at the moment does not."""
    rows: list[Review] = [(0, ORIGIN, 0, 1.0, "")]
    pair = [(0, 0, ORIGIN + DAY)]
    assert filled([*rows, (0, ORIGIN + DAY - 1, 0, -1.0, "")], pair)[0, INDEX["review_given"]] == 0
    assert filled([*rows, (0, ORIGIN + DAY, 0, -1.0, "")], pair)[0, INDEX["review_given"]] == 1


def test_the_columns_are_means_of_the_shopper_and_of_the_category() -> None:
    rows: list[Review] = [
        (0, ORIGIN, 0, 1.0, ""), (0, ORIGIN + 1, 2, -0.5, ""), (0, ORIGIN + 2, -1, -1.0, ""), (1, ORIGIN, 0, 0.5, ""),
    ]  # fmt: skip
    x = filled(rows, [(0, 0, NOW), (0, 1, NOW), (0, 2, NOW), (2, 0, NOW)])
    given, match, every = (x[:, INDEX[name]] for name in ("review_given", "review_match", "review_category"))
    np.testing.assert_allclose(given[:3], (1 - 0.5 - 1) / 3, atol=1e-4)
    np.testing.assert_allclose(match[:2], [1.0, -0.5])
    np.testing.assert_allclose(
        every[[0, 1, 3]], [1.5 / (2 + REVIEW_PRIOR), -0.5 / (1 + REVIEW_PRIOR), every[0]], atol=1e-4
    )
    assert np.isnan([match[2], every[2], given[3], match[3]]).all()


def test_stars_and_text_weigh_alike_and_the_host_goes_before_the_model() -> None:
    found = Sentiment.fit(reviews(many()), NOW)
    rows = reviews([(0, 1, 0, -1.0, GOOD[0]), (0, 2, 0, np.nan, GOOD[0]), (0, 3, 0, np.nan, ""), (0, 4, 0, 0.5, "")])
    good = found.of_texts([GOOD[0]])[0]
    np.testing.assert_allclose(found.of(rows), [(good - 1) / 2, good, np.nan, 0.5])
    rows.hosted[0] = -1.0
    assert found.of(rows)[0] == -1


def test_training_and_serving_read_alike_and_versions_of_before_read_none() -> None:
    found = Sentiment.fit(reviews(many()), NOW)
    tastes = Tastes.from_json(json.loads(json.dumps(Tastes(sentiment=found).as_json())))
    pairs = [(0, 0, NOW), (3, 1, NOW)]
    assert tastes.sentiment is not None
    np.testing.assert_array_equal(filled(many(), pairs, tastes.sentiment), filled(many(), pairs, found))
    assert Tastes.from_json({"topics": None}).sentiment is None


def write(shopper: Shopper, text: str, rating: int, at: Any = population.START + timedelta(days=1)) -> None:
    properties = sealing.seal_properties("review_submitted", {"rating": rating, "text": text})
    assert text not in json.dumps(properties)
    Event.objects.create(
        source="t", event_id=f"{shopper.pk}-{Event.objects.count()}", type="review_submitted", shopper=shopper,
        occurred_at=at, item_id="shop-03", properties=properties,
    )  # fmt: skip


def judge(texts: list[str]) -> list[float | None]:
    """A host's function."""
    return [None if "hm" in text else 0.25 for text in texts]


def short(texts: list[str]) -> list[float]:
    return [0.0] * (len(texts) + 1)


def loud(texts: list[str]) -> list[float]:
    return [3.0] * len(texts)


def silent(texts: list[str]) -> Any:
    return None


def prose(texts: list[str]) -> Any:
    return "\n".join(texts)


def lazy(texts: list[str]) -> Any:
    return (0.0 for _text in texts)


def unsized(texts: list[str]) -> Any:
    return np.array(0.5)


def echo(texts: list[str]) -> Any:
    return texts


def huge(texts: list[str]) -> Any:
    return [10**400] * len(texts)


def array(texts: list[str]) -> Any:
    return np.array([0.5, np.nan][: len(texts)], dtype=np.float32)


@pytest.fixture
def asked(settings: Any) -> Any:
    settings.PERSONALIZATION = {**settings.PERSONALIZATION, "REVIEW_SENTIMENT": True}
    return settings


def test_reviews_are_opened_only_where_the_shop_asks(shop: Population, settings: Any) -> None:
    write(shop.shoppers[0], "lovely", 5)
    assert len(reading.load("shop", population.END).reviews) == 0
    settings.PERSONALIZATION = {**settings.PERSONALIZATION, "REVIEW_SENTIMENT": True}
    found = reading.load("shop", population.END).reviews
    assert (found.text, found.stars.tolist(), found.item.tolist()) == (["lovely"], [1.0], [3])
    assert np.isnan(found.hosted).all()


def test_who_withdrew_and_what_came_later_is_not_read(shop: Population, asked: Any) -> None:
    kept, gone, robot = shop.shoppers[:3]
    for person in (kept, gone, robot):
        write(person, f"by {person.pk}", 2)
    write(kept, "later", 1, population.END + timedelta(seconds=1))
    Shopper.objects.filter(pk=gone.pk).update(consent_personalisation=False)
    Shopper.objects.filter(pk=robot.pk).update(is_bot=True)
    found = reading.load("shop", population.END).reviews
    assert (found.text, found.stars.tolist()) == ([f"by {kept.pk}"], [-0.5])


def test_the_host_may_judge_the_texts(shop: Population, asked: Any) -> None:
    for text in ("fine", "hm: no idea", "splendid"):
        write(shop.shoppers[0], text, 3)
    asked.PERSONALIZATION = {**asked.PERSONALIZATION, "SENTIMENT": f"{__name__}.judge"}
    found = reading.load("shop", population.END).reviews
    np.testing.assert_array_equal(found.hosted, [0.25, np.nan, 0.25])


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("short", "2 values for 1 texts"), ("loud", "not between −1 and 1"), ("echo", "not between −1 and 1"),
        ("huge", "not between −1 and 1"), ("silent", "must return a list"), ("prose", "must return a list"),
        ("lazy", "must return a list"), ("unsized", "must return a list"),
    ],
)  # fmt: skip
def test_a_host_that_answers_nonsense_is_told_so(shop: Population, asked: Any, name: str, words: str) -> None:
    write(shop.shoppers[0], "fine", 3)
    asked.PERSONALIZATION = {**asked.PERSONALIZATION, "SENTIMENT": f"{__name__}.{name}"}
    with pytest.raises(PersonalizationError, match=f'PERSONALIZATION."SENTIMENT".*{words}') as refused:
        reading.load("shop", population.END)
    assert "fine" not in "".join(traceback.format_exception(refused.value)), "the sentence tells nothing of a review"


def test_a_host_may_answer_with_an_array(shop: Population, asked: Any) -> None:
    for text in ("fine", "no idea"):
        write(shop.shoppers[0], text, 3)
    asked.PERSONALIZATION = {**asked.PERSONALIZATION, "SENTIMENT": f"{__name__}.array"}
    np.testing.assert_array_equal(reading.load("shop", population.END).reviews.hosted, [0.5, np.nan])


# --- However much one shopper writes ----------------------------------------------------------------------------------


def test_of_each_shopper_so_many_reviews_and_letters_are_read(
    shop: Population, asked: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading.reviews, "MOST_REVIEWS", 2)
    monkeypatch.setattr(reading.reviews, "MOST_LETTERS", 4)
    loud, quiet = shop.shoppers[:2]
    for hour, text in enumerate(("third", "first", "second", "fourth")):
        write(loud, text, 3, population.START + timedelta(hours=(3, 1, 2, 4)[hour]))
    write(quiet, "short", 3)
    assert reading.load("shop", population.END).reviews.text == ["firs", "seco", "shor"]


def test_reviews_of_people_who_did_not_agree_do_not_leave_the_database(shop: Population, asked: Any) -> None:
    kept, gone, robot, merged = shop.shoppers[:4]
    for person in (kept, gone, robot, merged):
        write(person, f"by {person.pk}", 3)
    Shopper.objects.filter(pk=gone.pk).update(consent_personalisation=False)
    Shopper.objects.filter(pk=robot.pk).update(is_bot=True)
    Shopper.objects.filter(pk=merged.pk).update(merged_into=kept)
    assert [row[4] for row in reading.reviews._kept("shop", population.END)] == [f"by {kept.pk}"]


def plain_vocabulary(texts: list[str], shoppers: list[int]) -> list[str]:
    """Return what ``_vocabulary`` promises, held whole in memory."""
    users: dict[str, set[int]] = {}
    for text, shopper in zip(texts, shoppers, strict=True):
        for phrase in phrases(text):
            users.setdefault(phrase, set()).add(shopper)
    common = sorted((-len(who), phrase) for phrase, who in users.items() if len(who) >= sentiment.LEAST_SHOPPERS)
    return sorted(phrase for _count, phrase in common[: sentiment.MOST_WORDS])


@pytest.mark.parametrize("buckets", [7, 4096, sentiment.BUCKETS])
@pytest.mark.parametrize("most", [10, sentiment.MOST_WORDS])
def test_words_are_counted_exactly_however_many_share_a_bucket(
    monkeypatch: pytest.MonkeyPatch, buckets: int, most: int
) -> None:
    monkeypatch.setattr(sentiment, "BUCKETS", buckets)
    monkeypatch.setattr(sentiment, "MOST_WORDS", most)
    rng = np.random.default_rng(4)
    drawn = np.minimum(rng.zipf(1.3, (600, 12)), 500)
    texts = [" ".join(f"w{chr(97 + word % 26)}{chr(97 + word // 26)}" for word in row) for row in drawn.tolist()]
    shoppers = rng.integers(0, 80, len(texts)).tolist()
    found = sentiment._vocabulary(texts, shoppers)
    assert len(found) >= 10
    assert found == plain_vocabulary(texts, shoppers)


def test_what_one_shopper_writes_takes_no_memory() -> None:
    """Next to a shop's reviews, one shopper's 100,000 words and pairs of their own are not held."""
    rng = np.random.default_rng(5)
    letters = np.array(list("abcdefghijklmnopqrstuvwxyz"))
    own = [" ".join(map("".join, rng.choice(letters, (500, 5)))) for _ in range(100)]
    rows = many()
    texts, shoppers = [row[4] for row in rows] + own, [row[0] for row in rows] + [7] * len(own)
    grouped = sorted(zip(texts, shoppers, strict=True), key=lambda pair: pair[1])
    held = sentiment._users(grouped, sentiment._full_buckets(grouped))
    assert len(set(phrases("\n".join(own)))) > 90_000, "the negative control: this many are there to be held"
    assert len(held) < 500
    assert sentiment._vocabulary(texts, shoppers) == plain_vocabulary(texts, shoppers)
