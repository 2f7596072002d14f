"""Coupons over HTTP: claim, preview, reserve and release for shoppers; redeem and refund for the shop's own systems.

Codes travel in bodies only. Unknown, expired, used and foreign codes get one and the same answer.
"""

from __future__ import annotations

from typing import Any

from django.db import transaction
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from personalization.campaigns import coupons, redemption
from personalization.campaigns.secrecy import even_time
from personalization.exceptions import (
    BasketNotEligible,
    ClaimRefused,
    CouponRefused,
    RefundRefused,
    ReservationGone,
    TooManyTries,
    UnderReview,
    UnknownOffer,
)
from personalization.models import Reservation
from personalization.rest import examples
from personalization.rest.base import PersonalView
from personalization.rest.baskets import (
    AmountSerializer,
    BasketSerializer,
    CanRedeem,
    OrderSerializer,
    RefundSerializer,
    ReleasedSerializer,
    as_told,
    facts_of,
    own_key,
    priced,
    shopper_of,
    valid,
)
from personalization.rest.described import described
from personalization.tracking import identity


class ClaimSerializer(serializers.Serializer[Any]):
    offer_id = serializers.IntegerField(min_value=1, max_value=2**63 - 1)
    decision_id = serializers.UUIDField(required=False)
    idempotency_key = serializers.CharField(max_length=100, required=False, default="")


class IssuedSerializer(serializers.Serializer[Any]):
    coupon_id = serializers.CharField()
    code = serializers.CharField()
    offer_id = serializers.IntegerField()
    expires_at = serializers.DateTimeField(allow_null=True)
    new = serializers.BooleanField()


class PreviewSerializer(serializers.Serializer[Any]):
    code = serializers.CharField(max_length=64, required=False, default="")
    coupon_id = serializers.UUIDField(required=False)
    basket = BasketSerializer()


class ReserveSerializer(PreviewSerializer):
    idempotency_key = serializers.CharField(max_length=100)


class ReservationSerializer(serializers.Serializer[Any]):
    reservation_id = serializers.UUIDField()


class RedeemSerializer(ReservationSerializer, OrderSerializer):
    basket = BasketSerializer(help_text="What the order really holds, at the shop's own prices.")


