"""What a host's adapters hand over, looked at before it is stored: whole minor units, texts, moments with a time zone.

A price of ``Decimal("27.01")`` would be kept as 27 minor units, a hundredth of what was meant: it is refused, in one
sentence that names the product or the order, its field and what is expected there.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime
from typing import Any, NamedTuple

from django.utils.timezone import is_aware

from personalization.exceptions import InvalidRecord
from personalization.pure.currencies import is_currency
from personalization.types import BasketLine, OrderData, ProductData, ProfileData

MOST = 2**63 - 1
"""The largest number that a column holds."""
LONGEST_ID = 100


class Rule(NamedTuple):
    """What a field has to be: the test, and the words for it. ``shown``: the value may stand in the message."""

    holds: Callable[[Any], bool]
    words: str
    shown: bool = True


def _is_whole(value: Any, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= MOST


def _is_attribute(value: Any) -> bool:
    return value is None or isinstance(value, str | int) or (isinstance(value, float) and math.isfinite(value))


AMOUNT = Rule(lambda value: _is_whole(value, 0), "a whole number of minor units, 0 or more (27.01 is 2701)")
MAYBE_AMOUNT = Rule(lambda value: value is None or AMOUNT.holds(value), f"None or {AMOUNT.words}")
QUANTITY = Rule(lambda value: _is_whole(value, 1), "a whole number from 1 on")
STOCK = Rule(lambda value: value is None or _is_whole(value, -MOST), "None or a whole number")
IDENTITY = Rule(lambda value: isinstance(value, str) and 0 < len(value) <= LONGEST_ID, "a text of 1 to 100 characters")
# The app keeps order ids as long as they come (tracking.backfill.event_key).
ORDER_ID = Rule(lambda value: isinstance(value, str) and value != "", "a text that is not empty")
TEXT = Rule(lambda value: isinstance(value, str), "a text, empty where there is none")
PERSONAL_TEXT = TEXT._replace(shown=False)
FLAG = Rule(lambda value: isinstance(value, bool), "True or False")
CURRENCY = Rule(is_currency, "the ISO 4217 code of a currency, such as EUR")
# An order may be older than its currency: kunas of 2022 are on no list of today.
FORMER_CURRENCY = Rule(
    lambda value: isinstance(value, str) and re.fullmatch(r"[A-Z]{3}", value) is not None,
    "the three capital letters of a currency, such as EUR",
)
MOMENT = Rule(lambda value: isinstance(value, datetime) and is_aware(value), "a moment with a time zone")
MAYBE_MOMENT = Rule(lambda value: value is None or MOMENT.holds(value), f"None or {MOMENT.words}", shown=False)
LINES = Rule(
    lambda value: isinstance(value, tuple | list) and all(isinstance(line, BasketLine) for line in value),
    "a tuple of BasketLine",
    shown=False,
)
ATTRIBUTES = Rule(lambda value: isinstance(value, Mapping), "a dictionary", shown=False)
ATTRIBUTE = Rule(_is_attribute, "a text, a number that JSON knows, or None", shown=False)

PRODUCT: dict[str, Rule] = {
    "item_id": IDENTITY,
    "title": TEXT,
    "price_minor": AMOUNT,
    "currency": CURRENCY,
    "category": TEXT,
    "brand": TEXT,
    "cost_minor": MAYBE_AMOUNT,
    "stock": STOCK,
    "visible": FLAG,
}
ORDER: dict[str, Rule] = {
    "order_id": ORDER_ID,
    "placed_at": MOMENT,
    "lines": LINES,
    "total_minor": AMOUNT,
    "currency": FORMER_CURRENCY,
    "guest_ref": PERSONAL_TEXT,
    "discount_minor": AMOUNT,
    "cancelled": FLAG,
    "channel": TEXT,
}
LINE: dict[str, Rule] = {"item_id": IDENTITY, "quantity": QUANTITY, "unit_price_minor": AMOUNT, "category": TEXT}


def check_product(item: ProductData) -> None:
    """Raise InvalidRecord unless the product can be stored as it is meant."""
    _check_kind("product", item, ProductData)
    _check(f"product {item.item_id!r}", item, PRODUCT)


def check_order(order: OrderData) -> None:
    """Raise InvalidRecord unless the order and its lines can be stored as they are meant."""
    _check_kind("order", order, OrderData)
    _check(f"order {order.order_id!r}", order, ORDER)
    for number, line in enumerate(order.lines, start=1):
        _check(f"order {order.order_id!r}, line {number}", line, LINE)


def products(items: Iterable[ProductData]) -> Iterator[ProductData]:
    """Yield products, each looked at."""
    for item in items:
        check_product(item)
        yield item


def catalogue(items: Iterable[ProductData]) -> Iterator[ProductData]:
    """Yield a whole catalogue; raise InvalidRecord at the second product with an id: it would replace the first."""
    seen: set[str] = set()
    for item in products(items):
        if item.item_id in seen:
            message = "The shop's adapter hands over product %(item)s twice: give each product an item_id of its own."
            raise InvalidRecord(message, params={"item": repr(item.item_id)})
        seen.add(item.item_id)
        yield item


def orders(given: Iterable[OrderData]) -> Iterator[OrderData]:
    """Yield orders, each looked at."""
    for order in given:
        check_order(order)
        yield order


def check_profile(account: Any, profile: ProfileData) -> None:
    """Raise InvalidRecord unless the account's profile can be stored; its values are told to nobody."""
    what = f"the profile of account {account!r}"
    if not isinstance(profile, ProfileData):
        raise _wrong(what, "it", "a ProfileData", type(profile).__name__)
    _check(what, profile, {"joined_at": MAYBE_MOMENT, "attributes": ATTRIBUTES})
    for name, value in profile.attributes.items():
        if not isinstance(name, str) or not ATTRIBUTE.holds(value):
            raise _wrong(what, f"attributes[{name!r}]", ATTRIBUTE.words, type(value).__name__)


def _check_kind(what: str, given: Any, kind: type) -> None:
    if not isinstance(given, kind):
        raise _wrong(f"a {what}", "it", f"a {kind.__name__}", type(given).__name__)


def _check(what: str, given: Any, rules: Mapping[str, Rule]) -> None:
    for name, rule in rules.items():
        value = getattr(given, name)
        if not rule.holds(value):
            raise _wrong(what, name, rule.words, repr(value)[:60] if rule.shown else type(value).__name__)


def _wrong(what: str, name: str, expected: str, value: str) -> InvalidRecord:
    message = "The shop's adapter hands over %(what)s wrongly: %(name)s must be %(expected)s, and is %(value)s."
    return InvalidRecord(message, params={"what": what, "name": name, "expected": expected, "value": value})
