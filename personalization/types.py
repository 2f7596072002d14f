"""Words that all rooms share. Money is an integer in minor units (cents), moments are timezone-aware datetimes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any


class OfferKind(StrEnum):
    """What sort of benefit an offer grants."""

    COUPON = "coupon"
    SPEND_THRESHOLD = "spend_threshold"
    FLASH_SALE = "flash_sale"
    MEMBER_EXCLUSIVE = "member_exclusive"
    FREE_SHIPPING = "free_shipping"
    GIFT = "gift"
    GIFT_CARD = "gift_card"
    CASH_BACK = "cash_back"
    POINTS = "points"
    BUNDLE = "bundle"
    N_FOR_M = "n_for_m"
    BIRTHDAY = "birthday"
    WELCOME = "welcome"
    ANNOUNCEMENT = "announcement"


NO_OFFER = "none"
"""The strategy's arm that withholds every offer; never stored as an :class:`OfferKind`."""


class Purpose(StrEnum):
    """Why a row about a shopper may be kept. CONTRACT needs no consent and never becomes a feature by itself."""

    CONTRACT = "contract"
    ANALYTICS = "analytics"
    PERSONALISATION = "personalisation"
    MARKETING = "marketing"


CONSENT_PURPOSES = (Purpose.ANALYTICS, Purpose.PERSONALISATION, Purpose.MARKETING)


class Arm(StrEnum):
    """Which side of the comparison an exposure stands on."""

    TREATMENT = "treatment"
    CONTROL = "control"
    HOLDOUT = "holdout"


class JobKind(StrEnum):
    """What a worker is asked to do."""

    TRAIN = "train"
    SCORE = "score"
    FORECAST = "forecast"
    CODES = "codes"
    EXPORT = "export"
    SUMMARY = "summary"
    TRIGGERS = "triggers"
    SHADOW = "shadow"
    MONITOR = "monitor"


