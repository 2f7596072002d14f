"""The quick model's teacher: the page's own features, a planted signal found, noise kept from shipping."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from personalization.features.compute import FeatureBuilder, Rows
from personalization.features.frames import STREAM_TYPES, Frames
from personalization.learning import registry
from personalization.pure import quick as page
from personalization.types import HEADS, ModelTask
from tests.worker import population
from tests.worker.population import Population
from worker import quick, response, score, train
from worker.calibrate import Calibrator
from worker.estimators.base import sigmoid
from worker.response import Fitted

SAME = page.NAMES.index("same_category")
ORDERED = page.NAMES.index("ordered")
SPENT, INCOME = page.NAMES.index("spent"), page.NAMES.index("income")


@pytest.fixture
def problem(frames: Frames) -> response.Problem:
    """The small shop's, with a category that offers are about and some events without one."""
    frames.offers.category[:] = np.arange(len(frames.offers)) % max(len(frames.categories), 1)
    frames.events.category[::7] = -1
    for place, attributes in enumerate(frames.shoppers.attributes):
        if place % 3:
            attributes["income"] = 20_000 + 500 * place
    return response.pose(frames)


def as_the_page_sees_it(frames: Frames, rows: Rows, row: int) -> list[float]:
    """Return a row's features from its events one by one, as a decision computes them."""
    events = frames.events
    past = np.flatnonzero((events.shopper == rows.shopper[row]) & (events.time < rows.time[row]))
    names = [*frames.categories, ""]
    recent = [
        page.Recent(
            STREAM_TYPES[events.type[at]],
            names[events.category[at]],
            (rows.time[row] - events.time[at]) / 60_000,
            events.value[at] * 10**frames.digits,
        )
        for at in past
    ]
    income = frames.shoppers.attributes[rows.shopper[row]].get("income")
    person = page.Person(income, (rows.time[row] - frames.shoppers.joined[rows.shopper[row]]) / 86_400_000)
    return page.features(page.Known(recent, person), names[frames.offers.category[rows.offer[row]]])


def test_training_and_page_compute_the_same(problem: response.Problem) -> None:
    rows = problem.shown
    found = quick.recent_features(problem.builder, rows)
    drawn = np.random.default_rng(0).choice(len(rows), 150, replace=False)
    for row in drawn:
        assert found[row] == pytest.approx(as_the_page_sees_it(problem.frames, rows, int(row)))
    assert (found.std(axis=0)[[SAME, ORDERED, SPENT, INCOME]] > 0).all(), "a comparison of constants tells nothing"


def test_nothing_later_counts(problem: response.Problem) -> None:
    rows = problem.shown.__class__(*(getattr(problem.shown, name)[:200] for name in Rows.__slots__))
    before = quick.recent_features(problem.builder, rows)
    events = problem.frames.events
    later = events.time >= rows.time.max()
    assert later.any()
    events.category[later] = 0
    assert np.array_equal(quick.recent_features(FeatureBuilder(problem.frames), rows), before)
    events.category[~later] = 0  # the control: what is earlier counts
    assert not np.array_equal(quick.recent_features(FeatureBuilder(problem.frames), rows), before)


def test_a_planted_signal_is_learnt_pruned_and_rounded(problem: response.Problem) -> None:
    x, offer = quick.recent_features(problem.builder, problem.shown), problem.shown.offer
    level = np.linspace(-1.5, 0.5, len(problem.frames.offers))[offer]
    target = np.repeat(sigmoid(level + 2.0 * x[:, SAME] - 1.0 * x[:, ORDERED])[:, None], len(HEADS), axis=1)
    student = quick.learn(x, offer, target, problem.frames)
    assert np.abs(student.score(x, offer)[:, 0] - target[:, 0]).mean() < 0.02
    weights = student.weights[0] * student.scale[0]
    assert weights[[SAME, ORDERED]] == pytest.approx([2.0, -1.0], abs=0.3)
    assert student.weights.dtype.kind == "i"
    assert np.abs(student.weights).max() == quick.LARGEST
    assert (student.weights[0] == 0).sum() >= 4, "what moves nothing is pruned"


def test_the_page_predicts_what_the_student_says(problem: response.Problem) -> None:
    x, offer = quick.recent_features(problem.builder, problem.shown), problem.shown.offer
    target = np.repeat(sigmoid(x[:, SAME] - 1)[:, None], len(HEADS), axis=1)
    student = quick.learn(x, offer, target, problem.frames)
    stored, p = page.read(json.loads(json.dumps(student.as_json(problem.frames)))), student.score(x, offer)
    assert stored is not None
    for row in range(0, len(offer), 97):
        key = str(int(problem.frames.offers.ids[offer[row]]))
        assert page.predict(stored, key, "", x[row].tolist()) == pytest.approx(p[row], abs=1e-5)


