"""A storm of mixed operations on codes that share caps and budgets, and what is left of the accounts afterwards.

Each process is a checkout that never stops: it holds single codes and whole baskets, spends, releases, expires and
refunds them, and sends a part of it twice. Played by ``python -m tests.concurrency.play --storm N``.
"""

from __future__ import annotations

import multiprocessing
import random
import time
from collections import Counter
from contextlib import ExitStack
from datetime import timedelta
from typing import Any
from unittest import mock
from uuid import uuid4

from django.db import connections, transaction
from django.db.models import F, Sum
from django.utils import timezone

from personalization.campaigns import codes, coupons, quotes
from personalization.campaigns.ledger import verify_ledger
from personalization.campaigns.redemption import expire_reservations, redeem_all, refund, release_all, reserve
from personalization.exceptions import PersonalizationError
from personalization.models import Campaign, Coupon, LedgerEntry, Reservation, RiskRule, Shopper
from tests.concurrency import arena
from tests.support import build

PROCESSES = 4
BUDGET_MINOR = 12_000
PLACES = 40
DISCOUNT_MINOR = 500
BLOW = 500
"""Operations until everything is used up: then the accounts are looked at, and the storm goes on elsewhere."""


class Checkout:
    """One process's orders in the making. ``seed`` makes the operations, not their interleaving, repeatable."""

    def __init__(self, seed: int, shoppers: list[int], issued: list[str]) -> None:
        self.chance = random.Random(seed)
        self.shoppers = list(Shopper.objects.filter(pk__in=shoppers))
        self.coupons = list(Coupon.objects.filter(pk__in=issued))
        self.held: list[tuple[list[Any], Any]] = []
        self.orders: list[str] = []
        self.told: Counter[str] = Counter()
        self.faults: list[str] = []
        self.overruns: list[str] = []

    def work(self, operations: int) -> None:
        acts = [self.hold, self.basket, self.redeem, self.release, self.refund, self.part, self.expire]
        for _ in range(operations):
            act = self.chance.choices(acts, [30, 15, 25, 12, 9, 8, 1])[0]
            try:
                act()
                self.told[act.__name__] += 1
                self.look()
            except PersonalizationError:
                self.told["refused"] += 1
            except Exception as error:
                self.faults.append(f"{act.__name__}: {type(error).__name__}: {error}"[:200])

    def look(self) -> None:
        """Note any budget that is passed at this moment: a refund would hide it from who looks later."""
        taken = F("reserved_minor") + F("spent_minor")
        over = Campaign.objects.filter(budget_minor__lt=taken).annotate(taken=taken)
        self.overruns += [f"{row.taken} of a budget of {row.budget_minor}" for row in over]

    def hold(self) -> None:
        """Hold one code, and ask for the same again: the answer has to be the same."""
        shopper, coupon = self.chance.choice(self.shoppers), self.chance.choice(self.coupons)
        given: dict[str, Any] = {"shopper": shopper, "basket": build.basket(), "idempotency_key": uuid4().hex}
        held = reserve(coupon_id=str(coupon.pk), **given)
        if self.chance.random() < 0.2 and reserve(coupon_id=str(coupon.pk), **given) != held:
            self.faults.append("a repeated reserve answered something else")
        self.held.append(([held.reservation_id], shopper))

    def basket(self) -> None:
        """Hold several codes at once, in the order in which chance names them."""
        shopper, basket = self.chance.choice(self.shoppers), build.basket(4000, 2500)
        mine = [str(coupon.pk) for coupon in self.chance.sample(self.coupons, 3)]
        quote = quotes.quote(shopper=shopper, basket=basket, coupon_ids=mine, automatic=False)
        held = quotes.reserve_quote(quote.token, shopper=shopper, basket=basket, idempotency_key=uuid4().hex)
        self.held.append(([hold.reservation_id for hold in held.holds], shopper))

    def redeem(self) -> None:
        """Make an order of what is held; now and then the shop's own transaction fails at its end."""
        if not self.held:
            return
        mine, _ = self.held.pop(self.chance.randrange(len(self.held)))
        number, fails = uuid4().hex, self.chance.random() < 0.1
        try:
            with transaction.atomic():
                redeem_all(mine, order_label="storm", order_id=number)
                if fails:
                    raise _Declined
        except _Declined:
            return
        self.orders.append(number)

    def release(self) -> None:
        if self.held:
            release_all(self.held.pop()[0])

    def refund(self) -> None:
        """Take an order back, twice under the same operation."""
        if self.orders:
            number = self.orders.pop(self.chance.randrange(len(self.orders)))
            first, second = (refund(order_label="storm", order_id=number, operation_id=number) for _ in range(2))
            if first != second:
                self.faults.append(f"a repeated refund gave {second} after {first}")

    def part(self) -> None:
        """Take a part of an order back, perhaps more than is left."""
        if self.orders:
            number = self.chance.choice(self.orders)
            refund(order_label="storm", order_id=number, operation_id=uuid4().hex, amount_minor=300)

    def expire(self) -> None:
        """Let the time of some holds run out while their owners still try to spend them."""
        late = [key for mine, _ in self.held[:3] for key in mine]
        Reservation.objects.filter(pk__in=late).update(expires_at=timezone.now() - timedelta(seconds=1))
        expire_reservations()


