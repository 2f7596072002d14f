"""What a shop still lacks, counted and said in sentences."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from personalization.learning import readiness as room
from personalization.learning.readiness import readiness
from personalization.models import Event, Exposure, Offer, Shopper
from tests.support import build

pytestmark = pytest.mark.django_db
NOW = datetime(2026, 5, 1, tzinfo=UTC)
DAY = timedelta(days=1)


@pytest.fixture(autouse=True)
def _few(settings: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    settings.PERSONALIZATION = {**settings.PERSONALIZATION, "MIN_EXPOSURES": 3}
    monkeypatch.setattr(room, "MIN_POSITIVES", 1)
    monkeypatch.setattr(room, "MIN_ORDERS", 2)


@pytest.fixture
def offer() -> Offer:
    return build.offer()


def expose(shopper: Shopper, offer: Offer | None, *, closed: bool = True, redeemed: bool = False) -> None:
    end = NOW - DAY if closed else NOW + DAY
    Exposure.objects.create(
        shopper=shopper, offer=offer, exposed_at=NOW - 2 * DAY, window_ends_at=end,
        redeemed_at=NOW - 2 * DAY if redeemed else None,
    )  # fmt: skip


def order(shopper: Shopper, at: datetime = NOW - DAY) -> None:
    number = Event.objects.count()
    Event.objects.create(source="t", event_id=str(number), type="order_placed", shopper=shopper, occurred_at=at)


def test_an_empty_shop_is_told_what_it_needs() -> None:
    ready = readiness()
    assert (ready.exposures, ready.positives, ready.orders) == (0, 0, 0)
    assert not ready.ready_response
    assert not ready.ready_preference
    assert ready.sentences == [
        "0 exposures whose outcome is known (3 needed): not enough yet",
        "0 redemptions among them (1 needed): not enough yet",
        "0 orders with consent (2 needed): not enough yet",
        "0 days of behaviour (49 needed for purchase intent): not enough yet",
    ]
    assert not ready.ready_intent


def test_large_numbers_are_grouped(settings: Any) -> None:
    settings.PERSONALIZATION = {**settings.PERSONALIZATION, "MIN_EXPOSURES": 5000}
    assert readiness().sentences[0] == "0 exposures whose outcome is known (5,000 needed): not enough yet"


def test_a_shop_with_enough_is_ready(offer: Offer) -> None:
    person = build.shopper()
    for number in range(3):
        expose(person, offer, redeemed=number == 0)
    order(person)
    order(person)
    ready = readiness(until=NOW)
    assert ready.ready_response
    assert ready.ready_preference
    assert (ready.exposures, ready.positives, ready.orders) == (3, 1, 2)
    assert ready.sentences == [
        "3 exposures whose outcome is known (3 needed): enough",
        "1 redemptions among them (1 needed): enough",
        "2 orders with consent (2 needed): enough",
        "1 days of behaviour (49 needed for purchase intent): not enough yet",
    ]
    assert not ready.ready_intent
    order(person, NOW - 49 * DAY)
    assert readiness(until=NOW).ready_intent
    assert not readiness(until=NOW - DAY).ready_intent


def test_more_than_enough_is_said_to_be_enough(offer: Offer) -> None:
    for number in range(4):
        expose(build.shopper(), offer, redeemed=number == 0)
    sentences = readiness(until=NOW).sentences
    assert sentences[0] == "4 exposures whose outcome is known (3 needed): enough"
    assert sentences[2].endswith("not enough yet")


def test_exposures_without_any_redemption_are_not_enough(offer: Offer) -> None:
    for _ in range(3):
        expose(build.shopper(), offer)
    assert not readiness(until=NOW).ready_response


def test_what_may_not_be_learnt_from_does_not_count(offer: Offer) -> None:
    person = build.shopper()
    expose(person, offer, closed=False, redeemed=True)
    expose(person, None)
    order(person, NOW + DAY)
    silent: list[dict[str, Any]] = [
        {"consent_personalisation": False},
        {"is_bot": True},
        {"merged_into": person},
        {"population": "games"},
    ]
    for fields in silent:
        other = build.shopper(**fields)
        expose(other, offer, redeemed=True)
        order(other)
    ready = readiness(until=NOW)
    assert (ready.exposures, ready.positives, ready.orders) == (0, 0, 0)
    games = readiness("games", until=NOW)
    assert (games.exposures, games.positives, games.orders) == (1, 1, 1)
