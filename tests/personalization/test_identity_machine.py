"""Whoever signs in and out wherever, in whatever order: each event belongs to exactly one shopper.

Two devices, three accounts. What is expected is kept beside: who each event was last handed to, and what each merge
moved. Taking a merge back gives exactly that back.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser
from django.db import connection, transaction
from django.http import HttpRequest, HttpResponse
from hypothesis import HealthCheck
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

from personalization.models import Event, Shopper, ShopperAlias, ShopperMerge
from personalization.tracking import consent, identity, logins, merging
from personalization.tracking.ingest import ingest
from personalization.types import CONSENT_PURPOSES
from tests.personalization.builders import make_account, make_request
from tests.support.scale import rounds

DEVICES, ACCOUNTS = 2, 3
devices = st.integers(min_value=0, max_value=DEVICES - 1)
people = st.integers(min_value=0, max_value=ACCOUNTS - 1)


@dataclass
class Device:
    """A browser: its cookie, its session, who is signed in, and whom the cookie should lead to."""

    cookie: str = ""
    session: Any = None
    user: Any = None
    leads_to: int | None = None

    def request(self) -> HttpRequest:
        request = make_request(visitor=self.cookie, user=self.user or AnonymousUser())
        if self.session is not None:
            request.session = self.session
        self.session = request.session
        return request

    def take(self, response: HttpResponse) -> None:
        """Do with the response's cookies what a browser does."""
        sent = response.cookies.get("pz_visitor")
        if sent is not None:
            self.cookie = sent.value


@dataclass
class Known:
    """What a merge moved, by what the test saw."""

    visitor: int
    account: int
    events: list[str] = field(default_factory=list)
    devices: list[str] = field(default_factory=list)


class Identities(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.atomic = transaction.atomic()
        self.atomic.__enter__()
        self.numbers = itertools.count(1)
        self.owner: dict[str, int] = {}
        self.merges: dict[int, Known] = {}

    def teardown(self) -> None:
        connection.set_rollback(True)
        self.atomic.__exit__(None, None, None)

    @initialize()
    def begin(self) -> None:
        self.devices = [Device() for _ in range(DEVICES)]
        self.users = [make_account() for _ in range(ACCOUNTS)]

    # -- what people do

    @rule(at=devices)
    def agree(self, at: int) -> None:
        device, response = self.devices[at], HttpResponse()
        request = device.request()
        consent.give_consent(request, response, CONSENT_PURPOSES)
        device.take(response)
        shopper = identity.shopper_for(request)
        assert shopper is not None
        if device.leads_to is None:
            device.leads_to = shopper.pk

    @rule(at=devices)
    def look(self, at: int) -> None:
        device, key = self.devices[at], f"e{next(self.numbers)}"
        request = device.request()
        shopper, agreed = identity.shopper_for(request), consent.purposes_of(request)
        if shopper is None or not agreed:
            return
        raw = {"id": key, "type": "page_viewed"}
        assert ingest([raw], source="web", shopper=shopper, purposes=agreed).accepted == 1
        expected = self._account(device.user) if device.user else device.leads_to
        assert shopper.pk == expected
        self.owner[key] = shopper.pk

    @rule(at=devices, who=people)
    def sign_in(self, at: int, who: int) -> None:
        device, user = self.devices[at], self.users[who]
        if device.user is not None:
            self.sign_out(at)
            device = self.devices[at]
        visitor = device.leads_to
        free = visitor is not None and Shopper.objects.get(pk=visitor).user_id is None
        request = device.request()
        device.user = request.user = user
        account = logins.link_at_login(request, user)
        assert account is not None
        if free:
            self._expect_merge(visitor, account.pk)
        elif visitor is not None and visitor != account.pk:
            response = HttpResponse()
            consent.forget_browser(request, response)  # as the middleware does it
            device.take(response)
            assert device.cookie == ""
            device.leads_to = None

    @rule(at=devices)
    def sign_out(self, at: int) -> None:
        device, response = self.devices[at], HttpResponse()
        consent.forget_browser(device.request(), response)
        self.devices[at] = Device()
        assert response.cookies["pz_visitor"].value == ""

    @rule(at=devices)
    def let_the_session_lapse(self, at: int) -> None:
        self.devices[at].user = self.devices[at].session = None

    # -- what staff do

    @precondition(lambda self: self.merges)
    @rule(data=st.data())
    def take_back(self, data: st.DataObject) -> None:
        key = data.draw(st.sampled_from(sorted(self.merges)))
        known = self.merges.pop(key)
        merging.unmerge(key)
        for event in known.events:
            self.owner[event] = known.visitor
        for device in self.devices:
            if device.leads_to == known.account and device.cookie in known.devices:
                device.leads_to = known.visitor

    @precondition(lambda self: any(device.leads_to for device in self.devices))
    @rule(at=devices, who=people)
    def merge_and_take_back(self, at: int, who: int) -> None:
        visitor = self.devices[at].leads_to
        person = Shopper.objects.filter(pk=visitor or 0, user=None).first()
        if person is None:
            return
        account = identity.shopper_for_user(self.users[who])
        before = self._state()
        done = merging.merge(person, account)
        assert done is not None
        merging.unmerge(done.pk)
        assert self._state() == before

    # -- what must hold

    @invariant()
    def each_event_is_where_it_belongs(self) -> None:
        assert dict(Event.objects.values_list("event_id", "shopper_id")) == self.owner

    @invariant()
    def each_cookie_leads_where_it_should(self) -> None:
        for device in getattr(self, "devices", []):
            if device.cookie:
                assert ShopperAlias.objects.get(value=device.cookie).shopper_id == device.leads_to
        merged = dict(Shopper.objects.exclude(merged_into=None).values_list("pk", "merged_into_id"))
        assert merged == dict(ShopperMerge.objects.filter(undone_at=None).values_list("visitor_id", "account_id"))

    # --

    def _account(self, user: Any) -> int:
        return Shopper.objects.get(user=user).pk

    def _state(self) -> Any:
        flags = [f"consent_{purpose.value}" for purpose in CONSENT_PURPOSES]
        return (
            sorted(Event.objects.values_list("event_id", "shopper_id")),
            sorted(ShopperAlias.objects.values_list("value", "shopper_id")),
            sorted(Shopper.objects.values_list("pk", "user_id", "merged_into_id", *flags), key=str),
        )

    def _expect_merge(self, visitor: int | None, account: int) -> None:
        assert visitor is not None
        moved = [event for event, owner in self.owner.items() if owner == visitor]
        here = [device for device in self.devices if device.leads_to == visitor]
        key = ShopperMerge.objects.get(visitor=visitor, undone_at=None).pk
        self.merges[key] = Known(visitor, account, moved, [device.cookie for device in here])
        for event in moved:
            self.owner[event] = account
        for device in here:
            device.leads_to = account


@pytest.mark.django_db
def test_identities() -> None:
    run_state_machine_as_test(
        Identities,
        settings=run_settings(
            max_examples=rounds(30, 1000),
            stateful_step_count=25,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
        ),
    )
