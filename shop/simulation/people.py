"""The simulated shoppers: what the shop knows of them, and the tastes that it has to find out.

Pure numpy. Shoppers are numbered from 0; ``build`` maps the numbers to accounts and to the app's shoppers.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from shop.simulation.catalogue import PRICE_LEVELS, STYLES, Catalogue, Floats, Ints
from shop.simulation.words import CATEGORIES, CITIES, CITY_SHARES, FEMALE_NAMES, GENDERS, MALE_NAMES, SURNAMES

DAY = 86_400
VISITOR_SHARE = 0.15
REFUSAL_SHARE = 0.05
NEWCOMER_SHARE = 0.15
LINES_PER_ORDER = 1.6
"""About how many lines a basket has; used for a shopper's typical basket only."""


@dataclass(frozen=True)
class People:
    """Shoppers in arrays of length N.

    Known to the shop: ``visitor`` (no account), ``consents``, ``age``, ``gender``, ``city``, ``tier`` (-1: none) and
    ``joined`` (seconds from the simulation's start; negative: before). Latent: the rest. ``deal_taste`` is N × kinds,
    in the order of :class:`personalization.types.OfferKind`; ``taste`` is N × categories, as log weights.
    """

    visitor: np.ndarray
    consents: np.ndarray
    age: Ints
    gender: Ints
    city: Ints
    tier: Ints
    joined: Ints
    first_name: tuple[str, ...]
    last_name: tuple[str, ...]
    taste: Floats
    archetype: Ints
    typical_basket: Floats
    price_sensitivity: Floats
    visits_per_day: Floats
    deal_taste: Floats
    openness: Floats
    purchase_logit: Floats

    def __len__(self) -> int:
        return len(self.age)


def make_people(rng: np.random.Generator, count: int, catalogue: Catalogue, days: int) -> People:
    """Draw ``count`` shoppers; a share of them joins while the simulation runs."""
    visitor = rng.random(count) < VISITOR_SHARE
    consents = visitor | (rng.random(count) > REFUSAL_SHARE / (1 - VISITOR_SHARE))
    age = np.clip(np.rint(rng.gamma(9.0, 4.6, count)), 18, 84).astype(np.int64)
    gender = rng.choice(len(GENDERS), count, p=[0.48, 0.46, 0.06])
    age_z: Floats = (age.astype(np.float64) - 41.0) / 14.0
    activity = rng.standard_normal(count)
    tier = np.where(visitor, -1, np.digitize(activity + 0.8 * rng.standard_normal(count), [0.5, 1.6]))
    taste = _tastes(rng, age_z, gender)
    level = np.clip(np.digitize(0.35 * age_z + rng.standard_normal(count), [-0.5, 0.6]), 0, PRICE_LEVELS - 1)
    archetype = rng.integers(0, STYLES, count) * PRICE_LEVELS + level
    share = np.exp(taste) / np.exp(taste).sum(axis=1, keepdims=True)
    typical = LINES_PER_ORDER * (share * catalogue.expected_price()[archetype]).sum(axis=1)
    deal_seeker = rng.standard_normal(count)
    sensitivity = np.exp(0.4 * deal_seeker - 0.25 * (level - 1) + 0.25 * rng.standard_normal(count))
    return People(
        visitor=visitor,
        consents=consents,
        age=age,
        gender=gender,
        city=rng.choice(len(CITIES), count, p=CITY_SHARES),
        tier=tier,
        joined=_joined(rng, count, days),
        first_name=_first_names(rng, gender),
        last_name=tuple(SURNAMES[pick] for pick in rng.integers(0, len(SURNAMES), count)),
        taste=taste,
        archetype=archetype,
        typical_basket=typical,
        price_sensitivity=sensitivity,
        visits_per_day=0.105 * np.exp(0.75 * activity),
        deal_taste=_deal_tastes(rng, deal_seeker, age_z, tier),
        openness=0.85 * rng.standard_normal(count) + 0.25 * age_z,
        purchase_logit=-2.6 + 0.8 * activity + 0.5 * rng.standard_normal(count),
    )


def _tastes(rng: np.random.Generator, age_z: Floats, gender: Ints) -> Floats:
    by_age = np.array([words.age for words in CATEGORIES])
    by_gender = np.array([words.female for words in CATEGORIES])
    lean = np.array([0.5, -0.5, 0.0])[gender]
    noise = 1.1 * rng.standard_normal((len(age_z), len(CATEGORIES)))
    return age_z[:, None] * by_age + 2.0 * lean[:, None] * by_gender + noise


def _deal_tastes(rng: np.random.Generator, deal_seeker: Floats, age_z: Floats, tier: Ints) -> Floats:
    """Return how much each kind of offer moves each shopper; 0 is the average shopper's.

    Part of it can be read off the profile (flash sales move the young, coupons the old, members' offers the gold
    tier); the larger part shows in behaviour alone.
    """
    own = rng.standard_normal((len(age_z), 5))
    by_age = np.array([0.30, 0.10, -0.45, 0.0, 0.05])
    member = np.array([0.0, 0.0, 0.0, 0.45, 0.0])
    return 0.55 * deal_seeker[:, None] + 0.75 * own + age_z[:, None] * by_age + tier.clip(0)[:, None] * member - 0.1


def _joined(rng: np.random.Generator, count: int, days: int) -> Ints:
    before = -rng.integers(1, 1_400, count) * DAY - rng.integers(0, DAY, count)
    during = rng.integers(DAY, int(days * DAY * 0.85), count)
    return np.where(rng.random(count) < NEWCOMER_SHARE, during, before)


def _first_names(rng: np.random.Generator, gender: Ints) -> tuple[str, ...]:
    both = FEMALE_NAMES + MALE_NAMES
    picks = rng.random(len(gender))
    lists = (FEMALE_NAMES, MALE_NAMES, both)
    return tuple(lists[g][int(pick * len(lists[g]))] for g, pick in zip(gender, picks, strict=True))
