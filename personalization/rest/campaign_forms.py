"""Campaigns and offers as staff reads and writes them: the models' own columns, checked before any is stored."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from django.core.exceptions import ValidationError
from django.db import models
from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from personalization import conf
from personalization.campaigns import catalog, lifecycle, revisions
from personalization.models import Campaign, Offer, offer_rules
from personalization.rest.baskets import MOST
from personalization.types import OfferKind

MOST_COUNT = 2**31 - 1
MOST_SMALL = 2**15 - 1
MOST_OFFERS = 100
MOST_JSON = 200_000
DEEPEST = 20
EARLIEST, LATEST = datetime(2000, 1, 1, tzinfo=UTC), datetime(2200, 1, 1, tzinfo=UTC)
CAMPAIGN_COLUMNS = revisions.columns(Campaign)
OFFER_COLUMNS = tuple(name for name in revisions.columns(Offer) if name != "attributes")


def check_json(value: Any) -> None:
    """Refuse what a database cannot store as JSON or nobody can mean: NUL, half characters, depth, huge numbers."""
    _check_json(value, DEEPEST)
    if len(json.dumps(value)) > MOST_JSON:
        raise serializers.ValidationError("This is too long.")


def _check_json(value: Any, depth: int) -> None:
    if depth == 0:
        raise serializers.ValidationError("This is nested too deeply.")
    if isinstance(value, str) and ("\x00" in value or (not value.isascii() and _is_broken(value))):
        raise serializers.ValidationError("This holds a character that cannot be stored.")
    if isinstance(value, int | float) and not -MOST <= value <= MOST:
        raise serializers.ValidationError("This number is too large.")
    if isinstance(value, dict):
        value = [*value.keys(), *value.values()]
    if isinstance(value, list):
        for each in value:
            _check_json(each, depth - 1)


def _is_broken(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


def check_moment(value: datetime) -> None:
    """Refuse dates that cannot be told in every time zone."""
    if not EARLIEST <= value <= LATEST:
        raise serializers.ValidationError("Give a date between the years 2000 and 2200.")


def _bounds(model: type[models.Model], names: tuple[str, ...]) -> dict[str, dict[str, Any]]:
    """Return what each field is checked for beside the model's own rules: the same on every database."""
    found: dict[str, dict[str, Any]] = {}
    for name in names:
        field = model._meta.get_field(name)
        if isinstance(field, models.JSONField):
            found[name] = {"validators": [check_json]}
        elif isinstance(field, models.DateTimeField):
            found[name] = {"validators": [check_moment]}
        elif isinstance(field, models.SmallIntegerField):
            low = 0 if isinstance(field, models.PositiveSmallIntegerField) else -MOST_SMALL
            found[name] = {"min_value": low, "max_value": MOST_SMALL}
        elif isinstance(field, models.BigIntegerField):
            found[name] = {"min_value": 0, "max_value": MOST}
        elif isinstance(field, models.IntegerField):
            found[name] = {"min_value": 0, "max_value": MOST_COUNT}
    return found


