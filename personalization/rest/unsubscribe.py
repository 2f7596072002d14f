"""No more messages: the page behind the link in a message, and what mail providers report back.

Mail programs and scanners follow links by themselves, so looking at the page changes nothing. They also post to it
when somebody presses their own button (RFC 8058): that comes without a cookie and without Django's form token. What
the link carries is signed, and all that anybody can do with it is send fewer messages.
"""

from __future__ import annotations

import json
import time
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_http_methods
from drf_spectacular.utils import OpenApiParameter
from rest_framework import serializers, status
from rest_framework.request import Request
from rest_framework.response import Response

from personalization import conf
from personalization.campaigns import channels
from personalization.campaigns import unsubscribe as unsubscribing
from personalization.rest import examples
from personalization.rest.base import PersonalView
from personalization.rest.described import described, refusal

MAX_BYTES = 100_000


@never_cache
@csrf_exempt
@require_http_methods(["GET", "HEAD", "POST"])
def unsubscribe(request: HttpRequest, token: str) -> HttpResponse:
    """GET asks, POST unsubscribes; a link that is not ours gets a page that says so."""
    found = unsubscribing.read(token)
    if found is None:
        return _page(request, "unknown", status.HTTP_404_NOT_FOUND)
    shopper, channel = found
    if request.method != "POST":
        return _page(request, "ask")
    if shopper is not None:  # somebody erased gets nothing anyway
        unsubscribing.unsubscribe(shopper, channel)
    return _page(request, "done")


def _page(request: HttpRequest, state: str, code: int = status.HTTP_200_OK) -> HttpResponse:
    context = {"state": state, "home": conf.get().public_url or "/"}
    response = render(request, "personalization/unsubscribe.html", context, status=code)
    response["Referrer-Policy"] = "no-referrer"
    response["X-Robots-Tag"] = "noindex"
    return response


class BounceSerializer(serializers.Serializer[Any]):
    """One report of a mail provider."""

    channel = serializers.CharField(max_length=40, default="email")
    address = serializers.CharField(max_length=320)
    kind = serializers.ChoiceField(choices=unsubscribing.KINDS)
    message_id = serializers.CharField(
        max_length=300, required=False, allow_blank=True, help_text="Our Message-ID; a soft bounce counts only with it."
    )


class BouncesView(PersonalView):
    """Reports of bounces and complaints, signed with the webhook's secret."""

    authentication_classes: Any = []
    parser_classes: Any = []

    @described(
        "bounces_report",
        None,
        request={"application/json": BounceSerializer},
        code=status.HTTP_204_NO_CONTENT,
        sent=examples.BOUNCE,
        responses={
            code: refusal([{"code": "refused", "message": message}])
            for code, message in (
                (status.HTTP_400_BAD_REQUEST, "The body is not JSON."),
                (status.HTTP_403_FORBIDDEN, "The signature is missing, wrong or too old."),
                (status.HTTP_413_REQUEST_ENTITY_TOO_LARGE, "The request is too large."),
            )
        },
        parameters=[
            OpenApiParameter("X-Timestamp", int, OpenApiParameter.HEADER, description="Seconds since 1970."),
            OpenApiParameter("X-Signature", str, OpenApiParameter.HEADER, description="sha256=HMAC(timestamp.body)"),
        ],
    )
    def post(self, request: Request) -> Response:
        """Suppress an address that bounced for good or complained; repeating a report changes nothing."""
        http = request._request
        if int(http.headers.get("Content-Length") or 0) > MAX_BYTES:
            return _refusal(_("The request is too large."), status.HTTP_413_REQUEST_ENTITY_TOO_LARGE)
        body = http.body
        moment, signature = http.headers.get("X-Timestamp", ""), http.headers.get("X-Signature", "")
        if not channels.is_signed(conf.get().webhook_secret, moment, body, signature, time.time()):
            return _refusal(_("The signature is missing, wrong or too old."), status.HTTP_403_FORBIDDEN)
        try:
            given = json.loads(body)
        except (ValueError, RecursionError):
            return _refusal(_("The body is not JSON."), status.HTTP_400_BAD_REQUEST)
        report = BounceSerializer(data=given)
        report.is_valid(raise_exception=True)
        data = report.validated_data
        unsubscribing.record_bounce(
            data["channel"], data["address"], data["kind"], message_id=data.get("message_id", "")
        )
        return Response(status=status.HTTP_204_NO_CONTENT)


def _refusal(message: str, code: int) -> Response:
    return Response({"code": "refused", "message": message}, status=code)
