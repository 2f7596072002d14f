"""Common campaigns, ready to be looked over and launched: data, not code.

A design holds what a marketer would type. Amounts are in whole units of a currency with prices like the euro's and
are raised to the level of currencies with larger numbers; dates begin where the caller says, or tomorrow.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from django.utils import timezone
from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _
from django.utils.translation import gettext_noop

from personalization import conf
from personalization.campaigns import authoring, clock
from personalization.exceptions import PersonalizationError
from personalization.models import Campaign
from personalization.pure.money import to_minor
from personalization.types import OfferKind

Text = str | Promise
# How many of its units buy roughly what one euro buys, to a round number; currencies not named here count as one.
LEVELS = {
    **dict.fromkeys(["CNY", "HKD", "SEK", "NOK", "DKK", "MXN", "ZAR", "TWD", "CZK", "THB", "TRY"], 10),
    **dict.fromkeys(["JPY", "INR", "RUB", "PHP", "HUF", "ISK", "RSD"], 100),
    **dict.fromkeys(["KRW", "CLP"], 1_000),
    **dict.fromkeys(["IDR", "VND"], 10_000),
}
MONEY = ("amount", "threshold", "max_discount")


@dataclass(frozen=True)
class Design:
    """One ready-made campaign. ``offers`` are an offer's fields, money as ``amount``, ``threshold``, ``max_discount``
    in whole units; ``window_hours`` opens an offer for the first hours only. ``triggers`` are a trigger's fields."""

    title: Text
    about: Text
    goal: Text
    days: int
    offers: tuple[Mapping[str, Any], ...]
    triggers: tuple[Mapping[str, Any], ...] = ()
    fields: Mapping[str, Any] = field(default_factory=dict)


DESIGNS: dict[str, Design] = {
    "welcome": Design(
        title=_("Welcome"),
        about=_("A present for those who have just joined, good for two weeks."),
        goal=_("Turn new accounts into first orders"),
        days=365,
        offers=(
            {
                "kind": OfferKind.WELCOME,
                "name": _("Welcome present"),
                "percent": 10,
                "max_discount": 20,
                "valid_hours": 14 * 24,
                "headline": _("Welcome! A tenth off your first order"),
                "body": _("Good to have you here. It counts for whatever you choose first."),
                "cta_label": _("Take it"),
            },
        ),
        triggers=({"kind": "welcome", "params": {"days": 7}, "open_days": 14},),
    ),
    "birthday": Design(
        title=_("Birthday"),
        about=_("A present that opens three days before the birthday."),
        goal=_("Be remembered on the day that matters"),
        days=365,
        offers=(
            {
                "kind": OfferKind.BIRTHDAY,
                "name": _("Birthday present"),
                "percent": 15,
                "max_discount": 30,
                "valid_hours": 14 * 24,
                "headline": _("Happy birthday! A present for you"),
                "body": _("Choose something you like: today it costs less."),
                "cta_label": _("Unwrap"),
            },
        ),
        triggers=({"kind": "birthday", "params": {"days_before": 3}, "open_days": 14},),
    ),
    "win_back": Design(
        title=_("Win-back"),
        about=_("A reason to return for shoppers who have not bought for half a year."),
        goal=_("Bring lost shoppers back"),
        days=90,
        offers=(
            {
                "kind": OfferKind.COUPON,
                "name": _("Come back"),
                "amount": 10,
                "threshold": 50,
                "valid_hours": 21 * 24,
                "headline": _("We have missed you"),
                "body": _("A lot is new since your last visit. This much comes off your next order."),
                "cta_label": _("See what is new"),
            },
        ),
        triggers=({"kind": "win_back", "params": {"days": 180}, "open_days": 21},),
    ),
    "basket_reminder": Design(
        title=_("Basket reminder"),
        about=_("Free delivery for a basket that was left behind some hours ago."),
        goal=_("Finish baskets that were left behind"),
        days=90,
        offers=(
            {
                "kind": OfferKind.FREE_SHIPPING,
                "name": _("Free delivery for your basket"),
                "threshold": 25,
                "valid_hours": 72,
                "headline": _("Your basket is still here"),
                "body": _("Order within three days and delivery is on us."),
                "cta_label": _("To the basket"),
            },
        ),
        triggers=({"kind": "basket", "params": {"hours": 4, "within_days": 3}, "open_days": 3},),
    ),
    "mailing": Design(
        title=_("Mailing"),
        about=_("A code by mail, once at the launch, for everybody who agreed to messages."),
        goal=_("Bring the whole audience to the shop in one week"),
        days=7,
        offers=(
            {
                "kind": OfferKind.COUPON,
                "name": _("This week's code"),
                "percent": 10,
                "max_discount": 20,
                "headline": _("A code for you, this week only"),
                "body": _("A tenth off whatever you choose, until the week is over."),
                "cta_label": _("To the shop"),
            },
        ),
        triggers=({"kind": "launch", "open_days": 3, "channels": ["email"]},),
        fields={"delivery": Campaign.Delivery.SENT, "audience_mode": Campaign.AudienceMode.SNAPSHOT},
    ),
    "seasonal_sale": Design(
        title=_("Seasonal sale"),
        about=_("The more somebody buys the more comes off, for three weeks."),
        goal=_("Clear the season’s stock with larger baskets"),
        days=21,
        offers=(
            {
                "kind": OfferKind.SPEND_THRESHOLD,
                "name": _("More for more"),
                "steps": ({"threshold": 50, "percent": "10"}, {"threshold": 100, "percent": "20"}),
                "headline": _("Season’s end: up to a fifth off"),
                "body": _("A tenth off from a medium basket on, a fifth off a large one."),
                "cta_label": _("To the sale"),
            },
        ),
        fields={"pacing": Campaign.Pacing.EVEN},
    ),
    "flash_sale": Design(
        title=_("Flash sale"),
        about=_("A quarter off for six hours and for the first two hundred."),
        goal=_("Sell much in a short time"),
        days=1,
        offers=(
            {
                "kind": OfferKind.FLASH_SALE,
                "name": _("Six hours only"),
                "percent": 25,
                "max_discount": 50,
                "max_redemptions": 200,
                "window_hours": 6,
                "headline": _("Six hours: a quarter off"),
                "body": _("For the first two hundred orders, while the clock runs."),
                "cta_label": _("Hurry"),
            },
        ),
        fields={"priority": 10},
    ),
    "member_days": Design(
        title=_("Member days"),
        about=_("A long weekend for the loyalty tiers gold and silver."),
        goal=_("Reward loyal shoppers"),
        days=4,
        offers=(
            {
                "kind": OfferKind.MEMBER_EXCLUSIVE,
                "name": _("For members"),
                "percent": 15,
                "max_discount": 40,
                "tiers": ("gold", "silver"),
                "headline": _("Member days: your discount is here"),
                "body": _("Thank you for your loyalty. These days are yours."),
                "cta_label": _("To my discount"),
            },
        ),
        fields={"priority": 5},
    ),
    "free_shipping_weekend": Design(
        title=_("Free shipping weekend"),
        about=_("No delivery costs for three days; it applies by itself."),
        goal=_("Take away what keeps baskets from being ordered"),
        days=3,
        offers=(
            {
                "kind": OfferKind.FREE_SHIPPING,
                "name": _("Free delivery"),
                "application": "automatic",
                "uses_per_shopper": 5,
                "headline": _("This weekend delivery is free"),
                "body": _("Nothing to enter: it comes off by itself."),
                "cta_label": _("Look around"),
            },
        ),
    ),
    "three_for_two": Design(
        title=_("Three for two"),
        about=_("Take three pieces, pay two; the cheapest is free. It applies by itself."),
        goal=_("Sell more pieces an order"),
        days=14,
        offers=(
            {
                "kind": OfferKind.N_FOR_M,
                "name": _("Three for two"),
                "buy_quantity": 3,
                "pay_quantity": 2,
                "application": "automatic",
                "uses_per_shopper": 3,
                "headline": _("Take three, pay two"),
                "body": _("The cheapest of three is on us."),
                "cta_label": _("Choose three"),
            },
        ),
    ),
    "replenishment": Design(
        title=_("Replenishment"),
        about=_("A small discount when somebody’s own purchase cycle comes round."),
        goal=_("Be there when stocks at home run low"),
        days=180,
        offers=(
            {
                "kind": OfferKind.COUPON,
                "name": _("Time to restock"),
                "percent": 5,
                "max_discount": 10,
                "valid_hours": 14 * 24,
                "headline": _("Running low?"),
                "body": _("It is about time for your usual order. A little comes off if you place it now."),
                "cta_label": _("Order again"),
            },
        ),
        triggers=({"kind": "replenishment", "params": {"days_before": 2}, "open_days": 14},),
    ),
}


