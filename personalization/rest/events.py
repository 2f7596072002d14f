"""POST events/: 1 to 500 events from the page script or an API client.

The page script cannot send a CSRF header when the page unloads; it proves its page with a signed token and its
origin instead. Whoever has no token passes Django's CSRF check.
"""

from __future__ import annotations

import gzip
import json
import zlib
from datetime import UTC, datetime
from io import BytesIO
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.utils import timezone
from django.utils.dateparse import parse_datetime
from drf_spectacular.utils import OpenApiResponse
from rest_framework import serializers, status
from rest_framework.authentication import CSRFCheck, SessionAuthentication
from rest_framework.request import Request
from rest_framework.response import Response

from personalization import conf
from personalization.rest import examples
from personalization.rest.base import PersonalView
from personalization.rest.described import described, refusal
from personalization.tracking import bots, consent, devices, identity
from personalization.tracking.ingest import ingest
from personalization.tracking.pages import is_page_token


class EventSerializer(serializers.Serializer[Any]):
    """One event. Its type decides which further fields it needs."""

    id = serializers.CharField(max_length=100, help_text="Unique for the sender; a repeated id is stored once.")
    type = serializers.CharField(max_length=40)
    item_id = serializers.CharField(required=False)
    category = serializers.CharField(required=False)
    offer_id = serializers.IntegerField(required=False)
    value_minor = serializers.IntegerField(required=False)
    occurred_at = serializers.DateTimeField(required=False)
    properties = serializers.DictField(required=False)


class EventsRequestSerializer(serializers.Serializer[Any]):
    events = EventSerializer(many=True)
    sent_at = serializers.DateTimeField(required=False, help_text="The sender's clock: corrects occurred_at.")
    token = serializers.CharField(required=False, help_text="The page token, where no CSRF token is sent.")


class EventsResponseSerializer(serializers.Serializer[Any]):
    accepted = serializers.IntegerField()
    duplicates = serializers.IntegerField()
    quarantined = serializers.IntegerField()
    dropped = serializers.IntegerField()


def _refused(message: str) -> dict[str, Any]:
    return {"code": "invalid_body", "message": message}


class Refused(Exception):
    """The body cannot be read; the message says what to do."""

    def __init__(self, message: str, code: int = status.HTTP_400_BAD_REQUEST) -> None:
        self.message, self.code = message, code
        super().__init__(message)


class PageAuthentication(SessionAuthentication):
    """Django's session account; the view itself checks the page token or CSRF, once it has read the body.

    Without it the framework would put somebody anonymous in the account's place, and their events would go to
    whoever used this browser before.
    """

    def enforce_csrf(self, request: Request) -> None:
        """Leave it to the view."""


class EventsView(PersonalView):
    """Store a batch of events for the request's shopper."""

    authentication_classes: Any = [PageAuthentication]
    parser_classes: Any = []

    @described(
        "events_store",
        EventsResponseSerializer,
        request={"application/json": EventsRequestSerializer, "text/plain": EventsRequestSerializer},
        sent=examples.EVENTS,
        told=examples.STORED,
        auth=[{"cookieAuth": []}],
        responses={
            status.HTTP_204_NO_CONTENT: OpenApiResponse(description="Without consent, or for a beacon."),
            status.HTTP_400_BAD_REQUEST: refusal([_refused("The body is not valid JSON.")]),
            status.HTTP_403_FORBIDDEN: refusal([_refused("Send the page's token or a CSRF token.")]),
            status.HTTP_413_REQUEST_ENTITY_TOO_LARGE: refusal(
                [_refused("At most 500 events a request; send the rest in another.")]
            ),
        },
    )
    def post(self, request: Request) -> Response:
        """Store 1 to 500 events; a bad one is set aside, the others are stored. Without consent: 204, nothing kept."""
        http = request._request
        try:
            _check_origin(http)
            events, sent_at, token = _read(http)
            _check_token(http, token)
        except Refused as refused:
            return Response(_refused(refused.message), status=refused.code)
        shopper = identity.shopper_for(http)
        purposes = consent.purposes_of(http)
        if shopper is None or not purposes:
            return Response(status=status.HTTP_204_NO_CONTENT)
        result = ingest(
            events,
            source=f"web:{identity.visitor_id(http) or shopper.key.hex}",
            shopper=shopper,
            purposes=purposes,
            sent_at=sent_at,
            is_bot=bots.is_bot(http.headers.get("User-Agent", "")),
            device=devices.of_request(http),
        )
        if http.content_type == "text/plain":  # a beacon: nobody reads the answer
            return Response(status=status.HTTP_204_NO_CONTENT)
        return Response(
            {
                "accepted": result.accepted,
                "duplicates": result.duplicates,
                "quarantined": result.quarantined,
                "dropped": result.dropped,
            }
        )


def _check_origin(request: HttpRequest) -> None:
    origin = request.headers.get("Origin")
    if not origin or origin == "null":
        return
    try:
        host = urlsplit(origin).netloc
    except ValueError:
        host = ""
    if host != request.get_host() and origin not in settings.CSRF_TRUSTED_ORIGINS:
        raise Refused("This origin may not send events.", status.HTTP_403_FORBIDDEN)


def _read(request: HttpRequest) -> tuple[list[Any], datetime | None, str]:
    try:
        body = json.loads(_body(request))
    except (ValueError, UnicodeDecodeError, RecursionError):
        raise Refused("The body is not valid JSON.") from None
    events = body.get("events") if isinstance(body, dict) else None
    if not isinstance(events, list) or not events:
        raise Refused('The body looks like {"events": [ … ]}.')
    most = conf.get().event_max_batch
    if len(events) > most:
        raise Refused(f"At most {most} events a request; send the rest in another.", 413)
    token = body.get("token", "")
    return events, _sent_at(body.get("sent_at")), token if isinstance(token, str) else ""


def _body(request: HttpRequest) -> bytes:
    """Return the body, unpacked if it is gzipped, never more than the size cap in memory."""
    most = conf.get().event_max_bytes
    try:
        length = int(request.META.get("CONTENT_LENGTH") or 0)
    except ValueError:
        length = 0
    if length > most:
        raise Refused(f"The body is larger than {most} bytes.", 413)
    raw = request.read(most + 1)
    if request.headers.get("Content-Encoding") == "gzip":
        try:
            raw = gzip.GzipFile(fileobj=BytesIO(raw)).read(most + 1)
        except (OSError, EOFError, zlib.error):
            raise Refused("The body is not valid gzip.") from None
    if len(raw) > most:
        raise Refused(f"The body is larger than {most} bytes.", 413)
    return raw


def _sent_at(value: Any) -> datetime | None:
    try:
        moment = parse_datetime(value) if isinstance(value, str) else None
        if moment is not None and timezone.is_naive(moment):
            moment = timezone.make_aware(moment)
        return None if moment is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _check_token(request: HttpRequest, token: str) -> None:
    if is_page_token(token):
        return
    check = CSRFCheck(lambda _request: HttpResponse())
    check.process_request(request)
    # Django's own request: the body is read, and only this one then takes the form token for absent.
    if check.process_view(request, None, (), {}):  # type: ignore[arg-type]
        raise Refused("Send the page's token or a CSRF token.", status.HTTP_403_FORBIDDEN)
