"""Whoever does whatever in whatever order: a campaign's states, approvals and money never contradict each other."""

from __future__ import annotations

import itertools
import uuid
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.conf import settings
from django.db import IntegrityError, connection, transaction
from django.test import override_settings
from django.utils import timezone
from hypothesis import HealthCheck, Phase
from hypothesis import settings as run_settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from personalization import api
from personalization.campaigns import authoring, liability, lifecycle, redemption, revisions, switch
from personalization.campaigns.ledger import verify_ledger
from personalization.decisioning import candidates
from personalization.exceptions import (
    ApprovalRefused,
    BasketNotEligible,
    ClaimRefused,
    CouponRefused,
    FrozenField,
    InvalidTerms,
    InvalidTransition,
    RefundRefused,
    ReservationGone,
    RevisionOutdated,
)
from personalization.models import Campaign, Coupon, Offer, Reservation, Switch
from tests.admin.builders import make_shopper, make_user
from tests.personalization.builders import make_basket
from tests.support.scale import rounds

Status = Campaign.Status
RIGHTS = ("add_campaign", "change_campaign", "approve_campaign", "launch_campaign", "stop_campaign")
LIVE = (Status.RUNNING, Status.PAUSED)
EDITS: dict[str, tuple[type, Any]] = {
    "goal": (Campaign, lambda number, _campaign: {"goal": f"goal {number}"}),
    "budget_minor": (Campaign, lambda number, _campaign: {"budget_minor": number * 1000}),
    "later": (Campaign, lambda number, campaign: {"ends_at": campaign.ends_at + timedelta(hours=number)}),
    "sooner": (Campaign, lambda number, campaign: {"ends_at": campaign.ends_at - timedelta(minutes=number)}),
    "currency": (Campaign, lambda number, _campaign: {"priority": number, "attribution_hours": number}),
    "headline": (Offer, lambda number, _campaign: {"headline": f"words {number}"}),
    "percent": (Offer, lambda number, _campaign: {"percent": 10 + number}),
}
people = st.integers(min_value=0, max_value=3)
numbers = st.integers(min_value=1, max_value=12)
picks = st.integers(min_value=0, max_value=50)


