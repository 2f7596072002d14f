"""Races for what becomes of a reservation: spent, released or expired, and refunded once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from datetime import timedelta
from functools import partial
from unittest import mock
from uuid import uuid4

from django.db import connection, transaction
from django.db.models import Sum
from django.utils import timezone

from personalization.campaigns import giftcards, grants, redemption
from personalization.campaigns.coupons import claim
from personalization.campaigns.ledger import verify_ledger
from personalization.campaigns.redemption import expire_reservations, redeem, refund, release, reserve
from personalization.models import Campaign, LedgerEntry, Redemption, Reservation
from tests.concurrency import arena
from tests.support import build

LABEL = "race"


def _redeem(reservation_id: str, order_id: str) -> None:
    with transaction.atomic():
        redeem(reservation_id, order_label=LABEL, order_id=order_id)


class _HoldRace(arena.Race):
    """A reservation is held when the round begins."""

    campaign: Campaign
    reservation_id: str

    def prepare(self) -> None:
        offer, shopper = build.offer(), build.shopper()
        self.campaign = offer.campaign
        coupon_id = claim(offer.pk, shopper=shopper).coupon_id
        self.reservation_id = reserve(
            shopper=shopper, basket=build.basket(), coupon_id=coupon_id, idempotency_key=uuid4().hex
        ).reservation_id

    def endings(self) -> list[str]:
        """Return what the ledger says became of the hold."""
        entries = LedgerEntry.objects.filter(reservation_id=self.reservation_id)
        return list(entries.exclude(kind=LedgerEntry.Kind.RESERVE).values_list("kind", flat=True))

    def faults(self) -> list[str]:
        return verify_ledger(self.campaign)

    @contextmanager
    def unguarded(self) -> Iterator[None]:
        # The counters' CHECKs and the operations' unique keys would stop the second ending as well.
        arena.drop_checks()
        arena.drop_unique(Redemption, "pz_redemption_order_once", "reservation")
        arena.drop_unique(LedgerEntry, "operation_id")
        in_an_order = mock.patch.object(redemption, "connection", mock.Mock(in_atomic_block=True))
        with arena.check_then_act(), in_an_order:
            yield


class SpentOrExpired(_HoldRace):
    """An overdue reservation is redeemed, expired and released at the same moment: one of them happens."""

    def prepare(self) -> None:
        super().prepare()
        overdue = timezone.now() - timedelta(minutes=1)
        Reservation.objects.filter(pk=self.reservation_id).update(expires_at=overdue)

    def contenders(self) -> Sequence[Callable[[], object]]:
        order_id = uuid4().hex
        return [
            *[partial(_redeem, self.reservation_id, order_id)] * 3,
            *[expire_reservations] * 3,
            *[partial(release, self.reservation_id)] * 2,
        ]

    def overruns(self) -> list[str]:
        endings = self.endings()
        return [f"one hold ended {len(endings)} times: {endings}"] if len(endings) > 1 else []

    def faults(self) -> list[str]:
        return super().faults() + ([] if self.endings() else ["the hold did not end"])


class TwoOrders(_HoldRace):
    """Many orders claim the same reservation: one has it."""

    def contenders(self) -> Sequence[Callable[[], object]]:
        return [partial(_redeem, self.reservation_id, uuid4().hex) for _ in range(self.threads)]

    def overruns(self) -> list[str]:
        endings = self.endings()
        return [f"{len(endings)} orders redeemed one hold"] if len(endings) > 1 else []


class RefundedTwice(_HoldRace):
    """One redemption is refunded whole by many operations, some of them repeated."""

    def prepare(self) -> None:
        super().prepare()
        self.order_id = uuid4().hex
        _redeem(self.reservation_id, self.order_id)

    def contenders(self) -> Sequence[Callable[[], object]]:
        operations = [f"operation {number % (self.threads // 2)}" for number in range(self.threads)]
        return [partial(self._refund, operation) for operation in operations]

    def _refund(self, operation: str) -> None:
        # Operation ids are the host's, unique over all its orders.
        refund(order_label=LABEL, order_id=self.order_id, operation_id=f"{self.order_id} {operation}")

    def _refunded(self) -> tuple[int, int]:
        redeemed = Redemption.objects.get(order_id=self.order_id)
        entries = LedgerEntry.objects.filter(reservation_id=self.reservation_id, kind=LedgerEntry.Kind.REFUND)
        return -(entries.aggregate(sum=Sum("spent_delta"))["sum"] or 0), redeemed.amount_minor

    def overruns(self) -> list[str]:
        refunded, amount = self._refunded()
        return [f"{refunded} refunded of {amount}"] if refunded > amount else []

    def faults(self) -> list[str]:
        refunded, amount = self._refunded()
        return super().faults() + ([f"{refunded} refunded of {amount}"] if refunded < amount else [])

    @contextmanager
    def unguarded(self) -> Iterator[None]:
        with super().unguarded(), arena.without_row_locks():
            yield


class RefundedWhileRedeemed(RefundedTwice):
    """An order's refund arrives while the order itself is still being made: it takes all of it back, or nothing."""

    def prepare(self) -> None:
        _HoldRace.prepare(self)
        self.order_id = uuid4().hex

    def contenders(self) -> Sequence[Callable[[], object]]:
        redeemed = partial(_redeem, self.reservation_id, self.order_id)
        return [redeemed, *super().contenders()[2:], redeemed]

    def overruns(self) -> list[str]:
        made = Redemption.objects.filter(order_id=self.order_id).count()
        return [f"{made} redemptions of one order"] if made > 1 else super().overruns()

    def faults(self) -> list[str]:
        if Redemption.objects.filter(order_id=self.order_id).count() != 1:
            return ["the order was not redeemed once"]
        refunded, amount = self._refunded()
        torn = [] if refunded in {0, amount} else [f"{refunded} refunded of {amount}"]
        return torn + verify_ledger(self.campaign)


