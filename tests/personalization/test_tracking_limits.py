"""Tries are counted for everybody they stand for, and refused above the limit; forged addresses change nothing."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.core.checks import run_checks
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from personalization.exceptions import TooManyTries
from personalization.models import RateCount
from personalization.tracking import limits
from tests.personalization.builders import make_account, make_request, make_shopper
from tests.personalization.conftest import Configure

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _noon(monkeypatch: pytest.MonkeyPatch) -> None:
    """No window ends while a test runs."""
    monkeypatch.setattr(limits.timezone, "now", lambda: datetime(2026, 5, 1, 12, 0, 30, tzinfo=UTC))


@pytest.fixture
def few(configure: Configure) -> None:
    configure(RATE_LIMITS={"code": ["account 3/h", "session 3/h", "network 5/h"]})


def from_address(address: str, **meta: str) -> object:
    request = make_request()
    request.META.update({"REMOTE_ADDR": address, **meta})
    return request


def passes(times: int, **who: object) -> int:
    passed = 0
    for _ in range(times):
        try:
            limits.attempt("code", **who)  # type: ignore[arg-type]
        except TooManyTries:
            continue
        passed += 1
    return passed


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("account 20/h", limits.Limit("account", 20, 3600)),
        ("network 300/15m", limits.Limit("network", 300, 900)),
        ("session 1/d", limits.Limit("session", 1, 86_400)),
    ],
)
def test_a_limit_is_read(text: str, expected: limits.Limit) -> None:
    assert limits.parse(text) == expected


@pytest.mark.parametrize(
    "text", ["", "account", "account 0/h", "account 20/w", "ip 20/h", "account -1/h", "network 1/2d"]
)
def test_what_is_no_limit_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"limit|window"):
        limits.parse(text)


def test_the_built_in_limits_can_be_read_and_a_scope_that_is_not_declared_is_a_mistake() -> None:
    assert all(limits.in_force(scope) for scope in limits.BUILT_IN)
    with pytest.raises(KeyError):
        limits.attempt("cdoe", shopper=make_shopper())


def test_a_shopper_has_so_many_tries_and_another_has_their_own(few: None) -> None:
    assert passes(5, shopper=make_shopper()) == 3
    assert passes(5, shopper=make_shopper()) == 3


def test_an_account_is_the_same_through_shopper_and_request(few: None) -> None:
    account = make_account()
    assert passes(2, shopper=make_shopper(user=account)) == 2
    assert passes(3, request=make_request(user=account)) == 1


def test_new_sessions_from_one_address_run_into_its_limit(few: None) -> None:
    assert sum(passes(1, request=from_address("198.51.100.7")) for _ in range(9)) == 5
    assert passes(1, request=from_address("198.51.100.8")) == 1


def test_an_ipv6_visitor_has_one_network_however_many_addresses(few: None) -> None:
    assert sum(passes(1, request=from_address(f"2001:db8::{number:x}")) for number in range(1, 10)) == 5


def test_a_forged_forwarding_header_gives_no_new_address(few: None) -> None:
    tries = [from_address("198.51.100.7", HTTP_X_FORWARDED_FOR=f"203.0.113.{n}") for n in range(9)]
    assert sum(passes(1, request=request) for request in tries) == 5


def test_behind_our_proxy_only_what_it_wrote_counts(few: None, configure: Configure) -> None:
    configure(TRUSTED_PROXIES=1)
    tries = [from_address("10.0.0.1", HTTP_X_FORWARDED_FOR=f"203.0.113.{n}, 198.51.100.7") for n in range(9)]
    assert sum(passes(1, request=request) for request in tries) == 5
    other = from_address("10.0.0.1", HTTP_X_FORWARDED_FOR="198.51.100.8")
    assert passes(1, request=other) == 1


def test_behind_a_proxy_that_nobody_declared_shoppers_do_not_lock_each_other_out(
    few: None, caplog: pytest.LogCaptureFixture
) -> None:
    limits._tell_of_proxy.cache_clear()
    tries = [from_address("10.0.0.1", HTTP_X_FORWARDED_FOR=f"203.0.113.{n}") for n in range(9)]
    assert sum(passes(1, request=request) for request in tries) == 9
    assert caplog.text.count("TRUSTED_PROXIES") == 1


def test_all_identities_are_counted_by_one_statement(few: None) -> None:
    request = make_request(user=make_account(), visitor="abc")
    with CaptureQueriesContext(
        connection,
    ) as queries:
        limits.attempt("code", request=request)
    assert len(queries) == 1
    assert RateCount.objects.count() == 3


def test_what_is_stored_names_nobody(few: None) -> None:
    limits.attempt("code", request=from_address("198.51.100.7"))  # type: ignore[arg-type]
    row = RateCount.objects.get()
    assert "198.51" not in f"{row.scope}{row.digest}"
    assert len(row.digest) == 64


def test_the_next_window_begins_anew(few: None, monkeypatch: pytest.MonkeyPatch) -> None:
    shopper = make_shopper()
    assert passes(9, shopper=shopper) == 3
    monkeypatch.setattr(limits.timezone, "now", lambda: datetime(2026, 5, 1, 13, 0, tzinfo=UTC))
    assert passes(9, shopper=shopper) == 3


def test_two_windows_that_begin_together_are_two_counts(configure: Configure, monkeypatch: pytest.MonkeyPatch) -> None:
    configure(RATE_LIMITS={"code": ["account 3/h", "account 4/d"]})
    shopper = make_shopper()
    monkeypatch.setattr(limits.timezone, "now", lambda: datetime(2026, 5, 1, 0, 0, 1, tzinfo=UTC))
    assert passes(3, shopper=shopper) == 3
    assert sorted(RateCount.objects.values_list("count", flat=True)) == [3, 3]


def test_an_empty_list_lifts_the_limits(configure: Configure) -> None:
    configure(RATE_LIMITS={"code": []})
    assert passes(100, shopper=make_shopper()) == 100
    assert RateCount.objects.count() == 0


def test_old_counts_are_deleted(few: None) -> None:
    limits.attempt("code", shopper=make_shopper())
    now = timezone.now()
    assert limits.forget_old(now) == 0
    assert limits.forget_old(now + timedelta(days=3)) == 1


def found(settings: object) -> set[str]:
    return {message.id for message in run_checks(include_deployment_checks=False) if message.id}


@pytest.mark.parametrize("limits_given", [{"code": ["account 20"]}, {"code": "account 20/h"}, {"code": [7]}])
def test_the_system_check_reports_a_limit_that_cannot_be_read(limits_given: object, configure: Configure) -> None:
    configure(RATE_LIMITS=limits_given)
    assert "personalization.E008" in found(None)


def test_the_system_check_passes_what_can_be_read(configure: Configure) -> None:
    configure(RATE_LIMITS={"code": ["account 20/h"], "own": ["network 5/10s"]})
    assert "personalization.E008" not in found(None)


def test_the_system_check_warns_of_a_proxy_whose_header_nobody_reads(settings: object, configure: Configure) -> None:
    settings.SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")  # type: ignore[attr-defined]
    assert "personalization.W004" in found(None)
    configure(TRUSTED_PROXIES=1)
    assert "personalization.W004" not in found(None)
