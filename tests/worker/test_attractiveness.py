"""Attractiveness: every estimator on one contract, the race between them, and the training around it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import numpy as np
import pytest
import torch
from django.db.models import F

from personalization.exceptions import ArtifactCorrupt, NotEnoughData
from personalization.features import launches as features
from personalization.features.launches import AT, COLUMNS, EARLIER_OFFER, STEPS, TOPICS, Launches
from personalization.learning import board, card, registry
from personalization.learning.sentences import of_error
from personalization.models import Exposure, ModelVersion
from personalization.types import ModelTask
from tests.worker import launching, population
from tests.worker.population import DAY, Population
from worker import train
from worker.attractiveness import base, learnt, race
from worker.attractiveness import train as attractiveness
from worker.attractiveness.base import Attractiveness, Prediction
from worker.attractiveness.race import REGISTRY, Entry, Race
from worker.costs import Cost

LEARNT = ("linear", "cnn")
PARAMS = {"parts": ["attractiveness"], "population": "shop"}


def silent(what: object, done: float) -> None:
    """Say nothing."""


def fitted(name: str, launches: Launches, seed: int = 0) -> Attractiveness:
    estimator: Attractiveness = REGISTRY[name]()
    estimator.fit(launches, seed=seed)
    return estimator


def score(estimator: Attractiveness, launches: Launches) -> float:
    return float(estimator.predict(launches).log_score(launches).mean())


def unseen(**given: Any) -> Launches:
    """Return launches of other offers, drawn by the same rule."""
    drawn = launching.build(300, seed=7, **given)
    drawn.offer += 10_000
    return drawn


@pytest.mark.parametrize("name", LEARNT)
def test_a_signal_is_found(name: str) -> None:
    known, later = launching.build(signal="depth"), unseen(signal="depth")
    estimator = fitted(name, known)
    assert score(estimator, later) > score(fitted("shrunk_mean", known), later) + 0.3
    rate = 1 / (1 + np.exp(-(launching.LEVEL + 5.0 * (later.x[:, 0, AT["depth"]] - 0.275))))
    assert np.corrcoef(estimator.predict(later).mean, rate)[0, 1] > 0.9


def test_only_the_cnn_sees_a_single_day() -> None:
    known, later = launching.build(signal="busy"), unseen(signal="busy")
    mean, linear, cnn = (score(fitted(name, known), later) for name in REGISTRY)
    assert cnn > max(mean, linear) + 0.3


@pytest.mark.parametrize("name", LEARNT)
def test_nothing_is_found_where_nothing_is(name: str) -> None:
    known, later = launching.build(signal="depth"), unseen(signal="depth")
    order = np.random.default_rng(3).permutation(len(known))
    known.shown, known.responded = known.shown[order], known.responded[order]
    assert score(fitted(name, known), later) < score(fitted("shrunk_mean", known), later) + 0.05


@pytest.mark.parametrize("name", REGISTRY)
def test_intervals_hold_as_often_as_they_say(name: str) -> None:
    """Eight shops of forty launches each: of what came next, 80 % lies within."""
    hits = []
    for shop in range(8):
        drawn = launching.build(50, signal="none", seed=shop)
        known, later = drawn.take(np.arange(40)), drawn.take(np.arange(40, 50))
        entry = Entry(name, fitted(name, known).predict(later), Cost())
        hits.append(race.held(Race(later, [entry]), entry)[0])
    assert np.concatenate(hits).mean() == pytest.approx(0.8, abs=0.1)


def test_intervals_that_are_too_sure_are_noticed() -> None:
    later = unseen(signal="none")
    entry = Entry("sure", Prediction(np.full(len(later), 0.18), np.full(len(later), 5_000.0)), Cost())
    assert race.held(Race(later, [entry]), entry)[0].mean() < 0.6


@pytest.mark.parametrize("straying", [15.0, 60.0, 250.0])
def test_how_far_launches_stray_is_found(straying: float) -> None:
    known = launching.build(150, signal="none", straying=straying)
    for name in REGISTRY:
        (precision,) = set(fitted(name, known).predict(known).precision.tolist())
        assert straying / 2.5 < precision < straying * 2.5, name


@pytest.mark.parametrize("name", REGISTRY)
def test_the_same_seed_gives_the_same(name: str) -> None:
    known, later = launching.build(), unseen()
    first, second = (fitted(name, known, seed=4).predict(later) for _ in range(2))
    np.testing.assert_array_equal(first.mean, second.mean)
    np.testing.assert_array_equal(first.precision, second.precision)


@pytest.mark.parametrize("name", REGISTRY)
def test_it_comes_back_as_it_was(name: str) -> None:
    known, later = launching.build(), unseen()
    estimator = fitted(name, known)
    again = REGISTRY[name].restore(*estimator.dump())
    for launches in (known, later):
        np.testing.assert_array_equal(again.predict(launches).mean, estimator.predict(launches).mean)
        np.testing.assert_array_equal(again.predict(launches).precision, estimator.predict(launches).precision)


@pytest.mark.parametrize("name", REGISTRY)
def test_the_parts_add_up(name: str) -> None:
    known, later = launching.build(), unseen()
    later.offer[:20] = known.offer[:20]  # offers with launches of their own
    estimator = fitted(name, known)
    told = estimator.explain(later)
    mean = estimator.predict(later).mean
    np.testing.assert_allclose(told.base + told.values.sum(axis=1), np.log(mean / (1 - mean)), atol=1e-6)
    own = told.values[:, [topic.code for topic in TOPICS].index(EARLIER_OFFER)]
    assert np.abs(own[:20]).max() > 0.01
    np.testing.assert_allclose(own[20:], 0, atol=1e-6)


@pytest.mark.parametrize("name", LEARNT)
def test_what_was_never_seen_is_told_as_the_nearest_that_was(name: str) -> None:
    """Three weeks of summer say nothing of a November: no trend is drawn on beyond the launches that there were."""
    known, later = launching.build(signal="depth"), unseen(signal="depth")
    estimator = fitted(name, known)
    later.x[:, :, AT["depth"]] = known.x[:, :, AT["depth"]].max()
    edge = estimator.predict(later).mean
    later.x[:, :, AT["depth"]] *= 20
    np.testing.assert_array_equal(estimator.predict(later).mean, edge)
    later.x[:, :, AT["depth"]] = known.x[:, :, AT["depth"]].min()
    assert (estimator.predict(later).mean < edge - 0.02).all()


@pytest.mark.parametrize("name", LEARNT)
def test_what_carries_a_launch_is_named(name: str) -> None:
    told = np.abs(fitted(name, launching.build(signal="depth")).explain(unseen(signal="depth")).values).mean(axis=0)
    assert TOPICS[int(np.argmax(told))].code == "benefit"


@pytest.mark.parametrize("name", REGISTRY)
@pytest.mark.parametrize("sort", ["two", "constant", "nobody", "everybody", "huge ids"])
def test_odd_launches_are_borne(name: str, sort: str) -> None:
    known = launching.build(2 if sort == "two" else 30)
    if sort == "constant":
        known.x[:], known.kind[:], known.shown[:], known.responded[:] = 1.0, 0, 100, 20
    if sort in {"nobody", "everybody"}:
        known.responded = np.zeros_like(known.shown) if sort == "nobody" else known.shown.copy()
    if sort == "huge ids":
        known.offer += 2**62
    said = fitted(name, known).predict(unseen())
    assert np.isfinite(said.mean).all()
    assert ((said.mean > 0) & (said.mean < 1) & (said.precision > 0)).all()
    nothing = fitted(name, known).predict(known.take(np.zeros(len(known), dtype=bool)))
    assert len(nothing.mean) == 0


def test_an_offer_with_launches_of_its_own_is_told_by_them() -> None:
    known = launching.build(60, signal="none", straying=40.0, shown=200)
    known.offer = np.arange(60) // 6  # each offer six times
    own = np.linspace(0.05, 0.6, 10)[known.offer]
    known.responded = np.random.default_rng(1).binomial(known.shown, own)
    for name in REGISTRY:
        estimator = fitted(name, known)
        np.testing.assert_allclose(estimator.predict(known).mean, own, atol=0.09, err_msg=name)
        new = known.take(np.array([0]))
        new.offer[:] = 99
        assert 0.2 < estimator.predict(new).mean[0] < 0.45, name  # of a new one, no more than its kind is known


def test_the_log_probability_is_the_beta_binomial_one() -> None:
    k = np.arange(13)
    told = base.log_probability(k, np.full(13, 12), np.full(13, 0.3), np.full(13, 20.0))
    assert np.exp(told).sum() == pytest.approx(1)
    assert (np.exp(told) * k).sum() == pytest.approx(12 * 0.3)


def test_every_block_is_taught_by_what_was_known_when_it_began() -> None:
    launches = launching.build(40)
    launches.known[5] = launches.start[30]  # one whose outcomes took long
    found = race.blocks(launches)
    assert len(found) == race.MOST_BLOCKS
    for taught, tested in found:
        assert launches.known[taught].max() <= launches.start[tested].min()
        assert len(taught) >= race.MIN_TAUGHT
    tested = np.concatenate([rows for _taught, rows in found])
    assert tested.tolist() == sorted(set(tested.tolist()))
    assert all(5 not in taught for taught, tested in found if launches.start[tested[0]] < launches.start[30])


@pytest.mark.parametrize(("rows", "begun"), [(0, 0), (4, 0), (11, 5)])
def test_too_few_launches_are_said(rows: int, begun: int) -> None:
    with pytest.raises(NotEnoughData, match=rf"Not enough launches yet \({rows} of 12\): .*; {begun} have\."):
        race.blocks(launching.build(rows))


def judged(launches: Launches, reigning: ModelVersion | None = None) -> Race:
    return race.judge(race.run(launches, seed=0, stage=silent), reigning)


def test_the_better_one_wins_and_shuffled_it_does_not() -> None:
    launches = launching.build(signal="busy")
    won = judged(launches)
    assert (won.champion, won.promoted) == ("cnn", True)
    assert won.gains["cnn"][1] > 0
    order = np.random.default_rng(5).permutation(len(launches))
    launches.shown, launches.responded = launches.shown[order], launches.responded[order]
    lost = judged(launches)
    assert (lost.champion, lost.promoted) == ("shrunk_mean", True)
    assert len(lost.reasons) == 2
    assert all("Not shown to be better than shrunk_mean" in str(reason) for reason in lost.reasons)


def test_intervals_that_do_not_hold_are_refused() -> None:
    later = unseen(signal="none")
    wide = Entry("shrunk_mean", Prediction(np.full(len(later), 0.5), np.full(len(later), 2.0)), Cost())
    sure = Entry("linear", Prediction(np.full(len(later), 0.18), np.full(len(later), 600.0)), Cost())
    found = race.judge(Race(later, [wide, sure]), None)
    named = {check.name: check.passed for check in sure.checks}
    assert (named["simpler"], named["calibration"], found.champion) == (True, False, "shrunk_mean")
    assert "intervals of 80 % held what happened" in str(found.reasons[0])


def test_what_reigns_is_asked_in_the_same_race() -> None:
    launches = launching.build(signal="depth")
    reigning = ModelVersion(pk=3, task="attractiveness", estimator="linear", card={})
    found = judged(launches, reigning)
    checks = {check.name: check for check in found.entry(found.champion).checks}
    assert checks["reigning"].passed is (found.champion == "linear")
    gone = ModelVersion(pk=4, task="attractiveness", estimator="tarot", card={})
    checks = {check.name: check for check in judged(launches, gone).entry(found.champion).checks}
    assert "cannot be asked any more" in checks["reigning"].sentence


@pytest.fixture
def trained(shop: Population) -> train.Outcome:
    return train.run(None, PARAMS, silent, until=population.END)


def test_it_is_one_of_the_parts_of_a_training(trained: train.Outcome) -> None:
    assert {version.estimator for version in trained.versions} == set(REGISTRY)
    (champion,) = trained.promoted
    assert registry.champion(ModelTask.ATTRACTIVENESS, "shop") == champion
    assert str(trained.sentences[0]).startswith("Attractiveness, 18 launches, 12 tested: ")
    rows = board.board("shop")
    assert {row.task for row in rows} == {"attractiveness"}
    assert set(rows[0].metrics) == {"log_score", "mae", "coverage_80", "width_80"}
    told = card.build(champion)
    assert any("the share that responds" in limit for limit in told.limits)
    assert sum(weight.share for weight in told.topics) == pytest.approx(1, abs=0.01)
    assert [row.value for row in told.data if row.name == "Launches learnt from"] == ["18"]


def test_a_version_comes_back_from_its_file(trained: train.Outcome, monkeypatch: pytest.MonkeyPatch) -> None:
    launches = launching.build()
    for version in trained.versions:
        estimator = attractiveness.load(version)
        assert estimator.name == version.estimator
        assert np.isfinite(estimator.predict(launches).mean).all()
    monkeypatch.setattr(features, "VERSION", features.VERSION + 1)
    with pytest.raises(ArtifactCorrupt, match="earlier description of launches"):
        attractiveness.load(trained.versions[0])


def test_what_comes_after_the_cut_off_changes_no_file(trained: train.Outcome) -> None:
    before = [version.sha256 for version in trained.versions]
    shown = Exposure.objects.exclude(offer=None).order_by("-exposed_at").first()
    assert shown is not None
    shown.pk, shown.exposed_at = None, population.END + DAY
    shown.window_ends_at = population.END + 4 * DAY
    shown.save(force_insert=True)
    again = train.run(None, PARAMS, silent, until=population.END)
    assert [version.sha256 for version in again.versions] == before


def test_an_outcome_before_the_cut_off_does(trained: train.Outcome) -> None:
    """The negative control."""
    before = [version.sha256 for version in trained.versions]
    first = Exposure.objects.exclude(offer=None).filter(redeemed_at=None).order_by("exposed_at")[:20]
    Exposure.objects.filter(pk__in=[one.pk for one in first]).update(redeemed_at=population.wave(1) + DAY)
    again = train.run(None, PARAMS, silent, until=population.END)
    assert not set(before) & {version.sha256 for version in again.versions}


def test_too_few_launches_make_no_version(shop: Population) -> None:
    with pytest.raises(NotEnoughData) as refused:
        train.run(None, PARAMS, silent, until=population.wave(3) - DAY)
    said = str(of_error(refused.value))
    assert said.startswith("No attractiveness of campaigns: Not enough launches yet (6 of 12): ")
    assert not ModelVersion.objects.exists()


@pytest.mark.parametrize(
    ("everybody", "sentence"),
    [(False, "Nobody has responded to any of the 18 launches yet."), (True, "Everybody responded to all of the")],
)
def test_launches_that_all_went_alike_tell_nothing(shop: Population, everybody: bool, sentence: str) -> None:
    shown = Exposure.objects.exclude(offer=None)
    shown.update(redeemed_at=F("exposed_at") + timedelta(hours=1) if everybody else None)
    with pytest.raises(NotEnoughData) as refused:
        train.run(None, PARAMS, silent, until=population.END)
    assert sentence in str(refused.value)
    assert not ModelVersion.objects.exists()


def test_the_matrix_has_the_shape_it_says() -> None:
    assert launching.build(3).x.shape == (3, STEPS, len(COLUMNS))
    for kind in (learnt.LaunchLinear, learnt.LaunchCnn):
        assert kind().network(torch.zeros(3, STEPS, len(COLUMNS))).shape == (3,)
