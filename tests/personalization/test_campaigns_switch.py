"""The kill switch stops what begins and lets what is under way finish; sites and clocks of a campaign."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.core.exceptions import ValidationError
from django.core.management import CommandError, call_command
from django.db import transaction

from personalization import api
from personalization.campaigns import clock, coupons, sites, switch
from personalization.exceptions import ClaimRefused, CouponRefused, InvalidTerms, InvalidTransition
from personalization.models import Campaign, Offer, Shopper, Switch, SwitchChange
from tests.personalization import builders
from tests.personalization.builders import make_basket, make_offer, make_request, running

pytestmark = pytest.mark.django_db
BERLIN = clock.zone("Europe/Berlin")


def test_while_it_is_engaged_nothing_begins_and_what_is_held_is_paid(
    offer: Offer, shopper: Shopper, plain: None
) -> None:
    issued = api.claim(offer.pk, shopper=shopper)
    hold = api.reserve(shopper=shopper, basket=make_basket(), idempotency_key="k", coupon_id=issued.coupon_id)
    later = make_offer()
    other = api.claim(later.pk, shopper=shopper)
    fresh = make_offer()
    assert switch.engage("shop", builders.make_user("stop_campaign"), "wrong price")
    with pytest.raises(ClaimRefused) as claim:
        api.claim(fresh.pk, shopper=shopper)
    with pytest.raises(CouponRefused) as reserve:
        api.reserve(shopper=shopper, basket=make_basket(), idempotency_key="l", coupon_id=other.coupon_id)
    with pytest.raises(ClaimRefused):
        coupons.require_open(fresh.pk)
    assert (claim.value.reason, reserve.value.reason) == ("switched_off", "switched_off")
    decision = api.decide("home_hero", shopper=shopper)
    assert (decision.offers, decision.fallback) == ((), "switched_off")
    with transaction.atomic():
        assert api.redeem(hold.reservation_id, order_label="o", order_id="1") == 1000
    api.refund(order_label="o", order_id="1", operation_id="r", amount_minor=300)
    assert switch.open("shop")
    assert api.decide("home_hero", shopper=shopper).offers
    assert api.claim(fresh.pk, shopper=shopper).new


def test_every_turn_is_written_down_once() -> None:
    user = builders.make_user("stop_campaign")
    assert switch.engage("shop", user, "first")
    assert not switch.engage("shop", user, "second")
    assert switch.open("shop", user, "mended")
    assert not switch.open("shop")
    rows = SwitchChange.objects.order_by("pk").values_list("engaged", "reason", "by")
    assert list(rows) == [(True, "first", user.pk), (False, "mended", user.pk)]
    assert [row.reason for row in switch.history("shop")] == ["mended", "first"]
    assert not switch.engaged("shop")


def test_stopping_needs_its_permission_and_a_reason() -> None:
    for turn in (switch.engage, switch.open):
        with pytest.raises(InvalidTransition, match="may not"):
            turn("shop", builders.make_user("launch_campaign", "change_campaign"), "why")
    with pytest.raises(InvalidTransition, match="Say why"):
        switch.engage("shop", None, " ")
    assert not Switch.objects.exists()


def test_another_population_goes_on(offer: Offer, shopper: Shopper) -> None:
    switch.engage("elsewhere", None, "x")
    assert api.claim(offer.pk, shopper=shopper).new


def test_pages_read_a_copy_and_claims_read_the_database(
    offer: Offer, shopper: Shopper, monkeypatch: pytest.MonkeyPatch, django_assert_num_queries: Any
) -> None:
    now = [100.0]
    monkeypatch.setattr(switch.time, "monotonic", lambda: now[0])
    assert not switch.engaged("shop")
    Switch.objects.bulk_create([Switch(population="shop", engaged=True)])  # as another process does: no signal here
    with django_assert_num_queries(0):
        assert not switch.engaged("shop")
    with pytest.raises(ClaimRefused):
        api.claim(offer.pk, shopper=shopper)
    now[0] += switch.TTL_SECONDS + 0.01
    assert switch.engaged("shop")


def test_the_command_stops_and_opens(capsys: pytest.CaptureFixture[str]) -> None:
    user = builders.make_user("stop_campaign", username="ada")
    with pytest.raises(CommandError, match="Say why"):
        call_command("campaigns_stop")
    with pytest.raises(CommandError, match="no account"):
        call_command("campaigns_stop", reason="x", by="nobody")
    call_command("campaigns_stop", reason="wrong price", by="ada")
    assert Switch.objects.get().by == user
    assert "by ada: wrong price" in capsys.readouterr().out
    call_command("campaigns_stop", open=True)
    assert "are open" in capsys.readouterr().out
    assert not Switch.objects.get().engaged
    call_command("campaigns_stop", status=True)
    assert "are open" in capsys.readouterr().out


def test_a_population_that_is_typed_wrongly_is_not_said_to_be_stopped() -> None:
    """In an emergency nobody looks twice: “shpo: stopped” would leave the shop's own campaigns on."""
    builders.make_offer(builders.running(population="imported"))
    with pytest.raises(CommandError, match="There are: imported, shop"):
        call_command("campaigns_stop", reason="wrong price", population="shpo")
    assert not Switch.objects.exists()
    call_command("campaigns_stop", reason="wrong price", population="imported")
    assert Switch.objects.get().population == "imported"


