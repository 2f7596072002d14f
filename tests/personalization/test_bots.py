"""Bots by what they do: rules, verdicts that can change, staff's word, and all that stands on it."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.core.management import call_command
from django.urls import reverse
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from personalization import api
from personalization.checks import check_settings
from personalization.models import Event, Exposure, SessionVerdict, Shopper
from personalization.ports.signals import events_rewritten
from personalization.tracking import bot_rules, bots, judging
from personalization.tracking.bot_rules import Seen
from tests.personalization.builders import AGENT, make_event, make_offer, make_shopper, make_user
from tests.personalization.conftest import Configure

NOW = timezone.now().replace(minute=0, second=0, microsecond=0)


def pages(count: int, every: float, dwell_ms: float | None = None) -> list[Seen]:
    return [Seen("page_viewed", number * every, dwell_ms) for number in range(count)]


# --- Rules ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("events", "rule"),
    [
        ([], ""),
        (pages(120, 0.4), "no_dwell"),
        (pages(121, 0.4), "rate"),
        ([Seen("basket_changed", number * 0.4) for number in range(121)], "rate"),
        ([Seen("basket_changed", number * 0.5) for number in range(121)], ""),  # the 121st comes after a minute
        (pages(29, 0.5), ""),
        (pages(30, 0.5), "no_dwell"),
        (pages(30, 1.5), ""),
        ([*pages(30, 0.5), Seen("page_left", 20.0, 4000)], ""),
        ([*pages(30, 0.5), Seen("page_left", 20.0, 40)], "no_dwell"),
        ([Seen("offer_clicked", 9.0 * number) for number in range(5)], "impossible"),
        ([Seen("offer_clicked", 9.0 * number) for number in range(4)], ""),
        ([Seen("offer_viewed", 0.0), *(Seen("offer_clicked", 9.0 * number) for number in range(1, 9))], ""),
    ],
)
def test_what_a_rule_says(events: list[Seen], rule: str) -> None:
    assert bot_rules.broken(events, {}) == rule


def test_thresholds_are_the_shops_to_change() -> None:
    assert bot_rules.broken(pages(30, 0.5), {"no_dwell": {"pages": 31}}) == ""
    assert bot_rules.broken(pages(200, 0.1), {"no_dwell": {"pages": 0}, "rate": {"most": 0}}) == ""
    off = {name: {next(iter(limits)): 0.0} for name, limits in bot_rules.DEFAULTS.items()}
    assert bot_rules.thresholds(off) == {}
    assert bot_rules.least_events(off) == 0
    assert bot_rules.least_events({}) == 5


@given(st.lists(st.floats(0, 10_000), max_size=300), st.integers(1, 50), st.floats(0.1, 100))
def test_the_rate_is_a_sliding_window(moments: list[float], most: int, seconds: float) -> None:
    """Against the slow way: count from every event on."""
    ordered = sorted(moments)
    slow = any(sum(0 <= other - at < seconds for other in ordered[place:]) > most for place, at in enumerate(ordered))
    own: dict[str, dict[str, float]] = {"no_dwell": {"pages": 0}, "impossible": {"clicks": 0}}
    own["rate"] = {"most": most, "seconds": seconds}
    assert (bot_rules.broken([Seen("x", at) for at in ordered], own) == "rate") is slow


def test_the_checks_know_the_rules(configure: Configure) -> None:
    for wrong in ({"speed": {"most": 1}}, {"rate": {"pages": 1}}, {"rate": {"most": -1}}, {"rate": 5}):
        configure(BOT_RULES=wrong)
        assert "personalization.E010" in {message.id for message in check_settings(None)}, wrong
    configure(BOT_RULES={"rate": {"most": 200}})
    assert "personalization.E010" not in {message.id for message in check_settings(None)}


@pytest.mark.parametrize("agent", [f"{AGENT} HeadlessChrome/140.0", "Playwright/1.5", "python selenium 4"])
def test_a_headless_browser_is_a_bot(agent: str) -> None:
    assert bots.is_bot(agent)
    assert not bots.is_bot(AGENT)


# --- Verdicts ---------------------------------------------------------------------------------------------------------


def rush(shopper: Shopper, count: int = 40, *, ago: timedelta = timedelta(minutes=20), **fields: Any) -> list[Event]:
    """Store a session of page views, four a second."""
    began = NOW - ago
    return [
        make_event(shopper, "page_viewed", occurred_at=began + timedelta(seconds=number / 4), **fields)
        for number in range(count)
    ]


def flags(shopper: Shopper) -> set[bool]:
    return set(Event.objects.filter(shopper=shopper).values_list("is_bot", flat=True))


@pytest.fixture
def heard() -> Any:
    told: list[Any] = []

    def hear(sender: Any, shopper_ids: Any, first_day: Any, last_day: Any, **kwargs: Any) -> None:
        told.append((list(shopper_ids), first_day, last_day))

    events_rewritten.connect(hear)
    yield told
    events_rewritten.disconnect(hear)


@pytest.mark.django_db
def test_the_chore_flags_a_rush_and_nobody_else(shopper: Shopper, heard: list[Any]) -> None:
    rush(shopper)
    slow, person = make_shopper(), make_shopper()
    for number in range(8):
        make_event(slow, "page_viewed", occurred_at=NOW - timedelta(minutes=number))
    make_event(person, "page_viewed", occurred_at=NOW)
    assert judging.judge_recent(NOW + timedelta(minutes=1)) == 0  # every ten minutes
    assert judging.judge_recent(NOW) == 1
    assert judging.judge_recent(NOW) == 0
    assert (flags(shopper), flags(slow), flags(person)) == ({True}, {False}, {False})
    verdict = SessionVerdict.objects.get()
    assert (verdict.rule, verdict.is_bot, verdict.events, verdict.shopper) == ("no_dwell", True, 40, shopper)
    shopper.refresh_from_db()
    assert shopper.is_bot
    day = (NOW - timedelta(minutes=20)).date()
    assert heard == [([shopper.pk], day, day)]


@pytest.mark.django_db
def test_only_the_session_is_flagged_and_never_an_order(shopper: Shopper) -> None:
    earlier = make_event(shopper, "page_viewed", occurred_at=NOW - timedelta(hours=3))
    rush(shopper)
    order = make_event(shopper, "order_placed", occurred_at=NOW - timedelta(minutes=20))
    judging.judge(shopper.pk)
    left = Event.objects.filter(shopper=shopper, is_bot=False)
    assert set(left) == {earlier, order}
    shopper.refresh_from_db()
    assert not shopper.is_bot  # somebody bought, and looked around before


@pytest.mark.django_db
def test_a_verdict_changes_with_the_rules_and_back(shopper: Shopper, configure: Configure) -> None:
    rush(shopper)
    crawler = rush(shopper, 3, ago=timedelta(minutes=19), is_bot=True)[0]
    judging.judge(shopper.pk)
    assert flags(shopper) == {True}
    configure(BOT_RULES={"no_dwell": {"pages": 500}})
    assert judging.judge(shopper.pk) == 1
    assert Event.objects.filter(shopper=shopper, is_bot=True).count() == 3  # a crawler by its own name stays one
    assert Event.objects.get(pk=crawler.pk).is_bot
    configure(BOT_RULES={})
    assert judging.judge(shopper.pk) == 1
    assert flags(shopper) == {True}


@pytest.mark.django_db
def test_staffs_word_stands_until_they_ask_again(shopper: Shopper) -> None:
    rush(shopper)
    named = rush(shopper, 2, ago=timedelta(minutes=19), is_bot=True)
    judging.judge(shopper.pk)
    mara = make_user()
    assert judging.declare(shopper.pk, is_bot=False, by=mara) == 1
    assert flags(shopper) == {False}
    assert judging.judge(shopper.pk) == 0
    assert flags(shopper) == {False}
    assert judging.judge(shopper.pk, anew=True) == 1
    assert flags(shopper) == {True}
    verdict = SessionVerdict.objects.get()
    assert (verdict.by, verdict.rule) == (None, "no_dwell")
    assert not set(verdict.flagged) & {event.pk for event in named}
    quiet = make_shopper()
    make_event(quiet, "page_viewed", occurred_at=NOW)
    assert judging.declare(quiet.pk, is_bot=True, by=mara) == 1
    assert flags(quiet) == {True}


@pytest.mark.django_db
def test_what_was_counted_of_it_follows(shopper: Shopper, plain: None) -> None:
    """An exposure that only a bot looked at was not looked at; once it is a person's, it was."""
    offer = make_offer()
    exposure = Exposure.objects.create(
        shopper=shopper, offer=offer, exposed_at=NOW - timedelta(hours=1), window_ends_at=NOW + timedelta(days=1)
    )
    rush(shopper)
    make_event(shopper, "offer_viewed", offer=offer, occurred_at=NOW - timedelta(minutes=20))
    api.join_outcomes()
    exposure.refresh_from_db()
    assert exposure.viewed_at is not None
    judging.judge(shopper.pk)
    exposure.refresh_from_db()
    assert exposure.viewed_at is None
    judging.declare(shopper.pk, is_bot=False, by=make_user())
    exposure.refresh_from_db()
    assert exposure.viewed_at is not None


