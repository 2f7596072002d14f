"""Campaigns for staff: list, read, draft, change, approve, launch and stop, each with its own permission.

An edit names the revision it was made on: whoever edits what somebody else has changed meanwhile gets 409 and loses
nothing. Where the host has permissions for single objects, one on the campaign is as good as one on all.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from django.core.exceptions import NON_FIELD_ERRORS
from django.core.exceptions import ValidationError as Invalid
from django.db import IntegrityError, transaction
from django.db.models import ProtectedError, QuerySet
from django.http import Http404
from django.utils.translation import gettext_noop
from drf_spectacular.utils import OpenApiParameter
from rest_framework import serializers, status
from rest_framework.generics import GenericAPIView
from rest_framework.pagination import PageNumberPagination
from rest_framework.request import Request
from rest_framework.response import Response

from personalization.campaigns import authoring, lifecycle, revisions
from personalization.exceptions import (
    ApprovalRefused,
    FrozenField,
    InvalidAudience,
    InvalidTerms,
    InvalidTransition,
    KeyReused,
    RevisionOutdated,
)
from personalization.features import audiences
from personalization.models import Campaign, Offer
from personalization.rest import examples
from personalization.rest.base import PersonalView
from personalization.rest.baskets import valid
from personalization.rest.campaign_forms import (
    CAMPAIGN_COLUMNS,
    ApproveSerializer,
    CampaignCreateSerializer,
    CampaignReadSerializer,
    CampaignUpdateSerializer,
    TransitionSerializer,
)
from personalization.rest.described import described, refusal

LOOK = ("view_campaign", "change_campaign")
GONE = {status.HTTP_404_NOT_FOUND: refusal([{"code": "not_found", "message": "No Campaign matches the given query."}])}
STATUS = OpenApiParameter("status", str, enum=Campaign.Status.values, description="Only campaigns in this state.")


class Pages(PageNumberPagination):
    """Fifty campaigns a page, or as many as are asked for up to two hundred."""

    page_size = 50
    page_size_query_param = "page_size"
    max_page_size = 200


class StaffView(PersonalView, GenericAPIView[Campaign]):
    """What every page about campaigns asks: may this user, and is there such a campaign."""

    queryset: QuerySet[Campaign] = Campaign.objects.prefetch_related("offers").order_by("-starts_at", "-pk")
    serializer_class = CampaignReadSerializer
    pagination_class = Pages

    def require(self, request: Request, names: Iterable[str], campaign: Campaign | None = None) -> None:
        """Answer 403 unless the user has one of these permissions, on all campaigns or on this one."""
        wanted = [f"personalization.{name}" for name in names]
        if any(request.user.has_perm(name) for name in wanted):
            return
        if campaign is None or not any(request.user.has_perm(name, campaign) for name in wanted):
            self.permission_denied(request)

    def found(self, request: Request, pk: int, names: Iterable[str]) -> Campaign:
        """Return the campaign; who may not see it is not told whether there is one."""
        campaign = self.get_queryset().filter(pk=pk).first()
        self.require(request, names, campaign)
        if campaign is None:
            raise Http404
        return campaign

    def answer(self, pk: int, code: int = status.HTTP_200_OK) -> Response:
        """Return the campaign as the database holds it now."""
        return Response(self.get_serializer(self.get_queryset().get(pk=pk)).data, status=code)


class CampaignsView(StaffView):
    """All campaigns, newest first."""

    @described("campaigns_list", CampaignReadSerializer(many=True), restricted=True, parameters=[STATUS])
    def get(self, request: Request) -> Response:
        """Return a page of campaigns."""
        self.require(request, LOOK)
        campaigns = self.get_queryset()
        wanted = request.query_params.get("status", "")
        if wanted:
            if wanted not in Campaign.Status.values:
                raise serializers.ValidationError({"status": ["There is no such state."]})
            campaigns = campaigns.filter(status=wanted)
        page = self.paginate_queryset(campaigns)
        return self.get_paginated_response(self.get_serializer(page, many=True).data)

    @described(
        "campaigns_create",
        CampaignReadSerializer,
        request=CampaignCreateSerializer,
        errors=(InvalidAudience, KeyReused),
        code=status.HTTP_201_CREATED,
        sent=examples.CAMPAIGN,
        restricted=True,
    )
    def post(self, request: Request) -> Response:
        """Make a draft with its offers, all or nothing; repeated under one key, the same draft as it is now."""
        self.require(request, ["add_campaign"])
        data = valid(CampaignCreateSerializer, request)
        offers = data.pop("offers", [])
        if any("id" in offer for offer in offers):
            raise serializers.ValidationError({"offers": ["A new campaign's offers have no id yet."]})
        with _told_by_field():
            made = authoring.create_campaign(offers=offers, by=request.user, **data)
        return self.answer(made.pk, status.HTTP_201_CREATED)


class CampaignView(StaffView):
    """One campaign."""

    @described("campaigns_retrieve", CampaignReadSerializer, restricted=True, responses=GONE)
    def get(self, request: Request, pk: int) -> Response:
        """Return a campaign with its offers; its ``revision`` belongs into the next edit."""
        return Response(self.get_serializer(self.found(request, pk, LOOK)).data)

    @described(
        "campaigns_update",
        CampaignReadSerializer,
        request=CampaignUpdateSerializer,
        errors=(InvalidAudience, RevisionOutdated, FrozenField),
        sent=examples.CHANGE,
        restricted=True,
        responses=GONE,
    )
    def patch(self, request: Request, pk: int) -> Response:
        """Change what is given and nothing else. What the campaign's state has fixed is refused."""
        campaign = self.found(request, pk, ["change_campaign"])
        data = valid(CampaignUpdateSerializer, request)
        try:
            with _told_by_field(), transaction.atomic():
                revisions.require(campaign, data["revision"])
                _write(Campaign.objects.get(pk=pk), data)
                revisions.record(Campaign.objects.get(pk=pk), request.user, data["note"])
        except ProtectedError:
            raise FrozenField(gettext_noop("An offer that has coupons already cannot be taken away.")) from None
        except IntegrityError:
            text = "A limit or the budget is below what is used already."
            raise serializers.ValidationError({"budget_minor": [text]}) from None
        return self.answer(pk)


