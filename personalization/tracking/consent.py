"""Consent: an append-only ledger, cached on the shopper; nothing behavioural is kept without it.

The visitor cookie exists only after consent. A refusal is remembered in a cookie that carries no id.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable

from django.db import transaction
from django.http import HttpRequest, HttpResponseBase

from personalization import conf
from personalization.models import ConsentRecord, Shopper, ShopperAlias
from personalization.ports import adapters
from personalization.tracking import identity, profiles
from personalization.types import CONSENT_PURPOSES, Purpose

ANSWERED_COOKIE = "pz_consent"


def privacy_signal(request: HttpRequest) -> bool:
    """Return whether the browser sends Global Privacy Control: it counts as a refusal."""
    return request.headers.get("Sec-GPC") == "1"


def consent_asked(request: HttpRequest) -> bool:
    """Return whether this visitor has already answered (or the host's consent manager asks instead)."""
    if adapters.consent() is not None or privacy_signal(request) or ANSWERED_COOKIE in request.COOKIES:
        return True
    shopper = identity.shopper_for(request)
    return shopper is not None and any(shopper.allows(purpose) for purpose in CONSENT_PURPOSES)


def purposes_of(request: HttpRequest) -> frozenset[Purpose]:
    """Return the purposes this request's shopper has agreed to."""
    if privacy_signal(request):
        return frozenset()
    adapter = adapters.consent()
    if adapter is not None:
        return adapter.purposes(request)
    shopper = identity.shopper_for(request)
    if shopper is None:
        return frozenset()
    return frozenset(purpose for purpose in CONSENT_PURPOSES if shopper.allows(purpose))


def record(shopper: Shopper, purposes: Iterable[Purpose], *, source: str) -> None:
    """Write the difference between the shopper's consent and ``purposes`` to the ledger, and cache it."""
    wanted = frozenset(purposes)
    with transaction.atomic():
        current = Shopper.objects.select_for_update().get(pk=shopper.pk)
        changed = [purpose for purpose in CONSENT_PURPOSES if (purpose in wanted) != current.allows(purpose)]
        ConsentRecord.objects.bulk_create(
            ConsentRecord(
                shopper=current,
                purpose=purpose.value,
                granted=purpose in wanted,
                wording_version=conf.get().wording_version,
                source=source,
            )
            for purpose in changed
        )
        flags = {f"consent_{purpose.value}": purpose in wanted for purpose in changed}
        if flags:
            Shopper.objects.filter(pk=current.pk).update(**flags)
        if flags.get("consent_personalisation") is False:
            profiles.forget(current)
    for name, value in flags.items():
        setattr(shopper, name, value)


def give_consent(request: HttpRequest, response: HttpResponseBase, purposes: Iterable[Purpose]) -> None:
    """Set exactly these purposes for the request's shopper, and the cookies that follow from it.

    Where the browser refuses for its owner (Global Privacy Control), the answer is a refusal.
    """
    wanted = frozenset() if privacy_signal(request) else frozenset(purposes) & frozenset(CONSENT_PURPOSES)
    shopper = identity.shopper_for(request)
    if shopper is None and wanted:
        shopper = identity.new_shopper(request)
    if shopper is not None:
        record(shopper, wanted, source="banner")
    if not wanted:
        forget_visitor(request, response)
    elif shopper is not None:
        _set_visitor_cookie(request, response, shopper)
        identity.remember(request, shopper)
    _set_cookie(request, response, ANSWERED_COOKIE, "yes" if wanted else "no")


def withdraw_consent(request: HttpRequest, response: HttpResponseBase) -> None:
    """Withdraw every purpose; the visitor cookie goes with this response."""
    give_consent(request, response, ())


def forget_visitor(request: HttpRequest, response: HttpResponseBase) -> None:
    """Delete the visitor cookie and its alias: the id leads nowhere any more."""
    name = conf.get().cookie_name
    visitor = identity.visitor_id(request)
    if visitor:
        ShopperAlias.objects.filter(kind=ShopperAlias.Kind.VISITOR, value=visitor).delete()
    response.delete_cookie(name, samesite="Lax")
    identity.remember(request, None)


def forget_browser(request: HttpRequest, response: HttpResponseBase) -> None:
    """Take a browser whose account signed out for a stranger's: whoever uses it next is asked anew."""
    forget_visitor(request, response)
    if request.COOKIES.get(ANSWERED_COOKIE) == "yes":
        response.delete_cookie(ANSWERED_COOKIE, samesite="Lax")


def _set_visitor_cookie(request: HttpRequest, response: HttpResponseBase, shopper: Shopper) -> None:
    visitor = identity.visitor_id(request)
    alias = ShopperAlias.objects.filter(kind=ShopperAlias.Kind.VISITOR, value=visitor).first() if visitor else None
    if alias is None:
        visitor = uuid.uuid4().hex
        ShopperAlias.objects.create(kind=ShopperAlias.Kind.VISITOR, value=visitor, shopper=shopper)
    _set_cookie(request, response, conf.get().cookie_name, visitor)


def _set_cookie(request: HttpRequest, response: HttpResponseBase, name: str, value: str) -> None:
    response.set_cookie(
        name,
        value,
        max_age=conf.get().cookie_age_days * 86400,
        secure=request.is_secure(),
        httponly=True,
        samesite="Lax",
    )
