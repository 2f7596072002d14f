"""Campaigns and the offers they carry. Limits are CHECK constraints: no code path can overrun them."""

from __future__ import annotations

from urllib.parse import urlsplit

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models
from django.db.models import F, Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from personalization.types import OfferKind, Terms


class Campaign(models.Model):
    """A goal, dates, an audience, a budget and offers.

    ``reserved_minor`` and ``spent_minor`` are caches of the ledger, held below the budget by the database.
    """

    class Status(models.TextChoices):
        DRAFT = "draft", _("draft")
        REVIEW = "review", _("in review")
        SCHEDULED = "scheduled", _("scheduled")
        RUNNING = "running", _("running")
        PAUSED = "paused", _("paused")
        ENDED = "ended", _("ended")
        ARCHIVED = "archived", _("archived")

    class Delivery(models.TextChoices):
        ON_PAGE = "on_page", _("shown on the shop's pages")
        SENT = "sent", _("sent to the whole audience")

    name = models.CharField(_("name"), max_length=120)
    goal = models.CharField(_("goal"), max_length=200, blank=True)
    status = models.CharField(_("status"), max_length=10, choices=Status.choices, default=Status.DRAFT, editable=False)
    delivery = models.CharField(_("delivery"), max_length=10, choices=Delivery.choices, default=Delivery.ON_PAGE)
    population = models.CharField(_("population"), max_length=40, default="shop", editable=False)
    starts_at = models.DateTimeField(_("starts"))
    ends_at = models.DateTimeField(_("ends"))
    audience = models.JSONField(_("audience"), default=dict, blank=True)
    priority = models.SmallIntegerField(
        _("priority"), default=0, help_text=_("Breaks ties and orders offers where no prediction exists.")
    )
    attribution_hours = models.PositiveIntegerField(
        _("attribution window (hours)"),
        null=True,
        blank=True,
        help_text=_("How long after an exposure an outcome counts. Empty: the app's default."),
    )
    currency = models.CharField(_("currency"), max_length=3, default="EUR")
    budget_minor = models.BigIntegerField(
        _("budget (minor units)"),
        null=True,
        blank=True,
        help_text=_("Most that discounts may cost. Empty: no limit."),
    )
    reserved_minor = models.BigIntegerField(_("reserved"), default=0, editable=False)
    spent_minor = models.BigIntegerField(_("spent"), default=0, editable=False)
    created_by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        verbose_name=_("created by"),
        null=True,
        blank=True,
        editable=False,
        on_delete=models.SET_NULL,
        related_name="+",
    )
    created_at = models.DateTimeField(_("created"), default=timezone.now, editable=False)

    class Meta:
        verbose_name = _("campaign")
        verbose_name_plural = _("campaigns")
        permissions = [("launch_campaign", _("Can launch, pause and stop campaigns"))]
        constraints = [
            models.CheckConstraint(condition=Q(ends_at__gt=F("starts_at")), name="pz_campaign_dates"),
            models.CheckConstraint(
                condition=Q(reserved_minor__gte=0) & Q(spent_minor__gte=0), name="pz_campaign_not_negative"
            ),
            models.CheckConstraint(
                condition=Q(budget_minor__isnull=True) | Q(budget_minor__gte=F("reserved_minor") + F("spent_minor")),
                name="pz_campaign_budget",
                violation_error_message=_("The budget is below what is already reserved and spent."),
            ),
        ]
        indexes = [models.Index(fields=["status", "starts_at"], name="pz_campaign_running")]

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        if self.starts_at and self.ends_at and self.ends_at <= self.starts_at:
            raise ValidationError({"ends_at": _("The end must be after the start.")})


