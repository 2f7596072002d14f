"""Coupons over HTTP: claim, preview, reserve and release for shoppers; redeem and refund for the shop's own systems.

Codes travel in bodies only. Unknown, expired, used and foreign codes get one and the same answer.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from django.db import transaction
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.permissions import BasePermission
from rest_framework.request import Request
from rest_framework.response import Response

from personalization.campaigns import coupons, redemption
from personalization.exceptions import ReservationGone
from personalization.models import Reservation, Shopper
from personalization.ports import adapters
from personalization.rest.base import PersonalView
from personalization.tracking import identity, secrets
from personalization.types import Basket, BasketLine, ProductData

MOST = 10**12
MOST_LINES = 1000


class LineSerializer(serializers.Serializer[Any]):
    item_id = serializers.CharField(max_length=100)
    quantity = serializers.IntegerField(min_value=1, max_value=100_000)
    unit_price_minor = serializers.IntegerField(min_value=0, max_value=MOST)
    category = serializers.CharField(max_length=100, required=False, allow_blank=True, default="")


class BasketSerializer(serializers.Serializer[Any]):
    currency = serializers.CharField(max_length=3)
    reference = serializers.CharField(max_length=100, required=False, allow_blank=True, default="")
    lines: serializers.ListSerializer[Any] = serializers.ListSerializer(
        child=LineSerializer(), allow_empty=False, max_length=MOST_LINES
    )


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


class RedeemSerializer(ReservationSerializer):
    order_label = serializers.CharField(max_length=80)
    order_id = serializers.CharField(max_length=100)
    basket = BasketSerializer(help_text="What the order really holds, at the shop's own prices.")


class RefundSerializer(serializers.Serializer[Any]):
    order_label = serializers.CharField(max_length=80)
    order_id = serializers.CharField(max_length=100)
    operation_id = serializers.CharField(max_length=80)
    amount_minor = serializers.IntegerField(min_value=0, max_value=MOST, required=False)


class DiscountSerializer(serializers.Serializer[Any]):
    coupon_id = serializers.CharField()
    discount_minor = serializers.IntegerField()
    per_line_minor = serializers.ListField(child=serializers.IntegerField())
    reservation_id = serializers.CharField(required=False)
    expires_at = serializers.DateTimeField(required=False)


class AmountSerializer(serializers.Serializer[Any]):
    amount_minor = serializers.IntegerField()


class ReleasedSerializer(serializers.Serializer[Any]):
    released = serializers.BooleanField()


class CanRedeem(BasePermission):
    """The shop's own systems: staff accounts with the permission to add redemptions."""

    def has_permission(self, request: Request, view: Any) -> bool:
        return bool(request.user and request.user.has_perm("personalization.add_redemption"))


def _valid(serializer: type[serializers.Serializer[Any]], request: Request) -> dict[str, Any]:
    checked = serializer(data=request.data)
    checked.is_valid(raise_exception=True)
    data: dict[str, Any] = checked.validated_data
    return data


def _basket(data: dict[str, Any]) -> Basket:
    """Return the basket as the catalogue prices it: what a browser says about prices is not believed.

    Without a catalogue adapter the given prices stand; then only the comparison in ``redeem`` protects the shop.
    """
    lines = tuple(BasketLine(**line) for line in data["lines"])
    catalogue = adapters.catalog()
    if catalogue is not None:
        lines = _priced(lines, catalogue.get([line.item_id for line in lines]))
    if sum(line.total_minor for line in lines) > MOST:
        raise serializers.ValidationError({"basket": ["The lines add up to more than can be sold."]})
    return Basket(lines=lines, currency=data["currency"], reference=data["reference"])


def _priced(lines: tuple[BasketLine, ...], products: dict[str, ProductData]) -> tuple[BasketLine, ...]:
    priced = []
    for line in lines:
        product = products.get(line.item_id)
        if product is None or not product.visible:
            raise serializers.ValidationError({"basket": [f"There is no product {line.item_id!r}."]})
        if product.stock is not None and line.quantity > product.stock:
            raise serializers.ValidationError({"basket": [f"Only {product.stock} of {line.item_id!r} are in stock."]})
        priced.append(replace(line, unit_price_minor=product.price_minor, category=product.category))
    return tuple(priced)


