"""Read everything a worker may learn from, up to a moment, in a few streamed queries.

Only consenting, unmerged shoppers who do not look like bots are read; nothing that happened after ``until`` is.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
from django.utils import timezone

from personalization import conf
from personalization.features import audiences
from personalization.features.frames import (
    NEVER,
    Exposures,
    Frames,
    Items,
    Offers,
    milliseconds,
)
from personalization.learning import forecast_terms, images, people, reviews, stream, wordings
from personalization.learning.stream import Progress
from personalization.models import Campaign, CatalogItem, Event, Exposure, Offer, Shopper, ShopperAlias
from personalization.ports.money import money
from personalization.pure.costs import nominal
from personalization.pure.money import exponent
from personalization.pure.numbers import number_or_nan
from personalization.tracking import secrets

CHUNK = 20_000
OVER = (Campaign.Status.ENDED, Campaign.Status.ARCHIVED)
EPISODE = 86_400_000
"""Milliseconds within which showing an offer again to the same shopper is the same exposure."""


def _silent(stage: object) -> None:
    """Say nothing."""


def last_moment(population: str) -> datetime | None:
    """Return when the population's last event happened; None if it has none."""
    last = Event.objects.filter(shopper__population=population).order_by("-occurred_at").values_list("occurred_at")
    row = last.first()
    return row[0] if row else None


def learnt_until(population: str, asked: datetime | None) -> datetime | None:
    """Return until when to learn: until ``asked``, else until the last event; None if there is none.

    Never beyond what can be known, or offers that are still open would be learnt from as refused ones.
    """
    return last_moment(population) if asked is None else min(asked, moment_to_score(population))


def moment_to_score(population: str) -> datetime:
    """Return the moment that scores are of, unless somebody names one: now, for the shop's own shoppers.

    In an imported data set time stands still at its last event.
    """
    own = population == conf.get().population
    return timezone.now() if own else last_moment(population) or timezone.now()


def _millis(value: datetime | None, until: int) -> int:
    """Return milliseconds, or NEVER for what has not happened by the cut-off."""
    if value is None:
        return int(NEVER)
    moment = milliseconds(value)
    return moment if moment <= until else int(NEVER)


def _columns(rows: Iterable[Sequence[Any]], width: int) -> list[list[Any]]:
    columns: list[list[Any]] = [[] for _ in range(width)]
    for row in rows:
        for column, value in zip(columns, row, strict=True):
            column.append(value)
    return columns


def load(population: str, until: datetime, progress: Progress = _silent) -> Frames:
    """Return the population's frames with nothing later than ``until``."""
    cut = milliseconds(until)
    progress(wordings.READING_SHOPPERS)
    shoppers = people.load(population, until)
    position = {int(pk): index for index, pk in enumerate(shoppers.ids)}
    items, categories = _items(population)
    category_code = {name: code for code, name in enumerate(categories)}
    offers, digits = _offers(population, category_code)
    progress(wordings.READING_EXPOSURES)
    exposures = _exposures(population, position, offers, cut, digits)
    progress(wordings.READING_EVENTS)
    codes = stream.Codes.of(shoppers, items, category_code, offers, digits)
    events = stream.read(population, until, codes, exposures, progress)
    lines = stream.read_lines(population, until, codes, progress)
    written = reviews.read(population, until, codes, progress)
    return Frames(
        population=population,
        until=cut,
        start=int(events.time.min()) if len(events) else cut,
        shoppers=shoppers,
        events=events,
        lines=lines,
        exposures=exposures,
        offers=offers,
        items=items,
        categories=categories,
        digits=digits,
        simulated=is_simulated(population),
        reviews=written,
    )


def _items(population: str) -> tuple[Items, list[str]]:
    rows = CatalogItem.objects.filter(population=population).order_by("item_id")
    names = ("item_id", "category", "price_minor", "currency", "visible", "brand", "title")
    ids, category, price, currency, visible, brand, title = _columns(
        rows.values_list(*names).iterator(chunk_size=CHUNK), len(names)
    )
    categories = sorted({name for name in category if name})
    code = {name: index for index, name in enumerate(categories)}
    prices = [
        float("nan") if value is None else value / 10 ** exponent(unit or "EUR")
        for value, unit in zip(price, currency, strict=True)
    ]
    return (
        Items(
            ids,
            np.array([code.get(name, -1) for name in category], dtype=np.int64),
            np.array(prices, dtype=np.float64),
            np.array(visible, dtype=bool),
            brand,
            title,
            images.read(population, ids),
        ),
        categories,
    )