class ReturnSerializer(RefundSerializer):
    kept = BasketSerializer(
        required=False, help_text="What is left of the order after a return; in place of an amount."
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Refuse two answers to one question: how much comes back."""
        if "kept" in attrs and "amount_minor" in attrs:
            raise serializers.ValidationError({"kept": ["Give either an amount or what is kept."]})
        return attrs


class DiscountSerializer(serializers.Serializer[Any]):
    coupon_id = serializers.CharField()
    discount_minor = serializers.IntegerField()
    per_line_minor = serializers.ListField(child=serializers.IntegerField())
    reservation_id = serializers.CharField(required=False)
    expires_at = serializers.DateTimeField(required=False)


class ClaimView(PersonalView):
    """Claim the coupon of an offer."""

    @described(
        "coupons_claim",
        IssuedSerializer,
        request=ClaimSerializer,
        errors=(UnknownOffer, ClaimRefused, TooManyTries),
        sent=examples.CLAIM,
        told=examples.ISSUED,
    )
    def post(self, request: Request) -> Response:
        """Issue the shopper's coupon; repeated, it returns the same one."""
        data = valid(ClaimSerializer, request)
        self.count("claim", request, identity.shopper_for(request._request))
        if identity.shopper_for(request._request) is None:
            coupons.require_open(data["offer_id"])
        issued = coupons.claim(
            data["offer_id"],
            shopper=shopper_of(request),
            decision_id=str(data.get("decision_id", "")),
            idempotency_key=data["idempotency_key"],
            request=request._request,
        )
        return Response(IssuedSerializer(issued).data)


class PreviewView(PersonalView):
    """Price a coupon on a basket."""

    @described(
        "coupons_preview",
        DiscountSerializer,
        request=PreviewSerializer,
        errors=(CouponRefused, BasketNotEligible, TooManyTries),
        sent=examples.PREVIEW,
        told=examples.PREVIEWED,
    )
    def post(self, request: Request) -> Response:
        """Return the discount without holding anything."""
        data = valid(PreviewSerializer, request)
        found = coupons.preview(
            shopper=identity.shopper_for(request._request),
            basket=priced(data["basket"], request),
            code=data["code"],
            coupon_id=str(data.get("coupon_id", "")),
            request=request._request,
        )
        return Response(
            {
                "coupon_id": found.coupon_id,
                "discount_minor": found.discount.amount_minor,
                "per_line_minor": found.discount.per_line_minor,
            }
        )


class ReserveView(PersonalView):
    """Set a discount aside for a basket."""

    @described(
        "coupons_reserve",
        DiscountSerializer,
        request=ReserveSerializer,
        errors=(CouponRefused, BasketNotEligible, UnderReview, ReservationGone, TooManyTries),
        sent=examples.RESERVE,
        told=examples.RESERVED,
    )
    def post(self, request: Request) -> Response:
        """Reserve under an idempotency key; it lasts until redeemed, released or expired."""
        data = valid(ReserveSerializer, request)
        basket = priced(data["basket"], request)
        coupon = {"code": data["code"], "coupon_id": str(data.get("coupon_id", ""))}
        known = identity.shopper_for(request._request)
        if data["code"]:
            self.count("code", request, known)
        with even_time():
            if known is None:
                coupons.usable_coupon(shopper=None, **coupon)  # nobody is made for a code that is refused
            shopper = shopper_of(request)
            hold = redemption.reserve(
                shopper=shopper,
                basket=basket,
                **coupon,
                idempotency_key=own_key(shopper, data["idempotency_key"]),
                facts=facts_of(request),
            )
        return Response(
            {
                "coupon_id": hold.coupon_id,
                "reservation_id": hold.reservation_id,
                "discount_minor": hold.discount.amount_minor,
                "per_line_minor": hold.discount.per_line_minor,
                "expires_at": hold.expires_at,
            }
        )


class ReleaseView(PersonalView):
    """Give a reservation back."""

    @described(
        "coupons_release",
        ReleasedSerializer,
        request=ReservationSerializer,
        errors=(ReservationGone,),
        sent=examples.RELEASE,
        told=examples.RELEASED,
    )
    def post(self, request: Request) -> Response:
        """Release the shopper's own reservation; somebody else's is as unknown as one that does not exist."""
        data = valid(ReservationSerializer, request)
        shopper = identity.shopper_for(request._request)
        owned = Reservation.objects.filter(pk=data["reservation_id"], shopper=shopper).exists()
        if shopper is None or not owned:
            raise ReservationGone
        return Response({"released": redemption.release(data["reservation_id"])})


class RedeemView(PersonalView):
    """Redeem for shops whose checkout runs elsewhere. In a Django checkout call ``api.redeem`` instead."""

    permission_classes: Any = [CanRedeem]

    @described(
        "coupons_redeem",
        AmountSerializer,
        request=RedeemSerializer,
        errors=(ReservationGone, BasketNotEligible),
        sent=examples.REDEEM,
        told=examples.AMOUNT,
        restricted=True,
    )
    def post(self, request: Request) -> Response:
        """Spend a reservation on an order; repeated for the same order it changes nothing."""
        data = valid(RedeemSerializer, request)
        order = as_told(data["basket"])
        with transaction.atomic():
            redemption.require_worth(data["reservation_id"], order)
            amount = redemption.redeem(
                data["reservation_id"], order_label=data["order_label"], order_id=data["order_id"]
            )
        return Response({"amount_minor": amount})


class RefundView(PersonalView):
    """Refund discounts of an order."""

    permission_classes: Any = [CanRedeem]

    @described(
        "coupons_refund",
        AmountSerializer,
        request=ReturnSerializer,
        errors=(RefundRefused,),
        sent=examples.REFUND,
        told=examples.AMOUNT,
        restricted=True,
    )
    def post(self, request: Request) -> Response:
        """Take discount back from an order's redemptions; the operation id makes it repeatable."""
        data = valid(ReturnSerializer, request)
        amount = redemption.refund(
            order_label=data["order_label"],
            order_id=data["order_id"],
            operation_id=data["operation_id"],
            amount_minor=data.get("amount_minor"),
            kept=as_told(data["kept"]) if "kept" in data else None,
        )
        return Response({"amount_minor": amount})
