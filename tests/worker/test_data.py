"""From frames to matrices: temporal folds, labels, vocabularies and sequences."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from personalization.features.compute import KINDS, FeatureBuilder
from personalization.features.frames import NEVER, TYPE_CODE, Frames
from personalization.features.specification import INDEX
from personalization.types import HEADS
from tests.features import shops
from tests.features.shops import DAY, HOUR, ORIGIN, Happening, OfferTerms, Person, Shop, Shown
from worker.data import LEAST_SHOPPERS, SEQUENCE_LENGTH, SequenceBuilder, Vocabularies, assemble, folds, horizon, labels

COUPON, NEWS = OfferTerms(0, "coupon", amount=5), OfferTerms(1, "announcement")


def waves(*sizes: int) -> np.ndarray:
    """Return exposure times: one wave a week, of these sizes."""
    return np.concatenate([np.full(size, ORIGIN + 7 * DAY * number) for number, size in enumerate(sizes)])


def test_the_latest_waves_are_the_test() -> None:
    time = waves(600, 600, 300, 300)
    (fold,) = folds(time, 3 * DAY, most=1)
    assert fold.origin == time[-1]
    np.testing.assert_array_equal(fold.test, time == time[-1])
    np.testing.assert_array_equal(fold.train, time < time[-1])


def test_what_had_not_matured_when_the_test_began_teaches_nothing() -> None:
    """A window of ten days: the wave a week before the test was still open."""
    time = waves(600, 600, 300, 300)
    (fold,) = folds(time, 10 * DAY, most=1)
    np.testing.assert_array_equal(fold.train, time <= time[-1] - 10 * DAY)
    assert not (fold.train & fold.test).any()
    assert (~fold.train & ~fold.test).sum() == 300


def test_origins_roll_back() -> None:
    time = waves(600, 600, 300, 300)
    latest, earlier = folds(time, 3 * DAY, most=2)
    assert earlier.origin < latest.origin
    np.testing.assert_array_equal(earlier.test, time == time[-301])


@given(
    st.lists(st.integers(0, 30), min_size=20, max_size=80),
    st.integers(1, 20),
    st.floats(0.05, 0.5),
)
def test_no_fold_knows_its_future(days: list[int], span: int, share: float) -> None:
    time = ORIGIN + np.array(days, dtype=np.int64) * DAY
    found = folds(time, span * DAY, most=3, test_share=share, min_train=5)
    end = np.iinfo(np.int64).max
    for fold in found:
        assert (time[fold.train] + span * DAY).max() <= fold.origin <= time[fold.test].min()
        for moment in np.unique(time[fold.test]):  # a wave is not torn apart
            assert fold.test[time == moment].all()
        assert time[fold.test].max() < end
        assert len(np.unique(time[fold.train])) >= 2
        end = fold.origin


def test_the_test_block_holds_about_its_share() -> None:
    time = ORIGIN + np.arange(10_000, dtype=np.int64) * HOUR
    (fold,) = folds(time, HOUR, most=1)
    assert fold.test.mean() == pytest.approx(0.15, abs=0.001)


@pytest.mark.parametrize(
    "time",
    [
        pytest.param(np.zeros(0, dtype=np.int64), id="nothing"),
        pytest.param(waves(5000), id="one wave"),
        pytest.param(waves(3000, 3000), id="one wave before the test"),
        pytest.param(waves(300, 300, 300), id="too few"),
    ],
)
def test_without_enough_of_a_past_there_is_no_fold(time: np.ndarray) -> None:
    assert folds(time, 3 * DAY) == []


def test_the_horizon_is_the_longest_window() -> None:
    shown = [Shown(0, ORIGIN, 0, ORIGIN + DAY), Shown(0, ORIGIN + DAY, 0, ORIGIN + 4 * DAY)]
    assert horizon(Shop([Person()], [COUPON], shown=shown).frames()) == 3 * DAY
    assert horizon(Shop([Person()], [COUPON]).frames()) == 0


def judged(*rows: tuple[int, dict[str, int]]) -> Frames:
    """Return frames of exposures: (offer, outcome → hours after the exposure); every window is one day."""
    shown = [Shown(0, ORIGIN + number, offer, ORIGIN + number + DAY) for number, (offer, _outcomes) in enumerate(rows)]
    frames = Shop([Person()], [COUPON, NEWS], shown=shown).frames()
    for name, column in (("view", "viewed"), ("click", "clicked"), ("redeem", "redeemed"), ("purchase", "purchased")):
        hours = [outcomes.get(name) for _offer, outcomes in rows]
        moments = [NEVER if h is None else ORIGIN + n + h * HOUR for n, h in enumerate(hours)]
        setattr(frames.exposures, column, np.array(moments, dtype=np.int64))
    return frames


def test_an_outcome_counts_inside_its_window() -> None:
    y = labels(judged((0, {"view": 1, "redeem": 24}), (0, {"view": 25}), (0, {})))
    assert y[:, HEADS.index("view")].tolist() == [1, 0, 0]
    assert y[:, HEADS.index("redeem")].tolist() == [1, 0, 0]


def test_an_announcement_and_a_control_row_cannot_be_redeemed() -> None:
    y = labels(judged((0, {"redeem": 1}), (1, {"view": 1}), (-1, {"purchase": 1})))
    assert np.isnan(y[1:, HEADS.index("redeem")]).all()
    assert y[0, HEADS.index("redeem")] == 1


def test_an_outcome_that_is_never_recorded_is_unknown_not_zero() -> None:
    y = labels(judged((0, {"view": 1}), (0, {}), (-1, {"purchase": 2})))
    assert np.isnan(y[:, HEADS.index("click")]).all()
    assert np.isnan(y[:, HEADS.index("purchase")]).all()  # control rows alone do not make it known
    assert not np.isnan(y[:2, HEADS.index("view")]).any()


def sequence_shop() -> Shop:
    people = [Person({"city": "Riga", "tier": "gold"}), Person({"city": "Oslo"}), Person({"city": "Riga"})]
    happenings = [
        Happening(0, ORIGIN, "product_viewed", category=2),
        Happening(0, ORIGIN + HOUR, "order_placed", value=20),
        Happening(0, ORIGIN + 5 * HOUR, "search_performed"),
        *[Happening(1, ORIGIN + minute, "page_viewed") for minute in range(30)],
    ]
    return Shop(people, [COUPON, NEWS], happenings, [Shown(0, ORIGIN + 2 * HOUR, 1, ORIGIN + DAY)])


def test_a_sequence_is_the_past_oldest_first_padded_in_front() -> None:
    builder = FeatureBuilder(sequence_shop().frames())
    vocabularies = Vocabularies(categories={"books": 1, "tea": 2})
    rows = shops.rows_of([(0, 0, ORIGIN + 5 * HOUR, ORIGIN + DAY), (2, 0, ORIGIN + DAY, ORIGIN + 2 * DAY)])
    sequence, length = SequenceBuilder(builder, vocabularies).build(rows)
    assert length.tolist() == [3, 0]
    assert not sequence[0, :-3].any()
    assert not sequence[1].any()
    kinds = [TYPE_CODE[name] + 1 for name in ("product_viewed", "order_placed", "offer_shown")]
    assert sequence[0, -3:, 0].tolist() == kinds
    assert sequence[0, -3:, 1].tolist() == [2, 0, 0]
    assert sequence[0, -3:, 2].tolist() == [0, 0, KINDS.index("announcement") + 1]
    np.testing.assert_allclose(sequence[0, -3:, 3], np.log1p([5, 4, 3]), rtol=1e-6)
    np.testing.assert_allclose(sequence[0, -3:, 4], np.log1p([0, 20, 0]), rtol=1e-6)


def test_a_long_past_is_cut_to_the_newest_events() -> None:
    builder = FeatureBuilder(sequence_shop().frames())
    rows = shops.rows_of([(1, 0, ORIGIN + 30, ORIGIN + DAY), (1, 0, ORIGIN + 29, ORIGIN + DAY)])
    sequence, length = SequenceBuilder(builder, Vocabularies()).build(rows)
    assert length.tolist() == [SEQUENCE_LENGTH] * 2
    hours = np.arange(SEQUENCE_LENGTH, 0, -1) / HOUR
    np.testing.assert_allclose(sequence[0, :, 3], np.log1p(hours), rtol=1e-4)


@given(data=st.data())
def test_the_future_changes_no_sequence(data: st.DataObject) -> None:
    shop = data.draw(shops.shops())
    moment = data.draw(shops.times)
    rows = shops.rows_of([(shopper, 0, moment, moment + DAY) for shopper in range(len(shop.people))])
    later = st.builds(lambda hours: moment + hours * HOUR, st.integers(0, 300))
    more = shop.with_more(
        data.draw(shops.happenings(len(shop.people), len(shop.offers), later)),
        data.draw(shops.exposures(len(shop.people), len(shop.offers), later)),
    )
    vocabularies = Vocabularies(categories={"books": 1, "shoes": 2, "tea": 3})
    before, length = SequenceBuilder(FeatureBuilder(shop.frames()), vocabularies).build(rows)
    after, same = SequenceBuilder(FeatureBuilder(more.frames()), vocabularies).build(rows)
    np.testing.assert_array_equal(after, before)
    np.testing.assert_array_equal(same, length)


def test_vocabularies_know_what_the_rows_show_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fitted before the cut-off: a city that only later rows bring shares the code of the unknown."""
    monkeypatch.setattr("worker.data.LEAST_SHOPPERS", 1)
    builder = FeatureBuilder(sequence_shop().frames())
    early = shops.rows_of([(0, 0, ORIGIN, ORIGIN + DAY), (2, 0, ORIGIN, ORIGIN + DAY)])
    vocabularies = Vocabularies.fit(builder, early)
    assert vocabularies.text["city"] == {"Riga": 1}
    assert vocabularies.text["tier"] == {"gold": 1}
    assert vocabularies.offers == {"101": 1}
    every = shops.rows_of([(0, 0, ORIGIN, ORIGIN + DAY), (1, 1, ORIGIN, ORIGIN + DAY)])
    samples = assemble(builder, every, np.zeros((2, len(HEADS))), np.array([1, 2]), vocabularies)
    assert samples.x[:, INDEX["city"]].tolist() == [1, 0]
    assert samples.x[:, INDEX["tier"]].tolist() == [1, 0]
    assert samples.x[:, INDEX["offer"]].tolist() == [1, 0]
    assert samples.kind.tolist() == [KINDS.index("coupon"), KINDS.index("announcement")]