@extend_schema_field({"type": "string", "description": f"One of {', '.join(OfferKind)}."})
class KindField(serializers.ChoiceField):
    """An offer's kind. Described as a word: other endpoints have kinds of their own."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(choices=Offer.KINDS, **kwargs)


class OfferWriteSerializer(serializers.ModelSerializer[Offer]):
    """An offer: a new one without ``id``; with it, the fields to change of one that is there."""

    id = serializers.IntegerField(min_value=1, max_value=2**63 - 1, required=False)
    kind = KindField(required=False)

    class Meta:
        model = Offer
        fields = ("id", *OFFER_COLUMNS)
        extra_kwargs = {**_bounds(Offer, OFFER_COLUMNS), "name": {"required": False}}

    def validate_slots(self, slots: Any) -> Any:
        """Refuse a slot that no page has."""
        if isinstance(slots, list) and all(isinstance(slot, str) and slot in conf.get().slots for slot in slots):
            return slots
        raise serializers.ValidationError("Give a list of slots that the shop declares.")

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """A new offer needs its name and its kind."""
        missing = {name: ["This field is required."] for name in ("name", "kind") if name not in attrs}
        if missing and "id" not in attrs:
            raise serializers.ValidationError(missing)
        _require_known(attrs)
        return attrs


def _require_known(attrs: dict[str, Any]) -> None:
    """Refuse products and categories that the catalogue does not have; what the offer names already stays."""
    kept = Offer.objects.filter(pk=attrs["id"]).first() if "id" in attrs else None
    gift, category = str(attrs.get("gift_item_id", "")), str(attrs.get("category", ""))
    items = offer_rules.read_words(attrs.get("item_ids"))
    if kept is not None:
        items -= offer_rules.read_words(kept.item_ids)
        gift, category = "" if gift == kept.gift_item_id else gift, "" if category == kept.category else category
    checks: dict[str, Callable[[], None]] = {
        "item_ids": lambda: catalog.require_products(sorted(items)),
        "gift_item_id": lambda: catalog.require_products([gift] if gift else []),
        "category": lambda: catalog.require_category(category),
    }
    refused: dict[str, list[str]] = {}
    for name, check in checks.items():
        try:
            check()
        except ValidationError as error:
            refused[name] = error.messages
    if refused:
        raise serializers.ValidationError(refused)


class OfferReadSerializer(serializers.ModelSerializer[Offer]):
    """An offer with its counters."""

    kind = KindField()

    class Meta:
        model = Offer
        fields = ("id", *OFFER_COLUMNS, "issued_count", "reserved_count", "redeemed_count")
        read_only_fields = fields


class CampaignReadSerializer(serializers.ModelSerializer[Campaign]):
    """A campaign with its offers, what it has cost, and the states it may change to."""

    offers = OfferReadSerializer(many=True)
    may_become = serializers.SerializerMethodField()

    class Meta:
        model = Campaign
        fields = (
            *("id", "status", "revision", "approved_revision", "approved_at", "population", "created_at"),
            *("reserved_minor", "spent_minor", "liability_minor", "may_become"),
            *CAMPAIGN_COLUMNS,
            "offers",
        )
        read_only_fields = fields

    def get_may_become(self, campaign: Campaign) -> list[str]:
        """Return the states to which this user may bring the campaign now."""
        user = self.context["request"].user
        return [to for to in lifecycle.allowed(campaign) if lifecycle.may(user, campaign.status, to)]


class CampaignWriteSerializer(serializers.ModelSerializer[Campaign]):
    """A campaign's own columns and its offers."""

    offers = OfferWriteSerializer(many=True, required=False)
    note = serializers.CharField(max_length=300, required=False, default="", allow_blank=True)

    class Meta:
        model = Campaign
        fields = (*CAMPAIGN_COLUMNS, "offers", "note")
        extra_kwargs = _bounds(Campaign, CAMPAIGN_COLUMNS)

    def validate_offers(self, offers: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Refuse more offers than anybody can look after."""
        if len(offers) > MOST_OFFERS:
            raise serializers.ValidationError(f"At most {MOST_OFFERS} offers a campaign.")
        return offers


class CampaignCreateSerializer(CampaignWriteSerializer):
    """A new campaign, and the key that makes a repeated request return the same one."""

    idempotency_key = serializers.CharField(
        max_length=100, required=False, default="", help_text="Counts within the account that asks."
    )

    class Meta(CampaignWriteSerializer.Meta):
        fields = (*CampaignWriteSerializer.Meta.fields, "idempotency_key")


class CampaignUpdateSerializer(CampaignWriteSerializer):
    """The columns to change, and the revision that they were read in."""

    revision = serializers.IntegerField(min_value=0, max_value=MOST_COUNT)
    remove_offers: serializers.ListSerializer[Any] = serializers.ListSerializer(
        child=serializers.IntegerField(min_value=1, max_value=2**63 - 1),
        required=False,
        default=list,
        max_length=MOST_OFFERS,
    )

    class Meta(CampaignWriteSerializer.Meta):
        fields = (*CampaignWriteSerializer.Meta.fields, "revision", "remove_offers")
        extra_kwargs = {
            name: {**CampaignWriteSerializer.Meta.extra_kwargs.get(name, {}), "required": False}
            for name in CAMPAIGN_COLUMNS
        }


class TransitionSerializer(serializers.Serializer[Any]):
    to = serializers.CharField(max_length=10, help_text=f"One of {', '.join(Campaign.Status.values)}.")
    revision = serializers.IntegerField(
        min_value=0, max_value=MOST_COUNT, required=False, help_text="Refused if the campaign was edited since."
    )
    note = serializers.CharField(max_length=300, required=False, default="", allow_blank=True)


class ApproveSerializer(serializers.Serializer[Any]):
    revision = serializers.IntegerField(min_value=0, max_value=MOST_COUNT, help_text="The revision that was read.")
