"""One price for page, basket and order: a signed quote says what each offer takes off, and the order holds it to that.

``quote`` resolves which offers go together and signs the answer. Within its lifetime ``reserve_quote`` reserves exactly
these amounts, whatever was edited meanwhile, or refuses; limits, budget, a pause and the kill switch still decide.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.core import signing
from django.db import IntegrityError, transaction
from django.db.models import Exists, F, OuterRef, Q
from django.http import HttpRequest
from django.utils import timezone

from personalization import conf
from personalization.campaigns import counters, redemption, risk, sites, switch, triggers
from personalization.campaigns.coupons import (
    by_id,
    closed_reason,
    ineligible_reason,
    issue,
    tried_coupon,
    unusable_reason,
)
from personalization.campaigns.wording import extras_text
from personalization.exceptions import CouponRefused, PersonalizationError, QuoteChanged, UnderReview
from personalization.models import Campaign, Coupon, Offer, Reservation, Shopper
from personalization.ports.messages import explain
from personalization.pure.stacking import Candidate, Refusal, resolve
from personalization.types import Basket, Discount, Facts, Hold

SALT = "personalization.quote"
State = Reservation.State


@dataclass(frozen=True, slots=True)
class AppliedOffer:
    """One offer of a quote. ``coupon_id`` is empty where it applies by itself; ``extras`` are its other benefits."""

    offer_id: int
    coupon_id: str
    name: str
    discount: Discount
    extras: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RefusedOffer:
    """An offer that takes nothing off this basket, and why: ``message`` is for the shopper."""

    offer_id: int | None
    coupon_id: str
    name: str
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Quote:
    """What a basket costs. ``per_line_minor`` is what all offers take off each line; ``exact``: no better choice."""

    token: str
    applied: tuple[AppliedOffer, ...]
    refused: tuple[RefusedOffer, ...]
    per_line_minor: tuple[int, ...]
    off_minor: int
    total_minor: int
    expires_at: datetime
    exact: bool


@dataclass(frozen=True, slots=True)
class BasketHold:
    """All reservations of one basket, and what they take off its price together."""

    basket_key: str
    holds: tuple[Hold, ...]
    off_minor: int
    per_line_minor: tuple[int, ...]


def quote(
    *,
    shopper: Shopper | None,
    basket: Basket,
    coupon_ids: Iterable[str] = (),
    codes: Iterable[str] = (),
    automatic: bool = True,
    request: HttpRequest | None = None,
) -> Quote:
    """Price a basket with these coupons and, if ``automatic``, with every offer that applies by itself.

    Nothing is held or written. A coupon that cannot be used, or gives way to a better combination, is among
    ``refused`` with its reason.
    """
    now = timezone.now()
    refused: list[RefusedOffer] = []
    found = _coupons(shopper, coupon_ids, codes, refused, request)
    options: dict[str, tuple[Offer, str]] = {f"c:{coupon.pk}": (coupon.offer, str(coupon.pk)) for coupon in found}
    if automatic:
        for offer in _automatic(shopper, sites.host_of(request), now):
            options[f"o:{offer.pk}"] = (offer, "")
    stack = resolve([_candidate(key, offer) for key, (offer, _) in options.items()], basket, conf.get().stack_limit)
    applied = tuple(_applied(*options[key], discount, basket.currency) for key, discount in stack.chosen)
    names = {key: _name(offer) for key, (offer, _) in options.items()}
    refused += [_refused(*options[key], refusal, names) for key, refusal in stack.refused.items()]
    expires_at = now + timedelta(minutes=conf.get().quote_minutes)
    off = sum(item.discount.off_minor for item in applied)
    return Quote(
        token=_sign(applied, basket, shopper, now),
        applied=applied,
        refused=tuple(refused),
        per_line_minor=_per_line(basket, [item.discount for item in applied]),
        off_minor=off,
        total_minor=basket.total_minor + basket.shipping_minor - off,
        expires_at=expires_at,
        exact=stack.exact,
    )


def _coupons(
    shopper: Shopper | None,
    coupon_ids: Iterable[str],
    codes: Iterable[str],
    refused: list[RefusedOffer],
    request: HttpRequest | None,
) -> list[Coupon]:
    found: dict[Any, Coupon] = {}
    asked = [{"coupon_id": key} for key in coupon_ids] + [{"code": code} for code in codes]
    for given in asked:
        try:
            coupon = tried_coupon(shopper=shopper, request=request, **given)
        except CouponRefused as error:  # the same words for every reason: they would tell which codes exist
            refused.append(RefusedOffer(None, given.get("coupon_id", ""), "", error.code, explain(error)))
        else:
            found[coupon.pk] = coupon
    return list(found.values())


def _automatic(shopper: Shopper | None, host: str | None, now: datetime) -> list[Offer]:
    """Return the offers that apply by themselves here, for this shopper, at this moment, and are not used up."""
    population = shopper.population if shopper is not None else conf.get().population
    if switch.engaged_now(population):
        return []
    offers: list[Offer] = list(
        Offer.objects.select_related("campaign")
        .filter(
            application=Offer.Application.AUTOMATIC,
            campaign__status=Campaign.Status.RUNNING,
            campaign__population=population,
        )
        .annotate(triggered=Exists(triggers.opening().filter(campaign=OuterRef("campaign"))))
    )
    offers = [
        offer
        for offer in offers
        if sites.shows_on(offer.campaign, host)
        and not (closed_reason(offer, now) or ineligible_reason(offer, shopper, now))
    ]
    waiting = triggers.without_occasion(offers, shopper, now)
    offers = [offer for offer in offers if offer.pk not in waiting]
    if shopper is None or not offers:
        return offers
    # What waits for a review or was refused as abuse would only have the whole basket refused.
    waits = Exists(Reservation.objects.filter(coupon=OuterRef("pk"), state=State.REVIEW))
    gone = Q(used_count__gte=F("max_uses")) | Q(voided_at__isnull=False) | Q(waits)
    own = Coupon.objects.filter(gone, shopper=shopper, offer__in=offers)
    spent = Counter(own.values_list("offer_id", flat=True))
    return [offer for offer in offers if spent[offer.pk] < offer.per_shopper]


def _candidate(key: str, offer: Offer) -> Candidate:
    return Candidate(key, offer.terms(), offer.campaign.priority, offer.exclusion_group, offer.exclusive)


def _applied(offer: Offer, coupon_id: str, discount: Discount, currency: str) -> AppliedOffer:
    return AppliedOffer(offer.pk, coupon_id, _name(offer), discount, tuple(extras_text(discount, currency)))


def _name(offer: Offer) -> str:
    return offer.headline or offer.name


def _refused(offer: Offer, coupon_id: str, refusal: Refusal, names: Mapping[str, str]) -> RefusedOffer:
    params = {**refusal.params, "other": names.get(refusal.other_key, "")}
    message = explain(PersonalizationError(refusal.template, params=params))
    return RefusedOffer(offer.pk, coupon_id, _name(offer), refusal.reason, message)


def _per_line(basket: Basket, discounts: Iterable[Discount]) -> tuple[int, ...]:
    total = [0] * len(basket.lines)
    for discount in discounts:
        for index, share in enumerate(discount.per_line_minor):
            total[index] += share
    return tuple(total)


def _fingerprint(basket: Basket) -> str:
    """Return what makes two baskets the same: lines with prices, currency, shipping; not the reference."""
    lines = [
        [line.item_id, line.quantity, line.unit_price_minor, line.category, line.host_discount_minor]
        for line in basket.lines
    ]
    told = json.dumps([lines, basket.currency, basket.shipping_minor, basket.prices_include_tax])
    return hashlib.sha256(told.encode()).hexdigest()[:32]


def _sign(applied: Iterable[AppliedOffer], basket: Basket, shopper: Shopper | None, now: datetime) -> str:
    told = {
        "b": _fingerprint(basket),
        "s": str(shopper.key) if shopper is not None else "",
        "t": int(now.timestamp()),
        "o": [
            [item.offer_id, item.coupon_id, list(item.discount.per_line_minor), redemption.record_of(item.discount)]
            for item in applied
        ],
    }
    return signing.dumps(told, salt=SALT, compress=True)


@dataclass(frozen=True, slots=True)
class _Promise:
    """What a token says, once its signature, age, basket and shopper are found right."""

    at: datetime
    entries: list[tuple[int, str, Discount]]


def _read(token: str, shopper: Shopper, basket: Basket) -> _Promise:
    try:
        told = signing.loads(token, salt=SALT, max_age=conf.get().quote_minutes * 60)
        # Who is known only since the checkout had no name yet on the page.
        if told["b"] != _fingerprint(basket) or told["s"] not in {"", str(shopper.key)}:
            raise QuoteChanged
        entries = [
            (int(offer), str(coupon), redemption.discount_of(per_line, record))
            for offer, coupon, per_line, record in told["o"]
        ]
        return _Promise(datetime.fromtimestamp(told["t"], tz=timezone.get_default_timezone()), entries)
    except (signing.BadSignature, KeyError, TypeError, ValueError):
        raise QuoteChanged from None


def reserve_quote(
    token: str, *, shopper: Shopper, basket: Basket, idempotency_key: str, facts: Facts | None = None
) -> BasketHold:
    """Reserve all offers of a quote, or none; the same key returns the same reservations.

    Call it outside transactions: coupons of offers that apply by themselves are made first, each in a transaction of
    its own, since making one locks the offer and reserving locks coupons before offers.

    Raises QuoteChanged if the token is too old or stands for another basket or shopper; CouponRefused if a limit is
    used up or the campaign has been stopped; UnderReview if the shop has to look at an offer first: that offer waits,
    the others are free again. Once it is approved, a new quote goes through.
    """
    promise = _read(token, shopper, basket)
    key = idempotency_key[:100]
    try:
        done = _held(key, shopper, promise)
        if not done:
            own = {
                offer_id: _own_automatic(offer_id, shopper)
                for offer_id, coupon_id, _ in promise.entries
                if not coupon_id
            }
            with transaction.atomic():
                done = _held(key, shopper, promise) or _reserve(promise, own, shopper, basket, key, facts)
    except (IntegrityError, CouponRefused) as error:  # perhaps the same key, at the same moment
        done = _held(key, shopper, promise) or []
        if not done:
            raise (error if isinstance(error, CouponRefused) else CouponRefused(reason="limit")) from None
    if any(row.state == State.REVIEW for row in done):
        raise UnderReview
    return _basket_hold(key, basket, done)


def _held(key: str, shopper: Shopper, promise: _Promise) -> list[Reservation]:
    rows = list(Reservation.objects.filter(basket_key=key).order_by("created_at", "pk"))
    if not rows:
        return []
    if any(row.shopper_id != shopper.pk for row in rows):
        raise CouponRefused(reason="foreign_key")
    promised = sorted((offer_id, repr(discount)) for offer_id, _, discount in promise.entries)
    if promised != sorted((row.offer_id, repr(redemption.benefit_of(row))) for row in rows):
        raise CouponRefused(reason="other_basket")
    waits = any(row.state == State.REVIEW for row in rows)
    if not waits and any(row.state not in {State.HELD, State.REDEEMED} for row in rows):
        raise QuoteChanged
    return rows


def _reserve(
    promise: _Promise, own: Mapping[int, Coupon], shopper: Shopper, basket: Basket, key: str, facts: Facts | None
) -> list[Reservation]:
    items = []
    for offer_id, coupon_id, discount in promise.entries:
        coupon = _coupon_of(coupon_id, shopper, promise.at) if coupon_id else own[offer_id]
        items.append(redemption.prepare(coupon, discount, shopper, basket, f"{key}:{coupon.pk}", key))
    now = timezone.now()
    counters.hold(items)
    rows = [item.reservation for item in items]
    suspicions = [found for row in rows if (found := risk.judge(row, facts, now)) is not None]
    counters.charge(items, now)
    if suspicions:
        risk.stop(suspicions, now)
        # The others are free at once, for an order without those that wait.
        counters.let_go([row for row in rows if row.state != State.REVIEW], State.RELEASED)
    return rows


def _coupon_of(coupon_id: str, shopper: Shopper, promised_at: datetime) -> Coupon:
    """Return the coupon to reserve. Dates count as they stood when the price was shown."""
    coupon = by_id(coupon_id)
    reason = unusable_reason(coupon, shopper, promised_at)
    if coupon is None or reason:
        raise CouponRefused(reason=reason)
    return coupon


def _own_automatic(offer_id: int, shopper: Shopper) -> Coupon:
    """Return the shopper's unused coupon of an offer that applies by itself; one is made if they may have another."""
    offer = Offer.objects.select_related("campaign").filter(pk=offer_id).first()
    if offer is None or offer.campaign.status != Campaign.Status.RUNNING or switch.engaged_now(shopper.population):
        raise CouponRefused(reason="campaign_not_running")
    own = list(Coupon.objects.select_related("offer__campaign").filter(shopper=shopper, offer=offer))
    for coupon in own:
        if coupon.voided_at is None and coupon.used_count + coupon.reserved_count < coupon.max_uses:
            return coupon
    if len(own) >= offer.per_shopper:
        raise CouponRefused(reason="used_by_shopper")
    try:
        coupon = issue(offer, origin=Coupon.Origin.AUTOMATIC, shopper=shopper)
    except PersonalizationError as error:
        raise CouponRefused(reason=error.reason) from error
    coupon.offer = offer
    return coupon


def _basket_hold(key: str, basket: Basket, rows: list[Reservation]) -> BasketHold:
    holds = tuple(redemption.hold_of(row) for row in rows)
    discounts = [hold.discount for hold in holds]
    off = sum(discount.off_minor for discount in discounts)
    return BasketHold(key, holds, off, _per_line(basket, discounts))


def redeem_basket(basket_key: str, *, order_label: str, order_id: str) -> int:
    """Spend all reservations of a basket on an order and return what comes off its price together.

    Call it inside the order's own transaction, as :func:`personalization.api.redeem`.
    """
    return redemption.redeem_all(_of_basket(basket_key), order_label=order_label, order_id=order_id)


def release_basket(basket_key: str) -> int:
    """Give all reservations of a basket back; returns how many were held."""
    return redemption.release_all(_of_basket(basket_key))


def _of_basket(basket_key: str) -> list[uuid.UUID]:
    if not basket_key:
        return []
    return list(Reservation.objects.filter(basket_key=basket_key).values_list("pk", flat=True))