class JobState(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"
    QUARANTINED = "quarantined"


class ModelTask(StrEnum):
    """What a trained artefact predicts."""

    RESPONSE = "response"
    STRATEGY = "strategy"
    PREFERENCE = "preference"
    INTENT = "intent"
    ATTRACTIVENESS = "attractiveness"


HEADS = ("view", "click", "redeem", "purchase")
"""The four effects predicted for an exposure, in the order of every array that carries them."""


@dataclass(frozen=True, slots=True)
class ProductData:
    """One product as the host's catalogue sees it now. Prices include tax if the shop shows them so."""

    item_id: str
    title: str
    price_minor: int
    currency: str
    category: str = ""
    brand: str = ""
    cost_minor: int | None = None
    stock: int | None = None
    visible: bool = True
    url: str = ""
    image_url: str = ""


@dataclass(frozen=True, slots=True)
class BasketLine:
    """One line of a basket or an order.

    ``unit_price_minor`` is the list price; ``host_discount_minor`` is what the shop's own promotions take off the
    whole line. ``unit_cost_minor`` lets offers stop at cost; ``tax_rate`` is in percent.
    """

    item_id: str
    quantity: int
    unit_price_minor: int
    category: str = ""
    host_discount_minor: int = 0
    unit_cost_minor: int | None = None
    tax_rate: Decimal = Decimal(0)

    @property
    def list_minor(self) -> int:
        """The line at list price."""
        return self.quantity * self.unit_price_minor

    @property
    def total_minor(self) -> int:
        """The line after the shop's own promotions: all that an offer can still take something off."""
        return max(self.list_minor - self.host_discount_minor, 0)


@dataclass(frozen=True, slots=True)
class Basket:
    """What a shopper is about to buy. ``shipping_minor`` is what delivery costs them before offers."""

    lines: tuple[BasketLine, ...]
    currency: str
    reference: str = ""
    shipping_minor: int = 0
    prices_include_tax: bool = True

    @property
    def total_minor(self) -> int:
        """The lines after the shop's own promotions, without shipping."""
        return sum(line.total_minor for line in self.lines)


@dataclass(frozen=True, slots=True)
class OrderData:
    """One order as the host sees it.

    ``user_id`` is the account's primary key, or None for a guest; ``guest_ref`` is anything that identifies a
    guest to the shop (an e-mail address, say): it is stored as a keyed hash only. ``channel`` is one of
    ``web``, ``app``, ``mini_program`` and ``shop_floor``, or empty.
    """

    order_id: str
    placed_at: datetime
    lines: tuple[BasketLine, ...]
    total_minor: int
    currency: str
    user_id: Any = None
    guest_ref: str = ""
    discount_minor: int = 0
    cancelled: bool = False
    channel: str = ""


@dataclass(frozen=True, slots=True)
class ProfileData:
    """What the shop knows of an account. ``attributes`` holds numbers and short strings:
    ``age``, ``gender``, ``city``, ``tier``, ``income`` and whatever else the shop declares."""

    joined_at: datetime | None = None
    attributes: Mapping[str, float | int | str | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Step:
    """One step of a spend threshold: from this spend on, this benefit. One of percent and amount is non-zero."""

    threshold_minor: int
    percent: Decimal = Decimal(0)
    amount_minor: int = 0


@dataclass(frozen=True, slots=True)
class Gift:
    """Something that comes along for nothing. ``value_minor`` is what it costs the campaign's budget."""

    item_id: str
    value_minor: int


@dataclass(frozen=True, slots=True)
class Terms:
    """An offer's benefit in numbers: all that :mod:`personalization.pure.benefits` needs.

    At most one of ``percent`` and ``amount_minor`` is non-zero. ``threshold_minor`` is the spend that unlocks it.
    An empty ``category`` and no ``item_ids`` cover every product. ``rounding_minor`` is the smallest step of money
    (5 for a currency without single cents). ``list_price``: percentages count on the price before the shop's own
    promotions. ``point_value_minor`` is what one loyalty point costs the budget.
    """

    kind: OfferKind
    currency: str
    percent: Decimal = Decimal(0)
    amount_minor: int = 0
    threshold_minor: int = 0
    max_discount_minor: int | None = None
    category: str = ""
    item_ids: frozenset[str] = frozenset()
    steps: tuple[Step, ...] = ()
    buy_quantity: int = 0
    pay_quantity: int = 0
    gift: Gift | None = None
    points: int = 0
    point_value_minor: Decimal = Decimal(0)
    below_cost: bool = False
    list_price: bool = False
    rounding_minor: int = 1


@dataclass(frozen=True, slots=True)
class Discount:
    """A benefit computed for one basket.

    ``amount_minor`` is what comes off the lines, shared among them in the basket's order; ``shipping_minor`` comes
    off delivery. Gifts come along, ``later_minor`` (cash-back, a gift card) and ``points`` are granted afterwards.
    ``cost_minor`` is what all of it costs the campaign's budget.
    """

    amount_minor: int
    per_line_minor: tuple[int, ...]
    shipping_minor: int = 0
    gifts: tuple[Gift, ...] = ()
    later_minor: int = 0
    points: int = 0
    points_cost_minor: int = 0

    @property
    def off_minor(self) -> int:
        """What the shopper pays less now."""
        return self.amount_minor + self.shipping_minor

    @property
    def cost_minor(self) -> int:
        """What the campaign's budget pays."""
        gifts = sum(gift.value_minor for gift in self.gifts)
        return self.off_minor + gifts + self.later_minor + self.points_cost_minor


@dataclass(frozen=True, slots=True)
class Facts:
    """What a shop may know about where an order comes from; kept as keyed hashes only, to tell abuse from custom."""

    device: str = ""
    address: str = ""
    payment: str = ""
    network: str = ""


@dataclass(frozen=True, slots=True)
class RankedOffer:
    """One offer of a decision, ready for a template or a serializer."""

    offer_id: int
    campaign_id: int
    kind: str
    headline: str
    body: str
    cta_label: str
    cta_url: str
    position: int
    propensity: float
    value_minor: float | None
    reasons: tuple[str, ...]
    ends_at: datetime | None
    needs_claim: bool
    body_html: str = ""


@dataclass(frozen=True, slots=True)
class DecisionResult:
    """What was decided for a slot. ``offers`` is empty for a holdout or when nothing is eligible."""

    decision_id: str
    slot: str
    offers: tuple[RankedOffer, ...]
    arm: Arm
    fallback: str
    model_version_id: int | None


@dataclass(frozen=True, slots=True)
class IssuedCoupon:
    """A coupon handed to its shopper. ``code`` is a secret: it travels in bodies, never in paths or logs."""

    coupon_id: str
    code: str
    offer_id: int
    expires_at: datetime | None
    new: bool


@dataclass(frozen=True, slots=True)
class CouponPreview:
    """What a code would take off a basket, without holding anything."""

    coupon_id: str
    offer_name: str
    discount: Discount


@dataclass(frozen=True, slots=True)
class Hold:
    """A reservation: the discount is set aside until ``expires_at``."""

    reservation_id: str
    coupon_id: str
    discount: Discount
    expires_at: datetime


@dataclass(frozen=True, slots=True)
class ShopperData:
    """One shopper from outside: an imported customer, or an account in bulk.

    ``external_id`` is unique over all populations; ``purposes`` are recorded in the consent ledger as given.
    """

    external_id: str
    population: str = "shop"
    user_id: Any = None
    joined_at: datetime | None = None
    attributes: Mapping[str, float | int | str | None] = field(default_factory=dict)
    purposes: frozenset[Purpose] = frozenset()
    consent_source: str = "import"


@dataclass(frozen=True, slots=True)
class EventData:
    """One trusted event in bulk; ``(source, event_id)`` is its identity.

    ``channel`` is one of an order's; ``schema_version`` that of its type's declaration (0: undeclared).
    """

    source: str
    event_id: str
    type: str
    shopper_id: int
    occurred_at: datetime
    item_id: str = ""
    category: str = ""
    offer_id: int | None = None
    value_minor: int | None = None
    properties: Mapping[str, Any] = field(default_factory=dict)
    channel: str = ""
    schema_version: int = 1


@dataclass(frozen=True, slots=True)
class ExposureData:
    """One exposure logged by another system, with what came of it; ``(source, source_row)`` is its identity.

    Control rows have no offer: their ``propensity`` is the probability of withholding.
    """

    source: str
    source_row: str
    shopper_id: int
    exposed_at: datetime
    window_ends_at: datetime
    campaign_id: int | None = None
    offer_id: int | None = None
    arm: Arm = Arm.TREATMENT
    propensity: float | None = None
    viewed_at: datetime | None = None
    clicked_at: datetime | None = None
    redeemed_at: datetime | None = None
    purchased_at: datetime | None = None
    revenue_minor: int = 0
    cost_minor: int = 0


@dataclass(frozen=True, slots=True)
class IngestResult:
    """What became of a batch of events. Their sum is the batch's size."""

    accepted: int = 0
    duplicates: int = 0
    quarantined: int = 0
    dropped: int = 0