class PartlyRefundedAtOnce(RefundedTwice):
    """Many operations refund 60 % each: one fits."""

    def _refund(self, operation: str) -> None:
        refund(
            order_label=LABEL,
            order_id=self.order_id,
            operation_id=f"{self.order_id} {operation}",
            amount_minor=300,
        )

    def faults(self) -> list[str]:
        return verify_ledger(self.campaign)


class GrantedWhileRefunded(arena.Race):
    """Cash-back comes due while the order comes back: the shopper has it or the budget, whichever was first."""

    def prepare(self) -> None:
        offer, self.shopper = build.offer(kind="cash_back", percent=10), build.shopper()
        self.campaign, self.order_id = offer.campaign, uuid4().hex
        coupon_id = claim(offer.pk, shopper=self.shopper).coupon_id
        held = reserve(shopper=self.shopper, basket=build.basket(), coupon_id=coupon_id, idempotency_key=uuid4().hex)
        _redeem(held.reservation_id, self.order_id)

    def contenders(self) -> Sequence[Callable[[], object]]:
        later = timezone.now() + timedelta(days=90)
        whole = partial(refund, order_label=LABEL, order_id=self.order_id, operation_id=self.order_id)
        return [*[partial(grants.grant_due, later)] * 3, *[whole] * 3]

    def overruns(self) -> list[str]:
        had = sum(card.available_minor for card in giftcards.cards_of(self.shopper))
        spent = Campaign.objects.get(pk=self.campaign.pk).spent_minor
        return [f"{had} given, {spent} paid"] if had > spent else []

    def faults(self) -> list[str]:
        return verify_ledger(self.campaign)

    @contextmanager
    def unguarded(self) -> Iterator[None]:
        looked = mock.patch.object(grants, "granted_minor", arena.pausing(grants.granted_minor))
        in_an_order = mock.patch.object(redemption, "connection", mock.Mock(in_atomic_block=True))
        alone = arena.without_transactions() if connection.vendor == "sqlite" else nullcontext()
        with arena.without_row_locks(), looked, in_an_order, alone:
            yield
