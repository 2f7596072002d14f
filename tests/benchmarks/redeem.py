"""Reserve-and-redeem pairs per second, beside the implementation that locks the campaign first.

Value: ``reserve`` and then ``redeem`` in a transaction, eight processes with a connection each, every pair on a
coupon of its own, all in one campaign with a budget. Peer: :func:`locked_reserve` and :func:`locked_redeem` below:
SELECT … FOR UPDATE on the campaign, read, check, write. In the notes also everybody at one offer that runs out.
Afterwards both contenders' ledgers are summed up and compared with every counter.
"""

from __future__ import annotations

import itertools
import multiprocessing
import sys
import time
import uuid
from collections.abc import Callable, Sequence
from datetime import timedelta
from multiprocessing.context import ForkProcess
from multiprocessing.synchronize import Barrier
from typing import Any

from django.db import connections, transaction
from django.utils import timezone

from personalization import conf
from personalization.campaigns import redemption
from personalization.campaigns.ledger import verify_ledger
from personalization.exceptions import CouponRefused, PersonalizationError
from personalization.models import Campaign, Coupon, LedgerEntry, Offer, Redemption, Reservation, Shopper
from personalization.pure.benefits import discount_for
from personalization.types import Basket, BasketLine
from tests.benchmarks import report, stage
from tests.support import build

PROCESSES = 8
OFFERS = 20
BASKET = Basket(lines=(BasketLine("sku-1", 2, 2450), BasketLine("sku-2", 1, 1990)), currency="EUR")
LABEL = "benchmark"
PEER = "SELECT … FOR UPDATE on the campaign, then read, check and write"
State = Reservation.State
Pair = Callable[[Shopper, str, str], None]
Finished = tuple[int, int, list[float], float, float]
"""Pairs, refusals, seconds of each pair, and when a process began and ended."""


def our_pair(shopper: Shopper, coupon_id: str, key: str) -> None:
    """Hold a coupon and spend it, as a shop's checkout does."""
    held = redemption.reserve(shopper=shopper, basket=BASKET, coupon_id=coupon_id, idempotency_key=key)
    with transaction.atomic():
        redemption.redeem(held.reservation_id, order_label=LABEL, order_id=key)


def locked_pair(shopper: Shopper, coupon_id: str, key: str) -> None:
    """The peer's pair: the same rows, the same ledger, but no event for the shopper's history."""
    reservation = locked_reserve(shopper, coupon_id, key)
    locked_redeem(reservation, key)


def locked_reserve(shopper: Shopper, coupon_id: str, key: str) -> uuid.UUID:
    """The peer: lock the campaign, so that nobody else reads or writes its counters; then simply do it."""
    with transaction.atomic():
        campaign = Campaign.objects.select_for_update().get(offers__coupons__pk=coupon_id)
        done = Reservation.objects.filter(idempotency_key=key).first()
        if done is not None:
            return done.pk
        coupon = Coupon.objects.select_related("offer__campaign").get(pk=coupon_id)
        offer = coupon.offer
        discount = discount_for(offer.terms(), BASKET)
        amount = discount.amount_minor
        if coupon.shopper_id != shopper.pk or coupon.used_count + coupon.reserved_count >= coupon.max_uses:
            raise CouponRefused(reason="used")
        if offer.max_redemptions is not None and offer.reserved_count + offer.redeemed_count >= offer.max_redemptions:
            raise CouponRefused(reason="sold_out")
        left = None if campaign.budget_minor is None else campaign.budget_minor - campaign.reserved_minor
        if left is not None and left - campaign.spent_minor < amount:
            raise CouponRefused(reason="budget")
        coupon.reserved_count += 1
        offer.reserved_count += 1
        campaign.reserved_minor += amount
        _save(coupon, offer, campaign)
        reservation = Reservation.objects.create(
            coupon=coupon,
            offer=offer,
            campaign=campaign,
            shopper=shopper,
            idempotency_key=key,
            amount_minor=amount,
            per_line_minor=list(discount.per_line_minor),
            expires_at=timezone.now() + timedelta(minutes=conf.get().reservation_minutes),
        )
        _enter(reservation, LedgerEntry.Kind.RESERVE, amount, 0)
        return reservation.pk


