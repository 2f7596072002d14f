"""What an audience can ask about a shopper: one table of fields, read by the rules, the admin and the documentation."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from django.utils.functional import Promise, lazy
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from personalization import conf
from personalization.features import intent
from personalization.features.segment_names import SEGMENTS
from personalization.models import ShopperSummary
from personalization.tracking import sealing
from personalization.types import Purpose

PROFILE, JOINED, SUMMARY, SINCE = "profile", "joined", "summary", "since"
COUPON, INTENT = "coupon", "intent"
"""Where a field's value stands: an attribute, days since joining, a column of the summary, days since one, coupons, the
live scores of purchase intent."""
NUMBER_OPS = (">=", "<=")
TEXT_OPS = ("in",)
FLAG_OPS = ("is",)
CUSTOM = "attributes."
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9]{0,39}(_[A-Za-z0-9]{1,39}){0,5}")
MOST_CUSTOM = 10**12


@dataclass(frozen=True, slots=True)
class Field:
    """One thing to ask. ``most`` bounds numbers; ``choices`` returns value → name where only these can be meant."""

    name: str
    label: str | Promise
    type: str
    source: str
    column: str
    purpose: Purpose = Purpose.CONTRACT
    most: float = 0
    choices: Callable[[], dict[str, str]] | None = None

    @property
    def ops(self) -> tuple[str, ...]:
        return {"number": NUMBER_OPS, "text": TEXT_OPS, "flag": FLAG_OPS}.get(self.type, NUMBER_OPS + TEXT_OPS)


def _stages() -> dict[str, str]:
    return {str(value): str(label) for value, label in ShopperSummary.Stage.choices}


def _segments() -> dict[str, str]:
    return {segment.code: str(segment.name) for segment in SEGMENTS}


def _bands() -> dict[str, str]:
    return {name: str(label) for name, label in intent.BANDS.items()}


def _likely() -> str:
    return gettext("Likely to buy within %(days)s days (percent)") % {"days": conf.get().intent_days}


def _number(name: str, label: Promise, most: float, column: str = "", source: str = SUMMARY) -> Field:
    return Field(name, label, "number", source, column or name, Purpose.PERSONALISATION, most)


def _text(name: str, label: Promise, choices: Callable[[], dict[str, str]] | None = None) -> Field:
    return Field(name, label, "text", SUMMARY, name, Purpose.PERSONALISATION, choices=choices)


_TABLE = (
    Field("tier", _("Loyalty tier"), "text", PROFILE, "tier"),
    Field("city", _("City"), "text", PROFILE, "city"),
    Field("gender", _("Gender"), "text", PROFILE, "gender"),
    Field("age", _("Age"), "number", PROFILE, "age", most=10**9),
    Field("income", _("Income"), "number", PROFILE, "income", most=10**9),
    Field("tenure_days", _("Days as a customer"), "number", JOINED, "joined_at", most=36_500),
    Field("has_coupon", _("Holds an open coupon"), "flag", COUPON, "coupons"),
    _number("orders", _("Orders"), 10**6),
    _number("spent_minor", _("Spent (minor units)"), 10**12),
    _number("recency_days", _("Days since the last order"), 36_500, "last_order_at", SINCE),
    _number("last_seen_days", _("Days since last seen"), 36_500, "last_seen_at", SINCE),
    _number("views_30d", _("Products viewed in 30 days"), 10**6),
    _number("recency_score", _("Recency score (1–5)"), 5),
    _number("frequency_score", _("Frequency score (1–5)"), 5),
    _number("monetary_score", _("Money score (1–5)"), 5),
    _number("churn_risk", _("Churn risk (0–1)"), 1),
    _number("cycle_days", _("Purchase cycle (days)"), 36_500),
    _text("stage", _("Lifecycle stage"), _stages),
    _text("segment", _("Segment"), _segments),
    _text("cluster", _("Shopping habit")),
    _text("top_category", _("Favourite category")),
    _text("device", _("Device")),
    Field("intent_percent", lazy(_likely, str)(), "number", INTENT, "intent", Purpose.PERSONALISATION, most=100),
    Field("intent_band", _("Purchase intent"), "text", INTENT, "intent", Purpose.PERSONALISATION, choices=_bands),
)
FIELDS: dict[str, Field] = {field.name: field for field in _TABLE}


def find(name: object) -> Field | None:
    """Return the field of this name; ``attributes.<name>`` is whatever the host's adapter puts there; None: unknown."""
    if not isinstance(name, str):
        return None
    if not name.startswith(CUSTOM):
        return FIELDS.get(name)
    own = name.removeprefix(CUSTOM)
    if own in sealing.sealed_attributes():  # encrypted: there is nothing to compare
        return None
    return Field(name, own, "any", PROFILE, own, most=MOST_CUSTOM) if _NAME.fullmatch(own) else None
