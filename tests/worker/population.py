"""A small shop in the database with a response to learn, written row by row: waves of offers, browsing, orders.

Gold members redeem more, offers differ, and shoppers walk through the catalogue in its order. Every moment hangs on
``START``; the last wave's outcomes are known at ``END``.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
from django.db import connection

from personalization.models import Campaign, CatalogItem, Event, Exposure, Offer, Shopper
from personalization.types import Arm

START = datetime(2026, 1, 5, tzinfo=UTC)
DAY = timedelta(days=1)
WINDOW = 3 * DAY
WAVES = 6
END = START + (7 * WAVES + 4) * DAY
ITEMS = 12
TABLES: tuple[type[Any], ...] = (Shopper, Campaign, Offer, CatalogItem, Event, Exposure)
SHOPPERS = 240
QUICK = {
    "parts": ["response", "preference", "intent"],
    "estimators": ["offer_mean", "logistic"],
    "rankers": ["popularity", "frequency", "transitions"],
}
"""Parameters of a training that takes no time; the contracts' own suites train everybody."""


@dataclass
class Population:
    """What was written."""

    shoppers: list[Shopper]
    campaign: Campaign
    offers: list[Offer]


_written: dict[type[Any], list[tuple[Any, ...]]] = {}


def restore() -> Population:
    """Return the population that ``build()`` writes; from the second time on its rows are copied, key by key."""
    if connection.vendor != "sqlite":  # elsewhere keys that are given do not move the sequence on
        return build()
    if not _written:
        build()
        with connection.cursor() as cursor:
            for model in TABLES:
                cursor.execute(f"SELECT * FROM {model._meta.db_table} ORDER BY id")
                _written[model] = cursor.fetchall()
    else:
        with connection.cursor() as cursor:
            for model, rows in _written.items():
                places = ", ".join(["%s"] * len(rows[0]))
                cursor.executemany(f"INSERT INTO {model._meta.db_table} VALUES ({places})", rows)
    return Population(list(Shopper.objects.order_by("pk")), Campaign.objects.get(), list(Offer.objects.order_by("pk")))


def wave(number: int) -> datetime:
    """Return when a wave was shown, the first is 1."""
    return START + 7 * number * DAY


def build(
    population: str = "shop",
    shoppers: int = SHOPPERS,
    *,
    seed: int = 0,
    outcomes: str = "both",
    alike: bool = False,
) -> Population:
    """Write a population. ``outcomes``: both, none or all; ``alike``: everybody has the same profile and no past."""
    rng = np.random.default_rng(seed)
    people = _people(population, shoppers, rng, alike)
    campaign = Campaign.objects.create(
        name="Waves", population=population, status=Campaign.Status.RUNNING, delivery=Campaign.Delivery.SENT,
        starts_at=START, ends_at=END, currency="EUR", attribution_hours=72,
    )  # fmt: skip
    offers = [
        Offer.objects.create(campaign=campaign, name=name, kind=kind, attributes={"external_id": name[:2]}, **terms)
        for name, kind, terms in (
            ("5.00 off", "coupon", {"amount_minor": 500}),
            ("20 % off books", "flash_sale", {"percent": 20, "category": "books"}),
            ("10.00 off from 60.00", "spend_threshold", {"amount_minor": 1000, "threshold_minor": 6000}),
        )
    ]
    CatalogItem.objects.bulk_create(
        CatalogItem(
            item_id=f"{population}-{number:02}", label="t", population=population, title=f"Item {number}",
            category=("books", "tea", "shoes")[number % 3], price_minor=1000 + 100 * number, currency="EUR",
            visible=number != 1,
        )
        for number in range(ITEMS)
    )  # fmt: skip
    gold = np.array([person.attributes.get("tier") == "gold" for person in people])
    if not alike:
        Event.objects.bulk_create(_browsing(population, people, gold, rng), batch_size=500)
    Exposure.objects.bulk_create(_exposures(people, gold, campaign, offers, rng, outcomes), batch_size=500)
    return Population(people, campaign, offers)


def _people(population: str, count: int, rng: np.random.Generator, alike: bool) -> list[Shopper]:
    profiles: list[dict[str, Any]] = [
        {"tier": "gold" if rng.random() < 0.4 else "basic", "age": int(rng.integers(18, 80)), "city": "Riga"}
        for _ in range(count)
    ]
    return Shopper.objects.bulk_create(
        Shopper(
            population=population, attributes={"tier": "basic", "age": 40} if alike else profile, joined_at=START,
            consent_analytics=True, consent_personalisation=True, consent_marketing=True,
        )
        for profile in profiles
    )  # fmt: skip


def _browsing(population: str, people: list[Shopper], gold: Any, rng: np.random.Generator) -> list[Event]:
    """Return views and orders: one after the other through the catalogue, gold members buy more often."""
    events: list[Event] = []
    for row, person in enumerate(people):
        at, item = START + float(rng.uniform(0, 3)) * DAY, int(rng.integers(ITEMS))
        while at < END:
            buys = rng.random() < (0.7 if gold[row] else 0.3)
            key = f"{population}-{item:02}"
            lines = [{"item_id": key, "quantity": 1}] if buys else []
            events.append(
                Event(
                    source=population, event_id=f"{row}-{len(events)}", shopper=person, occurred_at=at,
                    type="order_placed" if buys else "product_viewed", item_id="" if buys else key,
                    value_minor=int(rng.integers(1000, 9000)) if buys else None, properties={"lines": lines},
                )
            )  # fmt: skip
            at, item = at + float(rng.exponential(5.0)) * DAY, (item + 1) % ITEMS
    return events


def _exposures(
    people: list[Shopper], gold: Any, campaign: Campaign, offers: list[Offer], rng: np.random.Generator, outcomes: str
) -> list[Exposure]:
    rows: list[Exposure] = []
    for number in range(1, WAVES + 1):
        at = wave(number)
        for row, person in enumerate(people):
            control = rng.random() < 0.1
            chosen = int(rng.integers(len(offers)))
            p = 1 / (1 + np.exp(2.6 - 2.2 * gold[row] - 0.9 * chosen))
            redeems = outcomes == "all" or (outcomes == "both" and rng.random() < p)
            views = outcomes == "all" or (outcomes == "both" and (redeems or rng.random() < 0.6))
            buys = redeems or (outcomes != "none" and rng.random() < 0.15)
            rows.append(
                Exposure(
                    shopper=person, campaign=campaign, offer=None if control else offers[chosen],
                    arm=(Arm.CONTROL if control else Arm.TREATMENT).value, propensity=0.1 if control else 0.3,
                    exposed_at=at, window_ends_at=at + WINDOW,
                    viewed_at=at + DAY / 4 if views and not control else None,
                    redeemed_at=at + DAY if redeems and not control else None,
                    purchased_at=at + DAY if buys else None, revenue_minor=4000 if buys else 0,
                    cost_minor=500 if redeems and not control else 0,
                )
            )  # fmt: skip
    return rows
