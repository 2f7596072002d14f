"""What the simulator itself knows: the true effects of its past, and what it expects of a wave to come.

A forecast made from data is put beside these figures. They are a simulation's, and hold for it alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from shop.simulation.baskets import place_orders
from shop.simulation.catalogue import Ints
from shop.simulation.log import EventLog, Exposures, Orders
from shop.simulation.offers import KINDS, OfferSpec
from shop.simulation.response import LIFT_INTERCEPT, State, respond
from shop.simulation.waves import Lottery, click_intent, draw_lottery, draw_outcomes, receivers, second_orders
from shop.simulation.week import WEEK, drift, with_money
from shop.simulation.world import LAST_WAVE, NEXT_WAVE, World

METRICS = ("audience", "views", "clicks", "redemptions", "orders", "revenue", "cost", "incremental_orders")
"""Counts of shoppers who got an offer (control is left out), and minor units of money."""

_FUTURE = 7_919
"""Keeps the draws of the future apart from those of the past."""

WEEKS_TO_NEXT_WAVE = (NEXT_WAVE - LAST_WAVE) / WEEK
"""By how much the state moves on from one wave to the other; among past waves it is one week."""

Assignment = Callable[[np.random.Generator, Ints, np.ndarray], Lottery]
"""(rng, who, eligible) → lottery: how a wave's offers are given out."""


def send_to_all(rng: np.random.Generator, who: Ints, eligible: np.ndarray) -> Lottery:
    """Give everybody one of the eligible offers, uniformly at random: what a forecast of a sent campaign assumes."""
    return draw_lottery(rng, who, eligible, control_share=0.0)


@dataclass(frozen=True)
class Expected:
    """One figure of the truth: its mean over the replicates, and the middle 90 % of what chance makes of it."""

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Drawn:
    """One realisation of a wave: its exposures and the orders of the exposed."""

    exposures: Exposures
    orders: Orders


def expected_outcomes(
    world: World,
    offers: tuple[OfferSpec, ...],
    *,
    audience: Ints | None = None,
    assignment: Assignment = send_to_all,
    replicates: int = 60,
) -> dict[str, Expected]:
    """Return the true expectation of each metric for a wave sent after the simulated past.

    ``audience`` are shoppers' numbers (all who may be sent a wave, if None). Tastes and engagement move on
    first, differently in each replicate: the interval holds the chance of the shoppers and of their week.
    """
    who = receivers(world.people, world.seconds) if audience is None else audience
    rows = [_metrics(draw_wave(world, offers, who, assignment, replicate).exposures) for replicate in range(replicates)]
    table = np.array(rows)
    low, high = np.quantile(table, [0.05, 0.95], axis=0)
    return {
        metric: Expected(float(table[:, n].mean()), float(low[n]), float(high[n])) for n, metric in enumerate(METRICS)
    }


def draw_wave(
    world: World,
    offers: tuple[OfferSpec, ...],
    who: Ints,
    assignment: Assignment = send_to_all,
    replicate: int = 0,
    *,
    start: int | None = None,
    log: EventLog | None = None,
) -> Drawn:
    """Draw one realisation of a wave to come. ``start`` is in seconds from the simulation's start."""
    rng = np.random.default_rng([world.seed, _FUTURE, replicate])
    state: State = world.state.copy()
    drift(rng, world.catalogue, state, WEEKS_TO_NEXT_WAVE)
    response = respond(world.people, state, offers)
    lottery = assignment(rng, who, response.eligible)
    drawn = draw_outcomes(rng, response, offers, lottery, NEXT_WAVE if start is None else start)
    intent = click_intent(rng, offers, drawn)
    again, again_at = second_orders(rng, drawn)
    none = np.full(len(again), -1)
    buys = drawn.purchased >= 0
    redeemed = np.where(drawn.redeemed >= 0, drawn.offer, -1)
    parts: list[Orders] = []
    for shopper, time, used, about in (
        (drawn.who[buys], drawn.purchased[buys], redeemed[buys], intent[buys]),
        (again, again_at, none, none),
    ):
        parts.append(
            place_orders(
                rng,
                world.catalogue,
                world.people,
                state=state,
                who=shopper,
                time=time,
                redeemed=used,
                intent=about,
                offers=offers,
                first_offer=0,
                last=world.last_item[shopper],
                log=log,
                first_order=sum(map(len, parts)),
            )
        )
    return Drawn(with_money(drawn, parts[0], parts[1], len(world.people)), Orders.joined(parts))