class Lifecycle(RuleBasedStateMachine):
    """One campaign, four users with some rights, three shoppers, and a clock that only goes on."""

    def __init__(self) -> None:
        super().__init__()
        self.atomic = transaction.atomic()
        self.atomic.__enter__()
        self.now = datetime(2030, 1, 1, 12, tzinfo=timezone.get_default_timezone())
        self.patch = pytest.MonkeyPatch()
        self.patch.setattr(timezone, "now", lambda: self.now)
        self.orders = itertools.count()
        self.sold: list[str] = []
        self.log: list[tuple[str, str]] = []
        self.approved: int | None = None
        self.engaged = False
        for forget in (switch.forget, candidates.forget):
            forget()

    def teardown(self) -> None:
        self.override.disable()
        self.patch.undo()
        connection.set_rollback(True)
        self.atomic.__exit__(None, None, None)
        switch.forget()

    @initialize(
        rights=st.lists(st.sets(st.sampled_from(RIGHTS)), min_size=4, max_size=4),
        required=st.booleans(),
        warm=st.booleans(),
    )
    def begin(self, rights: list[set[str]], required: bool, warm: bool) -> None:
        self.required = required
        self.override = override_settings(
            PERSONALIZATION={**settings.PERSONALIZATION, "APPROVAL_REQUIRED": required, "HOLDOUT_PERCENT": 0.0}
        )
        self.override.enable()
        self.rights = rights
        self.users = [make_user(*sorted(names)) for names in rights]
        self.shoppers = [make_shopper() for _number in range(3)]
        offer = {"name": "O", "kind": "coupon", "percent": 20, "per_shopper": 2, "uses_per_shopper": 2,
                 "max_redemptions": 4, "max_issued": 5, "slots": ["home_hero"]}  # fmt: skip
        campaign = authoring.create_campaign(
            name="C", starts_at=self.now + timedelta(hours=0 if warm else 2), ends_at=self.now + timedelta(days=5),
            budget_minor=5000, offers=[offer], by=self.users[0],
        )  # fmt: skip
        self.pk = campaign.pk
        self.stale = Campaign.objects.get(pk=self.pk)
        self.editors: list[tuple[int, Any]] = [(1, self.users[0])]
        if warm:  # the long way to a running campaign is walked from the draft, too, but seldom to its end
            self._launch()

    def _launch(self) -> None:
        lifecycle.transition(self.campaign, Status.REVIEW)
        self.approved = lifecycle.approve(self.campaign, make_user("approve_campaign")).approved_revision
        lifecycle.transition(self.campaign, Status.RUNNING)
        self.log += [(Status.DRAFT, Status.REVIEW), (Status.REVIEW, Status.RUNNING)]

    @property
    def campaign(self) -> Campaign:
        return Campaign.objects.get(pk=self.pk)

    def open_now(self) -> bool:
        campaign = self.campaign
        dates = campaign.starts_at <= self.now < campaign.ends_at
        return campaign.status == Status.RUNNING and dates and not self.engaged

    # -- people

    @rule(who=st.none() | people, to=st.sampled_from(Status.values), stale=st.booleans())
    def change_state(self, who: int | None, to: str, stale: bool) -> None:
        before = self.campaign
        seen = self.stale if stale else before
        by = None if who is None else self.users[who]
        edge = (before.status, to)
        fits = seen.status == before.status and to in lifecycle.TRANSITIONS[before.status]
        rights = set(RIGHTS) if who is None else self.rights[who]
        fits = fits and bool(rights & set(lifecycle.permissions(*edge)))
        starts = to in (Status.SCHEDULED, Status.RUNNING)
        approved = not (starts and self.required) or before.approved_revision == before.revision
        try:
            lifecycle.transition(seen, to, by)
        except InvalidTransition:
            assert not (fits and approved)
        except InvalidTerms:
            assert starts
            assert before.status != Status.PAUSED
            assert seen.ends_at <= self.now
        else:
            assert fits
            assert approved
            self.log.append(edge)

    @rule()
    def look(self) -> None:
        self.stale = self.campaign

    @rule(who=people, what=st.sampled_from(sorted(EDITS)), number=numbers, stale=st.booleans())
    def edit(self, who: int, what: str, number: int, stale: bool) -> None:
        before = self.campaign
        seen = Campaign.objects.get(pk=self.pk)
        seen.revision = self.stale.revision if stale else before.revision
        model, fields = EDITS[what]
        rows = model.objects.filter(pk=self.pk) if model is Campaign else Offer.objects.filter(campaign_id=self.pk)
        values = fields(number, before)
        may = revisions.editable_fields(before)
        names = may.campaign if model is Campaign else may.offers
        sooner = what == "sooner" and may.later_end
        try:
            with transaction.atomic():
                revisions.require(seen, seen.revision)
                rows.update(**values)
                made = revisions.record(seen, self.users[who])
        except RevisionOutdated:
            assert seen.revision != before.revision
        except FrozenField:
            assert sooner or not set(values) <= names
        except IntegrityError:  # the database holds the budget above what is used, and the end behind the start
            used = before.reserved_minor + before.spent_minor
            assert values.get("budget_minor", used) < used or values.get("ends_at", self.now) <= before.starts_at
        else:
            assert seen.revision - (made is not None) == before.revision
            if made is not None:
                assert set(values) <= names
                assert not sooner
                self.editors.append((made.number, self.users[who]))

    @rule(who=people, stale=st.booleans())
    def approve(self, who: int, stale: bool) -> None:
        before = self.campaign
        revision = self.stale.revision if stale else before.revision
        own = any(number > (self.approved or 0) and user == self.users[who] for number, user in self.editors)
        may = "approve_campaign" in self.rights[who] and not own and before.status in lifecycle.APPROVABLE
        try:
            lifecycle.approve(before, self.users[who], revision)
        except ApprovalRefused:
            assert not (may and revision == before.revision)
        else:
            assert may
            assert revision == self.campaign.revision
            self.approved = revision

    @rule(who=people, to=st.booleans())
    def turn_switch(self, who: int, to: bool) -> None:
        turn = switch.engage if to else switch.open
        try:
            turn("shop", self.users[who], "because")
        except InvalidTransition:
            assert "stop_campaign" not in self.rights[who]
        else:
            assert "stop_campaign" in self.rights[who]
            self.engaged = to

    # -- shoppers

    @rule(who=st.integers(min_value=0, max_value=2))
    def claim(self, who: int) -> None:
        offer = Offer.objects.get(campaign_id=self.pk)
        try:
            issued = api.claim(offer.pk, shopper=self.shoppers[who], idempotency_key=uuid.uuid4().hex)
        except ClaimRefused:
            return
        assert not issued.new or self.open_now()

    @precondition(lambda self: Coupon.objects.exists())
    @rule(which=picks, price=st.integers(min_value=5, max_value=100))
    def reserve(self, which: int, price: int) -> None:
        coupon = _pick(Coupon.objects.order_by("issued_at", "pk"), which)
        try:
            api.reserve(
                shopper=coupon.shopper,
                basket=make_basket(price * 100),
                idempotency_key=uuid.uuid4().hex,
                coupon_id=str(coupon.pk),
            )
        except (CouponRefused, BasketNotEligible):
            return
        assert self.open_now()

    @precondition(lambda self: Reservation.objects.exists())
    @rule(which=picks)
    def redeem(self, which: int) -> None:
        held = _pick(Reservation.objects.order_by("created_at", "pk"), which)
        order = str(next(self.orders))
        try:
            with transaction.atomic():
                api.redeem(held.pk, order_label="o", order_id=order)
        except ReservationGone:
            assert held.state != Reservation.State.HELD
        else:
            self.sold.append(order)

    @precondition(lambda self: Reservation.objects.exists())
    @rule(which=picks)
    def release(self, which: int) -> None:
        held = _pick(Reservation.objects.order_by("created_at", "pk"), which)
        assert api.release(held.pk) == (held.state == Reservation.State.HELD)

    @precondition(lambda self: self.sold)
    @rule(which=picks, amount=st.none() | st.integers(min_value=1, max_value=900))
    def refund(self, which: int, amount: int | None) -> None:
        order = self.sold[which % len(self.sold)]
        try:
            api.refund(order_label="o", order_id=order, operation_id=uuid.uuid4().hex, amount_minor=amount)
        except RefundRefused:
            assert amount is not None

    # -- time

    @rule(hours=st.integers(min_value=0, max_value=12))
    def wait(self, hours: int) -> None:
        self.now += timedelta(hours=hours, minutes=7)

    @rule()
    def chores(self) -> None:
        redemption.expire_reservations(self.now)
        liability.drop_expired(self.now)
        before = self.campaign.status
        lifecycle.tick(self.now)
        after = self.campaign.status
        if after != before:
            self.log.append((before, after))
        campaign = self.campaign
        assert not (campaign.ends_at <= self.now and campaign.status in (*LIVE, Status.SCHEDULED))

    # -- what always holds

    @invariant()
    def states_follow_their_log(self) -> None:
        campaign = self.campaign
        rows = list(campaign.transitions.order_by("pk").values_list("from_status", "to_status"))
        assert rows == self.log
        status: str = Status.DRAFT
        for before, after in rows:
            assert before == status
            assert after in lifecycle.TRANSITIONS[before]
            status = after
        assert status == campaign.status

    @invariant()
    def an_approval_is_for_a_revision_that_was_there(self) -> None:
        campaign = self.campaign
        assert campaign.approved_revision == self.approved
        numbers = list(campaign.revisions.order_by("number").values_list("number", flat=True))
        assert numbers == list(range(1, campaign.revision + 1))
        assert lifecycle.is_approved(campaign) == (self.approved == campaign.revision)

    @invariant()
    def money_adds_up(self) -> None:
        campaign = self.campaign
        assert campaign.budget_minor is None or campaign.spent_minor + campaign.reserved_minor <= campaign.budget_minor
        assert verify_ledger(campaign) == []

    @invariant()
    def nothing_is_shown_while_it_is_closed(self) -> None:
        candidates.forget()  # as it looks to a process that has just started
        assert Switch.objects.filter(engaged=True).exists() == self.engaged
        if not self.open_now():
            assert not api.decide("home_hero", shopper=self.shoppers[0]).offers


