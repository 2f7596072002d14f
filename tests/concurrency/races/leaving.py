"""Races of an erasure with what its shopper's other windows do at that moment: it succeeds, and none of them fails."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from unittest import mock
from uuid import uuid4

from django.db import IntegrityError, transaction

from personalization import api
from personalization.campaigns import counters
from personalization.campaigns.coupons import claim
from personalization.campaigns.ledger import verify_ledger
from personalization.campaigns.redemption import redeem, reserve
from personalization.models import Coupon, Event, Offer, QuarantinedEvent, Redemption, Reservation, Shopper
from personalization.privacy import erasure
from personalization.tracking import identity
from personalization.tracking.ingest import ingest
from personalization.types import Purpose
from tests.concurrency import arena
from tests.support import build

WITHIN_SECONDS = 0.1
"""At some moment of these the other windows write: an erasure takes about as long."""


class _Leaving(arena.Race):
    """Somebody is erased in one window; ``windows`` do something for them in others."""

    shopper: Shopper

    def prepare(self) -> None:
        self.failed: list[str] = []
        self.shopper = build.shopper()

    def contenders(self) -> Sequence[Callable[[], object]]:
        found = [Shopper.objects.get(pk=self.shopper.pk) for _ in range(self.threads - 1)]
        acts = [partial(self._at_some_moment, number, shopper) for number, shopper in enumerate(found)]
        return [partial(self._try, partial(api.erase, self.shopper)), *(partial(self._try, act) for act in acts)]

    def _at_some_moment(self, number: int, shopper: Shopper) -> None:
        time.sleep(random.uniform(0, WITHIN_SECONDS))
        self.act(number, shopper)

    def act(self, number: int, shopper: Shopper) -> None:
        raise AssertionError("each race acts for its shopper itself")

    def _try(self, act: Callable[[], object]) -> None:
        try:
            act()
        except IntegrityError as error:
            self.failed.append(str(error)[:150])

    def overruns(self) -> list[str]:
        return self.failed

    def faults(self) -> list[str]:
        there = Shopper.objects.filter(pk=self.shopper.pk).exists()
        return ["who was erased is still there"] if there and not self.failed else []


class ErasedWhileActive(_Leaving):
    """Coupons are claimed and events sent, bad ones too: the erasure takes along whatever was written meanwhile."""

    threads = 8

    def prepare(self) -> None:
        super().prepare()
        self.offers = [build.offer() for _ in range(self.threads)]

    def act(self, number: int, shopper: Shopper) -> None:
        if number % 2:
            claim(self.offers[number].pk, shopper=shopper)
            return
        seen = {"type": "product_viewed", "event_id": uuid4().hex, "item_id": "1"}
        purposes = frozenset({Purpose.PERSONALISATION})
        ingest([seen, {**seen, "type": "nobody knows it"}], source="race", shopper=shopper, purposes=purposes)

    def faults(self) -> list[str]:
        left = [
            model._meta.label
            for model in (Event, QuarantinedEvent, Coupon)
            if model._default_manager.filter(shopper=self.shopper.pk).exists()
        ]
        issued = sum(
            Offer.objects.filter(pk__in=[each.pk for each in self.offers]).values_list("issued_count", flat=True)
        )
        made = Coupon.objects.filter(offer__in=self.offers).count()
        counted = [] if issued == made else [f"{issued} coupons are counted, {made} are there"]
        return super().faults() + counted + ([f"{left} still name them"] if left and not self.failed else [])

    @contextmanager
    def unguarded(self) -> Iterator[None]:
        with mock.patch.object(erasure, "TRIES", 1):
            yield


class ActiveWhileErased(ErasedWhileActive):
    """The same; the control: a window that comes too late breaks on a shopper who is gone."""

    @contextmanager
    def unguarded(self) -> Iterator[None]:
        with mock.patch.object(identity, "is_gone", return_value=False):
            yield


class OrderedWhileErased(_Leaving):
    """Orders spend what a shopper holds while they are erased: what was held goes through, under nobody's name."""

    threads = 6

    def prepare(self) -> None:
        super().prepare()
        self.campaign = build.campaign()
        self.held = []
        for _ in range(self.threads - 1):
            coupon = claim(build.offer(self.campaign).pk, shopper=self.shopper).coupon_id
            key = uuid4().hex
            self.held.append(
                reserve(shopper=self.shopper, basket=build.basket(), coupon_id=coupon, idempotency_key=key)
            )

    def act(self, number: int, shopper: Shopper) -> None:
        with transaction.atomic():
            redeem(self.held[number].reservation_id, order_label="race", order_id=uuid4().hex)

    def faults(self) -> list[str]:
        spent = Redemption.objects.filter(campaign=self.campaign, shopper=None).count()
        held = Reservation.objects.filter(campaign=self.campaign, state=Reservation.State.HELD).count()
        good = self.failed or (spent, held) == (self.threads - 1, 0)
        lost = [] if good else [f"{spent} of {self.threads - 1} orders have their discount, {held} are held still"]
        return super().faults() + lost + verify_ledger(self.campaign)

    @contextmanager
    def unguarded(self) -> Iterator[None]:
        with mock.patch.object(counters, "holder", lambda reservation: reservation.shopper_id):
            yield
