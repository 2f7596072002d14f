"""The four-part network: the source's shapes, scaled attributes, a strategy that is a distribution."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from personalization.features.preparation import Preparation
from personalization.features.specification import FEATURES, INDEX, NAMES
from personalization.types import NO_OFFER, OfferKind
from tests.worker import planted
from worker.estimators.four_part import ARMS, ATTRIBUTES, BEHAVIOUR, OFFER, FourPartEstimator
from worker.networks.four_part import FourPart, SequenceEncoder, Widths

AGES = np.array([25.0, 30.0, 35.0, 40.0, 60.0])
EXAMPLE = Widths(behaviour_in=5, attributes=3, offer=0, arms=2, behaviour=10, fusion=3, effect=4, heads=1)


def ages(values: np.ndarray) -> np.ndarray:
    x = np.zeros((len(values), len(NAMES)))
    x[:, INDEX["age"]] = values
    return x


def network(widths: Widths = EXAMPLE, seed: int = 0) -> FourPart:
    torch.manual_seed(seed)
    return FourPart(widths).eval()


def fitted(rows: int = 600, **strategy: np.ndarray) -> FourPartEstimator:
    estimator = FourPartEstimator()
    if strategy:
        estimator.with_strategy(**strategy)
    estimator.fit(planted.samples(rows), seed=1, progress=planted.no_progress)
    return estimator


def test_the_sources_shapes() -> None:
    """Behaviour of 5 → 10 → fusion 3 → strategy of 2 arms → one probability of taking part."""
    net = network()
    shapes = {name: tuple(values.shape) for name, values in net.state_dict().items()}
    assert shapes["behaviour.0.weight"] == (10, 5)
    assert shapes["fusion.0.weight"] == (3, 10 + 3)
    assert shapes["strategy.weight"] == (2, 3)
    assert [shape[0] for name, shape in shapes.items() if name.startswith("effect") and "weight" in name][-1] == 1
    behaviour = torch.tensor([[0.0, 1, 1, 0, 1], [0.0, 0, 1, 0, 0], [1.0, 1, 0, 1, 1]])  # clicks, purchases, views
    attributes = torch.tensor([[0.1, 1.0, 1.0]] * 3)  # age (scaled), gender, place
    arms, effect = net(behaviour, attributes, torch.zeros(3, 0))
    assert (arms.shape, effect.shape) == ((3, 2), (3, 1))
    shares = torch.softmax(arms, dim=-1)
    assert shares.sum(dim=-1).tolist() == pytest.approx([1, 1, 1])
    assert ((torch.sigmoid(effect) > 0) & (torch.sigmoid(effect) < 1)).all()


def test_raw_ages_through_a_sigmoid_are_all_the_same() -> None:
    """What the article prints, .90983535 for five shoppers: σ(age) is 1 for every adult, and one number follows."""
    saturated = torch.sigmoid(torch.tensor(AGES, dtype=torch.float32))
    assert len(set(saturated.tolist())) == 1


def test_prepared_ages_differ() -> None:
    prepared = Preparation.fit(ages(AGES), ["age"]).transform(ages(AGES))[:, 0]
    assert np.abs(prepared).max() < 3
    outputs = torch.sigmoid(torch.tensor(prepared, dtype=torch.float32))
    assert (torch.diff(outputs) > 0.02).all()


def test_the_network_tells_shoppers_of_different_age_apart() -> None:
    """Prepared as training prepares them, five ages give five predictions; raw ones swamp every other attribute."""
    net = network()
    behaviour, offer = torch.zeros(5, 5), torch.zeros(5, 0)
    prepared = np.zeros((5, 3))
    prepared[:, 0] = Preparation.fit(ages(AGES), ["age"]).transform(ages(AGES))[:, 0]
    shares = torch.softmax(net(behaviour, torch.tensor(prepared, dtype=torch.float32), offer)[0], dim=-1)
    assert len({round(share, 5) for share in shares[:, 0].tolist()}) == 5


def test_the_attributes_it_trains_on_are_scaled() -> None:
    estimator = fitted()
    given = planted.samples(600)
    for name, preparation in estimator.preparations.items():
        values = preparation.transform(given.x)
        assert np.abs(values).max(initial=0) < 20, name
    age = next(column for column in estimator.preparations["attributes"].columns if column.name == "age")
    assert age.mean == pytest.approx(44, abs=4)
    assert age.scale > 5


def test_every_feature_enters_exactly_once() -> None:
    parts = [*BEHAVIOUR, *ATTRIBUTES, *OFFER]
    assert sorted(parts) == sorted(feature.name for feature in FEATURES)


def test_the_strategy_is_a_distribution_that_includes_no_offer() -> None:
    assert (*[kind.value for kind in OfferKind], NO_OFFER) == ARMS
    arm = np.arange(600) % len(ARMS)
    shares = fitted(arm=arm, weight=np.ones(600)).strategy(planted.held_out(50))
    assert shares.shape == (50, len(ARMS))
    np.testing.assert_allclose(shares.sum(axis=1), 1)
    assert (shares > 0).all()


def test_an_arm_that_was_never_logged_gets_nothing() -> None:
    arm = np.where(np.arange(600) % 2, ARMS.index(NO_OFFER), ARMS.index("coupon"))
    estimator = fitted(arm=arm, weight=np.ones(600))
    shares = estimator.strategy(planted.held_out(20))
    assert estimator.arms_seen == ["coupon", NO_OFFER]
    np.testing.assert_allclose(shares[:, [ARMS.index("coupon"), ARMS.index(NO_OFFER)]].sum(axis=1), 1)


def test_the_strategy_follows_the_value() -> None:
    """Old shoppers are worth more with a coupon, young ones without an offer: the shares say so."""
    given = planted.samples(2000)
    old = given.x[:, INDEX["age"]] > 44
    arm = np.where(np.arange(2000) % 2, ARMS.index(NO_OFFER), ARMS.index("coupon"))
    coupon = arm == ARMS.index("coupon")
    weight = np.where(coupon == old, 9.0, 1.0)
    estimator = FourPartEstimator().with_strategy(arm, weight)
    estimator.fit(given, seed=1, progress=planted.no_progress)
    test = planted.held_out()
    share = estimator.strategy(test)[:, ARMS.index("coupon")]
    age = test.x[:, INDEX["age"]]
    assert share[age > 50].mean() > share[age < 38].mean() + 0.2


def test_an_effect_does_not_train_the_strategy() -> None:
    """What to offer is learnt from value alone: the effect's gradient stops before the strategy."""
    net = network().train()  # in use the gradient runs through: explanations follow it
    _arms, effect = net(torch.ones(2, 5), torch.ones(2, 3), torch.zeros(2, 0))
    effect.sum().backward()
    assert net.strategy.weight.grad is None
    assert net.fusion[0].weight.grad is not None


