"""Gift cards over HTTP: look at one's own, hold and release for shoppers; spend and refund for the shop's own systems.

Codes travel in bodies only. Unknown, empty, expired, blocked and foreign cards get one and the same answer.
"""

from __future__ import annotations

from typing import Any

from django.db import transaction
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from personalization.campaigns import codes, giftcards
from personalization.campaigns.secrecy import even_time
from personalization.exceptions import GiftCardRefused, RefundRefused, TooManyTries
from personalization.models import GiftCardHold, Shopper
from personalization.rest import examples
from personalization.rest.base import PersonalView
from personalization.rest.baskets import (
    MOST,
    AmountSerializer,
    CanRedeem,
    OrderSerializer,
    RefundSerializer,
    ReleasedSerializer,
    own_key,
    shopper_of,
    valid,
)
from personalization.rest.described import described
from personalization.tracking import identity

PURPOSE = "gift_card_hold"


class HoldCardSerializer(serializers.Serializer[Any]):
    code = serializers.CharField(max_length=64, required=False, default="")
    card_id = serializers.UUIDField(required=False, help_text="The shopper's own card, in place of a code.")
    amount_minor = serializers.IntegerField(min_value=1, max_value=MOST)
    idempotency_key = serializers.CharField(max_length=100)

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Ask for the code or the card, and not both."""
        if bool(attrs["code"]) == ("card_id" in attrs):
            raise serializers.ValidationError({"code": ["Give either a code or a card of your own."]})
        return attrs


class HeldCardSerializer(serializers.Serializer[Any]):
    hold_id = serializers.CharField()
    amount_minor = serializers.IntegerField()
    currency = serializers.CharField()
    expires_at = serializers.DateTimeField()


class KeySerializer(serializers.Serializer[Any]):
    idempotency_key = serializers.CharField(max_length=100, help_text="The key under which it was held.")


class SpendSerializer(OrderSerializer):
    hold_id = serializers.UUIDField()


class CardSerializer(serializers.Serializer[Any]):
    card_id = serializers.CharField()
    kind = serializers.CharField()
    available_minor = serializers.IntegerField()
    currency = serializers.CharField()
    expires_at = serializers.DateTimeField(allow_null=True)


class CardsSerializer(serializers.Serializer[Any]):
    cards = CardSerializer(many=True)


def _require_same_card(hold: GiftCardHold, shopper: Shopper, code: str, card_id: str) -> None:
    """Raise GiftCardRefused if the key already stands for another card than the one that is asked for."""
    same = hold.card.code_digest in codes.digests(code) if code else str(hold.card_id) == card_id
    if not same or (card_id and hold.card.shopper_id != shopper.pk):
        raise GiftCardRefused(reason="other_hold")


class CardsView(PersonalView):
    """The shopper's own cards and credit."""

    @described("gift_cards_list", CardsSerializer, told=examples.CARDS)
    def get(self, request: Request) -> Response:
        """Return the shopper's cards that hold something, without their codes: hold them by their id."""
        shopper = identity.shopper_for(request._request)
        cards = giftcards.cards_of(shopper) if shopper is not None else []
        return Response({"cards": CardSerializer(cards, many=True).data})


class HoldCardView(PersonalView):
    """Set a part of a card aside."""

    @described(
        "gift_cards_hold",
        HeldCardSerializer,
        request=HoldCardSerializer,
        errors=(GiftCardRefused, TooManyTries),
        sent=examples.HOLD_CARD,
        told=examples.HELD_CARD,
    )
    def post(self, request: Request) -> Response:
        """Hold an amount under an idempotency key; it lasts until spent, released or expired."""
        data = valid(HoldCardSerializer, request)
        card = {"code": data["code"], "card_id": str(data.get("card_id", ""))}
        known = identity.shopper_for(request._request)
        self.count("gift_card", request, known)
        with even_time():
            if known is None:
                giftcards.usable(**card)  # nobody is made for a card that is refused
            shopper = known or shopper_of(request)
            key = own_key(shopper, data["idempotency_key"], PURPOSE)
            hold = giftcards.hold(amount_minor=data["amount_minor"], idempotency_key=key, shopper=shopper, **card)
            _require_same_card(hold, shopper, **card)
        return Response(
            {
                "hold_id": str(hold.pk),
                "amount_minor": hold.amount_minor,
                "currency": hold.card.currency,
                "expires_at": hold.expires_at,
            }
        )


class ReleaseCardView(PersonalView):
    """Give a held amount back."""

    @described(
        "gift_cards_release",
        ReleasedSerializer,
        request=KeySerializer,
        errors=(GiftCardRefused,),
        sent=examples.CARD_KEY,
        told=examples.RELEASED,
    )
    def post(self, request: Request) -> Response:
        """Release what the shopper held under this key; nobody else's hold can be named."""
        data = valid(KeySerializer, request)
        shopper = identity.shopper_for(request._request)
        key = own_key(shopper, data["idempotency_key"], PURPOSE) if shopper is not None else ""
        hold = GiftCardHold.objects.filter(idempotency_key=key).first() if key else None
        if hold is None:
            raise GiftCardRefused(reason="gone")
        return Response({"released": giftcards.release(hold.pk)})


class SpendCardView(PersonalView):
    """Pay with a hold, for shops whose checkout runs elsewhere."""

    permission_classes: Any = [CanRedeem]

    @described(
        "gift_cards_spend",
        AmountSerializer,
        request=SpendSerializer,
        errors=(GiftCardRefused,),
        sent=examples.SPEND,
        told=examples.AMOUNT,
        restricted=True,
    )
    def post(self, request: Request) -> Response:
        """Pay an order with what is held; repeated for the same order it changes nothing."""
        data = valid(SpendSerializer, request)
        with transaction.atomic():
            amount = giftcards.spend(data["hold_id"], order_label=data["order_label"], order_id=data["order_id"])
        return Response({"amount_minor": amount})


class RefundCardView(PersonalView):
    """Put money back on the cards that paid an order."""

    permission_classes: Any = [CanRedeem]

    @described(
        "gift_cards_refund",
        AmountSerializer,
        request=RefundSerializer,
        errors=(RefundRefused,),
        sent=examples.REFUND,
        told=examples.AMOUNT,
        restricted=True,
    )
    def post(self, request: Request) -> Response:
        """Put an amount back, or all that is left; the operation id makes it repeatable."""
        data = valid(RefundSerializer, request)
        amount = giftcards.refund(
            order_label=data["order_label"],
            order_id=data["order_id"],
            operation_id=data["operation_id"],
            amount_minor=data.get("amount_minor"),
        )
        return Response({"amount_minor": amount})
