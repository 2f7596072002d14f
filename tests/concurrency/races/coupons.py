"""Races for coupons: who gets the last one, the last of the budget, the only use of a code."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from unittest import mock
from uuid import UUID, uuid4

from django.db import transaction

from personalization.campaigns import coupons, ledger, redemption
from personalization.campaigns.coupons import claim
from personalization.campaigns.ledger import rebuild_counters, verify_ledger
from personalization.campaigns.redemption import redeem, reserve
from personalization.models import Campaign, Coupon, LedgerEntry, Offer, Redemption, Reservation, Shopper
from personalization.types import Hold
from tests.concurrency import arena
from tests.support import build
from tests.support.scale import rounds

LEFT = 3
DISCOUNT_MINOR = 500


def buy(shopper: Shopper | None, coupon_id: str) -> None:
    """Reserve and redeem as a checkout does: hold first, then spend inside the order's transaction."""
    hold = reserve(shopper=shopper, basket=build.basket(), coupon_id=coupon_id, idempotency_key=uuid4().hex)
    with transaction.atomic():
        redeem(hold.reservation_id, order_label="race", order_id=uuid4().hex)


class _SpendingRace(arena.Race):
    """Several shoppers spend a coupon each; a shared limit lets ``LEFT`` of them through."""

    left = LEFT
    campaign: Campaign
    coupons: list[tuple[Shopper | None, str]]

    def contenders(self) -> Sequence[Callable[[], object]]:
        return [partial(buy, shopper, coupon_id) for shopper, coupon_id in self.coupons]

    def spent(self) -> int:
        return Redemption.objects.filter(campaign=self.campaign).count()

    def overruns(self) -> list[str]:
        spent = self.spent()
        return [f"{spent} redemptions, {self.left} allowed"] if spent > self.left else []

    def faults(self) -> list[str]:
        spent = self.spent()
        too_few = [f"{spent} redemptions, {self.left} were there to be had"] if spent < self.left else []
        return too_few + verify_ledger(self.campaign)

    @contextmanager
    def unguarded(self) -> Iterator[None]:
        arena.drop_checks()
        with (
            arena.check_then_act(),
            mock.patch.object(redemption, "connection", mock.Mock(in_atomic_block=True)),
        ):
            yield


class LastCoupon(_SpendingRace):
    """An offer may be redeemed ``LEFT`` more times."""

    def prepare(self) -> None:
        offer = build.offer(max_redemptions=LEFT)
        self.campaign = offer.campaign
        shoppers = [build.shopper() for _ in range(self.threads)]
        self.coupons = [(shopper, claim(offer.pk, shopper=shopper).coupon_id) for shopper in shoppers]


class LastCouponOfAll(_SpendingRace):
    """A crowd at the very last redemption of an offer, each with a coupon of their own: exactly one has it."""

    threads = rounds(24, 200)
    left = 1

    def prepare(self) -> None:
        if not hasattr(self, "crowd"):
            self.crowd = [build.shopper() for _ in range(self.threads)]
        offer = build.offer(max_redemptions=self.left)
        self.campaign = offer.campaign
        issued = Coupon.objects.bulk_create(
            Coupon(offer=offer, shopper=shopper, claim_no=1, code_digest=uuid4().hex, code_ciphertext="-")
            for shopper in self.crowd
        )
        Offer.objects.filter(pk=offer.pk).update(issued_count=len(issued))
        self.coupons = [(coupon.shopper, str(coupon.pk)) for coupon in issued]


class LastCouponOfEight(LastCouponOfAll):
    """The same with as many as SQLite's one writer can serve."""

    threads = 8


class LastOfTheBudget(_SpendingRace):
    """Two offers share one campaign's budget, which pays for ``LEFT`` discounts and almost a fourth."""

    def prepare(self) -> None:
        self.campaign = build.campaign(budget_minor=(LEFT + 1) * DISCOUNT_MINOR - 1)
        offers = [build.offer(self.campaign), build.offer(self.campaign)]
        shoppers = [build.shopper() for _ in range(self.threads)]
        self.coupons = [
            (shopper, claim(offers[number % 2].pk, shopper=shopper).coupon_id)
            for number, shopper in enumerate(shoppers)
        ]

    def overruns(self) -> list[str]:
        entries = LedgerEntry.objects.filter(campaign=self.campaign)
        spent = sum(entry.reserved_delta + entry.spent_delta for entry in entries)
        budget = self.campaign.budget_minor or 0
        return [f"{spent} spent of a budget of {budget}"] if spent > budget else []


class OneCodeForAll(_SpendingRace):
    """A public code that may be used ``LEFT`` times, whoever comes."""

    def prepare(self) -> None:
        offer = build.offer()
        self.campaign = offer.campaign
        coupon = claim(offer.pk, shopper=build.shopper())
        Coupon.objects.filter(pk=coupon.coupon_id).update(shopper=None, max_uses=LEFT)
        self.coupons = [(build.shopper(), coupon.coupon_id) for _ in range(self.threads)]


