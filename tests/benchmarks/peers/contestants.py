"""Who races: our rankers, and peers through a thin adapter each. A contestant is a fit and the settings it may try.

The grids are small and of the same size for a peer and for ours of the same model, so that neither is tuned harder.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import Any, Protocol

from tests.benchmarks import rankers
from tests.benchmarks.peers import of_implicit, of_recbole
from worker.preference import Scoring
from worker.rankers import RANKERS, Interactions

Settings = dict[str, Any]
Judge = Callable[[Scoring], float]


@dataclass(frozen=True)
class Fitted:
    """What scores, and what the fit found out on its way (the best epoch, say), which goes into the final settings."""

    scorer: Scoring
    found: Settings = field(default_factory=dict)


class Fit(Protocol):
    """Learns from what happened up to ``now``. ``judge`` tells the validation's NDCG@10; None in the final fit."""

    def __call__(
        self, data: Interactions, now: int, settings: Settings, *, seed: int, judge: Judge | None
    ) -> Fitted: ...


@dataclass(frozen=True)
class Contestant:
    """``modules``: what a peer is imported from. ``ours``: our ranker of the same model, to be set beside a peer."""

    name: str
    fit: Fit
    grid: tuple[Settings, ...] = ({},)
    modules: tuple[str, ...] = ()
    ours: str | None = None

    @property
    def peer(self) -> bool:
        """Whether it is somebody else's."""
        return bool(self.modules)

    @property
    def installed(self) -> bool:
        """Whether it can race here."""
        return all(importlib.util.find_spec(name.split(".")[0]) is not None for name in self.modules)

    @property
    def package(self) -> str:
        """The package and its version."""
        return f"{self.modules[0]} {version(self.modules[0])}" if self.modules else "ours"

    def load(self) -> None:
        """Import what it needs, so that no clock counts that."""
        for name in self.modules:
            importlib.import_module(name)


@dataclass(frozen=True)
class Own:
    """Fits a ranker of ours; those that stop early do so by their own late slice of the past."""

    name: str

    def __call__(self, data: Interactions, now: int, settings: Settings, *, seed: int, judge: Judge | None) -> Fitted:
        ranker = RANKERS[self.name](**settings)
        ranker.fit(data, now, seed=seed)
        return Fitted(ranker)


@dataclass(frozen=True)
class Implicit:
    """Fits a model of the library ``implicit``."""

    model: str

    def __call__(self, data: Interactions, now: int, settings: Settings, *, seed: int, judge: Judge | None) -> Fitted:
        return Fitted(of_implicit.fit(self.model, data, settings, seed))


@dataclass(frozen=True)
class RecBole:
    """Fits a model of RecBole; epochs are chosen on the validation, and as many in the final fit."""

    model: str

    def __call__(self, data: Interactions, now: int, settings: Settings, *, seed: int, judge: Judge | None) -> Fitted:
        scorer, epochs = of_recbole.fit(self.model, data, settings, seed, judge)
        return Fitted(scorer, {"epochs": epochs} if epochs else {})


def grid(**choices: tuple[Any, ...]) -> tuple[Settings, ...]:
    """Return every combination."""
    found: list[Settings] = [{}]
    for name, values in choices.items():
        found = [{**each, name: value} for each in found for value in values]
    return tuple(found)


def _ours() -> list[Contestant]:
    aged = {"half_life_days": (30.0, 730.0)}
    grids: dict[str, tuple[Settings, ...]] = {
        "popularity": grid(**aged),
        "frequency": grid(**aged),
        "transitions": grid(**aged, share=(0.3, 1.0)),
        "item_knn": grid(neighbours=(100, 400), recency_decay=(0.9, 1.0)),
        "user_knn": grid(neighbours=(100, 400), shrink=(3.0, 30.0)),
        "ease": grid(regularisation=(100.0, 250.0, 1000.0)),
        "als": grid(factors=(64,), unobserved=(0.01, 0.1, 1.0), regularisation=(0.003, 0.03)),
        "mult_vae": grid(learning_rate=(2e-3, 5e-4)),
        "light_gcn": grid(layers=(2, 3)),
        "transformer": grid(dropout=(0.2, 0.5)),
        "gru": grid(dropout=(0.2, 0.5)),
        "stack": grid(members=(["item_knn", "transformer"],)),
    }
    equal = grid(members=(["item_knn", "als", "transformer"],), blend=("average",))
    return [
        *(Contestant(f"ours/{name}", Own(name), grids.get(name, ({},))) for name in RANKERS),
        Contestant("ours/stack_equal", Own("stack"), equal),  # other members, and none weighs more than another
    ]


def _implicit() -> list[Contestant]:
    neighbours = grid(K=(100, 400))
    found = {
        "cosine": (neighbours, "item_knn"),
        "tfidf": (neighbours, "item_knn"),
        "bm25": (grid(K=(100, 400), B=(0.25, 0.75)), "item_knn"),
        "als": (grid(factors=(64,), alpha=(1.0, 10.0, 100.0), regularization=(0.01, 1.0)), "als"),
        "bpr": (grid(factors=(64,), learning_rate=(0.01, 0.05), iterations=(100,)), None),
    }
    return [
        Contestant(f"implicit/{model}", Implicit(model), tried, of_implicit.MODULES, f"ours/{own}" if own else None)
        for model, (tried, own) in found.items()
    ]


def _recbole() -> list[Contestant]:
    dropouts = tuple({"hidden_dropout_prob": each, "attn_dropout_prob": each} for each in (0.2, 0.5))
    found: dict[str, tuple[str, tuple[Settings, ...], str]] = {
        "ease": ("EASE", grid(reg_weight=(100.0, 250.0, 1000.0)), "ease"),
        "sasrec": ("SASRec", dropouts, "transformer"),
        "gru4rec": ("GRU4Rec", grid(dropout_prob=(0.2, 0.5)), "gru"),
        "multivae": ("MultiVAE", grid(learning_rate=(2e-3, 5e-4)), "mult_vae"),
        "lightgcn": ("LightGCN", grid(learning_rate=(5e-3,), n_layers=(2, 3)), "light_gcn"),
    }
    return [
        Contestant(f"recbole/{name}", RecBole(model), tried, of_recbole.MODULES, f"ours/{own}")
        for name, (model, tried, own) in found.items()
    ]


CONTESTANTS = {each.name: each for each in (*_ours(), *_implicit(), *_recbole())}
QUICK = (
    "ours/popularity", "ours/transitions", "ours/item_knn", "ours/user_knn", "ours/ease", "ours/als",
    "implicit/cosine", "implicit/tfidf", "implicit/bm25", "implicit/als", "implicit/bpr", "recbole/ease",
)  # fmt: skip
"""Who races when nobody is named: minutes in all on a core."""


def settings_for(data: str, contestant: Contestant) -> tuple[Settings, ...]:
    """Return what is tried: the grid, less what means nothing on this set (the games' days are made up)."""
    fixed = rankers.SETTINGS.get(contestant.name.removeprefix("ours/"), {}) if data == rankers.DATA else {}
    fixed = {name: value for name, value in fixed.items() if name in ("half_life_days", "share")}
    return tuple(
        each for each in contestant.grid if all(each.get(name, value) == value for name, value in fixed.items())
    )
