"""Races of somebody who is erased, or found to be somebody else, in the middle of their checkouts."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from unittest import mock
from uuid import UUID, uuid4

from django.db import IntegrityError
from django.utils import timezone

from personalization import api
from personalization.campaigns.coupons import claim
from personalization.campaigns.ledger import verify_ledger
from personalization.campaigns.redemption import release_all, reserve
from personalization.decisioning import candidates, scores, withdrawal
from personalization.learning import publish
from personalization.models import Campaign, Coupon, Decision, Event, Reservation, Shopper, ShopperMerge
from personalization.privacy import erasure
from personalization.tracking import consent, identity, merging
from personalization.tracking.ingest import store_events
from personalization.types import EventData
from tests.concurrency import arena
from tests.concurrency.races.rings import RingRace
from tests.support import build

WITHIN_SECONDS = 0.03
"""At some moment of these the checkouts are left: what they meet takes about as long."""


class Erased(RingRace):
    """A shopper with several baskets leaves them all and is erased meanwhile: nobody waits in a ring."""

    threads = 7
    within_seconds = 5 * WITHIN_SECONDS  # an erasure has much to do before it comes to what the baskets hold
    shopper: Shopper
    baskets: list[list[UUID]]

    def prepare(self) -> None:
        super().prepare()
        self.shopper, campaign = build.shopper(), build.campaign()
        held = []
        for _ in range(12):
            coupon = claim(build.offer(campaign).pk, shopper=self.shopper).coupon_id
            key = uuid4().hex
            held.append(reserve(shopper=self.shopper, basket=build.basket(), coupon_id=coupon, idempotency_key=key))
        self.campaign = campaign
        keys = [UUID(each.reservation_id) for each in held]
        self.baskets = [keys[at : at + 2] for at in range(0, len(keys), 2)]

    def contenders(self) -> Sequence[Callable[[], object]]:
        return [
            partial(self.attempt, self.leave),
            *[partial(self.attempt, self._release, keys) for keys in self.baskets],
        ]

    def leave(self) -> None:
        api.erase(self.shopper)

    def _release(self, keys: list[UUID]) -> None:
        time.sleep(random.uniform(0, self.within_seconds))
        release_all(keys)

    def faults(self) -> list[str]:
        if self.rings:
            return []
        held = Reservation.objects.filter(campaign=self.campaign, state=Reservation.State.HELD).count()
        return [*verify_ledger(Campaign.objects.get(pk=self.campaign.pk)), *([f"{held} still held"] if held else [])]

    @contextmanager
    def unguarded(self) -> Iterator[None]:
        with mock.patch.object(identity, "lock"), mock.patch.object(erasure, "lock"):
            yield


class Merged(Erased):
    """The same, of a visitor who logs in."""

    within_seconds = WITHIN_SECONDS

    def leave(self) -> None:
        merging.merge(self.shopper, build.shopper())

    @contextmanager
    def unguarded(self) -> Iterator[None]:
        with mock.patch.object(identity, "lock", self._lock_the_other_way_round):
            yield

    def _lock_the_other_way_round(self, people: Sequence[int]) -> None:
        """Lock the same rows, but each coupon before what it is held by."""
        for rows in (Coupon.objects.filter(shopper__in=people), Reservation.objects.filter(shopper__in=people)):
            list(rows.select_for_update(no_key=True).values_list("pk"))
            time.sleep(random.uniform(0, self.within_seconds))


class TwoLogins(arena.Race):
    """One cookie in two browsers: two accounts sign in, staff take merges back, and events go on coming in.

    Whatever the order, the visitor belongs to one person, and all that they did before is where they are.
    """

    threads = 7
    visitor: Shopper
    accounts: list[Shopper]

    def prepare(self) -> None:
        self.visitor, self.accounts = build.shopper(), [build.shopper() for _ in range(2)]
        self.before = [self._see(self.visitor) for _ in range(20)]
        self.late: list[str] = []

    def contenders(self) -> Sequence[Callable[[], object]]:
        logins = [partial(self._sign_in, account) for account in self.accounts] * 2
        return [*logins, self._take_back, self._take_back, self._look_around]

    def _see(self, shopper: Shopper) -> str:
        key = uuid4().hex
        row = EventData("race", key, "page_viewed", shopper.pk, timezone.now())
        assert store_events([row]) == 1
        return key

    def _sign_in(self, account: Shopper) -> None:
        merging.merge(Shopper.objects.get(pk=self.visitor.pk), account)

    def _take_back(self) -> None:
        time.sleep(random.uniform(0, WITHIN_SECONDS))
        for key in ShopperMerge.objects.filter(visitor=self.visitor, undone_at=None).values_list("pk", flat=True):
            merging.unmerge(key)

    def _look_around(self) -> None:
        for _ in range(5):
            self.late.append(self._see(self.visitor))

    def overruns(self) -> list[str]:
        merging.settle()
        owner = Shopper.objects.get(pk=self.visitor.pk).merged_into_id or self.visitor.pk
        open_merges = ShopperMerge.objects.filter(visitor=self.visitor, undone_at=None)
        found = [f"{open_merges.count()} open merges"] if open_merges.count() > 1 else []
        belongs_to = [*open_merges.values_list("account", flat=True), self.visitor.pk][0]
        if belongs_to != owner:
            found.append("the open merge is not what the visitor says")
        strays = Event.objects.filter(event_id__in=[*self.before, *self.late]).exclude(shopper=owner).count()
        return found + ([f"{strays} events belong to somebody else"] if strays else [])

    def faults(self) -> list[str]:
        kept = Event.objects.filter(event_id__in=[*self.before, *self.late]).count()
        return [] if kept == len(self.before) + len(self.late) else [f"{kept} events are left"]

    @contextmanager
    def unguarded(self) -> Iterator[None]:
        arena.drop_unique(ShopperMerge, "pz_merge_open")
        with mock.patch.object(identity, "lock", arena.pausing(lambda people: None)):
            yield


class DecidedWhileLeaving(arena.Race):
    """Pages decide for somebody who withdraws at that moment: no reasons are written afterwards."""

    threads = 6
    within_seconds = 0.0
    leave: Callable[[Shopper], object] = staticmethod(partial(consent.record, purposes=[], source="test"))

    def prepare(self) -> None:
        scores.forget()
        candidates.forget()
        self.shopper, offer = build.shopper(), build.offer(slots=["home_hero"])
        why = {"head": "redeem", "offers": {str(offer.pk): {"base": -1.0, "terms": 0.4}}}
        made = publish.begin("shop", None, response=None, strategy=None, preference=None)
        said = {"offers": {str(offer.pk): [0.5, 0.3, 0.01, 0.5]}, "values": {"basket_minor": 10_000}, "reasons": why}
        publish.write_scores(made, [{"shopper_id": self.shopper.pk, **said}])
        publish.publish(made, None, defaults={})
        publish.tidy("shop")

    def contenders(self) -> Sequence[Callable[[], object]]:
        # Each page has found its shopper already: on a busy machine they would be gone before one is looked for.
        found = [Shopper.objects.get(pk=self.shopper.pk) for _ in range(self.threads - 1)]
        return [partial(self.leave, self.shopper), *(partial(self._look, shopper) for shopper in found)]

    def _look(self, shopper: Shopper) -> None:
        time.sleep(random.uniform(0, self.within_seconds))
        api.decide("home_hero", shopper=shopper)

    def overruns(self) -> list[str]:
        mine = Decision.objects.filter(shopper=self.shopper.pk)
        kept = [decision for decision in mine if any("why" in row for row in decision.chosen)]
        return [f"{len(kept)} decisions keep their reasons"] if kept else []

    @contextmanager
    def unguarded(self) -> Iterator[None]:
        with mock.patch.object(withdrawal, "stays", arena.pausing(lambda _shopper: True)):
            yield


class DecidedWhileErased(DecidedWhileLeaving):
    """The same, of an erasure: unguarded, a page fails on a shopper who is gone."""

    within_seconds = 5 * WITHIN_SECONDS
    leave = staticmethod(api.erase)

    def prepare(self) -> None:
        super().prepare()
        self.failed: list[str] = []

    def _look(self, shopper: Shopper) -> None:
        try:
            super()._look(shopper)
        except IntegrityError as error:
            self.failed.append(str(error)[:100])

    def overruns(self) -> list[str]:
        return self.failed