def _offers(population: str, category_code: dict[str, int]) -> tuple[Offers, int]:
    found = list(Offer.objects.select_related("campaign").filter(campaign__population=population).order_by("pk"))
    digits = exponent(found[0].campaign.currency) if found else 2
    scale = 10.0**digits
    benefits = [nominal(offer.terms()) for offer in found]
    channels = [[float(bool(offer.attributes.get(name))) for name in ("web", "mobile", "social")] for offer in found]
    return (
        Offers(
            ids=np.array([offer.pk for offer in found], dtype=np.int64),
            names=[offer.name for offer in found],
            kinds=[offer.kind for offer in found],
            amount=np.array([amount / scale for _, amount in benefits]),
            percent=np.array([float(percent) for percent, _ in benefits]),
            threshold=np.array([offer.threshold_minor / scale for offer in found]),
            max_discount=np.array(
                [np.inf if offer.max_discount_minor is None else offer.max_discount_minor / scale for offer in found]
            ),
            hours=np.array([_valid_hours(offer) for offer in found]),
            category=np.array([category_code.get(offer.category, -1) for offer in found], dtype=np.int64),
            channels=np.array(channels, dtype=np.float64).reshape(len(found), 3),
            members_only=np.array([float(bool(offer.tiers)) for offer in found]),
            external=[str(offer.attributes.get("external_id", "")) for offer in found],
            campaign=np.array([offer.campaign_id for offer in found], dtype=np.int64),
            attribution_hours=np.array([_attribution_hours(offer.campaign) for offer in found], dtype=np.int64),
        ),
        digits,
    )


def _valid_hours(offer: Offer) -> float:
    """Return for how long an offer can be used once it is shown: as its coupon says, else as an import noted."""
    if offer.valid_hours is not None:
        return float(offer.valid_hours)
    return number_or_nan(offer.attributes.get("duration_hours"))


def _exposures(population: str, position: dict[int, int], offers: Offers, cut: int, digits: int) -> Exposures:
    """Read exposures; the same offer on page after page within a day is one exposure, with the first of each outcome.

    Otherwise a shopper who reloads a page ten times would be ten training rows with one and the same answer.
    """
    fields = (
        "pk", "shopper_id", "offer_id", "exposed_at", "window_ends_at", "viewed_at", "clicked_at", "redeemed_at",
        "purchased_at", "revenue_minor", "cost_minor", "propensity", "campaign_id",
    )  # fmt: skip
    offer_position = {int(pk): index for index, pk in enumerate(offers.ids)}
    rows = (
        Exposure.objects.filter(shopper__population=population)
        .order_by("exposed_at", "pk")
        .values_list(*fields)
        .iterator(chunk_size=CHUNK)
    )
    scale = 10.0**digits
    kept: list[list[Any]] = []
    episodes: dict[tuple[int, int | None, int | None], list[Any]] = {}
    for row in rows:
        shopper = position.get(row[1])
        moment = milliseconds(row[3])
        if shopper is None or moment > cut:
            continue
        outcomes = [_millis(value, cut) for value in row[5:9]]
        # No purchase or redemption by the cut-off: its money lies in the future too.
        revenue = row[9] / scale if outcomes[3] != NEVER else 0.0
        cost = row[10] / scale if outcomes[2] != NEVER else 0.0
        episode = episodes.get((shopper, row[2], row[12]))
        if episode is not None and moment - episode[3] < EPISODE:
            episode[5:9] = map(min, episode[5:9], outcomes)
            episode[9:11] = max(episode[9], revenue), max(episode[10], cost)
            continue
        episode = [
            row[0], shopper, offer_position.get(row[2], -1), moment, milliseconds(row[4]), *outcomes,
            revenue, cost, np.nan if row[11] is None else row[11],
        ]  # fmt: skip
        episodes[shopper, row[2], row[12]] = episode
        kept.append(episode)
    columns = _columns(kept, 12)
    whole: list[Any] = [np.array(column, dtype=np.int64) for column in columns[:9]]
    real: list[Any] = [np.array(column, dtype=np.float64) for column in columns[9:]]
    return Exposures(*whole, *real)


