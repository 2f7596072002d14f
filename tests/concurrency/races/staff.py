"""Races of staff: two who decide on one redemption, many gifts within one month's limit, one draft sent many times."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from functools import partial
from typing import Any
from unittest import mock
from uuid import uuid4

from django.contrib.auth import get_user_model
from django.db.models import Sum
from django.utils import timezone

from personalization.campaigns import authoring, risk
from personalization.campaigns.authoring import create_campaign
from personalization.campaigns.coupons import claim
from personalization.campaigns.giftcards import verify
from personalization.campaigns.ledger import verify_ledger
from personalization.campaigns.redemption import reserve
from personalization.campaigns.support import give_goodwill
from personalization.exceptions import UnderReview
from personalization.models import (
    Allowance,
    Campaign,
    CampaignCreation,
    GiftCard,
    GiftCardEntry,
    LedgerEntry,
    Offer,
    Reservation,
    RiskReview,
    RiskRule,
    Shopper,
    SupportAction,
)
from tests.concurrency import arena
from tests.support import build

LIMIT = 1000
GIFT = 400


def _staff() -> Any:
    return get_user_model().objects.create_user(uuid4().hex)


class ApprovedOrRejected(arena.Race):
    """A redemption that waits is approved by some and rejected by others: one decision is taken, and counted."""

    campaign: Campaign
    review: RiskReview

    def prepare(self) -> None:
        RiskRule.objects.update(active=False, threshold=1, points=100, confirmed_count=0, dismissed_count=0)
        RiskRule.objects.filter(kind=RiskRule.Kind.VELOCITY).update(active=True)
        offer, shopper = build.offer(), build.shopper()
        self.campaign = offer.campaign
        coupon_id, key = claim(offer.pk, shopper=shopper).coupon_id, uuid4().hex
        try:
            reserve(shopper=shopper, basket=build.basket(), coupon_id=coupon_id, idempotency_key=key)
        except UnderReview:
            self.review = RiskReview.objects.get(reservation__idempotency_key=key)
        self.wins: list[str] = []

    def contenders(self) -> Sequence[Callable[[], object]]:
        verbs = [risk.approve, risk.reject] * (self.threads // 2)
        # Each has read the page before: a review of their own, as it was.
        return [partial(self._decide, verb, RiskReview.objects.get(pk=self.review.pk)) for verb in verbs]

    def _decide(self, verb: Callable[..., bool], review: RiskReview) -> None:
        if verb(review):
            self.wins.append(verb.__name__)

    def overruns(self) -> list[str]:
        rule = RiskRule.objects.get(kind=RiskRule.Kind.VELOCITY)
        counted = rule.confirmed_count + rule.dismissed_count
        if len(self.wins) > 1 or counted > 1:
            return [f"{len(self.wins)} decisions, {counted} counted"]
        state = RiskReview.objects.get(pk=self.review.pk).state
        words = {"approve": RiskReview.State.APPROVED, "reject": RiskReview.State.REJECTED}
        overwritten = bool(self.wins) and state != words[self.wins[0]]
        return [f"{self.wins[0]} was overwritten: {state}"] if overwritten else []

    def faults(self) -> list[str]:
        state = Reservation.objects.get(pk=self.review.reservation_id).state
        wanted = {"approve": Reservation.State.HELD, "reject": Reservation.State.RELEASED}
        good = len(self.wins) == 1 and state == wanted[self.wins[0]]
        return verify_ledger(self.campaign) + ([] if good else [f"{self.wins}, and the reservation is {state}"])

    @contextmanager
    def unguarded(self) -> Iterator[None]:
        arena.drop_checks()
        arena.drop_unique(LedgerEntry, "operation_id")
        with arena.check_then_act():
            yield


class _Goodwill(arena.Race):
    shopper: Shopper
    staff: Any

    def prepare(self) -> None:
        self.staff = _staff()
        self.shopper = build.shopper(user=_staff())
        self.operation = uuid4().hex

    def _give(self, key: str) -> None:
        give_goodwill(self.shopper, GIFT, "EUR", by=self.staff, reason="race", idempotency_key=f"{self.operation}{key}")

    def given(self) -> int:
        return GiftCardEntry.objects.filter(card__shopper=self.shopper).aggregate(sum=Sum("balance_delta"))["sum"] or 0

    def faults(self) -> list[str]:
        allowance = self.allowance()
        card = GiftCard.objects.get(shopper=self.shopper)
        told = (
            []
            if allowance.granted_minor == self.given()
            else [f"{self.given()} given, {allowance.granted_minor} counted"]
        )
        return verify(card) + told

    def allowance(self) -> Allowance:
        return Allowance.objects.get(user=self.staff)


class MonthlyLimit(_Goodwill):
    """One member of staff gives in many windows at once; the month's limit covers two of the gifts."""

    def prepare(self) -> None:
        super().prepare()
        self._give("first")
        Allowance.objects.filter(user=self.staff).update(limit_minor=LIMIT)

    def contenders(self) -> Sequence[Callable[[], object]]:
        return [partial(self._give, str(number)) for number in range(self.threads)]

    def overruns(self) -> list[str]:
        given = self.given()
        return [f"{given} given of {LIMIT}"] if given > LIMIT else []

    def faults(self) -> list[str]:
        return super().faults() + ([] if self.given() == 2 * GIFT else [f"{self.given()} given"])

    @contextmanager
    def unguarded(self) -> Iterator[None]:
        arena.drop_checks()
        with arena.check_then_act():
            yield


class SameForm(_Goodwill):
    """One form is sent many times at the same moment, the month's first gift: it gives once."""

    def contenders(self) -> Sequence[Callable[[], object]]:
        return [partial(self._give, "once")] * self.threads

    def overruns(self) -> list[str]:
        given = self.given()
        return [f"{given} given for one form"] if given > GIFT else []

    @contextmanager
    def unguarded(self) -> Iterator[None]:
        arena.drop_checks()
        arena.drop_unique(SupportAction, "operation_id")
        arena.drop_unique(GiftCardEntry, "operation_id")
        with arena.check_then_act():
            yield


class SameDraft(arena.Race):
    """A program sends one new campaign many times at the same moment, under one key: one draft is made."""

    def prepare(self) -> None:
        self.staff = _staff()
        self.name = uuid4().hex
        now = timezone.now()
        self.body: dict[str, Any] = {
            "name": self.name,
            "starts_at": now,
            "ends_at": now + timedelta(days=9),
            "offers": [{"name": "Ten off", "kind": "coupon", "percent": 10}],
        }
        self.answers: list[int] = []

    def contenders(self) -> Sequence[Callable[[], object]]:
        return [self._send] * self.threads

    def _send(self) -> None:
        self.answers.append(create_campaign(**self.body, by=self.staff, idempotency_key=self.name).pk)

    def overruns(self) -> list[str]:
        made = Campaign.objects.filter(name=self.name).count()
        return [f"{made} drafts for one key"] if made > 1 else []

    def faults(self) -> list[str]:
        drafts = list(Campaign.objects.filter(name=self.name).values_list("pk", flat=True))
        kept = Offer.objects.filter(campaign__in=drafts).count()
        good = len(drafts) == 1 and self.answers == drafts * self.threads and kept == 1
        return [] if good else [f"drafts {drafts} with {kept} offers, answers {self.answers}"]

    @contextmanager
    def unguarded(self) -> Iterator[None]:
        arena.drop_unique(CampaignCreation, "key")
        checking = arena.pausing(authoring._made_before)
        with arena.without_transactions(), mock.patch.object(authoring, "_made_before", checking):
            yield
