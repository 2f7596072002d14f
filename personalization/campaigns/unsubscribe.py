"""No more messages: by the link in every one of them, or because an address bounced or complained.

Addresses are kept as keyed hashes only. Whoever agrees to messages again after having unsubscribed gets them again;
an address that bounced or complained stays suppressed until a person lifts it.
"""

from __future__ import annotations

import logging
import uuid
from datetime import datetime, timedelta

from django.core import signing
from django.db import transaction
from django.urls import NoReverseMatch, reverse
from django.utils import timezone

from personalization import conf
from personalization.models import ConsentRecord, OutboxMessage, Shopper, Suppression
from personalization.ports import adapters
from personalization.tracking import consent, secrets
from personalization.types import CONSENT_PURPOSES, Purpose

logger = logging.getLogger(__name__)
SALT = "personalization.unsubscribe"
SOFT_BOUNCES = 3
"""So many soft bounces of a shopper's messages within the span below count as a hard one."""
SOFT_SPAN = timedelta(days=30)
SOFT = "soft_bounce"
KINDS = ("hard", "soft", "complaint")


def token(shopper: Shopper, channel: str) -> str:
    """Return what the link carries: the shopper's pseudonym and the channel, signed. It does not expire."""
    return signing.dumps([shopper.key.hex, channel], salt=SALT)


def url(shopper: Shopper, channel: str) -> str:
    """Return the address of the link; empty where PUBLIC_URL is not set."""
    base = conf.get().public_url.rstrip("/")
    if not base:
        return ""
    try:
        return base + reverse("personalization:unsubscribe", args=[token(shopper, channel)])
    except NoReverseMatch:  # the app's urls are not included
        return ""


def read(signed: str) -> tuple[Shopper | None, str] | None:
    """Return whose link this is (None: they are erased) and for which channel; None for a link that is not ours."""
    try:
        key, channel = signing.loads(signed, salt=SALT)
        found = Shopper.objects.filter(key=uuid.UUID(str(key))).select_related("merged_into").first()
    except (signing.BadSignature, ValueError, TypeError):
        return None
    return (found.merged_into or found if found else None), str(channel)


def unsubscribe(shopper: Shopper, channel: str) -> None:
    """Withdraw the shopper's consent to messages and suppress their address; repeating it changes nothing."""
    _withdraw(shopper)
    address = address_of(shopper, channel)
    if address:
        suppress(channel, address, Suppression.Reason.UNSUBSCRIBED)


def _withdraw(shopper: Shopper) -> None:
    with transaction.atomic():
        current = Shopper.objects.select_for_update().filter(pk=shopper.pk).first()
        if current is not None and current.consent_marketing:
            kept = [each for each in CONSENT_PURPOSES if each != Purpose.MARKETING and current.allows(each)]
            consent.record(current, kept, source="unsubscribe")


def address_of(shopper: Shopper, channel: str) -> str:
    """Return where the host reaches this shopper now; empty if nowhere."""
    adapter = adapters.contacts()
    if adapter is None or shopper.user_id is None:
        return ""
    return adapter.addresses(channel, [shopper.user_id]).get(shopper.user_id, "")


def suppress(channel: str, address: str, reason: Suppression.Reason) -> None:
    """Send nothing to this address any more. A complaint or bounce outweighs what was noted before."""
    noted, new = Suppression.objects.get_or_create(
        channel=channel, digest=_digest(address), defaults={"reason": reason.value}
    )
    if not new and noted.reason == Suppression.Reason.UNSUBSCRIBED:
        Suppression.objects.filter(pk=noted.pk).update(reason=reason.value, at=timezone.now())


def is_suppressed(shopper: Shopper, channel: str, address: str) -> bool:
    """Return whether nothing may be sent to this address."""
    known = secrets.digests(_plain(address), "address")
    for noted in Suppression.objects.filter(channel=channel, digest__in=known):
        if noted.reason != Suppression.Reason.UNSUBSCRIBED or not _agreed_since(shopper, noted.at):
            return True
    return False


def _agreed_since(shopper: Shopper, moment: datetime) -> bool:
    agreed = ConsentRecord.objects.filter(shopper=shopper, purpose=Purpose.MARKETING.value, granted=True)
    return agreed.filter(at__gt=moment).exists()


def record_bounce(channel: str, address: str, kind: str, *, message_id: str = "") -> bool:
    """Note what a mail provider reports: ``hard``, ``soft`` or ``complaint``; returns whether the address is out.

    ``message_id`` is the id of our message, where the provider hands it back. A soft bounce counts only with it.
    Repeating it changes nothing. Raises ValueError for another kind.
    """
    if kind not in KINDS:
        raise ValueError("a bounce is hard or soft, or it is a complaint")
    message = _message(message_id)
    if kind == "soft":
        return _soft(channel, address, message)
    complained = kind == "complaint"
    suppress(channel, address, Suppression.Reason.COMPLAINT if complained else Suppression.Reason.BOUNCE)
    if message is not None:
        OutboxMessage.objects.filter(pk=message.pk).update(state=OutboxMessage.State.BOUNCED, reason=kind)
        if complained:
            _withdraw(message.shopper)
    return True


def _soft(channel: str, address: str, message: OutboxMessage | None) -> bool:
    if message is None:
        return False
    OutboxMessage.objects.filter(pk=message.pk, state=OutboxMessage.State.SENT).update(reason=SOFT)
    lately = OutboxMessage.objects.filter(
        shopper=message.shopper_id, channel=channel, reason=SOFT, sent_at__gte=timezone.now() - SOFT_SPAN
    )
    if lately.count() < SOFT_BOUNCES:
        return False
    suppress(channel, address, Suppression.Reason.BOUNCE)
    return True


def _message(message_id: str) -> OutboxMessage | None:
    """Find our message by its id, as the Message-ID header shows it or bare."""
    try:
        key = uuid.UUID(message_id.strip("<> ").partition("@")[0])
    except ValueError:
        return None
    return OutboxMessage.objects.select_related("shopper").filter(pk=key).first()


def _plain(address: str) -> str:
    return address.strip().casefold()


def _digest(address: str) -> str:
    return secrets.digest(_plain(address), "address")