class Offer(models.Model):
    """The terms that a shopper can get. Counters are caches of coupons and redemptions, held by the database."""

    KINDS = [
        (OfferKind.COUPON.value, _("Coupon")),
        (OfferKind.SPEND_THRESHOLD.value, _("Spend threshold")),
        (OfferKind.FLASH_SALE.value, _("Flash sale")),
        (OfferKind.MEMBER_EXCLUSIVE.value, _("Member exclusive")),
        (OfferKind.ANNOUNCEMENT.value, _("Announcement")),
    ]

    campaign = models.ForeignKey(Campaign, verbose_name=_("campaign"), on_delete=models.CASCADE, related_name="offers")
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
    issued_count = models.PositiveIntegerField(_("issued"), default=0, editable=False)
    reserved_count = models.PositiveIntegerField(_("reserved"), default=0, editable=False)
    redeemed_count = models.PositiveIntegerField(_("redeemed"), default=0, editable=False)
    headline = models.CharField(_("headline"), max_length=120, blank=True)
    body = models.CharField(_("text"), max_length=300, blank=True)
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
                condition=Q(percent__gte=0) & Q(percent__lte=100) & Q(amount_minor__gte=0) & Q(threshold_minor__gte=0),
                name="pz_offer_terms",
            ),
            models.CheckConstraint(condition=Q(percent=0) | Q(amount_minor=0), name="pz_offer_one_benefit"),
        ]

    def __str__(self) -> str:
        return self.name

    def terms(self) -> Terms:
        """Return the benefit in numbers, for :mod:`personalization.pure.benefits`."""
        return Terms(
            kind=OfferKind(self.kind),
            currency=self.campaign.currency,
            percent=self.percent,
            amount_minor=self.amount_minor,
            threshold_minor=self.threshold_minor,
            max_discount_minor=self.max_discount_minor,
            category=self.category,
        )

    def clean(self) -> None:
        """Reject terms that contradict each other, with the field to mend."""
        errors: dict[str, object] = {}
        if self.percent and self.amount_minor:
            errors["amount_minor"] = _("Give either a percentage or an amount, not both.")
        has_benefit = bool(self.percent or self.amount_minor)
        if self.kind == OfferKind.ANNOUNCEMENT:
            if has_benefit:
                errors["kind"] = _("An announcement carries no benefit. Choose another kind or clear the benefit.")
        elif not has_benefit:
            errors["percent"] = _("Give a percentage or an amount.")
        if self.kind == OfferKind.SPEND_THRESHOLD and not self.threshold_minor:
            errors["threshold_minor"] = _("A spend threshold needs its minimum spend.")
        if self.kind == OfferKind.FLASH_SALE and not self.ends_at:
            errors["ends_at"] = _("A flash sale needs the moment at which it closes.")
        if self.kind == OfferKind.MEMBER_EXCLUSIVE and not self.tiers:
            errors["tiers"] = _("A member exclusive needs at least one loyalty tier.")
        if self.threshold_minor and self.amount_minor > self.threshold_minor:
            errors["amount_minor"] = _("The amount off is larger than the minimum spend.")
        if self.starts_at and self.ends_at and self.ends_at <= self.starts_at:
            errors["ends_at"] = _("The window must close after it opens.")
        for name in ("tiers", "slots"):
            words = getattr(self, name)
            if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
                errors[name] = _("Give a list of words.")
        if not _is_page(self.cta_url):
            errors["cta_url"] = _("Give a page of the shop, or an address that begins with https://.")
        if errors:
            raise ValidationError(errors)


def _is_page(address: str) -> bool:
    """Tell whether a link leads to a page, and not into a script."""
    try:
        return urlsplit(address).scheme in {"", "http", "https"}
    except ValueError:
        return False


class CampaignTransition(models.Model):
    """One append-only line of a campaign's history of states."""

    campaign = models.ForeignKey(
        Campaign, verbose_name=_("campaign"), on_delete=models.CASCADE, related_name="transitions"
    )
    from_status = models.CharField(_("from"), max_length=10)
    to_status = models.CharField(_("to"), max_length=10)
    by = models.ForeignKey(
        settings.AUTH_USER_MODEL,
        verbose_name=_("by"),
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        related_name="+",
    )
    at = models.DateTimeField(_("at"), default=timezone.now)

    class Meta:
        verbose_name = _("campaign transition")
        verbose_name_plural = _("campaign transitions")

    def __str__(self) -> str:
        return f"{self.from_status} → {self.to_status}"


class Forecast(models.Model):
    """What a campaign was predicted to do. Frozen at launch, it is scored against what happened."""

    campaign = models.ForeignKey(
        Campaign, verbose_name=_("campaign"), on_delete=models.CASCADE, related_name="forecasts"
    )
    model_version = models.ForeignKey(
        "personalization.ModelVersion", verbose_name=_("model version"), null=True, on_delete=models.SET_NULL
    )
    figures = models.JSONField(
        _("figures"),
        # xgettext:no-python-format
        help_text=_("Metric → mean, lower and upper bound of the 90 % interval."),
    )
    assumptions = models.JSONField(_("assumptions"), default=dict)
    created_at = models.DateTimeField(_("computed"), default=timezone.now)
    frozen_at = models.DateTimeField(_("frozen"), null=True, blank=True)

    class Meta:
        verbose_name = _("forecast")
        verbose_name_plural = _("forecasts")
        get_latest_by = "created_at"
        constraints = [
            models.UniqueConstraint(
                fields=["campaign"], condition=Q(frozen_at__isnull=False), name="pz_forecast_frozen_once"
            )
        ]

    def __str__(self) -> str:
        return f"{self.campaign} {self.created_at:%Y-%m-%d %H:%M}"
