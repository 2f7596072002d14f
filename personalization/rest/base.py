"""What every endpoint shares: errors of the app become JSON with a stable code."""

from __future__ import annotations

from typing import Any

from rest_framework import status
from rest_framework.exceptions import ErrorDetail, ParseError, ValidationError
from rest_framework.parsers import JSONParser
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from personalization.exceptions import (
    ConsentMissing,
    PersonalizationError,
    ReservationGone,
    UnknownOffer,
    UnknownSlot,
)
from personalization.ports.messages import explain

STATUSES: dict[type[PersonalizationError], int] = {
    UnknownSlot: status.HTTP_404_NOT_FOUND,
    UnknownOffer: status.HTTP_404_NOT_FOUND,
    ReservationGone: status.HTTP_409_CONFLICT,
    ConsentMissing: status.HTTP_403_FORBIDDEN,
}


def _problem(exc: Exception, data: Any) -> Any:
    """Return the framework's own errors in the shape of ours; ``errors`` says which fields are meant."""
    if isinstance(exc, ValidationError):
        fields = ", ".join(exc.detail) if isinstance(exc.detail, dict) else ""
        message = f"These fields are not valid: {fields}." if fields else "The request is not valid."
        return {"code": exc.default_code, "message": message, "errors": exc.detail}
    detail = data.get("detail") if isinstance(data, dict) else None
    return {"code": detail.code, "message": str(detail)} if isinstance(detail, ErrorDetail) else data


class PersonalView(APIView):
    """An endpoint whose answer depends on the shopper: never cached by anybody else."""

    permission_classes: Any = []
    # No forms: another site's form would reach us without this browser's cookies, and the session that the answer
    # starts would take the place of the shopper's own.
    parser_classes: Any = [JSONParser]

    def handle_exception(self, exc: Exception) -> Response:
        if isinstance(exc, PersonalizationError):
            code = STATUSES.get(type(exc), status.HTTP_400_BAD_REQUEST)
            response = Response({"code": exc.code, "message": explain(exc)}, status=code)
            response.exception = True
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