class _Declined(Exception):
    """The shop's order failed after its coupons were spent: everything of it is rolled back."""


def prepare() -> tuple[list[Campaign], list[int], list[str]]:
    """Make two campaigns with a budget each, offers with a cap each, and public codes of them."""

    RiskRule.objects.all().delete()  # a storm is nothing but suspicious
    campaigns = [build.campaign(budget_minor=BUDGET_MINOR) for _ in range(2)]
    offers = [
        build.offer(campaign, amount_minor=DISCOUNT_MINOR, max_redemptions=PLACES, uses_per_shopper=500)
        for campaign in campaigns
        for _ in range(2)
    ]
    made = [
        coupons.issue(offer, origin=Coupon.Origin.VANITY, code=codes.generate(), max_uses=10**6)
        for offer in offers
        for _ in range(3)
    ]
    shoppers = [build.shopper().pk for _ in range(40)]
    return campaigns, shoppers, [str(coupon.pk) for coupon in made]


def run(operations: int, *, unguarded: bool = False) -> dict[str, Any]:
    """Let the storm blow, campaign after campaign, and return what it did and what is wrong afterwards."""
    if unguarded:
        arena.drop_checks()
    began = time.monotonic()
    found: dict[str, Any] = {"operations": 0, "faults": [], "overruns": [], "accounts": []}
    told: Counter[str] = Counter()
    while found["operations"] < operations:
        campaigns = _blow(found, unguarded, told)
        found["operations"] += BLOW
        found["overruns"] += [line for campaign in campaigns for line in _overruns(campaign)]
        found["accounts"] += [line for campaign in campaigns for line in verify_ledger(campaign)]
        if unguarded and (found["overruns"] or found["accounts"]):
            break
    for name in ("faults", "overruns", "accounts"):
        found[name] = found[name][:20]
    return found | {"told": dict(told), "seconds": round(time.monotonic() - began, 1)}


def _blow(found: dict[str, Any], unguarded: bool, told: Counter[str]) -> list[Campaign]:
    campaigns, shoppers, issued = prepare()
    connections.close_all()
    context = multiprocessing.get_context("fork")
    results = context.SimpleQueue()
    given = (shoppers, issued, BLOW // PROCESSES, unguarded, results)
    workers = [
        context.Process(target=_work, args=(found["operations"] + number, *given)) for number in range(PROCESSES)
    ]
    for worker in workers:
        worker.start()
    for _ in workers:
        done, faults, overruns = results.get()
        told.update(done)
        found["faults"] += faults
        found["overruns"] += overruns
    for worker in workers:
        worker.join()
    return campaigns


def _work(seed: int, shoppers: list[int], issued: list[str], share: int, unguarded: bool, results: Any) -> None:
    with ExitStack() as stack:
        if unguarded:
            stack.enter_context(mock.patch.object(arena, "PAUSE_SECONDS", 0.02))
            stack.enter_context(arena.check_then_act())
        checkout = Checkout(seed, shoppers, issued)
        checkout.work(share)
    connections.close_all()
    results.put((dict(checkout.told), checkout.faults, checkout.overruns))


def _overruns(campaign: Campaign) -> list[str]:
    """Return which limit the rows themselves have passed."""
    found = []
    sums = LedgerEntry.objects.filter(campaign=campaign).aggregate(all=Sum("reserved_delta") + Sum("spent_delta"))
    total = sums["all"] or 0
    if total > BUDGET_MINOR:
        found.append(f"{total} of a budget of {BUDGET_MINOR}")
    for offer in campaign.offers.all():
        busy = Reservation.objects.filter(offer=offer, state__in=["held", "review", "redeemed"]).count()
        if busy > PLACES:
            found.append(f"{busy} uses of {PLACES}")
    return found