def test_a_version_knows_of_profiles_what_several_people_share() -> None:
    """What one of them alone tells would stay in its files after they are erased. How often they come does not help."""
    towns = ["Riga"] * LEAST_SHOPPERS + ["Oslo"] * (LEAST_SHOPPERS - 1)
    shop = shops.Shop([shops.Person({"city": town, "gender": f"g-{town}"}) for town in towns], sequence_shop().offers)
    once = [(shopper, 0, ORIGIN, ORIGIN + DAY) for shopper in range(len(towns))]
    often = [(len(towns) - 1, 0, ORIGIN + DAY, ORIGIN + 2 * DAY)] * 50
    vocabularies = Vocabularies.fit(FeatureBuilder(shop.frames()), shops.rows_of(once + often))
    assert vocabularies.text == {"gender": {"g-Riga": 1}, "city": {"Riga": 1}, "tier": {}}
    assert "Oslo" not in json.dumps(vocabularies.as_json())


def test_the_most_frequent_values_come_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("worker.data.LEAST_SHOPPERS", 1)
    builder = FeatureBuilder(sequence_shop().frames())
    rows = shops.rows_of([(shopper, 0, ORIGIN, ORIGIN + DAY) for shopper in (1, 0, 2)])
    vocabularies = Vocabularies.fit(builder, rows)
    assert vocabularies.text["city"] == {"Riga": 1, "Oslo": 2}
    assert vocabularies.sizes() == {"gender": 1, "city": 3, "tier": 2, "offer": 2, "offer_kind": len(KINDS)}
    assert Vocabularies.from_json(json.loads(json.dumps(vocabularies.as_json()))) == vocabularies


def test_samples_are_taken_row_by_row() -> None:
    builder = FeatureBuilder(sequence_shop().frames())
    rows = shops.rows_of([(shopper, 0, ORIGIN + DAY, ORIGIN + 2 * DAY) for shopper in (0, 1, 2)])
    samples = assemble(builder, rows, np.eye(3, len(HEADS)), np.array([7, 8, 9]), Vocabularies.fit(builder, rows))
    taken = samples.take(np.array([False, True, True]))
    assert (len(samples), len(taken)) == (3, 2)
    assert taken.exposure.tolist() == [8, 9]
    assert taken.rows.shopper.tolist() == [1, 2]
    np.testing.assert_array_equal(taken.sequence, samples.sequence[1:])
