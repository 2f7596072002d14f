"""What a search tries next: within the space, from the trials and the seed alone; the hopeless are given up."""

from __future__ import annotations

import pytest

from personalization.learning import tuning
from tests.worker.searching import Bowl
from worker import tuned
from worker.origins import space_of
from worker.rankers import RANKERS
from worker.response import REGISTRY
from worker.search import Past, propose
from worker.space import Choice, Range, Space, around


def test_what_the_admin_offers_is_what_the_worker_can_search_for() -> None:
    takes = {task: [name for name, kind in kinds.items() if space_of(kind)] for task, kinds in tuned.KINDS.items()}
    assert {task: list(names) for task, names in tuning.SEARCHABLE.items()} == takes


@pytest.mark.parametrize("name", tuning.searchable())
def test_what_is_tried_is_taken_and_the_start_is_within(name: str) -> None:
    kind = REGISTRY.get(name) or RANKERS[name]
    identity: frozenset[str] = getattr(kind, "identity", frozenset())
    space = {key: found for key, found in kind.space.items() if key not in identity}
    start = tuned.preference.usual_settings(name) if name in RANKERS else {}
    settings = kind(**start).settings
    narrowed = around(space, settings)
    assert all(settings[key] in narrowed[key] for key in space)
    past = [Past({key: settings[key] for key in space}, [0.0], whole=True)]
    for number in range(5):
        found = propose(narrowed, past, seed=number).settings
        assert found.keys() == space.keys()
        if name != "gat" or not found["width"] % found["heads"]:  # others are tried too, and fail at once
            kind(**{**start, **found})
        past.append(Past(found, [float(number)], whole=True))


def test_a_range_is_tried_eightfold_either_way() -> None:
    space: Space = {
        "wide": Range(1, 10_000, log=True, whole=True), "low": Range(0, 1), "zero": Range(0, 9), "kind": Choice((1, 2))
    }  # fmt: skip
    found = around(space, {"wide": 100, "low": 0.04, "zero": 0, "kind": 1})
    assert found["wide"] == Range(12, 800, log=True, whole=True)
    assert found["low"] == Range(0.005, 0.32)
    assert found["zero"] == space["zero"]
    assert found["kind"] == space["kind"]


def test_widths_that_heads_share_are_even() -> None:
    space: Space = {"width": Range(4, 512, log=True, whole=True, multiple=2)}
    past = [Past({"width": 64}, [0.0], whole=True)]
    for _ in range(20):
        past.append(Past(propose(space, past, seed=0).settings, [float(len(past))], whole=True))
    widths = [each.settings["width"] for each in past]
    assert all(isinstance(width, int) and width % 2 == 0 and width in space["width"] for width in widths)
    assert len(set(widths)) > 10


def test_the_next_trial_depends_on_the_seed_and_the_trials_alone() -> None:
    space = Bowl.space
    past = [Past({"x": 1.0 + number, "kind": "plain"}, [float(number)], whole=True) for number in range(12)]
    once, again, other = (propose(space, past, seed=seed).settings for seed in (0, 0, 1))
    assert once == again != other
    assert propose(space, past[:-1], seed=0).settings != once
    elsewhere = [*past[:-1], Past({"x": 50.0, "kind": "odd"}, [-9.0], whole=True)]
    assert propose(space, elsewhere, seed=0).settings != once


def test_the_hopeless_are_given_up_and_the_others_are_not() -> None:
    past = [Past({"x": 1.0 + number, "kind": "plain"}, [0.0, 0.0, 0.0], whole=True) for number in range(6)]
    worse, better = (propose(Bowl.space, past, seed=0) for _ in range(2))
    assert worse.hopeless(0.5)
    assert not better.hopeless(-0.5)
    assert not propose(Bowl.space, past[:2], seed=0).hopeless(0.5), "two trials have no median worth the name"