@pytest.mark.django_db
def test_the_command_judges_again(shopper: Shopper, configure: Configure, capsys: Any) -> None:
    rush(shopper, ago=timedelta(hours=2))
    call_command("judge_bots", days=2)
    told = capsys.readouterr().out
    assert "1 shoppers judged, 1 sessions changed." in told
    assert "no_dwell: 1 sessions flagged" in told
    configure(BOT_RULES={"no_dwell": {"pages": 0}})
    call_command("judge_bots", days=2)
    assert "1 sessions changed." in capsys.readouterr().out
    assert flags(shopper) == {False}


# --- The admin --------------------------------------------------------------------------------------------------------


@pytest.mark.django_db
def test_staff_change_a_verdict(client: Any, shopper: Shopper) -> None:
    rush(shopper)
    judging.judge(shopper.pk)
    row = SessionVerdict.objects.get()
    url = reverse("admin:personalization_sessionverdict_changelist")

    def act(action: str) -> Any:
        return client.post(url, {"action": action, "_selected_action": [row.pk]}, follow=True)

    client.force_login(make_user("view_sessionverdict"))
    assert act("is_a_person").status_code == 200
    assert flags(shopper) == {True}  # looking is not judging
    user = make_user("view_sessionverdict", "judge_sessionverdict")
    client.force_login(user)
    assert "1 session changed." in act("is_a_person").content.decode()
    row.refresh_from_db()
    assert (flags(shopper), row.by) == ({False}, user)
    act("judge_again")
    assert flags(shopper) == {True}
    act("is_a_person")
    act("is_a_bot")
    assert flags(shopper) == {True}