def _metrics(exposures: Exposures) -> list[float]:
    treated = exposures.offer >= 0
    return [
        float(treated.sum()),
        float((exposures.viewed >= 0).sum()),
        float((exposures.clicked >= 0).sum()),
        float((exposures.redeemed >= 0).sum()),
        float((exposures.purchased[treated] >= 0).sum()),
        float(exposures.revenue[treated].sum()),
        float(exposures.cost[treated].sum()),
        float((exposures.with_offer - exposures.base)[treated].sum()),
    ]


def summary(world: World) -> dict[str, Any]:
    """Return the true effects of the past as JSON: by wave, by kind of offer, and how shoppers divide."""
    return {
        "waves": [_wave_truth(wave.number, wave.exposures) for wave in world.waves],
        "kinds": _kind_truth(world),
        "shoppers": _shopper_groups(world),
        "lift_intercepts": {kind.value: LIFT_INTERCEPT[kind] for kind in KINDS},
    }


def _wave_truth(number: int, exposures: Exposures) -> dict[str, float]:
    treated = exposures.offer >= 0
    bought = exposures.purchased >= 0
    return {
        "wave": number + 1,
        "treated": int(treated.sum()),
        "control": int((~treated).sum()),
        "true_uplift": _rounded((exposures.with_offer - exposures.base)[treated].mean()),
        "observed_uplift": _rounded(bought[treated].mean() - bought[~treated].mean()),
    }


def _kind_truth(world: World) -> dict[str, dict[str, float]]:
    """Average each kind's true uplift and realised rates over all exposures to it."""
    kind = np.concatenate(
        [np.array([KINDS.index(o.kind) for o in wave.offers] + [-1])[wave.exposures.offer] for wave in world.waves]
    )
    parts = [wave.exposures for wave in world.waves]
    uplift = np.concatenate([part.with_offer - part.base for part in parts])
    redeemed = np.concatenate([part.redeemed >= 0 for part in parts])
    viewed = np.concatenate([part.viewed >= 0 for part in parts])
    return {
        name.value: {
            "true_uplift": _rounded(uplift[kind == n].mean()),
            "viewed": _rounded(viewed[kind == n].mean()),
            "redeemed": _rounded(redeemed[kind == n].mean()),
        }
        for n, name in enumerate(KINDS)
    }


def _shopper_groups(world: World) -> dict[str, Any]:
    """Return how shoppers divide by their response to the last wave's best offer for them."""
    response = respond(world.people, world.state, world.waves[-1].offers)
    gain = np.where(response.eligible, response.purchase() - response.base[:, None], -1.0)
    best = gain.max(axis=1)
    sure = response.base >= 0.25
    return {
        "sure_things": _rounded((sure & (best < 0.1)).mean()),
        "persuadables": _rounded((best >= 0.1).mean()),
        "lost_causes": _rounded(((response.base < 0.05) & (best < 0.02)).mean()),
        "worst_offer_harms": _rounded((np.where(response.eligible, gain, 0.0).min(axis=1) < -0.005).mean()),
        "best_kinds": {
            kind.value: _rounded(np.isin(gain.argmax(axis=1), _of_kind(world.waves[-1].offers, n)).mean())
            for n, kind in enumerate(KINDS)
        },
    }


def _of_kind(offers: tuple[OfferSpec, ...], kind: int) -> list[int]:
    return [number for number, offer in enumerate(offers) if offer.kind == KINDS[kind]]


def _rounded(value: Any) -> float:
    return round(float(value), 4)