def teacher_of(samples: Any, p: np.ndarray) -> Fitted:
    """Return a fit that has said ``p`` to the test rows, whatever the head."""
    return Fitted("known", None, Calibrator.fit(p[:0], p[:0]), p)  # type: ignore[arg-type]


@pytest.mark.parametrize("shuffled", [False, True])
def test_it_ships_where_it_beats_the_means_and_not_on_noise(problem: response.Problem, shuffled: bool) -> None:
    rng = np.random.default_rng(3)
    x, offer = quick.recent_features(problem.builder, problem.shown), problem.shown.offer
    p = np.repeat(sigmoid(3.0 * x[:, SAME] - 1.5)[:, None], len(HEADS), axis=1)
    problem.y = (rng.random(p.shape) < p).astype(np.float64)
    test = response.samples_of(problem, np.ones(len(offer), dtype=bool))
    learnt = rng.permutation(p) if shuffled else p
    student = quick.learn(x, offer, learnt, problem.frames)
    told = quick.judge(problem, student, teacher_of(test, p), test, "redeem", seed=0)
    assert told["ships"] is not shuffled
    assert told["all"]["rows"] == len(offer)
    lost = told["all"]["auc_lost"]
    assert lost < 0.02 if not shuffled else lost > 0.05


@pytest.mark.parametrize("offers", ["some", "none"])
def test_offers_that_were_never_shown_before_are_judged_by_their_kind(problem: response.Problem, offers: str) -> None:
    """Each wave of a shop may bring offers of its own: the test block then holds nothing that was learnt from."""
    x, offer = quick.recent_features(problem.builder, problem.shown), problem.shown.offer
    p = np.repeat(sigmoid(3.0 * x[:, SAME] - 1.5)[:, None], len(HEADS), axis=1)
    problem.y = (np.random.default_rng(3).random(p.shape) < p).astype(np.float64)
    test = response.samples_of(problem, np.ones(len(offer), dtype=bool))
    known = offer == 0 if offers == "none" else offer < offer.max()
    student = quick.learn(x[known], offer[known], p[known], problem.frames)
    told = quick.judge(problem, student, teacher_of(test, p), test, "redeem", seed=0)
    kind = np.array(problem.frames.offers.kinds)
    seen = np.isin(kind[offer], kind[np.unique(offer[known])])
    assert told["all"]["rows"] == seen.sum()
    assert json.loads(json.dumps(told, allow_nan=False)) == told


def test_where_nothing_can_be_judged_it_does_not_ship(problem: response.Problem) -> None:
    x, offer = quick.recent_features(problem.builder, problem.shown), problem.shown.offer
    p = np.full((len(offer), len(HEADS)), 0.3)
    test = response.samples_of(problem, np.ones(len(offer), dtype=bool))
    student = quick.learn(x, offer, p, problem.frames)
    student.offers[:], student.kinds[:], student.means[:], student.kind_means[:] = (np.nan,) * 4
    assert quick.judge(problem, student, teacher_of(test, p), test, "redeem", seed=0) == {
        "head": "redeem", "ships": False, "weights_kept": int((student.weights != 0).sum()),
    }  # fmt: skip
    test.y[:] = 1.0
    student = quick.learn(x, offer, p, problem.frames)
    assert quick.judge(problem, student, teacher_of(test, p), test, "redeem", seed=0)["ships"] is False


def test_a_training_teaches_it_and_scoring_hands_it_to_pages(shop: Population, monkeypatch: pytest.MonkeyPatch) -> None:
    outcome = train.run(None, population.QUICK, lambda what, done: None, until=population.END)
    champion = next(version for version in outcome.promoted if version.task == ModelTask.RESPONSE)
    others = [version for version in outcome.versions if version.task == ModelTask.RESPONSE and version is not champion]
    told = champion.card["quick"]
    assert told["head"] == champion.metrics["head"]
    assert (told["model"] is not None) is told["ships"]
    assert all("quick" not in version.card for version in others)
    model = told["model"] or {"offers": {}, "kinds": {}, "bias": [], "scale": [], "weights": []}
    champion.card = {**champion.card, "quick": {**told, "model": model}}
    champion.save()
    found = score.run(None, {}, lambda what, done: None, until=population.END)
    found.refresh_from_db()
    assert found.defaults["quick"] == model
    assert registry.champion(ModelTask.RESPONSE, "shop") == champion
