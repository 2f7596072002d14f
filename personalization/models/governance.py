"""Who changed what, who may spend how much, and what needs somebody's eyes."""

from __future__ import annotations

from django.conf import settings
from django.db import models
from django.db.models import F, Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from personalization.models.keys import staff_key


class CampaignRevision(models.Model):
    """A campaign and its offers as they stood after one edit. Append-only."""

    campaign = models.ForeignKey(
        "personalization.Campaign", verbose_name=_("campaign"), on_delete=models.CASCADE, related_name="revisions"
    )
    number = models.PositiveIntegerField(_("number"))
    snapshot = models.JSONField(_("as it was"))
    changes = models.JSONField(_("changes"), default=list, help_text=_("Each: what, field, before, after."))
    note = models.CharField(_("note"), max_length=300, blank=True)
    by = staff_key(_("by"))
    at = models.DateTimeField(_("at"), default=timezone.now)

    class Meta:
        verbose_name = _("campaign revision")
        verbose_name_plural = _("campaign revisions")
        constraints = [models.UniqueConstraint(fields=["campaign", "number"], name="pz_revision_once")]

    def __str__(self) -> str:
        return f"{self.campaign_id} r{self.number}"


class Switch(models.Model):
    """The kill switch of one population: while it is engaged no offer is shown, claimed or reserved."""

    population = models.CharField(_("population"), max_length=40, unique=True)
    engaged = models.BooleanField(_("everything is stopped"), default=False)
    reason = models.CharField(_("reason"), max_length=300, blank=True)
    by = staff_key(_("by"))
    at = models.DateTimeField(_("at"), default=timezone.now)

    class Meta:
        verbose_name = _("kill switch")
        verbose_name_plural = _("kill switches")

    def __str__(self) -> str:
        return f"{self.population}: {'stopped' if self.engaged else 'open'}"


class SwitchChange(models.Model):
    """One append-only line of a kill switch's history."""

    population = models.CharField(_("population"), max_length=40)
    engaged = models.BooleanField(_("everything is stopped"))
    reason = models.CharField(_("reason"), max_length=300, blank=True)
    by = staff_key(_("by"))
    at = models.DateTimeField(_("at"), default=timezone.now)

    class Meta:
        verbose_name = _("change of the kill switch")
        verbose_name_plural = _("changes of the kill switch")

    def __str__(self) -> str:
        return f"{self.population}: {'stopped' if self.engaged else 'open'}"


class Allowance(models.Model):
    """What one member of staff has given away as goodwill in a month. Never above the limit, whatever runs at once."""

    user = models.ForeignKey(
        settings.AUTH_USER_MODEL, verbose_name=_("member of staff"), on_delete=models.CASCADE, related_name="+"
    )
    month = models.DateField(_("month"))
    currency = models.CharField(_("currency"), max_length=3)
    granted_minor = models.BigIntegerField(_("given (minor units)"), default=0)
    limit_minor = models.BigIntegerField(_("limit (minor units)"))

    class Meta:
        verbose_name = _("goodwill allowance")
        verbose_name_plural = _("goodwill allowances")
        constraints = [
            models.UniqueConstraint(fields=["user", "month", "currency"], name="pz_allowance_once"),
            models.CheckConstraint(
                condition=Q(granted_minor__gte=0) & Q(granted_minor__lte=F("limit_minor")), name="pz_allowance_limit"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.user_id} {self.month:%Y-%m}"


class Alert(models.Model):
    """Something about a campaign that somebody should look at; raised once an occasion, mailed once."""

    class Kind(models.TextChoices):
        BUDGET = "budget", _("most of the budget is used")
        SILENT = "silent", _("the campaign shows nothing")
        LIABILITY = "liability", _("the coupons that are out could cost more than the budget")
        REVIEW = "review", _("redemptions wait for a review")
        PUSH = "push", _("messages could not be sent")
        MODEL = "model", _("a model in service has changed")
        FAIRNESS = "fairness", _("groups are treated differently")

    campaign = models.ForeignKey(
        "personalization.Campaign",
        verbose_name=_("campaign"),
        null=True,
        blank=True,
        on_delete=models.CASCADE,
        related_name="alerts",
    )
    kind = models.CharField(_("kind"), max_length=12, choices=Kind.choices)
    key = models.CharField(_("occasion"), max_length=100, unique=True)
    figures = models.JSONField(_("figures"), default=dict)
    raised_at = models.DateTimeField(_("raised"), default=timezone.now)
    mailed_at = models.DateTimeField(_("mailed"), null=True, blank=True)
    seen_by = staff_key(_("seen by"))
    seen_at = models.DateTimeField(_("seen"), null=True, blank=True)

    class Meta:
        verbose_name = _("alert")
        verbose_name_plural = _("alerts")

    def __str__(self) -> str:
        return str(self.get_kind_display())