# --- Sites ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "host", "shows"),
    [
        ([], "a.example", True),
        (["a.example"], "a.example", True),
        (["a.example"], "A.Example:8000", True),
        (["a.example", "b.example"], "b.example", True),
        (["a.example"], "b.example", False),
        (["a.example"], "www.a.example", False),
    ],
)
def test_a_campaign_shows_on_its_sites(plain: None, names: list[str], host: str, shows: bool) -> None:
    offer = make_offer(running(sites=names))
    shopper = builders.make_shopper()
    request = make_request(visitor=builders.make_alias(shopper), headers={"host": host})
    assert bool(api.decide("home_hero", request=request).offers) == shows
    if shows:
        assert api.claim(offer.pk, shopper=shopper, request=request).new
        return
    with pytest.raises(ClaimRefused) as refused:
        api.claim(offer.pk, shopper=shopper, request=request)
    assert refused.value.reason == sites.REASON
    assert api.decide("home_hero", shopper=shopper).offers  # a program names no site


def test_a_site_costs_no_query(plain: None, shopper: Shopper, django_assert_max_num_queries: Any) -> None:
    make_offer(running(sites=["a.example"]))
    request = make_request(visitor=builders.make_alias(shopper), headers={"host": "a.example"})
    api.decide("home_hero", request=request)
    with django_assert_max_num_queries(30) as first:
        api.decide("home_hero", request=request)
    Campaign.objects.update(sites=[])
    with django_assert_max_num_queries(30) as second:
        api.decide("home_hero", request=request)
    assert len(first) == len(second)


@pytest.mark.parametrize(
    ("field", "value"),
    [("sites", ["https://a.example"]), ("sites", ["a.example:80"]), ("sites", "a.example"), ("sites", ["A.example"]),
     ("sites", [""]), ("time_zone", "Europe"), ("time_zone", "../etc/passwd"), ("time_zone", "Mars/Olympus")],
)  # fmt: skip
def test_a_place_that_is_none_is_refused(field: str, value: Any) -> None:
    campaign = builders.builders.make_campaign(**{field: value})
    make_offer(campaign)
    with pytest.raises(ValidationError) as refused:
        campaign.full_clean()
    assert field in refused.value.message_dict
    with pytest.raises(InvalidTerms):
        api.launch(campaign)


# --- Clocks -----------------------------------------------------------------------------------------------------------


def on_the_wall(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC).replace(tzinfo=None)  # type: ignore[misc, arg-type]


def test_a_time_that_is_left_out_is_refused() -> None:
    with pytest.raises(InvalidTerms, match=r"does not exist in Europe/Berlin"):
        clock.instant(on_the_wall(2026, 3, 29, 2, 30), BERLIN)
    assert clock.instant(on_the_wall(2026, 3, 29, 3, 0), BERLIN) == datetime(2026, 3, 29, 1, tzinfo=UTC)


def test_a_time_that_comes_twice_is_the_first_or_the_second() -> None:
    shown = on_the_wall(2026, 10, 25, 2, 30)
    first, second = clock.instant(shown, BERLIN), clock.instant(shown, BERLIN, second=True)
    assert (first.hour, second.hour) == (0, 1)
    assert clock.wall(first, BERLIN) == clock.wall(second, BERLIN) == shown
    assert (clock.wall(first, BERLIN).fold, clock.wall(second, BERLIN).fold) == (0, 1)


def test_days_keep_the_time_on_the_wall() -> None:
    start = datetime(2026, 3, 28, 9, tzinfo=UTC)
    assert clock.days_after(start, 1, BERLIN) - start == timedelta(hours=23)
    in_the_gap = clock.instant(on_the_wall(2026, 3, 28, 2, 30), BERLIN)
    assert clock.wall(clock.days_after(in_the_gap, 1, BERLIN), BERLIN) == on_the_wall(2026, 3, 29, 3, 30)
    assert clock.next_midnight(start, BERLIN) == datetime(2026, 3, 28, 23, tzinfo=UTC)


def test_a_zone_that_is_none() -> None:
    with pytest.raises(InvalidTerms, match="no time zone"):
        clock.zone("Mars/Olympus")
    assert clock.zone_of(Campaign(time_zone="Asia/Shanghai")).key == "Asia/Shanghai"
    assert clock.zone("").key
