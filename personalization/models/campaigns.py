"""Campaigns: goal, dates, audience, budget. Limits are CHECK constraints: no code path can overrun them."""

from __future__ import annotations

from django.core.exceptions import ValidationError
from django.db import models
from django.db.models import F, Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from personalization.models.currency import CurrencyField
from personalization.models.keys import staff_key
from personalization.ports.moments import moment
from personalization.pure import places
from personalization.pure.currencies import is_currency


class Campaign(models.Model):
    """A goal, dates, an audience, a budget and offers.

    ``reserved_minor`` and ``spent_minor`` are caches of the ledger, ``liability_minor`` of the coupons that are out;
    the database holds them below the budget. ``revision`` counts edits; an approval is for one revision only.
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

    class Pacing(models.TextChoices):
        NONE = "none", _("spend as it comes")
        EVEN = "even", _("spread evenly over the campaign's days")

    class AudienceMode(models.TextChoices):
        LIVE = "live", _("whoever fits at the moment")
        SNAPSHOT = "snapshot", _("whoever fits at launch")

    name = models.CharField(_("name"), max_length=120)
    goal = models.CharField(_("goal"), max_length=200, blank=True)
    status = models.CharField(_("status"), max_length=10, choices=Status.choices, default=Status.DRAFT, editable=False)
    delivery = models.CharField(_("delivery"), max_length=10, choices=Delivery.choices, default=Delivery.ON_PAGE)
    population = models.CharField(_("population"), max_length=40, default="shop", editable=False)
    starts_at = models.DateTimeField(_("starts"))
    ends_at = models.DateTimeField(_("ends"))
    time_zone = models.CharField(
        _("time zone"), max_length=63, blank=True, help_text=_("Dates are meant there. Empty: the shop's own.")
    )
    sites = models.JSONField(
        _("sites"), default=list, blank=True, help_text=_("Host names where the campaign shows. Empty: all.")
    )
    audience = models.JSONField(_("audience"), default=dict, blank=True)
    audience_mode = models.CharField(
        _("audience is"), max_length=10, choices=AudienceMode.choices, default=AudienceMode.LIVE
    )
    priority = models.SmallIntegerField(
        _("priority"), default=0, help_text=_("Breaks ties and orders offers where no prediction exists.")
    )
    attribution_hours = models.PositiveIntegerField(
        _("attribution window (hours)"),
        null=True,
        blank=True,
        help_text=_("How long after an exposure an outcome counts. Empty: the app's default."),
    )
    currency = CurrencyField(_("currency"))
    budget_minor = models.BigIntegerField(
        _("budget (minor units)"),
        null=True,
        blank=True,
        help_text=_("Most that discounts may cost. Empty: no limit."),
    )
    pacing = models.CharField(_("pacing"), max_length=10, choices=Pacing.choices, default=Pacing.NONE)
    gate_liability = models.BooleanField(
        _("budget covers every coupon that is out"),
        default=False,
        help_text=_("Issue no coupon that the budget could not pay at its worst. Needs a largest discount."),
    )
    reserved_minor = models.BigIntegerField(_("reserved"), default=0, editable=False)
    spent_minor = models.BigIntegerField(_("spent"), default=0, editable=False)
    liability_minor = models.BigIntegerField(_("liability"), default=0, editable=False)
    revision = models.PositiveIntegerField(_("revision"), default=0, editable=False)
    approved_revision = models.PositiveIntegerField(_("approved revision"), null=True, editable=False)
    approved_by = staff_key(_("approved by"), editable=False)
    approved_at = models.DateTimeField(_("approved"), null=True, editable=False)
    created_by = staff_key(_("created by"), editable=False)
    created_at = models.DateTimeField(_("created"), default=timezone.now, editable=False)

    class Meta:
        verbose_name = _("campaign")
        verbose_name_plural = _("campaigns")
        permissions = [
            ("approve_campaign", _("Can approve campaigns")),
            ("launch_campaign", _("Can schedule and launch campaigns")),
            ("stop_campaign", _("Can pause and end campaigns, and stop everything")),
        ]
        constraints = [
            models.CheckConstraint(condition=Q(ends_at__gt=F("starts_at")), name="pz_campaign_dates"),
            models.CheckConstraint(
                condition=Q(reserved_minor__gte=0) & Q(spent_minor__gte=0) & Q(liability_minor__gte=0),
                name="pz_campaign_not_negative",
            ),
            models.CheckConstraint(
                condition=Q(budget_minor__isnull=True) | Q(budget_minor__gte=F("reserved_minor") + F("spent_minor")),
                name="pz_campaign_budget",
                violation_error_message=_("The budget is below what is already reserved and spent."),
            ),
            models.CheckConstraint(
                condition=Q(gate_liability=False)
                | Q(budget_minor__isnull=True)
                | Q(budget_minor__gte=F("reserved_minor") + F("spent_minor") + F("liability_minor")),
                name="pz_campaign_liability",
                violation_error_message=_("The budget does not cover the coupons that are out already."),
            ),
        ]
        indexes = [models.Index(fields=["status", "starts_at"], name="pz_campaign_running")]

    def __str__(self) -> str:
        return self.name

    def clean(self) -> None:
        """Reject dates, a currency, a time zone or sites that cannot be meant, each with its field."""
        found: dict[str, object] = {}
        if self.starts_at and self.ends_at and self.ends_at <= self.starts_at:
            found["ends_at"] = _("The end must be after the start.")
        if not is_currency(self.currency):
            found["currency"] = _("There is no such currency. Give its ISO 4217 code, for instance EUR.")
        if self.time_zone and not places.is_zone(self.time_zone):
            found["time_zone"] = _("There is no such time zone. Give its IANA name, for instance Europe/Berlin.")
        if not isinstance(self.sites, list) or not all(places.is_host(name) for name in self.sites):
            found["sites"] = _("Give host names only, for instance shop.example, without https:// and without a port.")
        if found:
            raise ValidationError(found)


class CampaignTransition(models.Model):
    """One append-only line of a campaign's history of states."""

    campaign = models.ForeignKey(
        Campaign, verbose_name=_("campaign"), on_delete=models.CASCADE, related_name="transitions"
    )
    from_status = models.CharField(_("from"), max_length=10)
    to_status = models.CharField(_("to"), max_length=10)
    by = staff_key(_("by"))
    note = models.CharField(_("note"), max_length=300, blank=True)
    at = models.DateTimeField(_("at"), default=timezone.now)

    class Meta:
        verbose_name = _("campaign transition")
        verbose_name_plural = _("campaign transitions")

    def __str__(self) -> str:
        return f"{self.from_status} → {self.to_status}"


class CampaignCreation(models.Model):
    """The key under which a program made a campaign, and a digest of what it asked for: repeated, nothing is made."""

    key = models.CharField(_("idempotency key"), max_length=150, unique=True)
    digest = models.CharField(_("digest"), max_length=64)
    campaign = models.ForeignKey(Campaign, verbose_name=_("campaign"), on_delete=models.CASCADE, related_name="+")
    at = models.DateTimeField(_("at"), default=timezone.now)

    class Meta:
        verbose_name = _("creation of a campaign")
        verbose_name_plural = _("creations of campaigns")

    def __str__(self) -> str:
        return self.key


class Forecast(models.Model):
    """What a campaign was predicted to do. Frozen at launch if it was made for it, it is scored against the outcome."""

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
    attractiveness = models.JSONField(
        _("attractiveness"),
        default=dict,
        blank=True,
        # xgettext:no-python-format
        help_text=_("Of each offer: the share that will respond, its 80 % interval, and what carries it."),
    )
    made_for = models.CharField(
        _("made for"),
        max_length=64,
        blank=True,
        editable=False,
        help_text=_("A digest of the dates, the audience, the budget and the offers that it was computed for."),
    )
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
        return f"{self.campaign}, {moment(self.created_at)}"
