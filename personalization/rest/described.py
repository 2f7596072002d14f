"""How endpoints are described in OpenAPI: one decorator, so that each has its tag, its errors and its examples."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable
from typing import Any

from drf_spectacular.utils import OpenApiExample, OpenApiResponse, extend_schema
from rest_framework import serializers, status

from personalization.exceptions import PersonalizationError
from personalization.rest.base import STATUSES

FORBIDDEN = ("permission_denied", "You do not have permission to perform this action.")
INVALID = {
    "code": "invalid",
    "message": "These fields are not valid: basket.",
    "errors": {"basket": ["This field is required."]},
}


class ErrorSerializer(serializers.Serializer[Any]):
    """What every refusal looks like."""

    code = serializers.CharField(help_text="Stable: programs decide by it.")
    message = serializers.CharField(help_text="For people, in the language of the request.")
    errors = serializers.DictField(  # type: ignore[assignment]
        required=False, help_text="Field → what is wrong with it, where a body does not fit."
    )


def described(
    operation: str,
    answer: Any,
    *,
    request: Any = None,
    errors: Iterable[type[PersonalizationError]] = (),
    code: int = status.HTTP_200_OK,
    sent: dict[str, Any] | None = None,
    told: dict[str, Any] | None = None,
    restricted: bool = False,
    **more: Any,
) -> Callable[[Any], Any]:
    """Describe one operation; its text is the method's docstring.

    ``operation`` begins with its tag: ``coupons_claim``. ``errors`` are what it may raise beside a body that does not
    fit, ``sent`` and ``told`` a body and its answer as examples, ``restricted`` what only some accounts may do.
    """
    responses: dict[Any, Any] = {code: answer, **_refusals(errors, with_body=request is not None, forbids=restricted)}
    examples = [
        *([OpenApiExample("Request", sent, request_only=True)] if sent is not None else []),
        *([OpenApiExample("Answer", told, response_only=True, status_codes=[str(code)])] if told is not None else []),
    ]
    described_with: Callable[[Any], Any] = extend_schema(
        operation_id=operation,
        tags=[operation.partition("_")[0]],
        request=request,
        responses={**responses, **more.pop("responses", {})},
        examples=examples,
        **more,
    )
    return described_with


def refusal(told: Iterable[dict[str, Any]], about: str = "") -> OpenApiResponse:
    """Return the description of the refusals of one status, an example each."""
    bodies = list(told)
    words = about or " · ".join(f"`{body['code']}`: {body['message']}" for body in bodies)
    examples = [OpenApiExample(body["code"], body) for body in bodies]
    return OpenApiResponse(ErrorSerializer, description=words, examples=examples)


def _refusals(
    errors: Iterable[type[PersonalizationError]], *, with_body: bool, forbids: bool
) -> dict[int, OpenApiResponse]:
    found: dict[int, list[dict[str, Any]]] = defaultdict(list)
    if with_body:
        found[status.HTTP_400_BAD_REQUEST].append(INVALID)
    for error in errors:
        found[STATUSES.get(error, status.HTTP_400_BAD_REQUEST)].append({"code": error.code, "message": str(error())})
    if forbids or with_body:  # a session that sends a body sends its CSRF token too
        found[status.HTTP_403_FORBIDDEN].append(dict(zip(("code", "message"), FORBIDDEN, strict=True)))
    return {code: refusal(bodies) for code, bodies in sorted(found.items())}
