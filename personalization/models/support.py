"""What support did for shoppers: re-issued coupons, goodwill, codes that were looked at. Append-only."""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from personalization.models.keys import staff_key


class SupportAction(models.Model):
    """One deed of the support desk, with who did it and why. The operation id makes it happen once."""

    class Kind(models.TextChoices):
        REISSUE = "reissue", _("coupon re-issued")
        GOODWILL = "goodwill", _("goodwill given")
        REVEAL = "reveal", _("code shown")

    operation_id = models.CharField(_("operation"), max_length=140, unique=True, editable=False)
    kind = models.CharField(_("what"), max_length=10, choices=Kind.choices)
    by = staff_key(_("by"))
    shopper = models.ForeignKey(
        "personalization.Shopper",
        verbose_name=_("shopper"),
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        related_name="+",
    )
    coupon = models.ForeignKey(
        "personalization.Coupon",
        verbose_name=_("coupon"),
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        related_name="+",
    )
    card = models.ForeignKey(
        "personalization.GiftCard",
        verbose_name=_("gift card"),
        null=True,
        blank=True,
        on_delete=models.SET_NULL,
        related_name="+",
    )
    amount_minor = models.BigIntegerField(_("amount (minor units)"), default=0)
    currency = models.CharField(_("currency"), max_length=3, blank=True)
    reason = models.CharField(_("reason"), max_length=300, blank=True)
    at = models.DateTimeField(_("at"), default=timezone.now)

    class Meta:
        verbose_name = _("support action")
        verbose_name_plural = _("support desk")
        constraints = [models.CheckConstraint(condition=Q(amount_minor__gte=0), name="pz_support_amount")]

    def __str__(self) -> str:
        return str(self.get_kind_display())
