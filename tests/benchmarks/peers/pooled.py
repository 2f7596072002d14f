"""What several draws of one data set say together: each has its own shoppers, its own chosen settings and its own fits.

Two intervals, since there are two kinds of chance. Over shoppers: persons are drawn with replacement, and whoever was
tested in several draws comes with all of those tests. Over draws: Student's t of the draws' means, which also holds
what the fits owe to their seeds; it is wide where there are few, and a little too narrow where draws share shoppers.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from personalization.features.frames import Ints
from tests.benchmarks.peers import board
from tests.benchmarks.peers.board import Row
from tests.benchmarks.peers.contestants import CONTESTANTS
from tests.benchmarks.peers.race import CHOSEN_BY, unpacked
from tests.benchmarks.peers.splits import Split
from worker.metrics import RESAMPLES

Told = tuple[float, float, float]
COLUMNS = (CHOSEN_BY, "recall@20")
Tests = dict[str, list[Row]]
"""Contestant → its test row of each draw."""


def over_persons(values: list[NDArray[np.float64]], who: list[Ints], *, seed: int = 0) -> Told:
    """Return the mean of all tests with its 95 % interval; ``values`` and ``who`` hold an array a draw."""
    person = np.unique(np.concatenate(who), return_inverse=True)[1]
    total, tests = np.bincount(person, np.concatenate(values)), np.bincount(person)
    rng, many = np.random.default_rng(seed), len(tests)
    draws = []
    for _ in range(RESAMPLES):
        times = np.bincount(rng.integers(0, many, size=many), minlength=many)
        draws.append(float(times @ total) / float(times @ tests))
    low, high = np.quantile(draws, [0.025, 0.975])
    return float(total.sum() / tests.sum()), float(low), float(high)


def over_draws(values: list[NDArray[np.float64]]) -> Told:
    """Return the mean of the draws' means with Student's 95 % interval; two draws at least."""
    means = np.array([each.mean() for each in values])
    half = stats.t.ppf(0.975, len(means) - 1) * means.std(ddof=1) / np.sqrt(len(means))
    return float(means.mean()), float(means.mean() - half), float(means.mean() + half)


def tests_of(rows: list[Row], raced: Mapping[int, Split]) -> Tests:
    """Return the rows of those who were tested in every draw; ``raced`` has the split of each seed."""
    each = [board.tests_of(rows, split.digest, seed) for seed, split in raced.items()]
    return {name: [found[name] for found in each] for name in each[0] if all(name in found for found in each)}


def gains(one: list[Row], other: list[Row], figure: str = CHOSEN_BY) -> list[NDArray[np.float64]]:
    """Return by how much ``one`` is better for each shopper, an array a draw."""
    return [_values(a, figure) - _values(b, figure) for a, b in zip(one, other, strict=True)]


def markdown(rows: list[Row], raced: Mapping[int, Split]) -> str:
    """Return the table over all draws, the best first; gains in NDCG@10 as on a board of one draw."""
    found = tests_of(rows, raced)
    if not found:
        return "Nobody has been tested in every draw."
    who = [split.who[np.array(list(split.test.truth))] for split in raced.values()]
    mean = {name: np.mean(np.concatenate([_values(row) for row in own])) for name, own in found.items()}
    best = sorted(found, key=lambda name: -mean[name])
    lead = next((name for name in best if CONTESTANTS[name].peer), None)
    head = ["contestant", *COLUMNS, "gain (paired)", "over draws", "each draw"]
    lines = [head, ["---"] * len(head)]
    for name in best:
        figures = [over_persons([_values(row, figure) for row in found[name]], who) for figure in COLUMNS]
        lines.append([name, *(board.interval(each) for each in figures), *_gain(found, name, lead, who)])
    tests, persons = sum(map(len, who)), len(set(np.concatenate(who).tolist()))
    told = f"{len(raced)} draws, {tests:,} tests of {persons:,} shoppers"
    return "\n".join([told, "", *("| " + " | ".join(line) + " |" for line in lines)])


def _gain(found: Tests, name: str, lead: str | None, who: list[Ints]) -> list[str]:
    """Return three cells: ours over the best peer, or ours of the same model over this peer."""
    peer = CONTESTANTS[name].peer
    one, other = (CONTESTANTS[name].ours, name) if peer else (name, lead)
    if one not in found or other not in found:
        return ["", "", ""]
    gain = gains(found[one], found[other])
    said = f"{board.signed(over_persons(gain, who))} {f'for {one}' if peer else f'over {other}'}"
    return [said, board.signed(over_draws(gain)), " ".join(f"{each.mean():+.4f}" for each in gain)]


def _values(row: Row, figure: str = CHOSEN_BY) -> NDArray[np.float64]:
    return unpacked(row["per_shopper"][figure])
