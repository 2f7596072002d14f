"""A host's contacts, a channel of its own and a campaign with a message in the outbox, for the tests about messages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any

from django.utils import timezone

from personalization.campaigns import triggers
from personalization.campaigns.channels import Rendered
from personalization.exceptions import ChannelFailed
from personalization.models import Offer, OutboxMessage, Shopper, Trigger
from tests.personalization.builders import make_account, make_offer, make_shopper

DAY = timedelta(days=1)
PATHS = {
    "CONTACTS": "tests.personalization.reach.AddressBook",
    "CHANNELS": {"pigeon": "tests.personalization.reach.loft"},
    "PUBLIC_URL": "https://shop.example",
    "HOLDOUT_PERCENT": 0.0,
    "QUIET_HOURS": [0, 0],
}


class AddressBook:
    """Every account has an address that its key tells; whoever is in ``GONE`` has none."""

    def addresses(self, channel: str, user_ids: Sequence[Any]) -> Mapping[Any, str]:
        return {key: f"user{key}@shop.example" for key in user_ids if key not in GONE}


class Loft:
    """A channel that remembers what it was given, or fails as often as it is told."""

    needs_address = True

    def __init__(self) -> None:
        self.sent: list[Rendered] = []
        self.failures: list[Exception] = []

    def send(self, message: Rendered) -> None:
        if self.failures:
            raise self.failures.pop(0)
        self.sent.append(message)


GONE: set[Any] = set()
loft = Loft()


def empty() -> None:
    GONE.clear()
    loft.sent.clear()
    loft.failures.clear()


def failure(reason: str = "busy") -> ChannelFailed:
    return ChannelFailed(reason=reason)


def reachable(**fields: Any) -> Shopper:
    """Return a shopper with an account who joined yesterday and agreed to everything."""
    return make_shopper(**{"user": make_account(), "joined_at": timezone.now() - DAY, **fields})


def queue(*shoppers: Shopper, channel: str = "pigeon", offer: Offer | None = None, kind: str = "welcome") -> Offer:
    """Write a message to each shopper by evaluating a trigger; returns the offer that it is about."""
    offer = offer or make_offer(headline="A tenth off", cta_url="/sale/", cta_label="Look")
    params = {"win_back": {"days": 30}}.get(kind, {})
    trigger = Trigger.objects.create(campaign=offer.campaign, kind=kind, params=params, channels=[channel])
    new = triggers.evaluate(trigger)
    assert new >= len(shoppers)
    return offer


def only() -> OutboxMessage:
    return OutboxMessage.objects.get()
