"""The demo's simulated shop in this process's database, without a word on the terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from personalization import api
from shop.simulation import build

POPULATION = "shop"
SEED = 2024


class Silence:
    """Takes the place of the demo's terminal."""

    @contextmanager
    def stage(self, label: str, total: int) -> Iterator[Callable[[int], None]]:
        yield lambda done: None


def built(scale: str) -> str:
    """Build the shop at this scale and return the population's name."""
    build.build(build.begin(SEED, scale), Silence())
    api.sync_catalog()
    return POPULATION
