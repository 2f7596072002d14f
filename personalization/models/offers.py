"""Offers: the terms a shopper can get, and their limits. Limits are CHECK constraints."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import F, Q
from django.utils.translation import gettext_lazy as _

from personalization import conf
from personalization.models import offer_rules
from personalization.pure import markup
from personalization.types import Gift, OfferKind, Terms


class Offer(models.Model):
    """The terms that a shopper can get. Counters are caches of coupons and redemptions, held by the database."""

    KINDS = [
        (OfferKind.COUPON.value, _("Coupon")),
        (OfferKind.SPEND_THRESHOLD.value, _("Spend threshold")),
        (OfferKind.FLASH_SALE.value, _("Flash sale")),
        (OfferKind.MEMBER_EXCLUSIVE.value, _("Member exclusive")),
        (OfferKind.FREE_SHIPPING.value, _("Free shipping")),
        (OfferKind.GIFT.value, _("Gift")),
        (OfferKind.GIFT_CARD.value, _("Gift card")),
        (OfferKind.CASH_BACK.value, _("Cash-back")),
        (OfferKind.POINTS.value, _("Loyalty points")),
        (OfferKind.BUNDLE.value, _("Bundle")),
        (OfferKind.N_FOR_M.value, _("Several for the price of fewer")),
        (OfferKind.BIRTHDAY.value, _("Birthday present")),
        (OfferKind.WELCOME.value, _("Welcome present")),
        (OfferKind.ANNOUNCEMENT.value, _("Announcement")),
    ]

    class Application(models.TextChoices):
        CLAIM = "claim", _("the shopper takes a coupon")
        CODE = "code", _("the shopper enters a code")
        AUTOMATIC = "automatic", _("it applies by itself")

    campaign = models.ForeignKey(
        "personalization.Campaign", verbose_name=_("campaign"), on_delete=models.CASCADE, related_name="offers"
    )
    name = models.CharField(_("name"), max_length=120)
    kind = models.CharField(_("kind"), max_length=20, choices=KINDS)
    percent = models.DecimalField(
        _("percent off"),
        max_digits=5,
        decimal_places=2,
        default=0,
        validators=[MinValueValidator(0), MaxValueValidator(100)],
    )
    amount_minor = models.BigIntegerField(_("amount off (minor units)"), default=0, validators=[MinValueValidator(0)])
    threshold_minor = models.BigIntegerField(
        _("minimum spend (minor units)"), default=0, validators=[MinValueValidator(0)]
    )
    max_discount_minor = models.BigIntegerField(
        _("largest discount (minor units)"), null=True, blank=True, validators=[MinValueValidator(1)]
    )
    steps = models.JSONField(
        _("steps"),
        default=list,
        blank=True,
        help_text=_("More for more: a list of minimum spends, each with a percentage or an amount."),
    )
    buy_quantity = models.PositiveSmallIntegerField(
        _("pieces taken"), default=0, help_text=_("Three for the price of two: 3 taken, 2 paid.")
    )
    pay_quantity = models.PositiveSmallIntegerField(_("pieces paid"), default=0)
    gift_item_id = models.CharField(_("gift (product id)"), max_length=100, blank=True)
    gift_value_minor = models.BigIntegerField(
        _("the gift costs (minor units)"), default=0, validators=[MinValueValidator(0)]
    )
    points = models.PositiveIntegerField(_("points granted"), default=0)
    delay_days = models.PositiveSmallIntegerField(
        _("granted after (days)"),
        default=14,
        help_text=_("Cash-back, gift cards and points wait until the order can hardly be returned any more."),
    )
    item_ids = models.JSONField(
        _("products"), default=list, blank=True, help_text=_("Only these product ids. Empty: all.")
    )
    category = models.CharField(
        _("category"),
        max_length=100,
        blank=True,
        help_text=_("Only these products are discounted. Empty: all."),
    )
    tiers = models.JSONField(
        _("loyalty tiers"),
        default=list,
        blank=True,
        help_text=_("Only shoppers in one of these. Empty: all."),
    )
    member_points = models.PositiveIntegerField(
        _("points needed"), null=True, blank=True, help_text=_("Only shoppers with at least so many loyalty points.")
    )
    application = models.CharField(
        _("how it is used"), max_length=10, choices=Application.choices, default=Application.CLAIM
    )
    exclusion_group = models.CharField(
        _("exclusion group"),
        max_length=40,
        blank=True,
        help_text=_("Of the offers in one group a basket gets at most one."),
    )
    exclusive = models.BooleanField(_("not with any other offer"), default=False)
    below_cost = models.BooleanField(_("may sell below cost"), default=False)
    slots = models.JSONField(_("slots"), default=list, blank=True)
    starts_at = models.DateTimeField(_("window opens"), null=True, blank=True)
    ends_at = models.DateTimeField(_("window closes"), null=True, blank=True)
    valid_hours = models.PositiveIntegerField(
        _("coupon valid for (hours)"),
        null=True,
        blank=True,
        help_text=_("After the claim. Empty: until the end."),
    )
    max_redemptions = models.PositiveIntegerField(_("redemptions at most"), null=True, blank=True)
    max_issued = models.PositiveIntegerField(_("coupons issued at most"), null=True, blank=True)
    per_shopper = models.PositiveSmallIntegerField(
        _("coupons per shopper"), default=1, validators=[MinValueValidator(1)]
    )
    uses_per_shopper = models.PositiveSmallIntegerField(
        _("redemptions per shopper"), default=1, validators=[MinValueValidator(1)]
    )
    issued_count = models.PositiveIntegerField(_("issued"), default=0, editable=False)
    reserved_count = models.PositiveIntegerField(_("reserved"), default=0, editable=False)
    redeemed_count = models.PositiveIntegerField(_("redeemed"), default=0, editable=False)
    headline = models.CharField(_("headline"), max_length=120, blank=True)
    body = models.CharField(_("text"), max_length=300, blank=True)
    body_html = models.TextField(
        _("text with markup"), blank=True, help_text=_("Simple HTML. What is not allowed is taken out on saving.")
    )
    cta_label = models.CharField(_("button"), max_length=40, blank=True)
    cta_url = models.CharField(_("link"), max_length=300, blank=True)
    attributes = models.JSONField(_("further attributes"), default=dict, blank=True, editable=False)

    class Meta:
        verbose_name = _("offer")
        verbose_name_plural = _("offers")
        constraints = [
            models.CheckConstraint(
                condition=Q(max_redemptions__isnull=True)
                | Q(max_redemptions__gte=F("reserved_count") + F("redeemed_count")),
                name="pz_offer_redemptions",
                violation_error_message=_("More redemptions exist already."),
            ),
            models.CheckConstraint(
                condition=Q(max_issued__isnull=True) | Q(max_issued__gte=F("issued_count")),
                name="pz_offer_issued",
                violation_error_message=_("More coupons are issued already."),
            ),
            models.CheckConstraint(
                condition=Q(percent__gte=0)
                & Q(percent__lte=100)
                & Q(amount_minor__gte=0)
                & Q(threshold_minor__gte=0)
                & Q(gift_value_minor__gte=0),
                name="pz_offer_terms",
            ),
            models.CheckConstraint(condition=Q(percent=0) | Q(amount_minor=0), name="pz_offer_one_benefit"),
            models.CheckConstraint(
                condition=Q(buy_quantity=0) | Q(pay_quantity__lt=F("buy_quantity")), name="pz_offer_free_pieces"
            ),
        ]

    def __str__(self) -> str:
        return self.name

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Store the text's markup only after it is cleaned; showing it cleans it once more."""
        self.body_html = markup.clean(self.body_html)
        super().save(*args, **kwargs)

    def terms(self) -> Terms:
        """Return the benefit in numbers, for :mod:`personalization.pure.benefits`."""
        settings, currency = conf.get(), self.campaign.currency
        return Terms(
            kind=OfferKind(self.kind),
            currency=currency,
            item_ids=offer_rules.read_words(self.item_ids),
            steps=offer_rules.steps_in_force(self.steps),
            buy_quantity=self.buy_quantity,
            pay_quantity=self.pay_quantity,
            gift=Gift(self.gift_item_id, self.gift_value_minor) if self.gift_item_id else None,
            points=self.points,
            point_value_minor=Decimal(str(settings.point_value_minor)),
            below_cost=self.below_cost,
            list_price=settings.host_promotions == "last",
            rounding_minor=settings.rounding.get(currency, 1),
            percent=self.percent,
            amount_minor=self.amount_minor,
            threshold_minor=self.threshold_minor,
            max_discount_minor=self.max_discount_minor,
            category=self.category,
        )

    def clean(self) -> None:
        """Reject terms that contradict each other, with the field to mend."""
        self.body_html = markup.clean(self.body_html)
        errors = offer_rules.problems(self)
        if errors:
            raise ValidationError(errors)
