"""One wording of money for the shop, the wallet, the admin and errors, in English and Chinese."""

from __future__ import annotations

import pytest
from django.utils.translation import override

from personalization.campaigns.wording import terms_text
from personalization.exceptions import BasketNotEligible
from personalization.models import Campaign, Offer
from personalization.ports.messages import explain
from personalization.ports.money import money
from personalization.pure.money import Amount
from shop.money import money as shop_money


@pytest.mark.parametrize(
    ("minor", "currency", "english", "chinese"),
    [
        (0, "EUR", "€0.00", "€0.00"),
        (123_456, "eur", "€1,234.56", "€1234.56"),
        (-250, "USD", "−$2.50", "−US$2.50"),
        (120_00, "CNY", "CN¥120.00", "¥120.00"),
        (1_500, "JPY", "¥1,500", "JP¥1500"),
        (1_250, "KWD", "KWD 1.250", "KWD 1.250"),
        (123_450, "CHF", "CHF 1,234.50", "CHF 1234.50"),
    ],
)
def test_money_follows_currency_and_language(minor: int, currency: str, english: str, chinese: str) -> None:
    with override("en"):
        assert money(minor, currency) == english
    with override("zh-hans"):
        assert money(minor, currency) == chinese
    with override("de"):
        assert money(123_456, "EUR") == "€1.234,56"


def test_shop_wallet_and_errors_print_the_same_amount() -> None:
    offer = Offer(kind="coupon", amount_minor=120_00, campaign=Campaign(currency="EUR"))
    error = BasketNotEligible("Spend %(missing)s more to use this offer.", params={"missing": Amount(120_00, "EUR")})
    with override("en"):
        assert shop_money(120_00) == "€120.00"
        assert terms_text(offer) == "€120.00 off"
        assert explain(error) == "Spend €120.00 more to use this offer."
    assert str(error) == "Spend EUR 120.00 more to use this offer."
