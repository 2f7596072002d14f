"""Races of the campaign engine: a card's balance, a public code's slots, the gate over what is out, whole baskets."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from unittest import mock
from uuid import UUID, uuid4

from django.db import OperationalError, transaction
from django.utils import timezone

from personalization.campaigns import codes, counters, coupons, giftcards, quotes, redemption
from personalization.campaigns.ledger import verify_ledger
from personalization.models import Campaign, Coupon, GiftCardHold, Reservation, Shopper, UsageSlot
from personalization.pure.benefits import discount_for
from tests.concurrency import arena
from tests.support import build

LEFT = 3


class CardForMany(arena.Race):
    """A card with the money for ``LEFT`` orders, used by many at once."""

    def prepare(self) -> None:
        self.card = giftcards.issue(LEFT * 1000 + 999, "EUR", operation_id=uuid4().hex)
        self.code = codes.reveal(self.card.code_ciphertext)

    def contenders(self) -> Sequence[Callable[[], object]]:
        return [self._pay] * self.threads

    def _pay(self) -> None:
        held = giftcards.hold(amount_minor=1000, idempotency_key=uuid4().hex, code=self.code)
        with transaction.atomic():
            giftcards.spend(held.pk, order_label="race", order_id=uuid4().hex)

    def spent(self) -> int:
        return GiftCardHold.objects.filter(card=self.card, state=GiftCardHold.State.SPENT).count()

    def overruns(self) -> list[str]:
        return [f"{self.spent()} orders paid, money for {LEFT}"] if self.spent() > LEFT else []

    def faults(self) -> list[str]:
        return ([f"{self.spent()} orders paid of {LEFT}"] if self.spent() < LEFT else []) + giftcards.verify(self.card)

    @contextmanager
    def unguarded(self) -> Iterator[None]:
        arena.drop_checks()
        with (
            arena.check_then_act(),
            mock.patch.object(giftcards, "connection", mock.Mock(in_atomic_block=True)),
        ):
            yield


class PublicCodeInManyTabs(arena.Race):
    """One shopper uses an offer that each may use once, in many tabs at once, every tab with another public code."""

    def prepare(self) -> None:
        self.offer, self.shopper = build.offer(), build.shopper()
        self.codes = [codes.generate() for _ in range(self.threads)]
        for code in self.codes:
            coupons.issue(self.offer, origin=Coupon.Origin.VANITY, code=code, max_uses=1000)

    def contenders(self) -> Sequence[Callable[[], object]]:
        return [partial(self._reserve, code) for code in self.codes]

    def _reserve(self, code: str) -> None:
        redemption.reserve(shopper=self.shopper, basket=build.basket(), code=code, idempotency_key=uuid4().hex)

    def overruns(self) -> list[str]:
        held = Reservation.objects.filter(offer=self.offer, shopper=self.shopper).count()
        return [f"one shopper holds it {held} times"] if held > 1 else []

    def faults(self) -> list[str]:
        held = Reservation.objects.filter(offer=self.offer).count()
        return ([] if held else ["nobody got it"]) + verify_ledger(self.offer.campaign)

    @contextmanager
    def unguarded(self) -> Iterator[None]:
        arena.drop_unique(UsageSlot, "pz_slot_once")
        with arena.check_then_act():
            yield


class GateOverWhatIsOut(arena.Race):
    """A budget that covers ``LEFT`` coupons at their worst; more offers than that are claimed at once."""

    def prepare(self) -> None:
        self.campaign = build.campaign(budget_minor=LEFT * 500 + 499, gate_liability=True)
        self.offers = [build.offer(self.campaign) for _ in range(self.threads)]
        self.shopper = build.shopper()

    def contenders(self) -> Sequence[Callable[[], object]]:
        return [partial(coupons.claim, offer.pk, shopper=self.shopper) for offer in self.offers]

    def overruns(self) -> list[str]:
        issued = Coupon.objects.filter(offer__campaign=self.campaign).count()
        return [f"{issued} coupons out, the budget covers {LEFT}"] if issued > LEFT else []

    def faults(self) -> list[str]:
        issued = Coupon.objects.filter(offer__campaign=self.campaign).count()
        return ([f"{issued} coupons out of {LEFT}"] if issued < LEFT else []) + verify_ledger(self.campaign)

    @contextmanager
    def unguarded(self) -> Iterator[None]:
        arena.drop_checks()
        with arena.check_then_act():
            yield


class MadeOnTheWay(arena.Race):
    """Baskets with a code that many use and an offer that applies by itself: half of the shoppers have its coupon
    already and lock the code first, for the others it is made on the way, which locks the offer."""

    threads = 6

    def prepare(self) -> None:
        self.deadlocks: list[str] = []
        Campaign.objects.update(status=Campaign.Status.ENDED)  # earlier rounds' offers would apply here too
        self.offers = [build.offer(application="automatic", per_shopper=9), build.offer()]
        code = codes.generate()
        shared = coupons.issue(self.offers[1], origin=Coupon.Origin.VANITY, code=code, max_uses=99)
        self.turns: list[tuple[Shopper, str]] = []
        for number in range(self.threads):
            shopper = build.shopper()
            if number % 2:
                coupons.issue(self.offers[0], origin=Coupon.Origin.AUTOMATIC, shopper=shopper)
            told = quotes.quote(shopper=shopper, basket=build.basket(), coupon_ids=[str(shared.pk)])
            self.turns.append((shopper, told.token))

    def contenders(self) -> Sequence[Callable[[], object]]:
        return [partial(self._take, shopper, token) for shopper, token in self.turns]

    def _take(self, shopper: Shopper, token: str) -> None:
        try:
            self._reserve(shopper, token)
        except OperationalError as error:
            if "deadlock" not in str(error):
                raise
            self.deadlocks.append(str(error)[:80])

    def _reserve(self, shopper: Shopper, token: str) -> None:
        quotes.reserve_quote(token, shopper=shopper, basket=build.basket(), idempotency_key=uuid4().hex)

    def overruns(self) -> list[str]:
        return self.deadlocks

    def faults(self) -> list[str]:
        held = Reservation.objects.filter(offer__in=self.offers).count()
        too_few = [] if held == 2 * self.threads else [f"{held} reservations of {2 * self.threads}"]
        return too_few + [line for offer in self.offers for line in verify_ledger(offer.campaign)]

    @contextmanager
    def unguarded(self) -> Iterator[None]:
        """Make the coupon in the transaction that reserves."""
        plain = self._reserve

        def in_one(shopper: Shopper, token: str) -> None:
            with transaction.atomic():
                plain(shopper, token)

        with mock.patch.object(self, "_reserve", in_one):
            yield


class BasketsOfSeveral(arena.Race):
    """Baskets of three coupons each, named in any order, over two campaigns: none may wait for another in a ring."""

    threads = 6

    def prepare(self) -> None:
        self.deadlocks: list[str] = []
        self.campaigns = [build.campaign(budget_minor=10**6), build.campaign(budget_minor=10**6)]
        offers = [build.offer(self.campaigns[number % 2]) for number in range(4)]
        self.baskets: list[tuple[Shopper, list[Coupon]]] = []
        shared = [
            coupons.issue(offer, origin=Coupon.Origin.VANITY, code=codes.generate(), max_uses=99) for offer in offers
        ]
        for _ in range(self.threads):
            self.baskets.append((build.shopper(), random.sample(shared, 3)))

    def contenders(self) -> Sequence[Callable[[], object]]:
        return [partial(self._take, shopper, mine) for shopper, mine in self.baskets]

    def _take(self, shopper: Shopper, mine: list[Coupon]) -> None:
        basket, key = build.basket(), uuid4().hex
        items = [
            redemption.prepare(
                coupon, discount_for(coupon.offer.terms(), basket), shopper, basket, f"{key}:{coupon.pk}"
            )
            for coupon in mine
        ]
        try:
            with transaction.atomic():
                counters.hold(items)
                counters.charge(items, timezone.now())
        except OperationalError as error:
            if "deadlock" not in str(error):
                raise
            self.deadlocks.append(str(error)[:80])

    def overruns(self) -> list[str]:
        return self.deadlocks

    def faults(self) -> list[str]:
        held = Reservation.objects.filter(campaign__in=self.campaigns).count()
        too_few = [] if held == 3 * self.threads else [f"{held} reservations of {3 * self.threads}"]
        return too_few + [line for campaign in self.campaigns for line in verify_ledger(campaign)]

    @contextmanager
    def unguarded(self) -> Iterator[None]:
        """Lock the coupons in whichever order the basket names them."""
        with mock.patch.object(counters, "sorted", lambda things, key=None: list(things), create=True):
            yield


class BasketsEnding(arena.Race):
    """Baskets of two offers are redeemed, released and refunded at once; they share codes, offers and campaigns."""

    threads = 8

    def prepare(self) -> None:
        self.deadlocks: list[str] = []
        self.campaigns = [build.campaign(budget_minor=10**6), build.campaign(budget_minor=10**6)]
        offers = [build.offer(campaign) for campaign in self.campaigns]
        shared = [
            coupons.issue(offer, origin=Coupon.Origin.VANITY, code=codes.generate(), max_uses=99) for offer in offers
        ]
        self.baskets: list[list[UUID]] = []
        for number in range(self.threads):
            shopper, basket, key = build.shopper(), build.basket(9000), uuid4().hex
            items = [
                redemption.prepare(each, discount_for(each.offer.terms(), basket), shopper, basket, f"{key}:{each.pk}")
                for each in random.sample(shared, 2)
            ]
            with transaction.atomic():
                counters.hold(items)
                counters.charge(items, timezone.now())
            self.baskets.append([item.reservation.pk for item in items])
            if number % 4 == 3:
                self._redeem(self.baskets[-1])

    def contenders(self) -> Sequence[Callable[[], object]]:
        ends = (self._redeem, self._release, self._redeem, self._refund)
        return [partial(self._watched, ends[number % 4], mine) for number, mine in enumerate(self.baskets)]

    def _watched(self, end: Callable[[list[UUID]], object], mine: list[UUID]) -> None:
        try:
            end(mine)
        except OperationalError as error:
            if "deadlock" not in str(error):
                raise
            self.deadlocks.append(str(error)[:80])

    def _redeem(self, mine: list[UUID]) -> None:
        with transaction.atomic():
            redemption.redeem_all(mine, order_label="race", order_id=str(mine[0]))

    def _release(self, mine: list[UUID]) -> None:
        redemption.release_all(mine)

    def _refund(self, mine: list[UUID]) -> None:
        redemption.refund(order_label="race", order_id=str(mine[0]), operation_id=uuid4().hex)

    def overruns(self) -> list[str]:
        return self.deadlocks

    def faults(self) -> list[str]:
        states = [
            sorted(set(Reservation.objects.filter(pk__in=mine).values_list("state", flat=True)))
            for mine in self.baskets
        ]
        ends = (["redeemed"], ["released"], ["redeemed"], ["redeemed"])
        torn = [f"{found}" for number, found in enumerate(states) if found != ends[number % 4]]
        return torn + [line for campaign in self.campaigns for line in verify_ledger(campaign)]

    @contextmanager
    def unguarded(self) -> Iterator[None]:
        """End each reservation of a basket by itself, in the order in which the basket names them."""
        together = redemption.redeem_all

        def one_by_one(mine: list[UUID], **order: str) -> None:
            for key in mine:
                together([key], **order)

        with mock.patch.object(redemption, "redeem_all", one_by_one):
            yield
