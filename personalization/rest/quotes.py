"""Quotes over HTTP: price a basket with all its offers, hold them together, spend or give them back.

Shoppers price, hold and release their own baskets. The shop's own systems may do so in a shopper's name, with delivery
costs and promotions that are believed, and they alone redeem.
"""

from __future__ import annotations

from typing import Any

from django.core import signing
from django.db import transaction
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from personalization import conf
from personalization.campaigns import quotes
from personalization.exceptions import (
    BasketNotEligible,
    CouponRefused,
    QuoteChanged,
    ReservationGone,
    TooManyTries,
    UnderReview,
)
from personalization.models import Reservation, Shopper
from personalization.pure.stacking import Candidate, resolve
from personalization.rest import examples
from personalization.rest.base import PersonalView
from personalization.rest.baskets import (
    AmountSerializer,
    BasketSerializer,
    CanRedeem,
    OrderSerializer,
    ReleasedSerializer,
    as_told,
    facts_of,
    is_shop,
    named_shopper,
    own_key,
    priced,
    shopper_of,
    valid,
)
from personalization.rest.described import described
from personalization.tracking import identity, limits
from personalization.types import Basket, Discount

MOST_COUPONS = 20
MOST_CODES = 5
IN_NAME_OF = "The shopper's key; for the shop's own systems only."


class QuoteRequestSerializer(serializers.Serializer[Any]):
    basket = BasketSerializer()
    coupon_ids: serializers.ListSerializer[Any] = serializers.ListSerializer(
        child=serializers.UUIDField(), required=False, default=list, max_length=MOST_COUPONS
    )
    codes: serializers.ListSerializer[Any] = serializers.ListSerializer(
        child=serializers.CharField(max_length=64), required=False, default=list, max_length=MOST_CODES
    )
    automatic = serializers.BooleanField(
        required=False, default=True, help_text="With every offer that applies by itself."
    )
    shopper = serializers.UUIDField(required=False, help_text=IN_NAME_OF)


class BenefitSerializer(serializers.Serializer[Any]):
    off_minor = serializers.IntegerField(help_text="What the shopper pays less now: lines and delivery.")
    per_line_minor = serializers.ListField(child=serializers.IntegerField())
    shipping_minor = serializers.IntegerField(help_text="What comes off delivery.")
    gifts = serializers.ListField(child=serializers.CharField(), help_text="Product ids that come along.")
    later_minor = serializers.IntegerField(help_text="Granted after the order: cash-back or a gift card.")
    points = serializers.IntegerField()


class AppliedSerializer(BenefitSerializer):
    offer_id = serializers.IntegerField()
    coupon_id = serializers.CharField(help_text="Empty where the offer applies by itself.")
    name = serializers.CharField()


class RefusedSerializer(serializers.Serializer[Any]):
    offer_id = serializers.IntegerField(allow_null=True)
    coupon_id = serializers.CharField()
    name = serializers.CharField()
    reason = serializers.CharField()
    message = serializers.CharField()


class QuoteSerializer(serializers.Serializer[Any]):
    token = serializers.CharField()
    applied = AppliedSerializer(many=True)
    refused = RefusedSerializer(many=True)
    per_line_minor = serializers.ListField(child=serializers.IntegerField())
    off_minor = serializers.IntegerField()
    total_minor = serializers.IntegerField()
    expires_at = serializers.DateTimeField()
    exact = serializers.BooleanField(help_text="No better choice of offers exists.")


class ReserveQuoteSerializer(serializers.Serializer[Any]):
    token = serializers.CharField(max_length=200_000)
    basket = BasketSerializer()
    idempotency_key = serializers.CharField(max_length=100)
    shopper = serializers.UUIDField(required=False, help_text=IN_NAME_OF)


class HeldSerializer(BenefitSerializer):
    reservation_id = serializers.CharField()
    coupon_id = serializers.CharField()
    expires_at = serializers.DateTimeField()


class BasketHoldSerializer(serializers.Serializer[Any]):
    basket_key = serializers.CharField(help_text="Names the hold to release and redeem.")
    holds = HeldSerializer(many=True)
    per_line_minor = serializers.ListField(child=serializers.IntegerField())
    off_minor = serializers.IntegerField()


class BasketKeySerializer(serializers.Serializer[Any]):
    basket_key = serializers.CharField(max_length=100)


class RedeemBasketSerializer(BasketKeySerializer, OrderSerializer):
    basket = BasketSerializer(help_text="What the order really holds, at the shop's own prices.")


def _benefit(discount: Discount) -> dict[str, Any]:
    return {
        "off_minor": discount.off_minor,
        "per_line_minor": discount.per_line_minor,
        "shipping_minor": discount.shipping_minor,
        "gifts": [gift.item_id for gift in discount.gifts],
        "later_minor": discount.later_minor,
        "points": discount.points,
    }


def _told(quote: quotes.Quote) -> dict[str, Any]:
    applied = [
        {"offer_id": one.offer_id, "coupon_id": one.coupon_id, "name": one.name, **_benefit(one.discount)}
        for one in quote.applied
    ]
    return {
        "token": quote.token,
        "applied": applied,
        "refused": RefusedSerializer(quote.refused, many=True).data,
        "per_line_minor": quote.per_line_minor,
        "off_minor": quote.off_minor,
        "total_minor": quote.total_minor,
        "expires_at": quote.expires_at,
        "exact": quote.exact,
    }


