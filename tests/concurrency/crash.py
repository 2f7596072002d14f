"""Buys with a coupon in this process and dies at a chosen point, as ``kill -9`` or a power cut would have it.

``python -m tests.concurrency.crash die POINT [--unguarded]`` makes a campaign, prints its key and is gone;
``… spend CAMPAIGN`` buys and releases for ever, to be killed from outside;
``… recover CAMPAIGN [--no-sweep]`` runs the sweeper of the day after and prints what is left as JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
from collections.abc import Callable
from contextlib import ExitStack
from datetime import timedelta
from typing import Any
from unittest import mock
from uuid import uuid4

import django

POINTS = ("between", "reserve", "redeem", "release")


def die(*args: Any, **kwargs: Any) -> None:
    """End this process at once: nothing is flushed, closed or rolled back by it."""
    os.kill(os.getpid(), signal.SIGKILL)


def die_at(point: str, *, unguarded: bool) -> None:
    """Reserve, then redeem or release, and die at ``point``: between the two, or before that step's ledger entry."""
    from personalization.campaigns import counters, redemption
    from personalization.campaigns.coupons import claim
    from tests.concurrency import arena
    from tests.support import build

    offer, shopper = build.offer(max_redemptions=5), build.shopper()
    coupon_id = claim(offer.pk, shopper=shopper).coupon_id
    print(offer.campaign_id, flush=True)
    with ExitStack() as stack:
        if unguarded:
            stack.enter_context(arena.without_transactions())
            stack.enter_context(mock.patch.object(redemption, "connection", mock.Mock(in_atomic_block=True)))
        fatal = mock.patch.object(counters, "write", die)
        if point == "reserve":
            stack.enter_context(fatal)
        hold = redemption.reserve(
            shopper=shopper, basket=build.basket(), coupon_id=coupon_id, idempotency_key=uuid4().hex
        )
        if point == "between":
            die()
        stack.enter_context(fatal)
        end(hold.reservation_id, by=point)


def end(reservation_id: str, *, by: str) -> None:
    """Redeem the hold in an order's transaction, or release it."""
    from django.db import transaction

    from personalization.campaigns import redemption

    if by == "redeem":
        with transaction.atomic():
            redemption.redeem(reservation_id, order_label="crash", order_id=uuid4().hex)
    else:
        redemption.release(reservation_id)


def spend(campaign_key: int) -> None:
    """Buy and release with fresh shoppers until somebody kills this process."""
    from personalization.campaigns import redemption
    from personalization.campaigns.coupons import claim
    from personalization.exceptions import PersonalizationError
    from personalization.models import Offer
    from tests.support import build

    offer = Offer.objects.get(campaign_id=campaign_key)
    print("spending", flush=True)
    while True:
        shopper = build.shopper()
        coupon_id = claim(offer.pk, shopper=shopper).coupon_id
        try:
            hold = redemption.reserve(
                shopper=shopper, basket=build.basket(), coupon_id=coupon_id, idempotency_key=uuid4().hex
            )
            end(hold.reservation_id, by=random.choice(("redeem", "release")))
        except PersonalizationError:
            continue


def prepare() -> None:
    """Make a campaign for ``spend`` and print its key."""
    from tests.support import build

    print(build.offer(build.campaign(budget_minor=1_000_000)).campaign_id)


def recover(campaign_key: int, *, sweep: bool) -> None:
    """Expire what was left behind, and print the books."""
    from django.utils import timezone

    from personalization.campaigns.ledger import verify_ledger
    from personalization.campaigns.redemption import expire_reservations
    from personalization.models import Campaign, Redemption

    freed = expire_reservations(timezone.now() + timedelta(days=1)) if sweep else 0
    campaign = Campaign.objects.get(pk=campaign_key)
    redeemed = Redemption.objects.filter(campaign=campaign)
    books = {
        "freed": freed,
        "reserved_minor": campaign.reserved_minor,
        "spent_minor": campaign.spent_minor,
        "redeemed_minor": sum(redeemed.values_list("amount_minor", flat=True)),
        "discrepancies": verify_ledger(campaign),
    }
    print(json.dumps(books))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--unguarded", action="store_true")
    parser.add_argument("--no-sweep", action="store_true")
    parser.add_argument("verb", choices=("die", "spend", "prepare", "recover"))
    parser.add_argument("subject", nargs="?", default="")
    options = parser.parse_args()
    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"
    django.setup()
    verbs: dict[str, Callable[[], None]] = {
        "die": lambda: die_at(options.subject, unguarded=options.unguarded),
        "spend": lambda: spend(int(options.subject)),
        "prepare": prepare,
        "recover": lambda: recover(int(options.subject), sweep=not options.no_sweep),
    }
    verbs[options.verb]()


if __name__ == "__main__":
    main()
