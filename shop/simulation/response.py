"""The true response functions: what an offer does to a shopper, by construction.

Everything the models may find out is here, in four logistic functions of the shopper's tastes, the offer's terms
and the shopper's recent past. ``lift`` acts on the logit of a purchase and only once the offer was viewed, so that
control, unviewed and announced shoppers buy at their base rate: some would buy anyway ("sure things"), some only
because of the offer ("persuadables"), and the depth that moves them differs from one to the next.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from personalization.types import OfferKind
from shop.simulation.catalogue import Floats, Ints
from shop.simulation.offers import KINDS, OfferSpec
from shop.simulation.people import People
from shop.simulation.words import TIERS

VIEW_INTERCEPT = {
    OfferKind.COUPON: 0.45,
    OfferKind.SPEND_THRESHOLD: 0.15,
    OfferKind.FLASH_SALE: 0.30,
    OfferKind.MEMBER_EXCLUSIVE: 0.50,
    OfferKind.ANNOUNCEMENT: -0.15,
}
CLICK_INTERCEPT = {
    OfferKind.COUPON: -1.5,
    OfferKind.SPEND_THRESHOLD: -1.8,
    OfferKind.FLASH_SALE: -1.4,
    OfferKind.MEMBER_EXCLUSIVE: -1.5,
    OfferKind.ANNOUNCEMENT: -1.5,
}
LIFT_INTERCEPT = {
    OfferKind.COUPON: -0.30,
    OfferKind.SPEND_THRESHOLD: -0.25,
    OfferKind.FLASH_SALE: -0.15,
    OfferKind.MEMBER_EXCLUSIVE: -0.20,
    OfferKind.ANNOUNCEMENT: -0.10,
}


@dataclass
class State:
    """What changes from week to week, in arrays of length N (``taste``: N × categories, log weights; ``wishes``:
    N × some products)."""

    taste: Floats
    wishes: Ints
    engagement: Floats
    fatigue: Floats
    recent_sessions: Floats
    """Sessions in the last two weeks."""

    def copy(self) -> State:
        return State(**{name: getattr(self, name).copy() for name in State.__annotations__})


@dataclass(frozen=True)
class Response:
    """Probabilities for N shoppers × M offers. ``base`` (N) is the purchase without, or before, any offer."""

    eligible: np.ndarray
    view: Floats
    click: Floats
    """Given the view."""
    base: Floats
    purchase_viewed: Floats
    purchase_clicked: Floats
    redeem_viewed: Floats
    """Given the purchase, viewed and not clicked; ``redeem_clicked`` likewise after a click."""
    redeem_clicked: Floats

    def purchase(self) -> Floats:
        """Return P(purchase in the window | offer), N × M."""
        seen = (1 - self.click) * self.purchase_viewed + self.click * self.purchase_clicked
        return (1 - self.view) * self.base[:, None] + self.view * seen

    def redeem(self) -> Floats:
        """Return P(redeem in the window | offer), N × M."""
        after_view = (1 - self.click) * self.purchase_viewed * self.redeem_viewed
        return self.view * (after_view + self.click * self.purchase_clicked * self.redeem_clicked)


def sigmoid(logit: Floats) -> Floats:
    """Return 1 / (1 + exp(-logit))."""
    return 1.0 / (1.0 + np.exp(-logit))


def eligible(people: People, offers: tuple[OfferSpec, ...]) -> np.ndarray:
    """Return who may get which offer (N × M): a members' offer needs one of its tiers."""
    tiers = [np.isin(people.tier, [TIERS.index(tier) for tier in offer.tiers]) for offer in offers]
    return np.stack(
        [allowed if offer.tiers else np.ones(len(people), bool) for offer, allowed in zip(offers, tiers, strict=True)],
        axis=1,
    )


def base_logit(people: People, state: State) -> Floats:
    """Return the logit of at least one purchase within a week, without an offer."""
    return people.purchase_logit + 0.7 * state.engagement + 0.35 * (np.log1p(state.recent_sessions) - 0.9)


def respond(people: People, state: State, offers: tuple[OfferSpec, ...]) -> Response:
    """Return every shopper's true response to every offer, given the state in which the offer finds them."""
    kind = np.array([KINDS.index(offer.kind) for offer in offers])
    taste = people.deal_taste[:, kind]
    value = _perceived_value(people, offers)
    stretch = _stretch(people, offers)
    match = _category_match(state, offers)
    tired = state.fatigue[:, None]
    active = (np.log1p(state.recent_sessions) - 0.9)[:, None]

    def intercept(table: dict[OfferKind, float]) -> Floats:
        return np.array([table[offer.kind] for offer in offers])

    base = base_logit(people, state)
    view = intercept(VIEW_INTERCEPT) + people.openness[:, None] + 0.4 * taste + 0.85 * active - 0.45 * tired
    click = intercept(CLICK_INTERCEPT) + 0.85 * taste + 0.9 * value + 0.5 * match - 0.5 * stretch - 0.25 * tired
    lift = intercept(LIFT_INTERCEPT) + 0.5 * taste + 0.9 * value + 0.35 * match - 0.55 * stretch - 0.2 * tired
    redeem = 0.1 + 0.8 * taste + 0.9 * value + 0.3 * match - 1.3 * stretch
    carries_benefit = np.array([offer.kind != OfferKind.ANNOUNCEMENT for offer in offers])
    return Response(
        eligible=eligible(people, offers),
        view=sigmoid(view),
        click=sigmoid(click),
        base=sigmoid(base),
        purchase_viewed=sigmoid(base[:, None] + lift),
        purchase_clicked=sigmoid(base[:, None] + 1.3 * np.maximum(lift, 0) + np.minimum(lift, 0) + 0.4),
        redeem_viewed=sigmoid(redeem) * carries_benefit,
        redeem_clicked=sigmoid(redeem + 1.0) * carries_benefit,
    )


def _perceived_value(people: People, offers: tuple[OfferSpec, ...]) -> Floats:
    """Return the discount's share of the shopper's own basket, × price sensitivity; about 1 for 20 %.

    Saturates: from some 40 % on, more discount moves nobody further.
    """
    basket = people.typical_basket[:, None]
    percent = np.array([offer.percent for offer in offers]) / 100
    amount = np.array([offer.amount_minor for offer in offers])
    threshold = np.array([offer.threshold_minor for offer in offers])
    share = percent + amount / np.maximum(basket, threshold)
    return 2.0 * np.tanh(2.5 * share * people.price_sensitivity[:, None])


def _stretch(people: People, offers: tuple[OfferSpec, ...]) -> Floats:
    """Return by how much (log) the minimum spend lies above the shopper's typical basket; 0 below it."""
    threshold = np.array([max(offer.threshold_minor, 1) for offer in offers])
    return np.clip(np.log(threshold / people.typical_basket[:, None]), 0.0, 3.0)


def _category_match(state: State, offers: tuple[OfferSpec, ...]) -> Floats:
    """Return how much the shopper likes the offer's category, in standard deviations; 0 for the whole shop."""
    centred = state.taste - state.taste.mean(axis=1, keepdims=True)
    return np.stack(
        [centred[:, offer.category] if offer.category >= 0 else np.zeros(len(centred)) for offer in offers],
        axis=1,
    ).clip(-2.0, 2.5)
