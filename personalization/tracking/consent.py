"""Consent: an append-only ledger, cached on the shopper; nothing behavioural is kept without it.

The visitor cookie exists only after consent. A refusal is remembered in a cookie that carries no id.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Iterable

from django.db import transaction
from django.http import HttpRequest, HttpResponseBase

from personalization import conf
from personalization.models import ConsentRecord, Shopper, ShopperAlias
from personalization.ports import adapters
from personalization.ports.signals import consent_withdrawn
from personalization.tracking import aliases, identity, profiles
from personalization.tracking.impersonation import is_impersonated
from personalization.types import CONSENT_PURPOSES, Purpose

ANSWERED_COOKIE = "pz_consent"
logger = logging.getLogger(__name__)


def privacy_signal(request: HttpRequest) -> bool:
    """Return whether the browser sends Global Privacy Control: it counts as a refusal."""
    return request.headers.get("Sec-GPC") == "1"


def consent_asked(request: HttpRequest) -> bool:
    """Return whether this visitor has already answered (or the host's consent manager asks instead)."""
    if is_impersonated(request):
        return True  # not theirs to answer
    if adapters.consent() is not None or privacy_signal(request) or ANSWERED_COOKIE in request.COOKIES:
        return True
    shopper = identity.shopper_for(request)
    return shopper is not None and any(shopper.allows(purpose) for purpose in CONSENT_PURPOSES)


def purposes_of(request: HttpRequest) -> frozenset[Purpose]:
    """Return the purposes for which this request's behaviour may be kept: what its shopper has agreed to.

    None while staff are behind it: what they do is not the shopper's behaviour.
    """
    if privacy_signal(request) or is_impersonated(request):
        return frozenset()
    if adapters.consent() is not None:
        return _managed(request)
    shopper = identity.shopper_for(request)
    if shopper is None:
        return frozenset()
    return frozenset(purpose for purpose in CONSENT_PURPOSES if shopper.allows(purpose))


def is_refused(request: HttpRequest, purpose: Purpose) -> bool:
    """Return whether the request itself refuses a purpose, without looking anybody up: no need to ask further then."""
    if privacy_signal(request) or is_impersonated(request):
        return True
    return adapters.consent() is not None and purpose not in _managed(request)


def _managed(request: HttpRequest) -> frozenset[Purpose]:
    """Return what the host's consent manager says; where it fails, nobody has agreed to anything."""
    adapter = adapters.consent()
    if adapter is None:
        return frozenset()
    try:
        return frozenset(adapter.purposes(request)) & frozenset(CONSENT_PURPOSES)
    except Exception:
        logger.exception("the consent adapter failed")
        return frozenset()


def follow_manager(request: HttpRequest, response: HttpResponseBase) -> None:
    """Write what the host's consent manager says into our ledger, where it says something new for this browser.

    Jobs read the ledger, not the request: a withdrawal in the manager counts for them from the next request on. The
    answer cookie holds what was written last, so that an answer that stands costs nothing.
    """
    if adapters.consent() is None:
        return
    wanted = frozenset() if privacy_signal(request) else _managed(request)
    said = ".".join(sorted(wanted)) or "no"
    if request.COOKIES.get(ANSWERED_COOKIE, "no") == said or is_impersonated(request):
        return
    _answer(request, response, wanted, source="manager", said=said)


def record(shopper: Shopper, purposes: Iterable[Purpose], *, source: str) -> bool:
    """Write the difference between the shopper's consent and ``purposes`` to the ledger, and cache it.

    False, and nothing written: the shopper was erased meanwhile, in another window for instance.
    """
    wanted = frozenset(purposes)
    with transaction.atomic():
        current = Shopper.objects.select_for_update().filter(pk=shopper.pk).first()
        if current is None:
            return False
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
        withdrawn = frozenset(purpose for purpose in changed if purpose not in wanted)
        if Purpose.PERSONALISATION in withdrawn:
            profiles.forget(current)
        if withdrawn:
            consent_withdrawn.send(sender=ConsentRecord, shopper_id=current.pk, purposes=withdrawn)
    for name, value in flags.items():
        setattr(shopper, name, value)
    return True


def give_consent(request: HttpRequest, response: HttpResponseBase, purposes: Iterable[Purpose]) -> None:
    """Set exactly these purposes for the request's shopper, and the cookies that follow from it.

    Where the browser refuses for its owner (Global Privacy Control), the answer is a refusal. Staff who "log in as" the
    shopper cannot answer for them: nothing changes.
    """
    if is_impersonated(request):
        return
    wanted = frozenset() if privacy_signal(request) else frozenset(purposes) & frozenset(CONSENT_PURPOSES)
    _answer(request, response, wanted, source="banner", said="yes" if wanted else "no")


def _answer(
    request: HttpRequest, response: HttpResponseBase, wanted: frozenset[Purpose], *, source: str, said: str
) -> None:
    shopper = identity.shopper_for(request)
    if shopper is None and wanted:
        shopper = identity.new_shopper(request)
    if shopper is not None and not record(shopper, wanted, source=source):
        shopper = identity.new_shopper(request) if wanted else None  # who agrees after an erasure is somebody new
        if shopper is not None:
            record(shopper, wanted, source=source)
    if not wanted:
        forget_visitor(request, response)
    elif shopper is not None:
        _set_visitor_cookie(request, response, shopper)
        identity.remember(request, shopper)
    _set_cookie(request, response, ANSWERED_COOKIE, said)


def withdraw_consent(request: HttpRequest, response: HttpResponseBase) -> None:
    """Withdraw every purpose; the visitor cookie goes with this response."""
    give_consent(request, response, ())


def forget_visitor(request: HttpRequest, response: HttpResponseBase) -> None:
    """Delete the visitor cookie and its alias: the id leads nowhere any more."""
    name = conf.get().cookie_name
    alias = identity.visitor_alias(request)
    if alias is not None:
        aliases.end([alias])
    response.delete_cookie(name, samesite="Lax")
    identity.remember(request, None)


def forget_browser(request: HttpRequest, response: HttpResponseBase) -> None:
    """Take a browser whose account signed out for a stranger's: whoever uses it next is asked anew."""
    forget_visitor(request, response)
    if request.COOKIES.get(ANSWERED_COOKIE, "no") != "no":
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
