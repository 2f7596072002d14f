"""What the shop's and the app's own tests offer, for attacks that cross the line between them."""

from __future__ import annotations

from tests.personalization.conftest import _forget, committing, configure, hosted, plain, shopper
from tests.shop.conftest import browser, make_campaign, make_product, product, tea

__all__ = [
    "_forget",
    "browser",
    "committing",
    "configure",
    "hosted",
    "make_campaign",
    "make_product",
    "plain",
    "product",
    "shopper",
    "tea",
]