def design(
    name: str,
    population: str = "",
    currency: str = "",
    by: Any = None,
    starts_at: datetime | None = None,
    *,
    time_zone: str = "",
) -> Campaign:
    """Make a draft from a design, in the language that is active, and return it.

    Empty population and currency are the shop's own. It starts at the next midnight of the time zone if no start is
    given; its offers stand in every declared slot. Raises PersonalizationError for a name that is no design.
    """
    plan = DESIGNS.get(name)
    if plan is None:
        raise PersonalizationError(gettext_noop("There is no such template."))
    place = clock.zone(time_zone)
    start = starts_at or clock.next_midnight(timezone.now(), place)
    currency = currency or conf.get().currency
    return authoring.create_campaign(
        name=str(plan.title),
        goal=str(plan.goal),
        starts_at=start,
        ends_at=clock.days_after(start, plan.days, place),
        population=population or conf.get().population,
        currency=currency,
        time_zone=time_zone,
        offers=[_offer(given, currency, start) for given in plan.offers],
        triggers=[dict(given) for given in plan.triggers],
        by=by,
        **plan.fields,
    )


def _offer(given: Mapping[str, Any], currency: str, start: datetime) -> dict[str, Any]:
    """Return an offer's fields: words in the active language, money in minor units, its window as moments."""
    fields: dict[str, Any] = {"slots": list(conf.get().slots)}
    for name, value in given.items():
        if name in MONEY:
            fields[f"{name}_minor"] = _minor(value, currency)
        elif name == "steps":
            fields[name] = [
                {"threshold_minor": _minor(step["threshold"], currency), "percent": step["percent"]} for step in value
            ]
        elif name == "window_hours":
            fields.update(starts_at=start, ends_at=start + timedelta(hours=value))
        elif isinstance(value, tuple):
            fields[name] = list(value)
        else:
            fields[name] = str(value) if isinstance(value, Promise) else value
    return fields


def _minor(units: int, currency: str) -> int:
    return to_minor(Decimal(units * LEVELS.get(currency, 1)), currency)
