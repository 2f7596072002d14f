"""The quick model is told, while a page is made, what a training told it of the same shopper at the same moment."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pytest
from django.utils import timezone

from personalization.decisioning import momentary
from personalization.features.compute import FeatureBuilder, Rows
from personalization.features.frames import milliseconds
from personalization.learning import frames as reading
from personalization.models import Campaign, CatalogItem, Event, Offer, Shopper
from personalization.pure import quick as page
from tests.support import build
from worker import quick

pytestmark = pytest.mark.django_db


class Shop:
    """One shopper, one offer about tea, and what happens."""

    def __init__(self) -> None:
        self.now = timezone.now()
        self.shopper: Shopper = build.shopper(attributes={"income": 42_000}, created_at=self.now - timedelta(days=3))
        CatalogItem.objects.create(item_id="p1", category="tea", price_minor=100, currency="EUR", title="Green tea")
        campaign = Campaign.objects.create(
            name="One", status="running", starts_at=self.now - timedelta(days=1), ends_at=self.now + timedelta(days=5)
        )
        self.offer = Offer.objects.create(campaign=campaign, kind="coupon", name="x", amount_minor=100, category="tea")

    def happens(self, kind: str, ago: timedelta, **more: Any) -> None:
        number = Event.objects.count()
        moment: datetime = self.now - ago
        Event.objects.create(
            source="t", event_id=str(number), shopper=self.shopper, type=kind, occurred_at=moment, **more
        )

    def both(self) -> tuple[list[float], list[float]]:
        """Return the features as a training computes them, and as a page does."""
        frames, at = reading.load("shop", self.now), np.array([milliseconds(self.now)])
        rows = Rows(np.array([0]), np.array([0]), at, at + 1)
        trained = quick.recent_features(FeatureBuilder(frames), rows)[0]
        return trained.tolist(), page.features(momentary.read(self.shopper, self.now), self.offer.category)


def test_training_and_page_read_the_same() -> None:
    shop = Shop()
    shop.happens("order_placed", timedelta(hours=2), value_minor=5000)
    shop.happens("product_viewed", timedelta(hours=1), item_id="p1")  # its category is left to the catalogue
    shop.happens("category_viewed", timedelta(minutes=50), category="coffee")
    trained, served = shop.both()
    assert served == pytest.approx(trained, abs=1e-4)
    assert all(trained[page.NAMES.index(name)] > 0 for name in ("same_category", "ordered", "spent", "income"))
    for number in range(25):  # what tells nothing does not push out what does
        shop.happens("page_viewed", timedelta(minutes=30 - number))
        shop.happens("product_seen", timedelta(minutes=30 - number), item_id="p1")
    again, told = shop.both()
    assert told == pytest.approx(again, abs=1e-4)
    assert told == pytest.approx(served, abs=1e-4)


def test_of_more_than_twenty_the_same_ones_are_left_out() -> None:
    shop = Shop()
    shop.happens("order_placed", timedelta(hours=9), value_minor=5000)
    for number in range(page.LAST_EVENTS):
        shop.happens("product_viewed", timedelta(minutes=100 - number), item_id="p1" if number % 2 else "gone")
    trained, served = shop.both()
    assert served == pytest.approx(trained, abs=1e-4)
    assert served[page.NAMES.index("ordered")] == 0.0


@pytest.mark.parametrize(
    "changed",
    [{"attributes": {"income": value}} for value in (1e308, 10**15, -5, "40", True, None)]
    + [{"joined_at": timezone.now() + timedelta(days=days)} for days in (-400, 400)],
)
def test_an_odd_profile_is_as_odd_to_both(changed: dict[str, Any]) -> None:
    """An income that nobody can compute with, and a customer from next year: a clock was moved, or a host's field."""
    shop = Shop()
    Shopper.objects.filter(pk=shop.shopper.pk).update(**changed)
    shop.shopper.refresh_from_db()
    shop.happens("order_placed", timedelta(hours=2), value_minor=5000)
    trained, served = shop.both()
    assert served == pytest.approx(trained, abs=1e-4)
