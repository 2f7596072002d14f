"""Ways to reach a shopper: each takes a finished message and hands it over, or raises ChannelFailed.

Hand-over happens outside any transaction and may happen twice (a sender can die between handing over and writing
it down): every message carries an id that stays the same, so that the receiver can drop the repetition.
"""

from __future__ import annotations

import hmac
import json
import smtplib
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol, cast
from urllib.parse import urlsplit

from django.conf import settings
from django.core.mail import EmailMultiAlternatives, get_connection
from django.core.mail.message import BadHeaderError
from django.core.signals import setting_changed
from django.utils.module_loading import import_string

from personalization import conf
from personalization.exceptions import ChannelFailed

TIMEOUT_SECONDS = 10
TOLERANCE_SECONDS = 300
BOUNCED = "bounced"
"""The reason of a ChannelFailed after which nobody tries again: this address does not exist."""


@dataclass(frozen=True, slots=True)
class Rendered:
    """A message ready to be handed over. ``message_id`` is the same however often it is; ``code`` is a secret."""

    message_id: str
    shopper_key: str
    address: str
    subject: str
    text: str
    html: str
    link: str
    unsubscribe_url: str
    campaign_id: int
    offer_id: int
    code: str = ""


class Channel(Protocol):
    """One way to reach a shopper. ``needs_address``: whoever has no address there gets nothing."""

    needs_address: bool

    def send(self, message: Rendered) -> None:
        """Hand the message over; ChannelFailed: try later (or never again, with the reason ``bounced``)."""


class EmailChannel:
    """Django's own mail: text and HTML, with one-click unsubscribing (RFC 8058)."""

    needs_address = True

    def send(self, message: Rendered) -> None:
        headers = {"Message-ID": f"<{message.message_id}@{_domain()}>", "Auto-Submitted": "auto-generated"}
        if message.unsubscribe_url:
            headers["List-Unsubscribe"] = f"<{message.unsubscribe_url}>"
            headers["List-Unsubscribe-Post"] = "List-Unsubscribe=One-Click"
        mail = EmailMultiAlternatives(
            " ".join(message.subject.split()),
            message.text,
            to=[message.address],
            headers=headers,
            # A server that does not answer must not hold the message longer than its lease.
            connection=get_connection(timeout=settings.EMAIL_TIMEOUT or TIMEOUT_SECONDS),
        )
        mail.attach_alternative(message.html, "text/html")
        try:
            mail.send()
        except smtplib.SMTPRecipientsRefused as error:
            codes = [code for code, _answer in error.recipients.values()]
            final = bool(codes) and all(500 <= code < 600 for code in codes)
            raise ChannelFailed(reason=BOUNCED if final else "refused") from None
        except (smtplib.SMTPException, OSError, BadHeaderError) as error:
            raise ChannelFailed(reason=type(error).__name__) from None


class WebhookChannel:
    """JSON to the address in WEBHOOK_URL, signed, so that the receiver knows who sent it and when."""

    needs_address = False

    def send(self, message: Rendered) -> None:
        configured = conf.get()
        scheme = urlsplit(configured.webhook_url).scheme
        if scheme != "https" and not (scheme == "http" and settings.DEBUG):
            raise ChannelFailed(reason="webhook_not_https")
        if not configured.webhook_secret:
            raise ChannelFailed(reason="webhook_without_secret")
        body = json.dumps(_payload(message)).encode()
        moment = str(int(time.time()))
        request = urllib.request.Request(
            configured.webhook_url,
            data=body,
            headers={
                "Content-Type": "application/json",
                "Idempotency-Key": message.message_id,
                "X-Timestamp": moment,
                "X-Signature": sign(configured.webhook_secret, moment, body),
            },
        )
        try:
            with _opener().open(request, timeout=TIMEOUT_SECONDS):
                return
        except urllib.error.HTTPError as error:
            raise ChannelFailed(reason=f"http_{error.code}") from None
        except OSError as error:
            raise ChannelFailed(reason=type(error).__name__) from None


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirect would carry the message, code included, to somebody who was not configured."""

    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        return None


def _opener() -> urllib.request.OpenerDirector:
    return urllib.request.build_opener(_NoRedirect)


def _payload(message: Rendered) -> dict[str, Any]:
    return {
        "id": message.message_id,
        "shopper": message.shopper_key,
        "address": message.address,
        "campaign": message.campaign_id,
        "offer": message.offer_id,
        "subject": message.subject,
        "text": message.text,
        "html": message.html,
        "code": message.code,
        "link": message.link,
        "unsubscribe_url": message.unsubscribe_url,
    }


def sign(secret: str, moment: str, body: bytes) -> str:
    """Return the signature of a body sent at ``moment`` (seconds since 1970): HMAC-SHA-256, in hex."""
    return "sha256=" + hmac.digest(secret.encode(), moment.encode() + b"." + body, "sha256").hex()


def is_signed(secret: str, moment: str, body: bytes, signature: str, now: float) -> bool:
    """Tell whether a body carries our secret's signature and is not older than five minutes."""
    if not secret or not moment.isascii() or not moment.isdigit() or len(moment) > 15:
        return False
    fresh = abs(now - int(moment)) <= TOLERANCE_SECONDS
    return hmac.compare_digest(sign(secret, moment, body).encode(), signature.encode()) and fresh


def _domain() -> str:
    return urlsplit(conf.get().public_url).hostname or "localhost"


BUILT_IN: dict[str, type] = {"email": EmailChannel, "webhook": WebhookChannel}
NEEDS = {"email": ("CONTACTS", "PUBLIC_URL"), "webhook": ("WEBHOOK_URL", "WEBHOOK_SECRET")}
"""Settings without which a built-in channel reaches nobody."""


@lru_cache(maxsize=16)
def _load(path: str) -> Channel:
    target = import_string(path)
    return cast(Channel, target() if isinstance(target, type) else target)


def channel(name: str) -> Channel:
    """Return a channel by its name; one named in CHANNELS takes the place of a built-in one. ChannelFailed: none."""
    path = conf.get().channels.get(name)
    if path:
        return _load(path)
    if name not in BUILT_IN:
        raise ChannelFailed(reason="unknown_channel")
    return cast(Channel, BUILT_IN[name]())


def lacks(name: str) -> list[str]:
    """Return the settings that have to be filled in before this channel reaches anybody."""
    configured = conf.get()
    if name in configured.channels:
        needed: tuple[str, ...] = ("CONTACTS",) if channel(name).needs_address else ()
    elif name in NEEDS:
        needed = NEEDS[name]
    else:
        return ["CHANNELS"]
    return [setting for setting in needed if not getattr(configured, setting.lower())]


def lacking(names: Iterable[str]) -> dict[str, list[str]]:
    """Return those of these channels that reach nobody yet, in order, with what each :func:`lacks`."""
    found = {name: lacks(name) for name in sorted(set(names))}
    return {name: settings for name, settings in found.items() if settings}


def in_words(lacking: Mapping[str, Sequence[str]]) -> str:
    """Return which settings are empty, channel by channel."""
    return "; ".join(f"{name}: {', '.join(settings)}" for name, settings in lacking.items())


def _forget(*, setting: str, **kwargs: object) -> None:
    if setting == "PERSONALIZATION":
        _load.cache_clear()


setting_changed.connect(_forget, dispatch_uid="personalization.channels")