def _held(hold: quotes.BasketHold) -> dict[str, Any]:
    holds = [
        {
            "reservation_id": one.reservation_id,
            "coupon_id": one.coupon_id,
            "expires_at": one.expires_at,
            **_benefit(one.discount),
        }
        for one in hold.holds
    ]
    return {
        "basket_key": hold.basket_key,
        "holds": holds,
        "per_line_minor": hold.per_line_minor,
        "off_minor": hold.off_minor,
    }


def _require_for_anybody(token: str) -> None:
    """Raise QuoteChanged unless the token is signed, young and nobody's: nobody is made for one that is refused."""
    try:
        told = signing.loads(token, salt=quotes.SALT, max_age=conf.get().quote_minutes * 60)
    except signing.BadSignature:
        raise QuoteChanged from None
    if told["s"]:
        raise QuoteChanged


def _require_worth(basket_key: str, basket: Basket) -> None:
    """Raise BasketNotEligible unless this basket earns at least what all of a basket's reservations hold together."""
    rows = list(Reservation.objects.select_related("offer__campaign").filter(basket_key=basket_key))
    if not rows:
        raise ReservationGone
    candidates = [
        Candidate(str(row.pk), row.offer.terms(), row.offer.campaign.priority, row.offer.exclusion_group)
        for row in rows
    ]
    stack = resolve(candidates, basket, len(candidates))
    if sum(discount.cost_minor for _key, discount in stack.chosen) < sum(row.amount_minor for row in rows):
        raise BasketNotEligible("The order is not the basket that was reserved. Reserve again.", reason="changed")


def _count(view: PersonalView, request: Request, named: Shopper | None, known: Shopper | None) -> None:
    """Count a try by whoever the quote is for: one of the shop's systems asks for many shoppers."""
    if named is not None:
        limits.attempt("quote", shopper=named)
    else:
        view.count("quote", request, known)


class QuoteView(PersonalView):
    """Price a basket with all its offers."""

    @described(
        "quotes_create",
        QuoteSerializer,
        request=QuoteRequestSerializer,
        errors=(TooManyTries,),
        sent=examples.QUOTE_REQUEST,
        told=examples.QUOTE,
    )
    def post(self, request: Request) -> Response:
        """Return what the basket costs, what each offer takes off each line, and why others take off nothing.

        Nothing is held. The token reserves exactly this price until it expires.
        """
        data = valid(QuoteRequestSerializer, request)
        named = named_shopper(request, data)
        shopper = named or identity.shopper_for(request._request)
        _count(self, request, named, shopper)
        quote = quotes.quote(
            shopper=shopper,
            basket=priced(data["basket"], request),
            coupon_ids=[str(key) for key in data["coupon_ids"]],
            codes=data["codes"],
            automatic=data["automatic"],
            request=request._request if named is None else None,
        )
        return Response(_told(quote))


class ReserveQuoteView(PersonalView):
    """Hold all offers of a quote."""

    @described(
        "quotes_reserve",
        BasketHoldSerializer,
        request=ReserveQuoteSerializer,
        errors=(CouponRefused, QuoteChanged, UnderReview, TooManyTries),
        sent=examples.RESERVE_QUOTE,
        told=examples.BASKET_HOLD,
    )
    def post(self, request: Request) -> Response:
        """Reserve all offers of a quote or none, under an idempotency key; they last until redeemed or released."""
        data = valid(ReserveQuoteSerializer, request)
        named = named_shopper(request, data)
        known = named or identity.shopper_for(request._request)
        _count(self, request, named, known)
        basket = priced(data["basket"], request)
        if known is None:
            _require_for_anybody(data["token"])
        shopper = known or shopper_of(request)
        hold = quotes.reserve_quote(
            data["token"],
            shopper=shopper,
            basket=basket,
            idempotency_key=own_key(shopper, data["idempotency_key"], "basket"),
            facts=facts_of(request),
        )
        return Response(_held(hold))


class ReleaseBasketView(PersonalView):
    """Give all holds of a basket back."""

    @described(
        "baskets_release",
        ReleasedSerializer,
        request=BasketKeySerializer,
        errors=(ReservationGone,),
        sent=examples.BASKET_KEY,
        told=examples.RELEASED,
    )
    def post(self, request: Request) -> Response:
        """Release the shopper's own basket; somebody else's is as unknown as one that does not exist."""
        key = valid(BasketKeySerializer, request)["basket_key"]
        rows = Reservation.objects.filter(basket_key=key)
        if not is_shop(request):
            shopper = identity.shopper_for(request._request)
            rows = rows.filter(shopper=shopper) if shopper is not None else rows.none()
        if not rows.exists():
            raise ReservationGone
        return Response({"released": quotes.release_basket(key) > 0})


class RedeemBasketView(PersonalView):
    """Redeem for shops whose checkout runs elsewhere. In a Django checkout call ``api.redeem_basket`` instead."""

    permission_classes: Any = [CanRedeem]

    @described(
        "baskets_redeem",
        AmountSerializer,
        request=RedeemBasketSerializer,
        errors=(ReservationGone, BasketNotEligible),
        sent=examples.REDEEM_BASKET,
        told=examples.AMOUNT,
        restricted=True,
    )
    def post(self, request: Request) -> Response:
        """Spend all holds of a basket on an order; repeated for the same order it changes nothing."""
        data = valid(RedeemBasketSerializer, request)
        order = as_told(data["basket"])
        _require_worth(data["basket_key"], order)
        with transaction.atomic():
            amount = quotes.redeem_basket(
                data["basket_key"], order_label=data["order_label"], order_id=data["order_id"]
            )
        return Response({"amount_minor": amount})