class SingleUse(_SpendingRace):
    """One shopper spends one coupon in many tabs at once."""

    def prepare(self) -> None:
        offer = build.offer()
        self.campaign = offer.campaign
        shopper = build.shopper()
        self.coupons = [(shopper, claim(offer.pk, shopper=shopper).coupon_id)] * self.threads

    def overruns(self) -> list[str]:
        spent = self.spent()
        return [f"a single-use coupon was redeemed {spent} times"] if spent > 1 else []

    def faults(self) -> list[str]:
        return ([] if self.spent() == 1 else ["nobody got it"]) + verify_ledger(self.campaign)


class SameKey(arena.Race):
    """One checkout is sent many times under one idempotency key."""

    threads = rounds(8, 100)

    def prepare(self) -> None:
        self.offer = build.offer()
        self.shopper = build.shopper()
        self.coupon_id = claim(self.offer.pk, shopper=self.shopper).coupon_id
        Coupon.objects.filter(pk=self.coupon_id).update(max_uses=self.threads)
        self.key = uuid4().hex
        self.holds: list[Hold] = []

    def contenders(self) -> Sequence[Callable[[], object]]:
        return [self._reserve] * self.threads

    def _reserve(self) -> None:
        hold = reserve(shopper=self.shopper, basket=build.basket(), coupon_id=self.coupon_id, idempotency_key=self.key)
        self.holds.append(hold)

    def overruns(self) -> list[str]:
        made = Reservation.objects.filter(idempotency_key=self.key).count()
        return [f"{made} reservations under one key"] if made > 1 else []

    def faults(self) -> list[str]:
        answers = {hold.reservation_id for hold in self.holds}
        same = len(self.holds) == self.threads and len(answers) == 1
        told = [] if same else [f"{len(self.holds)} answers name {len(answers)} reservations"]
        return told + verify_ledger(self.offer.campaign)

    @contextmanager
    def unguarded(self) -> Iterator[None]:
        arena.drop_unique(Reservation, "idempotency_key")
        look = arena.pausing(redemption._already_held)
        with arena.check_then_act(), mock.patch.object(redemption, "_already_held", look):
            yield


class _ClaimingRace(arena.Race):
    offer: Offer
    limit: int

    def overruns(self) -> list[str]:
        issued = Coupon.objects.filter(offer=self.offer).count()
        return [f"{issued} coupons issued, {self.limit} allowed"] if issued > self.limit else []

    def faults(self) -> list[str]:
        issued = Coupon.objects.filter(offer=self.offer).count()
        too_few = [f"{issued} coupons issued of {self.limit}"] if issued < self.limit else []
        return too_few + verify_ledger(self.offer.campaign)

    @contextmanager
    def unguarded(self) -> Iterator[None]:
        arena.drop_checks()
        arena.drop_unique(Coupon, "pz_coupon_claim_once")
        look = arena.pausing(coupons._repeated)
        with arena.check_then_act(), mock.patch.object(coupons, "_repeated", look):
            yield


class ClaimedInManyTabs(_ClaimingRace):
    """One shopper claims one offer in many tabs: one coupon, and every tab shows it."""

    limit = 1

    def prepare(self) -> None:
        self.offer, self.shopper = build.offer(), build.shopper()
        self.answers: list[str] = []

    def contenders(self) -> Sequence[Callable[[], object]]:
        return [self._claim] * self.threads

    def _claim(self) -> None:
        self.answers.append(claim(self.offer.pk, shopper=self.shopper).coupon_id)

    def faults(self) -> list[str]:
        same = len(self.answers) == self.threads and len(set(self.answers)) == 1
        return super().faults() + ([] if same else [f"the tabs show {self.answers}"])


class TwoEach(_ClaimingRace):
    """A shopper may have two coupons of an offer, and asks for more under different keys."""

    limit = 2

    def prepare(self) -> None:
        self.offer, self.shopper = build.offer(per_shopper=2), build.shopper()

    def contenders(self) -> Sequence[Callable[[], object]]:
        return [partial(self._claim, str(number)) for number in range(self.threads)]

    def _claim(self, key: str) -> None:
        claim(self.offer.pk, shopper=self.shopper, idempotency_key=key)

    def faults(self) -> list[str]:
        return verify_ledger(self.offer.campaign)  # rivals of one moment may share the first coupon


class LastIssued(_ClaimingRace):
    """Many shoppers claim; ``LEFT`` coupons may be issued."""

    limit = LEFT

    def prepare(self) -> None:
        self.offer = build.offer(max_issued=LEFT)
        self.shoppers = [build.shopper() for _ in range(self.threads)]

    def contenders(self) -> Sequence[Callable[[], object]]:
        return [partial(claim, self.offer.pk, shopper=shopper) for shopper in self.shoppers]


class RebuiltWhileSpending(LastOfTheBudget):
    """The counters are rebuilt from the ledger while shoppers spend."""

    def contenders(self) -> Sequence[Callable[[], object]]:
        rebuild = partial(rebuild_counters, self.campaign)
        return [rebuild, *list(super().contenders())[1:-1], rebuild]

    @contextmanager
    def unguarded(self) -> Iterator[None]:
        def no_lock(campaign: Campaign) -> list[UUID]:
            return list(Coupon.objects.filter(offer__campaign=campaign).values_list("pk", flat=True))

        with (
            super().unguarded(),
            mock.patch.object(ledger, "_lock", no_lock),
            mock.patch.object(ledger, "_truth", arena.pausing(ledger._truth)),
        ):
            yield