def _pick(rows: Any, which: int) -> Any:
    found = list(rows)
    return found[which % len(found)]


def run(examples: int, steps: int) -> None:
    run_state_machine_as_test(
        Lifecycle,
        settings=run_settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            suppress_health_check=list(HealthCheck),
            phases=[Phase.generate] if examples < 1000 else list(Phase),
        ),
    )


@pytest.mark.django_db
def test_whatever_happens_the_campaign_stays_whole() -> None:
    run(rounds(20, 5000), rounds(25, 50))


def _any_approval(campaign: Campaign, from_status: str, to_status: str) -> None:
    assert Campaign.objects.filter(pk=campaign.pk, status=from_status).update(status=to_status)


BROKEN: dict[str, tuple[object, str, Any]] = {
    "permissions": (lifecycle, "may", lambda by, from_status, to_status: True),
    "approval": (lifecycle, "_move", _any_approval),
    "frozen fields": (revisions, "_refuse_frozen", lambda campaign, changes: None),
    "kill switch": (switch, "engaged_now", lambda population: False),
}


@pytest.mark.django_db
@pytest.mark.parametrize("guard", sorted(BROKEN))
def test_the_machine_notices_when_a_guard_is_missing(guard: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(*BROKEN[guard])
    with pytest.raises((AssertionError, ExceptionGroup)):
        run(900, 25)  # it ends with the first thing that it notices