def test_the_strategy_comes_back_from_its_file() -> None:
    estimator = fitted()
    restored = FourPartEstimator.restore(*estimator.dump())
    test = planted.held_out(30)
    np.testing.assert_array_equal(restored.strategy(test), estimator.strategy(test))


def test_a_width_of_ones_own_is_built_and_comes_back() -> None:
    given, test = planted.samples(600), planted.held_out(30)
    estimator = FourPartEstimator(width=12, dropout=0.0, learning_rate=1e-2)
    estimator.fit(given, seed=0, progress=planted.no_progress)
    restored = FourPartEstimator.restore(*estimator.dump())
    assert restored.settings == estimator.settings
    assert restored.network is not None
    assert restored.network.fusion[0].out_features == 12
    np.testing.assert_array_equal(restored.score(test), estimator.score(test))
    assert sum(estimator.importances().values()) == pytest.approx(1.0)
    assert estimator.importances().keys() == fitted().importances().keys()


def test_a_version_of_before_there_were_settings_has_the_shipped_ones() -> None:
    estimator = fitted()
    config, arrays = estimator.dump()
    del config["settings"]
    test = planted.held_out(30)
    np.testing.assert_array_equal(FourPartEstimator.restore(config, arrays).score(test), estimator.score(test))


def test_its_curves_are_kept_epoch_by_epoch() -> None:
    curves = fitted().curves
    assert len(curves) >= 2
    assert all(set(epoch) == {"train_loss", "watch_loss", "watch_accuracy"} for epoch in curves)
    assert curves[-1]["train_loss"] < curves[0]["train_loss"]
    assert all(0 <= epoch["watch_accuracy"] <= 1 for epoch in curves)


def test_the_best_epoch_is_the_one_that_is_kept() -> None:
    """The network that is left is the one of the lowest watched loss, not the last one."""
    estimator = fitted(1200)
    losses = [epoch["watch_loss"] for epoch in estimator.curves]
    assert min(losses) < losses[0]


def test_few_shoppers_leave_curves_that_can_be_stored() -> None:
    """One shopper can only be watched or taught: no figure may be nan (JSON columns refuse it), and both happen."""
    given = planted.samples(60)
    given.rows.shopper[:] = 1
    for seed in range(8):
        estimator = FourPartEstimator()
        estimator.fit(given, seed=seed, progress=planted.no_progress)
        assert all(np.isfinite(list(epoch.values())).all() for epoch in estimator.curves)
        assert estimator.curves[-1]["train_loss"] < estimator.curves[0]["train_loss"]


def test_the_encoder_reads_the_newest_event_last() -> None:
    """Padding stands in front: longer padding changes nothing but the start, the newest event changes the state."""
    torch.manual_seed(0)
    encoder = SequenceEncoder(types=12, categories=3, kinds=6).eval()
    sequence = torch.zeros(2, 20, 5)
    sequence[:, -3:, 0] = torch.tensor([1.0, 2.0, 3.0])
    sequence[1, -1, 0] = 4.0
    with torch.no_grad():
        encoded = encoder(sequence)
    assert encoded.shape == (2, 32)
    assert not torch.allclose(encoded[0], encoded[1])