class TransitionView(StaffView):
    """Change a campaign's state."""

    @described(
        "campaigns_transition",
        CampaignReadSerializer,
        request=TransitionSerializer,
        errors=(InvalidTransition, InvalidTerms, RevisionOutdated),
        sent=examples.TRANSITION,
        restricted=True,
        responses=GONE,
    )
    def post(self, request: Request, pk: int) -> Response:
        """Send to review, schedule, launch, pause, end or archive; which permission it takes depends on the state."""
        data = valid(TransitionSerializer, request)
        campaign = self.found(request, pk, (*LOOK, *_moving(data["to"])))
        _require_revision(campaign, data.get("revision"))
        lifecycle.transition(campaign, data["to"], by=request.user, note=data["note"])
        return self.answer(pk)


class ApproveView(StaffView):
    """Approve one revision of a campaign."""

    @described(
        "campaigns_approve",
        CampaignReadSerializer,
        request=ApproveSerializer,
        errors=(ApprovalRefused, RevisionOutdated),
        sent=examples.APPROVE,
        restricted=True,
        responses=GONE,
    )
    def post(self, request: Request, pk: int) -> Response:
        """Approve the revision that was read; a later edit needs another approval."""
        data = valid(ApproveSerializer, request)
        campaign = self.found(request, pk, ["approve_campaign"])
        _require_revision(campaign, data["revision"])
        lifecycle.approve(campaign, request.user, data["revision"])
        return self.answer(pk)


def _moving(to: str) -> set[str]:
    """Return the permissions with which somebody may bring some campaign into this state."""
    sources = [before for before, after in lifecycle.TRANSITIONS.items() if to in after]
    return {name for before in sources for name in lifecycle.permissions(before, to)}


def _require_revision(campaign: Campaign, revision: int | None) -> None:
    if revision is not None and revision != campaign.revision:
        raise RevisionOutdated


def _write(campaign: Campaign, data: dict[str, Any]) -> None:
    """Store the edit: the columns that are given, and no counter that a checkout may move."""
    changed = [name for name in CAMPAIGN_COLUMNS if name in data]
    for name in changed:
        setattr(campaign, name, data[name])
    audiences.parse(campaign.audience)
    campaign.full_clean(exclude=["created_by", "approved_by"])
    campaign.save(update_fields=changed)
    there = {offer.pk: offer for offer in Offer.objects.select_related("campaign").filter(campaign=campaign)}
    given = [offer["id"] for offer in data.get("offers", []) if "id" in offer]
    if not {*given, *data["remove_offers"]} <= set(there) or len(set(given)) != len(given):
        raise serializers.ValidationError({"offers": ["Each id is that of one of this campaign's offers, once."]})
    for pk in set(data["remove_offers"]):
        there.pop(pk).delete()
    for fields in data.get("offers", []):
        pk = fields.pop("id", None)
        if pk is not None and pk not in there:
            raise serializers.ValidationError({"offers": ["An offer that is taken away cannot be changed."]})
        offer = there[pk] if pk is not None else Offer()
        offer.campaign = campaign
        for name, value in fields.items():
            setattr(offer, name, value)
        offer.full_clean(exclude=["campaign"])
        offer.save(update_fields=[*fields, "body_html"] if pk is not None else None)


@contextmanager
def _told_by_field() -> Iterator[None]:
    """Turn what a model refuses into the answer's ``errors`` by field."""
    try:
        yield
    except Invalid as error:
        told = error.message_dict if hasattr(error, "error_dict") else {NON_FIELD_ERRORS: error.messages}
        raise serializers.ValidationError(
            {("non_field_errors" if name == NON_FIELD_ERRORS else name): words for name, words in told.items()}
        ) from error