def locked_redeem(reservation_id: uuid.UUID, order_id: str) -> None:
    """The peer's second half, under the same lock."""
    with transaction.atomic():
        reservation = Reservation.objects.get(pk=reservation_id)
        campaign = Campaign.objects.select_for_update().get(pk=reservation.campaign_id)
        reservation = Reservation.objects.select_related("coupon", "offer").get(pk=reservation_id)
        if reservation.state != State.HELD:
            raise CouponRefused(reason="state")
        coupon, offer, amount = reservation.coupon, reservation.offer, reservation.amount_minor
        reservation.state = State.REDEEMED
        reservation.save(update_fields=["state"])
        coupon.reserved_count -= 1
        coupon.used_count += 1
        offer.reserved_count -= 1
        offer.redeemed_count += 1
        campaign.reserved_minor -= amount
        campaign.spent_minor += amount
        _save(coupon, offer, campaign)
        Redemption.objects.create(
            reservation=reservation,
            coupon=coupon,
            offer=offer,
            campaign=campaign,
            shopper_id=reservation.shopper_id,
            order_label=LABEL,
            order_id=order_id,
            amount_minor=amount,
        )
        _enter(reservation, LedgerEntry.Kind.REDEEM, -amount, amount)


def _save(coupon: Coupon, offer: Offer, campaign: Campaign) -> None:
    coupon.save(update_fields=["reserved_count", "used_count"])
    offer.save(update_fields=["reserved_count", "redeemed_count"])
    campaign.save(update_fields=["reserved_minor", "spent_minor"])


def _enter(reservation: Reservation, kind: LedgerEntry.Kind, reserved: int, spent: int) -> None:
    LedgerEntry.objects.create(
        operation_id=f"{kind}:{reservation.pk}",
        kind=kind,
        campaign_id=reservation.campaign_id,
        reservation=reservation,
        reserved_delta=reserved,
        spent_delta=spent,
    )


def measure(quick: bool) -> report.Measurement:
    """Take turns on campaigns of their own; then let all contend for one offer's last coupons."""
    rounds, seconds, most = (2, 0.6, 600) if quick else (5, 4.0, 4000)
    shopper = build.shopper()
    ours: list[Round] = []
    peers: list[Round] = []
    Bout(shopper, our_pair, OFFERS, 80).fight(0.3)  # warms the caches of both; not counted
    for _ in range(rounds):
        ours.append(Bout(shopper, our_pair, OFFERS, most).fight(seconds))
        peers.append(Bout(shopper, locked_pair, OFFERS, most).fight(seconds))
    places = 40 if quick else 500
    hot = [Bout(shopper, pair, 1, 2 * places, places).fight(60.0) for pair in (our_pair, locked_pair)]
    rate = report.paired([each.rate for each in ours], [each.rate for each in peers])
    faults = [fault for each in (*ours, *peers, *hot) for fault in each.faults]
    notes = rate.as_json() | {
        "setup": f"{PROCESSES} processes, a connection each; one campaign with a budget, {OFFERS} offers",
        "commit_ms": stage.commit_ms(),
        "rounds": rounds,
        "pairs": [sum(each.pairs for each in side) for side in (ours, peers)],
        "ours": _latencies(ours),
        "peer": _latencies(peers),
        "one_offer_until_it_is_sold_out": {
            "places": places,
            "pairs_per_s": round(hot[0].rate, 1),
            "peer_pairs_per_s": round(hot[1].rate, 1),
            "ratio": round(hot[0].rate / hot[1].rate, 3),
            "redeemed": [each.pairs for each in hot],
            "refused": [each.refused for each in hot],
        },
        "ledger_faults": faults,
    }
    return report.Measurement(
        "redeem", round(rate.value, 1), "reserve+redeem pairs/s", PEER, round(rate.peer_value, 1),
        round(rate.ratio, 3), connections=PROCESSES, notes=notes,
    )  # fmt: skip


