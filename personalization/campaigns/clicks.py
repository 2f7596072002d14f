"""The link in a message: it leads to the campaign's page by way of us, and whoever goes it is counted once.

It carries our id of the message, signed, and nothing of the shopper; where it leads is read from the campaign when it
is followed, and is a page of the shop or nothing. It goes on leading there for ever; it counts for a while.
"""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import timedelta
from urllib.parse import urljoin, urlsplit

from django.core import signing
from django.urls import NoReverseMatch, reverse
from django.utils.http import url_has_allowed_host_and_scheme

from personalization import conf
from personalization.campaigns import pushed
from personalization.models import Campaign, Offer, OutboxMessage
from personalization.tracking.ingest import track

SALT = "personalization.click"
COUNTS_FOR = timedelta(days=60)
SOURCE = "messages"


@dataclass(frozen=True, slots=True)
class Link:
    """A link that was followed: where it leads, and the message to count it for (None: nothing is counted)."""

    target: str
    message: OutboxMessage | None = None
    offer: Offer | None = None


def link_for(message: OutboxMessage, offer: Offer) -> str:
    """Return the address to put into a message; empty where none can be reached from outside.

    A page of somebody else's is linked as it is: our links lead nowhere but into the shop.
    """
    target = target_of(offer)
    return (_own(message) or target) if _is_ours(target, offer.campaign) else target


def _own(message: OutboxMessage) -> str:
    signed = signing.dumps(message.pk.hex, salt=SALT)
    try:
        return conf.get().public_url.rstrip("/") + reverse("personalization:click", args=[signed])
    except NoReverseMatch:  # the app's urls are not included
        return ""


def target_of(offer: Offer) -> str:
    """Return the address of the offer's page, reachable from outside; empty without PUBLIC_URL."""
    if urlsplit(offer.cta_url).scheme in {"http", "https"}:
        return offer.cta_url
    base = conf.get().public_url
    return urljoin(base.rstrip("/") + "/", offer.cta_url) if base else ""


def _is_ours(target: str, campaign: Campaign) -> bool:
    hosts = {_host(conf.get().public_url), *(_host(f"//{site}") for site in campaign.sites)} - {""}
    if not target:
        return False
    plain = urlsplit(target)._replace(netloc=_host(target)).geturl()
    return url_has_allowed_host_and_scheme(plain, allowed_hosts=hosts)


def _host(address: str) -> str:
    """Return the host of an address as browsers compare it: small letters, the usual port left out."""
    parts = urlsplit(address)
    usual = {"http": ":80", "https": ":443"}.get(parts.scheme, "")
    return parts.netloc.lower().removesuffix(usual) if usual else parts.netloc.lower()


def read(signed: str) -> Link:
    """Return where a link leads: its offer's page, or the shop's home page for one that is not, or no longer, ours."""
    home = Link(conf.get().public_url or "/")
    try:
        key = uuid.UUID(signing.loads(signed, salt=SALT))
    except (signing.BadSignature, ValueError, TypeError, AttributeError):
        return home
    message = OutboxMessage.objects.select_related("shopper").filter(pk=key).first()
    decision = pushed.decided(message) if message is not None else None
    offer = pushed.offer_of(decision) if decision is not None else None
    if message is None or offer is None:
        return home
    target = target_of(offer)
    if not _is_ours(target, offer.campaign):
        return home
    return Link(target, message if _still_counts(signed) else None, offer)


def _still_counts(signed: str) -> bool:
    try:
        signing.loads(signed, salt=SALT, max_age=COUNTS_FOR)
    except signing.SignatureExpired:
        return False
    return True


def record(link: Link) -> bool:
    """Count the click once for its message, where the shopper still agrees; returns whether it may be kept."""
    message, offer = link.message, link.offer
    if message is None or offer is None or message.shopper.is_bot or not message.shopper.consent_marketing:
        return False
    return track(
        "offer_clicked",
        shopper=message.shopper,  # who must have agreed to personalisation too: the type's purpose
        offer_id=offer.pk,
        properties={"decision_id": str(message.pk), "message_channel": message.channel},
        source=SOURCE,
        event_id=f"click:{message.pk.hex}",
    )