@dataclass(frozen=True, slots=True)
class CampaignBrief:
    """What a forecast needs to know of a campaign. ``tiers``: offer → loyalty tiers that may have it (empty: all).

    ``over``: it has ended, by its state or by its dates. ``digest`` is of what was read
    (:mod:`personalization.learning.forecast_terms`).
    """

    id: int
    name: str
    population: str
    currency: str
    sent: bool
    starts_at: datetime
    days: float
    attribution_hours: int
    budget_minor: int | None
    tiers: dict[int, frozenset[str]]
    audience: list[int]
    over: bool
    digest: str

    def money(self, minor: float) -> str:
        """Return an amount in minor units of the campaign's currency as people read it, to the nearest unit."""
        return money(round(minor), self.currency)


def _attribution_hours(campaign: Campaign) -> int:
    return campaign.attribution_hours or conf.get().attribution_hours


def _budget_left(campaign: Campaign) -> int | None:
    if campaign.budget_minor is None:
        return None
    return max(campaign.budget_minor - campaign.spent_minor, 0)


def campaign_brief(campaign_id: int, now: datetime) -> CampaignBrief | None:
    """Return a campaign with the shoppers it may address at this moment; None if it is gone."""
    digest = forecast_terms.digest(campaign_id)  # first: what is edited from here on does not fit any more
    campaign = Campaign.objects.filter(pk=campaign_id).first()
    if campaign is None:
        return None
    offers = campaign.offers.order_by("pk").values_list("pk", "tiers")
    return CampaignBrief(
        id=campaign.pk,
        name=campaign.name,
        population=campaign.population,
        currency=campaign.currency,
        sent=campaign.delivery == Campaign.Delivery.SENT,
        starts_at=campaign.starts_at,
        days=(campaign.ends_at - campaign.starts_at).total_seconds() / 86_400,
        attribution_hours=_attribution_hours(campaign),
        budget_minor=_budget_left(campaign),
        tiers={pk: frozenset(tiers) for pk, tiers in offers},
        audience=list(audiences.reachable(campaign, now).order_by("pk").values_list("pk", flat=True)),
        over=campaign.status in OVER or campaign.ends_at <= now,
        digest=digest,
    )


def newest_campaigns(most: int) -> list[tuple[int, str]]:
    """Return (id, name) of the campaigns that were made last, the newest first."""
    return list(Campaign.objects.order_by("-pk").values_list("pk", "name")[:most])


def external_ids(population: str) -> dict[int, str]:
    """Return shopper → the id an imported shopper had in its data set."""
    rows = ShopperAlias.objects.filter(kind=ShopperAlias.Kind.EXTERNAL, shopper__population=population)
    return dict(rows.values_list("shopper_id", "value"))


def names_outside(population: str) -> dict[int, str]:
    """Return shopper → by what a file that leaves the shop names them.

    The shop's own shoppers by keyed pseudonyms, from which nobody without the key gets back to them; those of a public
    data set by the id that they have there, so that two programs' results can be laid side by side.
    """
    if population == conf.get().population:
        rows = Shopper.objects.filter(population=population).values_list("pk", "key")
        return {pk: secrets.pseudonym(key.hex) for pk, key in rows.iterator(chunk_size=2000)}
    prefix = f"{population}:"
    return {pk: value.removeprefix(prefix) for pk, value in external_ids(population).items()}


def is_simulated(population: str) -> bool:
    """Return whether any of the population's offers is marked as simulated: its figures must then say so."""
    marks = Offer.objects.filter(campaign__population=population).values_list("attributes", flat=True)
    return any(isinstance(mark, dict) and mark.get("simulated") for mark in marks)


def running_offers(population: str) -> list[int]:
    """Return the offers of campaigns that run: what shoppers can be shown now."""
    running = Offer.objects.filter(campaign__population=population, campaign__status=Campaign.Status.RUNNING)
    return list(running.order_by("pk").values_list("pk", flat=True))


def offers_to_score(population: str) -> list[int]:
    """Return the offers that can still be had: of campaigns that are not over; if all are (imported data), all."""
    every = Offer.objects.filter(campaign__population=population).order_by("pk").values_list("pk", flat=True)
    return list(every.exclude(campaign__status__in=OVER)) or list(every)