class Round:
    """What a bout came to."""

    def __init__(self, finished: Sequence[Finished], faults: list[str]) -> None:
        self.pairs = sum(each[0] for each in finished)
        self.refused = sum(each[1] for each in finished)
        self.latencies = [latency for each in finished for latency in each[2]]
        self.seconds = max(each[4] for each in finished) - min(each[3] for each in finished)
        self.faults = faults

    @property
    def rate(self) -> float:
        return self.pairs / self.seconds


def _latencies(rounds: Sequence[Round]) -> dict[str, float | None]:
    every = [latency for each in rounds for latency in each.latencies]
    return {"p50_ms": report.quantile_ms(every, 0.5), "p99_ms": report.quantile_ms(every, 0.99)}


class Bout:
    """A fresh campaign with coupons for everybody, and processes that redeem them all at once."""

    def __init__(self, shopper: Shopper, pair: Pair, offers: int, coupons: int, places: int | None = None) -> None:
        self.shopper, self.pair = shopper, pair
        self.campaign = build.campaign(budget_minor=10**9)
        made = [build.offer(self.campaign, name=f"Offer {n}", max_redemptions=places) for n in range(offers)]
        numbers = itertools.count(1)
        issued = Coupon.objects.bulk_create(
            [
                Coupon(
                    offer=made[number % offers],
                    shopper=shopper,
                    claim_no=number // offers + 1,
                    code_digest=f"{self.campaign.pk}-{next(numbers)}",
                    code_ciphertext="-",
                )
                for number in range(coupons)
            ]
        )
        for offer in made:
            Offer.objects.filter(pk=offer.pk).update(issued_count=sum(c.offer_id == offer.pk for c in issued))
        self.coupons = [str(coupon.pk) for coupon in issued]

    def fight(self, seconds: float) -> Round:
        """Let every process spend its own coupons until the time is up, or nothing is left."""
        connections.close_all()  # a forked process must not share its parent's
        context = multiprocessing.get_context("fork")
        results, start = context.SimpleQueue(), context.Barrier(PROCESSES)
        shares = [self.coupons[number::PROCESSES] for number in range(PROCESSES)]
        processes: list[ForkProcess] = [
            context.Process(target=self._spend, args=(share, seconds, start, results)) for share in shares
        ]
        for process in processes:
            process.start()
        finished: list[Any] = [results.get() for _ in processes]
        for process in processes:
            process.join()
        broken = [each for each in finished if isinstance(each, str)]
        if broken:
            raise RuntimeError(broken[0])
        return Round(finished, verify_ledger(self.campaign))

    def _spend(self, coupons: list[str], seconds: float, start: Barrier, results: Any) -> None:
        try:
            results.put(self._timed(coupons, seconds, start))
        except Exception as error:
            start.abort()
            results.put(f"{type(error).__name__}: {error}")
        finally:
            connections.close_all()

    def _timed(self, coupons: list[str], seconds: float, start: Barrier) -> Finished:
        refused, taken = 0, []
        Shopper.objects.get(pk=self.shopper.pk)  # connects
        start.wait(timeout=60)
        began = time.monotonic()
        for coupon in coupons:
            since = time.monotonic()
            if since - began > seconds:
                break
            try:
                self.pair(self.shopper, coupon, f"{LABEL}:{coupon}")
            except PersonalizationError:
                refused += 1
            else:
                taken.append(time.monotonic() - since)
        return len(taken), refused, taken, began, time.monotonic()


if __name__ == "__main__":
    sys.exit(stage.main("redeem", measure, server=True))
