"""The published set is remembered for a few seconds, and what was read out of it with it, never beyond it."""

from __future__ import annotations

from typing import Any

import pytest

from personalization.decisioning import scores
from personalization.models import ScoreSet
from personalization.pure import quick
from tests.personalization.builders import make_shopper

pytestmark = pytest.mark.django_db


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Return what the quick model has been read from, time after time."""
    seen: list[Any] = []
    monkeypatch.setattr(quick, "read", lambda stored: seen.append(stored))
    return seen


def publish(stored: str, population: str = "shop") -> ScoreSet:
    return ScoreSet.objects.create(population=population, state=ScoreSet.State.LIVE, defaults={"quick": stored})


def test_the_quick_model_is_read_once_a_remembered_set(asked: list[Any]) -> None:
    """Also where it turns out to be none; a set that is published next has its own."""
    first = publish("first")
    for _time in range(3):
        assert scores.for_shopper(make_shopper(), "shop").fallback == "not_scored"
    assert asked == ["first"]
    ScoreSet.objects.filter(pk=first.pk).update(state=ScoreSet.State.RETIRED)
    publish("second")
    scores.for_shopper(make_shopper(), "shop")
    assert asked == ["first"]
    scores.forget()
    scores.for_shopper(make_shopper(), "shop")
    assert asked == ["first", "second"]


def test_it_lives_as_long_as_the_set_is_remembered_and_no_longer(
    asked: list[Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The set itself carries nothing: whoever reads it anew reads the quick model anew."""
    publish("one")
    scores.for_shopper(make_shopper(), "shop")
    live = scores._remembered["shop"].live
    assert live is not None
    assert set(vars(live)) == set(vars(ScoreSet.objects.get()))
    monkeypatch.setattr(scores, "_TTL_SECONDS", -1.0)
    scores.forget()
    for _time in range(2):
        scores.for_shopper(make_shopper(), "shop")
    assert asked == ["one"] * 3


def test_populations_are_remembered_apart(asked: list[Any]) -> None:
    publish("ours")
    publish("theirs", "games")
    for _time in range(2):
        for population in ("shop", "games"):
            scores.for_shopper(make_shopper(population=population), population)
    assert asked == ["ours", "theirs"]