def _shopper(request: Request) -> Shopper:
    shopper = identity.shopper_for(request._request, create=True)
    assert shopper is not None
    return shopper


def _own_key(shopper: Shopper, key: str) -> str:
    """Return the key as stored: it collides with no other shopper's key, and with none of the shop's own."""
    return f"api:{secrets.digest(f'{shopper.key}:{key}', 'reservation')}"


class ClaimView(PersonalView):
    """Claim the coupon of an offer."""

    @extend_schema(request=ClaimSerializer, responses=IssuedSerializer)
    def post(self, request: Request) -> Response:
        """Issue the shopper's coupon; repeated, it returns the same one."""
        data = _valid(ClaimSerializer, request)
        if identity.shopper_for(request._request) is None:
            coupons.require_open(data["offer_id"])
        issued = coupons.claim(
            data["offer_id"],
            shopper=_shopper(request),
            decision_id=str(data.get("decision_id", "")),
            idempotency_key=data["idempotency_key"],
            request=request._request,
        )
        return Response(IssuedSerializer(issued).data)


class PreviewView(PersonalView):
    """Price a coupon on a basket."""

    @extend_schema(request=PreviewSerializer, responses=DiscountSerializer)
    def post(self, request: Request) -> Response:
        """Return the discount without holding anything."""
        data = _valid(PreviewSerializer, request)
        found = coupons.preview(
            shopper=identity.shopper_for(request._request),
            basket=_basket(data["basket"]),
            code=data["code"],
            coupon_id=str(data.get("coupon_id", "")),
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

    @extend_schema(request=ReserveSerializer, responses=DiscountSerializer)
    def post(self, request: Request) -> Response:
        """Reserve under an idempotency key; it lasts until redeemed, released or expired."""
        data = _valid(ReserveSerializer, request)
        coupon = {"code": data["code"], "coupon_id": str(data.get("coupon_id", ""))}
        if identity.shopper_for(request._request) is None:
            coupons.usable_coupon(shopper=None, **coupon)  # nobody is made for a code that is refused
        shopper = _shopper(request)
        hold = redemption.reserve(
            shopper=shopper,
            basket=_basket(data["basket"]),
            **coupon,
            idempotency_key=_own_key(shopper, data["idempotency_key"]),
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

    @extend_schema(request=ReservationSerializer, responses=ReleasedSerializer)
    def post(self, request: Request) -> Response:
        """Release the shopper's own reservation; somebody else's is as unknown as one that does not exist."""
        data = _valid(ReservationSerializer, request)
        shopper = identity.shopper_for(request._request)
        owned = Reservation.objects.filter(pk=data["reservation_id"], shopper=shopper).exists()
        if shopper is None or not owned:
            raise ReservationGone
        return Response({"released": redemption.release(data["reservation_id"])})


class RedeemView(PersonalView):
    """Redeem for shops whose checkout runs elsewhere. In a Django checkout call ``api.redeem`` instead."""

    permission_classes: Any = [CanRedeem]

    @extend_schema(request=RedeemSerializer, responses=AmountSerializer)
    def post(self, request: Request) -> Response:
        """Spend a reservation on an order; repeated for the same order it changes nothing."""
        data = _valid(RedeemSerializer, request)
        lines = tuple(BasketLine(**line) for line in data["basket"]["lines"])
        order = Basket(lines=lines, currency=data["basket"]["currency"], reference=data["basket"]["reference"])
        with transaction.atomic():
            redemption.require_worth(data["reservation_id"], order)
            amount = redemption.redeem(
                data["reservation_id"], order_label=data["order_label"], order_id=data["order_id"]
            )
        return Response({"amount_minor": amount})


class RefundView(PersonalView):
    """Refund discounts of an order."""

    permission_classes: Any = [CanRedeem]

    @extend_schema(request=RefundSerializer, responses=AmountSerializer)
    def post(self, request: Request) -> Response:
        """Take discount back from an order's redemptions; the operation id makes it repeatable."""
        data = _valid(RefundSerializer, request)
        amount = redemption.refund(
            order_label=data["order_label"],
            order_id=data["order_id"],
            operation_id=data["operation_id"],
            amount_minor=data.get("amount_minor"),
        )
        return Response({"amount_minor": amount})
