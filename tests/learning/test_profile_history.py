"""Earlier profiles: the past is read as it was, by the frames and by every row's own moment."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from unittest import mock

import numpy as np
import pytest
from django.db import IntegrityError, transaction
from pytest_django import Settings

from personalization import api
from personalization.features import reference, rollups
from personalization.features.compute import FeatureBuilder, Rows
from personalization.features.frames import milliseconds
from personalization.features.specification import INDEX
from personalization.learning import frames
from personalization.models import ProfileVersion, Shopper
from personalization.privacy import erasure, handout
from personalization.tracking import consent, profiles
from personalization.types import Purpose, ShopperData

pytestmark = pytest.mark.django_db
START = datetime(2026, 5, 1, 12, tzinfo=UTC)
DAY = timedelta(days=1)
AGREED = frozenset({Purpose.ANALYTICS, Purpose.PERSONALISATION})


def give(at: datetime, purposes: frozenset[Purpose] = AGREED, **attributes: Any) -> Shopper:
    """Import a shopper with a profile, as of a moment."""
    row = ShopperData("set:1", "shop", attributes=attributes, purposes=purposes, consent_source="form")
    with mock.patch("django.utils.timezone.now", return_value=at):
        return Shopper.objects.get(pk=api.upsert_shoppers([row])["set:1"])


@pytest.fixture(autouse=True)
def _ages_may_be_used(settings: Settings) -> None:
    settings.PERSONALIZATION = {**settings.PERSONALIZATION, "PROTECTED_USES": {"offers": ["age"]}}


@pytest.fixture
def mara() -> Shopper:
    """Silver at first, gold from the tenth day, and a year older from the twentieth."""
    give(START, tier="silver", age=30)
    give(START + 10 * DAY, tier="gold", age=30)
    give(START + 10 * DAY, tier="gold", age=30)  # nothing new
    return give(START + 20 * DAY, tier="gold", age=31)


def told(until: datetime, *moments: datetime) -> list[tuple[str, float]]:
    """Return tier and age as frames until a moment say they were at others."""
    found = FeatureBuilder(frames.load("shop", until))
    nothing = np.zeros(len(moments), dtype=np.int64)
    rows = Rows(nothing, nothing, np.array([milliseconds(moment) for moment in moments]), nothing)
    return list(zip(found.text("tier", rows).tolist(), found.build(rows)[:, INDEX["age"]].tolist(), strict=True))


def test_each_change_leaves_what_was_before(mara: Shopper) -> None:
    rows = ProfileVersion.objects.filter(shopper=mara).order_by("valid_to")
    assert list(rows.values_list("attributes", "valid_from", "valid_to")) == [
        ({"tier": "silver", "age": 30}, None, START + 10 * DAY),
        ({"tier": "gold", "age": 30}, START + 10 * DAY, START + 20 * DAY),
    ]


def test_a_frame_of_the_past_holds_the_profile_of_the_past(mara: Shopper) -> None:
    assert frames.load("shop", START + 5 * DAY).shoppers.attributes == [{"tier": "silver", "age": 30}]
    assert frames.load("shop", START + 15 * DAY).shoppers.attributes == [{"tier": "gold", "age": 30}]
    assert frames.load("shop", START + 25 * DAY).shoppers.attributes == [{"tier": "gold", "age": 31}]


@pytest.mark.parametrize("until", [25, 400])
def test_every_row_reads_the_profile_of_its_own_moment(mara: Shopper, until: int) -> None:
    moments = [START + days * DAY for days in (1, 10, 10.001, 20, 21)]
    silver, gold, older = ("silver", 30.0), ("gold", 30.0), ("gold", 31.0)
    # As with events: what happens at the moment itself is not known yet.
    assert told(START + until * DAY, *moments) == [silver, silver, gold, gold, older]


def test_the_frame_equals_the_reference(mara: Shopper) -> None:
    rows = ProfileVersion.objects.filter(shopper=mara).values_list("valid_to", "attributes")
    history = reference.History(mara.attributes, earlier=[(milliseconds(until), kept) for until, kept in rows])
    moments = [START + hours * timedelta(hours=1) for hours in range(0, 25 * 24, 7)]
    wanted = [reference.profile_at(history, milliseconds(moment)) for moment in moments]
    assert told(START + 30 * DAY, *moments) == [(each["tier"], float(each["age"])) for each in wanted]


def test_without_history_the_present_leaks_into_the_past(mara: Shopper) -> None:
    """The negative control."""
    ProfileVersion.objects.all().delete()
    assert told(START + 30 * DAY, START + DAY) == [("gold", 31.0)]


def test_only_who_agreed_has_a_history_and_withdrawal_takes_it(mara: Shopper) -> None:
    consent.record(mara, (), source="test")
    assert not ProfileVersion.objects.exists()
    give(START + 30 * DAY, tier="none")
    assert not ProfileVersion.objects.exists()


def test_consent_that_went_another_way_takes_it_with_the_next_refresh(mara: Shopper) -> None:
    Shopper.objects.filter(pk=mara.pk).update(consent_personalisation=False)
    rollups.tidy()
    assert not ProfileVersion.objects.exists()


def test_export_tells_it_and_erasure_takes_it(mara: Shopper) -> None:
    assert len(handout.export(mara)["earlier_profiles"]) == 2
    erasure.erase(mara)
    assert not ProfileVersion.objects.exists()


def test_versions_cannot_overlap(mara: Shopper) -> None:
    """What the constraints hold: one beginning, one successor each, and no version that ends before it begins."""
    whole = {"shopper": mara, "attributes": {}}
    for fields in (
        {"valid_from": None, "valid_to": START + 5 * DAY},
        {"valid_from": START + 10 * DAY, "valid_to": START + 40 * DAY},
        {"valid_from": START + 12 * DAY, "valid_to": START + 20 * DAY},
        {"valid_from": START + 50 * DAY, "valid_to": START + 50 * DAY},
    ):
        with pytest.raises(IntegrityError), transaction.atomic():
            ProfileVersion.objects.create(**whole, **fields)
    profiles.keep([mara], START + 20 * DAY)  # at the moment of the last change: held for no time
    assert ProfileVersion.objects.count() == 2
