"""A shelf, a shopper's browser, and a campaign that runs."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from personalization import api
from personalization.models import Campaign, Coupon, Shopper
from shop.models import Brand, Category, Product

ADDRESS = {
    "name": "Ada Byron",
    "email": "ada@example.org",
    "address": "St James's Square 12",
    "postcode": "SW1Y 4JH",
    "city": "London",
    "country": "United Kingdom",
}


@pytest.fixture
def tea(db: None) -> Category:
    return Category.objects.create(name="Coffee & Tea", slug="coffee-tea")


@pytest.fixture
def make_product(tea: Category) -> Callable[..., Product]:
    """Make a product: 10.00, ten in stock, unless said otherwise."""

    def make(title: str = "Green Tea", **fields: Any) -> Product:
        brand, _new = Brand.objects.get_or_create(name="Leafline")
        values = {"category": tea, "brand": brand, "price_minor": 1000, "cost_minor": 400, "stock": 10}
        return Product.objects.create(title=title, slug=title.lower().replace(" ", "-"), **(values | fields))

    return make


@pytest.fixture
def product(make_product: Callable[..., Product]) -> Product:
    return make_product()


@pytest.fixture
def make_campaign(db: None) -> Callable[..., Campaign]:
    """Make and launch a campaign with one offer: a tenth off, unless said otherwise."""

    def make(**offer: Any) -> Campaign:
        now = timezone.now()
        terms = {"name": "A tenth off", "kind": "coupon", "percent": 10, "slots": ["home_hero"]} | offer
        campaign = api.create_campaign(
            name="Autumn",
            starts_at=now - timedelta(days=1),
            ends_at=now + timedelta(days=7),
            offers=[terms],
            budget_minor=100_000,
        )
        return api.launch(campaign)

    return make


class Browser(Client):
    """A visitor who shops. ``shopper`` is who the app takes them for, coupons included."""

    def fill(self, product: Product, quantity: object = 1) -> Any:
        return self.post(reverse("shop:basket-add", args=[product.slug]), {"quantity": quantity}, follow=True)

    def shopper(self) -> Shopper:
        """Return this session's shopper, made as a claim would make it."""
        key = self.session.get("pz_shopper")
        if key:
            return Shopper.objects.get(key=key)
        shopper = Shopper.objects.create(population="shop")
        session = self.session
        session["pz_shopper"] = str(shopper.key)
        session.save()
        return shopper

    def claim(self, campaign: Campaign) -> Coupon:
        """Claim the campaign's offer and apply its coupon to the basket."""
        issued = api.claim(campaign.offers.get().pk, shopper=self.shopper())
        self.post(reverse("shop:coupon-apply"), {"code": issued.code})
        return Coupon.objects.get(pk=issued.coupon_id)

    def form(self) -> dict[str, str]:
        """Open the checkout page and return its form, filled in."""
        page = self.get(reverse("shop:checkout"))
        assert page.status_code == 200, page.headers
        return ADDRESS | hidden_fields(page)

    def check_out(self, **changes: object) -> Any:
        return self.post(reverse("shop:checkout"), self.form() | changes, follow=True)


def hidden_fields(page: Any) -> dict[str, str]:
    """Return the checkout form's token and the amounts that the page shows."""
    html = page.content.decode()
    names = ("token", "total_minor", "discount_minor", "quote")
    return {name: re.search(rf'name="{name}" value="([^"]*)"', html)[1] for name in names}  # type: ignore[index]


@pytest.fixture
def browser() -> Browser:
    return Browser()
