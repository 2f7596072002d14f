"""GET offers/?slot= and GET products/: personal answers, never cached by anybody else."""

from __future__ import annotations

from typing import Any

from drf_spectacular.utils import OpenApiParameter
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from personalization.decisioning.decide import MAX_LIMIT, decide
from personalization.decisioning.products import recommend
from personalization.exceptions import UnknownSlot
from personalization.rest import examples
from personalization.rest.base import PersonalView
from personalization.rest.described import described

MAX_PRODUCTS = 48


class OfferSerializer(serializers.Serializer[Any]):
    offer_id = serializers.IntegerField()
    campaign_id = serializers.IntegerField()
    kind = serializers.CharField()
    headline = serializers.CharField()
    body = serializers.CharField()
    cta_label = serializers.CharField()
    cta_url = serializers.CharField()
    position = serializers.IntegerField()
    reasons = serializers.ListField(child=serializers.CharField())
    ends_at = serializers.DateTimeField(allow_null=True)
    needs_claim = serializers.BooleanField()


class DecisionSerializer(serializers.Serializer[Any]):
    decision_id = serializers.CharField()
    slot = serializers.CharField()
    fallback = serializers.CharField(help_text="Why the answer is not personal; empty if it is.")
    model_version_id = serializers.IntegerField(allow_null=True)
    offers = OfferSerializer(many=True)


class ProductsSerializer(serializers.Serializer[Any]):
    products = serializers.ListField(child=serializers.CharField())


def _limit(request: Request, default: int, most: int) -> int:
    try:
        return max(1, min(int(request.query_params.get("limit", default)), most))
    except ValueError:
        raise serializers.ValidationError({"limit": ["Give a whole number."]}) from None


LIMIT = OpenApiParameter("limit", int, description="How many at most.")


class OffersView(PersonalView):
    """Decide a slot for the request's shopper."""

    @described(
        "offers_list",
        DecisionSerializer,
        errors=(UnknownSlot,),
        told=examples.DECISION,
        parameters=[OpenApiParameter("slot", str, required=True, description="A slot that the shop declares."), LIMIT],
    )
    def get(self, request: Request) -> Response:
        """Return the offers chosen for a slot; the decision and its exposures are logged."""
        slot = request.query_params.get("slot", "")
        result = decide(slot, request=request._request, limit=_limit(request, 1, MAX_LIMIT))
        return Response(DecisionSerializer(result).data)


class ProductsView(PersonalView):
    """Recommend products to the request's shopper."""

    @described(
        "products_list",
        ProductsSerializer,
        told=examples.PRODUCTS,
        parameters=[OpenApiParameter("item_id", str, description="The product that is looked at, if any."), LIMIT],
    )
    def get(self, request: Request) -> Response:
        """Return product ids, best first; an unknown ``item_id`` simply has no neighbours."""
        item_id = request.query_params.get("item_id", "")
        found = recommend(request=request._request, item_id=item_id, limit=_limit(request, 8, MAX_PRODUCTS))
        return Response({"products": found})
