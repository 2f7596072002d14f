"""A wave: who gets which offer, by a known lottery, and what comes of it, by the true response functions.

One number a shopper decides about the purchase in every world: who buys at the base rate also buys with an offer
that helps. That is what makes "sure things" and "persuadables" well defined.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from shop.simulation.catalogue import Ints
from shop.simulation.log import EventLog, Exposures, Kind
from shop.simulation.offers import WINDOW_HOURS, OfferSpec
from shop.simulation.people import People
from shop.simulation.response import Response, State
from shop.simulation.sessions import shop_time

CONTROL_SHARE = 0.15
SENDING_SECONDS = 4 * 3_600
VIEW_WITHIN_HOURS = 72
VIEW_WITHIN_HOURS_FLASH = 30
SECOND_ORDER = 0.10


@dataclass(frozen=True)
class Lottery:
    """The assignment of one wave, in arrays of length E: shopper, offer (-1: control) and its probability."""

    who: Ints
    offer: Ints
    propensity: np.ndarray


def probabilities(eligible: np.ndarray, control_share: float) -> np.ndarray:
    """Return the chance of each offer and, in the last column, of control (E × (M + 1)); rows sum to one."""
    count = eligible.sum(axis=1, keepdims=True)
    offers = np.where(eligible, (1 - control_share) / np.maximum(count, 1), 0.0)
    return np.hstack([offers, 1 - offers.sum(axis=1, keepdims=True)])


def draw_lottery(
    rng: np.random.Generator, who: Ints, eligible: np.ndarray, control_share: float = CONTROL_SHARE
) -> Lottery:
    """Give each shopper one of the eligible offers, uniformly at random, or none."""
    chance = probabilities(eligible[who], control_share)
    edges = np.cumsum(chance, axis=1)
    pick = np.minimum((rng.random(len(who))[:, None] > edges).sum(axis=1), chance.shape[1] - 1)
    control = chance.shape[1] - 1
    return Lottery(who, np.where(pick == control, -1, pick), chance[np.arange(len(who)), pick])


def draw_outcomes(
    rng: np.random.Generator, response: Response, offers: tuple[OfferSpec, ...], lottery: Lottery, start: int
) -> Exposures:
    """Draw what each exposed shopper does in the window. Revenue and cost come with the orders."""
    who, offer = lottery.who, lottery.offer
    treated = offer >= 0
    size = len(who)
    exposed = start + (rng.random(size) * SENDING_SECONDS).astype(np.int64)
    window_ends = exposed + WINDOW_HOURS * 3_600
    viewed = treated & (rng.random(size) < response.view[who, offer])
    clicked = viewed & (rng.random(size) < response.click[who, offer])
    with_offer = np.where(clicked, response.purchase_clicked[who, offer], response.purchase_viewed[who, offer])
    chance = np.where(viewed, with_offer, response.base[who])
    buys = rng.random(size) < chance
    redeem = np.where(clicked, response.redeem_clicked[who, offer], response.redeem_viewed[who, offer])
    redeems = buys & viewed & (rng.random(size) < redeem)
    flash = np.array([spec.flash_hours for spec in offers] + [0])[offer]
    viewed_at = exposed + _view_delay(rng, size, flash)
    clicked_at = viewed_at + rng.integers(4, 90, size)
    earliest = np.where(clicked, clicked_at, np.where(viewed, viewed_at, exposed)) + 1_800
    closes = np.where(redeems & (flash > 0), np.minimum(window_ends, start + flash * 3_600), window_ends)
    bought_at = shop_time(rng, earliest, closes - 60)
    return Exposures(
        who=who,
        offer=offer,
        propensity=lottery.propensity,
        exposed=exposed,
        window_ends=window_ends,
        viewed=np.where(viewed, viewed_at, -1),
        clicked=np.where(clicked, clicked_at, -1),
        purchased=np.where(buys, bought_at, -1),
        redeemed=np.where(redeems, bought_at, -1),
        base=response.base[who],
        with_offer=np.where(treated, response.purchase()[who, offer], response.base[who]),
    )


def _view_delay(rng: np.random.Generator, size: int, flash: Ints) -> Ints:
    """Draw seconds until the offer is seen: exponential, cut off so that a flash sale is seen while it runs."""
    mean = 10 * 3_600.0
    most = np.where(flash > 0, VIEW_WITHIN_HOURS_FLASH, VIEW_WITHIN_HOURS) * 3_600
    share = rng.random(size) * (1 - np.exp(-most / mean))
    return (-mean * np.log1p(-share)).astype(np.int64) + 60


def second_orders(rng: np.random.Generator, exposures: Exposures) -> tuple[Ints, Ints]:
    """Draw who buys a second time within the window, and when."""
    room = exposures.window_ends - exposures.purchased > 12 * 3_600
    again = (exposures.purchased >= 0) & room & (rng.random(len(exposures)) < SECOND_ORDER)
    earliest = exposures.purchased[again] + 6 * 3_600
    return exposures.who[again], shop_time(rng, earliest, exposures.window_ends[again] - 60)


def log_exposures(log: EventLog, exposures: Exposures, first_offer: int) -> None:
    """Log offers shown, viewed and clicked; control shows nothing, and so logs nothing."""
    for kind, time in (
        (Kind.OFFER_SHOWN, np.where(exposures.offer >= 0, exposures.exposed, -1)),
        (Kind.OFFER_VIEWED, exposures.viewed),
        (Kind.OFFER_CLICKED, exposures.clicked),
    ):
        rows = time >= 0
        log.add(kind, time[rows], exposures.who[rows], offer=exposures.offer[rows] + first_offer)


def tire(state: State, exposures: Exposures) -> None:
    """Let the wave leave its trace: each offer received tires a little, each one viewed a little more."""
    received = exposures.who[exposures.offer >= 0]
    state.fatigue[received] += 0.3
    state.fatigue[exposures.who[exposures.viewed >= 0]] += 0.3


def click_intent(rng: np.random.Generator, offers: tuple[OfferSpec, ...], exposures: Exposures) -> Ints:
    """Return the category that the offer leads to (-1: none): always after a click, sometimes after a view."""
    category = np.array([spec.category for spec in offers] + [-1])[exposures.offer]
    led = (exposures.clicked >= 0) | ((exposures.viewed >= 0) & (rng.random(len(exposures)) < 0.25))
    return np.where(led, category, -1)


def receivers(people: People, start: int) -> Ints:
    """Return who may be sent a wave: shoppers who have joined and agreed to it."""
    return np.flatnonzero(people.consents & (people.joined < start))
