"""Races of somebody who is erased, or found to be somebody else, in the middle of their checkouts."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from unittest import mock
from uuid import UUID, uuid4

from django.db import OperationalError

from personalization import api
from personalization.campaigns.coupons import claim
from personalization.campaigns.ledger import verify_ledger
from personalization.campaigns.redemption import release_all, reserve
from personalization.models import Campaign, Reservation, Shopper
from personalization.privacy import erasure
from personalization.tracking import identity
from tests.concurrency import arena
from tests.support import build

WITHIN_SECONDS = 0.03
"""At some moment of these the checkouts are left: what they meet takes about as long."""


class Erased(arena.Race):
    """A shopper with several baskets leaves them all and is erased meanwhile: nobody waits in a ring."""

    threads = 7
    shopper: Shopper
    baskets: list[list[UUID]]

    def prepare(self) -> None:
        self.rings: list[str] = []
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
        return [partial(self._try, self.leave), *[partial(self._try, self._release, keys) for keys in self.baskets]]

    def leave(self) -> None:
        api.erase(self.shopper)

    def _release(self, keys: list[UUID]) -> None:
        time.sleep(random.uniform(0, WITHIN_SECONDS))
        release_all(keys)

    def _try(self, act: Callable[..., object], *given: object) -> None:
        try:
            act(*given)
        except OperationalError as error:
            if "deadlock" not in str(error):
                raise
            self.rings.append(str(error)[:100])

    def overruns(self) -> list[str]:
        return self.rings

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

    def leave(self) -> None:
        identity.merge(self.shopper, build.shopper())
