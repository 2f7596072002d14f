"""What every endpoint shares: errors of the app become JSON with a stable code."""

from __future__ import annotations

import time
from typing import Any

from rest_framework import status
from rest_framework.exceptions import ErrorDetail, ParseError, ValidationError
from rest_framework.parsers import JSONParser
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from personalization.exceptions import (
    ApprovalRefused,
    ConsentMissing,
    FrozenField,
    KeyReused,
    PersonalizationError,
    QuoteChanged,
    ReservationGone,
    RevisionOutdated,
    TooManyTries,
    UnderReview,
    UnknownOffer,
    UnknownSlot,
)
from personalization.models import Shopper
from personalization.ports.messages import explain
from personalization.tracking import limits

STATUSES: dict[type[PersonalizationError], int] = {
    UnknownSlot: status.HTTP_404_NOT_FOUND,
    UnknownOffer: status.HTTP_404_NOT_FOUND,
    ReservationGone: status.HTTP_409_CONFLICT,
    QuoteChanged: status.HTTP_409_CONFLICT,
    UnderReview: status.HTTP_409_CONFLICT,
    RevisionOutdated: status.HTTP_409_CONFLICT,
    FrozenField: status.HTTP_409_CONFLICT,
    KeyReused: status.HTTP_409_CONFLICT,
    ConsentMissing: status.HTTP_403_FORBIDDEN,
    ApprovalRefused: status.HTTP_403_FORBIDDEN,
    TooManyTries: status.HTTP_429_TOO_MANY_REQUESTS,
}
PERMISSION = "permission"
"""The reason of a refusal that is about who asks."""


def _problem(exc: Exception, data: Any) -> Any:
    """Return the framework's own errors in the shape of ours; ``errors`` says which fields are meant."""
    if isinstance(exc, ValidationError):
        fields = ", ".join(exc.detail) if isinstance(exc.detail, dict) else ""
        message = f"These fields are not valid: {fields}." if fields else "The request is not valid."
        return {"code": exc.default_code, "message": message, "errors": _writable(exc.detail)}
    detail = data.get("detail") if isinstance(data, dict) else None
    return {"code": detail.code, "message": str(detail)} if isinstance(detail, ErrorDetail) else data


def _writable(told: Any) -> Any:
    """Return what is wrong with half characters replaced: a refusal quotes what was sent, and must be sent itself."""
    if isinstance(told, dict):
        return {name: _writable(each) for name, each in told.items()}
    if isinstance(told, list):
        return [_writable(each) for each in told]
    return str(told).encode(errors="replace").decode()


def _wait(scope: str, identity: str) -> int:
    """Return the seconds until this identity's longest window is over: until then no try passes for certain."""
    now = int(time.time())
    ends = [each.seconds - now % each.seconds for each in limits.in_force(scope) if each.identity == identity]
    return max(ends, default=60)


class PersonalView(APIView):
    """An endpoint whose answer depends on the shopper: never cached by anybody else."""

    permission_classes: Any = []
    # No forms: another site's form would reach us without this browser's cookies, and the session that the answer
    # starts would take the place of the shopper's own.
    parser_classes: Any = [JSONParser]

    scope = "code"

    def count(self, scope: str, request: Request, shopper: Shopper | None) -> None:
        """Count one try by whoever asks; raises TooManyTries. Call it before any transaction."""
        self.scope = scope
        limits.attempt(scope, request=request._request, shopper=shopper)
        self.scope = "code"  # what the rooms below count by themselves

    def handle_exception(self, exc: Exception) -> Response:
        if isinstance(exc, PersonalizationError):
            code = STATUSES.get(type(exc), status.HTTP_400_BAD_REQUEST)
            if exc.reason == PERMISSION:
                code = status.HTTP_403_FORBIDDEN
            response = Response({"code": exc.code, "message": explain(exc)}, status=code)
            response.exception = True
            if isinstance(exc, TooManyTries):
                response["Retry-After"] = str(_wait(self.scope, exc.reason))
            return response
        if isinstance(exc, RecursionError):  # the JSON parser's answer to a body that is all brackets
            exc = ParseError("The body is nested too deeply.")
        response = super().handle_exception(exc)
        response.data = _problem(exc, response.data)
        return response

    def finalize_response(self, request: Request, response: Any, *args: Any, **kwargs: Any) -> Any:
        response = super().finalize_response(request, response, *args, **kwargs)
        response["Cache-Control"] = "private, no-store"
        return response
